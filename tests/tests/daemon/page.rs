//! The page in a real browser, as a person uses it.

use std::time::{Duration, Instant};

use postrider_tests::browser::{Browser, key};
use postrider_tests::core_module::marked;
use postrider_tests::daemon::{Daemon, House, PATIENCE, http};
use postrider_tests::receiver::{Receiver, text};
use serde_json::{Value, json};

use crate::{hook, hooked, run};

/// Gives up at the first refusal; what it refuses says so.
async fn refusing() -> (Receiver, tokio::sync::watch::Sender<String>, House) {
    let (receiver, switch) = Receiver::switching("422 Unprocessable Content").await;
    let house = hooked(&receiver, "match = { type = ['alert.*'] }");
    (receiver, switch, house)
}

async fn dead(daemon: &Daemon, count: usize) -> Value {
    let all = |found: &Value| found["items"].as_array().is_some_and(|all| all.len() == count);
    daemon.until("/v1/deliveries?state=dead", all).await
}

/// Nothing of the page was refused, and no script failed.
async fn nothing_is_wrong(browser: &Browser) {
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_why_something_did_not_arrive_and_sends_it_again_by_click() {
    let Some(browser) = Browser::open().await else { return };
    let (receiver, switch, house) = refusing().await;
    let slow = Receiver::ok().await;
    house.put("second.toml", hook(&slow, "match = { type = ['demo.*'] }"));
    let daemon = house.start().await;
    browser.look("light", 1280, 900).await;
    browser.go(daemon.url()).await;
    browser.until_text("Nothing needs attention").await;
    assert_eq!(browser.run("return document.title").await, "Overview · postrider");
    let loaded = "return performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation')) \
         .reduce((sum, entry) => sum + entry.transferSize, 0)";
    let loaded = browser.run(loaded).await.as_u64().unwrap();
    assert!((20_000..100 << 10).contains(&loaded), "{loaded} bytes were loaded");

    // It comes while the page is open, and the page shows it by itself.
    let alert = json!({
        "type": "alert.disk", "subject": "db-1", "labels": {"severity": "critical"},
        "content": {"free": 1.50, "serial": 12_345_678_901_234_567_890_u64},
    });
    let id = daemon.enqueue(&alert).await;
    dead(&daemon, 1).await;
    let row =
        "[...document.querySelectorAll('tr')].find((row) => row.innerText.startsWith('hook'))";
    browser.until(&format!("{row}?.querySelector('td[data-label=Dead]').innerText === '1'")).await;

    browser.picture("overview").await;

    // From there to the dead letter, and to the notification.
    browser.click("//td[@data-label='Dead']/a").await;
    browser.until_text("1 delivery gave up").await;
    browser.click("//button[@aria-expanded='false']").await;
    browser.click("//ul[@class='letters']//a").await;
    browser.until_text("Every destination, and why").await;
    let page = browser.text().await;
    for told in [
        "Delivered to 0 of 1 destination.",
        "hook: it gave up (rejected): ",
        "422",
        "1. rejected",
        "type \"alert.disk\" does not match \"demo.*\"",
        "severity=critical",
        // Its content as it came.
        "\"free\": 1.5",
        "12345678901234567890",
        id.as_str(),
    ] {
        assert!(page.contains(told), "{told:?} is not in {page}");
    }

    for (scheme, width, name) in
        [("dark", 1280, "notification-dark"), ("light", 390, "notification-phone")]
    {
        browser.look(scheme, width, 900).await;
        browser.picture(name).await;
        // Nothing is wider than the screen.
        let wide = "return document.documentElement.scrollWidth - innerWidth";
        assert!(browser.run(wide).await.as_i64().unwrap() <= 0, "at {width}");
        // Nor is a column so narrow that its words are broken.
        let narrow = "return Math.min(...[...document.querySelectorAll('.line li > *')] \
             .map((part) => part.getBoundingClientRect().width))";
        assert!(browser.run(narrow).await.as_f64().unwrap() > 100.0, "at {width}");
    }
    browser.look("light", 1280, 900).await;

    // The receiver is mended, and the person asks again: counted, confirmed, done, and said.
    switch.send(text("200 OK")).unwrap();
    browser.click("//button[.='Redeliver']").await;
    browser.until_text("Redeliver 1 delivery?").await;
    browser.click("//dialog//button[.='Redeliver']").await;
    browser.until_text("1 delivery redelivered.").await;
    browser.until_text("2. delivered").await;
    browser.until_text("Delivered to 1 of 1 destination.").await;
    receiver.until(1, PATIENCE).await;
    let (_, audit) = daemon.get("/v1/audit").await;
    assert_eq!(audit["items"][0]["action"], "delivery.redeliver", "{audit}");
    nothing_is_wrong(&browser).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_chosen_and_dropped_with_a_reason() {
    let Some(browser) = Browser::open().await else { return };
    let (_receiver, _switch, house) = refusing().await;
    let daemon = house.start().await;
    for n in 0..5 {
        daemon.enqueue(&json!({"type": "alert.disk", "content": n})).await;
    }
    dead(&daemon, 5).await;
    browser.go(&format!("{}/#/dead", daemon.url())).await;
    browser.until_text("5 deliveries gave up").await;
    browser.click("//button[@aria-expanded='false']").await;
    browser.click("(//input[@type='checkbox'])[1]").await;
    browser.click("(//input[@type='checkbox'])[3]").await;
    browser.click("//button[.='Drop 2 chosen ones']").await;
    browser.until_text("Drop 2 deliveries of hook?").await;
    // Without a reason nothing is dropped.
    browser.click("//dialog//button[.='Drop']").await;
    browser.keys("noise of a test").await;
    browser.click("//dialog//button[.='Drop']").await;
    browser.until_text("2 deliveries dropped.").await;
    browser.until_text("3 deliveries gave up").await;
    // The rest by its reason.
    browser.click("//button[starts-with(@aria-label, 'Drop hook')]").await;
    browser.until_text("Drop 3 deliveries of hook?").await;
    browser.keys("the same").await;
    browser.keys(key::ENTER).await;
    browser.until_text("Nothing has given up.").await;
    let (_, audit) = daemon.get("/v1/audit").await;
    let notes: Vec<&Value> =
        audit["items"].as_array().unwrap().iter().map(|item| &item["details"]["note"]).collect();
    assert_eq!(notes, ["the same", "noise of a test"]);
    nothing_is_wrong(&browser).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_quarantined_by_click_and_released_again() {
    let Some(browser) = Browser::open().await else { return };
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    daemon.enqueue(&json!({"type": "x"})).await;
    receiver.until(1, PATIENCE).await;
    browser.go(&format!("{}/#/plugins", daemon.url())).await;
    browser.click("//a[.='webhook']").await;
    browser.until_text("Versions").await;
    browser.click("//button[starts-with(@aria-label, 'Quarantine')]").await;
    browser.until_text("Quarantine webhook").await;
    browser.keys("it wakes everybody up").await;
    browser.keys(key::ENTER).await;
    browser.until_text("is quarantined.").await;
    let (_, plugin) = daemon.get("/v1/plugins/webhook").await;
    assert_eq!(plugin["state"], "quarantined", "{plugin}");
    // Nothing else takes its place: what comes now waits, and is not lost.
    daemon.enqueue(&json!({"type": "x"})).await;
    browser.until_text("it wakes everybody up").await;
    browser.click("//button[starts-with(@aria-label, 'Release')]").await;
    browser.until_text("may be tried again.").await;
    receiver.until(2, PATIENCE).await;
    let (_, audit) = daemon.get("/v1/audit").await;
    let actions = audit["items"].as_array().unwrap().iter().map(|item| &item["action"]);
    assert_eq!(actions.collect::<Vec<_>>(), ["plugin.release", "plugin.quarantine"]);
    nothing_is_wrong(&browser).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_rolled_back_by_click() {
    let Some(browser) = Browser::open().await else { return };
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    daemon.enqueue(&json!({"type": "x"})).await;
    let proven = |plugin: &Value| plugin["versions"][0]["worked"] == true;
    let before = daemon.until("/v1/plugins/webhook", proven).await;
    let module = std::fs::read(house.plugins().join("webhook.wasm")).unwrap();
    house.put("webhook.wasm", marked(&module, "next"));
    let newer =
        |plugin: &Value| plugin["state"] == "active" && plugin["sha256"] != before["sha256"];
    daemon.until("/v1/plugins/webhook", newer).await;

    browser.go(&format!("{}/#/plugins", daemon.url())).await;
    browser.click("//a[.='webhook']").await;
    browser.click("//button[.='Roll back']").await;
    browser.until_text("Roll back webhook?").await;
    browser.keys(key::ENTER).await;
    browser.until_text("webhook is rolled back.").await;
    let back = |plugin: &Value| plugin["state"] == "active" && plugin["sha256"] == before["sha256"];
    daemon.until("/v1/plugins/webhook", back).await;
    daemon.enqueue(&json!({"type": "x"})).await;
    receiver.until(2, PATIENCE).await;
    let (_, audit) = daemon.get("/v1/audit").await;
    assert_eq!(audit["items"][0]["action"], "plugin.rollback", "{audit}");
    nothing_is_wrong(&browser).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_is_enough() {
    let Some(browser) = Browser::open().await else { return };
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    browser.go(daemon.url()).await;
    browser.until_text("Nothing needs attention").await;
    browser.keys(key::TAB).await;
    assert_eq!(browser.focused().await, "Skip to the content");
    browser.keys(key::ENTER).await;
    assert_eq!(browser.run("return document.activeElement.id").await, "main");
    tab_to(&browser, "Pause hook").await;
    browser.keys(key::SPACE).await;
    browser.until("document.querySelector('dialog[open] input') === document.activeElement").await;
    // What was not meant is left by Escape, and the focus is where it was.
    browser.keys(key::ESCAPE).await;
    browser.until("!document.querySelector('dialog[open]')").await;
    assert_eq!(browser.focused().await, "Pause hook");
    browser.keys(key::ENTER).await;
    browser.until("document.querySelector('dialog[open]')").await;
    browser.keys("the receiver moves").await;
    browser.keys(key::ENTER).await;
    browser.until_text("hook is paused.").await;
    browser.until_text("the receiver moves").await;
    let (_, shown) = daemon.get("/v1/destinations/hook").await;
    assert_eq!(shown["paused"]["reason"], "the receiver moves");
    tab_to(&browser, "Resume hook").await;
    browser.keys(key::ENTER).await;
    browser.until_text("hook is resumed.").await;
    // To another view: it is read from its title on.
    browser.run("document.activeElement.blur()").await;
    tab_to(&browser, "Live").await;
    browser.keys(key::ENTER).await;
    browser.until("document.title.startsWith('Live')").await;
    assert_eq!(browser.run("return document.activeElement.id").await, "main");
    nothing_is_wrong(&browser).await;
    assert!(daemon.stop().await.success());
}

/// Presses Tab until this has the focus.
#[expect(clippy::panic, reason = "a test may fail loudly")]
async fn tab_to(browser: &Browser, name: &str) {
    let mut passed = Vec::new();
    for _ in 0..60 {
        browser.keys(key::TAB).await;
        let focused = browser.focused().await;
        if focused == name {
            return;
        }
        passed.push(focused);
    }
    panic!("Tab never comes to {name:?}, but to {passed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_seen_as_it_happens_and_again_after_a_restart() {
    let Some(browser) = Browser::open().await else { return };
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let address = daemon.url().trim_start_matches("http://").to_owned();
    browser.go(&format!("{}/#/live?event=delivery.*&type=alert.*", daemon.url())).await;
    browser.until_text("listening").await;
    daemon.enqueue(&json!({"type": "demo.other"})).await;
    daemon.enqueue(&json!({"type": "alert.one"})).await;
    browser.until_text("alert.one").await;
    assert!(!browser.text().await.contains("demo.other"), "the filter lets nothing else through");
    nothing_is_wrong(&browser).await;

    daemon.kill().await;
    browser.until_text("The connection was interrupted").await;
    let mut command = house.command();
    command.args(["serve", "--listen", &address]);
    let daemon = house.start_command(command).await;
    browser.until_text("Connected again").await;
    daemon.enqueue(&json!({"type": "alert.two"})).await;
    browser.until_text("alert.two").await;
    // The other views, too.
    browser.run("location.hash = '#/'").await;
    browser.until_text("Nothing needs attention").await;
    daemon.kill().await;
    browser.until_text("the daemon does not answer").await;
    let mut command = house.command();
    command.args(["serve", "--listen", &address]);
    let daemon = house.start_command(command).await;
    browser.until("document.getElementById('banner').hidden").await;
    assert!(daemon.stop().await.success());
}

/// Its words and its files' names are markup and control characters; so is what a producer sends.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_hostile_plugin_runs_in_the_page() {
    const MARKUP: &str = "<img/src=x/onerror=window.owned=1>";
    let Some(browser) = Browser::open().await else { return };
    let house = House::new();
    house.put_module("liar", "liar");
    house.put("liar.toml", "plugin = 'liar'");
    house.put("<b onclick=window.owned=1>.toml", "plugin = '<script>window.owned=1</script>'");
    let daemon = house.start().await;
    let id = daemon
        .enqueue(&json!({
            "type": MARKUP, "subject": format!("{MARKUP}\u{202e}"), "source": "javascript:alert(1)",
            "labels": {"<svg/onload=window.owned=1>": MARKUP},
            "content_text": format!("</pre><script>window.owned=1</script>\u{1b}]0;owned\u{7}{MARKUP}"),
        }))
        .await;
    dead(&daemon, 1).await;
    for (view, shown) in [
        ("", "<b onclick=window.owned=1>"),
        ("dead", "<img src=x onerror=\"window.owned = 1\">"),
        ("d/liar", "<img src=x onerror=\"window.owned = 1\">"),
        ("find", MARKUP),
        ("plugins", "<script>window.owned = 1</script>"),
        (&format!("n/{id}"), "␛]0;owned␇<img/src=x/onerror=window.owned=1>"),
        (&format!("d/{MARKUP}"), "No file names such a destination"),
        (&format!("find?type={MARKUP}"), MARKUP),
    ] {
        browser.go(&format!("{}/#/{view}", daemon.url())).await;
        browser.until_text(shown).await;
        assert_eq!(browser.run("return window.owned ?? null").await, Value::Null, "{view}");
        let strange = "return document.querySelectorAll('main img, main script, main b[onclick], main svg[onload]').length";
        assert_eq!(browser.run(strange).await, 0, "{view}");
        // What would turn the text around is shown instead.
        let raw = r"return /[\u0000-\u0008\u001b\u202e]/.test(document.documentElement.innerHTML)";
        assert_eq!(browser.run(raw).await, false, "{view}");
    }
    nothing_is_wrong(&browser).await;
    // The browser itself refuses what the page never does.
    let refused = "try { document.body.innerHTML = '<i>x</i>'; return 'made' } catch (error) { return error.name }";
    assert_eq!(browser.run(refused).await, "TypeError");
    let refused = "const made = document.createElement('p'); \
         try { made.setAttribute('onclick', 'window.owned = 1'); return 'made' } catch (error) { return error.name }";
    assert_eq!(browser.run(refused).await, "TypeError");
    let script = "const made = document.createElement('script'); made.type = 'module'; \
         made.append('window.owned = 1'); document.body.append(made)";
    browser.run(&format!("try {{ {script} }} catch {{ }}")).await;
    assert_eq!(browser.run("return window.owned ?? null").await, Value::Null);
    let complaints = browser.complaints().await.join("\n");
    assert!(complaints.contains("requires 'TrustedScript' assignment"), "{complaints}");
    assert!(daemon.stop().await.success());
}

/// What a store of a busy year looks like; the daemon has made the tables before.
const MILLION: &str = r#"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript('''
  WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000000)
  INSERT INTO notifications (type, source, subject, content, fanned_out_at, deliveries)
  SELECT 'alert.disk', 'prometheus', 'db-' || n % 50, '{"free": 1}', 1764000000000, 1 FROM n;
  INSERT INTO deliveries (notification, destination, state, lane, due, created, since, attempt, used, reason, cause, finished)
  SELECT seq, 'd' || seq % 10, CASE WHEN seq % 10 < 3 THEN 0 WHEN seq % 50 = 9 THEN 2 ELSE 1 END,
    seq % 10 = 2, 1764000000000 + seq, 1764000000000, 1764000000000, seq % 10 = 2, 0, 'because',
    CASE WHEN seq % 10 >= 3 AND seq % 50 = 9 THEN 'rejected' END, CASE WHEN seq % 10 >= 3 THEN 1764000000000 + seq END
  FROM notifications;
''')
db.commit()
"#;

/// Takes a minute, and says what it measured; for who asks for it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "fills a database with a million rows"]
async fn a_million_rows_do_not_hold_up_the_page() {
    let Some(browser) = Browser::open().await else { return };
    let house = House::new();
    for n in 0..10 {
        house.put(&format!("d{n}.toml"), "plugin = 'webhook'");
    }
    house.start().await.stop().await;
    let database = house.path().join("data/postrider.db");
    run(std::process::Command::new("python3").args(["-c", MILLION]).arg(database));
    let daemon = house.start().await;
    let mut paints = Vec::new();
    for _ in 0..5 {
        // Otherwise only the part after the # would change.
        browser.go("about:blank").await;
        browser.go(daemon.url()).await;
        browser.until_text("10,000+").await;
        let paint = "return performance.getEntriesByName('first-contentful-paint')[0].startTime";
        let shown =
            "return performance.getEntriesByName(location.origin + '/v1/overview')[0].responseEnd";
        let of = async |script| browser.run(script).await.as_f64().unwrap();
        paints.push((of(paint).await, of(shown).await));
    }
    eprintln!("first paint, and the overview's answer, in ms after the click: {paints:?}");
    paints.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(paints[2].0 <= 100.0, "first paint: {paints:?}");
    for view in ["dead", "find", "d/d1"] {
        browser.go(&format!("{}/#/{view}", daemon.url())).await;
        browser.until("document.querySelector('main td')").await;
    }
    nothing_is_wrong(&browser).await;
    assert!(daemon.stop().await.success());
}

/// Each asks every three seconds, as the page does.
const PAGES: usize = 200;

/// Half a minute of deliveries with and without pages, which ask as the scripts do; says what it measured.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures for a minute; the goals are those of a release build"]
async fn two_hundred_open_pages_cost_little() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let period = Duration::from_secs(20);
    let before = cost(&daemon, period).await;
    let memory = resident(daemon.pid());
    let mut pages = tokio::task::JoinSet::new();
    for n in 0..PAGES {
        let overview = format!("{}/v1/overview", daemon.url());
        pages.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(3));
            // They were not opened at once.
            ticks.reset_after(Duration::from_millis(15 * n as u64));
            loop {
                ticks.tick().await;
                http().get(&overview).send().await.unwrap().bytes().await.unwrap();
            }
        });
    }
    let with = cost(&daemon, period).await;
    let grown = resident(daemon.pid()).saturating_sub(memory);
    pages.shutdown().await;
    eprintln!("{PAGES} pages: {:.1} % of a core, {} KiB", (with - before) * 100.0, grown >> 10);

    // Turn by turn, so that what else the machine does falls on both.
    let (mut alone, mut beside) = (0.0, 0.0);
    for _ in 0..4 {
        alone += busy(&daemon, period / 4).await / 4.0;
        for n in 0..20 {
            let path = if n % 2 == 0 { "/v1/events?most=40" } else { "/v1/overview" };
            let url = format!("{}{path}", daemon.url());
            pages.spawn(async move {
                let mut ticks = tokio::time::interval(Duration::from_secs(3));
                loop {
                    ticks.tick().await;
                    let mut answer = http().get(&url).send().await.unwrap();
                    while let Ok(Some(_)) = answer.chunk().await {}
                }
            });
        }
        beside += busy(&daemon, period / 4).await / 4.0;
        pages.shutdown().await;
    }
    eprintln!(
        "deliveries a second: {alone:.0} alone, {beside:.0} beside 20 pages, ten of them live"
    );
    assert!(daemon.stop().await.success());
}

/// The share of a core that the daemon takes for some time.
async fn cost(daemon: &Daemon, period: Duration) -> f64 {
    let (began, ticks) = (Instant::now(), ticks(daemon.pid()));
    tokio::time::sleep(period).await;
    let took = began.elapsed();
    let used = self::ticks(daemon.pid()) - ticks;
    // Of Linux: a hundred a second.
    f64::from(used) / 100.0 / took.as_secs_f64()
}

/// Deliveries a second while as many as possible come in for some time.
async fn busy(daemon: &Daemon, period: Duration) -> f64 {
    let (began, mut sent) = (Instant::now(), 0);
    let batch = vec![json!({"type": "x", "content": 1}); 200];
    while began.elapsed() < period {
        let (status, _) = daemon.post("/v1/notifications/batch", json!(batch).to_string()).await;
        assert_eq!(status, 200);
        sent += 200;
        daemon.until_empty().await;
    }
    f64::from(sent) / began.elapsed().as_secs_f64()
}

fn ticks(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = stat.rsplit_once(") ").unwrap().1;
    after.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap()).sum()
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}
