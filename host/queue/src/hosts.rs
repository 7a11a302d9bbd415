//! Hosts as others see them. For display, with one exception: what a live host has in force no other may orphan.

use std::time::Duration;

use jiff::Timestamp;
use postrider_core::HostId;

/// A host that was silent for longer counts as gone: its beats come several times within it.
pub const HOST_SILENT: Duration = Duration::from_secs(60);
/// The row of a host that was silent for longer goes.
pub const HOST_FORGOTTEN: Duration = Duration::from_secs(86_400);

/// What a host tells of itself, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostBeat {
    /// A fresh one for each start.
    pub id: HostId,
    /// The machine's.
    pub name: String,
    pub version: String,
    /// Where its API listens.
    pub listen: String,
    /// The destinations that it has in force.
    pub destinations: Vec<String>,
}

/// A host as the queue knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRecord {
    pub told: HostBeat,
    /// When it came first, by the queue's clock.
    pub started: Timestamp,
    /// When it came last.
    pub seen: Timestamp,
    /// Whether it came within [`HOST_SILENT`].
    pub live: bool,
}
