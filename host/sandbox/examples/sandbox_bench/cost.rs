//! Processor time of a delivery without a network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use postrider_core::Notification;
use postrider_sandbox::{Notifier, Plugin};
use rustix::time::{ClockId, clock_gettime};

use crate::{bind, deliver, median, notification};

/// Deliveries at once: handing one to the worker's thread wakes it, which several share as in a busy daemon.
const IN_FLIGHT: usize = 32;
const WARM_UP: Duration = Duration::from_millis(300);
const ROUND: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;

pub(crate) async fn run(plugin: &Arc<Plugin>) {
    let notification = notification();
    println!("cpu of a delivery, send of 1 KiB without a network, {IN_FLIGHT} at once");
    for (name, toml, goal) in [
        ("fresh instance", "config.do = \"ok\"", 15.0),
        ("reused instance", "reuse = { count = 1000000, age = \"1h\" }\nconfig.do = \"ok\"", 3.0),
    ] {
        let notifier = bind(plugin, toml).await;
        spend(&notifier, &notification, WARM_UP).await;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(spend(&notifier, &notification, ROUND).await);
        }
        let (all, inside): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
        println!(
            "  {name:<18} {:>6.2} µs of the process, {:>6.2} µs of the clock inside of the call; goal {goal} µs",
            median(all),
            median(inside)
        );
    }
}

/// Microseconds a delivery: of the whole process, and between the start and the end of the call on its thread.
async fn spend(notifier: &Notifier, notification: &Notification, time: Duration) -> (f64, f64) {
    let (cpu, end) = (cpu_time(), Instant::now() + time);
    let loops = (0..IN_FLIGHT).map(|_| async {
        let (mut count, mut inside) = (0_u32, Duration::ZERO);
        while Instant::now() < end {
            inside += notifier.send(notification, 1, 0).await.usage.elapsed;
            count += 1;
        }
        (count, inside)
    });
    let ended = join_all(loops).await;
    let count: f64 = ended.iter().map(|(count, _)| f64::from(*count)).sum();
    let inside: Duration = ended.iter().map(|(_, inside)| *inside).sum();
    deliver(notifier, notification).await;
    ((cpu_time() - cpu).as_secs_f64() * 1e6 / count, inside.as_secs_f64() * 1e6 / count)
}

fn cpu_time() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), u32::try_from(spent.tv_nsec).unwrap())
}
