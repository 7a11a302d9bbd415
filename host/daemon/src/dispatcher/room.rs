//! How much this host takes now: free slots of each destination, a fair share of all slots, what is leased ahead of
//! them, and the rates that all hosts share.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_queue::{Claim, Lease, MAX_BATCH, QueueError, RateAsk, Slots};
use tokio::time::Instant;

use super::ahead::{self, Waiting};
use super::fair::{self, Wish};
use super::settler::Settler;
use super::slots::DestinationSlots;
use super::{Options, Shared, attempt};

use crate::registry::{Entry, Registry};

/// The slots of all destinations.
#[derive(Default)]
pub(super) struct Room {
    slots: Mutex<HashMap<String, DestinationSlots>>,
    /// Whose turn the odd slots are.
    turn: AtomicUsize,
    /// Somebody waits for a slot, as far as the last claim could see: each that becomes free is worth a claim.
    wanted: AtomicBool,
    /// Where somebody does: how many slots a destination may hold without asking.
    share: AtomicU32,
    /// Slots that have become free.
    freed: AtomicUsize,
    /// What all that waits takes, and what places are promised to.
    pub(super) bytes: AtomicUsize,
    /// The dispatcher stops: nothing begins to wait.
    pub(super) closing: AtomicBool,
}

impl Room {
    pub(super) fn slots(&self) -> MutexGuard<'_, HashMap<String, DestinationSlots>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For what waits.
    fn bytes_left(&self) -> usize {
        ahead::BYTES.saturating_sub(self.bytes.load(Ordering::Relaxed))
    }
}

/// What ready destinations take now.
pub(super) struct Takers {
    /// Everything that they take, or one each where slots are scarce.
    pub(super) first: Round,
    /// Whether [`Shared::hungry`] tells who takes the rest.
    pub(super) scarce: bool,
    /// How many have free slots, asked now or not.
    pub(super) all: usize,
    /// Slots that had become free by then.
    pub(super) freed: usize,
}

/// What a claim is made for.
#[derive(Default)]
pub(super) struct Round {
    /// What had waited, and has slots now.
    pub(super) begin: Vec<Waiting>,
    pub(super) asks: Vec<Ask>,
    /// Destinations that got slots.
    pub(super) given: usize,
}

/// What is asked of the queue for one destination.
pub(super) struct Ask {
    slots: Slots,
    /// How many of it begin at once; the rest waits.
    begin: u32,
}

/// Destinations that could begin deliveries or lease some ahead, and the slots that there are for them.
struct Wishes<'a> {
    names: Vec<&'a str>,
    wishes: Vec<Wish>,
    /// How many each is to lease ahead.
    refills: Vec<u32>,
    slots: fair::Slots,
    /// When the next token of a full rate bucket comes.
    token: Option<Duration>,
}

impl Wishes<'_> {
    /// Whether [`fair::first`] and [`fair::then`] have to share the slots out.
    fn is_scarce(&self) -> bool {
        !fair::is_enough(&self.wishes, self.slots)
    }

    /// What waits for its slots gets them first. `refills`: of whom something is leased ahead.
    fn round(
        &self,
        given: &[u32],
        refills: impl Fn(&Wish) -> bool,
        slots: &mut HashMap<String, DestinationSlots>,
    ) -> Round {
        let mut round = Round::default();
        let places = self.names.iter().zip(given).zip(self.wishes.iter().zip(&self.refills));
        for ((name, given), (wish, refill)) in places {
            let Some(state) = slots.get_mut(*name) else { continue };
            let begun = round.begin.len();
            round.begin.extend((0..*given).map_while(|_| state.begin()));
            let begun = u32::try_from(round.begin.len() - begun).unwrap_or(u32::MAX);
            let begin = given.saturating_sub(begun);
            let refill = if refills(wish) { *refill } else { 0 };
            round.given += usize::from(*given > 0);
            if begin + refill > 0 {
                let slots = state.ask(name, begin + refill);
                round.asks.push(Ask { slots, begin });
            } else if *given == 0 && wish.wants == 0 {
                state.is_not_asked();
            }
        }
        round
    }
}

impl Shared {
    /// Who takes how many now.
    pub(super) fn takers(&self, registry: &Registry) -> Takers {
        let freed = self.freed();
        let mut slots = self.room.slots();
        slots.retain(|name, slots| !slots.is_idle() || registry.destination(name).is_some());
        let wishes = self.wishes(registry, &mut slots);
        let scarce = wishes.is_scarce();
        let given: Vec<u32> = if scarce {
            fair::first(&wishes.wishes, wishes.slots, self.room.turn.load(Ordering::Relaxed))
        } else {
            wishes.wishes.iter().map(|wish| wish.wants).collect()
        };
        let asks_one = |wish: &&Wish| wish.wants > 0 && (!wish.hungry || wish.holds == 0);
        let all = wishes.wishes.iter().filter(asks_one).count();
        let first = wishes.round(&given, |wish| !scarce || !wish.hungry, &mut slots);
        self.begun(&first.begin);
        Takers { first, scarce, all, freed }
    }

    /// Whose work a look is for, and when the next token of a full rate bucket comes. Nobody's without a free slot, but of
    /// those that something is leased ahead for.
    pub(super) fn could_take(&self, registry: &Registry) -> (Vec<String>, Option<Duration>) {
        let mut slots = self.room.slots();
        let wishes = self.wishes(registry, &mut slots);
        let is_free = wishes.slots.free > 0;
        let each = wishes.names.iter().zip(wishes.wishes.iter().zip(&wishes.refills));
        let could = each.filter(|(_, (wish, refill))| (is_free && wish.wants > 0) || **refill > 0);
        (could.map(|(name, _)| (*name).to_owned()).collect(), wishes.token)
    }

    /// Slots that have become free so far.
    pub(super) fn freed(&self) -> usize {
        self.room.freed.load(Ordering::SeqCst)
    }

    /// Notes after a claim whether a slot that becomes free is worth another, whoever had it: somebody could not be asked,
    /// or had more than it got. `freed`: those that had become free before the claim. That there are more slots in all
    /// destinations than may be taken at once does not say that anything waits for them.
    pub(super) fn note_wanted(&self, registry: &Registry, unasked: bool, freed: usize) {
        let wishes = self.wishes(registry, &mut self.room.slots());
        let hungry = wishes.wishes.iter().any(|wish| wish.hungry && wish.wants > 0);
        let wanted = unasked || (hungry && wishes.is_scarce());
        let share = if unasked { 0 } else { fair::share(&wishes.wishes, wishes.slots) };
        self.room.share.store(share, Ordering::SeqCst);
        let was = self.room.wanted.swap(wanted, Ordering::SeqCst);
        // One that became free since the claim counted may not have known yet.
        if (wanted || was) && self.freed() != freed {
            self.waker.wake();
        }
    }

    /// Who takes what is left of scarce slots.
    pub(super) fn hungry(&self, registry: &Registry) -> Round {
        let mut slots = self.room.slots();
        let wishes = self.wishes(registry, &mut slots);
        let turn = self.room.turn.load(Ordering::Relaxed);
        let given = fair::then(&wishes.wishes, wishes.slots, turn);
        let round = wishes.round(&given, |wish| wish.hungry, &mut slots);
        self.begun(&round.begin);
        round
    }

    fn wishes<'a>(
        &self,
        registry: &'a Registry,
        slots: &mut HashMap<String, DestinationSlots>,
    ) -> Wishes<'a> {
        let now = Instant::now();
        let all = self.options.max_concurrency;
        let free = all.saturating_sub(busy(slots));
        let bytes = self.room.bytes_left();
        let (mut names, mut wishes, mut refills) = (Vec::new(), Vec::new(), Vec::new());
        let mut token: Option<Duration> = None;
        for (name, entry) in registry.ready().filter(|(name, _)| !self.breakers.is_shut(name)) {
            let state = slots.entry(name.to_owned()).or_default();
            let wants = state.wanted(&entry.spec.policy, now);
            let refill = state.refill(self.options.ahead, bytes, now);
            if wants > 0 || refill > 0 {
                names.push(name);
                let (holds, hungry) = (state.in_flight(), state.is_hungry());
                wishes.push(Wish { holds, wants, hungry });
                refills.push(refill);
            } else if let Some(wait) = state.until_token(&entry.spec.policy, now) {
                token = Some(token.map_or(wait, |known| known.min(wait)));
            } else {
                state.is_not_asked();
            }
        }
        share(&mut refills);
        let alone = registry.ready().nth(1).is_none();
        Wishes { names, wishes, refills, slots: fair::Slots { all, free, alone }, token }
    }

    /// What waited has slots now, or waits no more.
    pub(super) fn begun(&self, begun: &[Waiting]) {
        let bytes = begun.iter().map(|(lease, _)| ahead::cost(&lease.notification)).sum();
        self.room.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Asks the queue for what a round needs. Answers the claim and, of each destination, how many of it begin at once;
    /// none where nothing is to be asked.
    pub(super) async fn asks(
        &self,
        registry: &Registry,
        asks: Vec<Ask>,
    ) -> Result<Option<(Claim, HashMap<String, u32>)>, QueueError> {
        let begin = asks.iter().map(|ask| (ask.slots.destination.clone(), ask.begin)).collect();
        let slots = asks.into_iter().map(|ask| ask.slots).collect();
        let slots = self.within_rates(registry, slots).await?;
        let mut room = self.room.slots();
        for ask in &slots {
            if let Some(state) = room.get_mut(&ask.destination) {
                state.is_asked();
            }
        }
        let Options { host, lease, .. } = self.options;
        Ok((!slots.is_empty()).then_some((Claim { host, lease, slots }, begin)))
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

    /// Takes in what a claim brought. Answers what has slots: `begin` of each destination, or where slots are not `scarce`
    /// as many as are free; and what is to be handed back.
    pub(super) fn claimed(
        &self,
        (claim, begin): &(Claim, HashMap<String, u32>),
        leases: Vec<Lease>,
        claimed: Instant,
        scarce: bool,
    ) -> (Vec<Waiting>, Vec<Waiting>) {
        self.room.turn.fetch_add(claim.slots.len(), Ordering::Relaxed);
        let bytes = leases.iter().map(|lease| ahead::cost(&lease.notification)).sum();
        self.room.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut got: HashMap<String, Vec<Lease>> = HashMap::new();
        for lease in leases {
            match got.get_mut(&lease.destination) {
                Some(others) => others.push(lease),
                None => drop(got.insert(lease.destination.clone(), vec![lease])),
            }
        }
        let (mut begun, mut back) = (Vec::new(), Vec::new());
        let mut slots = self.room.slots();
        for asked in &claim.slots {
            let Some(state) = slots.get_mut(&asked.destination) else { continue };
            let got = got.remove(&asked.destination).unwrap_or_default();
            let lost = got.iter().any(|lease| lease.standing.lost > 0);
            state.took(asked, got.len(), lost, claimed);
            got.into_iter().for_each(|lease| state.wait((lease, claimed)));
            let begin = begin.get(&asked.destination).copied().unwrap_or(0);
            let begin = if scarce { begin } else { state.free() };
            begun.extend((0..begin).map_while(|_| state.begin()));
            if lost {
                back.extend(state.give_up(None));
            }
        }
        self.begun(&begun);
        (begun, back)
    }

    /// Starts what has slots.
    pub(super) fn start_all(
        self: &Arc<Self>,
        registry: &Registry,
        begun: Vec<Waiting>,
        settler: &Settler,
    ) {
        for (lease, claimed) in begun {
            let destination = lease.destination.clone();
            if !attempt::start_in(self, registry, (lease, claimed), settler, None) {
                self.free_slot(&destination, settler);
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
    pub(super) fn ended(self: &Arc<Self>, destination: &str, settler: &Settler) {
        if let Some(slots) = self.room.slots().get_mut(destination) {
            slots.count(Instant::now());
        }
        self.free_slot(destination, settler);
    }

    /// A slot is free: the next that waits gets it, or a claim is made for it where that is worth it.
    pub(super) fn free_slot(self: &Arc<Self>, destination: &str, settler: &Settler) {
        self.room.freed.fetch_add(1, Ordering::SeqCst);
        loop {
            let (next, claims) = {
                let mut slots = self.room.slots();
                if let Some(state) = slots.get_mut(destination) {
                    state.freed();
                }
                let next = self.next(&mut slots, destination);
                let state = slots.get(destination);
                let (ahead, bytes) = (self.options.ahead, self.room.bytes_left());
                let claims = |s: &DestinationSlots| s.claims(ahead, bytes, Instant::now());
                (next, state.is_some_and(claims))
            };
            if claims || (next.is_none() && self.room.wanted.load(Ordering::SeqCst)) {
                self.waker.wake();
            }
            let Some((lease, claimed)) = next else { return };
            let registry = self.registry.load();
            if attempt::start_in(self, &registry, (lease, claimed), settler, None) {
                return;
            }
        }
    }

    /// The next of a destination that waits, where a slot is free and nobody else has a better right to it.
    pub(super) fn next(
        &self,
        slots: &mut HashMap<String, DestinationSlots>,
        destination: &str,
    ) -> Option<Waiting> {
        if self.breakers.is_shut(destination) {
            return None;
        }
        let state = slots.get_mut(destination)?;
        let is_wanted = self.room.wanted.load(Ordering::SeqCst);
        if is_wanted && state.in_flight() >= self.room.share.load(Ordering::SeqCst) {
            return None;
        }
        let next = state.begin()?;
        self.begun(std::slice::from_ref(&next));
        Some(next)
    }
}

/// A claim brings no more than it may, of all together.
fn share(refills: &mut [u32]) {
    let all: u32 = refills.iter().sum();
    let most = u32::try_from(MAX_BATCH / 2).unwrap_or(u32::MAX);
    if all > most {
        let many = u32::try_from(refills.iter().filter(|refill| **refill > 0).count());
        let most = most / many.unwrap_or(u32::MAX).max(1);
        refills.iter_mut().for_each(|refill| *refill = (*refill).min(most));
    }
}

pub(super) fn busy(slots: &HashMap<String, DestinationSlots>) -> u32 {
    slots.values().map(DestinationSlots::in_flight).sum()
}
