//! What the daemon tells of itself: numbers, whether it is well, and notifications of its own.
//!
//! - [`depth`]: how much waits for each destination.
//! - [`metrics`]: every metric, by name, and the events that move it.
//! - [`notices`]: notifications of postrider's own.
//! - [`requests`]: requests of the API, counted.
//! - [`scrape`]: `GET /metrics`.
//! - [`pulse`]: when each loop last went round, and which is late.
//! - [`rates`]: the last hour of each destination.
//! - [`probes`]: `GET /livez` and `GET /readyz`.
//! - [`watched`]: what a module used, seen around its calls.
//!
//! Everything else calls one method of [`Signals`] where something happens. None of them waits or fails.

pub mod depth;
pub mod metrics;
pub mod notices;
pub mod probes;
pub mod pulse;
pub mod rates;
pub mod requests;
pub mod scrape;
#[cfg(test)]
mod tests;
pub mod watched;

use std::sync::Arc;
use std::time::Duration;

use postrider_core::Outcome;
use postrider_core::settle::Settlement;
use postrider_queue::{Enqueued, Lease};

use crate::registry::Registry;
use metrics::{Metrics, Running};
use notices::{About, Events};
use pulse::{Loop, Pulse};

/// Where events are told. Cheap to clone: all are one.
#[derive(Clone)]
pub struct Signals(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    pulse: Pulse,
    rates: rates::Rates,
    scrapes: scrape::Scrapes,
    depths: depth::Depths,
    events: Events,
}

/// Where a lease was found to be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// While its attempt ran.
    Sending,
    /// When its settlement was to be written.
    Settling,
    /// By the claim after it: it had expired.
    Expired,
}

impl Lost {
    /// As a label has it.
    fn name(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Settling => "settling",
            Self::Expired => "expired",
        }
    }
}

impl Signals {
    /// Fails only where two metrics have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new()?;
        Ok(Self(Arc::new(Inner {
            metrics,
            pulse: Pulse::new(),
            rates: rates::Rates::default(),
            scrapes: scrape::Scrapes::default(),
            depths: depth::Depths::default(),
            events: Events::default(),
        })))
    }

    /// A loop went round, and will again within `within`.
    pub fn beat(&self, who: Loop, within: Duration) {
        self.0.pulse.beat(who, within);
    }

    /// The API has stored notifications, or known them.
    pub fn enqueued<'a>(&self, answers: impl IntoIterator<Item = &'a Enqueued>) {
        for answer in answers {
            self.0.metrics.enqueued(answer);
        }
    }

    /// A notification that came by SQL goes to so many destinations; none: it is malformed.
    pub fn arrived(&self, destinations: Option<usize>) {
        self.0.metrics.arrived(destinations);
    }

    /// A claim brought these leases.
    pub fn claimed(&self, leases: &[Lease], took: Duration) {
        self.0.metrics.claimed(leases, took);
    }

    /// These were leased as they were stored.
    pub fn taken(&self, leases: &[Lease]) {
        self.0.metrics.leased(leases);
    }

    /// An attempt begins; it ends when the answer is dropped.
    #[must_use]
    pub fn attempting(&self, destination: &str) -> Running {
        self.0.metrics.attempting(destination)
    }

    /// An attempt has ended by itself.
    pub fn attempted(&self, destination: &str, outcome: &Outcome, took: Duration) {
        self.0.metrics.attempted(destination, outcome.label(), took);
    }

    /// A settlement is written.
    pub fn settled(&self, about: &About, settlement: &Settlement) {
        self.0.metrics.settled(&about.destination, settlement);
        self.0.rates.note(&about.destination, settlement);
        if let Some(event) = about.event() {
            self.tell(event);
        }
    }

    /// The last hour of each destination, by this host's settlements.
    pub fn rates(&self) -> &rates::Rates {
        &self.0.rates
    }

    /// A lease was lost.
    pub fn lease_lost(&self, destination: &str, found: Lost) {
        self.0.metrics.lease_lost(destination, found);
    }

    /// Deliveries of removed destinations died.
    pub fn buried(&self, deliveries: u64) {
        self.0.metrics.buried(deliveries);
    }

    /// A reload puts `new` in the place of `old`.
    pub fn reloaded(&self, old: &Registry, new: &Registry) {
        self.0.metrics.reloaded(old, new);
        for event in notices::rejected(old, new) {
            self.tell(event);
        }
    }

    /// A module's file was read, compiled where nobody had, and type-checked.
    pub fn module_loaded(&self, good: bool, took: Duration) {
        self.0.metrics.module_loaded(good, took);
    }
}
