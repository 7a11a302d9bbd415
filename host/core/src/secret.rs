//! Where a secret comes from, and its placeholders `{{secret:name}}` in a destination's `[config]`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

/// A reference to a secret's value; the value never stands in a file of ours.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// The content of a file, without its last line break.
    File(PathBuf),
    /// An environment variable of the daemon.
    Env(String),
    /// A file in systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

const OPEN: &str = "{{secret:";
const CLOSE: &str = "}}";

/// The names of the secrets that a config's texts refer to.
pub fn referenced(config: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    visit(config, &mut |text| {
        expand(text, &mut |name| {
            names.insert(name.to_owned());
            String::new()
        });
    });
    names
}

/// The config with each placeholder replaced by what `replace` gives for its name.
pub fn replace(config: &Value, replace_with: &mut impl FnMut(&str) -> String) -> Value {
    match config {
        Value::String(text) => Value::String(expand(text, replace_with)),
        Value::Array(items) => {
            Value::Array(items.iter().map(|v| replace(v, replace_with)).collect())
        }
        Value::Object(map) => {
            Value::Object(map.iter().map(|(k, v)| (k.clone(), replace(v, replace_with))).collect())
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other.clone(),
    }
}

fn visit(config: &Value, see: &mut impl FnMut(&str)) {
    match config {
        Value::String(text) => see(text),
        Value::Array(items) => items.iter().for_each(|v| visit(v, see)),
        Value::Object(map) => map.values().for_each(|v| visit(v, see)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn expand(text: &str, replace_with: &mut impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let Some((name, tail)) = after.split_once(CLOSE) else { break };
        out.push_str(before);
        out.push_str(&replace_with(name.trim()));
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placeholders_are_found_and_replaced_at_any_depth() {
        let config =
            json!({"url": "https://x/{{secret:token}}/y", "list": ["{{secret: key }}"], "n": 1});
        assert_eq!(referenced(&config), ["key".to_owned(), "token".to_owned()].into());
        let replaced = replace(&config, &mut |name| format!("<{name}>"));
        assert_eq!(replaced, json!({"url": "https://x/<token>/y", "list": ["<key>"], "n": 1}));
    }

    #[test]
    fn an_unclosed_placeholder_is_text() {
        assert_eq!(expand("a{{secret:b", &mut |_| "x".into()), "a{{secret:b");
    }

    #[test]
    fn what_replaces_a_placeholder_is_not_expanded_again() {
        assert_eq!(expand("{{secret:a}}", &mut |_| "{{secret:b}}".into()), "{{secret:b}}");
    }
}
