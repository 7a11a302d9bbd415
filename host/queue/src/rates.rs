//! A destination's `rate`, kept over all hosts of a queue.
//!
//! A token bucket for each destination: it holds one second's worth, at least one, and is filled by the database's
//! clock. A host takes tokens for what it is about to begin and brings back what it did not use.

/// What a host asks for one destination.
#[derive(Clone, Debug, PartialEq)]
pub struct RateAsk {
    pub destination: String,
    /// Deliveries that it would begin now.
    pub wanted: u32,
    /// Tokens of an earlier answer that it did not use.
    pub unused: u32,
    /// Tokens that come each second; all hosts should ask by the same.
    pub per_second: f64,
}
