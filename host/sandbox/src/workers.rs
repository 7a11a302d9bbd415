//! The threads that guests run on: one current-thread runtime each, so that an instance, its requests and its timers
//! stay on one core. Nothing of the caller's ever runs here.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

/// The worker threads of a sandbox. They end when this is dropped, from within async code too: it only tells them.
pub(crate) struct Workers(Vec<Worker>);

struct Worker {
    runtime: Handle,
    busy: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

impl Workers {
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        (0..threads.max(1)).map(Worker::start).collect::<io::Result<_>>().map(Self)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Runs a task on the thread with the fewest of them; `make` learns which one that is. None only where there is
    /// no thread at all.
    pub(crate) fn run<F>(&self, make: impl FnOnce(usize) -> F) -> Option<Running<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (index, worker) = self
            .0
            .iter()
            .enumerate()
            .min_by_key(|(_, worker)| worker.busy.load(Ordering::Relaxed))?;
        let counted = Counted::new(worker.busy.clone());
        let task = make(index);
        Some(Running(worker.runtime.spawn(async move {
            let _counted = counted;
            task.await
        })))
    }
}

impl Worker {
    fn start(index: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        std::thread::Builder::new().name(format!("guests-{index}")).spawn(move || {
            // Ends with an error when the sandbox is dropped, which is the signal.
            let _dropped = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, busy: Arc::default(), _stop: stop })
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
