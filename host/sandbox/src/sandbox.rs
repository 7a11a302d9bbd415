//! The sandbox: engine, worker threads, compiler and cache of one daemon.

use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::afterwards::Afterwards;
use crate::binding::Binding;
use crate::bindings::NotifierPre;
use crate::cache::{Cache, Content, checksum, hex};
use crate::call::{Call, Ended, Usage};
use crate::client::Client;
use crate::compile::{Compiler, CompilerConfig};
use crate::component::MAX_FILE;
use crate::context::Context;
use crate::engine::Ticker;
use crate::fault::Abrupt;
use crate::load::{LoadError, LoadProblem};
use crate::plugin::Plugin;
use crate::tls::Tls;
use crate::turns::Turns;
use crate::workers::{Task, Workers};
use crate::{convert, engine, imports};

/// Instances at once, unless the configuration says otherwise: each reserves some GiB of address space, no memory.
pub const DEFAULT_INSTANCES: u32 = 256;
/// Of these, one more for so many may wait to be used again.
const WAITING_SHARE: u32 = 4;
/// How long `describe` may take.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long past its time a call may keep a worker busy before its caller stops waiting for it.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// What a sandbox needs to know.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Where compiled plugins are kept. Must be nobody else's: its files are run.
    pub cache_dir: PathBuf,
    /// Instances at once; further calls wait.
    pub instances: u32,
    /// Our own listeners, which no plugin reaches.
    pub own: Vec<SocketAddr>,
    /// Threads that guests run on.
    pub threads: usize,
    /// What compiles modules.
    pub compiler: CompilerConfig,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The machine does not give the address space that the pool reserves.
    #[error(
        "the sandbox cannot reserve memory for {instances} instances at once; lower `instances`, or raise the limit of address space (ulimit -v): {detail}"
    )]
    Pool { instances: u32, detail: String },
    #[error("the cache directory {directory} cannot be used: {detail}")]
    Cache { directory: String, detail: String },
    #[error("the sandbox cannot start: {0}")]
    Start(String),
}

/// Runs plugins. Cheap to clone; its threads end when the last clone, plugin and notifier are gone.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

pub(crate) struct Inner {
    ticker: Ticker,
    pub(crate) engine: Engine,
    pub(crate) own: Arc<[SocketAddr]>,
    pub(crate) tls: Tls,
    pub(crate) workers: Workers,
    linker: Linker<Context>,
    cache: Cache,
    afterwards: Afterwards,
    compiler: Compiler,
    turns: Turns,
    slots: Arc<Semaphore>,
    /// Places for instances that wait to be used again.
    pub(crate) waiting: Arc<Semaphore>,
    instances: u32,
}

/// The wasmtime version in use, for `--version` and the API: its advisories name versions.
pub fn wasmtime_version() -> &'static str {
    env!("WASMTIME_VERSION")
}

impl Sandbox {
    /// Makes the engine, reads the system's certificate authorities, and starts the threads.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        let instances = config.instances.max(1);
        let waiting = instances / WAITING_SHARE;
        let (engine, ticker) = engine::start(instances.saturating_add(waiting))
            .map_err(|error| SandboxError::Pool { instances, detail: format!("{error:#}") })?;
        let cache =
            Cache::open(&config.cache_dir, &engine).map_err(|error| SandboxError::Cache {
                directory: config.cache_dir.display().to_string(),
                detail: error.to_string(),
            })?;
        let linker =
            imports::linker(&engine).map_err(|error| SandboxError::Start(format!("{error:#}")))?;
        let workers =
            Workers::new(config.threads).map_err(|error| SandboxError::Start(error.to_string()))?;
        let afterwards =
            Afterwards::start().map_err(|error| SandboxError::Start(error.to_string()))?;
        let slots = usize::try_from(instances).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Ok(Self(Arc::new(Inner {
            ticker,
            engine,
            own: config.own.into(),
            tls: Tls::of_system().map_err(|error| SandboxError::Start(error.to_string()))?,
            turns: Turns::new(workers.slow()),
            workers,
            linker,
            cache,
            afterwards,
            compiler: Compiler::new(config.compiler),
            slots: Arc::new(Semaphore::new(slots)),
            waiting: Arc::new(Semaphore::new(usize::try_from(waiting).unwrap_or_default())),
            instances,
        })))
    }

    /// Loads the file of a plugin: compiles it or takes it from the cache, checks its types, and asks it what it is.
    pub async fn load(&self, name: &str, bytes: Bytes) -> Result<Arc<Plugin>, LoadError> {
        let loaded = self.0.clone().load(name, bytes).await;
        loaded.map(Arc::new).map_err(|problem| LoadError { plugin: name.to_owned(), problem })
    }

    /// Starts a task on a thread that guests run on: the calls that it makes run there, too, and cross no threads. It
    /// must not block.
    pub fn start(&self, task: Task) {
        self.0.workers.start(task);
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Instances running now.
    pub fn running(&self) -> usize {
        let instances = usize::try_from(self.0.instances).unwrap_or(usize::MAX);
        instances.saturating_sub(self.0.slots.available_permits())
    }
}

impl Inner {
    async fn load(self: Arc<Self>, name: &str, bytes: Bytes) -> Result<Plugin, LoadProblem> {
        if bytes.is_empty() {
            return Err(LoadProblem::Empty);
        }
        if bytes.len() > MAX_FILE {
            return Err(LoadProblem::TooLarge { size: bytes.len() });
        }
        let size = bytes.len();
        let (hash, component, compiled) = self.clone().component(bytes).await?;
        let mismatch =
            |error: wasmtime::Error| LoadProblem::Mismatch { detail: format!("{error:#}") };
        let pre =
            self.linker.instantiate_pre(&component).and_then(NotifierPre::new).map_err(mismatch)?;
        let binding = Arc::new(Binding::bare(name, DESCRIBE_TIMEOUT));
        let call = self.call(&pre, &binding, None, DESCRIBE_TIMEOUT);
        let (described, _) = self.run(DESCRIBE_TIMEOUT, move |_| call.describe()).await;
        let described = described.map_err(|abrupt| match abrupt.is_mismatch() {
            true => LoadProblem::Mismatch { detail: abrupt.reason },
            false => LoadProblem::Describe { reason: abrupt.reason },
        })?;
        let (description, warnings) = convert::to_description(described);
        Ok(Plugin {
            name: name.to_owned(),
            hash,
            size,
            description,
            warnings,
            compiled,
            pre,
            sandbox: self,
        })
    }

    /// The file's digest, its code, and how long compiling took where the cache had none.
    async fn component(
        self: Arc<Self>,
        file: Bytes,
    ) -> Result<(String, Component, Option<Duration>), LoadProblem> {
        let (hash, found) = self.clone().find(file.clone()).await?;
        if let Some(component) = found {
            return Ok((hash, component, None));
        }
        if let Some(limit) = self.cache.find_refusal(&hash) {
            return Err(LoadProblem::CompileLimit { limit });
        }
        let started = Instant::now();
        let code = match self.compiler.compile(file).await {
            Ok(code) => code,
            Err(problem) => {
                if let LoadProblem::CompileLimit { limit } = &problem {
                    let limit = limit.clone();
                    blocking(move || self.cache.refuse(&hash, &limit)).await?;
                }
                return Err(problem);
            }
        };
        let took = started.elapsed();
        let kept = blocking(move || {
            let kept = self.cache.keep(&self.engine, &hash, &code);
            kept.map(|component| (hash, component, Some(took)))
        });
        kept.await?.map_err(|detail| LoadProblem::Host { detail })
    }

    /// The file's digest, and its code where the cache has it. For a file that is known by its checksum the digest is
    /// the noted one, and it is checked afterwards: SHA-256 takes as long as all the rest.
    async fn find(
        self: Arc<Self>,
        file: Bytes,
    ) -> Result<(String, Option<Component>), LoadProblem> {
        let (inner, source) = (self.clone(), file.clone());
        let (hash, component, noted_at) = blocking(move || inner.find_now(&source)).await?;
        if let Some(sum) = noted_at {
            let noted = hash.clone();
            let inner = self.clone();
            self.afterwards.look(move || {
                inner.cache.check(&noted);
                inner.check(&file, &sum, &noted);
            });
        }
        Ok((hash, component))
    }

    /// As `find`; and the checksum, where the digest is the one that was noted for it.
    fn find_now(&self, file: &[u8]) -> (String, Option<Component>, Option<String>) {
        let sum = checksum(Content::Memory(file)).ok();
        let noted = sum.as_ref().and_then(|sum| self.cache.known(sum));
        if let Some(hash) = noted
            && let Some(component) = self.cache.find(&self.engine, &hash)
        {
            return (hash, Some(component), sum);
        }
        let hash = hex(&Sha256::digest(file));
        if let Some(sum) = sum {
            self.cache.note(&sum, &hash);
        }
        let component = self.cache.find(&self.engine, &hash);
        (hash, component, None)
    }

    /// Corrects the note on a file that was taken for another. What runs until it is loaded again is that other module,
    /// under its own digest.
    fn check(&self, file: &[u8], sum: &str, noted: &str) {
        let hash = hex(&Sha256::digest(file));
        if hash != noted {
            tracing::warn!(
                plugin.hash = %hash,
                "a file has the checksum of module {noted} and was taken for that; touch it"
            );
            self.cache.note(sum, &hash);
        }
    }

    pub(crate) fn call(
        &self,
        pre: &NotifierPre<Context>,
        binding: &Arc<Binding>,
        client: Option<Client>,
        time: Duration,
    ) -> Call {
        let (pre, binding, turns) = (pre.clone(), binding.clone(), self.turns.clone());
        Call { pre, binding, client, turns, time }
    }

    /// Runs a call on this thread, which is a worker's, once a slot is free. The call keeps its time itself.
    pub(crate) async fn run_here<F, T>(&self, time: Duration, make: impl FnOnce() -> F) -> Ended<T>
    where
        F: Future<Output = Ended<T>>,
    {
        let Some(slot) = self.slot(time).await else { return self.all_busy(time) };
        let (_slot, _ticking) = (slot, self.ticker.tick());
        // It ends before its slot is free, and is made here: as an argument it would have room twice.
        let call = pin!(make());
        let ended = AssertUnwindSafe(call).catch_unwind().await;
        ended.unwrap_or_else(|_panic| failed("the sandbox panicked".to_owned()))
    }

    /// Runs a call on a worker once a slot is free: on this thread, if it is one, else on the one with the fewest.
    /// `time` is the call's own bound, which it keeps itself; beyond it this only stops waiting.
    pub(crate) async fn run<F, T>(&self, time: Duration, make: impl FnOnce(usize) -> F) -> Ended<T>
    where
        T: Send + 'static,
        F: Future<Output = Ended<T>> + Send + 'static,
    {
        if let Some(worker) = self.workers.here() {
            return self.run_here(time, || make(worker)).await;
        }
        let Some(slot) = self.slot(time).await else { return self.all_busy(time) };
        let running = self.workers.run(|worker| {
            let call = make(worker);
            let ticking = self.ticker.tick();
            async move {
                let (_slot, _ticking) = (slot, ticking);
                call.await
            }
        });
        let Some(running) = running else { return failed("no worker thread".to_owned()) };
        match tokio::time::timeout(time + GRACE, running.end()).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) if error.is_panic() => failed(format!("the sandbox panicked: {error}")),
            Ok(Err(_cancelled)) => failed("the sandbox is shutting down".to_owned()),
            Err(_elapsed) => {
                failed(format!("its thread was held up for {GRACE:?} past the time of the call"))
            }
        }
    }

    fn all_busy<T>(&self, time: Duration) -> Ended<T> {
        failed(format!("no free instance within {time:?}: all {} are busy", self.instances))
    }

    /// A place for one more instance, within `time`.
    async fn slot(&self, time: Duration) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            return Some(slot);
        }
        tokio::time::timeout(time, self.slots.clone().acquire_owned()).await.ok()?.ok()
    }
}

/// What is nobody's fault but the host's.
fn failed<T>(reason: String) -> Ended<T> {
    (Err(Abrupt::host(reason)), Usage::default())
}

/// Runs what reads and hashes megabytes beside the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LoadProblem> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| LoadProblem::Host { detail: error.to_string() })
}
