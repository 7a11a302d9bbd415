//! The threads that guests run on: one current-thread runtime each, so that an instance, its requests and its timers
//! stay on one core. Only a call that computes for long leaves its thread ([`slow_lane`]), until it is over.
//!
//! A call that is made on such a thread runs right there. So what a host does for one delivery may run here as well,
//! from its start to its end: [`Workers::start`]. It must never block.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

use crate::slow_lane::{self, on_its_lane};
use crate::starting::Starting;

/// The worker threads of a sandbox. They end when this is dropped, from within async code too: it only tells them.
pub(crate) struct Workers {
    /// Tells the sandboxes of a process apart.
    number: usize,
    workers: Vec<Worker>,
    slow: Vec<Thread>,
}

struct Worker {
    thread: Thread,
    /// Where it moves what computes for long.
    slow: Handle,
    busy: Arc<AtomicUsize>,
    starting: Arc<Starting>,
}

/// A thread with a runtime. It ends when this is dropped: it is only told.
pub(crate) struct Thread {
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

/// Something to run that nobody waits for.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

thread_local! {
    /// The number of the sandbox and the index of the worker whose thread this is.
    static HERE: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

impl Workers {
    pub(crate) fn new(threads: usize) -> io::Result<Self> {
        static NUMBERS: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let threads = threads.max(1);
        let slow = slow_lane::start(threads)?;
        let workers = (0..threads)
            .zip(slow.iter().cycle())
            .map(|(index, slow)| Worker::start(number, index, slow.runtime().clone()))
            .collect::<io::Result<_>>()?;
        Ok(Self { number, workers, slow })
    }

    pub(crate) fn count(&self) -> usize {
        self.workers.len()
    }

    /// Threads of the slow lane.
    pub(crate) fn slow(&self) -> usize {
        self.slow.len()
    }

    /// The worker whose thread this is.
    pub(crate) fn here(&self) -> Option<usize> {
        let (number, index) = HERE.get()?;
        (number == self.number).then_some(index)
    }

    /// The runtimes of all workers.
    pub(crate) fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.workers.iter().map(|worker| &worker.thread.runtime)
    }

    /// The worker with the fewest tasks.
    fn idlest(&self) -> Option<(usize, &Worker)> {
        let workers = self.workers.iter().enumerate();
        workers.min_by_key(|(_, worker)| worker.busy.load(Ordering::Relaxed))
    }

    /// Runs a task on the thread with the fewest of them; `make` learns which one that is. None only where there is
    /// no thread at all.
    pub(crate) fn run<F>(&self, make: impl FnOnce(usize) -> F) -> Option<Running<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (index, worker) = self.idlest()?;
        let counted = Counted::new(worker.busy.clone());
        let task = on_its_lane(Box::pin(make(index)), worker.slow.clone());
        Some(Running::new(worker.thread.runtime.spawn(async move {
            let _counted = counted;
            task.await
        })))
    }

    /// Starts a task on the thread with the fewest of them. What comes while that thread is busy wakes it once, and begins
    /// a few at a time, behind what is ready: many instances half way would only push each other's memory out of the
    /// processor's caches, and keep a place in the pool.
    pub(crate) fn start(&self, task: Task) {
        let Some((_, worker)) = self.idlest() else { return };
        let counted = Counted::new(worker.busy.clone());
        let slow = worker.slow.clone();
        let start = worker.starting.add(async move {
            let _counted = counted;
            on_its_lane(task, slow).await;
        });
        if let Some(start) = start {
            worker.thread.runtime.spawn(start);
        }
    }
}

impl Worker {
    fn start(number: usize, index: usize, slow: Handle) -> io::Result<Self> {
        let begin = move || HERE.set(Some((number, index)));
        let thread = Thread::start(format!("guests-{index}"), begin)?;
        Ok(Self { thread, slow, busy: Arc::default(), starting: Arc::default() })
    }
}

impl Thread {
    /// Starts it; `begin` is the first that it does.
    pub(crate) fn start(name: String, begin: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        std::thread::Builder::new().name(name).spawn(move || {
            begin();
            // Ends with an error when its owner is dropped, which is the signal.
            let _dropped = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, _stop: stop })
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

/// A task on another thread; dropping this ends it at its next yield.
pub(crate) struct Running<T>(JoinHandle<T>);

impl<T> Running<T> {
    pub(crate) fn new(task: JoinHandle<T>) -> Self {
        Self(task)
    }

    pub(crate) async fn end(mut self) -> Result<T, JoinError> {
        (&mut self.0).await
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(busy: Arc<AtomicUsize>) -> Self {
        busy.fetch_add(1, Ordering::Relaxed);
        Self(busy)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a task of `on` runs, as `seen_by` sees it.
    async fn place(on: &Workers, seen_by: &Arc<Workers>) -> Option<usize> {
        let (tell, told) = oneshot::channel();
        let seen_by = seen_by.clone();
        on.start(Box::pin(async move { tell.send(seen_by.here()).unwrap() }));
        told.await.unwrap()
    }

    #[tokio::test]
    async fn a_task_knows_the_thread_of_its_own_sandbox_only() {
        let (ours, other) =
            (Arc::new(Workers::new(1).unwrap()), Arc::new(Workers::new(1).unwrap()));
        assert_eq!(ours.here(), None);
        assert_eq!(place(&ours, &ours).await, Some(0));
        assert_eq!(place(&ours, &other).await, None);
    }

    #[tokio::test]
    async fn all_that_arrives_is_started_and_spread() {
        let workers = Arc::new(Workers::new(2).unwrap());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let go = Arc::new(tokio::sync::Semaphore::new(0));
        for _ in 0..100 {
            let (workers, tell, go) = (workers.clone(), tell.clone(), go.clone());
            workers.clone().start(Box::pin(async move {
                drop(go.acquire().await);
                tell.send(workers.here()).unwrap();
            }));
        }
        go.add_permits(1);
        let mut places = Vec::new();
        told.recv_many(&mut places, 100).await;
        while places.len() < 100 {
            places.push(told.recv().await.unwrap());
        }
        let on_first = places.iter().filter(|place| **place == Some(0)).count();
        assert_eq!(on_first, 50, "the idlest gets the next");
        assert!(places.iter().all(Option::is_some));
    }
}
