//! The store for a destination's own notes, which the daemon implements.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// Longest key, in bytes: it is indexed.
pub const MAX_KEY: usize = 256;
/// Largest value, in bytes: notes, never content.
pub const MAX_VALUE: usize = 64 << 10;

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    pub value: Bytes,
    /// Changes with each write.
    pub version: u64,
}

/// Why a value could not be read or kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A key, a value or the whole store would exceed its limit; the text names it.
    #[error("{0}")]
    Quota(String),
    /// The store cannot be reached now.
    #[error("{0}")]
    Unavailable(String),
}

/// Durable notes by destination and key. The sandbox has checked [`MAX_KEY`] and [`MAX_VALUE`] before it asks; how
/// many keys a destination may have is the store's own limit. Called on the runtime that called
/// [`Plugin::bind`](crate::Plugin::bind).
#[async_trait]
pub trait StateStore: Send + Sync {
    /// Reads a key; none where it is absent or expired.
    async fn get(&self, destination: &str, key: &str) -> Result<Option<StateEntry>, StateError>;

    /// Writes a key, for `ttl` or until removed.
    async fn set(
        &self,
        destination: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), StateError>;

    /// Removes a key; an absent one is no error.
    async fn remove(&self, destination: &str, key: &str) -> Result<(), StateError>;

    /// Writes a key only if its version is still `expected` (none: only if it is absent). False when it is not.
    async fn compare_and_set(
        &self,
        destination: &str,
        key: &str,
        expected: Option<u64>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<bool, StateError>;
}
