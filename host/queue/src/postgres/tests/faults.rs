//! Servers that refuse, are gone or come back: one clear line, within bounds, and on it goes.

use std::time::Instant;

use super::*;
use crate::conformance::{claim, item};
use crate::{OpenPostgresError, Queue, QueueError};

fn own() -> Option<Cluster> {
    Cluster::start_or_skip(Settings::quick().with("max_connections", "8"))
}

async fn refused(url: &str) -> String {
    let error = PostgresQueue::open(url, PostgresOptions::default()).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_says_why_and_what_to_do() {
    let Some(cluster) = own() else { return };
    let gone = refused(&cluster.url_of("nowhere")).await;
    assert!(gone.contains("create that database"), "{gone}");
    let user = cluster.url().replace("postrider@", "nobody:hidden@");
    let user = refused(&user).await;
    assert!(user.contains("check user and password") && !user.contains("hidden"), "{user}");
    cluster.set_read_only(true).unwrap();
    let replica = refused(&cluster.url()).await;
    assert!(replica.contains("name the primary"), "{replica}");
    cluster.set_read_only(false).unwrap();
    cluster.stop().unwrap();
    let down = refused(&cluster.url()).await;
    assert!(down.contains("cannot be reached"), "{down}");
    let url = PostgresQueue::open("postgres://[", PostgresOptions::default()).await.unwrap_err();
    assert!(matches!(url, OpenPostgresError::Url(_)), "{url}");
    assert!(!url.may_pass());
}

#[tokio::test]
async fn a_schema_of_a_newer_release_is_used_while_it_bears_this_one() {
    let Some(stand) = PostgresStand::new() else { return };
    let queue = stand.open(PostgresOptions::default()).await;
    // What a next release would do, with this one running.
    stand.run(
        "INSERT INTO postrider_schema (version, oldest) VALUES (1000, 1); \
         ALTER TABLE deliveries ADD COLUMN novelty text; \
         ALTER TABLE notifications ADD COLUMN novelty text",
    );
    queue.enqueue(vec![item(&["slack"])]).await.unwrap();
    let second = stand.open(PostgresOptions::default()).await;
    assert_eq!(second.claim(&claim(&[("slack", 1, 0)])).await.unwrap().len(), 1);
    stand.run("INSERT INTO postrider_schema (version, oldest) VALUES (1001, 1000)");
    let refused = PostgresQueue::open(&stand.url(), PostgresOptions::default()).await.unwrap_err();
    assert!(!refused.may_pass());
    let expected = "schema version 1001, which needs a postrider that knows version 1000";
    assert!(refused.to_string().contains(expected), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_of_the_server_calls_succeed_again() {
    let Some(cluster) = Cluster::start_or_skip(Settings::durable()) else { return };
    let queue = PostgresQueue::open(&cluster.url(), PostgresOptions::default()).await.unwrap();
    queue.enqueue(vec![item(&["slack"])]).await.unwrap();
    cluster.stop().unwrap();
    let error = queue.enqueue(vec![item(&["slack"])]).await.unwrap_err();
    assert!(matches!(error, QueueError::Unavailable(_)), "{error}");
    cluster.start_again().unwrap();
    let start = Instant::now();
    // Each connection that the crash cut may still fail one call.
    while queue.enqueue(vec![item(&["slack"])]).await.is_err() {
        assert!(start.elapsed().as_secs() < 30);
    }
    cluster.restart_immediately().unwrap();
    let claimed = loop {
        match queue.claim(&claim(&[("slack", 9, 0)])).await {
            Ok(leases) => break leases,
            Err(_) => assert!(start.elapsed().as_secs() < 30),
        }
    };
    assert_eq!(claimed.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_unavailable_and_comes_back() {
    let Some(cluster) = own() else { return };
    let queue = PostgresQueue::open(&cluster.url(), PostgresOptions::default()).await.unwrap();
    queue.enqueue(vec![item(&["slack"])]).await.unwrap();
    cluster.pause().unwrap();
    let start = Instant::now();
    let error = queue.enqueue(vec![item(&["slack"])]).await.unwrap_err();
    assert!(matches!(error, QueueError::Unavailable(_)), "{error}");
    // Of a connect, too, the end is known.
    assert!(refused(&cluster.url()).await.contains("gave no connection in time"));
    cluster.resume().unwrap();
    while queue.size().await.is_err() {
        assert!(start.elapsed().as_secs() < 30);
    }
}

/// A full house is a matter of time, not of spinning: callers wait for a connection, then are told.
#[tokio::test(flavor = "multi_thread")]
async fn when_all_connections_are_taken_callers_are_told() {
    let Some(cluster) = own() else { return };
    let queue = PostgresQueue::open(&cluster.url(), PostgresOptions::default()).await.unwrap();
    cluster.stop().unwrap();
    cluster.start_again().unwrap();
    let mut others = Vec::new();
    while let Ok(other) = <sqlx::PgConnection as sqlx::Connection>::connect(&cluster.url()).await {
        others.push(other);
    }
    let error = queue.size().await.unwrap_err();
    assert!(matches!(error, QueueError::Unavailable(_)), "{error}");
    drop(others);
    let start = Instant::now();
    while queue.size().await.is_err() {
        assert!(start.elapsed().as_secs() < 30);
    }
}
