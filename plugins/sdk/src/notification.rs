//! What comes in.

use serde_json::Value;

pub use crate::bindings::exports::postrider::notifier::handler::{Notification, Part};

impl Notification {
    /// Finds a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        let (_, value) = self.labels.iter().find(|(label, _)| label == name)?;
        Some(value)
    }

    /// Finds one of the facts that the contract has no field for, such as `traceparent`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let (_, value) = self.attributes.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// The content as text; none where it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.content).ok()
    }

    /// The content parsed; none where its media type is not JSON or its text is not what the type says.
    pub fn json(&self) -> Option<Value> {
        if !self.is_json() {
            return None;
        }
        serde_json::from_slice(&self.content).ok()
    }

    /// Whether the media type is `application/json` or ends in `+json`.
    pub fn is_json(&self) -> bool {
        let essence = self.content_type.split(';').next().unwrap_or_default();
        let essence = essence.trim().to_ascii_lowercase();
        essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
    }
}

/// An empty first attempt, for tests.
impl Default for Notification {
    fn default() -> Self {
        Self {
            id: String::new(),
            kind: String::new(),
            source: String::new(),
            subject: None,
            time: String::new(),
            labels: Vec::new(),
            content_type: String::new(),
            content: Vec::new(),
            part: None,
            attempt: 1,
            attributes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content_type: &str, content: &str) -> Notification {
        Notification {
            content_type: content_type.to_owned(),
            content: content.into(),
            ..Notification::default()
        }
    }

    #[test]
    fn json_needs_the_type_and_the_text() {
        assert_eq!(of("application/json; charset=utf-8", "7").json(), Some(7.into()));
        assert_eq!(of("Application/CloudEvents+JSON", "[]").json(), Some(Value::Array(vec![])));
        assert_eq!(of("text/plain", "7").json(), None);
        assert_eq!(of("application/json", "{").json(), None);
    }

    #[test]
    fn a_label_or_an_attribute_is_found_by_its_name() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let notification = Notification {
            labels: vec![pair("severity", "high")],
            attributes: vec![pair("tracestate", "a=1")],
            ..Notification::default()
        };
        assert_eq!(notification.label("severity"), Some("high"));
        assert_eq!(notification.label("team"), None);
        assert_eq!(notification.attribute("tracestate"), Some("a=1"));
        assert_eq!(notification.attribute("severity"), None);
    }
}
