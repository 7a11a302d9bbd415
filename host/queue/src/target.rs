//! Where a notification goes, and the sweep that ends what came too late.

use std::time::Duration;

use postrider_core::HostId;

/// One destination of a notification.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub destination: String,
    /// Of one destination and key the deliveries run one at a time, in the order of arrival; none: side by side.
    pub order_key: Option<String>,
    /// The destination's own bound, from arrival; the notification's, if it is earlier, wins.
    pub expires_after: Option<Duration>,
}

impl Target {
    /// A target without order and bound.
    pub fn new(destination: impl Into<String>) -> Self {
        Self { destination: destination.into(), order_key: None, expires_after: None }
    }
}

impl From<&str> for Target {
    fn from(destination: &str) -> Self {
        Self::new(destination)
    }
}

/// What a host asks for that ends what came too late.
#[derive(Clone, Debug)]
pub struct Sweep {
    pub host: HostId,
    pub lease: Duration,
    /// Most deliveries to lease.
    pub limit: u32,
    /// The destinations in force, and their `max_age`.
    pub bounds: Vec<AgeBound>,
}

/// The age at which a destination's deliveries die.
#[derive(Clone, Debug)]
pub struct AgeBound {
    pub destination: String,
    pub max_age: Duration,
    /// Also what is not due yet: the destination is left alone.
    pub early: bool,
}

/// Of each destination and lane a sweep looks at so many deliveries, the longest due: a backlog never makes it slow.
pub(crate) const SWEPT: i64 = 1_000;

/// Targets, each destination once; the first counts.
pub(crate) fn once(targets: &[Target]) -> Vec<&Target> {
    let mut first: Vec<&Target> = targets.iter().collect();
    first.sort_by(|a, b| a.destination.cmp(&b.destination));
    first.dedup_by(|a, b| a.destination == b.destination);
    first
}
