//! Connecting: the pool, its patience, and errors that an operator can act on.

use std::str::FromStr;
use std::time::Duration;

use postrider_core::HostId;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};

use super::doubt::{self, Doubt};
use super::{fault, schema, sql};
use crate::Schema;

/// Connections of one host: the dispatcher's verbs overlap, and so do the API's callers.
const CONNECTIONS: u32 = 12;
/// How long a call waits for a connection; with the call itself it stays below the API's two seconds.
const ACQUIRE: Duration = Duration::from_millis(1_500);
/// A connection that was idle for longer is asked whether it still is one, before anything depends on it.
const PING_AFTER: Duration = Duration::from_secs(1);

/// How long the first connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How to open a store.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// `FOR UPDATE SKIP LOCKED` in claims. Without it hosts that claim from one destination wait for each other, and
    /// PostgreSQL-compatible engines that lack or botch it can be used: the recheck in the claim keeps it right.
    pub skip_locked: bool,
    /// Tells other hosts of work by `NOTIFY` in this host's name, and hears them by `LISTEN`, on one connection more.
    /// Without it they find it by polling: within 50 ms while there is work, within a second else.
    pub listen_notify: Option<HostId>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { skip_locked: true, listen_notify: None }
    }
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not even an attempt is possible.
    #[error("the database's URL is not understood: {0}; write postgres://USER:PASSWORD@HOST/NAME")]
    Url(String),
    /// A newer postrider wrote it, and no longer bears this one beside it.
    #[error(
        "the database has schema version {found}, which needs a postrider that knows version \
         {oldest}; this one knows up to {known}: install a newer one"
    )]
    SchemaTooNew { found: i64, oldest: i64, known: i64 },
    /// It may be different in a moment.
    #[error("{0}")]
    Unavailable(String),
}

impl OpenError {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        Self::Unavailable(fault::explain(error))
    }

    /// Whether trying again can help.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Connects, refuses a replica, and brings the schema up to date. A migration takes the time that it takes; all else
/// is bounded.
pub(super) async fn open(url: &str, doubt: Doubt) -> Result<PgPool, OpenError> {
    let options = options(url)?;
    let mut connection = first(&options).await?;
    schema::migrate(&mut connection, schema::MIGRATIONS).await?;
    // What it was for is done: a farewell that fails changes nothing.
    drop(connection.close().await);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .after_connect(|connection, _| Box::pin(pin_plans(connection)))
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|connection, idle| {
            Box::pin(async move {
                // An error would be a line in the log for each.
                Ok(idle.idle_for < PING_AFTER || doubt::answers(connection).await)
            })
        })
        .after_release(move |connection, _| {
            let doubt = doubt.clone();
            Box::pin(async move { Ok(doubt.keeps(connection).await) })
        });
    Ok(pool.connect_lazy_with(options))
}

/// Has each statement planned once a connection, with an index: each is written for one plan, and planning it anew
/// takes as long as running it one by one. A server of another make that cannot is asked for no more.
async fn pin_plans(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for setting in sql::PIN_PLANS {
        match sqlx::query(setting).execute(&mut *connection).await {
            Ok(_) | Err(sqlx::Error::Database(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How the schema stands to this postrider, untouched.
pub(super) async fn schema(url: &str) -> Result<Schema, OpenError> {
    let mut connection = first(&options(url)?).await?;
    let found = schema::schema(&mut connection, schema::MIGRATIONS).await;
    drop(connection.close().await);
    found.map_err(|error| OpenError::of(&error))
}

async fn first(options: &PgConnectOptions) -> Result<PgConnection, OpenError> {
    match tokio::time::timeout(CONNECT, connect(options)).await {
        Ok(connected) => connected,
        Err(_elapsed) => Err(OpenError::of(&sqlx::Error::PoolTimedOut)),
    }
}

/// A connection to a server that takes writes.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, OpenError> {
    let failed = |error: sqlx::Error| OpenError::of(&error);
    let mut connection = options.connect().await.map_err(failed)?;
    let replica: bool =
        sqlx::query_scalar(sql::IS_REPLICA).fetch_one(&mut connection).await.map_err(failed)?;
    if replica {
        let told =
            "PostgreSQL is a read-only replica or in recovery; name the primary in `database`";
        return Err(OpenError::Unavailable(told.to_owned()));
    }
    Ok(connection)
}

fn options(url: &str) -> Result<PgConnectOptions, OpenError> {
    // sqlx's own error does not repeat the URL, so neither its password.
    let options =
        PgConnectOptions::from_str(url).map_err(|error| OpenError::Url(error.to_string()))?;
    Ok(options.application_name("postrider").disable_statement_logging())
}
