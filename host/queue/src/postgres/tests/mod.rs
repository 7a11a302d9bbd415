//! What only the PostgreSQL store has: its server, its producers, several hosts.

mod faults;
mod hosts;
mod order;
mod outbox;
mod rates;
mod statements;
mod upgrading;
mod words;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use postrider_core::{Notification, Schedule};
use postrider_test_postgres::{Cluster, Settings};

use super::{PostgresOptions, PostgresQueue};
use crate::Queue as _;
use crate::conformance::{EPOCH, Stage, Stand, item};

conformance!(stage);

mod without_skip_locked {
    use super::*;

    async fn stage() -> Option<Stage> {
        PostgresStand::new()?
            .stage(PostgresOptions { skip_locked: false, ..PostgresOptions::default() })
            .await
    }

    conformance! { stage, leases:
        every_delivery_is_claimed_exactly_once
        an_expired_lease_is_taken_again_and_recorded_as_lost
        a_stale_token_changes_nothing_and_is_reported
    }
}

/// This process's server; it ends with the process.
pub(super) fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start_or_skip(Settings::quick())).as_ref()
}

/// A schema of its own, with a clock of its own: its `now()` comes before PostgreSQL's in the search path.
pub(super) struct PostgresStand {
    cluster: &'static Cluster,
    schema: String,
}

#[async_trait]
impl Stand for PostgresStand {
    fn advance(&self, by: Duration) {
        let by = by.as_micros();
        self.run(&format!("UPDATE clock SET at = at + {by} * interval '1 microsecond'"));
    }

    async fn insert_scheduled(&self, notification: Notification, schedule: Schedule) {
        let expires = schedule.expires_after.map(|after| after.as_millis().to_string());
        let labels = serde_json::to_string(&notification.labels).unwrap();
        let subject = notification.subject.map_or("NULL".into(), |text| format!("'{text}'"));
        let content = std::str::from_utf8(&notification.content).unwrap();
        self.run(&format!(
            "INSERT INTO notifications (id, type, source, subject, labels, content_type, content, \
             created_at, deliver_after_ms, expires_after_ms, traceparent, tracestate) VALUES ('{}', '{}', '{}', {subject}, '{labels}', '{}', $content${content}$content$, \
             to_timestamp({} / 1000.0), {}, {}, '{}', '{}')",
            notification.id,
            notification.kind,
            notification.source,
            notification.content_type,
            notification.time.as_millisecond(),
            schedule.deliver_after.as_millis(),
            expires.as_deref().unwrap_or("NULL"),
            notification.trace.as_ref().map_or("", |trace| trace.parent()),
            notification.trace.as_ref().and_then(|trace| trace.state()).unwrap_or(""),
        ));
    }
}

impl PostgresStand {
    pub(super) fn new() -> Option<Self> {
        static SCHEMAS: AtomicU32 = AtomicU32::new(0);
        let schema = format!("s{}", SCHEMAS.fetch_add(1, Ordering::Relaxed));
        let stand = Self { cluster: cluster()?, schema };
        let epoch = EPOCH.as_second();
        let schema = &stand.schema;
        stand.run(&format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.clock (at timestamptz); \
             INSERT INTO {schema}.clock VALUES (to_timestamp({epoch})); \
             CREATE FUNCTION {schema}.now() RETURNS timestamptz LANGUAGE sql STABLE \
             AS 'SELECT at FROM {schema}.clock'"
        ));
        Some(stand)
    }

    pub(super) fn url(&self) -> String {
        let url = self.cluster.url();
        format!("{url}?options=-c%20search_path%3D{}%2Cpg_catalog", self.schema)
    }

    /// Runs SQL as another program would.
    pub(super) fn run(&self, sql: &str) -> String {
        let schema = &self.schema;
        let sql = format!("SET search_path = {schema}, pg_catalog; {sql}");
        self.cluster.psql("postgres", &sql).unwrap()
    }

    pub(super) async fn open(&self, options: PostgresOptions) -> PostgresQueue {
        PostgresQueue::open(&self.url(), options).await.unwrap()
    }

    /// Puts checks on postrider's own rows, which it works without.
    fn check(&self) {
        self.run(include_str!("checks.sql"));
    }

    async fn stage(self, options: PostgresOptions) -> Option<Stage> {
        let queue = Arc::new(self.open(options).await);
        self.check();
        Some(Stage { queue: queue.clone(), access: queue, stand: Arc::new(self) })
    }
}

async fn stage() -> Option<Stage> {
    PostgresStand::new()?.stage(PostgresOptions::default()).await
}

#[tokio::test]
async fn producers_rows_are_checked_and_our_own_by_the_conformance() {
    let Some(stand) = PostgresStand::new() else { return };
    let queue = stand.open(PostgresOptions::default()).await;
    let checked = "SELECT string_agg(conrelid::regclass::text, ' ') \
         FROM pg_constraint WHERE contype = 'c' AND connamespace = current_schema()::regnamespace \
         AND conrelid IN ('notifications'::regclass, 'deliveries'::regclass, 'attempts'::regclass)";
    assert_eq!(stand.run(checked), ["notifications"; 5].join(" "));
    stand.check();
    queue.enqueue(vec![item(&["slack"])]).await.unwrap();
    let wrong = format!("UPDATE {}.deliveries SET state = 2", stand.schema);
    let refused = stand.cluster.psql("postgres", &wrong).unwrap_err();
    assert!(format!("{refused:?}").contains("deliveries_hold"), "{refused:?}");
}
