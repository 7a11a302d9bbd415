//! Taking in, one at a time and in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use postrider_tests::daemon::Daemon;
use postrider_tests::wire::{Wire, get, post};

use crate::figures::{Times, line, note};
use crate::{Size, address};

const CONNECTIONS: usize = 32;
/// Content of a notification, in bytes.
pub(crate) const CONTENT: usize = 1_024;
/// Notifications of one batch.
const BATCH: usize = 1_000;
/// Connections that send batches.
const BATCHERS: usize = 4;

pub(crate) async fn run(daemon: &Daemon, size: Size, floor: f64) {
    let (bare, _) = all(daemon, size.requests, CONNECTIONS, &get("/livez")).await;
    note("yardstick: GET /livez, 32 connections", &format!("{bare:.0}/s"));

    let request = post("/v1/notifications", &notification(CONTENT));
    // The first ones open the store's connections and its cache.
    all(daemon, size.requests / 20, CONNECTIONS, &request).await;
    let (rate, times) = all(daemon, size.requests, CONNECTIONS, &request).await;
    let p99 = times.p99();
    line(
        "one at a time, 32 connections, 1 KiB",
        &format!("{rate:.0}/s"),
        ">= 4000/s",
        rate >= 4_000.0,
    );
    let met = p99 <= Duration::from_millis(50);
    line("  its 99th percentile", &format!("{p99:.1?}"), "<= 50 ms", met);
    note(
        "  median; of the no-op route's rate; commits' floor",
        &format!("{:.1?}; {:.2}; {:.1}x", times.middle(), rate / bare, rate / floor),
    );

    let batch = vec![notification(CONTENT); BATCH].join(",");
    let request = post("/v1/notifications/batch", &format!("[{batch}]"));
    let (rate, times) = all(daemon, (size.requests / 250).max(40), BATCHERS, &request).await;
    let rate = rate * BATCH as f64;
    let what = format!("batches of {BATCH}, {BATCHERS} connections, 1 KiB");
    line(&what, &format!("{rate:.0}/s"), ">= 20000/s", rate >= 20_000.0);
    note(
        "  median and 99th percentile of a batch",
        &format!("{:.0?}; {:.0?}", times.middle(), times.p99()),
    );
}

/// One that the paused destination gets.
pub(crate) fn notification(content: usize) -> String {
    let text = "x".repeat(content);
    format!(
        r#"{{"type":"load.one","source":"bench","labels":{{"severity":"low"}},"content":"{text}"}}"#
    )
}

/// Sends a request so often over so many connections. Answers the rate, and the times.
pub(crate) async fn all(
    daemon: &Daemon,
    count: usize,
    connections: usize,
    request: &[u8],
) -> (f64, Times) {
    let (address, left) = (address(daemon), Arc::new(AtomicUsize::new(count)));
    let mut wires = Vec::new();
    for _ in 0..connections {
        wires.push(Wire::connect(address).await);
    }
    let started = Instant::now();
    let tasks: Vec<_> = wires
        .into_iter()
        .map(|mut wire| {
            let (left, request) = (left.clone(), request.to_vec());
            tokio::spawn(async move {
                let mut times = Vec::new();
                let take = |left: usize| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                    let asked = Instant::now();
                    wire.ask(&request).await;
                    times.push(asked.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::with_capacity(count);
    for task in tasks {
        times.append(&mut task.await.unwrap());
    }
    (count as f64 / started.elapsed().as_secs_f64(), Times::of(times))
}
