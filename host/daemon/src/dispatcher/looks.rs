//! When the loop looks at the queue without being woken. Pure; the time comes in.

use std::time::Duration;

use postrider_queue::Look;
use tokio::time::Instant;

/// Time between two looks while nothing happens: a producer's SQL insert is seen within it, and an idle host costs its
/// database one statement in it.
pub(super) const LONGEST_POLL: Duration = Duration::from_secs(1);
/// The same just after work was found in a shared queue: what one host has just done, another often adds to.
pub(super) const SHORTEST_POLL: Duration = Duration::from_millis(50);
/// By how much each look that finds nothing makes the next wait longer: idle after nine looks, within three seconds.
const POLL_GROWTH: f64 = 1.5;
/// Shortest time between two looks that words of other hosts cause.
const SHORTEST_GAP: Duration = Duration::from_millis(2);
/// A claim that brings less than so many was hardly worth its statement.
const WORTH: usize = 16;
/// Where so many slots became free since the claim before, more will in a moment.
const CROWD: usize = 4;
/// How long after such a claim the next one waits for more slots to become free.
const GATHER: Duration = Duration::from_millis(2);
/// First wait after a claim that brought nothing although something was due: another host was faster.
const VAIN_WAIT: Duration = Duration::from_millis(20);

/// What the loop does next without a wake-up, and when.
pub(super) struct Agenda {
    /// The last look saw notifications that wait for fan-out.
    pub(super) arrived: bool,
    /// When to look for orphans.
    pub(super) orphans: Instant,
    /// When to look for what came too late.
    pub(super) sweep: Instant,
    /// When a breaker may be tried, as the last look saw it.
    pub(super) trial: Option<Instant>,
    /// No claim before.
    pub(super) claim: Instant,
    /// Slots that had become free by the last claim.
    freed: usize,
    /// When to look.
    look: Instant,
    looked: Instant,
    poll: Duration,
    /// The wait between two polls just after work was found.
    shortest: Duration,
    words: Words,
    vain: Duration,
}

/// How fast words of other hosts are taken. Words that come to nothing are taken ever more slowly, so that a listener
/// that is closed, or talks of other hosts' work all the time, costs no more than polling does.
struct Words {
    /// None is taken before.
    not_before: Instant,
    gap: Duration,
    /// When the word came that the next look is for.
    taken: Option<Instant>,
}

impl Agenda {
    pub(super) fn new(shared: bool, now: Instant) -> Self {
        let shortest = if shared { SHORTEST_POLL } else { LONGEST_POLL };
        Self {
            arrived: false,
            orphans: now,
            sweep: now,
            trial: None,
            claim: now,
            freed: 0,
            look: now,
            looked: now,
            poll: shortest,
            shortest,
            words: Words { not_before: now, gap: SHORTEST_GAP, taken: None },
            vain: VAIN_WAIT,
        }
    }

    /// A claim brought something: the next claim is worth more than a look. It waits for a moment where this one was
    /// small and slots become free all the time; `freed` counts them.
    pub(super) fn claimed(&mut self, got: usize, freed: usize, now: Instant) {
        if got < WORTH && freed.wrapping_sub(self.freed) >= CROWD {
            self.claim = now + GATHER;
        }
        self.freed = freed;
        self.poll = self.shortest;
        self.vain = VAIN_WAIT;
        self.look = self.looked + LONGEST_POLL;
    }

    /// Notifications were fanned out.
    pub(super) fn fanned_out(&mut self) {
        self.poll = self.shortest;
    }

    /// Plans a look for now.
    pub(super) fn look_now(&mut self, now: Instant) {
        self.look = now;
    }

    pub(super) fn next_look(&self) -> Instant {
        self.look
    }

    /// When the next word of another host may be taken.
    pub(super) fn next_word(&self) -> Instant {
        self.words.not_before
    }

    /// Another host told of work.
    pub(super) fn told(&mut self, now: Instant) {
        self.words.taken = Some(now);
        self.look = now;
    }

    /// Notes a look, just after a claim in vain or not. Answers when to claim.
    pub(super) fn looked(&mut self, look: &Look, in_vain: bool, now: Instant) -> Option<Duration> {
        self.arrived = look.arrived;
        self.trial = look.trial.map(|wait| now + wait);
        (self.looked, self.look) = (now, now + self.poll);
        self.poll = self.poll.mul_f64(POLL_GROWTH).min(LONGEST_POLL);
        self.words.looked(look, now);
        if !in_vain || look.due.is_some_and(|due| due >= self.vain) {
            return look.due;
        }
        let wait = self.vain;
        self.vain = (wait * 2).min(LONGEST_POLL);
        look.due.map(|_| wait)
    }
}

impl Words {
    fn looked(&mut self, look: &Look, now: Instant) {
        let Some(taken) = self.taken.take() else { return };
        let work = look.arrived || look.due.is_some_and(|due| due.is_zero());
        let waited_for = taken > self.not_before;
        self.gap = if work || waited_for { SHORTEST_GAP } else { (self.gap * 2).min(LONGEST_POLL) };
        self.not_before = now + self.gap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Look = Look { arrived: false, due: None, trial: None };
    const WORK: Look = Look { arrived: false, due: Some(Duration::ZERO), trial: None };

    fn polls(agenda: &mut Agenda, now: &mut Instant) -> u128 {
        let waited = agenda.next_look() - *now;
        *now = agenda.next_look();
        agenda.looked(&NOTHING, false, *now);
        waited.as_millis()
    }

    #[test]
    fn a_shared_queue_is_polled_ever_more_rarely_after_work() {
        let mut now = Instant::now();
        let mut agenda = Agenda::new(true, now);
        agenda.looked(&NOTHING, false, now);
        let waits: Vec<u128> = (0..10).map(|_| polls(&mut agenda, &mut now)).collect();
        assert_eq!(waits, [50, 75, 112, 168, 253, 379, 569, 854, 1_000, 1_000]);
        agenda.claimed(1, 0, now);
        assert_eq!(polls(&mut agenda, &mut now), 1_000, "claims come first while they bring much");
        assert_eq!(polls(&mut agenda, &mut now), 50);
    }

    #[test]
    fn a_queue_of_ones_own_is_polled_for_producers_only() {
        let mut now = Instant::now();
        let mut agenda = Agenda::new(false, now);
        agenda.looked(&NOTHING, false, now);
        agenda.fanned_out();
        assert_eq!(polls(&mut agenda, &mut now), 1_000);
        assert_eq!(polls(&mut agenda, &mut now), 1_000);
    }

    #[test]
    fn words_that_come_to_nothing_are_taken_ever_more_slowly() {
        let mut now = Instant::now();
        let mut agenda = Agenda::new(true, now);
        let mut gap = |agenda: &mut Agenda, look: &Look| {
            agenda.told(now);
            agenda.looked(look, false, now);
            let gap = agenda.next_word() - now;
            now = agenda.next_word();
            gap.as_millis()
        };
        let gaps: Vec<u128> = (0..11).map(|_| gap(&mut agenda, &NOTHING)).collect();
        assert_eq!(gaps, [4, 8, 16, 32, 64, 128, 256, 512, 1_000, 1_000, 1_000]);
        assert_eq!(gap(&mut agenda, &WORK), 2);
    }

    #[test]
    fn a_word_that_was_waited_for_is_taken_at_its_time() {
        let now = Instant::now();
        let mut agenda = Agenda::new(true, now);
        for second in 1..10 {
            let now = now + Duration::from_secs(second);
            agenda.told(now);
            agenda.looked(&NOTHING, false, now);
            assert_eq!(agenda.next_word() - now, SHORTEST_GAP);
        }
    }

    #[test]
    fn claims_in_vain_are_not_repeated_at_once() {
        let now = Instant::now();
        let mut agenda = Agenda::new(true, now);
        let waits = (0..8).map(|_| agenda.looked(&WORK, true, now).unwrap().as_millis());
        assert_eq!(waits.collect::<Vec<_>>(), [20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        agenda.claimed(1, 0, now);
        assert_eq!(agenda.looked(&WORK, true, now), Some(VAIN_WAIT));
        assert_eq!(agenda.looked(&WORK, false, now), Some(Duration::ZERO));
    }

    #[test]
    fn small_claims_are_gathered_where_slots_become_free_all_the_time() {
        let now = Instant::now();
        let waits = |got, freed| {
            let mut agenda = Agenda::new(true, now);
            agenda.claimed(64, 1_000, now);
            agenda.claimed(got, 1_000 + freed, now);
            agenda.claim - now
        };
        assert_eq!(waits(WORTH - 1, CROWD), GATHER);
        assert_eq!(waits(WORTH, CROWD), Duration::ZERO);
        assert_eq!(waits(1, CROWD - 1), Duration::ZERO);
    }
}
