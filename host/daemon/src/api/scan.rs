//! Lists by a filter that no index serves: read window by window, newest first, for a moment at most.
//!
//! An index for each field would be written with every notification, and read now and then. A list whose moment is
//! over is cut: its page is short, and its `next` says where to go on.

use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use postrider_queue::{NotificationFilter, Page, Queue, QueueError};
use tokio::time::Instant;

/// Rows that the first look goes through. The next ones grow while they are quick, and shrink when they are slow.
const WINDOW: i64 = 1_024;
/// Fewest rows of one look.
const NARROWEST: i64 = 256;
/// Most rows of one look: behind rows without content, thirty to a page, may lie such with a KiB, three to a page.
const WIDEST: i64 = 1 << 13;
/// A look as quick as this makes the next one go through twice as many rows.
const QUICK: Duration = Duration::from_millis(2);
/// One as slow as this, through half as many.
const SLOW: Duration = Duration::from_millis(5);
/// A list is cut when it took this long. It may take as long again on a machine that is busy or half as fast, and stays
/// below 50 ms.
const ENOUGH: Duration = Duration::from_millis(10);
/// Where a moment lies is looked for until no more rows than these are left: going through them costs as much as looking
/// on.
const NEAR: i64 = WINDOW;
/// Rows come in the order of their arrival, and that of their times is the same but for so much: a transaction of a
/// producer may be long.
const DISORDER: SignedDuration = SignedDuration::from_mins(15);

/// The rows that a list goes through: below `below`, above `above`; and since when it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) below: i64,
    pub(super) above: i64,
    pub(super) began: Instant,
}

/// Up to `limit` rows of what `fetch` finds, and the row to go on below where there may be more.
pub(super) async fn scan<T, F>(
    range: Range,
    limit: u32,
    row: impl Fn(&T) -> i64,
    fetch: impl Fn(Page, i64) -> F,
) -> Result<(Vec<T>, Option<i64>), QueueError>
where
    F: Future<Output = Result<Vec<T>, QueueError>>,
{
    let (mut found, mut below, mut window) = (Vec::new(), range.below, WINDOW);
    while below > range.above.saturating_add(1) {
        let looked = Instant::now();
        let above = below.saturating_sub(window).max(range.above);
        let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        found.extend(fetch(Page { after: Some(below), limit: left }, above).await?);
        if found.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            let last = found.last().map(row);
            return Ok((found, last));
        }
        below = above.saturating_add(1);
        match looked.elapsed() {
            took if took < QUICK => window = (window * 2).min(WIDEST),
            took if took > SLOW => window = (window / 2).max(NARROWEST),
            _as_wanted => {}
        }
        if range.began.elapsed() >= ENOUGH {
            break;
        }
    }
    let next = (below > range.above.saturating_add(1)).then_some(below);
    Ok((found, next))
}

/// Where notifications of these times lie, by their order of arrival.
pub(super) async fn range(
    queue: &dyn Queue,
    filter: &NotificationFilter,
) -> Result<Range, QueueError> {
    let began = Instant::now();
    let newest = newest_to(queue, i64::MAX).await?.map_or(0, |(row, _)| row);
    let mut range = Range { below: newest.saturating_add(1), above: 0, began };
    if let Some(until) = filter.until.and_then(|until| until.checked_add(DISORDER).ok()) {
        (_, range.below) = near(queue, until, range.below).await?;
    }
    if let Some(since) = filter.since.and_then(|since| since.checked_sub(DISORDER).ok()) {
        range.above = near(queue, since, range.below).await?.0 - 1;
    }
    range.below = range.below.min(filter.page.after.unwrap_or(i64::MAX));
    Ok(range)
}

/// Two rows between which the first from `moment` on lies, or `end`. By halving: ten looks at single rows in a million.
async fn near(queue: &dyn Queue, moment: Timestamp, end: i64) -> Result<(i64, i64), QueueError> {
    let (mut low, mut high) = (1, end);
    while high - low > NEAR {
        let middle = low + (high - low) / 2;
        match newest_to(queue, middle).await? {
            Some((row, time)) if time >= moment => high = row.max(low),
            Some(_) | None => low = middle + 1,
        }
    }
    Ok((low, high))
}

/// The newest row that is not above this one, and its time.
async fn newest_to(queue: &dyn Queue, row: i64) -> Result<Option<(i64, Timestamp)>, QueueError> {
    let page = Page { after: Some(row.saturating_add(1)), limit: 1 };
    let newest = queue.notifications(&page).await?.pop();
    Ok(newest.map(|record| (record.row, record.notification.time)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use postrider_core::{Draft, NotificationId, Schedule};
    use postrider_queue::{Enqueue, MemoryQueue};

    /// Every tenth of a million rows, as a store would answer.
    fn tenths(page: Page, above: i64) -> Vec<i64> {
        let below = page.after.unwrap();
        let rows = (above + 1..below).rev().filter(|row| row % 10 == 0);
        rows.take(page.limit as usize).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn pages_meet_without_gaps_or_doubles() {
        let (mut below, mut seen) = (100_001, Vec::new());
        loop {
            let range = Range { below, above: 0, began: Instant::now() };
            let fetch = async |page, above| {
                tokio::time::advance(Duration::from_millis(4)).await;
                Ok(tenths(page, above))
            };
            let (rows, next) = scan(range, 300, |row| *row, fetch).await.unwrap();
            seen.extend(rows);
            let Some(next) = next else { break };
            assert!(next < below, "it goes on");
            below = next;
        }
        assert_eq!(seen, (1..=10_000).rev().map(|tenth| tenth * 10).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_finds_nothing_is_cut_in_time() {
        let range = Range { below: 10_000_000, above: 0, began: Instant::now() };
        // Three looks of 4 ms are enough.
        let fetch = async |_: Page, _: i64| {
            tokio::time::advance(Duration::from_millis(4)).await;
            Ok(Vec::<i64>::new())
        };
        let (rows, next) = scan(range, 10, |row| *row, fetch).await.unwrap();
        assert_eq!((rows.len(), next), (0, Some(10_000_000 - 3 * WINDOW + 3)));
    }

    #[tokio::test]
    async fn times_are_found_by_halving() {
        const ROWS: i64 = 10_000;
        let queue = MemoryQueue::stopped(Timestamp::UNIX_EPOCH);
        let at = |hours: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
        let items = (0..ROWS).map(|hour| {
            let draft = Draft { kind: "x".into(), ..Draft::default() };
            let id = NotificationId(uuid::Uuid::from_u128(1 + u128::from(hour.cast_unsigned())));
            let notification = draft.accept(id, at(hour)).unwrap();
            let (idempotency_key, destinations) = (None, Vec::new());
            let schedule = Schedule::default();
            Enqueue { notification, idempotency_key, schedule, destinations }
        });
        let mut items = items.collect::<Vec<_>>().into_iter();
        while items.len() > 0 {
            queue.enqueue(items.by_ref().take(1_000).collect()).await.unwrap();
        }
        let page = Page { after: None, limit: 10 };
        let (since, until) = (Some(at(2_000)), Some(at(7_000)));
        let filter = NotificationFilter { since, until, ..NotificationFilter::all(page) };
        let found = range(&queue, &filter).await.unwrap();
        // Row 2,001 is that of hour 2,000.
        assert!((2_000 - NEAR..=2_000).contains(&found.above), "{found:?}");
        assert!((7_001..=7_001 + NEAR).contains(&found.below), "{found:?}");
        let none = NotificationFilter { since: Some(at(2 * ROWS)), until: None, ..filter };
        let found = range(&queue, &none).await.unwrap();
        assert!(found.above >= ROWS - NEAR && found.below == ROWS + 1, "{found:?}");
    }
}
