//! What a module used, seen around its calls.

use async_trait::async_trait;
use postrider_core::{Notification, trial};
use postrider_sandbox::{Notifier, Task, Usage};
use tokio::time::Duration;

use super::Signals;
use crate::dispatcher::{Blame, NotifierCall, Sent};

/// A destination's notifier whose usage is counted.
pub struct Watched {
    destination: String,
    notifier: Notifier,
    signals: Signals,
}

impl Signals {
    /// Counts what each call of `notifier` uses.
    pub fn watch(&self, destination: &str, notifier: Notifier) -> Watched {
        Watched { destination: destination.to_owned(), notifier, signals: self.clone() }
    }
}

#[async_trait]
impl NotifierCall for Watched {
    async fn send(&self, notification: &Notification, attempt: u32, parts_done: u32) -> Sent {
        let sent = self.notifier.send(notification, attempt, parts_done).await;
        self.signals.0.metrics.used(&self.destination, &sent.usage);
        let Usage { computed, waited, elapsed, status, .. } = sent.usage;
        // Ten spinners at once are no better than one.
        let computed = computed + waited;
        let blame = match trial::is_own_fault(&sent.outcome, computed, elapsed) {
            true => Blame::Module,
            false => Blame::Elsewhere,
        };
        Sent { outcome: sent.outcome, parts_done: sent.parts_done, status, blame }
    }

    fn module(&self) -> &str {
        self.notifier.plugin().hash()
    }

    fn start(&self, attempt: Task) {
        self.notifier.start(attempt);
    }

    fn patience(&self, notification: &Notification) -> Option<Duration> {
        self.notifier.patience(notification)
    }
}
