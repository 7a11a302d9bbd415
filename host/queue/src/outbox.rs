//! Enqueueing from a producer's own program, inside its own transaction.
//!
//! A notification is inserted beside the producer's own rows: both are committed, or neither. The daemon sees it within
//! a second of the commit and decides then where it goes. The producer's tables and postrider's must be in one database,
//! whose schema the daemon, or `postrider db migrate`, has made. The program uses the same major version of sqlx as
//! this crate.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("postrider.db");
//! # use postrider_queue::Queue as _;
//! # postrider_queue::SqliteQueue::open(&path, Default::default()).await?.close().await;
//! use postrider_queue::outbox::{self, Draft, Outbox as _};
//! use sqlx::{Connection as _, SqliteConnection};
//!
//! let mut connection = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await?;
//! # sqlx::query("CREATE TABLE orders (id INTEGER, total TEXT)").execute(&mut connection).await?;
//! let mut transaction = connection.begin().await?;
//! sqlx::query("INSERT INTO orders (id, total) VALUES (17, '9.50')").execute(&mut *transaction).await?;
//! let paid = Draft {
//!     kind: "order.paid".into(),
//!     content: r#"{"order":17}"#.into(),
//!     idempotency_key: Some("order-17".into()),
//!     ..Draft::default()
//! };
//! transaction.enqueue(&paid).await?;
//! transaction.commit().await?;
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
//! ```

use async_trait::async_trait;
pub use postrider_core::notification::InvalidNotification;
use postrider_core::schedule::MAX_AHEAD;
pub use postrider_core::{Draft, NotificationId, Schedule, TraceContext};
use sqlx::{PgConnection, Row as _, SqliteConnection};
use uuid::Uuid;

use crate::digest::digest;
use crate::{millis, postgres, sqlite};

/// A connection, or a transaction, that notifications can be enqueued on.
#[async_trait]
pub trait Outbox {
    /// Enqueues a notification, to be sent at once.
    async fn enqueue(&mut self, draft: &Draft) -> Result<Enqueued, OutboxError> {
        self.enqueue_later(draft, &Schedule::default()).await
    }

    /// Enqueues a notification to be sent by a schedule, which counts from this insert.
    async fn enqueue_later(
        &mut self,
        draft: &Draft,
        schedule: &Schedule,
    ) -> Result<Enqueued, OutboxError>;
}

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// Inserted. It is sent once the transaction is committed.
    Inserted(NotificationId),
    /// The same one was there before, under the same key.
    Existing(NotificationId),
}

/// Why a notification is not enqueued. After [`OutboxError::Database`] a PostgreSQL transaction is to be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The draft or the schedule is none; nothing was asked of the database.
    #[error(transparent)]
    Invalid(#[from] InvalidNotification),
    /// The key was used before, for another notification.
    #[error("idempotency_key: was used before, for another notification ({0})")]
    Conflict(NotificationId),
    /// The key belongs to a row that this transaction cannot see: it is of a transaction that was committed after this
    /// one began. Run the transaction again.
    #[error(
        "idempotency_key: is used by a transaction that was committed meanwhile; run this one again"
    )]
    Unseen,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

#[async_trait]
impl Outbox for SqliteConnection {
    async fn enqueue_later(
        &mut self,
        draft: &Draft,
        schedule: &Schedule,
    ) -> Result<Enqueued, OutboxError> {
        let row = Insert::of(draft, schedule)?;
        let inserted = sqlx::query(sqlite::OUTBOX)
            .bind(&draft.kind)
            .bind(&draft.source)
            .bind(&draft.subject)
            .bind(&row.labels)
            .bind(&row.content_type)
            .bind(row.text)
            .bind(row.bytes)
            .bind(&draft.idempotency_key)
            .bind(row.after)
            .bind(row.within)
            .bind(draft.trace.as_ref().map(TraceContext::parent))
            .bind(draft.trace.as_ref().and_then(TraceContext::state))
            .fetch_optional(&mut *self)
            .await?;
        if let Some(inserted) = inserted {
            let id = inserted.try_get::<&str, _>("id")?.parse::<Uuid>();
            let id = id.map_err(|error| sqlx::Error::Decode(error.into()))?;
            return Ok(Enqueued::Inserted(NotificationId(id)));
        }
        let key = draft.idempotency_key.as_deref().unwrap_or_default();
        row.compare(sqlite::known_under(self, key).await?)
    }
}

#[async_trait]
impl Outbox for PgConnection {
    async fn enqueue_later(
        &mut self,
        draft: &Draft,
        schedule: &Schedule,
    ) -> Result<Enqueued, OutboxError> {
        let row = Insert::of(draft, schedule)?;
        let inserted: Option<Uuid> = sqlx::query_scalar(postgres::OUTBOX)
            .bind(&draft.kind)
            .bind(&draft.source)
            .bind(&draft.subject)
            .bind(&row.labels)
            .bind(&row.content_type)
            .bind(row.text)
            .bind(row.bytes)
            .bind(&draft.idempotency_key)
            .bind(row.after)
            .bind(row.within)
            .bind(draft.trace.as_ref().map(TraceContext::parent))
            .bind(draft.trace.as_ref().and_then(TraceContext::state))
            .fetch_optional(&mut *self)
            .await?;
        if let Some(id) = inserted {
            return Ok(Enqueued::Inserted(NotificationId(id)));
        }
        let key = draft.idempotency_key.as_deref().unwrap_or_default();
        row.compare(postgres::known_under(self, key).await?)
    }
}

/// The columns that are not the draft's own fields.
struct Insert<'a> {
    labels: String,
    content_type: String,
    text: Option<&'a str>,
    bytes: Option<&'a [u8]>,
    after: Option<i64>,
    within: Option<i64>,
    digest: [u8; 32],
}

/// The row under a key: its id, and the digest of what it says; none where retention has taken its content.
pub(crate) type Known = (NotificationId, Option<[u8; 32]>);

impl<'a> Insert<'a> {
    /// Checks everything, so that no row is set aside as malformed.
    fn of(draft: &'a Draft, schedule: &Schedule) -> Result<Self, InvalidNotification> {
        check(schedule)?;
        let any = NotificationId(Uuid::nil());
        let accepted = draft.clone().accept(any, jiff::Timestamp::UNIX_EPOCH)?;
        // Neither database keeps text with a NUL in it as it is.
        let text = std::str::from_utf8(&draft.content).ok().filter(|text| !text.contains('\0'));
        let after = Some(millis::of(schedule.deliver_after)).filter(|after| *after > 0);
        Ok(Self {
            labels: serde_json::json!(draft.labels).to_string(),
            digest: digest(&accepted),
            content_type: accepted.content_type,
            text,
            bytes: text.is_none().then_some(&*draft.content),
            after,
            within: schedule.expires_after.map(millis::of),
        })
    }

    fn compare(&self, known: Option<Known>) -> Result<Enqueued, OutboxError> {
        let (id, digest) = known.ok_or(OutboxError::Unseen)?;
        match digest.is_none_or(|digest| digest == self.digest) {
            true => Ok(Enqueued::Existing(id)),
            false => Err(OutboxError::Conflict(id)),
        }
    }
}

/// What the schema would refuse, in words that name the field.
fn check(schedule: &Schedule) -> Result<(), InvalidNotification> {
    let fields = [
        ("deliver_after", Some(schedule.deliver_after)),
        ("expires_after", schedule.expires_after),
    ];
    for (field, after) in fields {
        if after.is_some_and(|after| after > MAX_AHEAD) {
            return Err(invalid(field, "is longer than 366 days"));
        }
    }
    if schedule.expires_after.is_some_and(|expires| expires <= schedule.deliver_after) {
        return Err(invalid("expires_after", "must be longer than deliver_after"));
    }
    Ok(())
}

fn invalid(field: &str, problem: &str) -> InvalidNotification {
    InvalidNotification { field: field.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use sqlx::Connection as _;

    use super::*;
    use crate::{Queue, SqliteOptions, SqliteQueue};

    pub(crate) fn paid(order: u32) -> Draft {
        Draft {
            kind: "order.paid".into(),
            source: "shop".into(),
            subject: Some(order.to_string()),
            labels: [("currency".to_owned(), "EUR".to_owned())].into(),
            content: format!(r#"{{"order":{order}}}"#).into(),
            idempotency_key: Some(format!("order-{order}")),
            trace: TraceContext::parse(
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                Some("shop=1"),
            ),
            ..Draft::default()
        }
    }

    /// What must hold on each database: `other` is a second connection.
    pub(crate) async fn a_producers_day(
        queue: &dyn Queue,
        mine: &mut (impl Outbox + Send),
        other: &mut (impl Outbox + Send),
    ) {
        let Enqueued::Inserted(id) = mine.enqueue(&paid(1)).await.unwrap() else { panic!() };
        assert_eq!(other.enqueue(&paid(1)).await.unwrap(), Enqueued::Existing(id));
        let another = Draft { content: "2".into(), ..paid(1) };
        let refused = other.enqueue(&another).await.unwrap_err();
        assert!(matches!(refused, OutboxError::Conflict(known) if known == id), "{refused}");

        let arrived = queue.arrived(10).await.unwrap();
        let arrived = arrived.into_iter().map(|arrived| arrived.notification.unwrap());
        let [notification] = &*arrived.collect::<Vec<_>>() else { panic!("one was enqueued") };
        assert_eq!(notification.id, id);
        let draft = Draft {
            kind: notification.kind.clone(),
            source: notification.source.clone(),
            subject: notification.subject.clone(),
            labels: notification.labels.clone(),
            content_type: String::new(),
            content: notification.content.clone(),
            idempotency_key: paid(1).idempotency_key,
            trace: notification.trace.clone(),
        };
        assert_eq!(draft, paid(1));
        assert_eq!(notification.content_type, "application/json");

        // Bytes that are no text, and times.
        let raw = Draft { content: vec![0, 255].into(), idempotency_key: None, ..paid(2) };
        let schedule = Schedule::parse(Some("1m"), Some("1h")).unwrap();
        let Enqueued::Inserted(raw_id) = mine.enqueue_later(&raw, &schedule).await.unwrap() else {
            panic!()
        };
        let stored = queue.notification(raw_id).await.unwrap().unwrap();
        assert_eq!(stored.notification.content, raw.content);
        assert_eq!(queue.arrived(10).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_row_is_a_notification_on_sqlite() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queue.db");
        let queue = SqliteQueue::open(&path, SqliteOptions::default()).await.unwrap();
        let url = format!("sqlite:{}", path.display());
        let mut mine = SqliteConnection::connect(&url).await.unwrap();
        let mut other = SqliteConnection::connect(&url).await.unwrap();
        a_producers_day(&queue, &mut mine, &mut other).await;

        let mut transaction = mine.begin().await.unwrap();
        transaction.enqueue(&paid(3)).await.unwrap();
        transaction.rollback().await.unwrap();
        assert_eq!(queue.arrived(10).await.unwrap().len(), 2, "what is rolled back never was");
        queue.close().await;
    }

    #[tokio::test]
    async fn what_is_no_notification_never_reaches_the_database() {
        // A database without our tables: it would say so.
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let nameless = Draft { kind: String::new(), ..paid(1) };
        let refused = connection.enqueue(&nameless).await.unwrap_err();
        assert!(refused.to_string().starts_with("type: is required"), "{refused}");
        let own = Draft { kind: "postrider.test".into(), ..paid(1) };
        let refused = connection.enqueue(&own).await.unwrap_err();
        assert!(refused.to_string().starts_with("type: must not begin with"), "{refused}");
        let year = Duration::from_secs(400 * 86_400);
        let late = Schedule { deliver_after: year, expires_after: None };
        let refused = connection.enqueue_later(&paid(1), &late).await.unwrap_err();
        assert_eq!(refused.to_string(), "deliver_after: is longer than 366 days");
        let soon = Schedule { deliver_after: Duration::ZERO, expires_after: Some(Duration::ZERO) };
        let refused = connection.enqueue_later(&paid(1), &soon).await.unwrap_err();
        assert_eq!(refused.to_string(), "expires_after: must be longer than deliver_after");
        let unmade = connection.enqueue(&paid(1)).await.unwrap_err();
        assert!(unmade.to_string().contains("no such table"), "{unmade}");
    }
}
