//! From the commit of a notification to its receiver's request, with a bare client as the yardstick of the same run.
//!
//! `cargo xtask bench` builds the daemon and this for release and runs it.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench prints, and may fail loudly"
)]

use std::time::{Duration, Instant};

use postrider_tests::daemon::{Daemon, House, PATIENCE, http};
use postrider_tests::receiver::Receiver;
use serde_json::json;

/// Notifications one at a time, each after the one before arrived.
const IDLE: usize = 300;
/// Notifications at once, for rate and memory.
const LOAD: usize = 10_000;
/// Requests at once while loading.
const CALLERS: usize = 16;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(run());
}

async fn run() {
    let receiver = Receiver::ok().await;
    let house = House::new();
    let origin = receiver.origin();
    for guest in ["webhook", "console"] {
        house.put_module(guest, guest);
    }
    let allow =
        format!("allow = [\"{origin}\"]\nallow_private = true\nconfig.url = \"{origin}/hook\"\n");
    house.put("webhook.toml", &allow);
    house.put("console.toml", "match.type = \"never\"");

    let bare = bare(&receiver).await;
    let (cold, daemon) = start(&house).await;
    assert!(daemon.stop().await.success());
    let (warm, daemon) = start(&house).await;
    println!("start to ready, two modules   cold cache {cold:>8.1?}   warm cache {warm:>8.1?}");

    let way = way(&receiver, &daemon).await;
    row("bare client, request to receiver", &bare);
    row("commit to receiver, idle daemon", &way);
    println!(
        "ratio of the medians {:.1}",
        way[IDLE / 2].as_secs_f64() / bare[IDLE / 2].as_secs_f64()
    );

    let started = Instant::now();
    load(&daemon).await;
    let ingested = started.elapsed();
    receiver.ids(2 * IDLE + LOAD, 4 * PATIENCE).await;
    daemon.until_empty().await;
    let rate = |time: Duration| LOAD as f64 / time.as_secs_f64();
    println!(
        "{LOAD} notifications, {CALLERS} callers: ingested {:.0}/s, delivered {:.0}/s",
        rate(ingested),
        rate(started.elapsed())
    );
    println!("resident after them {} MiB", resident(daemon.pid()) >> 20);
    assert!(daemon.stop().await.success());
}

async fn start(house: &House) -> (Duration, Daemon) {
    let started = Instant::now();
    let daemon = house.start().await;
    (started.elapsed(), daemon)
}

/// What a client without queue and sandbox needs to reach the same receiver.
async fn bare(receiver: &Receiver) -> Vec<Duration> {
    let mut times = Vec::with_capacity(IDLE);
    for n in 0..IDLE {
        let started = Instant::now();
        let request = http().post(format!("{}/hook", receiver.origin()));
        request.header("webhook-id", format!("bare-{n}")).body("{}").send().await.unwrap();
        times.push(started.elapsed());
    }
    times.sort_unstable();
    times
}

async fn way(receiver: &Receiver, daemon: &Daemon) -> Vec<Duration> {
    let mut times = Vec::with_capacity(IDLE);
    for n in 1..=IDLE {
        // The answer comes after the commit; the request may already be there.
        daemon.enqueue(&json!({"type": "bench", "content": n})).await;
        let started = Instant::now();
        receiver.until(IDLE + n, PATIENCE).await;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    times
}

async fn load(daemon: &Daemon) {
    let callers = (0..CALLERS).map(|_| async {
        for n in 0..LOAD / CALLERS {
            daemon.enqueue(&json!({"type": "bench", "content": n})).await;
        }
    });
    futures_util::future::join_all(callers).await;
}

fn row(what: &str, sorted: &[Duration]) {
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    println!("{what:<34} p50 {:>9.2?}   p95 {:>9.2?}   p99 {:>9.2?}", at(0.5), at(0.95), at(0.99));
}

/// Bytes of memory that the process holds.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
