//! What a delivery costs in the sandbox alone, and what the guarded client costs beside a bare one, in one run.
//!
//! `cargo xtask bench sandbox` builds the fixture guest and this for release and runs it. A second argument names one
//! part, for a profiler: `cost`, `bare`, `guarded`, `reused`, `fresh`.
//!
//! - `cost`: processor time of a delivery without a network.
//! - `rates`: requests a second, bare, guarded, and through instances.
//! - `server`: the receiver.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench prints, and may fail loudly"
)]

mod cost;
mod rates;
mod server;

use std::future::Future;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use jiff::Timestamp;
use postrider_core::{Destination, Notification, NotificationId, Outcome};
use postrider_sandbox::{CompilerConfig, Notifier, Plugin, Sandbox, SandboxConfig, Secrets};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;

/// Instances at once: above all deliveries in flight.
const INSTANCES: u32 = 128;
/// Bytes of content.
const CONTENT: usize = 1 << 10;

fn main() -> ExitCode {
    // Before any thread, as in the daemon.
    if let Some(compiled) = postrider_sandbox::compile_child() {
        return compiled;
    }
    let module = std::env::args_os().nth(1).expect("the path of the fixture guest");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(Path::new(&module)));
    ExitCode::SUCCESS
}

async fn run(module: &Path) {
    let cache = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new(SandboxConfig {
        cache_dir: cache.path().to_owned(),
        instances: INSTANCES,
        own: Vec::new(),
        threads: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        compiler: CompilerConfig::default(),
    })
    .unwrap();
    let bytes = std::fs::read(module).unwrap();
    let plugin = sandbox.load("fixture", bytes.into()).await.unwrap();
    let only = std::env::args().nth(2).unwrap_or_default();
    if "cost".starts_with(&only) {
        cost::run(&sandbox, &plugin).await;
    }
    rates::run(&sandbox, &plugin, &only).await;
}

/// Binds the guest to a destination given as TOML.
async fn bind(plugin: &Arc<Plugin>, toml: &str) -> Notifier {
    let destination = Destination::parse("bench", toml).unwrap();
    plugin.bind(&destination, Secrets::default(), None).await.unwrap()
}

fn notification() -> Notification {
    Notification {
        id: NotificationId(uuid::Uuid::from_u128(7)),
        kind: "alert.firing".into(),
        source: "bench".into(),
        subject: Some("db1".into()),
        labels: [("severity".to_owned(), "high".to_owned())].into(),
        content_type: "application/json".into(),
        content: Bytes::from(format!("\"{}\"", "x".repeat(CONTENT - 2))),
        time: Timestamp::UNIX_EPOCH,
        trace: None,
    }
}

async fn deliver(notifier: &Notifier, notification: &Notification) {
    let sent = notifier.send(notification, 1, 0).await;
    assert!(matches!(sent.outcome, Outcome::Delivered(_)), "{sent:?}");
}

/// Runs so many of what `make` makes on the threads of the guests, as the daemon does, and waits for their ends.
async fn on_workers<F>(sandbox: &Sandbox, count: usize, make: impl Fn() -> F) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut running = Vec::new();
    for _ in 0..count {
        let (end, ended) = oneshot::channel();
        let work = make();
        sandbox.start(Box::pin(async move { drop(end.send(work.await)) }));
        running.push(async { ended.await.unwrap() });
    }
    join_all(running).await
}

/// The middle of an odd number of figures.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Processor time of this process.
fn cpu_time() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), u32::try_from(spent.tv_nsec).unwrap())
}
