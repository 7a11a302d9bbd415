//! How long what is finished is kept. Pure: the stores tell what is left of a notification, and do what its fate is.

use std::time::Duration;

/// An idempotency key lives at least this long after its notification was taken in, so that a producer may send again
/// within a week.
pub const KEY_LIFE: Duration = Duration::from_secs(7 * DAY);
const DAY: u64 = 86_400;

/// Ages at which finished notifications go. None: never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Since the last delivery was delivered or cancelled.
    pub finished: Option<Duration>,
    /// The same where a delivery is dead or the notification malformed: somebody may want to mend and redeliver it.
    pub dead: Option<Duration>,
    /// When the content goes before its rows. Nothing can be redelivered after that.
    pub content: Option<Duration>,
}

/// What is left of one notification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Time since it was fanned out or set aside; none while it waits for that.
    pub fanned_out: Option<Duration>,
    pub malformed: bool,
    pub has_key: bool,
    /// Whether its content is gone.
    pub pruned: bool,
    pub deliveries: u64,
    pub live: u64,
    pub dead: u64,
    /// Time since the last of its deliveries finished; none without any.
    pub finished: Option<Duration>,
}

/// What becomes of a notification now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stay,
    /// Its rows stay.
    LoseContent,
    /// Its row stays, without content, for its idempotency key.
    LoseDeliveries,
    Go,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days| Some(Duration::from_secs(days * DAY));
        Self { finished: days(7), dead: days(30), content: None }
    }
}

impl Retention {
    pub fn fate(&self, of: &Remains) -> Fate {
        let Some(fanned_out) = of.fanned_out else { return Fate::Stay };
        if of.live > 0 {
            return Fate::Stay;
        }
        let age = of.finished.unwrap_or(fanned_out);
        let reached = |limit: Option<Duration>| limit.is_some_and(|limit| age >= limit);
        if reached(if of.dead > 0 || of.malformed { self.dead } else { self.finished }) {
            match of.has_key && fanned_out < KEY_LIFE {
                false => Fate::Go,
                true if of.deliveries > 0 || !of.pruned => Fate::LoseDeliveries,
                true => Fate::Stay,
            }
        } else if reached(self.content) && !of.pruned {
            Fate::LoseContent
        } else {
            Fate::Stay
        }
    }

    /// Whether one of this age, or a younger one, can have any other fate than to stay.
    pub fn spares(&self, fanned_out: Duration) -> bool {
        let limits = [self.finished, self.dead, self.content].into_iter().flatten();
        limits.min().is_none_or(|shortest| fanned_out < shortest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn days(days: u64) -> Duration {
        Duration::from_secs(days * DAY)
    }

    fn delivered(age: Duration) -> Remains {
        Remains { fanned_out: Some(age), deliveries: 1, finished: Some(age), ..Remains::default() }
    }

    #[test]
    fn what_waits_or_lives_stays_for_ever() {
        let retention = Retention { content: Some(HOUR), ..Retention::default() };
        let waits = Remains { fanned_out: None, ..delivered(days(99)) };
        let lives = Remains { live: 1, deliveries: 2, ..delivered(days(99)) };
        assert_eq!([retention.fate(&waits), retention.fate(&lives)], [Fate::Stay; 2]);
    }

    #[test]
    fn the_last_of_its_deliveries_counts() {
        let late = Remains { finished: Some(days(6)), ..delivered(days(9)) };
        assert_eq!(Retention::default().fate(&late), Fate::Stay);
        assert_eq!(Retention::default().fate(&delivered(days(7))), Fate::Go);
    }

    #[test]
    fn dead_letters_and_malformed_rows_stay_longer() {
        let dead = |age| Remains { dead: 1, ..delivered(age) };
        let malformed =
            |age| Remains { malformed: true, deliveries: 0, finished: None, ..delivered(age) };
        let fate = |remains| Retention::default().fate(&remains);
        assert_eq!([fate(dead(days(29))), fate(malformed(days(29)))], [Fate::Stay; 2]);
        assert_eq!([fate(dead(days(30))), fate(malformed(days(30)))], [Fate::Go; 2]);
    }

    #[test]
    fn content_goes_once_and_before_its_rows() {
        let retention = Retention { content: Some(HOUR), ..Retention::default() };
        assert_eq!(retention.fate(&delivered(HOUR)), Fate::LoseContent);
        assert_eq!(retention.fate(&Remains { pruned: true, ..delivered(HOUR) }), Fate::Stay);
    }

    #[test]
    fn a_key_outlives_a_short_retention() {
        let retention = Retention { finished: Some(HOUR), ..Retention::default() };
        let keyed = Remains { has_key: true, ..delivered(HOUR) };
        assert_eq!(retention.fate(&keyed), Fate::LoseDeliveries);
        let tombstone = Remains { pruned: true, deliveries: 0, finished: None, ..keyed };
        assert_eq!(retention.fate(&tombstone), Fate::Stay);
        let old = Remains { fanned_out: Some(KEY_LIFE), ..tombstone };
        assert_eq!(retention.fate(&old), Fate::Go);
    }

    proptest! {
        #[test]
        fn who_is_spared_stays(
            finished in proptest::option::of(0u64..20), dead in proptest::option::of(0u64..20),
            content in proptest::option::of(0u64..20), age in 0u64..20, since in 0u64..20,
            is_dead in any::<bool>(), has_key in any::<bool>(),
        ) {
            let retention = Retention {
                finished: finished.map(days),
                dead: dead.map(days),
                content: content.map(days),
            };
            let remains = Remains {
                finished: Some(days(since.min(age))),
                dead: is_dead.into(),
                has_key,
                ..delivered(days(age))
            };
            if retention.spares(days(age)) {
                prop_assert_eq!(retention.fate(&remains), Fate::Stay);
            }
        }
    }
}
