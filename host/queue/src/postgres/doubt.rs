//! Whether connections that come back to the pool can be believed in.
//!
//! sqlx asks each whether it still answers, and waits for ever. One that its network forgot, as after a failover or
//! behind a router that lost its memory, would keep its place until the kernel gives it up, after a quarter of an
//! hour; twelve of them, and the host is cut off from a database that is well. So after a call that ended without its
//! answer they are asked here first, and not for long. As long as every call is answered this costs nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::time::{Instant, timeout};

/// How long a call that was not answered casts doubt on connections: they come back just after it.
const LASTS: Duration = Duration::from_secs(10);
/// A connection that does not answer within this time is given up: short of the patience for a connection, so that a
/// new one may still be made.
const ANSWER: Duration = Duration::from_millis(500);

/// Shared by a store and its pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt(Arc<Mutex<Option<Instant>>>);

/// A call under way. Dropped without [`UnderWay::answered`], it raises doubt.
pub(super) struct UnderWay<'a>(Option<&'a Doubt>);

impl Doubt {
    /// To be dropped before the call's own future is, which hands its connection back.
    pub(super) fn under_way(&self) -> UnderWay<'_> {
        UnderWay(Some(self))
    }

    /// Whether a connection that comes back may stay in the pool.
    pub(super) async fn keeps(&self, connection: &mut PgConnection) -> bool {
        let doubtful = self.since().is_some_and(|since| since.elapsed() < LASTS);
        !doubtful || answers(connection).await
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay<'_> {
    pub(super) fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(doubt) = self.0 {
            *doubt.since() = Some(Instant::now());
        }
    }
}

/// Whether a connection answers in time.
pub(super) async fn answers(connection: &mut PgConnection) -> bool {
    matches!(timeout(ANSWER, connection.ping()).await, Ok(Ok(())))
}
