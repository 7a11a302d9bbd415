//! Many callers' notifications in one statement: those that come while one is written go into the next together.
//!
//! A commit waits for the disk, and each statement costs the server more than the rows in it. So the more callers, the
//! fewer commits.
//!
//! *Invariant:* one caller cannot fail another: what fails together is tried again apart.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::{PATIENCE, PostgresQueue, fault};
use crate::taking::Order;
use crate::{Enqueue, QueueError, Taken, Taking};

/// Statements under way at once: one is being gathered and sent while another waits for the disk.
const WRITERS: usize = 2;
/// Callers that may wait for a statement; beyond it they wait for room.
const WAITING: usize = 1_024;
/// A statement takes no more once it has so many notifications or so many bytes of content.
const ITEMS: usize = 256;
const BYTES: usize = 4 << 20;

type Answer = Result<Vec<Taken>, QueueError>;

/// The way to those who write. They end when the last of it is dropped.
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
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..WRITERS {
            tokio::spawn(write_all(queue.clone(), receiver.clone()));
        }
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

async fn write_all(queue: PostgresQueue, pending: Arc<Mutex<mpsc::Receiver<Pending>>>) {
    loop {
        let round = {
            let mut pending = pending.lock().await;
            let Some(first) = pending.recv().await else { return };
            gather(first, &mut pending)
        };
        write(&queue, round).await;
    }
}

/// What waits, up to the size of a statement.
fn gather(first: Pending, pending: &mut mpsc::Receiver<Pending>) -> Vec<Pending> {
    let size = |one: &Pending| -> (usize, usize) {
        (one.batch.len(), one.batch.iter().map(|item| item.notification.content.len()).sum())
    };
    let (mut items, mut bytes) = size(&first);
    let mut round = vec![first];
    while items < ITEMS && bytes < BYTES {
        let Ok(next) = pending.try_recv() else { break };
        let (more, larger) = size(&next);
        (items, bytes) = (items + more, bytes + larger);
        round.push(next);
    }
    round
}

async fn write(queue: &PostgresQueue, round: Vec<Pending>) {
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
