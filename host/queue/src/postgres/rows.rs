//! From rows to types, once, at the door. PostgreSQL keeps text UTF-8 and ids UUIDs; what a producer can still get
//! wrong is a row's own flaw, and never fails others beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use postrider_core::settle::Standing;
use postrider_core::{
    Attempt, DeliveryId, DeliveryState, Draft, HostId, LeaseKey, Notification, NotificationId,
    TraceContext,
};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::moment::Moment;
use crate::{Arrived, DeliveryRecord, KeptDestination, Lease, NotificationRecord, millis};

type Result<T, E = sqlx::Error> = std::result::Result<T, E>;

fn moment(row: &PgRow, column: &str) -> Result<jiff::Timestamp> {
    Ok(millis::timestamp(row.try_get::<Moment, _>(column)?.millis()))
}

fn optional_moment(row: &PgRow, column: &str) -> Result<Option<jiff::Timestamp>> {
    let moment: Option<Moment> = row.try_get(column)?;
    Ok(moment.map(|moment| millis::timestamp(moment.millis())))
}

/// A notification's columns without its content, and why its labels are none.
fn notification(row: &PgRow) -> Result<(Notification, Option<String>)> {
    let (labels, problem) = match labels(row.try_get("labels")?) {
        Ok(labels) => (labels, None),
        Err(problem) => (BTreeMap::new(), Some(problem)),
    };
    let notification = Notification {
        id: NotificationId(row.try_get("uuid")?),
        kind: row.try_get("type")?,
        source: row.try_get("source")?,
        subject: row.try_get("subject")?,
        labels,
        content_type: row.try_get("content_type")?,
        content: Bytes::new(),
        time: moment(row, "created_at")?,
        trace: trace(row)?,
    };
    Ok((notification, problem))
}

/// None where it is no trace: no notification is lost for that.
fn trace(row: &PgRow) -> Result<Option<TraceContext>> {
    let parent: Option<&str> = row.try_get("traceparent")?;
    let state = row.try_get("tracestate")?;
    Ok(parent.and_then(|parent| TraceContext::parse(parent, state)))
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("labels: must be a JSON object of strings: {error}"))
}

/// The content, whichever of the two columns has it.
pub(super) fn content(row: &PgRow) -> Result<Bytes> {
    let text: Option<String> = row.try_get("content")?;
    let bytes: Option<Vec<u8>> = row.try_get("content_bytes")?;
    Ok(text.map(Bytes::from).or(bytes.map(Bytes::from)).unwrap_or_default())
}

/// A producer's own row, checked like everything that comes in.
pub(super) fn arrived(row: &PgRow) -> Result<Arrived> {
    let (mut notification, problem) = notification(row)?;
    notification.content = content(row)?;
    let key = row.try_get("idempotency_key")?;
    let notification = match problem {
        Some(problem) => Err(problem),
        None => accept(notification, key),
    };
    Ok(Arrived { row: row.try_get("seq")?, notification })
}

fn accept(given: Notification, idempotency_key: Option<String>) -> Result<Notification, String> {
    let (id, time) = (given.id, given.time);
    let draft = Draft {
        kind: given.kind,
        source: given.source,
        subject: given.subject,
        labels: given.labels,
        content_type: given.content_type,
        content: given.content,
        idempotency_key,
        trace: given.trace,
    };
    draft.accept(id, time).map_err(|invalid| invalid.to_string())
}

/// For people to read: of a malformed row, what can be read.
pub(super) fn notification_record(row: &PgRow) -> Result<NotificationRecord> {
    let (notification, problem) = notification(row)?;
    Ok(NotificationRecord {
        row: row.try_get("seq")?,
        notification,
        idempotency_key: row.try_get("idempotency_key")?,
        deliveries: row.try_get::<Option<i32>, _>("deliveries")?.map(i64::from).map(number),
        malformed: row.try_get::<Option<String>, _>("malformed")?.or(problem),
        expires: optional_moment(row, "expires")?,
        pruned: row.try_get("pruned")?,
    })
}

/// A leased delivery; the inner error is one that cannot be made, and why.
pub(super) fn lease(row: &PgRow) -> Result<Result<Lease, (LeaseKey, String)>> {
    let key = LeaseKey { id: DeliveryId(row.try_get("id")?), token: row.try_get("token")? };
    if row.try_get::<Option<i64>, _>("seq")?.is_none() {
        return Ok(Err((key, "its notification is gone".to_owned())));
    }
    let (mut notification, problem) = notification(row)?;
    notification.content = content(row)?;
    let chain: Result<Vec<String>, _> = serde_json::from_str(row.try_get("chain")?);
    let problem = problem.or(chain.as_ref().err().map(|error| format!("chain: {error}")));
    if let Some(problem) = problem {
        return Ok(Err((key, problem)));
    }
    Ok(Ok(Lease {
        key,
        destination: row.try_get("destination")?,
        notification,
        attempt: number(row.try_get::<i32, _>("attempt")?.into()),
        standing: Standing {
            used: number(row.try_get::<i32, _>("used")?.into()),
            lost: number(row.try_get::<i32, _>("lost")?.into()),
            age: millis::duration(row.try_get("age")?),
            left: row.try_get::<Option<i64>, _>("left_ms")?.map(millis::duration),
        },
        parts_done: number(row.try_get("parts_done")?),
        chain: chain.unwrap_or_default(),
        order_key: row.try_get("order_key")?,
    }))
}

pub(super) fn delivery_record(row: &PgRow) -> Result<DeliveryRecord> {
    let state = match row.try_get::<i16, _>("state")? {
        0 if row.try_get("leased")? => DeliveryState::Leased,
        0 => DeliveryState::Pending,
        1 => DeliveryState::Delivered,
        2 => DeliveryState::Dead,
        3 => DeliveryState::Cancelled,
        other => return Err(sqlx::Error::Decode(format!("unknown delivery state {other}").into())),
    };
    let live = matches!(state, DeliveryState::Leased | DeliveryState::Pending);
    let due = moment(row, "due")?;
    let waiting: bool = row.try_get("waiting")?;
    Ok(DeliveryRecord {
        id: DeliveryId(row.try_get("id")?),
        notification: NotificationId(row.try_get("uuid")?),
        kind: row.try_get("type")?,
        destination: row.try_get("destination")?,
        state,
        attempts: number(row.try_get::<i32, _>("attempt")?.into()),
        created: moment(row, "created")?,
        due: (live && !waiting).then_some(due),
        expires: optional_moment(row, "expires")?,
        order_key: row.try_get("order_key")?,
        waiting,
        finished: optional_moment(row, "finished")?,
        reason: row.try_get("reason")?,
        cause: row.try_get("cause")?,
        fallback_of: row.try_get::<Option<i64>, _>("fallback_of")?.map(DeliveryId),
        fallback_to: row.try_get::<Option<i64>, _>("fallback_to")?.map(DeliveryId),
    })
}

pub(super) fn attempt(row: &PgRow) -> Result<Attempt> {
    let duration: i64 = row.try_get("duration")?;
    Ok(Attempt {
        number: number(row.try_get::<i32, _>("number")?.into()),
        started: moment(row, "started")?,
        duration: Duration::from_micros(u64::try_from(duration).unwrap_or(0)),
        outcome: row.try_get("outcome")?,
        reason: row.try_get("reason")?,
        plugin: row.try_get("plugin")?,
        host: HostId(row.try_get::<Uuid, _>("host")?),
    })
}

pub(super) fn kept_destination(row: &PgRow) -> Result<KeptDestination> {
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
