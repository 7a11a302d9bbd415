//! Enqueue and fan-out.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use postrider_core::{HostId, NotificationId, Schedule, TraceContext};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::moment::Moment;
use super::order::Keys;
use super::{Again, LONG_PATIENCE, PATIENCE, PostgresQueue, fault, rows, sql};
use crate::digest::digest;
use crate::taking::{Order, wave};
use crate::{Enqueue, Enqueued, Lease, QueueError, Route, Taken, Target, outbox, target};

/// What is stored under a key or an id.
#[derive(Clone, Copy)]
struct Known {
    id: NotificationId,
    /// None where retention has taken the content that it would be made of.
    digest: Option<[u8; 32]>,
    deliveries: u32,
}

/// What was there before, by id and by key.
#[derive(Default)]
struct Register {
    ids: HashMap<NotificationId, Known>,
    keys: HashMap<String, Known>,
}

/// The columns of [`sql::STORE`].
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    kinds: Vec<&'a str>,
    sources: Vec<&'a str>,
    subjects: Vec<Option<&'a str>>,
    labels: Vec<String>,
    content_types: Vec<&'a str>,
    texts: Vec<Option<&'a str>>,
    bytes: Vec<Option<&'a [u8]>>,
    keys: Vec<Option<&'a str>>,
    digests: Vec<Option<Vec<u8>>>,
    times: Vec<Moment>,
    deliveries: Vec<i32>,
    parents: Vec<Option<&'a str>>,
    states: Vec<Option<&'a str>>,
    expires: Vec<Option<i64>>,
    delivered_ids: Vec<Uuid>,
    destinations: Vec<&'a str>,
    delays: Vec<i64>,
    delivery_expires: Vec<Option<i64>>,
    order_keys: Vec<Option<&'a str>>,
    /// Whether a delivery is to be leased, where one is: who by, and for how long.
    taken: Vec<bool>,
    taker: Option<(HostId, Duration)>,
    /// Something in it has a schedule or a key.
    scheduled: bool,
}

/// What was not there before, and what was leased of it.
type New = HashMap<Uuid, Vec<Lease>>;

impl PostgresQueue {
    /// Stores and fans out. Within the batch, too, an id and an idempotency key count once: those that come again
    /// wait for a second wave, which finds the first one's.
    pub(super) async fn enqueue_all(&self, batch: &[Order<'_>]) -> Result<Vec<Taken>, QueueError> {
        let mut answers: Vec<Option<Taken>> = batch.iter().map(|_| None).collect();
        while answers.iter().any(Option::is_none) {
            let wave = wave(batch, &answers);
            let orders: Vec<Order<'_>> = wave.iter().map(|(_, order)| *order).collect();
            let mut stored = self.store(&orders).await?;
            let others = orders.iter().map(|order| order.item);
            let others: Vec<&Enqueue> =
                others.filter(|item| !stored.contains_key(&item.notification.id.0)).collect();
            let known = self.known(&others).await?;
            for (place, Order { item, .. }) in wave {
                // One that is neither stored nor known met another that went away again: it is asked anew.
                let answer = match stored.remove(&item.notification.id.0) {
                    Some(leases) => Some(Taken { enqueued: stored_answer(item), leases }),
                    None => known.find(item).map(|known| Taken::none(known.compare(item))),
                };
                if let Some(slot) = answers.get_mut(place) {
                    *slot = answer;
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Answers the ids that were new, and the leases on those that were to be taken, and could be. Where one of them has
    /// a schedule, the claims take them all.
    async fn store(&self, orders: &[Order<'_>]) -> Result<New, QueueError> {
        let c = Columns::of(orders);
        let taker = c.taker.filter(|_| !c.scheduled);
        let store = || {
            let statement = match (c.scheduled, taker) {
                (true, _) => sql::STORE_SCHEDULED,
                (false, Some(_)) => sql::STORE_TAKEN,
                (false, None) => sql::STORE,
            };
            let store = sqlx::query(statement)
                .bind(&c.ids)
                .bind(&c.kinds)
                .bind(&c.sources)
                .bind(&c.subjects)
                .bind(&c.labels)
                .bind(&c.content_types)
                .bind(&c.texts)
                .bind(&c.bytes)
                .bind(&c.keys)
                .bind(&c.digests)
                .bind(&c.times)
                .bind(&c.deliveries)
                .bind(&c.parents)
                .bind(&c.states)
                .bind(&c.delivered_ids)
                .bind(&c.destinations);
            let store = match (c.scheduled, taker) {
                (true, _) => store
                    .bind(&c.expires)
                    .bind(&c.delays)
                    .bind(&c.delivery_expires)
                    .bind(&c.order_keys),
                (false, Some((host, lease))) => {
                    store.bind(&c.taken).bind(host.0).bind(super::milliseconds(lease))
                }
                (false, None) => store,
            };
            store.fetch_all(&self.pool)
        };
        // Sent again after its answer was lost, it would take its own rows for another's.
        let rows: Vec<PgRow> = self.call(PATIENCE, Again::No, store).await?;
        let of: HashMap<Uuid, Order<'_>> =
            orders.iter().map(|order| (order.item.notification.id.0, *order)).collect();
        let mut new = New::with_capacity(orders.len());
        for row in &rows {
            let read = read_stored(row, &of, taker.is_some());
            let (id, lease) = read.map_err(|error| fault::describe(&error))?;
            new.entry(id).or_default().extend(lease);
        }
        let targets = orders.iter().flat_map(|order| &order.item.destinations);
        self.promote(Keys::of(targets)).await;
        Ok(new)
    }

    async fn known(&self, items: &[&Enqueue]) -> Result<Register, QueueError> {
        let mut register = Register::default();
        if items.is_empty() {
            return Ok(register);
        }
        let ids: Vec<Uuid> = items.iter().map(|item| item.notification.id.0).collect();
        let keys: Vec<&str> =
            items.iter().filter_map(|item| item.idempotency_key.as_deref()).collect();
        let known = || sqlx::query(sql::KNOWN).bind(&ids).bind(&keys).fetch_all(&self.pool);
        for row in self.call(PATIENCE, Again::Yes, known).await? {
            register.read(&row).map_err(|error| fault::describe(&error))?;
        }
        Ok(register)
    }

    /// Fans producers' rows out, or sets them aside. Answers the number of deliveries made.
    pub(super) async fn fan_out_all(&self, routes: &[Route]) -> Result<u64, QueueError> {
        let mut seen = HashSet::new();
        let (mut rows, mut counts, mut malformed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut of, mut destinations) = (Vec::new(), Vec::new());
        let (mut keys, mut within) = (Vec::new(), Vec::new());
        // The first word on a row counts, as it would in two calls.
        for route in routes.iter().filter(|route| seen.insert(route.row)) {
            rows.push(route.row);
            malformed.push(route.destinations.as_ref().err().map(|reason| super::text(reason)));
            let targets = route.destinations.as_ref().ok().map(|all| target::once(all));
            let count = targets.as_ref().map(|all| i32::try_from(all.len()).unwrap_or(i32::MAX));
            counts.push(count);
            for target in targets.into_iter().flatten() {
                of.push(route.row);
                destinations.push(&*target.destination);
                keys.push(target.order_key.as_deref());
                within.push(target.expires_after.map(super::milliseconds));
            }
        }
        let fan_out = || {
            sqlx::query_scalar(sql::FAN_OUT)
                .bind(&rows)
                .bind(&counts)
                .bind(&malformed)
                .bind(&of)
                .bind(&destinations)
                .bind(&keys)
                .bind(&within)
                .fetch_one(&self.pool)
        };
        let made = self.call(LONG_PATIENCE, Again::Yes, fan_out).await.map(i64::cast_unsigned);
        let targets = routes.iter().flat_map(|route| &route.destinations).flatten();
        self.promote(Keys::of(targets)).await;
        made
    }
}

/// What is stored under a key, for a producer who uses it.
pub(crate) async fn known_under(
    connection: &mut PgConnection,
    key: &str,
) -> Result<Option<outbox::Known>, sqlx::Error> {
    let known = sqlx::query(sql::KNOWN).bind(Vec::<Uuid>::new()).bind(vec![key]);
    let row = known.fetch_optional(connection).await?;
    let known = row.as_ref().map(Known::read).transpose()?;
    Ok(known.map(|known| (known.id, known.digest)))
}

/// A notification that was stored, and a lease on one of its deliveries.
fn read_stored(
    row: &PgRow,
    orders: &HashMap<Uuid, Order<'_>>,
    taking: bool,
) -> Result<(Uuid, Option<Lease>), sqlx::Error> {
    let id: Uuid = row.try_get("id")?;
    let Some(order) = orders.get(&id).filter(|_| taking) else { return Ok((id, None)) };
    let delivery: Option<i64> = row.try_get("delivery")?;
    let lease = match delivery {
        Some(delivery) => Some(order.lease(row.try_get("destination")?, delivery)),
        None => None,
    };
    Ok((id, lease))
}

fn stored_answer(item: &Enqueue) -> Enqueued {
    let targets = target::once(&item.destinations);
    let deliveries = u32::try_from(targets.len()).unwrap_or(u32::MAX);
    Enqueued::Stored { id: item.notification.id, deliveries }
}

impl Register {
    fn read(&mut self, row: &PgRow) -> Result<(), sqlx::Error> {
        let known = Known::read(row)?;
        self.ids.insert(known.id, known);
        if let Some(key) = row.try_get("idempotency_key")? {
            self.keys.insert(key, known);
        }
        Ok(())
    }

    fn find(&self, item: &Enqueue) -> Option<&Known> {
        let by_key = item.idempotency_key.as_ref().and_then(|key| self.keys.get(key));
        by_key.or_else(|| self.ids.get(&item.notification.id))
    }
}

impl Known {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let record = rows::notification_record(row)?;
        let mut notification = record.notification;
        let kept: Option<Vec<u8>> = row.try_get("digest")?;
        let digest = match kept.and_then(|kept| kept.try_into().ok()) {
            Some(kept) => Some(kept),
            None if record.pruned => None,
            None => {
                notification.content = rows::content(row)?;
                Some(digest(&notification))
            }
        };
        let deliveries = record.deliveries.unwrap_or(0);
        Ok(Self { id: notification.id, digest, deliveries })
    }

    fn compare(&self, item: &Enqueue) -> Enqueued {
        match self.digest.is_none_or(|kept| kept == digest(&item.notification)) {
            true => Enqueued::Existing { id: self.id, deliveries: self.deliveries },
            false => Enqueued::Conflict { id: self.id },
        }
    }
}

impl<'a> Columns<'a> {
    fn of(orders: &[Order<'a>]) -> Self {
        let mut columns = Self::default();
        for order in orders {
            columns.push(*order);
        }
        columns
    }

    fn push(&mut self, order: Order<'a>) {
        let item = order.item;
        let n = &item.notification;
        // Text with a NUL in it is none to PostgreSQL.
        let text = std::str::from_utf8(&n.content).ok().filter(|text| !text.contains('\0'));
        let key = item.idempotency_key.as_deref();
        let targets = target::once(&item.destinations);
        self.ids.push(n.id.0);
        self.kinds.push(&n.kind);
        self.sources.push(&n.source);
        self.subjects.push(n.subject.as_deref());
        self.labels.push(serde_json::json!(n.labels).to_string());
        self.content_types.push(&n.content_type);
        self.texts.push(text);
        self.bytes.push(text.is_none().then_some(&*n.content));
        self.keys.push(key);
        self.digests.push(key.map(|_| digest(n).to_vec()));
        self.times.push(Moment::from_millis(n.time.as_millisecond()));
        self.deliveries.push(i32::try_from(targets.len()).unwrap_or(i32::MAX));
        self.parents.push(n.trace.as_ref().map(TraceContext::parent));
        self.states.push(n.trace.as_ref().and_then(TraceContext::state));
        self.expires.push(item.schedule.expires_after.map(super::milliseconds));
        self.scheduled |= item.schedule != Schedule::default();
        for target in targets {
            self.push_target(order, target);
        }
    }

    fn push_target(&mut self, order: Order<'a>, target: &'a Target) {
        let item = order.item;
        let taker = order.taker(target);
        // A store has one host; should there be two, the second one's claims take what is its own.
        let taken = taker.is_some() && self.taker.is_none_or(|first| Some(first) == taker);
        self.taken.push(taken);
        self.taker = self.taker.or(taker);
        let within = [item.schedule.expires_after, target.expires_after];
        let within = within.into_iter().flatten().min();
        self.scheduled |= target.order_key.is_some() || within.is_some();
        self.delivered_ids.push(item.notification.id.0);
        self.destinations.push(&target.destination);
        self.delays.push(super::milliseconds(item.schedule.deliver_after));
        self.delivery_expires.push(within.map(super::milliseconds));
        self.order_keys.push(target.order_key.as_deref());
    }
}
