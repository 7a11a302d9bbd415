//! Hosts, retention and numbers in the model.

use postrider_core::retention::Remains;
use postrider_core::{HostId, Retention};

use super::{FanOut, State, StoredDelivery, StoredHost, StoredNotification, Tables};
use crate::pruning::{CHUNK_LOOKED, Candidate, Chunk, Pruned};
use crate::{DeliveryId, Depth, QueueError};
use crate::{HOST_FORGOTTEN, HOST_SILENT, HostBeat, HostRecord, Rows, Stats, content_gone, millis};

impl Tables {
    pub(super) fn prune(&mut self, retention: &Retention, after: Option<i64>) -> Pruned {
        let beyond = self.notifications.range(after.unwrap_or(0) + 1..);
        let looked: Vec<Candidate> =
            beyond.take(CHUNK_LOOKED).map(|(row, n)| self.candidate(*row, n)).collect();
        let chunk = Chunk::of(retention, &looked);
        let mut pruned = Pruned { next: chunk.next, ..Pruned::default() };
        for row in chunk.go.iter().chain(&chunk.lose_deliveries) {
            self.forget_deliveries(*row, &mut pruned);
        }
        for row in chunk.lose_deliveries.iter().chain(&chunk.lose_content) {
            if let Some(stored) = self.notifications.get_mut(row) {
                pruned.contents += u64::from(!stored.pruned);
                stored.pruned = true;
                stored.notification.content = bytes::Bytes::new();
            }
        }
        for row in &chunk.go {
            self.forget(*row, &mut pruned);
        }
        pruned
    }

    fn candidate(&self, row: i64, stored: &StoredNotification) -> Candidate {
        let of = |delivery: &&StoredDelivery| delivery.notification == row;
        let mut remains = Remains {
            fanned_out: stored.fanned_out.map(|at| millis::duration(self.now - at)),
            malformed: matches!(stored.fan_out, FanOut::Malformed(_)),
            has_key: stored.idempotency_key.is_some(),
            pruned: stored.pruned,
            ..Remains::default()
        };
        let (mut last, mut attempts) = (None, 0);
        for delivery in self.deliveries.values().filter(of) {
            remains.deliveries += 1;
            attempts += u64::from(delivery.attempt);
            match delivery.state {
                State::Live => remains.live += 1,
                State::Dead { at, .. } => {
                    remains.dead += 1;
                    last = last.max(Some(at));
                }
                State::Delivered { at } | State::Cancelled { at } => last = last.max(Some(at)),
            }
        }
        remains.finished = last.map(|at| millis::duration(self.now - at));
        Candidate { row, remains, attempts }
    }

    fn forget_deliveries(&mut self, row: i64, pruned: &mut Pruned) {
        let gone: Vec<i64> = self
            .deliveries
            .iter()
            .filter(|(_, delivery)| delivery.notification == row)
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            if let Some(delivery) = self.deliveries.remove(&id) {
                self.pairs.remove(&(row, delivery.destination));
                pruned.deliveries += 1;
            }
            pruned.attempts += self.attempts.remove(&id).map_or(0, |all| all.len() as u64);
        }
    }

    fn forget(&mut self, row: i64, pruned: &mut Pruned) {
        let Some(stored) = self.notifications.remove(&row) else { return };
        self.ids.remove(&stored.notification.id);
        if let Some(key) = &stored.idempotency_key {
            self.keys.remove(key);
        }
        pruned.notifications += 1;
    }

    /// Refuses to redeliver what has no content any more.
    pub(super) fn check_content(&self, ids: &[DeliveryId]) -> Result<(), QueueError> {
        let gone = ids.iter().filter(|id| {
            self.deliveries.get(&id.0).is_some_and(|delivery| {
                let ended = matches!(delivery.state, State::Dead { .. } | State::Cancelled { .. });
                let notification = self.notifications.get(&delivery.notification);
                ended && notification.is_some_and(|stored| stored.pruned)
            })
        });
        let gone: std::collections::BTreeSet<i64> = gone.map(|id| id.0).collect();
        match gone.is_empty() {
            true => Ok(()),
            false => Err(content_gone(&gone.into_iter().collect::<Vec<_>>())),
        }
    }

    pub(super) fn beat(&mut self, beat: &HostBeat) {
        let now = self.now;
        let host = StoredHost { told: beat.clone(), started: now, seen: now };
        let stored = self.hosts.entry(beat.id.0).or_insert(host);
        stored.told = beat.clone();
        stored.seen = now;
        self.hosts.retain(|_, host| now - host.seen <= millis::of(HOST_FORGOTTEN));
        let listed: Vec<bool> = self.destinations.keys().map(|name| self.is_listed(name)).collect();
        for (stored, listed) in self.destinations.values_mut().zip(listed) {
            stored.removed = if listed { None } else { stored.removed.or(Some(now)) };
        }
    }

    pub(super) fn hosts(&self) -> Vec<HostRecord> {
        let mut hosts: Vec<HostRecord> = self.hosts.values().map(|host| self.host(host)).collect();
        hosts.sort_by_key(|host| (std::cmp::Reverse(host.started), host.told.id.0));
        hosts
    }

    fn host(&self, host: &StoredHost) -> HostRecord {
        HostRecord {
            told: host.told.clone(),
            started: millis::timestamp(host.started),
            seen: millis::timestamp(host.seen),
            live: self.is_live(host),
        }
    }

    pub(super) fn leave(&mut self, host: HostId) {
        self.hosts.remove(&host.0);
    }

    fn is_live(&self, host: &StoredHost) -> bool {
        self.now - host.seen < millis::of(HOST_SILENT)
    }

    /// Whether a live host has a destination of this name in force.
    pub(super) fn is_listed(&self, name: &str) -> bool {
        let mut live = self.hosts.values().filter(|host| self.is_live(host));
        live.any(|host| host.told.destinations.iter().any(|listed| listed == name))
    }

    pub(super) fn depth(&self, destination: &str) -> Depth {
        let live = || self.live().filter(|(_, delivery)| delivery.destination == destination);
        let due = live().map(|(_, delivery)| delivery.due).filter(|due| *due <= self.now);
        Depth {
            destination: destination.to_owned(),
            live: Rows::exact(live().count() as u64),
            oldest_due: due.min().map(|due| millis::duration(self.now - due)),
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let rows = |count: usize| Rows::exact(count as u64);
        let state = |of: fn(&State) -> bool| {
            rows(self.deliveries.values().filter(|delivery| of(&delivery.state)).count())
        };
        let due = self.live().map(|(_, delivery)| delivery.due).filter(|due| *due <= self.now);
        Stats {
            notifications: rows(self.notifications.len()),
            deliveries: rows(self.deliveries.len()),
            attempts: Some(rows(self.attempts.values().map(Vec::len).sum())),
            arrived: rows(self.notifications.values().filter(|n| n.waits()).count()),
            live: state(|state| matches!(state, State::Live)),
            dead: state(|state| matches!(state, State::Dead { .. })),
            cancelled: state(|state| matches!(state, State::Cancelled { .. })),
            oldest_due: due.min().map(|due| millis::duration(self.now - due)),
            sizes: crate::Sizes::default(),
        }
    }
}
