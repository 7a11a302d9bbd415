//! Hints that something changed in the plugins directory. Hints only: the reload compares content, and a timer
//! looks anyway, for network mounts, overflowing event queues and links whose targets change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// Quiet time after a hint before the directory is read: a copy comes as many events.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// Longest time that a stream of hints can put a reload off.
const LONGEST_DEBOUNCE: Duration = Duration::from_secs(2);
/// The directory is read this often without a hint.
const RESCAN: Duration = Duration::from_secs(5);

/// Watches one directory, not its files: they come and go.
pub struct Watcher {
    hints: Arc<Notify>,
    _events: Option<RecommendedWatcher>,
}

impl Watcher {
    /// Watches `directory`. Where the system cannot, it says so and the timer alone finds changes.
    pub fn new(directory: &Path) -> Self {
        let hints = Arc::new(Notify::new());
        let hint = hints.clone();
        let events = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the files ourselves makes events too.
            if !event.is_ok_and(|e| matches!(e.kind, EventKind::Access(kind) if !written(kind))) {
                hint.notify_one();
            }
        });
        let events = events.and_then(|mut watcher| {
            watcher.watch(directory, RecursiveMode::NonRecursive).map(|()| watcher)
        });
        if let Err(error) = &events {
            tracing::warn!(%error, file.path = %directory.display(), "the plugins directory cannot be watched; it is read every {RESCAN:?}");
        }
        Self { hints, _events: events.ok() }
    }

    /// A handle that asks for a look now.
    pub fn hinter(&self) -> Arc<Notify> {
        self.hints.clone()
    }

    /// Waits until the directory is worth a look: after a hint and quiet, or when it is time anyway.
    pub async fn changed(&self) {
        tokio::select! {
            () = sleep(RESCAN) => return,
            () = self.hints.notified() => {}
        }
        let latest = Instant::now() + LONGEST_DEBOUNCE;
        loop {
            tokio::select! {
                () = sleep(DEBOUNCE) => return,
                () = sleep_until(latest) => return,
                () = self.hints.notified() => {}
            }
        }
    }
}

fn written(kind: notify::event::AccessKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    kind == AccessKind::Close(AccessMode::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn hints_are_gathered_until_it_is_quiet() {
        let watcher = Watcher { hints: Arc::default(), _events: None };
        let start = Instant::now();
        watcher.hints.notify_one();
        watcher.changed().await;
        assert_eq!(start.elapsed(), DEBOUNCE);
    }

    #[tokio::test(start_paused = true)]
    async fn without_hints_the_timer_looks() {
        let watcher = Watcher { hints: Arc::default(), _events: None };
        let start = Instant::now();
        watcher.changed().await;
        assert_eq!(start.elapsed(), RESCAN);
    }
}
