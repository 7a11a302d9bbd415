//! A guest that says "delivered", through a fresh or a reused instance.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use postrider_core::{Destination, Outcome};
use postrider_sandbox::{CompilerConfig, Notifier, Plugin, Sandbox, SandboxConfig, Secrets};
use tokio::sync::oneshot;

use crate::notification::notification;

/// Instances at once. Each reserves some GiB of address space, of which there is little where instructions are counted.
const INSTANCES: u32 = 4;
/// Of a destination whose instance outlives all deliveries.
pub(crate) const REUSE: &str = "reuse = { count = 1000000, age = \"1h\" }\n";

pub(crate) struct Bench {
    sandbox: Sandbox,
    plugin: Arc<Plugin>,
}

impl Bench {
    /// Compiles the module where the cache does not have it.
    pub(crate) async fn open(module: &Path, cache: &Path) -> Result<Self> {
        let compiler = CompilerConfig {
            // `/proc/self/exe` is not this program where another one runs it.
            program: std::env::current_exe()?,
            // That one takes address space of its own.
            memory: u64::MAX,
            ..CompilerConfig::default()
        };
        let config = SandboxConfig {
            cache_dir: cache.to_owned(),
            instances: INSTANCES,
            own: Vec::new(),
            threads: 1,
            compiler,
        };
        let sandbox = Sandbox::new(config)?;
        let bytes = std::fs::read(module).with_context(|| format!("{}", module.display()))?;
        let plugin = sandbox.load("fixture", bytes.into()).await?;
        Ok(Self { sandbox, plugin })
    }

    pub(crate) async fn run(&self, reuse: &str, deliveries: usize) -> Result<()> {
        let destination = Destination::parse("count", &format!("{reuse}config.do = \"ok\"\n"))?;
        let notifier = self.plugin.bind(&destination, Secrets::default(), None).await?;
        let (end, ended) = oneshot::channel();
        // On the guests' thread, as the daemon's attempts.
        self.sandbox
            .start(Box::pin(async move { drop(end.send(send(notifier, deliveries).await)) }));
        ended.await?
    }
}

async fn send(notifier: Notifier, deliveries: usize) -> Result<()> {
    let notification = notification(0);
    for _ in 0..deliveries {
        let sent = notifier.send(&notification, 1, 0).await;
        ensure!(matches!(sent.outcome, Outcome::Delivered(_)), "{:?}", sent.outcome);
    }
    Ok(())
}
