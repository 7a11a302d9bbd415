//! How many deliveries of one destination this host takes now: free slots, shared between first attempts and
//! retries, within the destination's rate. Pure; the time comes in.

use postrider_core::Policy;
use postrider_queue::Slots;
use tokio::time::{Duration, Instant};

use super::ahead::{Ahead, Waiting};

/// How long a host keeps tokens that it does not use: other hosts wait for them.
const CREDIT: Duration = Duration::from_secs(1);
/// How long nothing is leased ahead after some were claimed whose leases had expired.
const CAREFUL: Duration = Duration::from_secs(5);

/// One destination's slots on this host. They outlive a reload, so a reload neither doubles nor drops work.
#[derive(Debug, Default)]
pub(super) struct DestinationSlots {
    in_flight: u32,
    /// Its concurrency, when it was last looked at.
    limit: u32,
    /// It has a rate, which a delivery must not wait beside.
    rated: bool,
    /// There is more, as far as one knows: the last claim brought as many as were asked for.
    more: bool,
    /// Something may be due since the last claim began that nobody could ask for.
    unasked: bool,
    /// Until when nothing waits: a claim brought some whose leases had expired. A host went with them, and one of them may
    /// be why; what waited beside it would be lost as often.
    careful: Option<Instant>,
    ahead: Ahead,
    /// Whose turn a single free slot is.
    retries_turn: bool,
    bucket: Option<Bucket>,
    credit: Credit,
}

/// What this host took of the rate that all hosts share, and did not use yet.
#[derive(Debug, Default)]
struct Credit {
    left: u32,
    until: Option<Instant>,
}

/// A token bucket of one second's worth, at least one: smooths, never drops.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl DestinationSlots {
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whether more is due, as far as one knows.
    pub(super) fn is_hungry(&self) -> bool {
        self.more || self.unasked
    }

    /// Whether nothing is under way, and nothing waits for a slot.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.ahead.is_empty()
    }

    /// How many deliveries it begins now: the free slots, within the rate.
    pub(super) fn wanted(&mut self, policy: &Policy, now: Instant) -> u32 {
        self.learn(policy);
        self.free().min(self.allowed(policy, now))
    }

    /// How many more a claim is to bring than it begins.
    pub(super) fn refill(&self, within: Duration, bytes: usize, now: Instant) -> u32 {
        if self.rated || self.is_careful(now) {
            return 0;
        }
        self.ahead.refill(within, self.more, bytes, now)
    }

    /// Whether a slot is free. Where none is, something may wait for the next, which nobody asks for now.
    pub(super) fn has_room(&mut self, policy: &Policy) -> bool {
        self.learn(policy);
        let has_room = self.free() > 0;
        self.unasked |= !has_room;
        has_room
    }

    fn learn(&mut self, policy: &Policy) {
        (self.limit, self.rated) = (policy.concurrency, policy.rate.is_some());
    }

    pub(super) fn free(&self) -> u32 {
        self.limit.saturating_sub(self.in_flight)
    }

    /// What is due may be claimed by nobody now.
    pub(super) fn is_not_asked(&mut self) {
        self.unasked = true;
    }

    /// A claim asks now: whatever was due before, it sees.
    pub(super) fn is_asked(&mut self) {
        self.unasked = false;
    }

    /// What to ask the queue for, to fill so many slots.
    pub(super) fn ask(&self, name: &str, free: u32) -> Slots {
        let retries = match free {
            1 => u32::from(self.retries_turn),
            // Half, so that neither lane starves the other; what one leaves free the other takes.
            _ => free / 2,
        };
        Slots { destination: name.to_owned(), free, retries }
    }

    /// A claim for `asked` brought `got` deliveries, which wait now; `lost`: with leases that had expired among them.
    pub(super) fn took(&mut self, asked: &Slots, got: usize, lost: bool, now: Instant) {
        if lost {
            self.careful = Some(now + CAREFUL);
        }
        self.more = u32::try_from(got).unwrap_or(u32::MAX) >= asked.free;
        self.retries_turn = !self.retries_turn;
    }

    /// A lease waits for a slot.
    pub(super) fn wait(&mut self, waiting: Waiting) {
        self.ahead.push(waiting);
    }

    /// The next that waits gets a free slot.
    pub(super) fn begin(&mut self) -> Option<Waiting> {
        if self.free() == 0 {
            return None;
        }
        let next = self.ahead.pop()?;
        self.tried(1);
        Some(next)
    }

    /// Nothing that waits, or only what was claimed since then, is to be tried here.
    pub(super) fn give_up(&mut self, since: Option<Instant>) -> impl Iterator<Item = Waiting> {
        self.ahead.take_older(since).into_iter()
    }

    /// A trial brought `got` deliveries.
    pub(super) fn tried(&mut self, got: usize) {
        let got = u32::try_from(got).unwrap_or(u32::MAX);
        self.in_flight = self.in_flight.saturating_add(got);
        if let Some(bucket) = &mut self.bucket {
            bucket.tokens -= f64::from(got);
        }
        self.credit.left = self.credit.left.saturating_sub(got);
    }

    /// Takes a slot for what is being stored, where nothing waits for one. Half of them stay for claims, so that retries
    /// find theirs; a destination with a rate has it kept by its claims.
    pub(super) fn keep(&mut self, policy: &Policy) -> bool {
        self.learn(policy);
        let nothing_waits = !self.more && self.ahead.is_empty();
        let keeps = nothing_waits && !self.rated && self.in_flight < policy.concurrency / 2;
        self.in_flight += u32::from(keeps);
        keeps
    }

    /// Keeps a place among those that wait, for what is being stored.
    pub(super) fn promise(&mut self, policy: &Policy, within: Duration, now: Instant) -> bool {
        self.learn(policy);
        let waits = !self.more && !self.rated && !self.is_careful(now);
        waits && self.ahead.promise(within, now)
    }

    fn is_careful(&self, now: Instant) -> bool {
        self.careful.is_some_and(|until| now < until)
    }

    /// A promised place is taken, or given up.
    pub(super) fn promise_over(&mut self) {
        self.ahead.promise_over();
    }

    /// What this host still has of the rate that all hosts share, or what to bring back of it.
    pub(super) fn credit(&self, now: Instant) -> Result<u32, u32> {
        let Credit { left, until } = self.credit;
        if left > 0 && until.is_some_and(|until| now < until) { Ok(left) } else { Err(left) }
    }

    /// All hosts' rate gave this host so many.
    pub(super) fn granted(&mut self, tokens: u32, now: Instant) {
        self.credit = Credit { left: tokens, until: Some(now + CREDIT) };
    }

    /// A slot that was kept or taken is free again.
    pub(super) fn freed(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Counts a send that ended, for the pace.
    pub(super) fn count(&mut self, now: Instant) {
        self.ahead.ended(now);
    }

    /// Whether a claim is worth it now, with so many bytes left for what waits.
    pub(super) fn claims(&self, within: Duration, bytes: usize, now: Instant) -> bool {
        let is_empty = self.free() > 0 && self.ahead.is_empty();
        let asks =
            is_empty || (self.unasked && !self.more) || self.ahead.is_low(within, bytes, now);
        self.is_hungry() && asks
    }

    /// Time until the rate allows one more; none without a rate or when it allows one now.
    pub(super) fn until_token(&mut self, policy: &Policy, now: Instant) -> Option<Duration> {
        let rate = policy.rate?;
        if self.allowed(policy, now) > 0 {
            return None;
        }
        let missing = 1.0 - self.bucket.as_ref().map_or(0.0, |b| b.tokens);
        Some(Duration::from_secs_f64((missing / rate.per_second).clamp(0.001, 86_400.0)))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of u32 before"
    )]
    fn allowed(&mut self, policy: &Policy, now: Instant) -> u32 {
        let Some(rate) = policy.rate else {
            self.bucket = None;
            return u32::MAX;
        };
        let burst = rate.per_second.max(1.0);
        let bucket = self.bucket.get_or_insert(Bucket { tokens: 1.0, filled: now });
        let gained = (now - bucket.filled).as_secs_f64() * rate.per_second;
        bucket.tokens = (bucket.tokens + gained).min(burst);
        bucket.filled = now;
        // A hair of rounding must not cost a whole token's wait.
        (bucket.tokens + 1e-9).clamp(0.0, f64::from(u32::MAX)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postrider_core::units;

    fn policy(concurrency: u32, rate: Option<&str>) -> Policy {
        let rate = rate.map(|r| units::parse_rate(r).unwrap());
        Policy { concurrency, rate, ..Policy::default() }
    }

    fn wanted(slots: &mut DestinationSlots, policy: &Policy, now: Instant) -> (u32, u32) {
        let free = slots.wanted(policy, now);
        if free == 0 { (0, 0) } else { (free, slots.ask("x", free).retries) }
    }

    fn asked(slots: &mut DestinationSlots, policy: &Policy, now: Instant) -> Slots {
        let free = slots.wanted(policy, now);
        slots.is_asked();
        slots.ask("x", free)
    }

    /// A claim brought so many, which all begin.
    fn took(slots: &mut DestinationSlots, asked: &Slots, got: usize) {
        slots.took(asked, got, false, Instant::now());
        slots.tried(got);
    }

    /// Answers whether a claim is worth it now.
    fn ended(slots: &mut DestinationSlots) -> bool {
        slots.freed();
        slots.claims(Duration::ZERO, 0, Instant::now())
    }

    #[test]
    fn what_is_not_used_of_a_shared_rate_is_brought_back() {
        let (mut slots, now) = (DestinationSlots::default(), Instant::now());
        assert_eq!(slots.credit(now), Err(0));
        slots.granted(5, now);
        slots.tried(2);
        assert_eq!(slots.credit(now), Ok(3));
        assert_eq!(slots.credit(now + CREDIT), Err(3));
        slots.tried(4);
        assert_eq!(slots.credit(now), Err(0));
    }

    #[test]
    fn half_of_the_slots_are_kept_for_retries() {
        let mut slots = DestinationSlots::default();
        assert_eq!(wanted(&mut slots, &policy(8, None), Instant::now()), (8, 4));
    }

    #[test]
    fn a_single_slot_alternates_between_the_lanes() {
        let (mut slots, policy, now) =
            (DestinationSlots::default(), policy(1, None), Instant::now());
        for turn in [(1, 0), (1, 1), (1, 0)] {
            let asked = asked(&mut slots, &policy, now);
            assert_eq!((asked.free, asked.retries), turn);
            took(&mut slots, &asked, 0);
        }
    }

    #[test]
    fn slots_in_flight_are_not_asked_for_again() {
        let (mut slots, policy, now) =
            (DestinationSlots::default(), policy(2, None), Instant::now());
        let asked = asked(&mut slots, &policy, now);
        took(&mut slots, &asked, 2);
        assert_eq!(wanted(&mut slots, &policy, now), (0, 0));
        assert!(ended(&mut slots));
        assert_ne!(wanted(&mut slots, &policy, now), (0, 0));
    }

    #[test]
    fn half_of_the_slots_are_never_kept_for_what_is_being_stored() {
        let (mut slots, three) = (DestinationSlots::default(), policy(3, None));
        assert!(slots.keep(&three) && !slots.keep(&three));
        assert_eq!(wanted(&mut slots, &three, Instant::now()), (2, 1));
        ended(&mut slots);
        assert!(slots.keep(&three));
        assert!(!DestinationSlots::default().keep(&policy(1, None)));
        assert!(!DestinationSlots::default().keep(&policy(64, Some("100/s"))));
    }

    #[test]
    fn no_slot_is_kept_while_more_waits_than_the_last_claim_took() {
        let (mut slots, policy) = (DestinationSlots::default(), policy(8, None));
        for (got, keeps) in [(8, false), (7, true)] {
            let asked = asked(&mut slots, &policy, Instant::now());
            took(&mut slots, &asked, got);
            for _ in 0..got {
                ended(&mut slots);
            }
            assert_eq!(slots.keep(&policy), keeps, "{got} of 8");
        }
    }

    #[test]
    fn what_came_while_it_was_full_is_not_forgotten_by_a_claim_under_way() {
        let (mut slots, policy) = (DestinationSlots::default(), policy(4, None));
        let asked = asked(&mut slots, &policy, Instant::now());
        slots.tried(4);
        assert!(!slots.has_room(&policy));
        took(&mut slots, &asked, 0);
        assert!(ended(&mut slots));
    }

    #[test]
    fn a_rate_smooths() {
        let (mut slots, policy) = (DestinationSlots::default(), policy(64, Some("2/s")));
        let start = Instant::now();
        let first = asked(&mut slots, &policy, start);
        assert_eq!(first.free, 1);
        took(&mut slots, &first, 1);
        assert_eq!(slots.until_token(&policy, start), Some(Duration::from_millis(500)));
        let later = start + Duration::from_millis(500);
        assert_eq!(slots.until_token(&policy, later), None);
        assert!(slots.wanted(&policy, later) > 0);
        let idle = asked(&mut slots, &policy, start + Duration::from_secs(3_600));
        assert_eq!(idle.free, 2, "no more than a second's worth at once");
    }
}
