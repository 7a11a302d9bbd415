//! The destination's small durable store: tokens, thread ids, duplicates seen. Never for content.

use crate::Failure;
use crate::bindings::postrider::notifier::state;
use std::time::Duration;

pub use crate::bindings::postrider::notifier::state::{Entry, StateError};

/// Reads a key; none where it is absent or expired.
pub fn get(key: &str) -> Result<Option<Entry>, StateError> {
    state::get(key)
}

/// Writes a key, for `ttl` or until removed.
pub fn set(key: &str, value: &[u8], ttl: Option<Duration>) -> Result<(), StateError> {
    state::set(key, value, ttl.map(millis))
}

/// Removes a key; an absent one is no error.
pub fn remove(key: &str) -> Result<(), StateError> {
    state::remove(key)
}

/// Writes a key only if its version is still `expected` (none: only if it is absent). False when it is not.
pub fn compare_and_set(
    key: &str,
    expected: Option<u64>,
    value: &[u8],
    ttl: Option<Duration>,
) -> Result<bool, StateError> {
    state::compare_and_set(key, expected, value, ttl.map(millis))
}

/// A store that is full or away concerns the operator, not the notification: it is tried again.
impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Quota(what) => Self::retry(format!("state: over the limit: {what}")),
            StateError::Unavailable(why) => Self::retry(format!("state: unavailable: {why}")),
        }
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}
