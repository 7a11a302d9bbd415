//! What [`export!`](crate::export) expands to, beside the code of wit-bindgen.

use crate::{Description, Failure, Notification, Notifier, Receipt};
use std::cell::RefCell;

pub use crate::bindings::exports::postrider::notifier::handler::Guest;

pub type Configured = Result<bool, String>;
pub type Sent = Result<Receipt, Failure>;

/// The exported functions, on targets where nothing is exported.
pub struct Handler {
    _describe: fn() -> Description,
    _configure: fn(String) -> Configured,
    _send: fn(Notification) -> Sent,
}

impl Handler {
    pub const fn of<G: Guest>() -> Self {
        Self { _describe: G::describe, _configure: G::configure, _send: G::send }
    }
}

/// The notifier of this instance, once it is configured.
pub struct Slot<N>(RefCell<Option<N>>);

impl<N: Notifier> Slot<N> {
    #[expect(clippy::new_without_default, reason = "a thread-local needs a const constructor")]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// Replaces the notifier, also when the new configuration is refused.
    pub fn configure(&self, config: &str) -> Configured {
        self.0.replace(None);
        let notifier = N::configure(parse(config)?)?;
        let enabled = notifier.is_some();
        self.0.replace(notifier);
        Ok(enabled)
    }

    pub fn send(&self, notification: &Notification) -> Sent {
        match &*self.0.borrow() {
            Some(notifier) => notifier.send(notification),
            None => Err(Failure::retry("the module is not configured")),
        }
    }
}

/// Reads the configuration; an error begins with the path of the key.
fn parse<C: serde::de::DeserializeOwned>(config: &str) -> Result<C, String> {
    // By way of a value: the line and column of the host's JSON would tell the operator nothing.
    let value: serde_json::Value = match config.trim() {
        "" => serde_json::Value::Object(serde_json::Map::new()),
        text => serde_json::from_str(text).map_err(|e| format!("config is not JSON: {e}"))?,
    };
    serde_path_to_error::deserialize(value).map_err(|error| match error.path().iter().next() {
        Some(_) => format!("config.{}: {}", error.path(), error.inner()),
        None => format!("config: {}", error.inner()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Config {
        url: String,
        #[serde(default)]
        headers: BTreeMap<String, String>,
    }

    struct Echo(Config);

    impl Notifier for Echo {
        type Config = Config;

        fn describe() -> Description {
            Description::new("echo", "1.0.0", "Answers with its URL.")
        }

        fn configure(config: Config) -> Result<Option<Self>, String> {
            Ok((!config.url.is_empty()).then_some(Self(config)))
        }

        fn send(&self, _: &Notification) -> Result<Receipt, Failure> {
            Ok(Receipt::note(format!("{} {}", self.0.url, self.0.headers.len())))
        }
    }

    #[test]
    fn a_configured_notifier_sends() {
        let slot = Slot::<Echo>::new();
        assert_eq!(slot.configure(r#"{"url":"https://a.example"}"#), Ok(true));
        let receipt = slot.send(&Notification::default());
        assert_eq!(receipt, Ok(Receipt::note("https://a.example 0")));
    }

    #[test]
    fn a_refused_configuration_leaves_no_old_notifier_behind() {
        let slot = Slot::<Echo>::new();
        assert_eq!(slot.configure(r#"{"url":"https://a.example"}"#), Ok(true));
        assert!(slot.configure("{}").is_err());
        assert!(slot.send(&Notification::default()).is_err());
        assert_eq!(slot.configure(r#"{"url":""}"#), Ok(false));
    }

    #[test]
    fn errors_name_the_key() {
        let error = |text| parse::<Config>(text).expect_err("refused");
        assert_eq!(error(""), "config: missing field `url`");
        assert_eq!(
            error(r#"{"url":"u","headers":{"x-team":7}}"#),
            "config.headers.x-team: invalid type: integer `7`, expected a string"
        );
        assert_eq!(
            error(r#"{"url":"u","colour":"red"}"#),
            "config.colour: unknown field `colour`, expected `url` or `headers`"
        );
    }
}
