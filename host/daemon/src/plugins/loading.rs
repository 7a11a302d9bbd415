//! Modules on their way from files to plugins. A look at the directory waits a moment for them and then goes on
//! without those that take long to compile; they are in the next look, which they ask for themselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use postrider_sandbox::{Plugin, Sandbox};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::again;
use super::directory::{self, FileAt, ReadError, Stamp};
use crate::signals::Signals;

/// How long a look waits for modules: longer than an ordinary one compiles.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the first look waits: what it lacks at the start may miss what is accepted then.
const FIRST_PATIENCE: Duration = Duration::from_secs(20);

/// The modules that are being read or compiled.
#[derive(Default)]
pub(super) struct Loading {
    started: HashMap<String, Started>,
    /// Asks for a look.
    pub(super) hint: Arc<Notify>,
    looked: bool,
}

struct Started {
    stamp: Stamp,
    /// Whether a look went on without it.
    late: Arc<AtomicBool>,
    /// Ends the compilation with it, as when the file was replaced.
    task: AbortOnDropHandle<Loaded>,
}

/// What a file came to.
pub(super) enum Loaded {
    Good(Arc<Plugin>, Bytes),
    Bad(Bad),
    /// Somebody is writing it.
    Moving,
}

/// A file that does not load.
#[derive(Clone, Debug)]
pub(super) struct Bad {
    pub(super) problem: String,
    /// SHA-256, where it could be read.
    pub(super) hash: Option<String>,
    /// Whether the same file may load another time.
    pub(super) may_pass: bool,
}

impl Bad {
    fn new(problem: String) -> Self {
        Self { problem, hash: None, may_pass: true }
    }
}

impl Loading {
    /// Until when this look waits for modules.
    pub(super) fn patience(&mut self) -> Instant {
        let first = !std::mem::replace(&mut self.looked, true);
        Instant::now() + if first { FIRST_PATIENCE } else { PATIENCE }
    }

    /// Begins to load a file, unless this very file is on its way.
    pub(super) fn start(
        &mut self,
        sandbox: &Sandbox,
        signals: &Signals,
        name: &str,
        file: &FileAt,
    ) {
        if self.started.get(name).is_some_and(|started| started.stamp == file.stamp) {
            return;
        }
        let late = Arc::new(AtomicBool::new(false));
        let (sandbox, name_of_it, file_at) = (sandbox.clone(), name.to_owned(), file.clone());
        let (was_late, hint, signals) = (late.clone(), self.hint.clone(), signals.clone());
        let task = tokio::spawn(async move {
            let began = Instant::now();
            let loaded = load(&sandbox, &name_of_it, file_at).await;
            if !matches!(loaded, Loaded::Moving) {
                signals.module_loaded(matches!(loaded, Loaded::Good(..)), began.elapsed());
            }
            if was_late.load(Ordering::Acquire) {
                hint.notify_one();
            }
            loaded
        });
        let started = Started { stamp: file.stamp, late, task: AbortOnDropHandle::new(task) };
        self.started.insert(name.to_owned(), started);
    }

    /// What a started file came to; none while it takes longer than `until`.
    pub(super) async fn end(&mut self, name: &str, until: Instant) -> Option<Loaded> {
        let started = self.started.get_mut(name)?;
        let mut ended = timeout_at(until, &mut started.task).await;
        if ended.is_err() {
            started.late.store(true, Ordering::Release);
            // It may have ended since, and seen nobody to tell.
            if started.task.is_finished() {
                ended = Ok((&mut started.task).await);
            }
        }
        let ended = ended.ok()?;
        self.started.remove(name);
        Some(
            ended.unwrap_or_else(|error| {
                Loaded::Bad(Bad::new(format!("plugin \"{name}\": {error}")))
            }),
        )
    }

    /// Ends what is on its way for files that are gone.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.started.retain(|name, _| is_there(name));
    }
}

async fn load(sandbox: &Sandbox, name: &str, file: FileAt) -> Loaded {
    let content = match tokio::task::spawn_blocking(move || directory::read(&file)).await {
        Ok(Ok(content)) => content,
        Ok(Err(ReadError::Moving)) | Err(_) => return Loaded::Moving,
        Ok(Err(error)) => return Loaded::Bad(Bad::new(format!("plugin \"{name}\": {error}"))),
    };
    match sandbox.load(name, content.clone()).await {
        Ok(plugin) => Loaded::Good(plugin, content),
        Err(error) => {
            let hashing = tokio::task::spawn_blocking(move || sha256(&content));
            Loaded::Bad(Bad {
                problem: error.to_string(),
                hash: hashing.await.ok(),
                may_pass: again::may_load(&error.problem),
            })
        }
    }
}

pub(super) fn sha256(content: &[u8]) -> String {
    use sha2::Digest as _;
    let digest: [u8; 32] = sha2::Sha256::digest(content).into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
