//! Enqueue and fan-out.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use postrider_core::{HostId, Notification, NotificationId, TraceContext};
use rusqlite::Connection;
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use super::fault::Fault;
use super::order::Keys;
use super::rows::{Columns, Record};
use super::statement::{Bound, Done, execute, records, value};
use super::{json, rows, sql};
use crate::digest::digest;
use crate::taking::{Order, wave};
use crate::{Enqueue, Enqueued, Lease, Route, Taken, Target, millis, outbox, target};

/// A row and where it goes, as [`sql::DELIVER_SCHEDULED`] takes it.
#[derive(Serialize)]
struct Scheduled<'a> {
    row: i64,
    due: i64,
    targets: Vec<ScheduledTarget<'a>>,
}

#[derive(Serialize)]
struct ScheduledTarget<'a> {
    destination: &'a str,
    key: Option<&'a str>,
    expires: Option<i64>,
}

/// The same as [`sql::FAN_OUT`] and [`sql::FANNED_OUT`] take it.
#[derive(Serialize)]
struct Routed<'a> {
    row: i64,
    targets: Vec<RoutedTarget<'a>>,
    deliveries: Option<usize>,
    malformed: Option<&'a str>,
}

#[derive(Serialize)]
struct RoutedTarget<'a> {
    destination: &'a str,
    key: Option<&'a str>,
    /// The destination's own bound in milliseconds from arrival.
    within: Option<i64>,
}

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

/// Stores and fans out; `holds`: whether nothing is sent to some destination. Within the batch, too, an id and an
/// idempotency key count once: those that come again wait for a second wave, which finds the first one's.
pub(super) fn enqueue(
    connection: &Connection,
    orders: &[Order<'_>],
    holds: bool,
    now: i64,
) -> Result<Vec<Taken>, Fault> {
    let mut answers: Vec<Option<Taken>> = orders.iter().map(|_| None).collect();
    while answers.iter().any(Option::is_none) {
        let wave = wave(orders, &answers);
        let all: Vec<Order<'_>> = wave.iter().map(|(_, order)| *order).collect();
        let (rows, known) = store(connection, &all, now)?;
        let is_new = |order: &Order<'_>| rows.contains_key(&order.item.notification.id);
        let new: Vec<Order<'_>> = all.into_iter().filter(is_new).collect();
        let mut leases = deliver(connection, &new, &rows, holds, now)?;
        for (place, order) in wave {
            let answer = match is_new(&order) {
                true => Taken {
                    enqueued: stored_answer(order.item),
                    leases: leases.remove(&order.item.notification.id).unwrap_or_default(),
                },
                // It met an id or a key, and nobody else writes.
                false => Taken::none(known.find(order.item).ok_or_else(vanished)?),
            };
            if let Some(slot) = answers.get_mut(place) {
                *slot = Some(answer);
            }
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

/// What met an id or a key that nobody has.
fn vanished() -> Fault {
    Fault::Miscounted("a notification that is stored already was not found".to_owned())
}

fn stored_answer(item: &Enqueue) -> Enqueued {
    Enqueued::Stored { id: item.notification.id, deliveries: deliveries_of(item) }
}

fn deliveries_of(item: &Enqueue) -> u32 {
    u32::try_from(target::once(&item.destinations).len()).unwrap_or(u32::MAX)
}

/// What is stored under a key, for a producer who uses it.
pub(crate) async fn known_under(
    connection: &mut SqliteConnection,
    key: &str,
) -> Result<Option<outbox::Known>, sqlx::Error> {
    let known = sqlx::query(sql::KNOWN).bind("[]").bind(json(&[key])?);
    let row = known.fetch_optional(connection).await?;
    let known = row.as_ref().map(Known::read).transpose()?;
    Ok(known.map(|known| (known.id, known.digest)))
}

/// Stores what is new; answers the rows of that, and what was there before, by id or by key.
fn store(
    connection: &Connection,
    wave: &[Order<'_>],
    now: i64,
) -> Result<(HashMap<NotificationId, i64>, Register), Fault> {
    let mut rows = HashMap::with_capacity(wave.len());
    let mut register = Register::default();
    for part in sql::STORE.parts(connection, wave) {
        let (store, part) = part?;
        match insert(store, part, now) {
            Ok(new) => rows.extend(new),
            Err(fault) if fault.is_unique_violation() => {
                register.add(connection, part)?;
                let new = part.iter().copied().filter(|order| !register.knows(order.item));
                for part in sql::STORE.parts(connection, &new.collect::<Vec<_>>()) {
                    let (store, part) = part?;
                    rows.extend(insert(store, part, now)?);
                }
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok((rows, register))
}

/// Answers the rows, all of them new.
fn insert(
    mut store: Bound<'_>,
    part: &[Order<'_>],
    now: i64,
) -> Result<Vec<(NotificationId, i64)>, Fault> {
    store.bind(now)?;
    for order in part {
        bind(&mut store, order.item, now)?;
    }
    let numbers = numbers(&store.execute()?)?;
    Ok(part.iter().map(|order| order.item.notification.id).zip(numbers).collect())
}

/// A notification's parameters of [`sql::STORE`].
fn bind(store: &mut Bound<'_>, item: &Enqueue, now: i64) -> Result<(), Fault> {
    let notification = &item.notification;
    let key = item.idempotency_key.as_deref();
    let (text, bytes) = match text(&notification.content) {
        Some(text) => (Some(text), None),
        None => (None, Some(&notification.content[..])),
    };
    let trace = notification.trace.as_ref();
    store
        .bind(notification.id.to_string())?
        .bind(notification.kind.as_str())?
        .bind(notification.source.as_str())?
        .bind(notification.subject.as_deref())?
        .bind(json(&notification.labels)?)?
        .bind(notification.content_type.as_str())?
        .bind(text)?
        .bind(bytes)?
        .bind(key)?
        .bind(key.map(|_| digest(notification)))?
        .bind(notification.time.as_millisecond())?
        .bind(deliveries_of(item))?
        .bind(item.schedule.expires_after.map(|after| now + millis::of(after)))?
        .bind(trace.map(TraceContext::parent))?
        .bind(trace.and_then(TraceContext::state))?;
    Ok(())
}

/// The numbers of what one statement inserted, from the first to the last. In a transaction nobody else takes one, and
/// SQLite gives each new row the number after the highest (<https://sqlite.org/autoinc.html>).
fn numbers(done: &Done) -> Result<RangeInclusive<i64>, Fault> {
    let many = i64::try_from(done.rows).map_err(|error| Fault::Value(error.to_string()))?;
    // Where nothing was inserted the number is of an older statement.
    let last = if many == 0 { 0 } else { done.last };
    Ok(last - many + 1..=last)
}

/// Answers the leases on those that were to be taken, and could be; `holds`: whether nothing is sent to some destination.
fn deliver(
    connection: &Connection,
    new: &[Order<'_>],
    rows: &HashMap<NotificationId, i64>,
    holds: bool,
    now: i64,
) -> Result<HashMap<NotificationId, Vec<Lease>>, Fault> {
    let routed = new.iter().filter_map(|order| {
        let targets = target::once(&order.item.destinations);
        let row = *rows.get(&order.item.notification.id)?;
        (!targets.is_empty()).then_some((row, *order, targets))
    });
    let routed: Vec<(i64, Order<'_>, Vec<&Target>)> = routed.collect();
    let plain = routed.iter().all(|(_, order, _)| order.item.is_immediate());
    if routed.is_empty() {
        return Ok(HashMap::new());
    }
    if plain {
        return deliver_at_once(connection, &routed, holds && is_any_taken(&routed), now);
    }
    // Where one among many has a schedule, the claims take them all.
    let scheduled = routed.iter().map(|(row, order, to)| scheduled(*row, order.item, to, now));
    let scheduled = json(&scheduled.collect::<Vec<_>>())?;
    execute(connection, sql::DELIVER_SCHEDULED, (scheduled, now))?;
    keys_of(routed.iter().flat_map(|(.., targets)| targets)).promote(connection, now)?;
    Ok(HashMap::new())
}

fn is_any_taken(routed: &[(i64, Order<'_>, Vec<&Target>)]) -> bool {
    routed.iter().any(|(_, order, targets)| targets.iter().any(|to| order.taker(to).is_some()))
}

/// What is due at once: leased as it is written where it is to be taken, and nothing is held.
fn deliver_at_once(
    connection: &Connection,
    routed: &[(i64, Order<'_>, Vec<&Target>)],
    holds: bool,
    now: i64,
) -> Result<HashMap<NotificationId, Vec<Lease>>, Fault> {
    let held = if holds { held(connection, now)? } else { HashSet::new() };
    let mut shares: Vec<Share<'_>> = Vec::new();
    for (row, order, targets) in routed {
        for target in targets {
            let by = order.taker(target).filter(|_| !held.contains(&target.destination));
            let share = match shares.iter().position(|share| share.by == by) {
                Some(place) => shares.get_mut(place),
                None => {
                    shares.push(Share { by, deliveries: Vec::new() });
                    shares.last_mut()
                }
            };
            if let Some(share) = share {
                share.deliveries.push((*row, order, &target.destination));
            }
        }
    }
    let mut leases: HashMap<NotificationId, Vec<Lease>> = HashMap::new();
    for share in shares {
        for lease in share.deliver(connection, now)? {
            leases.entry(lease.notification.id).or_default().push(lease);
        }
    }
    Ok(leases)
}

/// The deliveries of a batch that one host leases for so long, or nobody: rows, and where they go.
struct Share<'a> {
    by: Option<(HostId, Duration)>,
    deliveries: Vec<(i64, &'a Order<'a>, &'a str)>,
}

impl Share<'_> {
    /// Answers their leases.
    fn deliver(&self, connection: &Connection, now: i64) -> Result<Vec<Lease>, Fault> {
        let sizes = if self.by.is_some() { sql::DELIVER_TAKEN } else { sql::DELIVER };
        let mut leases = Vec::new();
        for part in sizes.parts(connection, &self.deliveries) {
            let (mut deliver, part) = part?;
            match self.by {
                None => deliver.bind(now)?.bind(now)?.bind(now)?,
                Some((host, lease)) => {
                    deliver.bind(now + millis::of(lease))?.bind(now)?.bind(now)?;
                    deliver.bind(host.to_string())?.bind(now)?
                }
            };
            for (row, _, to) in part {
                deliver.bind(row)?.bind(to)?;
            }
            let numbers = numbers(&deliver.execute()?)?;
            if self.by.is_some() {
                let taken = numbers.zip(part).map(|(id, (_, order, to))| order.lease(to, id));
                leases.extend(taken);
            }
        }
        Ok(leases)
    }
}

/// Destinations that nothing is sent to.
fn held(connection: &Connection, now: i64) -> Result<HashSet<String>, Fault> {
    let held: String = value(connection, sql::HELD, [now])?;
    serde_json::from_str(&held).map_err(|error| Fault::Value(error.to_string()))
}

fn scheduled<'a>(row: i64, item: &Enqueue, targets: &[&'a Target], now: i64) -> Scheduled<'a> {
    let targets = targets.iter().map(|target| {
        let within = [item.schedule.expires_after, target.expires_after];
        let expires = within.into_iter().flatten().min().map(|after| now + millis::of(after));
        let key = target.order_key.as_deref();
        ScheduledTarget { destination: &target.destination, key, expires }
    });
    let due = now + millis::of(item.schedule.deliver_after);
    Scheduled { row, due, targets: targets.collect() }
}

fn keys_of<'a>(targets: impl Iterator<Item = &'a &'a Target>) -> Keys {
    let mut keys = Keys::default();
    for target in targets {
        if let Some(key) = &target.order_key {
            keys.add(&target.destination, key);
        }
    }
    keys
}

impl Register {
    /// Adds what is stored under their ids and keys.
    fn add(&mut self, connection: &Connection, orders: &[Order<'_>]) -> Result<(), Fault> {
        let items = orders.iter().map(|order| order.item);
        let ids: Vec<String> = items.clone().map(|item| item.notification.id.to_string()).collect();
        let keys: Vec<&str> = items.filter_map(|item| item.idempotency_key.as_deref()).collect();
        let asked = (json(&ids)?, json(&keys)?);
        let read = |row: &Record<'_>| Ok((Known::read(row)?, rows::idempotency_key(row)?));
        for (known, key) in records(connection, sql::KNOWN, asked, read)? {
            self.ids.insert(known.id, known);
            if let Some(key) = key {
                self.keys.insert(key, known);
            }
        }
        Ok(())
    }

    fn knows(&self, item: &Enqueue) -> bool {
        let key = item.idempotency_key.as_deref();
        self.ids.contains_key(&item.notification.id)
            || key.is_some_and(|key| self.keys.contains_key(key))
    }

    fn find(&self, item: &Enqueue) -> Option<Enqueued> {
        let key = item.idempotency_key.as_deref();
        let by_key = key.and_then(|key| self.keys.get(key));
        let known = by_key.or_else(|| self.ids.get(&item.notification.id))?;
        Some(known.compare(&item.notification))
    }
}

impl Known {
    fn read(row: &impl Columns) -> Result<Self, Fault> {
        let record = rows::notification_record(row)?;
        let mut notification = record.notification;
        let digest = match row.bytes("digest")?.and_then(|kept| kept.try_into().ok()) {
            Some(kept) => Some(kept),
            None if record.pruned => None,
            None => {
                notification.content = rows::content(row)?;
                Some(digest(&notification))
            }
        };
        Ok(Self { id: notification.id, digest, deliveries: record.deliveries.unwrap_or(0) })
    }

    fn compare(&self, notification: &Notification) -> Enqueued {
        match self.digest.is_none_or(|kept| kept == digest(notification)) {
            true => Enqueued::Existing { id: self.id, deliveries: self.deliveries },
            false => Enqueued::Conflict { id: self.id },
        }
    }
}

/// Text with a NUL in it is none: SQLite's own functions end there.
fn text(content: &[u8]) -> Option<&str> {
    std::str::from_utf8(content).ok().filter(|text| !text.contains('\0'))
}

/// Fans producers' rows out, or sets them aside. Answers the number of deliveries made.
pub(super) fn fan_out(connection: &Connection, routes: &[Route], now: i64) -> Result<u64, Fault> {
    let mut rows = BTreeSet::new();
    // The first word on a row counts, as it would in two calls.
    let first: Vec<&Route> = routes.iter().filter(|route| rows.insert(route.row)).collect();
    let routed = json(&first.iter().map(|route| routed(route)).collect::<Vec<_>>())?;
    let made = execute(connection, sql::FAN_OUT, (&routed, now))?;
    execute(connection, sql::FANNED_OUT, (&routed, now))?;
    let targets: Vec<&Target> =
        first.iter().flat_map(|route| &route.destinations).flatten().collect();
    keys_of(targets.iter()).promote(connection, now)?;
    Ok(made)
}

fn routed(route: &Route) -> Routed<'_> {
    let targets = route.destinations.as_ref().map(|targets| target::once(targets));
    let (deliveries, malformed) = match &targets {
        Ok(targets) => (Some(targets.len()), None),
        Err(reason) => (None, Some(reason.as_str())),
    };
    let targets = targets.unwrap_or_default().into_iter().map(|target| RoutedTarget {
        destination: &target.destination,
        key: target.order_key.as_deref(),
        within: target.expires_after.map(millis::of),
    });
    Routed { row: route.row, targets: targets.collect(), deliveries, malformed }
}
