//! What a host leases ahead of its free slots: as much of a destination's work as ends within a moment, by the pace of
//! the last. A claim is then worth its statement, what comes in meanwhile needs none, and a slot that becomes free has
//! its next delivery at hand. Of a destination that is slow or stuck it is nothing. Pure; the time comes in.

use std::collections::VecDeque;
use std::time::Duration;

use postrider_core::Notification;
use postrider_queue::Lease;
use tokio::time::Instant;

/// Most content that all that waits may hold, with what else a lease takes.
pub(super) const BYTES: usize = 4 << 20;
/// What a lease takes beside its content, about.
const LEASE_BYTES: usize = 1 << 10;
/// Most of it that one claim brings: how large the content is shows only then.
const CLAIM: u32 = 256;
/// What a claim asks for at least, where nobody knows whether anything is due: what is must not starve.
const PEEK: u32 = 16;
/// Fewer are not worth their accounting.
const FEWEST: u32 = 8;
/// The pace is that of a window so long.
const WINDOW: Duration = Duration::from_millis(100);

/// A lease that waits for a slot, and when it was claimed.
pub(super) type Waiting = (Lease, Instant);

/// What waits for one destination's slots.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    waiting: VecDeque<Waiting>,
    /// Places for what is being stored.
    promised: u32,
    pace: Pace,
    /// What one took lately, as [`cost`] has it.
    size: usize,
}

/// How many sends end.
#[derive(Debug, Default)]
struct Pace {
    window: Option<Instant>,
    /// Since the window began.
    ended: u32,
    /// A second, in the window before.
    before: f64,
}

/// What a lease on it takes, in bytes.
pub(super) fn cost(notification: &Notification) -> usize {
    notification.content.len() + LEASE_BYTES
}

impl Ahead {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Counts a send that ended.
    pub(super) fn ended(&mut self, now: Instant) {
        self.pace.ended(now);
    }

    /// Most that may wait.
    fn limit(&self, within: Duration, now: Instant) -> u32 {
        self.pace.within(within, now)
    }

    fn taken(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap_or(u32::MAX).saturating_add(self.promised)
    }

    /// How many more a claim is to bring, with so many bytes left. More than a few only where the claim is worth it.
    /// `more`: the last claim was filled.
    pub(super) fn refill(&self, within: Duration, more: bool, bytes: usize, now: Instant) -> u32 {
        let limit = self.limit(within, now);
        if limit == 0 {
            return 0;
        }
        let left = self.left(limit, bytes).min(CLAIM);
        match more {
            true if left < worth(limit) => 0,
            true => left,
            false => left.max(PEEK),
        }
    }

    /// Whether there is room enough for a claim, with so many bytes left.
    pub(super) fn is_low(&self, within: Duration, bytes: usize, now: Instant) -> bool {
        let limit = self.limit(within, now);
        self.left(limit, bytes) >= worth(limit)
    }

    /// How many more may wait.
    fn left(&self, limit: u32, bytes: usize) -> u32 {
        let fit = u32::try_from(bytes / self.size.max(LEASE_BYTES)).unwrap_or(u32::MAX);
        limit.saturating_sub(self.taken()).min(fit)
    }

    /// Keeps a place for what is being stored.
    pub(super) fn promise(&mut self, within: Duration, now: Instant) -> bool {
        let keeps = self.taken() < self.limit(within, now);
        self.promised += u32::from(keeps);
        keeps
    }

    /// A promised place is taken, or given up.
    pub(super) fn promise_over(&mut self) {
        self.promised = self.promised.saturating_sub(1);
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        self.size = cost(&waiting.0.notification);
        self.waiting.push_back(waiting);
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    /// Everything that waits, if the first of it was claimed before `since`.
    pub(super) fn take_older(&mut self, since: Option<Instant>) -> VecDeque<Waiting> {
        let is_old = |(_, claimed): &Waiting| since.is_none_or(|since| *claimed < since);
        if self.waiting.front().is_some_and(is_old) {
            std::mem::take(&mut self.waiting)
        } else {
            VecDeque::new()
        }
    }
}

/// How many a claim has to bring for where at most `limit` wait.
fn worth(limit: u32) -> u32 {
    (limit / 2).min(CLAIM)
}

impl Pace {
    fn ended(&mut self, now: Instant) {
        let window = *self.window.get_or_insert(now);
        let passed = now - window;
        if passed >= WINDOW {
            self.before = f64::from(self.ended) / passed.as_secs_f64();
            (self.window, self.ended) = (Some(now), 0);
        }
        self.ended = self.ended.saturating_add(1);
    }

    /// How many end within such a time. Where none ended for a while, the window that is open says so.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of u32 before"
    )]
    fn within(&self, time: Duration, now: Instant) -> u32 {
        let passed = self.window.map_or(Duration::ZERO, |window| now - window);
        let a_second = if passed >= WINDOW {
            f64::from(self.ended) / passed.as_secs_f64()
        } else {
            self.before
        };
        let count = (a_second * time.as_secs_f64()).clamp(0.0, f64::from(u32::MAX)) as u32;
        if count < FEWEST { 0 } else { count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Duration = Duration::from_millis(500);

    fn ends(ahead: &mut Ahead, a_second: u32, start: Instant) -> Instant {
        let steps = a_second / 2;
        for step in 0..=steps {
            ahead.ended(start + HALF * step / steps);
        }
        start + HALF
    }

    #[test]
    fn as_much_waits_as_ends_within_the_time() {
        let (mut ahead, start) = (Ahead::default(), Instant::now());
        assert_eq!(ahead.limit(HALF, start), 0);
        let now = ends(&mut ahead, 1_000, start);
        assert!((480..=520).contains(&ahead.limit(HALF, now)), "{}", ahead.limit(HALF, now));
        let later = now + Duration::from_secs(60);
        assert_eq!(ahead.limit(HALF, later), 0, "none ended since");
    }

    #[test]
    fn of_a_slow_destination_nothing_waits() {
        let (mut ahead, start) = (Ahead::default(), Instant::now());
        let now = ends(&mut ahead, 12, start);
        assert_eq!(ahead.refill(HALF, true, BYTES, now), 0);
        assert!(!ahead.promise(HALF, now));
    }

    #[test]
    fn a_claim_brings_much_or_waits() {
        let (mut ahead, start) = (Ahead::default(), Instant::now());
        let now = ends(&mut ahead, 400, start);
        let limit = ahead.limit(HALF, now);
        assert_eq!(ahead.refill(HALF, true, BYTES, now), limit);
        for _ in 0..limit / 2 {
            assert!(ahead.promise(HALF, now));
        }
        assert!(ahead.is_low(HALF, BYTES, now));
        ahead.promise(HALF, now);
        ahead.promise(HALF, now);
        assert!(!ahead.is_low(HALF, BYTES, now));
        assert_eq!(ahead.refill(HALF, true, BYTES, now), 0);
        assert!(ahead.refill(HALF, false, BYTES, now) >= PEEK);
        while ahead.promise(HALF, now) {}
        assert_eq!(ahead.refill(HALF, false, BYTES, now), PEEK, "what is due must not starve");
    }

    #[test]
    fn what_finds_no_bytes_is_not_asked_for() {
        let (mut ahead, start) = (Ahead::default(), Instant::now());
        let now = ends(&mut ahead, 10_000, start);
        ahead.size = 2 << 10;
        for (bytes, claims) in [(0, false), (CLAIM - 1, false), (CLAIM, true)] {
            let bytes = ahead.size * bytes as usize;
            assert_eq!(ahead.is_low(HALF, bytes, now), claims, "{bytes}");
            let refill = ahead.refill(HALF, true, bytes, now);
            assert_eq!(refill, if claims { CLAIM } else { 0 }, "a wake-up that claims nothing");
        }
    }

    #[test]
    fn large_content_is_not_held_in_numbers() {
        let (mut ahead, start) = (Ahead::default(), Instant::now());
        let now = ends(&mut ahead, 1_000, start);
        assert_eq!(ahead.refill(HALF, true, BYTES, now), CLAIM);
        ahead.size = 1 << 20;
        assert_eq!(ahead.refill(HALF, true, BYTES, now), 0);
        assert_eq!(ahead.refill(HALF, false, BYTES, now), PEEK);
    }
}
