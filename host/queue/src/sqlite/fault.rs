//! What went wrong in SQLite, and whose fault it was.

use crate::QueueError;

// Primary result codes of SQLite.
pub(super) const READ_ONLY: i32 = 8;
pub(super) const CANNOT_OPEN: i32 = 14;
pub(super) const NOT_A_DATABASE: i32 = 26;
const ERROR: i32 = 1;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const TOO_BIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const MISMATCH: i32 = 20;

/// Why a statement did not do what it was to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// One of those who read.
    #[error(transparent)]
    Read(#[from] sqlx::Error),
    /// The writer's.
    #[error(transparent)]
    Write(#[from] rusqlite::Error),
    /// A row holds what it should not, or a parameter cannot be written.
    #[error("{0}")]
    Value(String),
    /// A statement wrote other rows than it was to.
    #[error("{0}")]
    Miscounted(String),
}

impl Fault {
    /// SQLite's result code without its extension.
    pub(super) fn primary_code(&self) -> Option<i32> {
        let code = match self {
            Self::Read(error) => error.as_database_error()?.code()?.parse().ok()?,
            Self::Write(error) => error.sqlite_error()?.extended_code,
            Self::Value(_) | Self::Miscounted(_) => return None,
        };
        Some(code & 0xff)
    }

    /// Whether what was asked is at fault, rather than the disk or a neighbour: others may fare better without it.
    pub(super) fn is_own(&self) -> bool {
        use rusqlite::Error as Write;
        use sqlx::Error as Read;
        match self {
            Self::Value(_)
            | Self::Read(
                Read::ColumnDecode { .. }
                | Read::ColumnNotFound(_)
                | Read::Decode(_)
                | Read::Encode(_),
            )
            | Self::Write(
                Write::FromSqlConversionFailure(..)
                | Write::IntegralValueOutOfRange(..)
                | Write::InvalidColumnName(_)
                | Write::InvalidColumnType(..)
                | Write::ToSqlConversionFailure(_)
                | Write::Utf8Error(..),
            ) => true,
            Self::Read(_) | Self::Write(_) | Self::Miscounted(_) => matches!(
                self.primary_code(),
                Some(ERROR | CORRUPT | TOO_BIG | CONSTRAINT | MISMATCH | NOT_A_DATABASE)
            ),
        }
    }

    /// Whether a key or an id that is to be unique is there already.
    pub(super) fn is_unique_violation(&self) -> bool {
        use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
        let Self::Write(error) = self else { return false };
        let code = error.sqlite_error().map(|error| error.extended_code);
        matches!(code, Some(SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_UNIQUE))
    }

    /// The cause and the remedy, in one line.
    pub(super) fn explain(&self) -> String {
        match self.primary_code() {
            Some(FULL) => format!("{self}: the disk of the database is full; make room there"),
            _ => self.to_string(),
        }
    }

    /// The same in the queue's terms.
    pub(super) fn describe(&self) -> QueueError {
        match self {
            Self::Read(sqlx::Error::PoolClosed) => closed(),
            fault if fault.is_own() => QueueError::Corrupt(fault.to_string()),
            fault => QueueError::Unavailable(fault.explain()),
        }
    }
}

/// For a producer, whose connection is sqlx's.
impl From<Fault> for sqlx::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Read(error) => error,
            other => Self::Decode(Box::new(other)),
        }
    }
}

/// The same of an error as it comes.
pub(super) fn describe(error: impl Into<Fault>) -> QueueError {
    error.into().describe()
}

pub(super) fn closed() -> QueueError {
    QueueError::Unavailable("it is closed".to_owned())
}
