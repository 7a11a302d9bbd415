//! Destinations that are left alone: breakers, and holds that receivers asked for.
//!
//! A breaker that is not closed is a row, and beside it a hold that no clock reaches the end of: that is what keeps
//! every claim away, at no cost for a claim of a healthy destination. Only [`crate::Queue::claim_trial`] gets past it,
//! one trial at a time over all hosts. Each trial has a number; a turn that names another's changes nothing.

use std::time::Duration;

use jiff::Timestamp;
use postrider_core::HostId;
use postrider_core::breaker::{BreakerState, Trial, Turn};

use crate::Lease;

/// Opens a breaker that is closed, or notes that a destination is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trip {
    pub destination: String,
    /// The destination is dead, whatever the breaker's state was.
    pub gone: bool,
    /// The line for the operator.
    pub reason: String,
    /// Until the first probe.
    pub wait: Duration,
}

/// What a host asks for that tries a destination whose breaker is open or ramping.
#[derive(Clone, Debug)]
pub struct TrialClaim {
    pub host: HostId,
    pub lease: Duration,
    pub destination: String,
    /// Most deliveries that it has room for.
    pub free: u32,
    /// After so long without a turn the next trial may begin: its host has ended.
    pub patience: Duration,
}

/// A trial, and what is tried.
#[derive(Clone, Debug)]
pub struct Tried {
    /// For [`BreakerTurn`].
    pub number: i64,
    pub trial: Trial,
    pub leases: Vec<Lease>,
}

/// What became of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerTurn {
    pub destination: String,
    pub number: i64,
    pub turn: Turn,
    /// The line for the operator; empty leaves the one before.
    pub reason: String,
}

/// A destination that no ordinary claim serves now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub destination: String,
    /// Since when, without a break.
    pub since: Timestamp,
    /// How long that is, by the store's clock.
    pub age: Duration,
    /// When the receiver's wish ends; none where a breaker keeps it.
    pub until: Option<Timestamp>,
    pub breaker: Option<Breaker>,
}

/// A breaker that is not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    pub state: BreakerState,
    pub reason: String,
    /// Since when it has not been closed.
    pub since: Timestamp,
    /// When the next trial may begin, or the running one is given up; none while it is gone.
    pub next: Option<Timestamp>,
    /// How long that is; zero once it may begin.
    pub next_in: Duration,
    /// Probes in a row that failed.
    pub failures: u32,
    /// Deliveries that the next trial takes.
    pub batch: u32,
}

/// The end of a breaker's hold, in milliseconds since 1970: the year 9999, which every database can hold and
/// subtract from.
pub(crate) const SHUT: i64 = 253_402_214_400_000;
