//! What waits to be told, and when it may be. Pure; the time comes in.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Event, Kind};

/// After a notice, the next of its kind and subject waits so long and tells of all meanwhile.
pub(super) const QUIET: Duration = Duration::from_secs(60);
/// A notice that could not be stored waits so long.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(5);
/// When to look where nothing waits.
const IDLE: Duration = Duration::from_secs(3_600);

/// The newest of some events of one kind and subject.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Notice {
    pub(super) event: Event,
    /// How many they are.
    pub(super) count: u64,
}

#[derive(Default)]
pub(super) struct Desk(HashMap<(Kind, String), Place>);

#[derive(Default)]
struct Place {
    waiting: Option<Notice>,
    /// None: at once.
    not_before: Option<Instant>,
}

impl Desk {
    pub(super) fn add(&mut self, event: Event) {
        let place = self.0.entry((event.kind, event.subject.clone())).or_default();
        let count = place.waiting.as_ref().map_or(0, |notice| notice.count) + 1;
        place.waiting = Some(Notice { event, count });
    }

    /// Takes what may be told now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Notice> {
        let free = |place: &Place| place.not_before.is_none_or(|at| at <= now);
        self.0.retain(|_, place| place.waiting.is_some() || !free(place));
        let places = self.0.values_mut().filter(|place| free(place));
        let due = places.filter_map(|place| {
            let notice = place.waiting.take()?;
            place.not_before = Some(now + QUIET);
            Some(notice)
        });
        due.collect()
    }

    /// Puts back what could not be told.
    pub(super) fn again(&mut self, notice: Notice) {
        let key = (notice.event.kind, notice.event.subject.clone());
        let place = self.0.entry(key).or_default();
        place.not_before = place.not_before.map(|at| at - (QUIET - TRY_AGAIN));
        match &mut place.waiting {
            Some(newer) => newer.count += notice.count,
            None => place.waiting = Some(notice),
        }
    }

    /// When something may be told.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let waiting = self.0.values().filter(|place| place.waiting.is_some());
        waiting.map(|place| place.not_before.unwrap_or(now)).min().unwrap_or(now + IDLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(subject: &str, message: &str) -> Event {
        let detail = serde_json::Value::Null;
        let (subject, message) = (subject.to_owned(), message.to_owned());
        Event { kind: Kind::DeliveryDead, subject, message, detail }
    }

    #[test]
    fn the_first_is_told_at_once_and_a_storm_together() {
        let mut now = Instant::now();
        let mut desk = Desk::default();
        desk.add(event("hook", "one"));
        assert_eq!(desk.next(now), now);
        assert_eq!(desk.due(now), [Notice { event: event("hook", "one"), count: 1 }]);
        for _ in 0..10_000 {
            desk.add(event("hook", "more"));
            assert_eq!(desk.due(now), []);
        }
        desk.add(event("mail", "another"));
        assert_eq!(desk.due(now).len(), 1, "one subject does not hold up another");
        assert_eq!(desk.next(now), now + QUIET);
        now += QUIET;
        assert_eq!(desk.due(now), [Notice { event: event("hook", "more"), count: 10_000 }]);
        now += QUIET;
        assert_eq!(desk.due(now), []);
        assert!(desk.0.is_empty(), "what is quiet is forgotten");
    }

    #[test]
    fn what_could_not_be_told_is_tried_again_soon_with_what_came_since() {
        let now = Instant::now();
        let mut desk = Desk::default();
        desk.add(event("hook", "one"));
        let notice = desk.due(now).remove(0);
        desk.add(event("hook", "two"));
        desk.again(notice);
        assert_eq!(desk.next(now), now + TRY_AGAIN);
        let told = desk.due(now + TRY_AGAIN);
        assert_eq!(told, [Notice { event: event("hook", "two"), count: 2 }]);
    }
}
