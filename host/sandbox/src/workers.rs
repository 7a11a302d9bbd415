//! The threads that guests run on: one current-thread runtime each, so that an instance, its requests and its timers
//! stay on one core.
//!
//! A call that is made on such a thread runs right there. So what a host does for one delivery may run here as well,
//! from its start to its end: [`Workers::start`]. It must never block.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

/// The worker threads of a sandbox. They end when this is dropped, from within async code too: it only tells them.
pub(crate) struct Workers {
    /// Tells the sandboxes of a process apart.
    number: usize,
    workers: Vec<Worker>,
}

struct Worker {
    runtime: Handle,
    busy: Arc<AtomicUsize>,
    arrived: Arc<Mutex<Vec<Task>>>,
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
        let workers = (0..threads.max(1)).map(|index| Worker::start(number, index));
        Ok(Self { number, workers: workers.collect::<io::Result<_>>()? })
    }

    pub(crate) fn count(&self) -> usize {
        self.workers.len()
    }

    /// The worker whose thread this is.
    pub(crate) fn here(&self) -> Option<usize> {
        let (number, index) = HERE.get()?;
        (number == self.number).then_some(index)
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
        let task = make(index);
        Some(Running(worker.runtime.spawn(async move {
            let _counted = counted;
            task.await
        })))
    }

    /// Starts a task on the thread with the fewest of them. What comes while that thread is busy wakes it once.
    pub(crate) fn start(&self, task: Task) {
        let Some((_, worker)) = self.idlest() else { return };
        let counted = Counted::new(worker.busy.clone());
        let task = Box::pin(async move {
            let _counted = counted;
            task.await;
        });
        let is_first = {
            let mut arrived = worker.arrived.lock().unwrap_or_else(PoisonError::into_inner);
            arrived.push(task);
            arrived.len() == 1
        };
        if is_first {
            let arrived = worker.arrived.clone();
            worker.runtime.spawn(async move {
                let all =
                    std::mem::take(&mut *arrived.lock().unwrap_or_else(PoisonError::into_inner));
                all.into_iter().for_each(|task| drop(tokio::spawn(task)));
            });
        }
    }
}

impl Worker {
    fn start(number: usize, index: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        std::thread::Builder::new().name(format!("guests-{index}")).spawn(move || {
            HERE.set(Some((number, index)));
            // Ends with an error when the sandbox is dropped, which is the signal.
            let _dropped = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, busy: Arc::default(), arrived: Arc::default(), _stop: stop })
    }
}

/// A task on a worker; dropping this ends it at its next yield.
pub(crate) struct Running<T>(JoinHandle<T>);

impl<T> Running<T> {
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
