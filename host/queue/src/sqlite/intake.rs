//! Enqueue and fan-out.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use postrider_core::{Notification, NotificationId, Schedule, TraceContext};
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::order::Keys;
use super::{json, rows, sql};
use crate::digest::digest;
use crate::{Enqueue, Enqueued, Route, Target, millis, outbox, target};

/// A notification as [`sql::STORE`] takes it.
#[derive(Serialize)]
struct Stored<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'a str,
    source: &'a str,
    subject: Option<&'a str>,
    /// JSON within JSON: the column holds text.
    labels: String,
    content_type: &'a str,
    content: Option<&'a str>,
    bytes: Option<String>,
    key: Option<&'a str>,
    digest: Option<String>,
    time: i64,
    deliveries: usize,
    expires: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
}

/// A row and where it goes, as [`sql::DELIVER`] takes it.
#[derive(Serialize)]
struct Plain<'a> {
    row: i64,
    destinations: Vec<&'a str>,
}

/// The same as [`sql::DELIVER_SCHEDULED`] takes it.
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

/// What is stored, by id and by key; the batch's own included as it is gone through.
#[derive(Default)]
struct Register<'a> {
    ids: HashMap<NotificationId, Known>,
    keys: HashMap<Cow<'a, str>, Known>,
}

/// Stores and fans out. Within the batch, too, an id and an idempotency key count once.
pub(super) async fn enqueue(
    connection: &mut SqliteConnection,
    items: &[&Enqueue],
    now: i64,
) -> Result<Vec<Enqueued>, sqlx::Error> {
    let mut register = known(connection, items).await?;
    let mut new = Vec::with_capacity(items.len());
    let answers = items.iter().map(|item| match register.find(item) {
        Some(known) => known.compare(&item.notification),
        None => {
            let known = register.add(item);
            new.push((*item, known));
            Enqueued::Stored { id: known.id, deliveries: known.deliveries }
        }
    });
    let answers = answers.collect();
    if !new.is_empty() {
        let rows = store(connection, &new, now).await?;
        deliver(connection, &new, &rows, now).await?;
    }
    Ok(answers)
}

async fn known<'a>(
    connection: &mut SqliteConnection,
    items: &[&'a Enqueue],
) -> Result<Register<'a>, sqlx::Error> {
    let ids: Vec<String> = items.iter().map(|item| item.notification.id.to_string()).collect();
    let keys: Vec<&str> = items.iter().filter_map(|item| item.idempotency_key.as_deref()).collect();
    let known = sqlx::query(sql::KNOWN).bind(json(&ids)?).bind(json(&keys)?);
    let mut register = Register::default();
    for row in known.fetch_all(connection).await? {
        let known = Known::read(&row)?;
        register.ids.insert(known.id, known);
        if let Some(key) = rows::idempotency_key(&row)? {
            register.keys.insert(Cow::Owned(key), known);
        }
    }
    Ok(register)
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

/// Answers the row of each.
async fn store(
    connection: &mut SqliteConnection,
    new: &[(&Enqueue, Known)],
    now: i64,
) -> Result<HashMap<NotificationId, i64>, sqlx::Error> {
    let stored: Vec<Stored<'_>> = new.iter().map(|(item, known)| known.stored(item, now)).collect();
    let store = sqlx::query(sql::STORE).bind(json(&stored)?).bind(now);
    let rows = store.fetch_all(connection).await?;
    let ids = rows.iter().map(|row| {
        let id = row.try_get::<&str, _>("id")?.parse();
        let id = id.map_err(|error: uuid::Error| sqlx::Error::Decode(error.into()))?;
        Ok((id, row.try_get("seq")?))
    });
    ids.collect()
}

async fn deliver(
    connection: &mut SqliteConnection,
    new: &[(&Enqueue, Known)],
    rows: &HashMap<NotificationId, i64>,
    now: i64,
) -> Result<(), sqlx::Error> {
    let routed = new.iter().filter(|(_, known)| known.deliveries > 0);
    let routed = routed.filter_map(|(item, known)| {
        Some((*rows.get(&known.id)?, *item, target::once(&item.destinations)))
    });
    let routed: Vec<(i64, &Enqueue, Vec<&Target>)> = routed.collect();
    if routed.is_empty() {
        return Ok(());
    }
    if routed.iter().all(|(_, item, targets)| is_plain(item, targets)) {
        let plain = routed.iter().map(|(row, _, targets)| Plain {
            row: *row,
            destinations: targets.iter().map(|target| target.destination.as_str()).collect(),
        });
        let plain = json(&plain.collect::<Vec<_>>())?;
        return sqlx::query(sql::DELIVER).bind(plain).bind(now).execute(connection).await.map(drop);
    }
    let scheduled = routed.iter().map(|(row, item, targets)| scheduled(*row, item, targets, now));
    let scheduled = json(&scheduled.collect::<Vec<_>>())?;
    let deliver = sqlx::query(sql::DELIVER_SCHEDULED).bind(scheduled).bind(now);
    deliver.execute(&mut *connection).await?;
    keys_of(routed.iter().flat_map(|(.., targets)| targets)).promote(connection, now).await
}

/// Whether it goes out at once, until `max_age`, in no order: then nothing more is written than that.
fn is_plain(item: &Enqueue, targets: &[&Target]) -> bool {
    item.schedule == Schedule::default()
        && targets.iter().all(|to| to.order_key.is_none() && to.expires_after.is_none())
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

impl<'a> Register<'a> {
    fn find(&self, item: &Enqueue) -> Option<Known> {
        let key = item.idempotency_key.as_deref();
        let by_key = key.and_then(|key| self.keys.get(key));
        by_key.or_else(|| self.ids.get(&item.notification.id)).copied()
    }

    fn add(&mut self, item: &'a Enqueue) -> Known {
        let deliveries = target::once(&item.destinations).len();
        let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
        let id = item.notification.id;
        let known = Known { id, digest: Some(digest(&item.notification)), deliveries };
        self.ids.insert(id, known);
        if let Some(key) = &item.idempotency_key {
            self.keys.insert(Cow::Borrowed(key), known);
        }
        known
    }
}

impl Known {
    fn read(row: &sqlx::sqlite::SqliteRow) -> Result<Self, sqlx::Error> {
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
        Ok(Self { id: notification.id, digest, deliveries: record.deliveries.unwrap_or(0) })
    }

    fn compare(&self, notification: &Notification) -> Enqueued {
        match self.digest.is_none_or(|kept| kept == digest(notification)) {
            true => Enqueued::Existing { id: self.id, deliveries: self.deliveries },
            false => Enqueued::Conflict { id: self.id },
        }
    }

    fn stored<'a>(&self, item: &'a Enqueue, now: i64) -> Stored<'a> {
        let notification = &item.notification;
        // Text with a NUL in it is none: SQLite's own functions end there.
        let text = std::str::from_utf8(&notification.content).ok().filter(|t| !t.contains('\0'));
        let key = item.idempotency_key.as_deref();
        Stored {
            id: notification.id.to_string(),
            kind: &notification.kind,
            source: &notification.source,
            subject: notification.subject.as_deref(),
            labels: serde_json::json!(notification.labels).to_string(),
            content_type: &notification.content_type,
            content: text,
            bytes: text.is_none().then(|| hex(&notification.content)),
            key,
            digest: key.and(self.digest).map(|digest| hex(&digest)),
            time: notification.time.as_millisecond(),
            deliveries: self.deliveries as usize,
            expires: item.schedule.expires_after.map(|after| now + millis::of(after)),
            traceparent: notification.trace.as_ref().map(TraceContext::parent),
            tracestate: notification.trace.as_ref().and_then(TraceContext::state),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Fans producers' rows out, or sets them aside. Answers the number of deliveries made.
pub(super) async fn fan_out(
    connection: &mut SqliteConnection,
    routes: &[Route],
    now: i64,
) -> Result<u64, sqlx::Error> {
    let mut rows = BTreeSet::new();
    // The first word on a row counts, as it would in two calls.
    let first: Vec<&Route> = routes.iter().filter(|route| rows.insert(route.row)).collect();
    let routed = json(&first.iter().map(|route| routed(route)).collect::<Vec<_>>())?;
    let fan_out = sqlx::query(sql::FAN_OUT).bind(&routed).bind(now);
    let made = fan_out.execute(&mut *connection).await?.rows_affected();
    sqlx::query(sql::FANNED_OUT).bind(&routed).bind(now).execute(&mut *connection).await?;
    let targets: Vec<&Target> =
        first.iter().flat_map(|route| &route.destinations).flatten().collect();
    keys_of(targets.iter()).promote(connection, now).await?;
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
