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

/// SQLite's result code without its extension.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Whether what was asked is at fault, rather than the disk or a neighbour: others may fare better without it.
pub(super) fn is_own(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_) => true,
        _ => matches!(
            primary_code(error),
            Some(ERROR | CORRUPT | TOO_BIG | CONSTRAINT | MISMATCH | NOT_A_DATABASE)
        ),
    }
}

/// The same in the queue's terms.
pub(super) fn describe(error: &sqlx::Error) -> QueueError {
    match error {
        sqlx::Error::PoolClosed => closed(),
        error if is_own(error) => QueueError::Corrupt(error.to_string()),
        error => QueueError::Unavailable(explain(error)),
    }
}

/// The cause and the remedy, in one line.
pub(super) fn explain(error: &sqlx::Error) -> String {
    match primary_code(error) {
        Some(FULL) => format!("{error}: the disk of the database is full; make room there"),
        _ => error.to_string(),
    }
}

pub(super) fn closed() -> QueueError {
    QueueError::Unavailable("it is closed".to_owned())
}
