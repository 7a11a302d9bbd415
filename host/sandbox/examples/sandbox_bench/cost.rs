//! Processor time of a delivery without a network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postrider_core::{Notification, Outcome};
use postrider_sandbox::{Notifier, Plugin, Sandbox};

use crate::{bind, cpu_time, median, notification, on_workers};

/// Deliveries at once.
const IN_FLIGHT: usize = 32;
const WARM_UP: Duration = Duration::from_millis(300);
const ROUND: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;

pub(crate) async fn run(sandbox: &Sandbox, plugin: &Arc<Plugin>) {
    let notification = Arc::new(notification());
    println!("cpu of a delivery, send of 1 KiB without a network, {IN_FLIGHT} at once");
    for (name, toml, goal) in [
        ("fresh instance", "config.do = \"ok\"", 15.0),
        ("reused instance", "reuse = { count = 1000000, age = \"1h\" }\nconfig.do = \"ok\"", 3.0),
    ] {
        let notifier = bind(plugin, toml).await;
        spend(sandbox, &notifier, &notification, WARM_UP).await;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(spend(sandbox, &notifier, &notification, ROUND).await);
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
async fn spend(
    sandbox: &Sandbox,
    notifier: &Notifier,
    notification: &Arc<Notification>,
    time: Duration,
) -> (f64, f64) {
    let (cpu, end) = (cpu_time(), Instant::now() + time);
    let ended = on_workers(sandbox, IN_FLIGHT, || {
        let (notifier, notification) = (notifier.clone(), notification.clone());
        async move {
            let (mut count, mut inside) = (0_u32, Duration::ZERO);
            while Instant::now() < end {
                let sent = notifier.send(&notification, 1, 0).await;
                assert!(matches!(sent.outcome, Outcome::Delivered(_)), "{sent:?}");
                inside += sent.usage.elapsed;
                count += 1;
                // Nothing else lets the other deliveries of this thread on.
                tokio::task::yield_now().await;
            }
            (count, inside)
        }
    })
    .await;
    let count: f64 = ended.iter().map(|(count, _)| f64::from(*count)).sum();
    let inside: Duration = ended.iter().map(|(_, inside)| *inside).sum();
    ((cpu_time() - cpu).as_secs_f64() * 1e6 / count, inside.as_secs_f64() * 1e6 / count)
}
