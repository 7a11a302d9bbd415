//! Listeners, and a good client beside bad ones.

use std::time::{Duration, Instant};

use postrider_tests::daemon::Daemon;
use postrider_tests::wire::{Wire, get, post};

use crate::address;
use crate::figures::{Times, line, note, resident};
use crate::ingest::{CONTENT, notification};

const LISTENERS: usize = 200;
/// Requests that never end.
const HALVES: usize = 500;
/// Requests of the good client, one after the other.
const GOOD: usize = 2_000;
/// Rounds with and without bad ones, of which the middle ratio counts.
const ROUNDS: usize = 5;
/// Events that each listener waits for.
const EVENTS: usize = 200;

/// All listeners get all events.
pub(crate) async fn listen(daemon: &Daemon) {
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        let mut wire = Wire::connect(address(daemon)).await;
        wire.open(&get("/v1/events")).await;
        listeners.push(wire);
    }
    let mut good = Wire::connect(address(daemon)).await;
    let request = post("/v1/notifications", &notification(CONTENT));
    let started = Instant::now();
    for _ in 0..EVENTS {
        good.ask(&request).await;
    }
    let sent = started.elapsed();
    let hearing = listeners.into_iter().map(|mut wire| {
        tokio::spawn(async move { wire.until("event: notification.accepted", EVENTS).await })
    });
    for heard in hearing.collect::<Vec<_>>() {
        let heard = tokio::time::timeout(Duration::from_secs(30), heard).await;
        heard.expect("all events within 30 s").unwrap();
    }
    let after = started.elapsed() - sent;
    let figure = format!("{EVENTS} each, the last {after:.0?} late");
    line(&format!("{LISTENERS} listeners hear every event"), &figure, "all", true);
}

/// Alone and beside the bad ones in turn: what the disk does meanwhile is the same for both.
pub(crate) async fn good_beside_bad(daemon: &Daemon) {
    let (mut ratios, mut besides, mut alones, mut grown) = (vec![], vec![], vec![], 0.0_f64);
    for _ in 0..ROUNDS {
        let alone = good(daemon).await;
        let before = resident(daemon.pid());
        let bad = bad(daemon).await;
        let beside = good(daemon).await;
        grown = grown.max(resident(daemon.pid()) - before);
        drop(bad);
        ratios.push(beside.p99().as_secs_f64() / alone.p99().as_secs_f64());
        besides.push(beside.p99());
        alones.push((alone.p99(), alone.middle()));
    }
    let ratio = middle(ratios.clone());
    let what = format!("good client beside {HALVES} halves, {LISTENERS} deaf listeners");
    let beside = middle(besides);
    line(&what, &format!("p99 {beside:.1?}; {ratio:.2}x"), "<= 3x", ratio <= 3.0);
    let ratios: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    note("  the same, round by round", &ratios.join(", "));
    let (p99, half) = middle(alones);
    note("  alone: 99th percentile and median", &format!("{p99:.1?}; {half:.1?}"));
    let figure = format!("{grown:.1} MiB");
    line("  the daemon's memory grows by", &figure, "<= 100 MiB", grown <= 100.0);
}

/// Requests that never end and listeners who never read.
async fn bad(daemon: &Daemon) -> Vec<Wire> {
    let mut bad = Vec::new();
    for number in 0..HALVES {
        let mut wire = Wire::connect(address(daemon)).await;
        let head =
            "POST /v1/notifications HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4000000\r\n";
        // Half of them stop in the head, half in the body.
        let half = if number % 2 == 0 { head.to_owned() } else { format!("{head}\r\n{{\"type\":") };
        wire.send(half.as_bytes()).await;
        bad.push(wire);
    }
    for _ in 0..LISTENERS {
        let mut wire = Wire::connect(address(daemon)).await;
        wire.send(&get("/v1/events")).await;
        bad.push(wire);
    }
    bad
}

fn middle<T: PartialOrd + Copy>(mut figures: Vec<T>) -> T {
    figures.sort_by(|a, b| a.partial_cmp(b).expect("they are numbers"));
    figures[figures.len() / 2]
}

async fn good(daemon: &Daemon) -> Times {
    let mut wire = Wire::connect(address(daemon)).await;
    let request = post("/v1/notifications", &notification(CONTENT));
    let mut times = Vec::with_capacity(GOOD);
    for _ in 0..GOOD {
        let asked = Instant::now();
        wire.ask(&request).await;
        times.push(asked.elapsed());
    }
    Times::of(times)
}
