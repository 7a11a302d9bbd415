//! A receiver in the network's place, for trying a module out without a network.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

/// Answers the requests of a destination that is bound offline.
#[async_trait]
pub trait Receiver: Send + Sync {
    /// Takes a request as it would leave: granted, within its budgets, with the values of secrets in it. `left` is
    /// the time until its deadline, which ends a longer wait.
    async fn answer(
        &self,
        request: Request<Bytes>,
        left: Duration,
    ) -> Result<Response<Bytes>, NoAnswer>;
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// No connection.
    Connect(String),
    /// None in time.
    Timeout,
    /// The connection broke.
    Broken(String),
}
