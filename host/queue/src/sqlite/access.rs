//! Tokens and the audit.

use async_trait::async_trait;
use rusqlite::Connection;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::fault::Fault;
use super::statement::execute;
use super::writer::Request;
use super::{SqliteQueue, access_sql as sql, read};
use crate::access::AUDIT_CHUNK;
use crate::{
    AUDIT_KEPT, Access, AuditEntry, AuditRecord, LAST_USE, NewToken, Page, QueueError, TokenRecord,
    millis,
};

/// What the writer is asked for; it answers whether that changed anything.
#[derive(Debug)]
pub(super) enum Write {
    Create(NewToken),
    Use(String),
    Revoke(String),
    Record(AuditEntry),
}

#[async_trait]
impl Access for SqliteQueue {
    async fn create_token(&self, token: &NewToken) -> Result<bool, QueueError> {
        self.write(Request::Access, Write::Create(token.clone())).await
    }

    async fn token(&self, id: &str) -> Result<Option<TokenRecord>, QueueError> {
        let now = self.clock.now();
        let rows = sqlx::query(sql::TOKEN).bind(id).fetch_all(&self.readers).await;
        Ok(read(rows, |row| token(row, now))?.pop())
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, QueueError> {
        let now = self.clock.now();
        let rows = sqlx::query(sql::TOKENS).fetch_all(&self.readers).await;
        read(rows, |row| token(row, now))
    }

    async fn use_token(&self, id: &str) -> Result<(), QueueError> {
        self.write(Request::Access, Write::Use(id.to_owned())).await.map(drop)
    }

    async fn revoke_token(&self, id: &str) -> Result<bool, QueueError> {
        self.write(Request::Access, Write::Revoke(id.to_owned())).await
    }

    async fn record(&self, entry: &AuditEntry) -> Result<(), QueueError> {
        self.write(Request::Access, Write::Record(entry.clone())).await.map(drop)
    }

    async fn audit(&self, page: &Page) -> Result<Vec<AuditRecord>, QueueError> {
        let rows = sqlx::query(sql::AUDIT)
            .bind(page.after.unwrap_or(i64::MAX))
            .bind(i64::from(page.limit))
            .fetch_all(&self.readers)
            .await;
        read(rows, entry)
    }
}

pub(super) fn run(connection: &Connection, write: &Write, now: i64) -> Result<bool, Fault> {
    let written = match write {
        Write::Create(NewToken { id, name, scopes, hash, expires_after }) => {
            let expires = expires_after.map(|after| now + millis::of(after));
            execute(connection, sql::CREATE, (id, name, scopes, hash.as_slice(), now, expires))?
        }
        Write::Use(id) => execute(connection, sql::USE, (id, now, now - millis::of(LAST_USE)))?,
        Write::Revoke(id) => execute(connection, sql::REVOKE, [id])?,
        Write::Record(AuditEntry { actor, action, subject, details }) => {
            let old = now - millis::of(AUDIT_KEPT);
            execute(connection, sql::FORGET, (old, AUDIT_CHUNK))?;
            execute(connection, sql::RECORD, (now, actor, action, subject, details))?
        }
    };
    Ok(written > 0)
}

fn token(row: &SqliteRow, now: i64) -> Result<TokenRecord, Fault> {
    let moment = |column| -> Result<_, Fault> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(millis::timestamp))
    };
    let expires: Option<i64> = row.try_get("expires")?;
    let hash: &[u8] = row.try_get("hash")?;
    let broken = |length| Fault::Value(format!("hash: has {length} bytes"));
    Ok(TokenRecord {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        scopes: row.try_get("scopes")?,
        hash: hash.try_into().map_err(|_other| broken(hash.len()))?,
        created: millis::timestamp(row.try_get("created")?),
        expires: expires.map(millis::timestamp),
        last_used: moment("last_used")?,
        expired: expires.is_some_and(|at| at <= now),
    })
}

fn entry(row: &SqliteRow) -> Result<AuditRecord, Fault> {
    Ok(AuditRecord {
        id: row.try_get("id")?,
        at: millis::timestamp(row.try_get("at")?),
        entry: AuditEntry {
            actor: row.try_get("actor")?,
            action: row.try_get("action")?,
            subject: row.try_get("subject")?,
            details: row.try_get("details")?,
        },
    })
}
