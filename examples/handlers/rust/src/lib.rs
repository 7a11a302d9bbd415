//! Posts each notification as a message to a chat room.

use postrider_sdk::serde_json::json;
use postrider_sdk::{Description, Failure, Notification, Notifier, Receipt, Request, log, verdict};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chat {
    url: String,
    channel: Option<String>,
    token: Option<String>,
}

impl Notifier for Chat {
    type Config = Self;

    fn describe() -> Description {
        let summary = "Posts each notification as a message to a chat room.";
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), summary)
            .config_schema(include_str!("../config-schema.json"))
            .origin("https://chat.example.com")
            .secret("token")
            .max_content(16_384)
    }

    fn configure(config: Self) -> Result<Option<Self>, String> {
        if config.url.is_empty() {
            return Err("config.url: empty; expected the URL of the chat's webhook".to_owned());
        }
        Ok(Some(config))
    }

    fn send(&self, n: &Notification) -> Result<Receipt, Failure> {
        log::info(&format!("posting {}, attempt {}", n.id, n.attempt));
        let mut message = json!({ "text": text(n) });
        if let Some(channel) = &self.channel {
            message["channel"] = channel.as_str().into();
        }
        let mut request = Request::post(&self.url)
            .header("idempotency-key", &n.id)
            .json(&message);
        if let Some(token) = &self.token {
            request = request.header("authorization", &format!("Bearer {token}"));
        }
        verdict(&request.send()?)
    }
}

postrider_sdk::export!(Chat);

/// One message, such as `[critical] alert.firing db1: disk 91 % full`.
fn text(n: &Notification) -> String {
    let severity = n.label("severity").map(|severity| format!("[{severity}] "));
    let subject = n.subject.as_ref().map(|subject| format!(" {subject}"));
    let content = match n.text() {
        Some("") => String::new(),
        Some(text) => format!(": {text}"),
        None => format!(": {} bytes of {}", n.content.len(), n.content_type),
    };
    let part = n.part.as_ref();
    let part = part.map(|part| format!(" (part {} of {})", part.index + 1, part.count));
    let [severity, subject, part] = [severity, subject, part].map(Option::unwrap_or_default);
    format!("{severity}{}{subject}{content}{part}", n.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_happened_and_where() {
        let mut n = Notification {
            kind: "alert.firing".to_owned(),
            labels: vec![("severity".to_owned(), "critical".to_owned())],
            subject: Some("db1".to_owned()),
            content: b"disk 91 % full".to_vec(),
            ..Notification::default()
        };
        assert_eq!(text(&n), "[critical] alert.firing db1: disk 91 % full");
        n.content.clear();
        assert_eq!(text(&n), "[critical] alert.firing db1");
    }
}
