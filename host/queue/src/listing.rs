//! Which notifications a person asks for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use postrider_core::suggest;

use crate::Page;

/// Which notifications to list; what is not given matches all.
#[derive(Clone, Debug)]
pub struct NotificationFilter {
    /// A pattern, as in a destination's `match`: `*` stands for any characters, `?` for one.
    pub kind: Option<String>,
    /// A pattern.
    pub source: Option<String>,
    /// Each label that must be there, with this value.
    pub labels: BTreeMap<String, String>,
    /// Accepted, or inserted by their producer, at this moment or later.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    pub state: Option<NotificationState>,
    /// Rows above this one only: what bounds the work of a filter that matches little.
    pub above: Option<i64>,
    pub page: Page,
}

/// Where a notification stands as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotificationState {
    /// Not fanned out.
    Arrived,
    /// Set aside: a producer's row that is no notification.
    Malformed,
    /// No destination matched.
    Unrouted,
    /// A delivery of it is live.
    Live,
    /// All its deliveries were delivered.
    Delivered,
    /// A delivery of it is dead.
    Dead,
    /// A delivery of it is cancelled.
    Cancelled,
}

impl NotificationFilter {
    /// All of a page.
    pub fn all(page: Page) -> Self {
        Self {
            kind: None,
            source: None,
            labels: BTreeMap::new(),
            since: None,
            until: None,
            state: None,
            above: None,
            page,
        }
    }

    /// Whether it leaves anything out.
    pub fn is_narrow(&self) -> bool {
        let Self { kind, source, labels, since, until, state, .. } = self;
        let bounded = since.is_some() || until.is_some();
        kind.is_some() || source.is_some() || !labels.is_empty() || bounded || state.is_some()
    }
}

impl NotificationState {
    pub const ALL: [Self; 7] = [
        Self::Arrived,
        Self::Malformed,
        Self::Unrouted,
        Self::Live,
        Self::Delivered,
        Self::Dead,
        Self::Cancelled,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::Malformed => "malformed",
            Self::Unrouted => "unrouted",
            Self::Live => "live",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl std::str::FromStr for NotificationState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            match suggest::nearest(text, names) {
                Some(near) => format!("\"{text}\" is unknown; did you mean \"{near}\"?"),
                None => format!("\"{text}\" is unknown; must be one of {}", names.join(", ")),
            }
        })
    }
}

/// A pattern as SQLite's `GLOB` has it, which knows brackets, too.
pub(crate) fn as_glob(pattern: &str) -> String {
    pattern.replace('[', "[[]")
}

/// A pattern as `LIKE` has it.
pub(crate) fn as_like(pattern: &str) -> String {
    let mut like = String::with_capacity(pattern.len());
    for c in pattern.chars() {
        match c {
            '*' => like.push('%'),
            '?' => like.push('_'),
            '\\' | '%' | '_' => like.extend(['\\', c]),
            other => like.push(other),
        }
    }
    like
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_reads_as_a_wildcard_is_not_one_here() {
        assert_eq!(as_like("50%_of\\a*b?"), "50\\%\\_of\\\\a%b_");
        assert_eq!(as_glob("[ab]*"), "[[]ab]*");
    }

    #[test]
    fn an_unknown_state_is_told_the_nearest() {
        let error = "ded".parse::<NotificationState>().unwrap_err();
        assert!(error.contains("\"dead\""), "{error}");
    }
}
