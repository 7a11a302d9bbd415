//! Destinations that nothing is sent to for a while.

use jiff::Timestamp;

/// When a paused destination would be held until, if nobody resumed it: 2100, in milliseconds.
pub(crate) const PAUSED_UNTIL: i64 = 4_102_444_800_000;

/// A destination that is held: it asked for a rest, or somebody paused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub destination: String,
    /// Nothing is claimed for it before. Of one that is paused it says nothing.
    pub until: Timestamp,
    pub paused: Option<Paused>,
}

/// A person's pause. It lasts until a person ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    pub since: Timestamp,
    pub reason: String,
}
