//! The one writer: a thread that owns the only connection that writes.
//!
//! Its connection is on its thread, so a statement is a call. With a connection of sqlx each was a trip to that one's
//! thread and back, and while guests run a trip waits for a core twice: six statements of a small round took longer
//! to get there and back than to run.
//!
//! Requests that wait while a transaction commits go together into the next one, a *round*: the more callers, the
//! fewer commits. Each caller is answered after its round's commit.
//!
//! *Invariant:* an answer other than an error is durable.
//!
//! *Invariant:* one request cannot fail its neighbours: a round that fails by the fault of one of them is rolled
//! back and each runs in a transaction of its own.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::thread;
use std::time::Duration;

use postrider_core::{DeliveryId, LeaseKey};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::breakers::{self, Guard, Guarded};
use super::checkpoint::Checkpoints;
use super::chores::Chore;
use super::fault::Fault;
use super::leases::Extend;
use super::open::Clock;
use super::statement::execute;
use super::upkeep::SetNote;
use super::versions::VersionChore;
use super::{access, chores, intake, leases, settle, sql, upkeep, versions};
use crate::taking::Order;
use crate::{
    Claim, Enqueue, Enqueued, KeptDestination, Lease, Pruned, QueueError, Route, Settle, Slot,
    Sweep, Taken, Taking,
};

/// Requests that may wait; beyond it callers wait for room.
pub(super) const WAITING: usize = 256;
/// A round takes no more once it has so many items: a commit should not take long.
const ROUND_ITEMS: usize = 4_000;
/// Or so many bytes of content.
const ROUND_BYTES: usize = 8 << 20;

/// One caller's wish, and where its answer goes.
#[derive(Debug)]
pub(super) struct Pending<T, R> {
    pub(super) input: T,
    pub(super) reply: oneshot::Sender<Result<R, QueueError>>,
}

/// Everything that writes.
#[derive(Debug)]
pub(super) enum Request {
    Enqueue(Pending<Vec<Enqueue>, Vec<Enqueued>>),
    Take(Box<Pending<(Enqueue, Taking), Taken>>),
    FanOut(Pending<Vec<Route>, u64>),
    Claim(Pending<Claim, Vec<Lease>>),
    ClaimOverdue(Pending<Sweep, Vec<Lease>>),
    Extend(Pending<Extend, Vec<LeaseKey>>),
    Settle(Pending<Vec<Settle>, Vec<LeaseKey>>),
    Redeliver(Pending<Vec<DeliveryId>, u64>),
    Cancel(Pending<Vec<DeliveryId>, u64>),
    PutAway(Pending<Vec<DeliveryId>, u64>),
    Keep(Pending<Vec<KeptDestination>, ()>),
    BuryOrphans(Pending<Duration, u64>),
    Chore(Pending<Chore, Pruned>),
    Guard(Pending<Guard, Guarded>),
    Access(Pending<access::Write, bool>),
    Version(Pending<VersionChore, bool>),
    StateSet(Pending<SetNote, bool>),
    StateRemove(Pending<Slot, ()>),
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) connection: Connection,
    pub(super) clock: Clock,
    pub(super) checkpoints: Checkpoints,
    /// Held as long as the connection is open.
    pub(super) lock: File,
}

impl Writer {
    /// Starts its thread, which ends when it is told to close or nobody can ask any more.
    pub(super) fn start(self) -> io::Result<()> {
        let thread = thread::Builder::new().name("queue".to_owned());
        thread.spawn(|| self.run()).map(drop)
    }

    fn run(mut self) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = self.requests.blocking_recv() else { break };
            let mut round = Round::default();
            closing = round.add(first);
            while closing.is_none() && round.has_room() {
                let Ok(next) = self.requests.try_recv() else { break };
                closing = round.add(next);
            }
            self.write(round);
        }
        self.checkpoints.end();
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the queue's database did not close cleanly");
        }
        drop(self.lock);
        if let Some(closed) = closing {
            // Nobody may be waiting any more.
            closed.send(()).ok();
        }
    }

    fn write(&mut self, round: Round) {
        match self.transact(&round) {
            Ok(answers) => {
                self.checkpoints.committed(round.items, round.bytes);
                round.answer(answers);
            }
            Err(fault) if fault.is_own() && round.requests > 1 => {
                tracing::warn!(error = %fault, "a merged write failed; each runs on its own");
                for single in round.split() {
                    match self.transact(&single) {
                        Ok(answers) => single.answer(answers),
                        Err(fault) => single.refuse(&fault),
                    }
                }
            }
            Err(fault) => round.refuse(&fault),
        }
    }

    /// One round in one transaction.
    fn transact(&self, round: &Round) -> Result<Answers, Fault> {
        if round.requests == 0 {
            return Ok(Answers::default());
        }
        let done = self.commit(round);
        // It rolls back by itself when the disk is full.
        if done.is_err()
            && !self.connection.is_autocommit()
            && let Err(error) = execute(&self.connection, sql::ROLLBACK, [])
        {
            tracing::error!(%error, "a write that failed could not be rolled back");
        }
        done
    }

    fn commit(&self, round: &Round) -> Result<Answers, Fault> {
        execute(&self.connection, sql::BEGIN, [])?;
        let now = self.clock.now();
        let mut seen = self.connection.prepare_cached(sql::SEEN)?;
        let (holds, waits) = seen.query_one([now], |row| <(bool, bool)>::try_from(row))?;
        let seen = Seen { holds, waits: waits || round.is_keyed() };
        let answers = round.apply(&self.connection, seen, now)?;
        execute(&self.connection, sql::COMMIT, [])?;
        Ok(answers)
    }
}

/// What the beginning of a round sees.
#[derive(Clone, Copy)]
struct Seen {
    /// Nothing is sent to some destination.
    holds: bool,
    /// Something waits for its key's head, or will by this round.
    waits: bool,
}

/// Requests of one transaction, by kind: those of a kind share a statement.
#[derive(Debug, Default)]
struct Round {
    requests: usize,
    items: usize,
    bytes: usize,
    enqueue: Vec<Pending<Vec<Enqueue>, Vec<Enqueued>>>,
    take: Vec<Pending<(Enqueue, Taking), Taken>>,
    fan_out: Vec<Pending<Vec<Route>, u64>>,
    claim: Vec<Pending<Claim, Vec<Lease>>>,
    claim_overdue: Vec<Pending<Sweep, Vec<Lease>>>,
    extend: Vec<Pending<Extend, Vec<LeaseKey>>>,
    settle: Vec<Pending<Vec<Settle>, Vec<LeaseKey>>>,
    redeliver: Vec<Pending<Vec<DeliveryId>, u64>>,
    cancel: Vec<Pending<Vec<DeliveryId>, u64>>,
    put_away: Vec<Pending<Vec<DeliveryId>, u64>>,
    keep: Vec<Pending<Vec<KeptDestination>, ()>>,
    bury_orphans: Vec<Pending<Duration, u64>>,
    chores: Vec<Pending<Chore, Pruned>>,
    guards: Vec<Pending<Guard, Guarded>>,
    access: Vec<Pending<access::Write, bool>>,
    versions: Vec<Pending<VersionChore, bool>>,
    state_set: Vec<Pending<SetNote, bool>>,
    state_remove: Vec<Pending<Slot, ()>>,
}

/// Their answers, in the same order.
#[derive(Debug, Default)]
struct Answers {
    enqueue: Vec<Vec<Enqueued>>,
    take: Vec<Taken>,
    fan_out: Vec<u64>,
    claim: Vec<Vec<Lease>>,
    claim_overdue: Vec<Vec<Lease>>,
    extend: Vec<Vec<LeaseKey>>,
    settle: Vec<Vec<LeaseKey>>,
    redeliver: Vec<u64>,
    cancel: Vec<u64>,
    put_away: Vec<u64>,
    keep: Vec<()>,
    bury_orphans: Vec<u64>,
    chores: Vec<Pruned>,
    guards: Vec<Guarded>,
    access: Vec<bool>,
    versions: Vec<bool>,
    state_set: Vec<Result<bool, QueueError>>,
    state_remove: Vec<()>,
}

impl Round {
    /// Whether anything with a key comes in.
    fn is_keyed(&self) -> bool {
        let enqueued = self.enqueue.iter().flat_map(|pending| &pending.input);
        let taken = self.take.iter().map(|pending| &pending.input.0);
        let mut targets = enqueued.chain(taken).flat_map(|item| &item.destinations);
        targets.any(|target| target.order_key.is_some())
    }

    fn has_room(&self) -> bool {
        self.items < ROUND_ITEMS && self.bytes < ROUND_BYTES
    }

    /// Takes a request in; answers the sender of one to close.
    fn add(&mut self, request: Request) -> Option<oneshot::Sender<()>> {
        self.requests += 1;
        self.items += 1;
        match request {
            Request::Enqueue(pending) => {
                self.items += pending.input.len();
                let sizes = pending.input.iter().map(|item| item.notification.content.len());
                self.bytes += sizes.sum::<usize>();
                self.enqueue.push(pending);
            }
            Request::Take(pending) => {
                self.bytes += pending.input.0.notification.content.len();
                self.take.push(*pending);
            }
            Request::FanOut(pending) => {
                self.items += pending.input.len();
                self.fan_out.push(pending);
            }
            Request::Claim(pending) => self.claim.push(pending),
            Request::ClaimOverdue(pending) => self.claim_overdue.push(pending),
            Request::Extend(pending) => {
                self.items += pending.input.held.len();
                self.extend.push(pending);
            }
            Request::Settle(pending) => {
                self.items += pending.input.len();
                self.settle.push(pending);
            }
            Request::Redeliver(pending) => self.redeliver.push(pending),
            Request::Cancel(pending) => self.cancel.push(pending),
            Request::PutAway(pending) => self.put_away.push(pending),
            Request::Keep(pending) => self.keep.push(pending),
            Request::BuryOrphans(pending) => self.bury_orphans.push(pending),
            Request::Chore(pending) => self.chores.push(pending),
            Request::Guard(pending) => self.guards.push(pending),
            Request::Access(pending) => self.access.push(pending),
            Request::Version(pending) => self.versions.push(pending),
            Request::StateSet(pending) => self.state_set.push(pending),
            Request::StateRemove(pending) => self.state_remove.push(pending),
            Request::Close(closed) => {
                self.requests -= 1;
                return Some(closed);
            }
        }
        None
    }

    /// Claims come last, so that they see what the round made due.
    fn apply(
        &self,
        connection: &Connection,
        Seen { holds, waits }: Seen,
        now: i64,
    ) -> Result<Answers, Fault> {
        let (enqueue, take) = self.enqueue(connection, holds, now)?;
        let mut answers = Answers {
            enqueue,
            take,
            extend: self.extend(connection, now)?,
            settle: self.settle(connection, waits, now)?,
            ..Answers::default()
        };
        for Pending { input, .. } in &self.fan_out {
            answers.fan_out.push(intake::fan_out(connection, input, now)?);
        }
        for Pending { input, .. } in &self.redeliver {
            answers.redeliver.push(upkeep::redeliver(connection, input, now)?);
        }
        for Pending { input, .. } in &self.cancel {
            answers.cancel.push(upkeep::cancel(connection, input, now)?);
        }
        for Pending { input, .. } in &self.put_away {
            answers.put_away.push(upkeep::put_away(connection, input)?);
        }
        for Pending { input, .. } in &self.keep {
            answers.keep.push(upkeep::keep(connection, input, now)?);
        }
        for Pending { input, .. } in &self.bury_orphans {
            answers.bury_orphans.push(upkeep::bury_orphans(connection, *input, now)?);
        }
        for Pending { input, .. } in &self.chores {
            answers.chores.push(chores::run(connection, input, now)?);
        }
        for Pending { input, .. } in &self.access {
            answers.access.push(access::run(connection, input, now)?);
        }
        for Pending { input, .. } in &self.versions {
            answers.versions.push(versions::run(connection, input, now)?);
        }
        for Pending { input, .. } in &self.state_set {
            answers.state_set.push(upkeep::state_set(connection, input, now)?);
        }
        for Pending { input, .. } in &self.state_remove {
            answers.state_remove.push(upkeep::state_remove(connection, input)?);
        }
        for Pending { input, .. } in &self.guards {
            answers.guards.push(breakers::run(connection, input, now)?);
        }
        for Pending { input, .. } in &self.claim_overdue {
            answers.claim_overdue.push(leases::claim_overdue(connection, input, now)?);
        }
        for Pending { input, .. } in &self.claim {
            answers.claim.push(leases::claim(connection, input, now)?);
        }
        Ok(answers)
    }

    fn enqueue(
        &self,
        connection: &Connection,
        holds: bool,
        now: i64,
    ) -> Result<(Vec<Vec<Enqueued>>, Vec<Taken>), Fault> {
        let plain = self.enqueue.iter().flat_map(|pending| &pending.input).map(Order::plain);
        let taken = self
            .take
            .iter()
            .map(|Pending { input: (item, taking), .. }| Order { item, taking: Some(taking) });
        let orders: Vec<Order<'_>> = plain.chain(taken).collect();
        if orders.is_empty() {
            return Ok((self.enqueue.iter().map(|_| Vec::new()).collect(), Vec::new()));
        }
        let mut answers = intake::enqueue(connection, &orders, holds, now)?.into_iter();
        let of_one = |pending: &Pending<Vec<Enqueue>, _>| {
            let own = answers.by_ref().take(pending.input.len());
            own.map(|taken| taken.enqueued).collect()
        };
        let enqueued = self.enqueue.iter().map(of_one).collect();
        Ok((enqueued, answers.collect()))
    }

    fn extend(&self, connection: &Connection, now: i64) -> Result<Vec<Vec<LeaseKey>>, Fault> {
        let batch: Vec<&Extend> = self.extend.iter().map(|pending| &pending.input).collect();
        let lost = leases::extend(connection, &batch, now)?;
        let of_one = |extend: &&Extend| {
            extend.held.iter().copied().filter(|key| lost.contains(key)).collect()
        };
        Ok(batch.iter().map(of_one).collect())
    }

    /// Of one lease's settlements the first counts: it ends the lease.
    fn settle(
        &self,
        connection: &Connection,
        keyed: bool,
        now: i64,
    ) -> Result<Vec<Vec<LeaseKey>>, Fault> {
        let all = self.settle.iter().flat_map(|pending| &pending.input);
        let mut seen = HashSet::new();
        let first: Vec<&Settle> = all.filter(|item| seen.insert(item.key)).collect();
        let lost = settle::settle(connection, &first, keyed, now)?;
        let of_one = |pending: &Pending<Vec<Settle>, _>| {
            let keys = pending.input.iter().map(|item| item.key);
            keys.filter(|key| !seen.remove(key) || lost.contains(key)).collect()
        };
        Ok(self.settle.iter().map(of_one).collect())
    }

    fn answer(self, answers: Answers) {
        reply(self.enqueue, answers.enqueue);
        reply(self.take, answers.take);
        reply(self.fan_out, answers.fan_out);
        reply(self.claim, answers.claim);
        reply(self.claim_overdue, answers.claim_overdue);
        reply(self.extend, answers.extend);
        reply(self.settle, answers.settle);
        reply(self.redeliver, answers.redeliver);
        reply(self.cancel, answers.cancel);
        reply(self.put_away, answers.put_away);
        reply(self.keep, answers.keep);
        reply(self.bury_orphans, answers.bury_orphans);
        reply(self.chores, answers.chores);
        reply(self.guards, answers.guards);
        reply(self.access, answers.access);
        reply(self.versions, answers.versions);
        for (pending, answer) in self.state_set.into_iter().zip(answers.state_set) {
            drop(pending.reply.send(answer));
        }
        reply(self.state_remove, answers.state_remove);
    }

    fn refuse(self, fault: &Fault) {
        refuse(self.enqueue, fault);
        refuse(self.take, fault);
        refuse(self.fan_out, fault);
        refuse(self.claim, fault);
        refuse(self.claim_overdue, fault);
        refuse(self.extend, fault);
        refuse(self.settle, fault);
        refuse(self.redeliver, fault);
        refuse(self.cancel, fault);
        refuse(self.put_away, fault);
        refuse(self.keep, fault);
        refuse(self.bury_orphans, fault);
        refuse(self.chores, fault);
        refuse(self.guards, fault);
        refuse(self.access, fault);
        refuse(self.versions, fault);
        refuse(self.state_set, fault);
        refuse(self.state_remove, fault);
    }

    /// The same requests, each in a round of its own.
    fn split(self) -> impl Iterator<Item = Self> {
        let requests = (self.enqueue.into_iter().map(Request::Enqueue))
            .chain(self.take.into_iter().map(Box::new).map(Request::Take))
            .chain(self.extend.into_iter().map(Request::Extend))
            .chain(self.settle.into_iter().map(Request::Settle))
            .chain(self.fan_out.into_iter().map(Request::FanOut))
            .chain(self.redeliver.into_iter().map(Request::Redeliver))
            .chain(self.cancel.into_iter().map(Request::Cancel))
            .chain(self.put_away.into_iter().map(Request::PutAway))
            .chain(self.keep.into_iter().map(Request::Keep))
            .chain(self.bury_orphans.into_iter().map(Request::BuryOrphans))
            .chain(self.chores.into_iter().map(Request::Chore))
            .chain(self.guards.into_iter().map(Request::Guard))
            .chain(self.access.into_iter().map(Request::Access))
            .chain(self.versions.into_iter().map(Request::Version))
            .chain(self.state_set.into_iter().map(Request::StateSet))
            .chain(self.state_remove.into_iter().map(Request::StateRemove))
            .chain(self.claim_overdue.into_iter().map(Request::ClaimOverdue))
            .chain(self.claim.into_iter().map(Request::Claim));
        requests.map(|request| {
            let mut single = Self::default();
            // Never a request to close, so there is nobody to tell.
            drop(single.add(request));
            single
        })
    }
}

fn reply<T, R>(pending: Vec<Pending<T, R>>, answers: Vec<R>) {
    for (pending, answer) in pending.into_iter().zip(answers) {
        // A caller that is gone wants no answer.
        drop(pending.reply.send(Ok(answer)));
    }
}

fn refuse<T, R>(pending: Vec<Pending<T, R>>, fault: &Fault) {
    for pending in pending {
        drop(pending.reply.send(Err(fault.describe())));
    }
}
