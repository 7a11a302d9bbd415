//! How much this host takes now: free slots of each destination, a fair share of all slots, and the rates that all
//! hosts share.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_queue::{Claim, Lease, QueueError, RateAsk, Slots};
use tokio::time::Instant;

use super::Shared;
use super::fair::{self, Wish};
use super::slots::DestinationSlots;
use crate::registry::{Entry, Registry};

/// The slots of all destinations.
#[derive(Default)]
pub(super) struct Room {
    slots: Mutex<HashMap<String, DestinationSlots>>,
    /// Whose turn the odd slots are.
    turn: AtomicUsize,
    /// Somebody waits for a slot, as far as the last claim could see: each that becomes free is worth a claim.
    wanted: AtomicBool,
    /// Slots that have become free.
    freed: AtomicUsize,
}

impl Room {
    fn slots(&self) -> MutexGuard<'_, HashMap<String, DestinationSlots>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What ready destinations take now.
pub(super) struct Takers {
    /// Everything that they take, or one each where slots are scarce.
    pub(super) first: Vec<Slots>,
    /// Whether [`Shared::hungry`] tells who takes the rest.
    pub(super) scarce: bool,
    /// How many such there are, asked now or not.
    pub(super) all: usize,
    /// Slots that had become free by then.
    pub(super) freed: usize,
}

/// Destinations that could begin deliveries, and the slots that there are for them.
struct Wishes<'a> {
    names: Vec<&'a str>,
    wishes: Vec<Wish>,
    slots: fair::Slots,
    refill: Option<Duration>,
}

impl Wishes<'_> {
    fn asks(&self, given: &[u32], slots: &HashMap<String, DestinationSlots>) -> Vec<Slots> {
        let asks = self.names.iter().zip(given).filter(|(_, free)| **free > 0);
        asks.filter_map(|(name, free)| Some(slots.get(*name)?.ask(name, *free))).collect()
    }
}

impl Shared {
    /// Who takes how many now.
    pub(super) fn takers(&self, registry: &Registry) -> Takers {
        let freed = self.freed();
        let mut slots = self.room.slots();
        slots.retain(|name, slots| slots.in_flight() > 0 || registry.destination(name).is_some());
        let wishes = self.wishes(registry, &mut slots);
        let scarce = !fair::is_enough(&wishes.wishes, wishes.slots);
        let given: Vec<u32> = if scarce {
            fair::first(&wishes.wishes, wishes.slots, self.room.turn.load(Ordering::Relaxed))
        } else {
            wishes.wishes.iter().map(|wish| wish.wants).collect()
        };
        let all = wishes.wishes.iter().filter(|wish| !wish.hungry || wish.holds == 0).count();
        Takers { first: wishes.asks(&given, &slots), scarce, all, freed }
    }

    /// Whose work a look is for, and when the next token of a full rate bucket comes. Nobody's while no slot is free.
    pub(super) fn could_take(&self, registry: &Registry) -> (Vec<String>, Option<Duration>) {
        let mut slots = self.room.slots();
        let wishes = self.wishes(registry, &mut slots);
        let names = if wishes.slots.free > 0 { &*wishes.names } else { &[] };
        (names.iter().map(|name| (*name).to_owned()).collect(), wishes.refill)
    }

    /// Slots that have become free so far.
    pub(super) fn freed(&self) -> usize {
        self.room.freed.load(Ordering::SeqCst)
    }

    /// Notes after a claim whether a slot that becomes free is worth another, whoever had it: somebody could not be asked,
    /// or had more than it got. `freed`: those that had become free before the claim. That there are more slots in all
    /// destinations than may be taken at once does not say that anything waits for them.
    pub(super) fn note_wanted(&self, registry: &Registry, unasked: bool, freed: usize) {
        let hungry = || {
            let wishes = self.wishes(registry, &mut self.room.slots());
            wishes.wishes.iter().any(|wish| wish.hungry)
        };
        let wanted = unasked || hungry();
        self.room.wanted.store(wanted, Ordering::SeqCst);
        // One that became free since the claim counted may not have known yet.
        if wanted && self.freed() != freed {
            self.waker.wake();
        }
    }

    /// Who takes what is left of scarce slots.
    pub(super) fn hungry(&self, registry: &Registry) -> Vec<Slots> {
        let mut slots = self.room.slots();
        let wishes = self.wishes(registry, &mut slots);
        let turn = self.room.turn.load(Ordering::Relaxed);
        wishes.asks(&fair::then(&wishes.wishes, wishes.slots, turn), &slots)
    }

    fn wishes<'a>(
        &self,
        registry: &'a Registry,
        slots: &mut HashMap<String, DestinationSlots>,
    ) -> Wishes<'a> {
        let now = Instant::now();
        let all = self.options.max_concurrency;
        let free = all.saturating_sub(busy(slots));
        let (mut names, mut wishes) = (Vec::new(), Vec::new());
        let mut refill: Option<Duration> = None;
        for (name, entry) in registry.ready().filter(|(name, _)| !self.breakers.is_shut(name)) {
            let state = slots.entry(name.to_owned()).or_default();
            let wants = state.wanted(&entry.spec.policy, now);
            if wants > 0 {
                names.push(name);
                let (holds, hungry) = (state.in_flight(), state.is_hungry());
                wishes.push(Wish { holds, wants, hungry });
            } else if let Some(wait) = state.until_token(&entry.spec.policy, now) {
                refill = Some(refill.map_or(wait, |known| known.min(wait)));
            }
        }
        let alone = registry.ready().nth(1).is_none();
        Wishes { names, wishes, slots: fair::Slots { all, free, alone }, refill }
    }

    /// What is left of `asks` within the rates that all hosts share.
    pub(super) async fn within_rates(
        &self,
        registry: &Registry,
        mut asks: Vec<Slots>,
    ) -> Result<Vec<Slots>, QueueError> {
        if !self.queue.shared() {
            return Ok(asks);
        }
        let (now, mut wanted) = (Instant::now(), Vec::new());
        {
            let slots = self.room.slots();
            asks.retain_mut(|ask| {
                let rate = registry.destination(&ask.destination).and_then(|e| e.spec.policy.rate);
                let (Some(rate), Some(state)) = (rate, slots.get(&ask.destination)) else {
                    return true;
                };
                match state.credit(now) {
                    Ok(left) => *ask = state.ask(&ask.destination, ask.free.min(left)),
                    Err(unused) => wanted.push(RateAsk {
                        destination: ask.destination.clone(),
                        wanted: ask.free,
                        unused,
                        per_second: rate.per_second,
                    }),
                }
                wanted.last().is_none_or(|last| last.destination != ask.destination)
            });
        }
        if wanted.is_empty() {
            return Ok(asks);
        }
        let granted = self.queue.take_rate(&wanted).await?;
        let mut slots = self.room.slots();
        for (ask, granted) in wanted.iter().zip(granted) {
            if let Some(state) = slots.get_mut(&ask.destination) {
                state.granted(granted, now);
                if granted > 0 {
                    asks.push(state.ask(&ask.destination, granted.min(ask.wanted)));
                }
            }
        }
        Ok(asks)
    }

    pub(super) fn note_claimed(&self, claim: &Claim, leases: &[Lease]) {
        self.room.turn.fetch_add(claim.slots.len(), Ordering::Relaxed);
        let mut got: HashMap<&str, usize> = HashMap::new();
        leases.iter().for_each(|lease| *got.entry(&lease.destination).or_default() += 1);
        let mut slots = self.room.slots();
        for asked in &claim.slots {
            if let Some(slots) = slots.get_mut(&asked.destination) {
                slots.took(asked, got.get(&*asked.destination).copied().unwrap_or(0));
            }
        }
    }

    /// How many of a destination's deliveries can be tried now, though it is left alone.
    pub(super) fn room_for(&self, entry: &Entry) -> Option<Slots> {
        let spec = &entry.spec;
        let mut slots = self.room.slots();
        let busy = busy(&slots);
        let state = slots.entry(spec.name.clone()).or_default();
        let wants = state.wanted(&spec.policy, Instant::now());
        let free = wants.min(self.options.max_concurrency.saturating_sub(busy));
        (free > 0).then(|| state.ask(&spec.name, free))
    }

    /// Keeps a slot each for what is being stored, of those of these destinations that have one to spare.
    pub(super) fn keep_slots<'a>(
        &self,
        registry: &Registry,
        names: impl Iterator<Item = &'a str>,
    ) -> Vec<String> {
        let mut slots = self.room.slots();
        // Of all slots together, too, half stay for claims, which share them out fairly.
        let mut left = (self.options.max_concurrency / 2).saturating_sub(busy(&slots));
        let keeps = |name: &&str| {
            let entry = registry.destination(name).filter(|entry| entry.is_ready());
            let Some(entry) = entry.filter(|_| left > 0 && !self.breakers.is_shut(name)) else {
                return false;
            };
            let keeps = slots.entry((*name).to_owned()).or_default().keep(&entry.spec.policy);
            left -= u32::from(keeps);
            keeps
        };
        names.filter(keeps).map(str::to_owned).collect()
    }

    /// Whether one of these destinations takes what was stored for it. One that is left alone is woken for when that is
    /// over; of one whose slots are all taken the next that becomes free is.
    pub(super) fn takes_any(&self, names: &HashSet<String>) -> bool {
        let registry = self.registry.load();
        let mut slots = self.room.slots();
        let takes = |name: &&String| {
            let ready = registry.destination(name).filter(|entry| entry.is_ready());
            ready.filter(|_| !self.breakers.is_shut(name)).is_some_and(|entry| {
                slots.entry((*name).clone()).or_default().has_room(&entry.spec.policy)
            })
        };
        // All of them, as those without room are to remember it.
        names.iter().filter(takes).count() > 0
    }

    pub(super) fn note_tried(&self, destination: &str, got: usize) {
        if let Some(slots) = self.room.slots().get_mut(destination) {
            slots.tried(got);
        }
    }

    /// A send ended: its slot is free before its settlement is written.
    pub(super) fn free_slot(&self, destination: &str) {
        let more = self.room.slots().get_mut(destination).is_some_and(DestinationSlots::ended);
        self.room.freed.fetch_add(1, Ordering::SeqCst);
        if more || self.room.wanted.load(Ordering::SeqCst) {
            self.waker.wake();
        }
    }
}

fn busy(slots: &HashMap<String, DestinationSlots>) -> u32 {
    slots.values().map(DestinationSlots::in_flight).sum()
}
