//! Whether anything more is taken in. Measured once a second beside the requests, which only read two numbers.
//!
//! What is taken in between two measurements counts; what other hosts and producers add meanwhile is seen with the
//! next one, so a limit may be passed by as much.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use postrider_queue::Queue;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Between two measurements, at least.
const EVERY: Duration = Duration::from_secs(1);
/// Measuring takes at most this part of the time: a million rows are counted more rarely than a thousand.
const SHARE: u32 = 50;
/// Seconds after which a caller may try again, by what is full.
const QUEUE_RETRY: u64 = 5;
const DISK_RETRY: u64 = 30;

/// The limits and how near they are. Cheap to clone: all are one.
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    limits: ArcSwap<Limits>,
    queued: AtomicU64,
    free: AtomicU64,
}

/// What an operator allows.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Most live deliveries and notifications not fanned out.
    pub max_queue: Option<u64>,
    /// A place on the file system that must keep so many bytes free.
    pub disk: Option<(PathBuf, u64)>,
}

/// Why nothing is taken in now, and the seconds after which to try again.
#[derive(Debug, PartialEq, Eq)]
pub struct Full {
    pub reason: String,
    pub retry_after: u64,
}

impl Admission {
    pub fn new(limits: Limits) -> Self {
        let free = AtomicU64::new(u64::MAX);
        let limits = ArcSwap::from_pointee(limits);
        Self(Arc::new(Inner { limits, queued: AtomicU64::new(0), free }))
    }

    /// Puts other limits in force; what is measured of them comes with the next look.
    pub fn set(&self, limits: Limits) {
        self.0.limits.store(Arc::new(limits));
    }

    /// Refuses while a limit is reached.
    pub fn check(&self) -> Result<(), Full> {
        let limits = self.0.limits.load();
        let Limits { max_queue, disk } = &**limits;
        let queued = self.0.queued.load(Ordering::Relaxed);
        if let Some(limit) = max_queue.filter(|limit| queued >= *limit) {
            let reason = format!(
                "the queue is full: {limit} deliveries wait (max_queue); nothing was accepted, try again later"
            );
            return Err(Full { reason, retry_after: QUEUE_RETRY });
        }
        let free = self.0.free.load(Ordering::Relaxed);
        if let Some((_, floor)) = disk.as_ref().filter(|(_, floor)| free < *floor) {
            let reason = format!(
                "the database's disk is full: {free} bytes are free, {floor} must stay (min_free_disk); \
                 nothing was accepted, make room and try again"
            );
            return Err(Full { reason, retry_after: DISK_RETRY });
        }
        Ok(())
    }

    /// Counts what was taken in since the last measurement.
    pub fn accepted(&self, deliveries: u32) {
        if self.0.limits.load().max_queue.is_some() {
            self.0.queued.fetch_add(deliveries.into(), Ordering::Relaxed);
        }
    }

    /// Measures until `stop`.
    pub async fn watch(self, queue: Arc<dyn Queue>, stop: CancellationToken) {
        loop {
            let began = Instant::now();
            self.measure(&*queue).await;
            let wait = (began.elapsed() * SHARE).max(EVERY);
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    /// What cannot be measured stays as it was: the request itself will tell that the queue is away.
    pub(crate) async fn measure(&self, queue: &dyn Queue) {
        let limits = self.0.limits.load_full();
        if let Some(limit) = limits.max_queue
            && let Ok(size) = queue.size_within(limit).await
        {
            self.0.queued.store(size, Ordering::Relaxed);
        }
        if let Some((path, _)) = limits.disk.clone() {
            let free = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&path)).await;
            if let Ok(Ok(disk)) = free {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                self.0.free.store(free, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use postrider_core::{Draft, NotificationId, Schedule};
    use postrider_queue::{Enqueue, MemoryQueue, Target};

    use super::*;

    async fn filled(deliveries: usize) -> MemoryQueue {
        let queue = MemoryQueue::stopped(Timestamp::UNIX_EPOCH);
        let draft = Draft { kind: "x".into(), ..Draft::default() };
        let id = NotificationId(uuid::Uuid::from_u128(1));
        let notification = draft.accept(id, Timestamp::UNIX_EPOCH).unwrap();
        let destinations =
            (0..deliveries).map(|place| Target::from(place.to_string().as_str())).collect();
        let schedule = Schedule::default();
        let item = Enqueue { notification, idempotency_key: None, schedule, destinations };
        queue.enqueue(vec![item]).await.unwrap();
        queue
    }

    #[tokio::test]
    async fn a_full_queue_refuses_until_there_is_room() {
        let queue = filled(3).await;
        let admission = Admission::new(Limits { max_queue: Some(4), disk: None });
        admission.measure(&queue).await;
        assert_eq!(admission.check(), Ok(()));
        // What was taken in meanwhile counts at once.
        admission.accepted(1);
        let full = admission.check().unwrap_err();
        assert!(full.reason.contains("max_queue") && full.retry_after > 0, "{full:?}");
        admission.measure(&queue).await;
        assert_eq!(admission.check(), Ok(()));
    }

    #[tokio::test]
    async fn a_disk_below_its_floor_refuses() {
        let queue = filled(0).await;
        let directory = tempfile::tempdir().unwrap();
        let at = |floor| {
            let disk = Some((directory.path().to_owned(), floor));
            Admission::new(Limits { max_queue: None, disk })
        };
        let (low, high) = (at(1), at(u64::MAX));
        for admission in [&low, &high] {
            assert_eq!(admission.check(), Ok(()), "nothing was measured yet");
            admission.measure(&queue).await;
        }
        assert_eq!(low.check(), Ok(()));
        assert!(high.check().unwrap_err().reason.contains("min_free_disk"));
    }
}
