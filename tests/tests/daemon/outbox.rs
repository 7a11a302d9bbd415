//! The examples of producers, as their readme runs them.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use postrider_test_postgres::{Cluster, Settings};
use postrider_tests::daemon::{Daemon, House};
use postrider_tests::receiver::Receiver;
use serde_json::Value;

use crate::{hooked, run, there};

const PATIENCE: Duration = Duration::from_secs(30);

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/outbox").join(file)
}

/// Pays orders 17 to 18 with the Python example, the first of them again.
fn pay(database: &str) {
    let producer = example("producer.py");
    let said = run(Command::new("python3").arg(producer).args([database, "17", "18", "17"]));
    assert_eq!(said, "order 17 is paid\norder 18 is paid\norder 17 is paid\n");
}

async fn subjects(daemon: &Daemon, receiver: &Receiver, count: usize) -> Vec<String> {
    receiver.until(count, PATIENCE).await;
    daemon.until_empty().await;
    let (_, listed) = daemon.get("/v1/notifications").await;
    let listed = listed.get("items").and_then(Value::as_array).unwrap().clone();
    let subject = |n: &Value| n.get("subject").and_then(Value::as_str).unwrap().to_owned();
    let mut subjects: Vec<String> = listed.iter().map(subject).collect();
    subjects.sort();
    subjects
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_produce_on_sqlite() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    let mut expected = Vec::new();
    let database = house.path().join("data/postrider.db");
    if there("python3", &["-c", "import sqlite3"]) {
        pay(database.to_str().unwrap());
        expected = vec!["order 17", "order 18"];
    }
    if there("sqlite3", &["-version"]) {
        let script = format!(".read {}", example("order.sql").display());
        run(Command::new("sqlite3").arg(&database).args([".timeout 5000", &script]));
        expected.insert(0, "order 17");
        expected.dedup();
    }
    assert_eq!(subjects(&daemon, &receiver, expected.len()).await, expected);
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_produce_on_postgresql() {
    let Some(cluster) = Cluster::start_or_skip(Settings::durable()) else { return };
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = listening(&house, &cluster).await;
    let sql = std::fs::read_to_string(example("order.sql")).unwrap();
    for _twice in 0..2 {
        cluster.psql("postgres", &sql).unwrap();
    }
    let mut expected = vec!["order 17"];
    if there("python3", &["-c", "import psycopg"]) {
        pay(&cluster.url());
        expected.push("order 18");
    }
    assert_eq!(subjects(&daemon, &receiver, expected.len()).await, expected);
    let listeners = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    assert_eq!(cluster.psql("postgres", listeners).unwrap(), "1");
    assert!(daemon.stop().await.success());
}

async fn listening(house: &House, cluster: &Cluster) -> Daemon {
    let mut command = house.command();
    command.env("POSTRIDER_LISTEN_NOTIFY", "true").env("POSTRIDER_DATABASE", cluster.url());
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    house.start_command(command).await
}
