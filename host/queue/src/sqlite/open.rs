//! Opening a database file: the lock, the connections, the schema, and what the last daemon left behind.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection, Executor};

use super::checkpoint::{Checkpoints, LONGEST_LOG};
use super::fault::{self, Fault};
use super::{breakers_sql, chores_sql, schema, sql};
use crate::MAX_BATCH;

/// How long a statement waits for a producer's transaction.
const BUSY: Duration = Duration::from_secs(5);
/// Connections for reading: lists and pages, a handful at a time.
const READERS: u32 = 4;
/// How long a reader waits for one of them.
const READER_WAIT: Duration = Duration::from_secs(5);
/// Compiled statements that a connection of a thread keeps: all that the writer has.
const STATEMENTS: usize = 128;
/// How often a lock that is held is tried again, and the wait between.
const LOCK_TRIES: u32 = 10;
const LOCK_WAIT: Duration = Duration::from_millis(25);

/// Whether SQLite looks at what the daemon itself writes, too: a tenth of what a delivery takes. Producers' rows are
/// looked at in their own connections, and the tests do it for ours.
const CHECKED: bool = cfg!(debug_assertions);

/// How to open a store.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Makes what the last daemon held due at once, instead of when its leases expire. Safe, because the lock proves
    /// that it is gone.
    pub recover: bool,
    pub clock: Clock,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { recover: true, clock: Clock::Machine }
    }
}

/// The clock of a store.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's, which is the one that SQLite itself reads.
    Machine,
    /// For tests: milliseconds since 1970, moved by hand.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Milliseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "an embedded database's clock is the machine's")]
    pub(super) fn now(&self) -> i64 {
        match self {
            Self::Machine => jiff::Timestamp::now().as_millisecond(),
            Self::Manual(now) => now.load(Ordering::Relaxed),
        }
    }
}

/// Why a database could not be opened; each says what an operator can change.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or its directory cannot be created or written.
    #[error(
        "cannot write {}: {source}; the database needs a directory in which this user may create \
         files, and if it exists, it must be writable",
        path.display()
    )]
    NotWritable { path: PathBuf, source: io::Error },
    /// The file is something else.
    #[error("{} is not an SQLite database; name another file or move it away", path.display())]
    NotADatabase { path: PathBuf },
    /// Another daemon has it open.
    #[error(
        "{} is locked by another postrider{}; stop it or choose another database",
        lock.display(),
        holder(*pid)
    )]
    Held { lock: PathBuf, pid: Option<u32> },
    /// A newer postrider wrote it, and no longer bears this one.
    #[error(
        "{} has schema version {found}, which needs a postrider that knows version {oldest}; this \
         one knows up to {known}: install a newer one",
        path.display()
    )]
    SchemaTooNew { path: PathBuf, found: i64, oldest: i64, known: i64 },
    /// SQLite could not do it.
    #[error("{}: {reason}", path.display())]
    Database { path: PathBuf, reason: String },
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// What an open database consists of.
pub(super) struct Opened {
    pub(super) lock: File,
    pub(super) writer: rusqlite::Connection,
    pub(super) checkpoints: Checkpoints,
    pub(super) readers: SqlitePool,
}

/// Locks the file, opens it, brings its schema up to date and, if asked, recovers.
pub(super) async fn open(path: &Path, options: &SqliteOptions) -> Result<Opened, OpenError> {
    let lock = patient_lock(path).await?;
    create(path)?;
    let failed = |error: sqlx::Error| describe(path, error);
    let mut first = SqliteConnection::connect_with(&connection(path)).await.map_err(failed)?;
    sqlx::query(sql::PROBE).execute(&mut first).await.map_err(failed)?;
    let encoding: String =
        sqlx::query_scalar(sql::ENCODING).fetch_one(&mut first).await.map_err(failed)?;
    if encoding != "UTF-8" {
        let reason = format!("its text is {encoding}; make the file anew, with UTF-8");
        return Err(OpenError::Database { path: path.to_owned(), reason });
    }
    schema::migrate(&mut first, path, options.clock.now(), schema::MIGRATIONS).await?;
    if options.recover {
        recover(&mut first, options.clock.now()).await.map_err(failed)?;
    }
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(READER_WAIT)
        .test_before_acquire(false)
        .connect_with(connection(path).pragma("query_only", "on"))
        .await
        .map_err(failed)?;
    // One that closes while there is no other takes the log away.
    first.close().await.map_err(failed)?;
    let failed = |error: rusqlite::Error| describe(path, error);
    let writer = own(path).map_err(failed)?;
    if !CHECKED {
        writer.execute_batch(sql::UNCHECKED).map_err(failed)?;
    }
    let checkpoints = Checkpoints::start(own(path).map_err(failed)?);
    let checkpoints = checkpoints.map_err(|error| no_thread(path, &error))?;
    Ok(Opened { lock, writer, checkpoints, readers })
}

/// Takes the lock, and gives a holder that is just ending a moment: so long as a process that was forked from it has
/// not become another program yet, the lock is held there, too.
async fn patient_lock(database: &Path) -> Result<File, OpenError> {
    let mut left = LOCK_TRIES;
    loop {
        match lock(database) {
            Err(OpenError::Held { .. }) if left > 0 => left -= 1,
            locked => return locked,
        }
        tokio::time::sleep(LOCK_WAIT).await;
    }
}

/// Takes the sidecar lock, which lives as long as the file it answers, and writes our process into it.
fn lock(database: &Path) -> Result<File, OpenError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let refused = |source| OpenError::NotWritable { path: path.clone(), source };
    let mut file = private().truncate(false).open(&path).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = pid_in(&mut file);
            return Err(OpenError::Held { lock: path, pid });
        }
        Err(TryLockError::Error(source)) => return Err(refused(source)),
    }
    file.set_len(0).map_err(refused)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(refused)?;
    Ok(file)
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Creates the database if it is absent: SQLite's own message for that does not say why it cannot.
fn create(path: &Path) -> Result<(), OpenError> {
    let refused = |source| OpenError::NotWritable { path: path.to_owned(), source };
    private().truncate(false).open(path).map(drop).map_err(refused)
}

/// Not for the world to read: notifications are in it. The group may be the producers'.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o660);
    }
    options
}

/// How each connection is set up, next to WAL and foreign keys.
const SETTINGS: [(&str, &str); 4] = [
    ("cache_size", "-4096"),
    ("temp_store", "memory"),
    ("wal_autocheckpoint", LONGEST_LOG),
    ("journal_size_limit", "67108864"),
];

/// One for those who read, or for what is done at opening.
fn connection(path: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        // Rows of a batch must not wait for each other's pick-up.
        .row_buffer_size(MAX_BATCH)
        .disable_statement_logging();
    SETTINGS.iter().fold(options, |options, (name, value)| options.pragma(*name, *value))
}

/// One for a thread of its own: there a statement is a call, and not a trip to another thread and back.
fn own(path: &Path) -> rusqlite::Result<rusqlite::Connection> {
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // Anything less loses acknowledged notifications when the power fails.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", "on")?;
    for (name, value) in SETTINGS {
        connection.pragma_update(None, name, value)?;
    }
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Frees what the last daemon held.
///
/// Where the clock has provably gone back since the store was last written, everything live and every hold comes
/// due earlier by as much: an early try harms less than one that never comes.
async fn recover(writer: &mut SqliteConnection, now: i64) -> Result<(), sqlx::Error> {
    let last_seen: i64 = sqlx::query_scalar(sql::LAST_SEEN).fetch_one(&mut *writer).await?;
    let mut tx = writer.begin_with(sql::BEGIN).await?;
    if last_seen > now {
        let back = last_seen - now;
        tracing::warn!(
            queue.clock_back_ms = back,
            "the clock went back; deliveries are due earlier"
        );
        tx.execute(sqlx::query(sql::SHIFT_DUE).bind(now).bind(back)).await?;
        tx.execute(sqlx::query(sql::SHIFT_HOLDS).bind(back)).await?;
        tx.execute(sqlx::query(breakers_sql::SHIFT).bind(back)).await?;
    }
    // The lock proves that they are gone.
    tx.execute(sqlx::query(chores_sql::FORGET).bind(i64::MAX)).await?;
    tx.execute(sqlx::query(breakers_sql::RECOVER).bind(now)).await?;
    let freed = tx.execute(sqlx::query(sql::RECOVER).bind(now)).await?.rows_affected();
    tx.commit().await?;
    if freed > 0 {
        tracing::info!(queue.leases = freed, "leases of the last daemon are due again");
    }
    Ok(())
}

/// What SQLite said, in an operator's terms.
pub(super) fn describe(path: &Path, error: impl Into<Fault>) -> OpenError {
    let (path, fault) = (path.to_owned(), error.into());
    match fault.primary_code() {
        Some(fault::NOT_A_DATABASE) => OpenError::NotADatabase { path },
        Some(fault::READ_ONLY | fault::CANNOT_OPEN) => OpenError::NotWritable {
            path,
            source: io::Error::new(io::ErrorKind::PermissionDenied, fault.to_string()),
        },
        Some(_) | None => OpenError::Database { path, reason: fault.explain() },
    }
}

pub(super) fn no_thread(path: &Path, error: &io::Error) -> OpenError {
    let reason = format!("cannot start a thread for it: {error}; raise the limit of threads");
    OpenError::Database { path: path.to_owned(), reason }
}
