//! What another process may do to the file while a daemon runs on it: look, and copy. It needs no lock, and the
//! daemon goes on meanwhile.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::open::{Clock, OpenError, describe};
use super::{SqliteQueue, chores, chores_sql, schema};
use crate::{Schema, Stats};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The copy cannot be written.
    #[error("cannot write {}: {source}; name a new file in a directory with room for the whole database", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl SqliteQueue {
    /// How the database at `path` stands to this postrider; version zero where there is none.
    pub async fn schema(path: &Path) -> Result<Schema, OpenError> {
        if !path.exists() {
            let known = i64::try_from(schema::MIGRATIONS.len()).unwrap_or(i64::MAX);
            return Ok(Schema { found: 0, oldest: 0, known });
        }
        let mut reader = read_only(path).await?;
        let schema = schema::schema(&mut reader, schema::MIGRATIONS).await;
        schema.map_err(|error| describe(path, error))
    }

    /// Numbers about the database at `path`.
    pub async fn stats_of(path: &Path) -> Result<Stats, OpenError> {
        let mut reader = read_only(path).await?;
        let stats = chores::stats(&mut reader, Clock::Machine.now()).await;
        Ok(with_log(stats.map_err(|error| describe(path, error))?, path))
    }

    /// Writes a copy of the database at `path` as of now to the new file `to`, for its owner only. What is committed
    /// is in it, and a copy that fails leaves nothing.
    pub async fn backup(path: &Path, to: &Path) -> Result<(), BackupError> {
        let mut reader = read_only(path).await?;
        let refused = |source| BackupError::Write { path: to.to_owned(), source };
        let name = to.to_str().ok_or_else(|| refused(io::ErrorKind::InvalidFilename.into()))?;
        // SQLite takes a file that is empty, and this one is nobody else's to read.
        let file = private_new().open(to).map_err(refused)?;
        let copied = sqlx::query(chores_sql::BACKUP).bind(name).execute(&mut reader).await;
        let synced = match copied {
            Ok(_) => file.sync_all(),
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(source) = synced {
            if let Err(error) = std::fs::remove_file(to) {
                tracing::warn!(%error, file.path = %to.display(), "the rest of a failed copy stays");
            }
            return Err(refused(source));
        }
        // What is left is to let go of the file.
        drop(reader.close().await);
        Ok(())
    }
}

/// The same with the size of SQLite's log, which belongs to the database.
pub(super) fn with_log(mut stats: Stats, path: &Path) -> Stats {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = std::fs::metadata(log).map_or(0, |file| file.len());
    stats.sizes.log = Some(log);
    stats.sizes.total += log;
    stats
}

async fn read_only(path: &Path) -> Result<SqliteConnection, OpenError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let connected = options.disable_statement_logging().connect().await;
    connected.map_err(|error| describe(path, error))
}

fn private_new() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}
