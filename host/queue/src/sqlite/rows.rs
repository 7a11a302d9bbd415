//! From rows to types, once, at the door.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use postrider_core::settle::Standing;
use postrider_core::{
    Attempt, DeliveryId, DeliveryState, Draft, HostId, LeaseKey, Notification, NotificationId,
    TraceContext,
};
use rusqlite::types::ValueRef;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::fault::Fault;
use crate::{Arrived, DeliveryRecord, KeptDestination, Lease, NotificationRecord, millis};

type Result<T, E = Fault> = std::result::Result<T, E>;

/// A row that one of those who read has, or the writer.
pub(super) trait Columns {
    /// Bytes, or text as they are.
    fn bytes(&self, column: &str) -> Result<Option<&[u8]>>;
    fn integer(&self, column: &str) -> Result<Option<i64>>;

    /// One that the schema always has.
    fn whole(&self, column: &str) -> Result<i64> {
        let missing = || Fault::Value(format!("{column}: is not there"));
        self.integer(column)?.ok_or_else(missing)
    }
}

impl Columns for SqliteRow {
    fn bytes(&self, column: &str) -> Result<Option<&[u8]>> {
        Ok(self.try_get(column)?)
    }

    fn integer(&self, column: &str) -> Result<Option<i64>> {
        Ok(self.try_get(column)?)
    }
}

/// One of the writer's, with the names of its columns: SQLite looks at them one by one for each that is asked for, and
/// locks itself for each look.
pub(super) struct Record<'r> {
    pub(super) row: &'r rusqlite::Row<'r>,
    pub(super) names: &'r [String],
}

impl Record<'_> {
    fn value(&self, column: &str) -> Result<ValueRef<'_>> {
        let place = self.names.iter().position(|name| name == column);
        let missing = || rusqlite::Error::InvalidColumnName(column.to_owned());
        Ok(self.row.get_ref(place.ok_or_else(missing)?)?)
    }
}

impl Columns for Record<'_> {
    fn bytes(&self, column: &str) -> Result<Option<&[u8]>> {
        let bytes = self.value(column)?.as_bytes_or_null();
        bytes.map_err(|error| Fault::Value(format!("{column}: {error}")))
    }

    fn integer(&self, column: &str) -> Result<Option<i64>> {
        let integer = self.value(column)?.as_i64_or_null();
        integer.map_err(|error| Fault::Value(format!("{column}: {error}")))
    }
}

/// What is wrong with an id that is none.
const NO_UUID: &str = "id: must be a UUID in lower case";

/// Why a row is not read.
enum Flaw {
    /// Its own: it holds what it should not, as the reason says. Others beside it are fine.
    Row(String),
    /// The statement's.
    Query(Fault),
}

impl<E: Into<Fault>> From<E> for Flaw {
    fn from(error: E) -> Self {
        Self::Query(error.into())
    }
}

impl From<String> for Flaw {
    fn from(reason: String) -> Self {
        Self::Row(reason)
    }
}

/// A row's own flaw as the inner error: it must not fail the whole batch.
fn apart<T>(read: Result<T, Flaw>) -> Result<Result<T, String>> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(Flaw::Row(reason)) => Ok(Err(reason)),
        Err(Flaw::Query(error)) => Err(error),
    }
}

/// A column of text that is there. STRICT keeps numbers out of it, but not bytes that are no text: a producer's
/// `CAST(x'ff' AS TEXT)` comes through.
fn text(row: &impl Columns, column: &str) -> Result<String, Flaw> {
    Ok(optional_text(row, column)?.unwrap_or_default())
}

fn optional_text(row: &impl Columns, column: &str) -> Result<Option<String>, Flaw> {
    let text = row.bytes(column)?.map(std::str::from_utf8).transpose();
    text.map(|text| text.map(str::to_owned))
        .map_err(|_bytes| Flaw::Row(format!("{column}: is not UTF-8 text")))
}

/// The same for people to read: what is no text is marked.
pub(super) fn legible(row: &impl Columns, column: &str) -> Result<String> {
    Ok(optional_legible(row, column)?.unwrap_or_default())
}

fn optional_legible(row: &impl Columns, column: &str) -> Result<Option<String>> {
    Ok(row.bytes(column)?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

/// None where it is no UUID.
fn uuid(row: &impl Columns, column: &str) -> Result<Option<Uuid>> {
    Ok(row.bytes(column)?.and_then(|bytes| Uuid::try_parse_ascii(bytes).ok()))
}

/// A notification's columns without its content.
fn notification(row: &impl Columns) -> Result<Notification, Flaw> {
    let Some(id) = uuid(row, "uuid")? else {
        return Err(Flaw::Row(NO_UUID.to_owned()));
    };
    Ok(Notification {
        id: NotificationId(id),
        kind: text(row, "type")?,
        source: text(row, "source")?,
        subject: optional_text(row, "subject")?,
        labels: labels(&text(row, "labels")?)?,
        content_type: text(row, "content_type")?,
        content: Bytes::new(),
        time: millis::timestamp(row.whole("created_at")?),
        trace: trace(row)?,
    })
}

/// None where it is no trace: no notification is lost for that.
fn trace(row: &impl Columns) -> Result<Option<TraceContext>> {
    let (parent, state) = (row.bytes("traceparent")?, row.bytes("tracestate")?);
    let text = |bytes| std::str::from_utf8(bytes).ok();
    Ok(parent.and_then(text).and_then(|parent| TraceContext::parse(parent, state.and_then(text))))
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("labels: must be a JSON object of strings: {error}"))
}

/// What [`notification`] can read of a row that is none.
fn remains(row: &impl Columns) -> Result<Notification> {
    Ok(Notification {
        id: NotificationId(uuid(row, "uuid")?.unwrap_or(Uuid::nil())),
        kind: legible(row, "type")?,
        source: legible(row, "source")?,
        subject: optional_legible(row, "subject")?,
        labels: labels(&legible(row, "labels")?).unwrap_or_default(),
        content_type: legible(row, "content_type")?,
        content: Bytes::new(),
        time: millis::timestamp(row.whole("created_at")?),
        trace: trace(row)?,
    })
}

/// A notification to send: its text is text.
fn whole_notification(row: &impl Columns) -> Result<Notification, Flaw> {
    let mut notification = notification(row)?;
    notification.content = match optional_text(row, "content") {
        Ok(Some(text)) => Bytes::from(text),
        Ok(None) => content(row)?,
        Err(Flaw::Row(reason)) => {
            return Err(Flaw::Row(format!("{reason}; bytes belong into content_bytes")));
        }
        Err(error) => return Err(error),
    };
    Ok(notification)
}

/// The content as it is, whichever of the two columns has it.
pub(super) fn content(row: &impl Columns) -> Result<Bytes> {
    let content = row.bytes("content")?.or(row.bytes("content_bytes")?);
    Ok(content.map(Bytes::copy_from_slice).unwrap_or_default())
}

/// A key that an [`crate::Enqueue`] may have; none where the row has another or none.
pub(super) fn idempotency_key(row: &impl Columns) -> Result<Option<String>> {
    let key = apart(optional_text(row, "idempotency_key"))?;
    Ok(key.unwrap_or_default())
}

/// A producer's own row, checked like everything that comes in.
pub(super) fn arrived(row: &SqliteRow) -> Result<Arrived> {
    Ok(Arrived { row: row.try_get("seq")?, notification: apart(accept(row))? })
}

fn accept(row: &SqliteRow) -> Result<Notification, Flaw> {
    let notification = whole_notification(row)?;
    let (id, time) = (notification.id, notification.time);
    let draft = Draft {
        kind: notification.kind,
        source: notification.source,
        subject: notification.subject,
        labels: notification.labels,
        content_type: notification.content_type,
        content: notification.content,
        idempotency_key: optional_text(row, "idempotency_key")?,
        trace: notification.trace,
    };
    draft.accept(id, time).map_err(|invalid| Flaw::Row(invalid.to_string()))
}

/// For people to read: of a malformed row, what can be read.
pub(super) fn notification_record(row: &impl Columns) -> Result<NotificationRecord> {
    let (notification, problem) = match apart(notification(row))? {
        Ok(notification) => (notification, None),
        Err(problem) => (remains(row)?, Some(problem)),
    };
    Ok(NotificationRecord {
        row: row.whole("seq")?,
        notification,
        idempotency_key: optional_legible(row, "idempotency_key")?,
        deliveries: row.integer("deliveries")?.map(number),
        malformed: optional_legible(row, "malformed")?.or(problem),
        expires: row.integer("expires")?.map(millis::timestamp),
        pruned: row.whole("pruned")? != 0,
    })
}

/// A leased delivery; the inner error is one that cannot be made.
pub(super) fn lease(row: &Record<'_>, now: i64) -> Result<Result<Lease, Unreadable>> {
    let id = row.whole("id")?;
    Ok(apart(whole_lease(row, id, now))?.map_err(|problem| Unreadable { id, problem }))
}

fn whole_lease(row: &Record<'_>, id: i64, now: i64) -> Result<Lease, Flaw> {
    if row.integer("seq")?.is_none() {
        return Err(Flaw::Row("its notification is gone".to_owned()));
    }
    let counted = (row.whole("used")?, row.whole("lost")?);
    Ok(Lease {
        key: LeaseKey { id: DeliveryId(id), token: row.whole("token")? },
        destination: text(row, "destination")?,
        notification: whole_notification(row)?,
        attempt: number(row.whole("attempt")?),
        standing: standing(now, row.whole("since")?, counted, row.integer("expires")?),
        parts_done: number(row.whole("parts_done")?),
        chain: chain(&text(row, "chain")?)?,
        order_key: optional_text(row, "order_key")?,
    })
}

/// Of a delivery that has used up so many attempts and lost so many leases.
fn standing(now: i64, since: i64, (used, lost): (i64, i64), expires: Option<i64>) -> Standing {
    Standing {
        used: number(used),
        lost: number(lost),
        age: millis::duration(now.saturating_sub(since)),
        left: expires.map(|expires| millis::duration(expires.saturating_sub(now))),
    }
}

fn chain(text: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("chain: must be a JSON array of strings: {error}"))
}

/// A delivery that cannot be made, and why.
pub(super) struct Unreadable {
    pub(super) id: i64,
    pub(super) problem: String,
}

pub(super) fn delivery_record(row: &SqliteRow, now: i64) -> Result<DeliveryRecord> {
    let due: i64 = row.try_get("due")?;
    let owner: Option<&[u8]> = row.try_get("owner")?;
    let state = match row.try_get::<i64, _>("state")? {
        0 if owner.is_some() && due > now => DeliveryState::Leased,
        0 => DeliveryState::Pending,
        1 => DeliveryState::Delivered,
        2 => DeliveryState::Dead,
        3 => DeliveryState::Cancelled,
        other => return Err(Fault::Value(format!("unknown delivery state {other}"))),
    };
    let live = matches!(state, DeliveryState::Leased | DeliveryState::Pending);
    let waiting: bool = row.try_get("waiting")?;
    Ok(DeliveryRecord {
        id: DeliveryId(row.try_get("id")?),
        notification: NotificationId(uuid(row, "uuid")?.unwrap_or(Uuid::nil())),
        kind: legible(row, "type")?,
        destination: legible(row, "destination")?,
        state,
        attempts: number(row.try_get("attempt")?),
        created: millis::timestamp(row.try_get("created")?),
        due: (live && !waiting).then(|| millis::timestamp(due)),
        expires: row.try_get::<Option<i64>, _>("expires")?.map(millis::timestamp),
        order_key: optional_legible(row, "order_key")?,
        waiting,
        finished: row.try_get::<Option<i64>, _>("finished")?.map(millis::timestamp),
        reason: legible(row, "reason")?,
        cause: optional_legible(row, "cause")?,
        fallback_of: row.try_get::<Option<i64>, _>("fallback_of")?.map(DeliveryId),
        fallback_to: row.try_get::<Option<i64>, _>("fallback_to")?.map(DeliveryId),
    })
}

pub(super) fn attempt(row: &SqliteRow) -> Result<Attempt> {
    let duration: i64 = row.try_get("duration")?;
    Ok(Attempt {
        number: number(row.try_get("number")?),
        started: millis::timestamp(row.try_get("started")?),
        duration: Duration::from_micros(u64::try_from(duration).unwrap_or(0)),
        outcome: legible(row, "outcome")?,
        reason: legible(row, "reason")?,
        plugin: legible(row, "plugin")?,
        host: HostId(uuid(row, "host")?.unwrap_or(Uuid::nil())),
    })
}

/// Unlike a list's, its text is never guessed at: it is put in force.
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
