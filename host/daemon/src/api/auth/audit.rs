//! Every change, with who made it. One call writes it to the store, where all hosts see it, and to the log.

use std::sync::Arc;

use postrider_queue::{Access, AuditEntry, QueueError};
use serde_json::Value;

/// The way into the audit. Cheap to clone.
#[derive(Clone)]
pub struct Audit(Arc<dyn Access>);

impl Audit {
    pub fn new(access: Arc<dyn Access>) -> Self {
        Self(access)
    }

    /// Writes down that `actor` did `action` (such as `delivery.redeliver`) to `subject`. Call it after the change;
    /// `details` is a JSON object of what was asked for and what came of it, without secrets.
    pub async fn record(
        &self,
        actor: &str,
        action: &str,
        subject: &str,
        details: Value,
    ) -> Result<(), QueueError> {
        tracing::info!(
            audit.actor = actor,
            audit.action = action,
            audit.subject = subject,
            audit.details = %details,
            "{actor} did {action}"
        );
        let entry = AuditEntry {
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            details: details.to_string(),
        };
        self.0.record(&entry).await
    }
}
