//! The one writer: a task that owns the only connection that writes.
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
use std::time::Duration;

use postrider_core::{DeliveryId, LeaseKey};
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use super::breakers::{self, Guard, Guarded};
use super::checkpoint::Checkpoints;
use super::chores::Chore;
use super::leases::Extend;
use super::open::Clock;
use super::upkeep::SetNote;
use super::versions::VersionChore;
use super::{access, chores, fault, intake, leases, settle, sql, upkeep, versions};
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
    pub(super) connection: SqliteConnection,
    pub(super) clock: Clock,
    pub(super) checkpoints: Checkpoints,
    /// Held as long as the connection is open.
    pub(super) lock: File,
}

impl Writer {
    /// Runs until it is told to close or nobody can ask any more.
    pub(super) async fn run(mut self) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = self.requests.recv().await else { break };
            let mut round = Round::default();
            closing = round.add(first);
            while closing.is_none() && round.has_room() {
                let Ok(next) = self.requests.try_recv() else { break };
                closing = round.add(next);
            }
            self.write(round).await;
        }
        self.checkpoints.end().await;
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the queue's database did not close cleanly");
        }
        drop(self.lock);
        if let Some(closed) = closing {
            // Nobody may be waiting any more.
            closed.send(()).ok();
        }
    }

    async fn write(&mut self, round: Round) {
        match self.transact(&round).await {
            Ok(answers) => {
                self.checkpoints.committed(round.items, round.bytes);
                round.answer(answers);
            }
            Err(error) if fault::is_own(&error) && round.requests > 1 => {
                tracing::warn!(%error, "a merged write failed; each runs on its own");
                for single in round.split() {
                    match self.transact(&single).await {
                        Ok(answers) => single.answer(answers),
                        Err(error) => single.refuse(&error),
                    }
                }
            }
            Err(error) => round.refuse(&error),
        }
    }

    /// One round in one transaction. The statements are plain ones, not sqlx's transaction: SQLite rolls back by
    /// itself when the disk is full, and sqlx would go on counting that transaction as open.
    async fn transact(&mut self, round: &Round) -> Result<Answers, sqlx::Error> {
        if round.requests == 0 {
            return Ok(Answers::default());
        }
        let done = self.commit(round).await;
        if done.is_err()
            && let Err(error) = sqlx::query(sql::ROLLBACK).execute(&mut self.connection).await
        {
            tracing::debug!(%error, "SQLite had rolled back by itself");
        }
        done
    }

    async fn commit(&mut self, round: &Round) -> Result<Answers, sqlx::Error> {
        // Where this waits for a producer's transaction, a hold that ends meanwhile costs one more look.
        let begin = sqlx::query_as(sql::BEGIN_ROUND).bind(self.clock.now());
        let (holds, waits): (bool, bool) = begin.fetch_one(&mut self.connection).await?;
        let seen = Seen { holds, waits: waits || round.is_keyed() };
        let answers = round.apply(&mut self.connection, seen, self.clock.now()).await?;
        sqlx::query(sql::COMMIT).execute(&mut self.connection).await?;
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
    async fn apply(
        &self,
        connection: &mut SqliteConnection,
        Seen { holds, waits }: Seen,
        now: i64,
    ) -> Result<Answers, sqlx::Error> {
        let (enqueue, take) = self.enqueue(connection, holds, now).await?;
        let mut answers = Answers {
            enqueue,
            take,
            extend: self.extend(connection, now).await?,
            settle: self.settle(connection, waits, now).await?,
            ..Answers::default()
        };
        for Pending { input, .. } in &self.fan_out {
            answers.fan_out.push(intake::fan_out(connection, input, now).await?);
        }
        for Pending { input, .. } in &self.redeliver {
            answers.redeliver.push(upkeep::redeliver(connection, input, now).await?);
        }
        for Pending { input, .. } in &self.cancel {
            answers.cancel.push(upkeep::cancel(connection, input, now).await?);
        }
        for Pending { input, .. } in &self.put_away {
            answers.put_away.push(upkeep::put_away(connection, input).await?);
        }
        for Pending { input, .. } in &self.keep {
            answers.keep.push(upkeep::keep(connection, input, now).await?);
        }
        for Pending { input, .. } in &self.bury_orphans {
            answers.bury_orphans.push(upkeep::bury_orphans(connection, *input, now).await?);
        }
        for Pending { input, .. } in &self.chores {
            answers.chores.push(chores::run(connection, input, now).await?);
        }
        for Pending { input, .. } in &self.access {
            answers.access.push(access::run(connection, input, now).await?);
        }
        for Pending { input, .. } in &self.versions {
            answers.versions.push(versions::run(connection, input, now).await?);
        }
        for Pending { input, .. } in &self.state_set {
            answers.state_set.push(upkeep::state_set(connection, input, now).await?);
        }
        for Pending { input, .. } in &self.state_remove {
            answers.state_remove.push(upkeep::state_remove(connection, input).await?);
        }
        for Pending { input, .. } in &self.guards {
            answers.guards.push(breakers::run(connection, input, now).await?);
        }
        for Pending { input, .. } in &self.claim_overdue {
            answers.claim_overdue.push(leases::claim_overdue(connection, input, now).await?);
        }
        for Pending { input, .. } in &self.claim {
            answers.claim.push(leases::claim(connection, input, now).await?);
        }
        Ok(answers)
    }

    async fn enqueue(
        &self,
        connection: &mut SqliteConnection,
        holds: bool,
        now: i64,
    ) -> Result<(Vec<Vec<Enqueued>>, Vec<Taken>), sqlx::Error> {
        let plain = self.enqueue.iter().flat_map(|pending| &pending.input).map(Order::plain);
        let taken = self
            .take
            .iter()
            .map(|Pending { input: (item, taking), .. }| Order { item, taking: Some(taking) });
        let orders: Vec<Order<'_>> = plain.chain(taken).collect();
        if orders.is_empty() {
            return Ok((self.enqueue.iter().map(|_| Vec::new()).collect(), Vec::new()));
        }
        let mut answers = intake::enqueue(connection, &orders, holds, now).await?.into_iter();
        let of_one = |pending: &Pending<Vec<Enqueue>, _>| {
            let own = answers.by_ref().take(pending.input.len());
            own.map(|taken| taken.enqueued).collect()
        };
        let enqueued = self.enqueue.iter().map(of_one).collect();
        Ok((enqueued, answers.collect()))
    }

    async fn extend(
        &self,
        connection: &mut SqliteConnection,
        now: i64,
    ) -> Result<Vec<Vec<LeaseKey>>, sqlx::Error> {
        let batch: Vec<&Extend> = self.extend.iter().map(|pending| &pending.input).collect();
        let lost = leases::extend(connection, &batch, now).await?;
        let of_one = |extend: &&Extend| {
            extend.held.iter().copied().filter(|key| lost.contains(key)).collect()
        };
        Ok(batch.iter().map(of_one).collect())
    }

    /// Of one lease's settlements the first counts: it ends the lease.
    async fn settle(
        &self,
        connection: &mut SqliteConnection,
        keyed: bool,
        now: i64,
    ) -> Result<Vec<Vec<LeaseKey>>, sqlx::Error> {
        let all = self.settle.iter().flat_map(|pending| &pending.input);
        let mut seen = HashSet::new();
        let first: Vec<&Settle> = all.filter(|item| seen.insert(item.key)).collect();
        let lost = settle::settle(connection, &first, keyed, now).await?;
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

    fn refuse(self, error: &sqlx::Error) {
        refuse(self.enqueue, error);
        refuse(self.take, error);
        refuse(self.fan_out, error);
        refuse(self.claim, error);
        refuse(self.claim_overdue, error);
        refuse(self.extend, error);
        refuse(self.settle, error);
        refuse(self.redeliver, error);
        refuse(self.cancel, error);
        refuse(self.put_away, error);
        refuse(self.keep, error);
        refuse(self.bury_orphans, error);
        refuse(self.chores, error);
        refuse(self.guards, error);
        refuse(self.access, error);
        refuse(self.versions, error);
        refuse(self.state_set, error);
        refuse(self.state_remove, error);
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

fn refuse<T, R>(pending: Vec<Pending<T, R>>, error: &sqlx::Error) {
    for pending in pending {
        drop(pending.reply.send(Err(fault::describe(error))));
    }
}
