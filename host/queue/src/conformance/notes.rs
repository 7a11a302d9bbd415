//! Destinations' own notes.

use super::*;
use crate::{MAX_STATE_BYTES, MAX_STATE_KEYS, QueueError, Slot, StateEntry};

fn slot(destination: &str, key: &str) -> Slot {
    Slot { destination: destination.into(), key: key.into() }
}

impl Stage {
    async fn get(&self, slot: &Slot) -> Option<StateEntry> {
        self.queue.state_get(slot).await.unwrap()
    }

    async fn set(&self, slot: &Slot, value: &[u8]) {
        assert!(self.queue.state_set(slot, value, None, None).await.unwrap());
    }

    async fn swap(&self, slot: &Slot, value: &[u8], expected: Option<u64>) -> bool {
        self.queue.state_set(slot, value, None, Some(expected)).await.unwrap()
    }
}

pub(crate) async fn a_note_is_read_until_it_is_removed(stage: &Stage) {
    let slot = slot("slack", "thread");
    assert_eq!(stage.get(&slot).await, None);
    stage.set(&slot, &[0, 255, 1]).await;
    assert_eq!(stage.get(&slot).await.unwrap().value, [0, 255, 1]);
    stage.set(&slot, b"").await;
    assert_eq!(stage.get(&slot).await.unwrap().value, b"");
    stage.queue.state_remove(&slot).await.unwrap();
    stage.queue.state_remove(&slot).await.unwrap();
    assert_eq!(stage.get(&slot).await, None);
}

pub(crate) async fn a_note_belongs_to_one_destination(stage: &Stage) {
    stage.set(&slot("slack", "k"), b"1").await;
    assert_eq!(stage.get(&slot("email", "k")).await, None);
    assert_eq!(stage.get(&slot("slack", "K")).await, None);
    stage.set(&slot("email", "k"), b"2").await;
    stage.queue.state_remove(&slot("email", "k")).await.unwrap();
    assert_eq!(stage.get(&slot("slack", "k")).await.unwrap().value, b"1");
}

pub(crate) async fn a_note_is_swapped_only_at_its_version(stage: &Stage) {
    let slot = slot("slack", "k");
    assert!(!stage.swap(&slot, b"0", Some(1)).await);
    assert!(stage.swap(&slot, b"1", None).await);
    assert!(!stage.swap(&slot, b"2", None).await);
    let first = stage.get(&slot).await.unwrap();
    assert!(stage.swap(&slot, b"2", Some(first.version)).await);
    assert!(!stage.swap(&slot, b"3", Some(first.version)).await);
    assert_eq!(stage.get(&slot).await.unwrap().value, b"2");
}

pub(crate) async fn a_version_never_comes_back(stage: &Stage) {
    let slot = slot("slack", "k");
    stage.set(&slot, b"1").await;
    let first = stage.get(&slot).await.unwrap();
    stage.queue.state_remove(&slot).await.unwrap();
    stage.set(&slot, b"1").await;
    assert_ne!(stage.get(&slot).await.unwrap().version, first.version);
    assert!(!stage.swap(&slot, b"2", Some(first.version)).await);
}

pub(crate) async fn a_note_expires(stage: &Stage) {
    let slot = slot("slack", "k");
    assert!(stage.queue.state_set(&slot, b"1", Some(MINUTE), None).await.unwrap());
    stage.advance(MINUTE - Duration::from_millis(1));
    assert!(stage.get(&slot).await.is_some());
    stage.advance(Duration::from_millis(1));
    assert_eq!(stage.get(&slot).await, None);
    assert!(stage.swap(&slot, b"2", None).await);
    stage.advance(2 * MINUTE);
    assert_eq!(stage.get(&slot).await.unwrap().value, b"2");
}

pub(crate) async fn a_destination_has_room_for_so_many_notes(stage: &Stage) {
    for n in 0..MAX_STATE_KEYS {
        let ttl = (n == 0).then_some(MINUTE);
        assert!(
            stage.queue.state_set(&slot("slack", &n.to_string()), b"", ttl, None).await.unwrap()
        );
    }
    let one_more = slot("slack", "more");
    let full = stage.queue.state_set(&one_more, b"", None, None).await.unwrap_err();
    assert!(matches!(full, QueueError::StateFull(_)), "{full}");
    assert_eq!(stage.get(&one_more).await, None);
    // But one that is there can be written, another destination has its own room, and an expired one makes room.
    stage.set(&slot("slack", "0"), b"new").await;
    stage.set(&slot("email", "0"), b"").await;
    assert!(stage.queue.state_set(&slot("slack", "1"), b"", Some(MINUTE), None).await.unwrap());
    stage.advance(MINUTE);
    stage.set(&one_more, b"").await;
}

pub(crate) async fn a_destination_has_room_for_so_many_bytes(stage: &Stage) {
    let slot = slot("slack", "ü");
    let most = vec![7; usize::try_from(MAX_STATE_BYTES).unwrap() - "ü".len()];
    stage.set(&slot, &most).await;
    let more = [most.as_slice(), &[7]].concat();
    let full = stage.queue.state_set(&slot, &more, None, None).await.unwrap_err();
    assert!(full.to_string().contains("\"slack\""), "{full}");
    assert_eq!(stage.get(&slot).await.unwrap().value.len(), most.len());
}
