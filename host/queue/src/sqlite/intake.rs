//! Enqueue and fan-out.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use postrider_core::{Notification, NotificationId};
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{json, rows, sql};
use crate::digest::digest;
use crate::{Enqueue, Enqueued, Route};

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
}

/// A row and where it goes, as [`sql::DELIVER`], [`sql::FAN_OUT`] and [`sql::FANNED_OUT`] take it.
#[derive(Serialize)]
struct Routed<'a> {
    row: i64,
    destinations: BTreeSet<&'a str>,
    deliveries: Option<usize>,
    malformed: Option<&'a str>,
}

/// What is stored under a key or an id.
#[derive(Clone, Copy)]
struct Known {
    id: NotificationId,
    digest: [u8; 32],
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

/// Answers the row of each.
async fn store(
    connection: &mut SqliteConnection,
    new: &[(&Enqueue, Known)],
    now: i64,
) -> Result<HashMap<NotificationId, i64>, sqlx::Error> {
    let stored: Vec<Stored<'_>> = new.iter().map(|(item, known)| known.stored(item)).collect();
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
    let routed =
        new.iter().filter(|(_, known)| known.deliveries > 0).filter_map(|(item, known)| {
            Some(Routed {
                row: *rows.get(&known.id)?,
                destinations: item.destinations.iter().map(String::as_str).collect(),
                deliveries: None,
                malformed: None,
            })
        });
    let routed: Vec<Routed<'_>> = routed.collect();
    if !routed.is_empty() {
        sqlx::query(sql::DELIVER).bind(json(&routed)?).bind(now).execute(connection).await?;
    }
    Ok(())
}

impl<'a> Register<'a> {
    fn find(&self, item: &Enqueue) -> Option<Known> {
        let key = item.idempotency_key.as_deref();
        let by_key = key.and_then(|key| self.keys.get(key));
        by_key.or_else(|| self.ids.get(&item.notification.id)).copied()
    }

    fn add(&mut self, item: &'a Enqueue) -> Known {
        let destinations: BTreeSet<&String> = item.destinations.iter().collect();
        let deliveries = u32::try_from(destinations.len()).unwrap_or(u32::MAX);
        let id = item.notification.id;
        let known = Known { id, digest: digest(&item.notification), deliveries };
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
            Some(kept) => kept,
            None => {
                notification.content = rows::content(row)?;
                digest(&notification)
            }
        };
        Ok(Self { id: notification.id, digest, deliveries: record.deliveries.unwrap_or(0) })
    }

    fn compare(&self, notification: &Notification) -> Enqueued {
        match digest(notification) == self.digest {
            true => Enqueued::Existing { id: self.id, deliveries: self.deliveries },
            false => Enqueued::Conflict { id: self.id },
        }
    }

    fn stored<'a>(&self, item: &'a Enqueue) -> Stored<'a> {
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
            digest: key.map(|_| hex(&self.digest)),
            time: notification.time.as_millisecond(),
            deliveries: self.deliveries as usize,
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
    let first = routes.iter().filter(|route| rows.insert(route.row));
    let routed = first.map(|route| {
        let destinations = route.destinations.as_ref();
        let names: BTreeSet<&str> =
            destinations.iter().copied().flatten().map(String::as_str).collect();
        let deliveries = destinations.is_ok().then_some(names.len());
        let malformed = destinations.err().map(String::as_str);
        Routed { row: route.row, destinations: names, deliveries, malformed }
    });
    let routed = json(&routed.collect::<Vec<_>>())?;
    let fan_out = sqlx::query(sql::FAN_OUT).bind(&routed).bind(now);
    let made = fan_out.execute(&mut *connection).await?.rows_affected();
    sqlx::query(sql::FANNED_OUT).bind(&routed).bind(now).execute(connection).await?;
    Ok(made)
}
