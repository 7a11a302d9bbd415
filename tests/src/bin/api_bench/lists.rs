//! Lists at a million rows, by every filter.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use postrider_tests::daemon::Daemon;
use postrider_tests::wire::{Wire, get, post};
use serde_json::Value;

use crate::figures::{Times, line, note};
use crate::{Size, address};

/// How often each list is asked for: of 40 the 99th percentile would be the slowest, one breath of the machine.
const TIMES: usize = 200;
const GOAL: Duration = Duration::from_millis(50);
const BATCH: usize = 1_000;

/// Queries of `/v1/notifications`: such that find much, little and nothing.
const NOTIFICATIONS: [&str; 21] = [
    "",
    "limit=1000",
    "type=fill.7",
    "type=fill.7*",
    "type=nothing",
    "source=host-31",
    "source=*-3?",
    "label=severity=high",
    "label=severity=high,rack=r5",
    "label=rack=none",
    "since=1m",
    "since=2h&until=30s",
    "until=2h",
    "state=arrived",
    "state=malformed",
    "state=unrouted",
    "state=live",
    "state=delivered",
    "state=dead",
    "state=cancelled",
    "type=fill.*&source=host-3*&label=rack=r7&since=1h&state=unrouted",
];
/// Queries of `/v1/deliveries`.
const DELIVERIES: [&str; 11] = [
    "",
    "limit=1000",
    "state=pending",
    "state=leased",
    "state=delivered",
    "state=dead",
    "state=cancelled",
    "destination=held",
    "destination=held&state=pending",
    "destination=held&state=cancelled",
    "destination=none",
];

pub(crate) async fn run(daemon: &Daemon, size: Size) {
    fill(daemon, size.rows).await;
    let (_, stats) = daemon.get("/v1/db/stats").await;
    let count = |what: &str| stats[what]["count"].as_u64().unwrap();
    note(
        "rows: notifications; deliveries; of these live",
        &format!("{}; {}; {}", count("notifications"), count("deliveries"), count("live")),
    );
    let mut wire = Wire::connect(address(daemon)).await;
    let bare = times(&mut wire, "/livez").await;
    note("yardstick: GET /livez, one connection, 99th percentile", &format!("{:.2?}", bare.p99()));

    let newest: Value =
        serde_json::from_slice(&wire.ask(&get("/v1/notifications?limit=1")).await).unwrap();
    let next: u64 = newest["next"].as_str().unwrap().parse().unwrap();
    let id = newest["items"][0]["id"].as_str().unwrap();
    let deep = format!("after={}", next / 2);
    let queries = NOTIFICATIONS.iter().copied().chain([deep.as_str()]);
    let mut paths: Vec<String> =
        queries.map(|query| format!("/v1/notifications?{query}")).collect();
    let of = format!("notification={id}");
    let queries = DELIVERIES.iter().copied().chain([of.as_str()]);
    paths.extend(queries.map(|query| format!("/v1/deliveries?{query}")));
    paths.extend(["/v1/db/stats".to_owned(), "/healthz".to_owned(), "/metrics".to_owned()]);
    for path in paths {
        let times = times(&mut wire, &path).await;
        let figure = format!(
            "{:.1?}; slowest {:.1?}, median {:.1?}",
            times.p99(),
            times.part(1.0),
            times.middle()
        );
        line(&path, &figure, "p99 <= 50 ms", times.p99() <= GOAL);
    }
}

async fn times(wire: &mut Wire, path: &str) -> Times {
    let request = get(path);
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let asked = Instant::now();
        wire.ask(&request).await;
        times.push(asked.elapsed());
    }
    Times::of(times)
}

/// Every tenth has a delivery, and of these a part is cancelled.
async fn fill(daemon: &Daemon, rows: usize) {
    let mut wire = Wire::connect(address(daemon)).await;
    let (_, stats) = daemon.get("/v1/db/stats").await;
    let there = stats["notifications"]["count"].as_u64().unwrap() as usize;
    let started = Instant::now();
    for first in (there..rows).step_by(BATCH) {
        let mut batch = String::from("[");
        for number in first..first + BATCH {
            let separator = if number == first { "" } else { "," };
            let kind =
                if number % 10 == 0 { "load".to_owned() } else { format!("fill.{}", number % 100) };
            let severity = if number % 50 == 0 { "high" } else { "low" };
            write!(
                batch,
                r#"{separator}{{"type":"{kind}.x","source":"host-{}","labels":{{"severity":"{severity}","rack":"r{}"}},"content":{number}}}"#,
                number % 97, number % 11
            ).unwrap();
        }
        batch.push(']');
        wire.ask(&post("/v1/notifications/batch", &batch)).await;
    }
    let rate = rows.saturating_sub(there) as f64 / started.elapsed().as_secs_f64();
    note("filled up by batches, one connection, small content", &format!("{rate:.0}/s"));
    let cancel = r#"{"destination":"held","state":"pending","limit":500}"#;
    for _ in 0..5 {
        wire.ask(&post("/v1/deliveries/cancel", cancel)).await;
    }
}
