//! What a destination's deliveries are kept in order by.

use std::fmt;

use serde::Deserialize;
use serde::de::Error;

use crate::notification::Notification;

/// The field whose value makes the key: of one key one delivery runs at a time, in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderedBy {
    Subject,
    Label(String),
}

impl OrderedBy {
    /// Reads `subject` or `labels.NAME`. The error says what it can be.
    pub fn parse(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("labels.")) {
            ("subject", _) => Ok(Self::Subject),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Label(name.to_owned())),
            _ => Err(format!(
                "\"{}\" is nothing to order by; write \"subject\" or \"labels.NAME\"",
                text.escape_debug()
            )),
        }
    }

    /// The notification's key; none where it lacks the field: it then waits for nobody.
    pub fn key(&self, notification: &Notification) -> Option<String> {
        match self {
            Self::Subject => notification.subject.clone(),
            Self::Label(name) => notification.labels.get(name).cloned(),
        }
    }
}

impl fmt::Display for OrderedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject => f.write_str("subject"),
            Self::Label(name) => write!(f, "labels.{name}"),
        }
    }
}

impl<'de> Deserialize<'de> for OrderedBy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Draft, NotificationId};

    fn notification(subject: Option<&str>) -> Notification {
        let labels = [("host".to_owned(), "db-1".to_owned())].into();
        let subject = subject.map(str::to_owned);
        let draft = Draft { kind: "x".into(), subject, labels, ..Draft::default() };
        draft.accept(NotificationId(uuid::Uuid::nil()), jiff::Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn the_key_is_the_subject_or_a_label() {
        let key = |by: &str, subject| OrderedBy::parse(by).unwrap().key(&notification(subject));
        assert_eq!(key("subject", Some("a")).as_deref(), Some("a"));
        assert_eq!(key("subject", None), None);
        assert_eq!(key("labels.host", None).as_deref(), Some("db-1"));
        assert_eq!(key("labels.other", Some("a")), None);
    }

    #[test]
    fn anything_else_is_refused_with_what_it_can_be() {
        for text in ["", "type", "labels", "labels.", "Subject"] {
            let error = OrderedBy::parse(text).unwrap_err();
            assert!(error.ends_with("write \"subject\" or \"labels.NAME\""), "{error}");
        }
    }

    #[test]
    fn it_reads_as_it_is_written() {
        for text in ["subject", "labels.host"] {
            assert_eq!(OrderedBy::parse(text).unwrap().to_string(), text);
        }
    }
}
