//! How attempts begin on a thread: behind what is ready, and few of them young at once.
//!
//! What has begun holds an instance and waits for its receiver. Where receivers are quick and processors are not idle,
//! each instance that begins before another ends has memory of its own that the caches then lose: with a hundred half
//! way a delivery costs a fifth more than with twenty. So those that began just now are counted. One that is no longer
//! [`YOUNG`] does not count: it waits for something slow, and holds up nobody. [`Crowd`] tells how many may be young.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::crowd::Crowd;
use crate::workers::Task;

/// Tasks that are started before the ready ones go on: each round costs a look at the sockets.
const AT_ONCE: usize = 2;
/// How long a task is young, at least; at most twice that.
const YOUNG: Duration = Duration::from_millis(1);
/// Time after which a crowd is looked at again.
const LOOK: Duration = Duration::from_millis(1);
/// A round that computes for longer is one of guests that compute.
const LONG: Duration = Duration::from_millis(10);

/// What waits to be started on a worker, and what is young there.
#[derive(Default)]
pub(crate) struct Starting {
    line: Mutex<Line>,
    /// A young one has ended.
    ended: Notify,
}

#[derive(Default)]
struct Line {
    tasks: VecDeque<Task>,
    /// Somebody is starting them.
    starting: bool,
    young: Young,
    /// Beyond which no other begins until one ends or grows old.
    crowd: Crowd,
}

impl Starting {
    /// Adds a task. Answers what is to be run on the worker's thread to start it, where nothing is under way that does.
    pub(crate) fn add(
        self: &Arc<Self>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let starting = self.clone();
        let task = Box::pin(async move {
            let _begun = Begun::new(starting);
            task.await;
        });
        let mut line = self.line();
        line.tasks.push_back(task);
        let is_first = !std::mem::replace(&mut line.starting, true);
        is_first.then(|| start_all(self.clone()))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts what arrived, a few at a time: a task that yields goes on behind all that is ready by then. Where guests compute
/// for long meanwhile, all begin, so that short ones among them are not held up by those before.
async fn start_all(starting: Arc<Starting>) {
    let mut round = computed();
    loop {
        let now = computed();
        let is_long = now.saturating_sub(round) > LONG;
        round = now;
        let few = {
            let mut line = starting.line();
            if line.tasks.is_empty() {
                line.starting = false;
                return;
            }
            let young = line.young.count(Instant::now());
            let room = line.crowd.most().saturating_sub(young).min(AT_ONCE);
            let few = line.tasks.len().min(if is_long { usize::MAX } else { room });
            line.tasks.drain(..few).for_each(|task| drop(tokio::spawn(task)));
            few
        };
        if few == 0 {
            // Either way there is another look.
            timeout(LOOK, starting.ended.notified()).await.ok();
            round = computed();
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// What this thread computed since it began. On a busy machine a round takes long by any other clock when nobody here
/// computes: others have the processor.
fn computed() -> Duration {
    // Where there is no such clock, no round is long.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// A task that has begun; it ends when this is dropped.
struct Begun {
    starting: Arc<Starting>,
    period: u64,
}

impl Begun {
    fn new(starting: Arc<Starting>) -> Self {
        let mut line = starting.line();
        line.crowd.begin();
        let period = line.young.begin(Instant::now());
        drop(line);
        Self { starting, period }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut line = self.starting.line();
        if line.young.end(self.period) {
            line.crowd.end_young();
        }
        drop(line);
        self.starting.ended.notify_one();
    }
}

/// Those that began in this period of [`YOUNG`] or the last, and have not ended.
struct Young {
    first: Instant,
    period: u64,
    /// Of even and of odd periods.
    counts: [usize; 2],
}

impl Default for Young {
    fn default() -> Self {
        Self { first: Instant::now(), period: 0, counts: [0; 2] }
    }
}

impl Young {
    /// Answers the period in which it began.
    fn begin(&mut self, now: Instant) -> u64 {
        self.turn(now);
        *self.of(self.period) += 1;
        self.period
    }

    /// Answers whether it is still young.
    fn end(&mut self, period: u64) -> bool {
        let is_young = period + 1 >= self.period;
        if is_young {
            *self.of(period) -= 1;
        }
        is_young
    }

    fn count(&mut self, now: Instant) -> usize {
        self.turn(now);
        self.counts.iter().sum()
    }

    fn turn(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.first).as_micros() / YOUNG.as_micros();
        let period = u64::try_from(since).unwrap_or(u64::MAX).max(self.period);
        match period - self.period {
            0 => {}
            1 => *self.of(period) = 0,
            _ => self.counts = [0; 2],
        }
        self.period = period;
    }

    fn of(&mut self, period: u64) -> &mut usize {
        let [even, odd] = &mut self.counts;
        if period.is_multiple_of(2) { even } else { odd }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;
    use tokio::sync::{Semaphore, mpsc};

    use super::*;
    use crate::crowd::FEW;

    proptest! {
        #[test]
        fn the_young_are_those_of_two_periods_that_have_not_ended(
            steps in prop::collection::vec((0_u64..1_500, any::<bool>()), 1..60),
        ) {
            let mut young = Young::default();
            let (first, mut at) = (young.first, 0);
            let mut begun: Vec<u64> = Vec::new();
            for (later, begins) in steps {
                at += later;
                let now = first + Duration::from_micros(at);
                if begins {
                    begun.push(young.begin(now));
                } else if !begun.is_empty() {
                    young.end(begun.swap_remove(begun.len() / 2));
                }
                let period = at / 1_000;
                let expected = begun.iter().filter(|began| **began + 1 >= period).count();
                prop_assert_eq!(young.count(now), expected);
            }
        }
    }

    #[tokio::test]
    async fn more_than_a_crowd_begin_though_none_ends() {
        let starting = Arc::new(Starting::default());
        let (tell, mut told) = mpsc::unbounded_channel();
        let all = FEW * 4;
        let started: Vec<_> = (0..all)
            .filter_map(|number| {
                let tell = tell.clone();
                starting.add(async move {
                    tell.send(number).unwrap();
                    std::future::pending::<()>().await;
                })
            })
            .collect();
        assert_eq!(started.len(), 1, "one starts them all");
        started.into_iter().for_each(|start| drop(tokio::spawn(start)));
        for number in 0..all {
            assert_eq!(told.recv().await, Some(number), "in the order in which they came");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_crowd_one_begins_for_each_that_ends() {
        let starting = Arc::new(Starting::default());
        let go = Arc::new(Semaphore::new(0));
        let begun = Arc::new(AtomicUsize::new(0));
        for _ in 0..FEW * 2 {
            let (begun, go) = (begun.clone(), go.clone());
            let start = starting.add(async move {
                begun.fetch_add(1, Ordering::Relaxed);
                go.acquire().await.unwrap().forget();
            });
            start.into_iter().for_each(|start| drop(tokio::spawn(start)));
        }
        // While this task yields, time stands still.
        let seen = async || {
            for _ in 0..FEW * 8 {
                tokio::task::yield_now().await;
            }
            begun.load(Ordering::Relaxed)
        };
        assert_eq!(seen().await, FEW);
        go.add_permits(3);
        assert_eq!(seen().await, FEW + 3);
        tokio::time::advance(YOUNG * 2).await;
        assert_eq!(seen().await, FEW * 2);
    }

    /// Computes until this thread's own clock says that a round was long.
    fn compute() {
        let begun = computed();
        while computed() - begun <= LONG {}
    }

    /// How many begin after a round in which one did this.
    async fn begun_after(round: fn()) -> usize {
        let starting = Arc::new(Starting::default());
        let begun = Arc::new(AtomicUsize::new(0));
        for number in 0..FEW * 4 {
            let begun = begun.clone();
            let start = starting.add(async move {
                begun.fetch_add(1, Ordering::Relaxed);
                if number == 0 {
                    round();
                }
                std::future::pending::<()>().await;
            });
            start.into_iter().for_each(|start| drop(tokio::spawn(start)));
        }
        // While this task yields, time stands still.
        for _ in 0..FEW * 8 {
            tokio::task::yield_now().await;
        }
        begun.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn all_begin_where_guests_compute_for_long() {
        assert_eq!(begun_after(compute).await, FEW * 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_others_keep_waiting_does_not_compute() {
        let others = || std::thread::spawn(compute).join().unwrap();
        assert_eq!(begun_after(others).await, FEW);
    }
}
