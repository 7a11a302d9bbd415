//! One at a time for each key, and what came too late.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lane, State, StoredDelivery, Tables};
use crate::{MAX_BATCH, Sweep, millis, target};

impl Tables {
    /// A delivery ended in the running call, or it goes on living.
    pub(super) fn end(&mut self, id: i64) {
        let Some(delivery) = self.deliveries.get_mut(&id) else { return };
        if !delivery.is_live() {
            delivery.waiting = false;
            self.ended.push(id);
        }
    }

    /// Makes the first that waits the head of each key that has none, and tells it whom it skips: who ended in the
    /// running call.
    pub(super) fn promote(&mut self) {
        let ended = std::mem::take(&mut self.ended);
        let keyed = self.live().filter_map(|(id, d)| Some((id, d.pair()?, d.waiting)));
        let mut first: BTreeMap<(String, String), i64> = BTreeMap::new();
        let mut headed = BTreeSet::new();
        for (id, pair, waiting) in keyed {
            match waiting {
                true => drop(first.entry(pair).or_insert(id)),
                false => drop(headed.insert(pair)),
            }
        }
        for (pair, id) in first.into_iter().filter(|(pair, _)| !headed.contains(pair)) {
            let skipped = self.skipped(&pair, &ended, id);
            let now = self.now;
            let Some(delivery) = self.deliveries.get_mut(&id) else { continue };
            delivery.waiting = false;
            if delivery.held.is_none() {
                delivery.due = delivery.since.max(now);
            }
            if let Some(told) = skipped {
                delivery.reason = told;
            }
        }
    }

    /// The line about the last of the pair that gave up before `id`.
    fn skipped(&self, pair: &(String, String), ended: &[i64], id: i64) -> Option<String> {
        let before = ended.iter().copied().filter(|ended| *ended < id);
        let of_pair = before.filter_map(|id| Some((id, self.deliveries.get(&id)?)));
        let of_pair = of_pair.filter(|(_, d)| d.pair().as_ref() == Some(pair));
        let told = of_pair.filter_map(|(id, d)| match &d.state {
            State::Dead { cause, .. } => Some((id, format!("died ({})", cause.name()))),
            State::Cancelled { .. } => Some((id, "was cancelled".to_owned())),
            State::Live | State::Delivered { .. } => None,
        });
        let (id, ended) = told.max_by_key(|(id, _)| *id)?;
        Some(format!("delivery {id} before it {ended} and was skipped"))
    }

    /// What came too late, by expiry first, then by age.
    pub(super) fn overdue(&self, sweep: &Sweep) -> Vec<i64> {
        let free: Vec<_> = self.live().filter(|(_, d)| !d.is_leased(self.now)).collect();
        let expired = free.iter().filter(|(_, d)| d.expires.is_some_and(|at| at <= self.now));
        let mut expired: Vec<_> = expired.map(|(id, d)| (d.expires, *id)).collect();
        expired.sort_unstable();
        let mut ids: Vec<i64> = expired.into_iter().map(|(_, id)| id).collect();
        for bound in &sweep.bounds {
            let before = self.now - millis::of(bound.max_age);
            let of = |id: &(i64, &StoredDelivery)| id.1.destination == bound.destination;
            let own: Vec<_> = free.iter().filter(|one| of(one)).collect();
            for lane in [Lane::Fresh, Lane::Retry] {
                let due = own.iter().filter(|(_, d)| !d.waiting && d.lane == lane);
                let mut due: Vec<_> =
                    due.filter(|(_, d)| bound.early || d.due <= self.now).collect();
                due.sort_unstable_by_key(|(id, d)| (d.due, *id));
                let seen = due.into_iter().take(usize::try_from(target::SWEPT).unwrap_or(0));
                ids.extend(seen.filter(|(_, d)| d.since <= before).map(|(id, _)| *id));
            }
            let waiting = own.iter().filter(|(_, d)| d.waiting && d.since <= before);
            let mut waiting: Vec<_> = waiting.map(|(id, d)| (d.since, *id)).collect();
            waiting.sort_unstable();
            ids.extend(waiting.into_iter().map(|(_, id)| id));
        }
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(*id));
        ids.truncate(MAX_BATCH.min(sweep.limit as usize));
        ids
    }
}

impl StoredDelivery {
    /// Its destination and key, where it has one.
    fn pair(&self) -> Option<(String, String)> {
        Some((self.destination.clone(), self.order_key.clone()?))
    }
}
