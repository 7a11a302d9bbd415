//! Holds, pauses, and what is found by a filter, in the model.

use postrider_core::filter::glob;

use super::{FanOut, State, StoredNotification, Tables};
use crate::holding::PAUSED_UNTIL;
use crate::{Hold, NotificationFilter, NotificationState, Paused, millis};

impl Tables {
    pub(super) fn pause(&mut self, destination: &str, reason: &str) {
        let since = millis::timestamp(self.now);
        let paused = Paused { since, reason: reason.to_owned() };
        let stored = self.paused.entry(destination.to_owned()).or_insert(paused);
        reason.clone_into(&mut stored.reason);
        self.breakers.remove(destination);
        self.hold(destination, PAUSED_UNTIL);
    }

    pub(super) fn all_holds(&self) -> Vec<Hold> {
        let held = self.holds.iter().filter(|(_, hold)| hold.until > self.now);
        let mut holds: Vec<Hold> = held
            .map(|(name, hold)| Hold {
                destination: name.clone(),
                until: millis::timestamp(hold.until),
                paused: self.paused.get(name).cloned(),
            })
            .collect();
        holds.sort_by(|a, b| a.destination.cmp(&b.destination));
        holds
    }

    pub(super) fn put_away(&mut self, id: i64) -> bool {
        let Some(delivery) = self.deliveries.get_mut(&id) else { return false };
        let State::Dead { at, .. } = delivery.state else { return false };
        delivery.state = State::Cancelled { at };
        true
    }

    pub(super) fn is_wanted(
        &self,
        row: i64,
        stored: &StoredNotification,
        filter: &NotificationFilter,
    ) -> bool {
        let n = &stored.notification;
        filter.kind.as_ref().is_none_or(|pattern| glob(pattern, &n.kind))
            && filter.source.as_ref().is_none_or(|pattern| glob(pattern, &n.source))
            && filter.labels.iter().all(|(name, value)| n.labels.get(name) == Some(value))
            && (filter.labels.is_empty() || matches!(stored.fan_out, FanOut::Done(_)))
            && filter.since.is_none_or(|since| n.time >= since)
            && filter.until.is_none_or(|until| n.time < until)
            && filter.state.is_none_or(|state| self.stands(row, stored, state))
    }

    fn stands(&self, row: i64, stored: &StoredNotification, state: NotificationState) -> bool {
        let mut deliveries = self.deliveries.values().filter(|d| d.notification == row);
        match state {
            NotificationState::Arrived => matches!(stored.fan_out, FanOut::Waiting),
            NotificationState::Malformed => matches!(stored.fan_out, FanOut::Malformed(_)),
            NotificationState::Unrouted => matches!(stored.fan_out, FanOut::Done(0)),
            NotificationState::Live => deliveries.any(|d| matches!(d.state, State::Live)),
            NotificationState::Dead => deliveries.any(|d| matches!(d.state, State::Dead { .. })),
            NotificationState::Cancelled => {
                deliveries.any(|d| matches!(d.state, State::Cancelled { .. }))
            }
            NotificationState::Delivered => {
                let states: Vec<&State> = deliveries.map(|d| &d.state).collect();
                let fanned_out = matches!(stored.fan_out, FanOut::Done(made) if made > 0);
                let delivered = |state: &&State| matches!(state, State::Delivered { .. });
                fanned_out && !states.is_empty() && states.iter().all(delivered)
            }
        }
    }
}
