//! The values of a destination's secrets. They are never printed, and wiped when the last holder lets go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// Secrets by name, as the daemon resolved them, and what TLS needs, which no plugin can name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Secrets {
    values: Values,
    tls: Values,
}

type Values = Arc<BTreeMap<String, Zeroizing<String>>>;

impl Secrets {
    /// The value of a secret.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.as_str())
    }

    /// The same with PEM texts by the keys that they are for, such as `tls.ca`.
    #[must_use]
    pub fn with_tls(self, texts: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { tls: wiped(texts), ..self }
    }

    pub(crate) fn tls(&self, key: &str) -> Option<&str> {
        self.tls.get(key).map(|text| text.as_str())
    }

    /// Names in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self { values: wiped(pairs), tls: Values::default() }
    }
}

fn wiped(pairs: impl IntoIterator<Item = (String, String)>) -> Values {
    Arc::new(pairs.into_iter().map(|(name, value)| (name, Zeroizing::new(value))).collect())
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secrets").field(&self.values.keys().collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_names_and_no_values() {
        let secrets = Secrets::from_iter([("token".to_owned(), "hunter2".to_owned())]);
        assert_eq!(format!("{secrets:?}"), "Secrets([\"token\"])");
        assert_eq!(secrets.get("token"), Some("hunter2"));
    }
}
