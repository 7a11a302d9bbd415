//! What one destination grants the plugin that it uses: shared by all of its instances.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postrider_core::{Destination, Limits, secret};
use serde_json::Value;
use tokio::runtime::Handle;

use crate::guard::Guard;
use crate::placeholders::Tokens;
use crate::redact::Redactor;
use crate::secrets::Secrets;
use crate::slow_lane::FREE_SLICES;
use crate::state::StateStore;

/// Memory for describing itself, where no destination says how much: enough for every language's start.
const BARE_MEMORY: u64 = 256 << 20;

/// A destination as its instances see it.
pub(crate) struct Binding {
    pub(crate) destination: String,
    pub(crate) reveal: bool,
    pub(crate) limits: Limits,
    pub(crate) timeout: Duration,
    pub(crate) guard: Arc<Guard>,
    pub(crate) secrets: Secrets,
    pub(crate) redactor: Redactor,
    pub(crate) state: Option<StateAccess>,
    config: Arc<Config>,
    referenced: BTreeSet<String>,
    /// Its last call computed for long.
    was_long: AtomicBool,
}

/// The daemon's store, and the runtime that its calls belong on.
#[derive(Clone)]
pub(crate) struct StateAccess {
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) runtime: Handle,
}

/// A `[config]` as an instance gets it.
pub(crate) struct Config {
    pub(crate) text: String,
    pub(crate) value: Value,
}

impl Binding {
    pub(crate) fn new(
        destination: &Destination,
        guard: Guard,
        secrets: Secrets,
        state: Option<StateAccess>,
    ) -> Self {
        Self {
            destination: destination.name.clone(),
            reveal: destination.reveal,
            limits: destination.limits.clone(),
            timeout: destination.policy.timeout,
            guard: Arc::new(guard),
            redactor: Redactor::new(&secrets),
            secrets,
            state,
            config: Arc::new(Config::new(destination.config.clone())),
            referenced: secret::referenced(&destination.config),
            was_long: AtomicBool::default(),
        }
    }

    /// Grants nothing, as at load: the module describes itself under the name of its file.
    pub(crate) fn bare(plugin: &str, timeout: Duration) -> Self {
        Self {
            destination: plugin.to_owned(),
            reveal: false,
            limits: Limits { memory: BARE_MEMORY, ..Limits::default() },
            timeout,
            guard: Arc::new(Guard::closed()),
            secrets: Secrets::default(),
            redactor: Redactor::default(),
            state: None,
            config: Arc::new(Config::new(Value::Object(serde_json::Map::new()))),
            referenced: BTreeSet::new(),
            was_long: AtomicBool::default(),
        }
    }

    /// Whether a call that has computed for `slices` is one that computes for long: as the last one was, or by itself.
    pub(crate) fn is_long(&self, slices: u32) -> bool {
        slices > FREE_SLICES || self.was_long.load(Ordering::Relaxed)
    }

    /// Notes whether a call that has ended computed for long.
    pub(crate) fn note(&self, is_long: bool) {
        if is_long != self.was_long.load(Ordering::Relaxed) {
            self.was_long.store(is_long, Ordering::Relaxed);
        }
    }

    /// The config for one more instance, with fresh tokens in the places of its secrets.
    pub(crate) fn fresh_config(&self) -> (Arc<Config>, Tokens) {
        if self.referenced.is_empty() {
            return (self.config.clone(), Tokens::default());
        }
        let tokens = Tokens::fresh(&self.referenced);
        (Arc::new(Config::new(tokens.hide(&self.config.value))), tokens)
    }
}

impl Config {
    fn new(value: Value) -> Self {
        Self { text: value.to_string(), value }
    }

    /// The value at a path of keys joined with dots: a text bare, everything else as JSON. A key that holds dots
    /// itself is found too.
    pub(crate) fn setting(&self, path: &str) -> Option<String> {
        match find(&self.value, path)? {
            Value::String(text) => Some(text.clone()),
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_)) => Some(other.to_string()),
        }
    }
}

fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if let Some(found) = child(value, path) {
        return Some(found);
    }
    let splits = path.match_indices('.').take(MAX_DEPTH);
    splits
        .filter_map(|(at, _)| Some((path.get(..at)?, path.get(at + 1..)?)))
        .find_map(|(key, rest)| find(child(value, key)?, rest))
}

/// Dots of a path that are tried as the end of a key: enough for any config, and a bound for a hostile one.
const MAX_DEPTH: usize = 16;

fn child<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_setting_is_found_by_its_path() {
        let config = Config::new(json!({
            "url": "https://x", "headers": {"x-team": "ops", "a.b": 1}, "list": ["one", true]
        }));
        assert_eq!(config.setting("url").unwrap(), "https://x");
        assert_eq!(config.setting("headers.x-team").unwrap(), "ops");
        assert_eq!(config.setting("headers.a.b").unwrap(), "1");
        assert_eq!(config.setting("list.1").unwrap(), "true");
        assert_eq!(config.setting("list").unwrap(), "[\"one\",true]");
        assert_eq!(config.setting("headers.none"), None);
    }
}
