//! Formats that other systems speak, sent by those systems themselves.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use postrider_tests::daemon::{Daemon, House, PATIENCE, http};
use postrider_tests::receiver::Receiver;
use serde_json::{Value, json};
use tokio::time::{interval, timeout};

use crate::{hooked, run, there};

/// The notifications' types and subjects, oldest first.
async fn told(daemon: &Daemon) -> Vec<(String, String)> {
    let (_, listed) = daemon.get("/v1/notifications").await;
    let text = |n: &Value, key: &str| n.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let items = listed.get("items").and_then(Value::as_array).unwrap();
    items.iter().rev().map(|n| (text(n, "type"), text(n, "subject"))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(kind, subject)| ((*kind).to_owned(), (*subject).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_cloudevents_package_are_taken() {
    if !there("python3", &["-c", "import cloudevents.core.bindings.http"]) {
        return;
    }
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let producer = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/cloudevents_producer.py");
    let url = format!("{}/v1/cloudevents", daemon.url());
    let said = run(Command::new("python3").arg(producer).arg(url));
    assert_eq!(said, "201\n201\n200\n");
    let expected = pairs(&[
        ("order.paid", "Zürich 1"),
        ("order.paid", "Zürich 2"),
        ("order.paid", "Zürich 3"),
    ]);
    assert_eq!(told(&daemon).await, expected);
    let (_, listed) = daemon.get("/v1/notifications?limit=1").await;
    let id = listed["items"][0]["id"].as_str().unwrap();
    let (_, last) = daemon.get(&format!("/v1/notifications/{id}")).await;
    assert_eq!(last["content"], json!({"order": 3}), "{last}");
    assert_eq!((&last["labels"]["ce-id"], &last["labels"]["shard"]), (&json!("3"), &json!("3")));
    assert!(daemon.stop().await.success());
}

/// A running Alertmanager. Killed when dropped.
struct Alertmanager {
    child: Child,
    url: String,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Alertmanager {
    /// Starts one that tells `url` of each alert at once.
    async fn start(house: &House, url: &str) -> Self {
        let config = format!(
            "route:\n  receiver: ops\n  group_wait: 0s\n  group_interval: 1s\nreceivers:\n  \
             - name: ops\n    webhook_configs:\n      - url: {url}/v1/alertmanager\n"
        );
        let path = house.path().join("alertmanager.yml");
        std::fs::write(&path, config).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.path={}", house.path().join("alertmanager").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self { child, url: format!("http://{address}") };
        let mut ticks = interval(std::time::Duration::from_millis(50));
        let ready = async {
            while http().get(format!("{}/-/ready", started.url)).send().await.is_err() {
                ticks.tick().await;
            }
        };
        timeout(PATIENCE, ready).await.unwrap();
        started
    }

    async fn fire(&self, alert: Value) {
        let url = format!("{}/api/v2/alerts", self.url);
        let request = http().post(url).header("content-type", "application/json");
        let answer = request.body(json!([alert]).to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_alertmanager_fires_and_resolves_an_alert() {
    if !there("prometheus-alertmanager", &["--version"]) {
        return;
    }
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "match = { labels = { severity = [\"critical\"] } }");
    let daemon = house.start().await;
    let alertmanager = Alertmanager::start(&house, daemon.url()).await;
    let alert = json!({"labels": {"alertname": "DiskFull", "severity": "critical"},
        "annotations": {"summary": "no room"}, "startsAt": "2026-01-01T00:00:00Z"});
    alertmanager.fire(alert.clone()).await;
    receiver.until(1, PATIENCE).await;
    let mut resolved = alert;
    resolved["endsAt"] = "2026-01-02T00:00:00Z".into();
    alertmanager.fire(resolved).await;
    receiver.until(2, PATIENCE).await;
    let expected = pairs(&[("alert.firing", "DiskFull"), ("alert.resolved", "DiskFull")]);
    assert_eq!(told(&daemon).await, expected);
    let sent: Value = serde_json::from_str(&receiver.received()[0].text()).unwrap();
    assert_eq!(sent["annotations"], json!({"summary": "no room"}));
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_from_curl_is_enough() {
    if !there("curl", &["--version"]) {
        return;
    }
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let url = format!("{}/v1/notify", daemon.url());
    let curl = |arguments: &[&str]| {
        run(Command::new("curl").args(["-sS", "-w", " %{http_code}", &url]).args(arguments))
    };
    let line = ["-d", "backup done", "-H", "Title: db1", "-H", "Idempotency-Key: night-17"];
    assert!(curl(&line).ends_with(" 201"));
    assert!(curl(&line).ends_with(" 200"));
    let json = r#"{"title": "db2", "body": "no room", "type": "failure", "tag": "ops"}"#;
    assert!(curl(&["-d", json, "-H", "Content-Type: application/json"]).ends_with(" 201"));
    let refused = curl(&["-d", "x", "-H", "Type: panic"]);
    assert!(refused.contains("use one of info") && refused.ends_with(" 400"), "{refused}");
    let expected = pairs(&[("notify.info", "db1"), ("notify.failure", "db2")]);
    assert_eq!(told(&daemon).await, expected);
    receiver.until(2, PATIENCE).await;
    assert!(receiver.received().iter().any(|request| request.text() == "backup done"));
    assert!(daemon.stop().await.success());
}
