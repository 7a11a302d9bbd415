//! Where a call goes on that computes for longer than a delivery should: on threads of lower priority, so that a module
//! which never returns, or is only heavy, has what the others leave. When it goes on there, `turns` says.
//!
//! Whatever makes calls runs under [`on_its_lane`]. Between two slices such a call asks to be moved ([`ask`]), and when
//! it is over, it goes home ([`leave`]): what the host makes of its answer waits for no thread of lower priority.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::workers::{Running, Thread};

/// The ticker's period, and so the length of a slice: a delivery waits for one of each call that computes before it.
pub(crate) const SLICE: Duration = Duration::from_millis(1);
/// Slices that a call computes on the thread where it began: the slowest language starts within them.
pub(crate) const FREE_SLICES: u32 = 30;
/// Of the slow lane's threads: a tenth of a core where everybody wants it.
const NICENESS: i32 = 10;
/// Threads of guests for one of the slow lane.
const WORKERS_FOR_ONE: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Home,
    Slow,
}

thread_local! {
    /// The lane of this thread.
    static LANE: Cell<Lane> = const { Cell::new(Lane::Home) };
    /// Where the task that was just polled wants to go on.
    static WISH: Cell<Option<Lane>> = const { Cell::new(None) };
}

/// Starts the slow lane's threads for so many workers, one at least.
pub(crate) fn start(workers: usize) -> io::Result<Vec<Thread>> {
    let start = |index| {
        Thread::start(format!("slow-lane-{index}"), || {
            LANE.set(Lane::Slow);
            // Linux counts it for each thread. Without it the kernel shares alike.
            if let Err(error) = rustix::process::nice(NICENESS) {
                tracing::debug!("the slow lane has no lower priority: {error}");
            }
        })
    };
    (0..(workers / WORKERS_FOR_ONE).max(1)).map(start).collect()
}

/// Asks that the task which this thread polls goes on in the slow lane once it has yielded.
pub(crate) fn ask() {
    if LANE.get() == Lane::Home {
        WISH.set(Some(Lane::Slow));
    }
}

/// Goes back to the thread where the task began, if it was moved.
pub(crate) async fn leave() {
    // Of the call that is over.
    WISH.set(None);
    let mut asked = false;
    poll_fn(|_| {
        if asked || LANE.get() == Lane::Home {
            return Poll::Ready(());
        }
        asked = true;
        WISH.set(Some(Lane::Home));
        Poll::Pending
    })
    .await;
}

/// Runs a task here, and on a thread of the slow lane from where it asks for that until it leaves. Dropping this ends
/// it there, too, at its next yield.
pub(crate) async fn on_its_lane<F>(mut task: Pin<Box<F>>, slow: Handle) -> F::Output
where
    F: Future<Output: Send> + Send + ?Sized + 'static,
{
    loop {
        if let Some(output) = until_moved(&mut task).await {
            return output;
        }
        let away = Running::new(slow.spawn(async move {
            let output = until_moved(&mut task).await;
            (task, output)
        }));
        match away.end().await {
            Ok((_, Some(output))) => return output,
            Ok((back, None)) => task = back,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // Its runtime is gone, and this one is about to go.
                Err(_cancelled) => return std::future::pending().await,
            },
        }
    }
}

/// Polls a task until it ends, or wants to go on elsewhere.
async fn until_moved<F: Future + ?Sized>(task: &mut Pin<Box<F>>) -> Option<F::Output> {
    poll_fn(|cx: &mut Context<'_>| {
        WISH.set(None);
        match task.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if WISH.take().is_some() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, oneshot};
    use tokio::task::yield_now;

    use super::*;

    fn place() -> (Lane, i32) {
        (LANE.get(), rustix::process::nice(0).unwrap())
    }

    #[tokio::test]
    async fn what_asks_goes_on_with_lower_priority_and_comes_home() {
        let lane = start(2).unwrap();
        let (_, ours) = place();
        let seen = on_its_lane(
            Box::pin(async {
                let mut seen = vec![place()];
                for _ in 0..2 {
                    ask();
                    // It is moved where it yields, not before.
                    seen.push(place());
                    yield_now().await;
                    seen.push(place());
                    yield_now().await;
                    seen.push(place());
                    leave().await;
                    seen.push(place());
                }
                seen
            }),
            lane[0].runtime().clone(),
        )
        .await;
        let (home, slow) = ((Lane::Home, ours), (Lane::Slow, (ours + NICENESS).min(19)));
        assert_eq!(seen, [home, home, slow, slow, home, home, slow, slow, home]);
    }

    #[tokio::test]
    async fn a_wish_is_of_the_task_that_has_it_only() {
        let lane = start(1).unwrap();
        // Never yields after it asked: its wish must not move the next one.
        on_its_lane(Box::pin(async { ask() }), lane[0].runtime().clone()).await;
        let other = async {
            yield_now().await;
            place().0
        };
        assert_eq!(on_its_lane(Box::pin(other), lane[0].runtime().clone()).await, Lane::Home);
    }

    #[tokio::test]
    async fn dropping_a_moved_task_ends_it() {
        let lane = start(1).unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        let (held, dropped) = oneshot::channel::<()>();
        let task = on_its_lane(
            Box::pin(async move {
                let _held = held;
                ask();
                loop {
                    yield_now().await;
                    if tell.send(LANE.get()).is_err() {
                        return;
                    }
                }
            }),
            lane[0].runtime().clone(),
        );
        let task = tokio::spawn(task);
        assert_eq!(told.recv().await, Some(Lane::Slow));
        task.abort();
        assert!(dropped.await.is_err());
    }

    #[tokio::test]
    async fn a_panic_over_there_is_one_here() {
        let lane = start(1).unwrap();
        let slow = lane[0].runtime().clone();
        let task = on_its_lane(
            Box::pin(async {
                ask();
                yield_now().await;
                assert_eq!(LANE.get(), Lane::Home, "over there");
            }),
            slow,
        );
        assert!(tokio::spawn(task).await.unwrap_err().is_panic());
    }
}
