//! A destination's own notes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use postrider_sandbox::{StateEntry, StateError, StateStore};

use crate::given::{note, send, try_bind};

#[derive(Default)]
struct Memory(Mutex<HashMap<(String, String), StateEntry>>);

/// Keys that the store of these tests takes.
const MAX_KEYS: usize = 20;

#[async_trait]
impl StateStore for Memory {
    async fn get(&self, destination: &str, key: &str) -> Result<Option<StateEntry>, StateError> {
        Ok(self.0.lock().unwrap().get(&(destination.into(), key.into())).cloned())
    }

    async fn set(
        &self,
        destination: &str,
        key: &str,
        value: Bytes,
        _: Option<Duration>,
    ) -> Result<(), StateError> {
        let mut map = self.0.lock().unwrap();
        if map.len() >= MAX_KEYS {
            return Err(StateError::Quota(format!("at most {MAX_KEYS} keys")));
        }
        let entry = map
            .entry((destination.into(), key.into()))
            .or_insert(StateEntry { value: Bytes::new(), version: 0 });
        *entry = StateEntry { value, version: entry.version + 1 };
        Ok(())
    }

    async fn remove(&self, destination: &str, key: &str) -> Result<(), StateError> {
        self.0.lock().unwrap().remove(&(destination.into(), key.into()));
        Ok(())
    }

    async fn compare_and_set(
        &self,
        destination: &str,
        key: &str,
        expected: Option<u64>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<bool, StateError> {
        let current = self.get(destination, key).await?.map(|entry| entry.version);
        if current != expected {
            return Ok(false);
        }
        self.set(destination, key, value, ttl).await.map(|()| true)
    }
}

fn toml(doing: &str) -> String {
    format!("[config]\ndo = \"{doing}\"")
}

#[tokio::test]
pub(crate) async fn notes_are_kept_between_deliveries_and_apart_between_destinations() {
    let store: Arc<dyn StateStore> = Arc::new(Memory::default());
    let bind = async |name: &str, doing: &str| {
        try_bind("fixture", name, &toml(doing), Some(store.clone())).await.unwrap()
    };
    assert_eq!(note(&send(&bind("a", "state").await, "{}").await), "ok");
    let counting = bind("a", "state-count").await;
    assert_eq!(note(&send(&counting, "{}").await), "1");
    assert_eq!(note(&send(&counting, "{}").await), "2");
    assert_eq!(note(&send(&bind("b", "state-count").await, "{}").await), "1");
    let flooding = send(&bind("c", "state-flood").await, "{}").await;
    assert!(note(&flooding).contains("kept; at most 20 keys"), "{flooding:?}");
}

#[tokio::test]
async fn without_a_store_state_is_unavailable() {
    let notifier = try_bind("fixture", "test", &toml("state"), None).await.unwrap();
    let sent = send(&notifier, "{}").await;
    assert_eq!(sent.outcome.label(), "retry");
    assert!(sent.outcome.reason().contains("has no state here"), "{sent:?}");
}
