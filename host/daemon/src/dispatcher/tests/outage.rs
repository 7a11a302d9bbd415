//! A queue that is away for long: what the log says, and that a stop ends all the same.

use std::io::Write;
use std::sync::atomic::Ordering;

use super::*;

/// Collects what this thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || log.clone())
            .with_ansi(false)
            .without_time()
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// The lines since the last call.
    fn lines(&self) -> Vec<String> {
        let text = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A stage with an attempt that hangs, one that has just ended, and one that waits.
async fn busy(unsteady: &Arc<Unsteady>) -> (Stage, Arc<Scripted>) {
    let hanging = Scripted::plays([Play::Hang]);
    let good = Scripted::plays([]);
    let destinations = [("hanging", "", &hanging), ("good", "", &good)];
    let stage = Stage::through(unsteady.queue(), unsteady.inner.clone(), &destinations);
    stage.enqueue(1, &["hanging"]).await;
    while hanging.attempts() == 0 {
        tokio::task::yield_now().await;
    }
    stage.enqueue(2, &["good"]).await;
    while good.attempts() == 0 {
        tokio::task::yield_now().await;
    }
    (stage, good)
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_of_a_few_times_a_minute_and_its_end_once() {
    let (log, unsteady) = (Log::default(), Unsteady::new(0, 0));
    let _logging = log.start();
    // Given an attempt that runs, and one whose settlement waits.
    unsteady.failing_settles.store(usize::MAX, Ordering::Relaxed);
    let (stage, _good) = busy(&unsteady).await;
    unsteady.down.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    let first = log.lines();
    assert!((1..=6).contains(&first.len()), "{first:#?}");
    for _ in 0..10 {
        sleep(Duration::from_secs(60)).await;
        let lines = log.lines();
        assert!((1..=6).contains(&lines.len()), "{lines:#?}");
        for waiting in ["dispatching", "1 settlement", "leases to be extended", "connection"] {
            assert!(lines[0].contains(waiting), "{}", lines[0]);
        }
    }
    unsteady.failing_settles.store(0, Ordering::Relaxed);
    unsteady.down.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    let lines = log.lines();
    let told = lines.iter().filter(|line| line.contains("everything goes on")).count();
    assert_eq!((told, lines.len()), (1, 1), "{lines:#?}");
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_comes_and_goes_does_not_fill_the_log() {
    let (log, unsteady) = (Log::default(), Unsteady::new(0, 0));
    let _logging = log.start();
    let (stage, _good) = busy(&unsteady).await;
    log.lines();
    for _ in 0..20 {
        for away in 0..600 {
            unsteady.down.store(away % 2 == 0, Ordering::Relaxed);
            stage.waker.wake();
            sleep(Duration::from_millis(100)).await;
        }
        let lines = log.lines();
        assert!(lines.len() <= 6, "{lines:#?}");
    }
    stage.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_even_if_the_queue_never_answers() {
    for ends in [(false, true), (true, false)] {
        let unsteady = Unsteady::new(0, 0);
        unsteady.failing_settles.store(usize::MAX, Ordering::Relaxed);
        let (stage, _good) = busy(&unsteady).await;
        unsteady.down.store(ends.0, Ordering::Relaxed);
        unsteady.stuck.store(ends.1, Ordering::Relaxed);
        stage.waker.wake();
        sleep(Duration::from_secs(60)).await;
        let took = stage.stop().await;
        assert!(took <= Duration::from_secs(20 + 5 + 10), "{took:?}");
    }
}
