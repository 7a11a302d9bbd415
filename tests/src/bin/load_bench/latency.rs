//! From the commit to the receiver: the answer that says so, and the arrival of the request, by one clock.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::disk::Watch;
use crate::load::CONNECTIONS;
use crate::numbers::Sorted;
use crate::paced::{Pace, Sent, send};
use crate::running::Running;
use crate::target::Counter;

/// Of an idle daemon: one after the other, each long after the one before.
const IDLE_RATE: f64 = 100.0;
/// How long the last ones may take.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// In milliseconds.
pub(crate) struct Latency {
    /// Since the producer knew that it is committed; nothing, where the request came before the answer.
    pub(crate) since_commit: Sorted,
    /// Since the producer began to send it.
    pub(crate) since_post: Sorted,
    /// How long the disk took at most, meanwhile, for a sync of somebody else.
    sync: Duration,
}

impl Latency {
    /// What the disk did meanwhile: a commit waits for it.
    pub(crate) fn disk(&self) -> String {
        format!("a sync by itself at most {:.1} ms", self.sync.as_secs_f64() * 1e3)
    }
}

pub(crate) async fn idle(
    running: &Running,
    counter: &mut Counter,
    time: Duration,
) -> Result<Latency> {
    measure(running, counter, Pace { rate: IDLE_RATE, connections: 1, time }).await
}

pub(crate) async fn at(
    running: &Running,
    counter: &mut Counter,
    rate: f64,
    time: Duration,
) -> Result<Latency> {
    measure(running, counter, Pace { rate, connections: CONNECTIONS, time }).await
}

async fn measure(running: &Running, counter: &mut Counter, pace: Pace) -> Result<Latency> {
    let before = counter.total().await;
    counter.record().await;
    let watch = Watch::start(running.directory())?;
    let sent = send(running, pace).await?;
    let coming: u64 = sent.iter().map(|sent| sent.arrivals as u64).sum();
    let waiting = std::time::Instant::now();
    while counter.total().await < before + coming && waiting.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
    }
    of(&sent, &counter.arrivals().await, watch.end()?)
}

fn of(sent: &[Sent], arrivals: &HashMap<String, Vec<u64>>, sync: Duration) -> Result<Latency> {
    // What came more often than it should came late.
    let came = |sent: &Sent| {
        let times = arrivals.get(&sent.id).map_or(&[][..], Vec::as_slice);
        times.iter().take(sent.arrivals)
    };
    let coming: usize = sent.iter().map(|sent| sent.arrivals).sum();
    let lost = coming - sent.iter().map(|sent| came(sent).len()).sum::<usize>();
    ensure!(lost == 0, "{lost} of {coming} deliveries did not come");
    let since = |start: fn(&Sent) -> u64| {
        let milliseconds = |sent| {
            let since = move |time: &u64| time.saturating_sub(start(sent)) as f64 / 1e6;
            came(sent).map(since)
        };
        Sorted::of(sent.iter().flat_map(milliseconds).collect())
    };
    Ok(Latency {
        since_commit: since(|sent| sent.committed),
        since_post: since(|sent| sent.posted),
        sync,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(id: &str, arrivals: usize) -> Sent {
        Sent { id: id.to_owned(), posted: 1_000_000, committed: 3_000_000, arrivals }
    }

    #[test]
    fn a_request_before_the_answer_took_no_time_since_the_commit() {
        let arrivals = [("a".into(), vec![2_000_000]), ("b".into(), vec![8_000_000])].into();

        let all = [sent("a", 1), sent("b", 1), sent("c", 0)];
        let latency = of(&all, &arrivals, Duration::ZERO).unwrap();

        let both = |sorted: &Sorted| (sorted.percentile(0.0), sorted.percentile(1.0));
        assert_eq!(both(&latency.since_commit), (0.0, 5.0));
        assert_eq!(both(&latency.since_post), (1.0, 7.0));
    }

    #[test]
    fn each_destination_counts_once() {
        let arrivals = [("a".into(), vec![4_000_000, 5_000_000, 90_000_000])].into();

        let latency = of(&[sent("a", 2)], &arrivals, Duration::ZERO).unwrap();

        assert_eq!(latency.since_commit.percentile(1.0), 2.0);
    }

    #[test]
    fn what_did_not_come_is_an_error() {
        let arrivals = [("a".into(), vec![1])].into();

        let error = of(&[sent("a", 2)], &arrivals, Duration::ZERO).err().unwrap();

        assert_eq!(error.to_string(), "1 of 2 deliveries did not come");
    }
}
