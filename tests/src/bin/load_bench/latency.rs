//! From the commit to the receiver: the answer that says so, and the arrival of the request, by one clock.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, ensure};

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
    let sent = send(running, pace).await?;
    let coming = sent.iter().filter(|sent| sent.arrives).count() as u64;
    let waiting = std::time::Instant::now();
    while counter.total().await < before + coming && waiting.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
    }
    of(&sent, &counter.arrivals().await)
}

fn of(sent: &[Sent], arrivals: &HashMap<String, u64>) -> Result<Latency> {
    let came = |sent: &Sent| arrivals.get(&sent.id).copied();
    let coming: Vec<&Sent> = sent.iter().filter(|sent| sent.arrives).collect();
    let lost = coming.iter().filter(|sent| came(sent).is_none()).count();
    ensure!(lost == 0, "{lost} of {} notifications did not come", coming.len());
    let since = |start: fn(&Sent) -> u64| {
        let milliseconds =
            |sent: &&Sent| Some(came(sent)?.saturating_sub(start(sent)) as f64 / 1e6);
        Sorted::of(coming.iter().filter_map(milliseconds).collect())
    };
    Ok(Latency {
        since_commit: since(|sent| sent.committed),
        since_post: since(|sent| sent.posted),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(id: &str, arrives: bool) -> Sent {
        Sent { id: id.to_owned(), posted: 1_000_000, committed: 3_000_000, arrives }
    }

    #[test]
    fn a_request_before_the_answer_took_no_time_since_the_commit() {
        let arrivals = [("a".to_owned(), 2_000_000), ("b".to_owned(), 8_000_000)].into();

        let latency = of(&[sent("a", true), sent("b", true), sent("c", false)], &arrivals).unwrap();

        let both = |sorted: &Sorted| (sorted.percentile(0.0), sorted.percentile(1.0));
        assert_eq!(both(&latency.since_commit), (0.0, 5.0));
        assert_eq!(both(&latency.since_post), (1.0, 7.0));
    }

    #[test]
    fn what_did_not_come_is_an_error() {
        let error = of(&[sent("a", true)], &HashMap::new()).err().unwrap();
        assert_eq!(error.to_string(), "1 of 1 notifications did not come");
    }
}
