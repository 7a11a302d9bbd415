//! The daemon whole: opens what it needs in order, serves until it is told to stop, and closes in reverse.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use postrider_core::HostId;
use postrider_queue::{
    Access, HostBeat, PostgresOptions, PostgresQueue, Queue, QueueError, SqliteOptions,
    SqliteQueue, TokenRecord,
};
use postrider_sandbox::{CompilerConfig, Sandbox, SandboxConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::api::auth::audit::Audit;
use crate::api::auth::doorman::Doorman;
use crate::api::auth::session::{self, Sessions};
use crate::api::gate::Gate;
use crate::api::overview::Overview;
use crate::api::{self, Api, Parts};
use crate::config::{Config, Database};
use crate::dispatcher::{Dispatcher, Options, Waker};
use crate::feed::Feed;
use crate::listen::bound::Bound;
use crate::listen::serve::Server;
use crate::listen::tls::Certificate;
use crate::manager::Manager;
use crate::notifier::QueueState;
use crate::plugins::asked::Asker;
use crate::plugins::kept::KeptModules;
use crate::plugins::reload::{Memory, Reloader};
use crate::plugins::secrets::Sources;
use crate::plugins::trials::Trials;
use crate::plugins::watcher::Watcher;
use crate::registry::SharedRegistry;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::signals::notices::Teller;
use crate::upkeep::admission::{Admission, Limits};
use crate::upkeep::{heart, pruner};

/// Longest wait for the first look at the plugins directory when the last run knew all that it makes: what is accepted
/// meanwhile waits for its destination.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// What is leased ahead of the free slots ends within this time, and within this share of the lease: other hosts could
/// have had it meanwhile.
const AHEAD: Duration = Duration::from_millis(500);
const AHEAD_SHARE: u32 = 8;

/// Wait before the next try to open a database that is not there at the start.
const DATABASE_WAIT: Duration = Duration::from_secs(1);
/// Shortest time between two lines in the log about it.
const DATABASE_SAY_AGAIN: Duration = Duration::from_secs(15);

/// Runs the daemon until SIGTERM or SIGINT.
pub async fn serve(settings: Settings, sources: Sources) -> Result<()> {
    let config = settings.current();
    let manager = Manager::of(&sources.environment);
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    // From now on it ends nobody; what it asks for is done when there is something to reload.
    let hangups = signal(SignalKind::hangup())?;
    let host = HostId(new_identity());
    create_directory(&config.data_dir)?;
    create_directory(&config.plugins_dir)?;
    let certificate = config.tls.clone().map(Certificate::open).transpose()?;
    let bound = Bound::open(&config.listen, certificate.is_some())?;
    let told_urls = bound.iter().map(|bound| bound.url.clone()).collect::<Vec<_>>().join(", ");
    let addresses: Vec<std::net::SocketAddr> = bound.iter().filter_map(Bound::address).collect();
    let remote = bound
        .iter()
        .find(|bound| bound.is_remote() || (config.require_token && bound.address().is_some()));
    let remote = remote.map(|bound| bound.url.clone());
    let plain = plain(&bound);
    // From now on callers are told to come back, rather than refused.
    let gate = Gate::telling(manager.clone());
    let server = Server {
        gate: gate.clone(),
        tls: certificate.as_ref().map(|c| c.config()).transpose()?.map(Into::into),
        require_token: config.require_token,
        stop: stop.clone(),
    };
    let mut serving = tokio::spawn(server.run(bound));
    if let Some(certificate) = certificate.clone() {
        tokio::spawn(certificate.watch(stop.clone()));
    }
    let (queue, access) = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        opened = open_queue(&config, host, &gate) => opened?,
    };
    if let Some(url) = remote {
        let tokens = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            tokens = tokens(&*access, &gate) => tokens?,
        };
        check_tokens(&url, &tokens)?;
    }
    for url in plain {
        tracing::warn!(
            listener.url = url,
            "tokens go over {url} in the clear; listen on https://IP:PORT, or put a proxy that encrypts before it"
        );
    }
    let sandbox = Sandbox::new(SandboxConfig {
        cache_dir: config.data_dir.join("cache"),
        // Modules are described and configured beside the deliveries.
        instances: config.max_concurrency.saturating_add(16),
        own: addresses,
        threads: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        compiler: CompilerConfig::default(),
    })?;
    let signals = Signals::new().context("the metrics do not fit together")?;
    signals.started(now());
    let registry = Arc::new(SharedRegistry::default());
    let waker = Waker::default();
    let modules = KeptModules::open(&config.data_dir.join("modules"))
        .with_context(|| format!("cannot use {}", config.data_dir.join("modules").display()))?;
    // Watched before the first look, so that nothing falls between.
    let watcher = Watcher::new(&config.plugins_dir);
    let hinter = watcher.hinter();
    let asked = Asker::new(watcher.hinter());
    let (trials, judge) = Trials::new(queue.clone(), signals.clone(), watcher.hinter());
    let mut reloader = Reloader {
        sandbox,
        state: Arc::new(QueueState(queue.clone())),
        queue: queue.clone(),
        registry: registry.clone(),
        waker: waker.clone(),
        directory: config.plugins_dir.clone(),
        modules,
        sources,
        signals: signals.clone(),
        trials,
        asked: asked.clone(),
        now,
        memory: Memory::default(),
    };
    let complete = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        recalled = recall(&mut reloader, &gate) => recalled?,
    };
    let judging = tokio::spawn(judge.run(stop.clone()));
    let (looked, first_look) = oneshot::channel();
    let mut reloading = tokio::spawn(reloader.run(watcher, stop.clone(), looked));
    tokio::select! {
        () = stop.cancelled() => {}
        _looked = first_look => {}
        // What the last run did not know must not miss what is accepted now.
        () = sleep(FIRST_LOOK), if complete => {}
    }

    let options = Options {
        host,
        lease: config.lease,
        grace: config.grace,
        orphan_after: config.orphan_after,
        max_concurrency: config.max_concurrency,
        ahead: AHEAD.min(config.lease / AHEAD_SHARE),
        signals: signals.clone(),
        now,
        dice,
    };
    let feed = Feed::new(host, now);
    tokio::spawn(feed.clone().run(stop.clone()));
    let dispatcher = Dispatcher::new(queue.clone(), registry.clone(), waker.clone(), options);
    let dispatcher = dispatcher.telling(feed.clone());
    let mut dispatching = tokio::spawn(dispatcher.run(stop.clone()));
    let admission = Admission::new(limits(&config));
    let measuring = tokio::spawn(admission.clone().watch(queue.clone(), stop.clone()));
    let pruning = tokio::spawn(pruner::run(queue.clone(), settings.clone(), stop.clone()));
    let teller = Teller {
        queue: queue.clone(),
        registry: registry.clone(),
        waker: waker.clone(),
        host: heart::machine(),
        now,
        new_id,
    };
    let telling = tokio::spawn(signals.clone().tell_all(teller, stop.clone()));
    let told = told(host, told_urls.clone());
    let beating = tokio::spawn(heart::run(queue.clone(), registry.clone(), told, stop.clone()));
    let key = session::key(&config.data_dir.join("session.key"), rand::random())?;
    let reload = Reload {
        settings: settings.clone(),
        manager: manager.clone(),
        admission: admission.clone(),
        certificate,
        hinter,
    };
    let api = Api::new(Parts {
        queue: queue.clone(),
        access: access.clone(),
        audit: Audit::new(access.clone()),
        doorman: Doorman::new(access, Sessions::new(key, now)),
        registry,
        waker,
        signals: signals.clone(),
        asked,
        max_body: config.max_body,
        admission,
        feed,
        overview: Overview::new(host),
        feed_stop: stop.clone(),
        settings: settings.clone(),
        database: config.database.shown().into(),
        now,
        new_id,
    });
    gate.open(api::router(api));
    tracing::info!(host.id = %host, wasmtime.version = postrider_sandbox::wasmtime_version(), "ready at {told_urls}");
    manager.ready();
    tokio::spawn(reload.on_each(hangups));
    let status = format!("delivering; the API is at {told_urls}");
    tokio::spawn(manager.clone().watch(signals, status, stop.clone()));

    // None of them ends by itself: one that does takes the daemon with it, rather than leave half of one.
    let early = tokio::select! {
        // First: at a stop all of them end.
        biased;
        () = stop.cancelled() => None,
        ended = &mut dispatching => Some(("the dispatcher", ended.map(Ok))),
        ended = &mut serving => Some(("the API", ended)),
        ended = &mut reloading => Some(("the reload", ended.map(Ok))),
    };
    stop.cancel();
    manager.stopping();
    if let Some((who, ended)) = early {
        tracing::error!("{who} ended by itself; stopping");
        queue.close().await;
        ended.with_context(|| format!("{who} failed"))??;
        anyhow::bail!("{who} ended by itself");
    }
    tracing::info!("stopping");
    dispatching.await.context("the dispatcher failed")?;
    serving.await.context("the API failed")??;
    reloading.await.context("the reload failed")?;
    for (who, task) in [
        ("retention", pruning),
        ("the trials of new modules", judging),
        ("the heartbeat", beating),
        ("admission", measuring),
        ("notices", telling),
    ] {
        task.await.with_context(|| format!("{who} failed"))?;
    }
    queue.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// What an operator allows. The disk is SQLite's: that of a PostgreSQL server cannot be seen from here.
fn limits(config: &Config) -> Limits {
    let disk = match &config.database {
        Database::Sqlite(path) => {
            let directory = path.parent().filter(|d| !d.as_os_str().is_empty());
            Some((directory.unwrap_or(Path::new(".")).to_owned(), config.min_free_disk))
        }
        Database::Postgres(_) => None,
    };
    Limits { max_queue: config.max_queue, disk: disk.filter(|(_, floor)| *floor > 0) }
}

fn told(id: HostId, listen: String) -> HostBeat {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    HostBeat { id, name: heart::machine(), version, listen, destinations: Vec::new() }
}

/// The listeners that others reach without encryption.
fn plain(bound: &[Bound]) -> Vec<String> {
    let plain = bound.iter().filter(|bound| bound.is_remote() && bound.is_plain());
    plain.map(|bound| bound.url.clone()).collect()
}

/// All tokens, as soon as the database is there.
async fn tokens(access: &dyn Access, gate: &Gate) -> Result<Vec<TokenRecord>> {
    let mut patience = Patience::new(gate);
    loop {
        match access.tokens().await {
            Ok(tokens) => return Ok(tokens),
            Err(QueueError::Unavailable(reason)) => patience.wait(&reason).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Refuses to stand open where nobody could come in.
fn check_tokens(url: &str, tokens: &[TokenRecord]) -> Result<()> {
    anyhow::ensure!(
        tokens.iter().any(|token| !token.expired),
        "{url} can be reached from other machines or asks for tokens, and there is none; make one with \
         `postrider token create NAME --scope admin`, or listen on 127.0.0.1"
    );
    Ok(())
}

/// One store, for both of its uses.
type Opened = (Arc<dyn Queue>, Arc<dyn Access>);

async fn open_queue(config: &Config, host: HostId, gate: &Gate) -> Result<Opened> {
    match &config.database {
        Database::Sqlite(path) => {
            if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
                create_directory(directory)?;
            }
            let queue = Arc::new(SqliteQueue::open(path, SqliteOptions::default()).await?);
            Ok((queue.clone(), queue))
        }
        Database::Postgres(url) => {
            let listen_notify = config.listen_notify.then_some(host);
            let options = PostgresOptions { listen_notify, ..PostgresOptions::default() };
            let queue = Arc::new(open_postgres(url, options, gate).await?);
            Ok((queue.clone(), queue))
        }
    }
}

/// Tries until the database is there: a daemon that starts before its database, or while it restarts, needs nobody.
async fn open_postgres(url: &str, options: PostgresOptions, gate: &Gate) -> Result<PostgresQueue> {
    let mut patience = Patience::new(gate);
    loop {
        match PostgresQueue::open(url, options.clone()).await {
            Ok(queue) => return Ok(queue),
            Err(error) if error.may_pass() => patience.wait(&error).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tries until the destinations of the last run can be read: the database may go away again just after it was opened.
async fn recall(reloader: &mut Reloader, gate: &Gate) -> Result<bool> {
    let mut patience = Patience::new(gate);
    loop {
        let error = match reloader.recall().await {
            Ok(complete) => return Ok(complete),
            Err(error) => error,
        };
        match error.downcast_ref() {
            Some(QueueError::Unavailable(reason)) => patience.wait(reason).await,
            _ => return Err(error.context("cannot read the destinations of the last run")),
        }
    }
}

/// Waits for the database at the start, and says why: to callers always, in the log now and then.
struct Patience<'a> {
    gate: &'a Gate,
    said: Option<Instant>,
}

impl<'a> Patience<'a> {
    fn new(gate: &'a Gate) -> Self {
        Self { gate, said: None }
    }

    async fn wait(&mut self, error: &(impl std::fmt::Display + Sync + ?Sized)) {
        if self.said.is_none_or(|at| at.elapsed() >= DATABASE_SAY_AGAIN) {
            self.said = Some(Instant::now());
            tracing::error!(%error, "the database cannot be used yet; postrider tries on");
        }
        self.gate.explain(format!("postrider waits for its database: {error}"));
        sleep(DATABASE_WAIT).await;
    }
}

fn create_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| {
        format!(
            "cannot create the directory {}; choose another --data-dir or make it writable",
            path.display()
        )
    })
}

fn stop_on_signals(stop: &CancellationToken) -> Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                stop.cancel();
            }
        });
    }
    Ok(())
}

/// What SIGHUP asks for: the settings, the certificate and the plugins directory are looked at.
struct Reload {
    settings: Settings,
    manager: Manager,
    admission: Admission,
    certificate: Option<Arc<Certificate>>,
    hinter: Arc<Notify>,
}

impl Reload {
    async fn on_each(self, mut hangups: Signal) {
        while hangups.recv().await.is_some() {
            self.manager.reloading();
            self.settings.reload_aloud();
            self.admission.set(limits(&self.settings.current()));
            if let Some(certificate) = &self.certificate {
                certificate.look();
            }
            self.hinter.notify_one();
            self.manager.ready();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the daemon's clock is read here and passed on")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[expect(clippy::disallowed_methods, reason = "ids are made here and passed on")]
fn new_id() -> Uuid {
    Uuid::now_v7()
}

#[expect(clippy::disallowed_methods, reason = "an identity for each process is made here")]
fn new_identity() -> Uuid {
    Uuid::new_v4()
}

fn dice() -> f64 {
    rand::random()
}
