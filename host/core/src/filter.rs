//! Which notifications a destination gets: its `match` table.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::notification::{Notification, OWN_TYPES};

/// A destination's `match`. Every given field must match; a field matches when one of its patterns does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    #[serde(rename = "type", default)]
    pub kind: Patterns,
    #[serde(default)]
    pub source: Patterns,
    #[serde(default)]
    pub subject: Patterns,
    /// A label that the notification lacks does not match.
    #[serde(default)]
    pub labels: BTreeMap<String, Patterns>,
}

/// Globs, written as one text or a list. None at all match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(pub Vec<String>);

/// Why a filter did not let a notification through, for `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// `type`, `source`, `subject` or `labels.<name>`.
    pub field: String,
}

impl Filter {
    /// Whether a destination with this filter gets `notification`.
    pub fn matches(&self, notification: &Notification) -> bool {
        self.mismatch(notification).is_none()
    }

    /// The first field that does not match, or none when all do.
    pub fn mismatch(&self, n: &Notification) -> Option<Mismatch> {
        let wrong = |field: &str| Some(Mismatch { field: field.to_owned() });
        if n.kind.starts_with(OWN_TYPES) {
            let named = self.kind.0.iter().filter(|p| p.starts_with(OWN_TYPES));
            if !named.into_iter().any(|p| glob(p, &n.kind)) {
                return wrong("type");
            }
        } else if !self.kind.matches(&n.kind) {
            return wrong("type");
        }
        if !self.source.matches(&n.source) {
            return wrong("source");
        }
        if !self.subject.matches(n.subject.as_deref().unwrap_or("")) {
            return wrong("subject");
        }
        self.labels
            .iter()
            .find(|(name, patterns)| !n.labels.get(*name).is_some_and(|v| patterns.matches(v)))
            .and_then(|(name, _)| wrong(&format!("labels.{name}")))
    }
}

impl Patterns {
    fn matches(&self, text: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| glob(pattern, text))
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PatternsVisitor)
    }
}

struct PatternsVisitor;

impl<'de> serde::de::Visitor<'de> for PatternsVisitor {
    type Value = Patterns;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a pattern such as \"alert.*\" or a list of patterns")
    }

    fn visit_str<E>(self, text: &str) -> Result<Patterns, E> {
        Ok(Patterns(vec![text.to_owned()]))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Patterns, A::Error> {
        let mut patterns = Vec::new();
        while let Some(pattern) = seq.next_element()? {
            patterns.push(pattern);
        }
        if patterns.is_empty() {
            return Err(serde::de::Error::custom(
                "an empty list would match nothing; leave it out",
            ));
        }
        Ok(Patterns(patterns))
    }
}

/// Whether `text` matches `pattern`: `*` stands for any characters, dots included, `?` for one.
///
/// Greedy with one step back to the last `*`: time is at most the product of the lengths.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (mut p, mut t) = (pattern, text);
    let mut back: Option<(&str, &str)> = None;
    loop {
        if let Some(rest) = p.strip_prefix('*') {
            back = Some((rest, t));
            p = rest;
            continue;
        }
        let (mut ps, mut ts) = (p.chars(), t.chars());
        match (ps.next(), ts.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == '?' || a == b => {
                p = ps.as_str();
                t = ts.as_str();
                continue;
            }
            _ => {}
        }
        let Some((after_star, from)) = back else { return false };
        let mut rest = from.chars();
        if rest.next().is_none() {
            return false;
        }
        back = Some((after_star, rest.as_str()));
        p = after_star;
        t = rest.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn notification(kind: &str, labels: &[(&str, &str)]) -> Notification {
        let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        crate::Draft { kind: kind.into(), labels, ..Default::default() }
            .accept_own(crate::NotificationId(uuid::Uuid::nil()), Timestamp::UNIX_EPOCH)
            .unwrap()
    }

    fn filter(text: &str) -> Filter {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn no_match_means_everything_but_our_own() {
        assert!(Filter::default().matches(&notification("anything", &[])));
        assert!(!Filter::default().matches(&notification("postrider.destination.open", &[])));
        assert!(!filter("type = '*'").matches(&notification("postrider.x", &[])));
        assert!(filter("type = 'postrider.*'").matches(&notification("postrider.x", &[])));
    }

    #[test]
    fn a_star_crosses_dots() {
        assert!(filter("type = ['alert.*']").matches(&notification("alert.disk.full", &[])));
        assert!(!filter("type = ['alert.*']").matches(&notification("alert", &[])));
    }

    #[test]
    fn labels_must_all_match_and_a_missing_one_does_not() {
        let f = filter("labels = { severity = ['critical', 'high'], team = 'ops' }");
        assert!(f.matches(&notification("x", &[("severity", "high"), ("team", "ops")])));
        let lacking = notification("x", &[("severity", "high")]);
        assert_eq!(f.mismatch(&lacking).unwrap().field, "labels.team");
    }

    #[test]
    fn an_empty_list_and_an_unknown_field_are_refused() {
        assert!(toml::from_str::<Filter>("type = []").is_err());
        assert!(toml::from_str::<Filter>("kind = 'x'").is_err());
    }

    /// The textbook definition, exponential: the law that the fast one must keep.
    fn slow(p: &[char], t: &[char]) -> bool {
        match (p.first(), t.first()) {
            (None, None) => true,
            (Some('*'), _) => slow(&p[1..], t) || (!t.is_empty() && slow(p, &t[1..])),
            (Some('?'), Some(_)) => slow(&p[1..], &t[1..]),
            (Some(a), Some(b)) if a == b => slow(&p[1..], &t[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn globbing_keeps_its_definition(p in "[ab*?ö]{0,8}", t in "[abö]{0,8}") {
            let (pc, tc): (Vec<_>, Vec<_>) = (p.chars().collect(), t.chars().collect());
            prop_assert_eq!(glob(&p, &t), slow(&pc, &tc));
        }
    }
}
