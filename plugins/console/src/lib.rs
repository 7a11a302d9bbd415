//! Writes notifications to the daemon's log: for a first try, and as the last fallback.

use postrider_sdk::log::{self, Level};
use postrider_sdk::text::one_line;
use postrider_sdk::{Description, Failure, Notification, Notifier, Receipt};
use serde::Deserialize;

/// How much of the content is shown, in characters.
const MAX_CONTENT: usize = 1024;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    level: LevelName,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum LevelName {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

struct Console {
    level: Level,
}

impl Notifier for Console {
    type Config = Config;

    fn describe() -> Description {
        let summary = "Writes notifications to the daemon's log.";
        Description::new("console", env!("CARGO_PKG_VERSION"), summary)
            .config_schema(include_str!("config-schema.json"))
    }

    fn configure(config: Config) -> Result<Option<Self>, String> {
        let level = match config.level {
            LevelName::Trace => Level::Trace,
            LevelName::Debug => Level::Debug,
            LevelName::Info => Level::Info,
            LevelName::Warn => Level::Warn,
            LevelName::Error => Level::Error,
        };
        Ok(Some(Self { level }))
    }

    fn send(&self, notification: &Notification) -> Result<Receipt, Failure> {
        log::log(self.level, &line(notification));
        Ok(Receipt::default())
    }
}

postrider_sdk::export!(Console);

/// One line such as `alert.firing from prometheus about db1 {severity=high}: disk is full`.
fn line(n: &Notification) -> String {
    let mut line = n.kind.clone();
    if !n.source.is_empty() {
        line += &format!(" from {}", n.source);
    }
    if let Some(subject) = &n.subject {
        line += &format!(" about {subject}");
    }
    if !n.labels.is_empty() {
        let labels: Vec<_> =
            n.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        line += &format!(" {{{}}}", labels.join(", "));
    }
    let content = match n.text() {
        Some(text) => one_line(text, MAX_CONTENT),
        None => format!("{} bytes of {}", n.content.len(), n.content_type),
    };
    if !content.is_empty() {
        line += &format!(": {content}");
    }
    one_line(&line, usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(content: &[u8]) -> Notification {
        Notification {
            kind: "alert.firing".to_owned(),
            source: "prometheus".to_owned(),
            subject: Some("db1".to_owned()),
            labels: vec![
                ("severity".to_owned(), "high".to_owned()),
                ("team".to_owned(), "a\nb".to_owned()),
            ],
            content_type: "text/plain".to_owned(),
            content: content.to_vec(),
            ..Notification::default()
        }
    }

    #[test]
    fn it_is_one_line() {
        assert_eq!(
            line(&alert(b"disk\nis full\n")),
            "alert.firing from prometheus about db1 {severity=high, team=a b}: disk is full"
        );
    }

    #[test]
    fn long_content_is_cut_and_binary_content_only_counted() {
        assert!(line(&alert("ä".repeat(9000).as_bytes())).chars().count() < MAX_CONTENT + 100);
        assert!(line(&alert(&[0xff; 3])).ends_with(": 3 bytes of text/plain"));
    }

    #[test]
    fn little_is_said_of_little() {
        let ping = Notification { kind: "ping".to_owned(), ..Notification::default() };
        assert_eq!(line(&ping), "ping");
    }
}
