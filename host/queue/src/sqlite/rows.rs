//! From rows to types, once, at the door.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use postrider_core::settle::Standing;
use postrider_core::{
    Attempt, DeliveryId, DeliveryState, Draft, HostId, LeaseKey, Notification, NotificationId,
};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::{Arrived, DeliveryRecord, KeptDestination, Lease, NotificationRecord, millis};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// A notification's columns without its content; the inner error says why they are no notification.
pub(super) fn notification(row: &SqliteRow) -> Result<std::result::Result<Notification, String>> {
    let id: String = row.try_get("uuid")?;
    let labels: String = row.try_get("labels")?;
    let parsed = id.parse().map_err(|_any| "id: must be a UUID in lower case".to_owned());
    let parsed = parsed.and_then(|id| Ok((id, parse_labels(&labels)?)));
    let (id, labels) = match parsed {
        Ok(parsed) => parsed,
        Err(problem) => return Ok(Err(problem)),
    };
    Ok(Ok(Notification {
        id,
        kind: row.try_get("type")?,
        source: row.try_get("source")?,
        subject: row.try_get("subject")?,
        labels,
        content_type: row.try_get("content_type")?,
        content: Bytes::new(),
        time: millis::timestamp(row.try_get("created_at")?),
    }))
}

fn parse_labels(text: &str) -> std::result::Result<BTreeMap<String, String>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("labels: must be a JSON object of strings: {error}"))
}

/// The content, whichever of the two columns has it.
pub(super) fn content(row: &SqliteRow) -> Result<Bytes> {
    let text: Option<String> = row.try_get("content")?;
    let bytes: Option<Vec<u8>> = row.try_get("content_bytes")?;
    Ok(text.map(Bytes::from).or_else(|| bytes.map(Bytes::from)).unwrap_or_default())
}

/// A producer's own row, checked like everything that comes in.
pub(super) fn arrived(row: &SqliteRow) -> Result<Arrived> {
    let notification = match notification(row)? {
        Ok(notification) => accept(notification, content(row)?, row.try_get("idempotency_key")?),
        Err(problem) => Err(problem),
    };
    Ok(Arrived { row: row.try_get("seq")?, notification })
}

fn accept(
    notification: Notification,
    content: Bytes,
    idempotency_key: Option<String>,
) -> std::result::Result<Notification, String> {
    let (id, time) = (notification.id, notification.time);
    let draft = Draft {
        kind: notification.kind,
        source: notification.source,
        subject: notification.subject,
        labels: notification.labels,
        content_type: notification.content_type,
        content,
        idempotency_key,
    };
    draft.accept(id, time).map_err(|invalid| invalid.to_string())
}

/// For people to read: of a malformed row, what can be read.
pub(super) fn notification_record(row: &SqliteRow) -> Result<NotificationRecord> {
    let malformed: Option<String> = row.try_get("malformed")?;
    let (notification, malformed) = match notification(row)? {
        Ok(notification) => (notification, malformed),
        Err(problem) => (remains(row)?, malformed.or(Some(problem))),
    };
    Ok(NotificationRecord {
        row: row.try_get("seq")?,
        notification,
        idempotency_key: row.try_get("idempotency_key")?,
        deliveries: row.try_get::<Option<i64>, _>("deliveries")?.map(number),
        malformed,
    })
}

fn remains(row: &SqliteRow) -> Result<Notification> {
    let id: String = row.try_get("uuid")?;
    Ok(Notification {
        id: id.parse().unwrap_or(NotificationId(Uuid::nil())),
        kind: row.try_get("type")?,
        source: row.try_get("source")?,
        subject: row.try_get("subject")?,
        labels: BTreeMap::new(),
        content_type: row.try_get("content_type")?,
        content: Bytes::new(),
        time: millis::timestamp(row.try_get("created_at")?),
    })
}

/// A leased delivery; the inner error is one whose notification cannot be read.
pub(super) fn lease(row: &SqliteRow, now: i64) -> Result<std::result::Result<Lease, Unreadable>> {
    let id: i64 = row.try_get("id")?;
    let unreadable = |problem| Ok(Err(Unreadable { id, problem }));
    if row.try_get::<Option<i64>, _>("seq")?.is_none() {
        return unreadable("its notification is gone".to_owned());
    }
    let mut notification = match notification(row)? {
        Ok(notification) => notification,
        Err(problem) => return unreadable(problem),
    };
    notification.content = content(row)?;
    let chain: String = row.try_get("chain")?;
    let since: i64 = row.try_get("since")?;
    Ok(Ok(Lease {
        key: LeaseKey { id: DeliveryId(id), token: row.try_get("token")? },
        destination: row.try_get("destination")?,
        notification,
        attempt: number(row.try_get("attempt")?),
        standing: Standing {
            used: number(row.try_get("used")?),
            lost: number(row.try_get("lost")?),
            age: millis::duration(now - since),
        },
        parts_done: number(row.try_get("parts_done")?),
        chain: serde_json::from_str(&chain).map_err(decode)?,
    }))
}

/// A delivery that cannot be made, and why.
pub(super) struct Unreadable {
    pub(super) id: i64,
    pub(super) problem: String,
}

pub(super) fn delivery_record(row: &SqliteRow, now: i64) -> Result<DeliveryRecord> {
    let notification: String = row.try_get("uuid")?;
    let due: i64 = row.try_get("due")?;
    let owner: Option<&str> = row.try_get("owner")?;
    let state = match row.try_get::<i64, _>("state")? {
        0 if owner.is_some() && due > now => DeliveryState::Leased,
        0 => DeliveryState::Pending,
        1 => DeliveryState::Delivered,
        2 => DeliveryState::Dead,
        3 => DeliveryState::Cancelled,
        other => return Err(decode(format!("unknown delivery state {other}"))),
    };
    let live = matches!(state, DeliveryState::Leased | DeliveryState::Pending);
    Ok(DeliveryRecord {
        id: DeliveryId(row.try_get("id")?),
        notification: notification.parse().unwrap_or(NotificationId(Uuid::nil())),
        kind: row.try_get("type")?,
        destination: row.try_get("destination")?,
        state,
        attempts: number(row.try_get("attempt")?),
        created: millis::timestamp(row.try_get("created")?),
        due: live.then(|| millis::timestamp(due)),
        finished: row.try_get::<Option<i64>, _>("finished")?.map(millis::timestamp),
        reason: row.try_get("reason")?,
        cause: row.try_get("cause")?,
        fallback_of: row.try_get::<Option<i64>, _>("fallback_of")?.map(DeliveryId),
        fallback_to: row.try_get::<Option<i64>, _>("fallback_to")?.map(DeliveryId),
    })
}

pub(super) fn attempt(row: &SqliteRow) -> Result<Attempt> {
    let host: String = row.try_get("host")?;
    let duration: i64 = row.try_get("duration")?;
    Ok(Attempt {
        number: number(row.try_get("number")?),
        started: millis::timestamp(row.try_get("started")?),
        duration: Duration::from_micros(u64::try_from(duration).unwrap_or(0)),
        outcome: row.try_get("outcome")?,
        reason: row.try_get("reason")?,
        plugin: row.try_get("plugin")?,
        host: HostId(host.parse().map_err(decode)?),
    })
}

pub(super) fn kept_destination(row: &SqliteRow) -> Result<KeptDestination> {
    Ok(KeptDestination {
        name: row.try_get("name")?,
        text: row.try_get("text")?,
        module: row.try_get("module")?,
    })
}

/// A count that the schema keeps above zero.
fn number(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

fn decode(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
