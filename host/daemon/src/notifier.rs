//! Between sandbox and queue, which do not know each other.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use postrider_queue::{Queue, QueueError, Slot};
use postrider_sandbox::{StateEntry, StateError, StateStore};

/// A destination's own notes, kept in the queue's database.
pub struct QueueState(pub Arc<dyn Queue>);

#[async_trait]
impl StateStore for QueueState {
    async fn get(&self, destination: &str, key: &str) -> Result<Option<StateEntry>, StateError> {
        let entry = self.0.state_get(&slot(destination, key)).await.map_err(state_error)?;
        Ok(entry.map(|e| StateEntry { value: e.value.into(), version: e.version }))
    }

    async fn set(
        &self,
        destination: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), StateError> {
        let slot = slot(destination, key);
        self.0.state_set(&slot, &value, ttl, None).await.map(drop).map_err(state_error)
    }

    async fn remove(&self, destination: &str, key: &str) -> Result<(), StateError> {
        self.0.state_remove(&slot(destination, key)).await.map_err(state_error)
    }

    async fn compare_and_set(
        &self,
        destination: &str,
        key: &str,
        expected: Option<u64>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<bool, StateError> {
        let slot = slot(destination, key);
        self.0.state_set(&slot, &value, ttl, Some(expected)).await.map_err(state_error)
    }
}

fn slot(destination: &str, key: &str) -> Slot {
    Slot { destination: destination.to_owned(), key: key.to_owned() }
}

fn state_error(error: QueueError) -> StateError {
    match error {
        QueueError::StateFull(problem) => StateError::Quota(problem),
        QueueError::Unavailable(problem)
        | QueueError::Pruned(problem)
        | QueueError::Corrupt(problem) => StateError::Unavailable(problem),
    }
}
