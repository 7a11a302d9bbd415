//! What a producer hands in. It never changes once accepted.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::trace::TraceContext;

/// Types that postrider itself produces begin so; a producer's never do, and they go only where a pattern says so.
pub const OWN_TYPES: &str = "postrider.";
/// Longest `type`, in bytes: it is indexed and globbed.
pub const MAX_KIND: usize = 200;
/// Longest `source` and `idempotency_key`, in bytes.
pub const MAX_SOURCE: usize = 500;
/// Longest `subject`, in bytes.
pub const MAX_SUBJECT: usize = 1_000;
/// Most labels of one notification: more is data, and belongs into the content.
pub const MAX_LABELS: usize = 64;
/// Longest label name, in bytes.
pub const MAX_LABEL_NAME: usize = 100;
/// Longest label value, in bytes.
pub const MAX_LABEL_VALUE: usize = 1_000;
/// Longest content type, in bytes.
pub const MAX_CONTENT_TYPE: usize = 200;

/// A UUIDv7: the same on every attempt, so receivers can drop duplicates by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct NotificationId(pub Uuid);

impl std::fmt::Display for NotificationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl std::str::FromStr for NotificationId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// An accepted notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub id: NotificationId,
    /// The notification's `type`, such as `alert.firing`.
    pub kind: String,
    /// Who produced it; empty when the producer did not say.
    pub source: String,
    pub subject: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub content_type: String,
    pub content: Bytes,
    /// When it was accepted.
    pub time: Timestamp,
    /// What its producer was doing; it takes no part in whether two notifications are the same.
    pub trace: Option<TraceContext>,
}

/// A notification as a producer words it, before it has an id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    pub kind: String,
    pub source: String,
    pub subject: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// Empty means `application/json`.
    pub content_type: String,
    pub content: Bytes,
    /// The same key with the same body is the same notification.
    pub idempotency_key: Option<String>,
    /// The producer's trace, handed on to the receiver.
    pub trace: Option<TraceContext>,
}

/// What is wrong with a draft: the field, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidNotification {
    /// Path of the field, such as `labels.severity`.
    pub field: String,
    pub problem: String,
}

impl Draft {
    /// Checks every field of a producer's and becomes the notification `id`, accepted at `time`.
    pub fn accept(
        self,
        id: NotificationId,
        time: Timestamp,
    ) -> Result<Notification, InvalidNotification> {
        if self.kind.starts_with(OWN_TYPES) {
            let problem = format!(
                "must not begin with \"{OWN_TYPES}\": those are postrider's own; choose another beginning"
            );
            return Err(invalid("type", &problem));
        }
        self.accept_own(id, time)
    }

    /// The same for what postrider itself produces.
    pub fn accept_own(
        self,
        id: NotificationId,
        time: Timestamp,
    ) -> Result<Notification, InvalidNotification> {
        self.check()?;
        let content_type = match self.content_type {
            empty if empty.is_empty() => "application/json".to_owned(),
            given => given,
        };
        Ok(Notification {
            id,
            kind: self.kind,
            source: self.source,
            subject: self.subject,
            labels: self.labels,
            content_type,
            content: self.content,
            time,
            trace: self.trace,
        })
    }

    fn check(&self) -> Result<(), InvalidNotification> {
        if self.kind.is_empty() {
            return Err(invalid("type", "is required, such as \"alert.firing\""));
        }
        text("type", &self.kind, MAX_KIND)?;
        if self.kind.contains(char::is_whitespace) {
            return Err(invalid("type", "must not contain white space"));
        }
        text("source", &self.source, MAX_SOURCE)?;
        text("subject", self.subject.as_deref().unwrap_or(""), MAX_SUBJECT)?;
        text("content_type", &self.content_type, MAX_CONTENT_TYPE)?;
        if let Some(key) = &self.idempotency_key {
            if key.is_empty() {
                return Err(invalid("idempotency_key", "must not be empty; leave it out"));
            }
            text("idempotency_key", key, MAX_SOURCE)?;
        }
        if self.labels.len() > MAX_LABELS {
            let problem = format!(
                "has {} entries, at most {MAX_LABELS} are allowed; put more into the content",
                self.labels.len()
            );
            return Err(invalid("labels", &problem));
        }
        for (name, value) in &self.labels {
            if name.is_empty() {
                return Err(invalid("labels", "has an entry without a name"));
            }
            text("labels", name, MAX_LABEL_NAME)?;
            text(&format!("labels.{name}"), value, MAX_LABEL_VALUE)?;
        }
        Ok(())
    }
}

fn text(field: &str, value: &str, max: usize) -> Result<(), InvalidNotification> {
    if value.len() > max {
        return Err(invalid(
            field,
            &format!("is {} bytes long, at most {max} are allowed", value.len()),
        ));
    }
    match value.chars().find(|c| c.is_control()) {
        Some(c) => Err(invalid(
            field,
            &format!("must not contain the control character U+{:04X}", c as u32),
        )),
        None => Ok(()),
    }
}

fn invalid(field: &str, problem: &str) -> InvalidNotification {
    let field = field.chars().flat_map(char::escape_debug).collect();
    InvalidNotification { field, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft { kind: "alert.firing".into(), ..Draft::default() }
    }

    fn refused(draft: Draft) -> String {
        draft.accept(NotificationId(Uuid::nil()), Timestamp::UNIX_EPOCH).unwrap_err().to_string()
    }

    #[test]
    fn a_type_alone_is_a_notification() {
        let accepted = draft().accept(NotificationId(Uuid::nil()), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(accepted.content_type, "application/json");
    }

    #[test]
    fn a_missing_type_is_named() {
        assert_eq!(refused(Draft::default()), "type: is required, such as \"alert.firing\"");
    }

    #[test]
    fn only_postrider_itself_uses_its_own_types() {
        let own = Draft { kind: "postrider.delivery.dead".into(), ..Draft::default() };
        assert!(refused(own.clone()).starts_with("type: must not begin with \"postrider.\""));
        let id = NotificationId(Uuid::nil());
        assert!(own.accept_own(id, Timestamp::UNIX_EPOCH).is_ok());
        let near = Draft { kind: "postrider".into(), ..Draft::default() };
        assert!(near.accept(id, Timestamp::UNIX_EPOCH).is_ok());
    }

    #[test]
    fn control_characters_in_labels_are_refused() {
        let mut bad = draft();
        bad.labels.insert("host".into(), "a\u{7}b".into());
        assert_eq!(refused(bad), "labels.host: must not contain the control character U+0007");
        let mut bad = draft();
        bad.labels.insert("a\nb".into(), "x".into());
        assert_eq!(refused(bad), "labels: must not contain the control character U+000A");
    }

    #[test]
    fn ten_thousand_labels_are_refused() {
        let mut bad = draft();
        bad.labels = (0..10_000).map(|n| (n.to_string(), String::new())).collect();
        assert!(refused(bad).starts_with("labels: has 10000 entries, at most 64"));
    }
}
