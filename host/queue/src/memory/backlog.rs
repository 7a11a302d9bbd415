//! What waits for each destination in the model, and what it gave up.

use std::collections::BTreeMap;

use postrider_core::DeliveryId;

use super::{Lane, State, Tables};
use crate::{Backlog, DEAD_GROUPS, DEAD_LOOKED, DeadGroup, millis};

impl Tables {
    pub(super) fn backlog(&self) -> Vec<Backlog> {
        let mut waiting: BTreeMap<&str, Backlog> = BTreeMap::new();
        for (_, delivery) in self.live() {
            let name = delivery.destination.as_str();
            let one = waiting.entry(name).or_insert_with(|| Backlog::of(name));
            match delivery.lane {
                Lane::Fresh => one.fresh.count += 1,
                Lane::Retry => one.retries.count += 1,
            }
            if delivery.due <= self.now {
                one.due.count += 1;
                one.oldest_due =
                    one.oldest_due.max(Some(millis::duration(self.now - delivery.due)));
            }
        }
        let mut dead: BTreeMap<&str, u64> = BTreeMap::new();
        for (_, destination, ..) in self.newest_dead() {
            *dead.entry(destination).or_default() += 1;
        }
        let dead: Vec<_> = dead.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        Backlog::with_dead(waiting.into_values().collect(), &dead)
    }

    pub(super) fn dead_letters(&self) -> Vec<DeadGroup> {
        let mut groups: Vec<DeadGroup> = Vec::new();
        // Newest first, so that the first of a group is its newest.
        for (id, destination, cause, reason, at) in self.newest_dead() {
            let at = millis::timestamp(at);
            let same = |group: &&mut DeadGroup| {
                group.destination == destination && group.cause == cause && group.reason == reason
            };
            match groups.iter_mut().find(same) {
                Some(group) => {
                    group.count += 1;
                    group.first = group.first.min(at);
                    group.last = group.last.max(at);
                }
                None => groups.push(DeadGroup {
                    destination: destination.to_owned(),
                    cause: cause.to_owned(),
                    reason: reason.to_owned(),
                    count: 1,
                    first: at,
                    last: at,
                    newest: DeliveryId(id),
                }),
            }
        }
        groups.sort_by_key(|group| std::cmp::Reverse((group.count, group.newest.0)));
        groups.truncate(usize::try_from(DEAD_GROUPS).unwrap_or(usize::MAX));
        groups
    }

    fn newest_dead(&self) -> impl Iterator<Item = (i64, &str, &str, &str, i64)> {
        let dead =
            self.deliveries.iter().rev().filter_map(|(id, delivery)| match &delivery.state {
                State::Dead { at, cause } => Some((
                    *id,
                    delivery.destination.as_str(),
                    cause.name(),
                    delivery.reason.as_str(),
                    *at,
                )),
                State::Live | State::Delivered { .. } | State::Cancelled { .. } => None,
            });
        dead.take(usize::try_from(DEAD_LOOKED).unwrap_or(usize::MAX))
    }
}
