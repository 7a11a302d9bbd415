//! What goes wrong is told once: by one line, at its level, where it is decided.

use std::process::Command;

use postrider_tests::daemon::{Daemon, House};
use postrider_tests::receiver::{Receiver, answer};
use serde_json::{Value, json};

use crate::{hook, hooked, run, there};

/// Starts the daemon of this house with a log of JSON.
async fn start(house: &House) -> Daemon {
    let mut serve = house.command();
    serve.args(["serve", "--listen", "127.0.0.1:0"]).env("POSTRIDER_LOG_FORMAT", "json");
    house.start_command(serve).await
}

/// Waits for a line that has this in any field; levels and messages of all such lines.
async fn told(daemon: &Daemon, text: &str) -> Vec<(String, String)> {
    daemon.line(text).await;
    let log = daemon.log();
    let lines = log.iter().filter(|line| line.contains(text));
    let told = lines.map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| line[name].as_str().unwrap().to_owned();
        (field("level"), field("message"))
    });
    told.collect()
}

fn one(level: &str, message: &str) -> Vec<(String, String)> {
    vec![(level.to_owned(), message.to_owned())]
}

/// The number of the only delivery of a notification, once it stands like this.
async fn delivery(daemon: &Daemon, notification: &str, stands: impl Fn(&Value) -> bool) -> String {
    let path = format!("/v1/deliveries?notification={notification}");
    let found = daemon.until(&path, |found| stands(&found["items"][0])).await;
    format!("\"delivery.id\":\"{}\"", found["items"][0]["id"])
}

#[tokio::test]
async fn an_attempt_is_told_by_one_line() {
    let failing = Receiver::start(answer("500 Oops", "", "oops")).await;
    let refusing = Receiver::start(answer("422 No", "", "never")).await;
    let house = hooked(&failing, "match = { type = ['failing'] }");
    house.put("refused.toml", hook(&refusing, "match = { type = ['refused'] }"));
    house.put_module("fixture", "fixture");
    house.put(
        "denied.toml",
        "plugin = 'fixture'\nmatch = { type = ['denied'] }\npolicy.attempts = 1\n\
         config = { do = 'exfiltrate', evil_url = 'http://evil.example/' }\n",
    );
    let daemon = start(&house).await;

    let failing = daemon.enqueue(&json!({"type": "failing"})).await;
    let waits = |it: &Value| it["state"] == "pending" && it["attempts"] == 1;
    let failing = delivery(&daemon, &failing, waits).await;
    let refused = daemon.enqueue(&json!({"type": "refused"})).await;
    let refused = delivery(&daemon, &refused, |it| it["state"] == "dead").await;
    let denied = daemon.enqueue(&json!({"type": "denied"})).await;
    let denied = delivery(&daemon, &denied, |it| it["state"] == "dead").await;
    assert_eq!(told(&daemon, &failing).await, one("INFO", "will be tried again"));
    assert_eq!(told(&daemon, &refused).await, one("WARN", "gave up"));
    assert_eq!(told(&daemon, &denied).await, one("WARN", "gave up"));
    // Beside the attempt's end the guest's request has a line of its own: not every denied one ends the attempt.
    let requests = told(&daemon, "request denied: ").await;
    assert!(matches!(&requests[..], [(level, _)] if level == "WARN"), "{requests:?}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_rejected_module_is_told_by_one_line() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    house.put("broken.wasm", b"no module");
    house.put("typo.toml", "plugn = 'webhook'\n");
    let daemon = start(&house).await;
    // Looking again tells nothing again.
    for _ in 0..2 {
        assert_eq!(daemon.post("/v1/plugins/reload", "").await.0, 200);
    }
    for (name, problem) in [("broken", "broken"), ("typo", "plugn")] {
        let lines = told(&daemon, problem).await;
        assert!(matches!(&lines[..], [(level, _)] if level == "WARN"), "{name}: {lines:?}");
    }
    // A good one that is replaced by a bad one.
    house.put("webhook.wasm", b"no module any more");
    assert_eq!(daemon.post("/v1/plugins/reload", "").await.0, 200);
    let lines = told(&daemon, "the last good ").await;
    assert!(matches!(&lines[..], [(level, _)] if level == "WARN"), "{lines:?}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_request_that_fails_is_told_by_one_line_and_a_wrong_one_by_none() {
    if !there("python3", &["-c", "import sqlite3"]) {
        return;
    }
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = start(&house).await;
    let before = daemon.log().len();
    for (path, status) in [("/v1/nothing", 404), ("/v1/deliveries?limit=0", 400)] {
        assert_eq!(daemon.get(path).await.0, status);
    }
    assert_eq!(daemon.post("/v1/notifications", "{").await.0, 400);
    assert_eq!(daemon.log()[before..], [""; 0]);

    let database = house.path().join("data/postrider.db");
    let script = "import sqlite3, sys\nsqlite3.connect(sys.argv[1]).execute('DROP TABLE tokens')";
    run(Command::new("python3").args(["-c", script]).arg(database));
    let asked = postrider_tests::daemon::http()
        .get(format!("{}/v1/tokens", daemon.url()))
        .header("x-request-id", "the-one-that-fails");
    assert_eq!(asked.send().await.unwrap().status(), 500);
    let lines = told(&daemon, "the-one-that-fails").await;
    assert_eq!(lines, one("ERROR", "a request could not be served"));
    assert_eq!(told(&daemon, "no such table").await.len(), 1);
    assert!(daemon.stop().await.success());
}
