//! Many callers' notifications in one statement: those that come while one is written go into the next together.
//!
//! A commit waits for the disk, and each statement costs the server more than the rows in it. So the more callers, the
//! fewer commits. Another statement is sent before the first has ended only where a crowd waits or the first takes long:
//! then it is the way to the server that takes time, or a connection that hangs, and not the work there.
//!
//! *Invariant:* one caller cannot fail another: what fails together is tried again apart.

use std::mem;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::{PATIENCE, PostgresQueue, fault};
use crate::taking::Order;
use crate::{Enqueue, QueueError, Taken, Taking};

/// Most statements under way at once.
const WRITERS: usize = 2;
/// So many notifications that wait are a crowd.
const CROWD: usize = 64;
/// A statement that is under way for so long is waited for no more.
const LONG: Duration = Duration::from_millis(20);
/// Callers that may wait for a statement; beyond it they wait for room.
const WAITING: usize = 1_024;
/// A statement takes no more once it has so many notifications or so many bytes of content.
const ITEMS: usize = 256;
const BYTES: usize = 4 << 20;

type Answer = Result<Vec<Taken>, QueueError>;

/// The way to the task that writes. It ends when the last of it is dropped.
#[derive(Clone, Debug)]
pub(super) struct Gatherer(mpsc::Sender<Pending>);

/// One caller's batch, and where its answer goes.
#[derive(Debug)]
struct Pending {
    batch: Vec<Enqueue>,
    taking: Option<Taking>,
    reply: oneshot::Sender<Answer>,
}

impl Gatherer {
    pub(super) fn start(queue: &PostgresQueue) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(write_all(queue.clone(), receiver));
        Self(sender)
    }

    /// Stores a batch, together with others' or not, in one transaction.
    pub(super) async fn enqueue(&self, batch: Vec<Enqueue>, taking: Option<Taking>) -> Answer {
        let answered = async {
            let (reply, answer) = oneshot::channel();
            self.0
                .send(Pending { batch, taking, reply })
                .await
                .map_err(|_ended| fault::closed())?;
            answer.await.map_err(|_ended| fault::closed())?
        };
        timeout(PATIENCE, answered).await.unwrap_or_else(|_elapsed| Err(fault::timed_out()))
    }
}

/// What waits for a statement.
#[derive(Debug, Default)]
struct Round {
    all: Vec<Pending>,
    items: usize,
    bytes: usize,
}

impl Round {
    fn has_room(&self) -> bool {
        self.items < ITEMS && self.bytes < BYTES
    }

    fn add(&mut self, one: Pending) {
        self.items += one.batch.len();
        self.bytes += one.batch.iter().map(|item| item.notification.content.len()).sum::<usize>();
        self.all.push(one);
    }

    /// Whether it goes now, with so many statements under way; `late`: the last of them takes long.
    fn is_due(&self, under_way: usize, late: bool) -> bool {
        let waits = !self.all.is_empty();
        match under_way {
            0 => waits,
            some if some < WRITERS => waits && (late || self.items >= CROWD || !self.has_room()),
            _ => false,
        }
    }
}

async fn write_all(queue: PostgresQueue, mut pending: mpsc::Receiver<Pending>) {
    let mut under_way = JoinSet::new();
    let mut late = Instant::now();
    let mut round = Round::default();
    loop {
        if round.is_due(under_way.len(), Instant::now() >= late) {
            let (queue, round) = (queue.clone(), mem::take(&mut round));
            under_way.spawn(async move { write(&queue, round.all).await });
            late = Instant::now() + LONG;
        }
        let waits = !round.all.is_empty() && under_way.len() < WRITERS;
        tokio::select! {
            biased;
            // One that panicked has dropped its callers, who are told.
            Some(_ended) = under_way.join_next() => {}
            next = pending.recv(), if round.has_room() => {
                let Some(next) = next else { break };
                round.add(next);
                while round.has_room() && let Ok(next) = pending.try_recv() {
                    round.add(next);
                }
            }
            () = sleep_until(late), if waits => {}
        }
    }
    write(&queue, round.all).await;
    while under_way.join_next().await.is_some() {}
}

async fn write(queue: &PostgresQueue, round: Vec<Pending>) {
    if round.is_empty() {
        return;
    }
    // Whoever gave up in the meantime is told of no commit, so nothing of it is stored.
    let round: Vec<Pending> = round.into_iter().filter(|one| !one.reply.is_closed()).collect();
    let all: Vec<Order<'_>> = round.iter().flat_map(orders).collect();
    let answered = queue.enqueue_all(&all).await;
    let alone = round.len() == 1;
    match answered {
        Ok(answers) => {
            let mut answers = answers.into_iter();
            for Pending { batch, reply, .. } in round {
                drop(reply.send(Ok(answers.by_ref().take(batch.len()).collect())));
            }
        }
        Err(QueueError::Corrupt(why)) if !alone => {
            tracing::warn!(error = why, "a merged write failed; each runs on its own");
            for one in round {
                let own: Vec<Order<'_>> = orders(&one).collect();
                let answer = queue.enqueue_all(&own).await;
                drop(one.reply.send(answer));
            }
        }
        Err(error) => {
            round.into_iter().for_each(|one| drop(one.reply.send(Err(error.clone()))));
        }
    }
}

fn orders(one: &Pending) -> impl Iterator<Item = Order<'_>> {
    one.batch.iter().map(|item| Order { item, taking: one.taking.as_ref() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(callers: usize, items: usize) -> Round {
        Round {
            all: (0..callers)
                .map(|_| Pending { batch: Vec::new(), taking: None, reply: oneshot::channel().0 })
                .collect(),
            items,
            bytes: 0,
        }
    }

    #[test]
    fn a_second_statement_is_for_crowds_and_for_where_the_first_takes_long() {
        let due = |callers, items, under_way, late| round(callers, items).is_due(under_way, late);
        assert!(due(1, 1, 0, false));
        assert!(due(1, 0, 0, false), "a caller who brought nothing is answered, too");
        assert!(!due(0, 0, 0, true));
        assert!(!due(5, 5, 1, false));
        assert!(due(5, 5, 1, true));
        assert!(due(CROWD, CROWD, 1, false));
        assert!(!due(0, 0, 1, true));
        assert!(!due(CROWD, ITEMS, WRITERS, true));
        let full = Round { bytes: BYTES, ..round(1, 1) };
        assert!(full.is_due(1, false) && !full.is_due(WRITERS, true));
    }
}
