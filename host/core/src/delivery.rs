//! One notification to one destination: its states, leases and attempts, as the queue keeps them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

/// Number of a delivery within its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct DeliveryId(pub i64);

/// Identity of one daemon process: a fresh UUID per start. For display only; the lease's token is the safety.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct HostId(pub Uuid);

/// What a worker shows with every write: a write whose token is no longer the delivery's is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseKey {
    pub id: DeliveryId,
    pub token: i64,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Waits until it is due.
    Pending,
    /// A host holds its lease and is sending.
    Leased,
    Delivered,
    /// Gave up: rejected, exhausted, expired, gone. `redeliver` revives it.
    Dead,
    Cancelled,
}

/// One try of a delivery; rows of these are only ever added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// From 1, without gaps.
    pub number: u32,
    pub started: Timestamp,
    pub duration: Duration,
    /// A word of [`crate::Outcome::label`], or `lost`.
    pub outcome: String,
    pub reason: String,
    /// SHA-256 of the module that ran, in hexadecimal; empty where none did.
    pub plugin: String,
    pub host: HostId,
}

/// The outcome under which an expired lease is recorded.
pub const LOST: &str = "lost";

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl DeliveryState {
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Leased, Self::Delivered, Self::Dead, Self::Cancelled];

    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Leased => "leased",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DeliveryState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name);
            let meant = match crate::suggest::nearest(text, known) {
                Some(name) => format!("did you mean \"{name}\"? "),
                None => String::new(),
            };
            format!("unknown state \"{text}\"; {meant}known: {}", known.join(", "))
        })
    }
}
