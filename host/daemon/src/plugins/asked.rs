//! Asking for a look at the plugins directory, and waiting for its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// Longest wait for a look; it goes on without the caller.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks for looks. Clones ask the same reload.
#[derive(Clone)]
pub struct Asker(Arc<Asked>);

struct Asked {
    /// Wakes the watcher.
    hint: Arc<Notify>,
    count: AtomicU64,
    /// Files that were bad are to be read again.
    afresh: AtomicBool,
    /// The count when the last look began that has ended.
    looked: watch::Sender<u64>,
}

impl Asker {
    pub fn new(hint: Arc<Notify>) -> Self {
        Self(Arc::new(Asked {
            hint,
            count: AtomicU64::new(0),
            afresh: AtomicBool::new(false),
            looked: watch::Sender::new(0),
        }))
    }

    /// Asks for a look and waits until one that began later has ended; with `afresh` one that reads again what was
    /// bad. Answers false where it takes long: the look goes on.
    pub async fn look(&self, afresh: bool) -> bool {
        if afresh {
            self.0.afresh.store(true, Ordering::Release);
        }
        let mine = self.0.count.fetch_add(1, Ordering::AcqRel) + 1;
        let mut looked = self.0.looked.subscribe();
        self.0.hint.notify_one();
        timeout(PATIENCE, looked.wait_for(|looked| *looked >= mine)).await.is_ok()
    }

    /// A look begins. Answers what to say at its end, and whether it is to read again what was bad.
    pub(super) fn begins(&self) -> (u64, bool) {
        let count = self.0.count.load(Ordering::Acquire);
        (count, self.0.afresh.swap(false, Ordering::AcqRel))
    }

    pub(super) fn ends(&self, begun: u64) {
        self.0.looked.send_replace(begun);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_look_that_began_before_the_question_is_no_answer() {
        let hint = Arc::new(Notify::new());
        let asker = Asker::new(hint.clone());
        let (early, _) = asker.begins();
        let reload = async {
            hint.notified().await;
            asker.ends(early);
            let (begun, afresh) = asker.begins();
            asker.ends(begun);
            afresh
        };
        let (answered, afresh) = tokio::join!(asker.look(true), reload);
        assert!(answered && afresh);
        assert!(!asker.look(false).await, "nobody looks any more");
    }
}
