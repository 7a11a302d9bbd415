//! What became of a notification.

use std::time::Duration;

pub use crate::bindings::exports::postrider::notifier::handler::{Failure, Receipt, Retry, Scope};

impl Receipt {
    /// A receipt with one line for the operator, such as `202 Accepted`.
    pub fn note(note: impl Into<String>) -> Self {
        Self { id: None, note: Some(note.into()) }
    }

    /// Adds the receiver's own id for the notification.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}

/// Delivered, and nothing more to say.
impl Default for Receipt {
    fn default() -> Self {
        Self { id: None, note: None }
    }
}

impl Failure {
    /// The receiver may take it later: what to answer when in doubt.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry(Retry { reason: reason.into(), after_ms: None, scope: Scope::Delivery })
    }

    /// The receiver understood this notification and refused it; it is never sent there again.
    pub fn rejected(reason: impl Into<String>) -> Self {
        Self::Rejected(reason.into())
    }

    /// The destination itself is dead, such as a deleted webhook or a revoked token.
    pub fn gone(reason: impl Into<String>) -> Self {
        Self::Gone(reason.into())
    }

    /// Waits at least this long before the next attempt. Without effect on a final failure.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        if let Self::Retry(retry) = &mut self {
            retry.after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        }
        self
    }

    /// Holds back every delivery of the destination, as after a rate limit. Without effect on a final failure.
    #[must_use]
    pub fn destination(mut self) -> Self {
        if let Self::Retry(retry) = &mut self {
            retry.scope = Scope::Destination;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_says_when_and_for_whom() {
        let failure = Failure::retry("slow down").after(Duration::from_millis(1500)).destination();
        let expected = Retry {
            reason: "slow down".to_owned(),
            after_ms: Some(1500),
            scope: Scope::Destination,
        };
        assert_eq!(failure, Failure::Retry(expected));
    }

    #[test]
    fn a_final_failure_stays_final() {
        let failure = Failure::rejected("no such room").after(Duration::MAX).destination();
        assert_eq!(failure, Failure::Rejected("no such room".to_owned()));
    }
}
