//! What a guest sees in the place of a secret, and its expansion in outgoing requests.
//!
//! Each `{{secret:name}}` of a `[config]` becomes a token that only this instance has. A producer can plant neither
//! the placeholder, which is recognised in the config alone, nor the token, which it cannot guess.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use memchr::memmem;
use postrider_core::secret;
use serde_json::Value;

use crate::secrets::Secrets;

/// How a token begins. Lower case, digits and `-` survive host names, JSON, forms and percent-encoding unchanged.
const PREFIX: &str = "postrider-secret-";
/// Hexadecimal digits after it: 128 bits.
const DIGITS: usize = 32;

/// The tokens of one instance.
#[derive(Default)]
pub(crate) struct Tokens(Vec<(String, String)>);

impl Tokens {
    /// A fresh token for each name.
    pub(crate) fn fresh(names: &BTreeSet<String>) -> Self {
        Self(names.iter().map(|name| (token(), name.clone())).collect())
    }

    /// The config as the guest gets it.
    pub(crate) fn hide(&self, config: &Value) -> Value {
        secret::replace(config, &mut |name| {
            self.0
                .iter()
                .find(|(_, n)| n == name)
                .map(|(token, _)| token.clone())
                .unwrap_or_default()
        })
    }

    /// `text` with every token of this instance replaced by its value; none where there is nothing to replace.
    pub(crate) fn expand(&self, text: &[u8], secrets: &Secrets) -> Option<Vec<u8>> {
        if self.0.is_empty() {
            return None;
        }
        let mut out: Option<Vec<u8>> = None;
        let mut copied = 0;
        for at in memmem::find_iter(text, PREFIX) {
            let end = at + PREFIX.len() + DIGITS;
            let Some(value) = text.get(at..end).and_then(|found| self.value(found, secrets)) else {
                continue;
            };
            let out = out.get_or_insert_default();
            out.extend_from_slice(text.get(copied..at).unwrap_or_default());
            out.extend_from_slice(value.as_bytes());
            copied = end;
        }
        let mut out = out?;
        out.extend_from_slice(text.get(copied..).unwrap_or_default());
        Some(out)
    }

    fn value<'a>(&self, found: &[u8], secrets: &'a Secrets) -> Option<&'a str> {
        let (_, name) = self.0.iter().find(|(token, _)| token.as_bytes() == found)?;
        secrets.get(name)
    }
}

fn token() -> String {
    let mut token = String::with_capacity(PREFIX.len() + DIGITS);
    token.push_str(PREFIX);
    let _infallible = write!(token, "{:032x}", rand::random::<u128>());
    token
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn given() -> (Tokens, Secrets) {
        let names = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let secrets = Secrets::from_iter([
            ("a".to_owned(), "ONE".to_owned()),
            ("b".to_owned(), "{{secret:a}}".to_owned()),
        ]);
        (Tokens::fresh(&names), secrets)
    }

    #[test]
    fn a_config_goes_in_hidden_and_comes_out_expanded() {
        let (tokens, secrets) = given();
        let hidden = tokens.hide(&json!({"url": "https://x/{{secret:a}}/y"}));
        let url = hidden["url"].as_str().unwrap();
        assert!(!url.contains("ONE") && url.contains(PREFIX));
        assert_eq!(tokens.expand(url.as_bytes(), &secrets).unwrap(), b"https://x/ONE/y");
    }

    #[test]
    fn a_value_is_not_expanded_again() {
        let (tokens, secrets) = given();
        let hidden = tokens.hide(&json!("{{secret:b}}"));
        let text = hidden.as_str().unwrap();
        assert_eq!(tokens.expand(text.as_bytes(), &secrets).unwrap(), b"{{secret:a}}");
    }

    #[test]
    fn tokens_of_another_instance_and_planted_placeholders_stay() {
        let (tokens, secrets) = given();
        let (other, _) = given();
        let foreign = other.hide(&json!("{{secret:a}}"));
        assert_eq!(tokens.expand(foreign.as_str().unwrap().as_bytes(), &secrets), None);
        assert_eq!(tokens.expand(b"{{secret:a}}", &secrets), None);
        assert_eq!(tokens.expand(PREFIX.as_bytes(), &secrets), None);
    }

    proptest! {
        #[test]
        fn everything_around_a_token_stays(before in any::<Vec<u8>>(), after in any::<Vec<u8>>()) {
            let (tokens, secrets) = given();
            let token = tokens.hide(&json!("{{secret:a}}"));
            let text = [&before, token.as_str().unwrap().as_bytes(), &after].concat();
            let expanded = tokens.expand(&text, &secrets).unwrap();
            prop_assert_eq!(expanded, [&before, b"ONE".as_slice(), &after].concat());
        }
    }
}
