//! Hot reloads one after another under load: nothing lost, nothing doubled, no memory kept.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::Write as _;
use std::time::{Duration, Instant};

use postrider_tests::core_module::marked;
use postrider_tests::daemon::{Daemon, PATIENCE};
use postrider_tests::receiver::Receiver;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::hooked;

/// Deliveries a second while modules are replaced.
const RATE: u64 = 200;
/// Notifications in one request.
const BATCH: usize = 10;
/// Memory that all reloads together may keep, in bytes.
const GROWTH: u64 = 60 << 20;
/// What may come after the first quarter: memory goes up and down by itself.
const NOISE: u64 = 16 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn hot_reloads_under_load_lose_and_double_nothing_and_keep_no_memory() {
    run(24).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; the same with fewer always runs"]
async fn two_hundred_hot_reloads_under_load_keep_no_memory() {
    run(200).await;
}

async fn run(reloads: usize) {
    let receiver = Receiver::of_many().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let first = std::fs::read(house.plugins().join("webhook.wasm")).unwrap();
    let modules = [marked(&first, "two"), first];
    // Compiled before anything is measured.
    let mut in_force = reload(&daemon).await;
    house.put("webhook.wasm", modules.first().unwrap());
    while reload(&daemon).await == in_force {}
    house.put("webhook.wasm", modules.last().unwrap());
    while reload(&daemon).await != in_force {}
    let (stop, stopped) = watch::channel(false);
    let producing = produce(&daemon, stopped);
    let replacing = async {
        let (began, before) = (Instant::now(), memory(&daemon));
        let mut quarter = before;
        for n in 1..=reloads {
            house.put("webhook.wasm", modules.get((n + 1) % 2).unwrap());
            let was = std::mem::take(&mut in_force);
            while in_force.is_empty() || in_force == was {
                assert!(began.elapsed() < PATIENCE * 4, "reload {n} of {reloads}");
                in_force = reload(&daemon).await;
            }
            if n == reloads / 4 {
                quarter = memory(&daemon);
            }
        }
        stop.send(true).unwrap();
        (began.elapsed(), before, quarter, memory(&daemon))
    };
    let (sent, (took, before, quarter, after)) = tokio::join!(producing, replacing);
    receiver.until(sent, PATIENCE).await;
    daemon.until_empty().await;
    let mib = |bytes: u64| bytes >> 20;
    say(&format!(
        "{reloads} reloads and {sent} deliveries in {took:.1?}; memory {} MiB, {} MiB after a quarter, {} MiB at the end",
        mib(before),
        mib(quarter),
        mib(after)
    ));
    assert_eq!(receiver.received().len(), sent, "each once");
    let least = RATE / 2 * took.as_secs();
    assert!(sent as u64 >= least, "{sent} in {took:?} is no load");
    assert!(after.saturating_sub(before) <= GROWTH, "{before} grew to {after}");
    assert!(after.saturating_sub(quarter) <= NOISE, "{quarter} grew to {after}");
    let (_, plugin) = daemon.get("/v1/plugins/webhook").await;
    assert_eq!(plugin.get("versions").and_then(Value::as_array).map(Vec::len), Some(2), "{plugin}");
    assert!(daemon.stop().await.success());
}

/// Answers the hash of the module that is in force after a look at the directory.
async fn reload(daemon: &Daemon) -> String {
    let (status, plugin) = daemon.post("/v1/plugins/webhook/reload", "").await;
    assert_eq!(status, 200, "{plugin}");
    plugin.get("sha256").and_then(Value::as_str).unwrap().to_owned()
}

/// Hands notifications in until it is told to stop. Answers how many.
async fn produce(daemon: &Daemon, stopped: watch::Receiver<bool>) -> usize {
    let batch: Vec<Value> = (0..BATCH).map(|n| json!({"type": "x", "content": n})).collect();
    let batch = json!(batch).to_string();
    let mut ticks = interval(Duration::from_millis(1_000 * BATCH as u64 / RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0;
    while !*stopped.borrow() {
        ticks.tick().await;
        let (status, answer) = daemon.post("/v1/notifications/batch", batch.clone()).await;
        assert!(status < 300, "{status} {answer}");
        sent += BATCH;
    }
    sent
}

fn memory(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Past the test harness, which keeps what a test that passes prints.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").ok();
}
