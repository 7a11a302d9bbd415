//! The sandbox without a daemon: a send that does nothing, and one through the webhook module to the receiver.
//! `cargo xtask bench sandbox` has more of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::join_all;
use jiff::Timestamp;
use postrider_core::{Destination, Notification, NotificationId, Outcome};
use postrider_sandbox::{CompilerConfig, Notifier, Plugin, Sandbox, SandboxConfig, Secrets};
use postrider_tests::modules::module;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::process::process_cpu;
use crate::setup::{Setup, Store};

/// Deliveries at once.
const IN_FLIGHT: usize = 32;
/// Instances at once. A quarter of it may wait to be used again: those of both modules.
const INSTANCES: u32 = 512;
/// For connections and code.
const WARM_UP: Duration = Duration::from_millis(200);

/// What the sandbox does with as many threads as the daemon gives it.
pub(crate) struct Rates {
    /// Processor time of a send that does nothing, in µs.
    pub(crate) cpu_us: f64,
    /// Requests a second.
    pub(crate) posted: f64,
    /// Processor time of one, in µs.
    pub(crate) post_cpu_us: f64,
}

/// Modules that are bound as a destination of the daemon binds them.
pub(crate) struct Bench {
    // Before its modules go.
    _sandbox: Sandbox,
    nothing: Arc<Plugin>,
    webhook: Arc<Plugin>,
    notification: Notification,
}

impl Bench {
    pub(crate) async fn new(cache: &Path) -> Result<Self> {
        let sandbox = Sandbox::new(SandboxConfig {
            cache_dir: cache.to_owned(),
            instances: INSTANCES,
            own: Vec::new(),
            threads: std::thread::available_parallelism()?.get(),
            compiler: CompilerConfig::default(),
        })?;
        let load = async |name| {
            let bytes = std::fs::read(module(name))?;
            sandbox.load(name, bytes.into()).await.with_context(|| name.to_owned())
        };
        let (nothing, webhook) = (load("fixture").await?, load("webhook").await?);
        Ok(Self { nothing, webhook, notification: notification(), _sandbox: sandbox })
    }

    pub(crate) async fn measure(
        &self,
        reuse: bool,
        receiver: SocketAddr,
        time: Duration,
    ) -> Result<Rates> {
        let setup = Setup { reuse, ..Setup::new(Store::Sqlite, 1) };
        let more = if reuse { "reuse = { count = 1000000, age = \"1h\" }\n" } else { "" };
        let nothing = bind(&self.nothing, &format!("{more}config.do = \"ok\"\n")).await?;
        // A connection for each that is in flight.
        let concurrency = Some(u32::try_from(IN_FLIGHT)?);
        let webhook = bind(&self.webhook, &setup.destination(0, receiver, concurrency)).await?;
        let (_, cpu_us) = self.send(&nothing, time).await?;
        let (posted, post_cpu_us) = self.send(&webhook, time).await?;
        Ok(Rates { cpu_us, posted, post_cpu_us })
    }

    /// Sends a second, and processor time of one in µs.
    async fn send(&self, notifier: &Notifier, time: Duration) -> Result<(f64, f64)> {
        self.many(notifier, WARM_UP).await?;
        let (started, cpu) = (Instant::now(), process_cpu());
        let count = f64::from(self.many(notifier, time).await?);
        let cpu_us = (process_cpu() - cpu).as_secs_f64() * 1e6 / count;
        Ok((count / started.elapsed().as_secs_f64(), cpu_us))
    }

    async fn many(&self, notifier: &Notifier, time: Duration) -> Result<u32> {
        let end = Instant::now() + time;
        let loops = (0..IN_FLIGHT).map(|_| {
            let (ended, wait) = oneshot::channel();
            let sends = sends(notifier.clone(), self.notification.clone(), end);
            // On the guests' threads, as the daemon's attempts.
            notifier.start(Box::pin(async { drop(ended.send(sends.await)) }));
            wait
        });
        join_all(loops).await.into_iter().map(|ended| ended?).sum()
    }
}

async fn sends(notifier: Notifier, notification: Notification, end: Instant) -> Result<u32> {
    let mut count = 0;
    while Instant::now() < end {
        let sent = notifier.send(&notification, 1, 0).await;
        ensure!(matches!(sent.outcome, Outcome::Delivered(_)), "{:?}", sent.outcome);
        count += 1;
    }
    Ok(count)
}

async fn bind(plugin: &Arc<Plugin>, toml: &str) -> Result<Notifier> {
    let destination = Destination::parse("bench", toml)?;
    Ok(plugin.bind(&destination, Secrets::default(), None).await?)
}

fn notification() -> Notification {
    Notification {
        id: NotificationId(Uuid::from_u128(7)),
        kind: "load.0".to_owned(),
        source: "bench".to_owned(),
        subject: None,
        labels: [("severity".to_owned(), "low".to_owned())].into(),
        content_type: "application/json".to_owned(),
        content: Bytes::from(Setup::new(Store::Sqlite, 1).content()),
        time: Timestamp::UNIX_EPOCH,
        trace: None,
    }
}
