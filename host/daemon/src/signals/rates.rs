//! How much of it went well lately: settlements of this host by destination and minute, over an hour.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_core::settle::Settlement;
use tokio::time::Instant;

/// An hour.
const MINUTES: usize = 60;
const MINUTE: f64 = 60.0;

/// The settlements of the last hour. Nothing here waits for anybody longer than for one sum.
#[derive(Debug)]
pub struct Rates {
    began: Instant,
    rings: Mutex<HashMap<String, Ring>>,
}

/// What became of attempts within some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub delivered: u32,
    /// To be tried again.
    pub retried: u32,
    pub dead: u32,
}

/// The last hour of one destination, or as much of it as this process has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Hour {
    /// The oldest first; the last one is not over yet.
    pub minutes: Vec<Sum>,
    /// Deliveries a second, over the last minute.
    pub rate: f64,
}

#[derive(Debug)]
struct Ring {
    minutes: [Sum; MINUTES],
    /// The number of the newest minute that is written.
    newest: u64,
}

impl Sum {
    fn add(&mut self, settlement: &Settlement) {
        let count = match settlement {
            Settlement::Delivered => &mut self.delivered,
            Settlement::Retry { .. } => &mut self.retried,
            Settlement::Dead { .. } => &mut self.dead,
            Settlement::Released => return,
        };
        *count = count.saturating_add(1);
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self { began: Instant::now(), rings: Mutex::default() }
    }
}

impl Rates {
    pub(super) fn note(&self, destination: &str, settlement: &Settlement) {
        let minute = self.began.elapsed().as_secs() / 60;
        let mut rings = self.rings();
        match rings.get_mut(destination) {
            Some(ring) => ring.at(minute).add(settlement),
            None => {
                let mut ring = Ring { minutes: [Sum::default(); MINUTES], newest: minute };
                ring.at(minute).add(settlement);
                rings.insert(destination.to_owned(), ring);
            }
        }
    }

    /// The last hour, by destination. One of which nothing was settled in it is not there.
    pub fn hours(&self) -> BTreeMap<String, Hour> {
        let age = self.began.elapsed();
        let now = age.as_secs() / 60;
        let mut rings = self.rings();
        rings.retain(|_, ring| now - ring.newest < MINUTES as u64);
        rings.iter().map(|(name, ring)| (name.clone(), ring.hour(now, age))).collect()
    }

    fn rings(&self) -> MutexGuard<'_, HashMap<String, Ring>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// The sum of this minute, to write. Those between the newest and it had nothing.
    fn at(&mut self, minute: u64) -> &mut Sum {
        let minute = minute.max(self.newest);
        for between in (self.newest + 1..=minute).take(MINUTES) {
            *self.place(between) = Sum::default();
        }
        self.newest = minute;
        self.place(minute)
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder is below its divisor")]
    fn place(&mut self, minute: u64) -> &mut Sum {
        &mut self.minutes[place(minute)]
    }

    fn sum(&self, minute: u64) -> Sum {
        let known = minute <= self.newest && self.newest - minute < MINUTES as u64;
        self.minutes.get(place(minute)).filter(|_| known).copied().unwrap_or_default()
    }

    fn hour(&self, now: u64, age: Duration) -> Hour {
        let first = (now + 1).saturating_sub(MINUTES as u64);
        let minutes = (first..=now).map(|minute| self.sum(minute)).collect();
        let before = now.checked_sub(1).map_or(0, |minute| self.sum(minute).delivered);
        // Of the minute before as much as is within the last sixty seconds.
        let over = age.as_secs_f64() % MINUTE;
        let recent = f64::from(self.sum(now).delivered) + f64::from(before) * (1.0 - over / MINUTE);
        Hour { rate: recent / age.as_secs_f64().clamp(1.0, MINUTE), minutes }
    }
}

fn place(minute: u64) -> usize {
    usize::try_from(minute % MINUTES as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn delivered(rates: &Rates, count: usize) {
        (0..count).for_each(|_| rates.note("chat", &Settlement::Delivered));
    }

    fn dead() -> Settlement {
        Settlement::Dead { cause: postrider_core::settle::Cause::Rejected }
    }

    #[tokio::test(start_paused = true)]
    async fn an_hour_is_kept_by_minutes_and_no_more() {
        let rates = Rates::default();
        assert!(rates.hours().is_empty());
        delivered(&rates, 3);
        rates.note("chat", &dead());
        rates.note("chat", &Settlement::Released);
        advance(Duration::from_secs(120)).await;
        delivered(&rates, 2);
        let sum = |delivered, dead| Sum { delivered, dead, retried: 0 };
        let hour = |rates: &Rates| rates.hours().remove("chat").map(|hour| hour.minutes);
        assert_eq!(hour(&rates).unwrap(), [sum(3, 1), sum(0, 0), sum(2, 0)]);
        advance(Duration::from_secs(58 * 60)).await;
        let late = hour(&rates).unwrap();
        assert_eq!((late.len(), late[0], late[1], late[59]), (60, sum(0, 0), sum(2, 0), sum(0, 0)));
        advance(Duration::from_secs(2 * 60)).await;
        assert_eq!(hour(&rates), None, "what is quiet for an hour is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn an_hour_of_silence_leaves_nothing_of_the_hour_before() {
        let rates = Rates::default();
        delivered(&rates, 5);
        advance(Duration::from_secs(61 * 60)).await;
        delivered(&rates, 1);
        let minutes = rates.hours().remove("chat").unwrap().minutes;
        assert_eq!(minutes.iter().map(|sum| sum.delivered).sum::<u32>(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_minute() {
        let rates = Rates::default();
        let rate = |rates: &Rates| rates.hours().remove("chat").unwrap().rate;
        advance(Duration::from_secs(10)).await;
        delivered(&rates, 20);
        assert!((rate(&rates) - 2.0).abs() < 1e-9, "a young process divides by its age");
        advance(Duration::from_secs(50)).await;
        delivered(&rates, 40);
        assert!((rate(&rates) - 1.0).abs() < 1e-9);
        advance(Duration::from_secs(30)).await;
        assert!((rate(&rates) - 50.0 / 60.0).abs() < 1e-9, "half of the minute before counts");
    }
}
