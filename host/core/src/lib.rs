//! The decisions of postrider, pure: no IO, no clock, no chance. `now` and `jitter` are parameters.
//!
//! - [`notification`]: what a producer hands in, validated once.
//! - [`trace`]: the trace that it belongs to.
//! - [`schedule`]: when it is delivered, and until when it is worth it.
//! - [`destination`]: the file format of a named, configured use of a plugin.
//! - [`filter`]: which notifications a destination gets.
//! - [`ordering`]: what its deliveries are kept in order by.
//! - [`grant`]: the origins that a destination grants its plugin.
//! - [`policy`]: how often, how long and how many at once.
//! - [`limits`]: what one delivery may use of the sandbox.
//! - [`reuse`]: whether an instance serves several deliveries.
//! - [`network`]: a destination's own TLS and proxy.
//! - [`backoff`]: the delay before the next attempt.
//! - [`breaker`]: when a destination is left alone, and how it comes back.
//! - [`outcome`]: what an attempt came to.
//! - [`delivery`]: states, leases and attempts as the queue keeps them.
//! - [`mod@settle`]: from outcome, policy and standing to a settlement.
//! - [`trial`]: whether a new version of a plugin is taken back.
//! - [`retention`]: how long what is finished is kept.
//! - [`split`]: a big notification in parts at natural borders.
//! - [`secret`]: where a secret comes from, and its placeholders in a config.
//! - [`units`]: durations, byte sizes and rates in configuration files.
//! - [`suggest`]: the nearest known key for an unknown one.

pub mod backoff;
pub mod breaker;
pub mod delivery;
pub mod destination;
pub mod filter;
pub mod grant;
pub mod limits;
pub mod network;
pub mod notification;
pub mod ordering;
pub mod outcome;
pub mod policy;
pub mod retention;
pub mod reuse;
pub mod schedule;
pub mod secret;
pub mod settle;
pub mod split;
pub mod suggest;
pub mod trace;
pub mod trial;
pub mod units;

pub use breaker::{BreakerPolicy, BreakerState, Sign, Trial, Turn};
pub use delivery::{Attempt, DeliveryId, DeliveryState, HostId, LeaseKey};
pub use destination::{Destination, DestinationError};
pub use filter::Filter;
pub use grant::Grant;
pub use limits::Limits;
pub use network::{Proxy, TlsSources};
pub use notification::{Draft, Notification, NotificationId};
pub use ordering::OrderedBy;
pub use outcome::{Fault, Outcome, Receipt, Scope};
pub use policy::{Backoff, Policy};
pub use retention::Retention;
pub use reuse::Reuse;
pub use schedule::Schedule;
pub use settle::{Settlement, Standing, settle};
pub use trace::TraceContext;
