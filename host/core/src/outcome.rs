//! What an attempt came to: what the guest reported, or what the host made of a trap, a timeout, a missing plugin.

use std::time::Duration;

/// One attempt's end. Everything that can happen to an attempt becomes one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has taken it.
    Delivered(Receipt),
    /// The receiver may take it later.
    Retry { reason: String, after: Option<Duration>, scope: Scope },
    /// The receiver understood and refused it.
    Rejected { reason: String },
    /// The destination itself is dead.
    Gone { reason: String },
    /// The module did not answer: a recorded, budgeted attempt.
    Fault { fault: Fault, reason: String },
}

/// What a module knows of a notification that its receiver has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    pub id: Option<String>,
    pub note: Option<String>,
}

/// What a retry holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Delivery,
    Destination,
}

/// How a module failed to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It trapped: panic, unreachable, stack overflow, out-of-bounds, exit.
    Trap,
    /// It did not end within the destination's `timeout`; the receiver may have got the notification.
    Timeout,
    /// It asked for more than a limit: memory, handles, host-call data.
    Limit,
    /// Its `configure` refused the configuration it had accepted at load.
    Configure,
    /// The sandbox itself could not run it.
    Host,
}

impl Outcome {
    /// The closed set of words under which attempts are recorded and counted.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::Retry { .. } => "retry",
            Self::Rejected { .. } => "rejected",
            Self::Gone { .. } => "gone",
            Self::Fault { fault, .. } => match fault {
                Fault::Trap => "trap",
                Fault::Timeout => "timeout",
                Fault::Limit => "limit",
                Fault::Configure => "configure",
                Fault::Host => "host",
            },
        }
    }

    /// The line for the operator; empty where a delivered one has none.
    pub fn reason(&self) -> String {
        match self {
            Self::Delivered(Receipt { id, note }) => match (note, id) {
                (Some(note), Some(id)) => format!("{note} ({id})"),
                (Some(text), None) | (None, Some(text)) => text.clone(),
                (None, None) => String::new(),
            },
            Self::Retry { reason, .. }
            | Self::Rejected { reason }
            | Self::Gone { reason }
            | Self::Fault { reason, .. } => reason.clone(),
        }
    }
}
