//! What went wrong in PostgreSQL, in an operator's words, and whether it is worth another try.

use std::io;

use crate::QueueError;

/// SQLSTATEs, from PostgreSQL's appendix A.
mod code {
    pub(super) const SERIALIZATION: &str = "40001";
    pub(super) const DEADLOCK: &str = "40P01";
    pub(super) const UNIQUE: &str = "23505";
    pub(super) const READ_ONLY: &str = "25006";
    pub(super) const DISK_FULL: &str = "53100";
    pub(super) const OUT_OF_MEMORY: &str = "53200";
    pub(super) const TOO_MANY_CONNECTIONS: &str = "53300";
    pub(super) const CANNOT_CONNECT_NOW: &str = "57P03";
    pub(super) const WRONG_PASSWORD: &str = "28P01";
    pub(super) const NOT_AUTHORIZED: &str = "28000";
    pub(super) const NO_DATABASE: &str = "3D000";
    pub(super) const NO_PRIVILEGE: &str = "42501";
}

/// The SQLSTATE of what the server refused.
pub(super) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Whether a statement met another and is worth the same try again at once.
pub(super) fn is_collision(error: &sqlx::Error) -> bool {
    let met = [code::SERIALIZATION, code::DEADLOCK, code::UNIQUE];
    sqlstate(error).is_some_and(|state| met.contains(&state.as_str()))
}

/// Whether the connection is gone, rather than the server unwilling: another one may do.
pub(super) fn is_cut(error: &sqlx::Error) -> bool {
    let cut = |state: String| state.starts_with("57P") && state != code::CANNOT_CONNECT_NOW;
    match error {
        sqlx::Error::Io(error) => error.kind() != io::ErrorKind::ConnectionRefused,
        sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        _ => sqlstate(error).is_some_and(cut),
    }
}

/// Whether what was asked is at fault, rather than the server.
fn is_own(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::TypeNotFound { .. } => true,
        // Data, integrity, syntax.
        _ => sqlstate(error).is_some_and(|state| {
            ["22", "23", "42"].iter().any(|class| state.starts_with(class))
                && state != code::NO_PRIVILEGE
        }),
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
    let said = match error {
        sqlx::Error::Database(said) => said.message().to_owned(),
        sqlx::Error::Io(error) => return format!("PostgreSQL cannot be reached: {error}"),
        sqlx::Error::Tls(error) => return format!("PostgreSQL's TLS failed: {error}"),
        sqlx::Error::PoolTimedOut => {
            return "PostgreSQL gave no connection in time: it does not answer, or all are in use"
                .to_owned();
        }
        other => return format!("PostgreSQL: {other}"),
    };
    let state = sqlstate(error).unwrap_or_default();
    let remedy = match state.as_str() {
        code::READ_ONLY => "it is a read-only replica; name the primary in `database`",
        code::DISK_FULL => "its disk is full; make room there",
        code::OUT_OF_MEMORY => "it is out of memory",
        code::TOO_MANY_CONNECTIONS => {
            "all its connections are in use; raise max_connections there or stop other clients"
        }
        code::CANNOT_CONNECT_NOW => "it is starting, stopping or in recovery",
        code::WRONG_PASSWORD | code::NOT_AUTHORIZED => {
            "it refuses this user; check user and password in `database`"
        }
        code::NO_DATABASE => "create that database, or name another in `database`",
        code::NO_PRIVILEGE => "grant this user the tables and the schema",
        _ => return format!("PostgreSQL: {said} ({state})"),
    };
    format!("PostgreSQL: {said} ({state}): {remedy}")
}

pub(super) fn timed_out() -> QueueError {
    QueueError::Unavailable("PostgreSQL did not answer in time".to_owned())
}

pub(super) fn closed() -> QueueError {
    QueueError::Unavailable("it is closed".to_owned())
}
