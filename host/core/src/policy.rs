//! How often, how long and how many at once: a destination's `[policy]`.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};

use crate::breaker::BreakerPolicy;
use crate::units::{Rate, Span};

/// A destination's `[policy]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Budgeted attempts before a delivery dies; none: as many as `max_age` allows.
    pub attempts: Option<u32>,
    /// Age at which a delivery dies, whatever its attempts.
    pub max_age: Duration,
    /// Time after which a notification is worth no attempt here, counted from its arrival, whatever its own
    /// `expires_after`; the earlier wins. None: `max_age` alone bounds.
    pub expires_after: Option<Duration>,
    pub backoff: Backoff,
    /// Wall-clock time of one attempt.
    pub timeout: Duration,
    /// Attempts in flight at once, for each host.
    pub concurrency: u32,
    /// Attempts started per second; smooths, never drops.
    pub rate: Option<Rate>,
    /// Longest wait that a receiver's Retry-After can ask for.
    pub retry_after_cap: Duration,
    /// When the destination is left alone; none: never.
    pub breaker: Option<BreakerPolicy>,
}

/// When the next attempt comes.
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    pub schedule: Schedule,
    /// Share of each delay that chance may add, so that a crowd does not come back at once.
    pub jitter: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// `initial`, then `factor` times the one before, up to `cap`.
    Exponential { initial: Duration, factor: f64, cap: Duration },
    /// These delays in order, then the last one again.
    List(Vec<Duration>),
}

/// Attempts in flight for each destination and host, unless the file says otherwise.
pub const DEFAULT_CONCURRENCY: u32 = 64;
/// Longest `timeout` that a file may ask for: longer calls hold slots and delay shutdown.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(600);
/// The backoff's jitter, unless the file says otherwise.
const DEFAULT_JITTER: f64 = 0.2;

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts: None,
            max_age: Duration::from_secs(3 * 86_400),
            expires_after: None,
            backoff: Backoff::default(),
            timeout: Duration::from_secs(30),
            concurrency: DEFAULT_CONCURRENCY,
            rate: None,
            retry_after_cap: Duration::from_secs(86_400),
            breaker: Some(BreakerPolicy::default()),
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        let schedule = Schedule::Exponential {
            initial: Duration::from_secs(5),
            factor: 2.0,
            cap: Duration::from_secs(900),
        };
        Self { schedule, jitter: DEFAULT_JITTER }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    attempts: Option<u32>,
    max_age: Option<Span>,
    expires_after: Option<Span>,
    backoff: Option<Backoff>,
    timeout: Option<Span>,
    concurrency: Option<u32>,
    rate: Option<Rate>,
    retry_after_cap: Option<Span>,
    breaker: Option<BreakerKey>,
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let file = PolicyFile::deserialize(deserializer)?;
        let default = Self::default();
        let policy = Self {
            attempts: file.attempts,
            max_age: file.max_age.map_or(default.max_age, |s| s.0),
            expires_after: file.expires_after.map(|s| s.0),
            backoff: file.backoff.unwrap_or(default.backoff),
            timeout: file.timeout.map_or(default.timeout, |s| s.0),
            concurrency: file.concurrency.unwrap_or(default.concurrency),
            rate: file.rate,
            retry_after_cap: file.retry_after_cap.map_or(default.retry_after_cap, |s| s.0),
            breaker: file.breaker.map_or(default.breaker, |key| key.0),
        };
        if policy.expires_after == Some(Duration::ZERO) {
            return Err(Error::custom(
                "expires_after must be above zero; leave it out for no limit",
            ));
        }
        if policy.attempts == Some(0) {
            return Err(Error::custom("attempts must be at least 1; leave it out for no limit"));
        }
        if policy.concurrency == 0 {
            return Err(Error::custom("concurrency must be at least 1"));
        }
        if policy.timeout.is_zero() || policy.timeout > MAX_TIMEOUT {
            return Err(Error::custom("timeout must be above 0 and at most 10m"));
        }
        Ok(policy)
    }
}

/// `breaker = { … }`, or `false`.
struct BreakerKey(Option<BreakerPolicy>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BreakerFile {
    failures: Option<u32>,
    wait: Option<Span>,
    cap: Option<Span>,
    open_on: Option<Vec<u16>>,
}

impl<'de> Deserialize<'de> for BreakerKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BreakerVisitor).map(Self)
    }
}

struct BreakerVisitor;

impl<'de> Visitor<'de> for BreakerVisitor {
    type Value = Option<BreakerPolicy>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a table with failures, wait, cap and open_on, or false")
    }

    fn visit_bool<E: Error>(self, yes: bool) -> Result<Self::Value, E> {
        Ok(yes.then(BreakerPolicy::default))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let file = BreakerFile::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        let default = BreakerPolicy::default();
        let failures = file.failures.unwrap_or(default.failures);
        let wait = file.wait.map_or(default.wait, |s| s.0);
        let cap = file.cap.map_or(default.cap.max(wait), |s| s.0);
        if failures == 0 {
            return Err(Error::custom(
                "breaker.failures must be at least 1; write breaker = false for none",
            ));
        }
        if wait < Duration::from_millis(100) || cap > Duration::from_secs(86_400) {
            return Err(Error::custom(
                "breaker.wait must be at least 100ms, breaker.cap at most 1d",
            ));
        }
        if cap < wait {
            return Err(Error::custom("breaker.cap must not be shorter than breaker.wait"));
        }
        let open_on = file.open_on.unwrap_or_default();
        if let Some(status) = open_on.iter().find(|status| !(400..600).contains(*status)) {
            return Err(Error::custom(format!(
                "breaker.open_on takes HTTP statuses from 400 to 599, such as [401, 403, 404]; {status} is none"
            )));
        }
        Ok(Some(BreakerPolicy { failures, wait, cap, open_on }))
    }
}

impl<'de> Deserialize<'de> for Backoff {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BackoffVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackoffFile {
    initial: Option<Span>,
    factor: Option<f64>,
    cap: Option<Span>,
    jitter: Option<f64>,
}

struct BackoffVisitor;

impl<'de> Visitor<'de> for BackoffVisitor {
    type Value = Backoff;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a table with initial, factor, cap and jitter, or a list of delays")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Backoff, A::Error> {
        let mut delays = Vec::new();
        while let Some(Span(delay)) = seq.next_element()? {
            delays.push(delay);
        }
        if delays.is_empty() {
            return Err(Error::custom("a backoff list needs at least one delay"));
        }
        Ok(Backoff { schedule: Schedule::List(delays), jitter: DEFAULT_JITTER })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Backoff, A::Error> {
        let file = BackoffFile::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        let initial = file.initial.map_or(Duration::from_secs(5), |s| s.0);
        let factor = file.factor.unwrap_or(2.0);
        let cap = file.cap.map_or(Duration::from_secs(900), |s| s.0);
        let jitter = file.jitter.unwrap_or(DEFAULT_JITTER);
        if !(1.0..=100.0).contains(&factor) {
            return Err(Error::custom("backoff.factor must be between 1 and 100"));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(Error::custom("backoff.jitter must be between 0 and 1"));
        }
        if cap < initial {
            return Err(Error::custom("backoff.cap must not be shorter than backoff.initial"));
        }
        Ok(Backoff { schedule: Schedule::Exponential { initial, factor, cap }, jitter })
    }
}
