//! Tokens and the audit.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::moment::Moment;
use super::{Again, PATIENCE, PostgresQueue, access_sql as sql, milliseconds};
use crate::access::AUDIT_CHUNK;
use crate::{
    AUDIT_KEPT, Access, AuditEntry, AuditRecord, LAST_USE, NewToken, Page, QueueError, TokenRecord,
    millis,
};

#[async_trait]
impl Access for PostgresQueue {
    async fn create_token(&self, token: &NewToken) -> Result<bool, QueueError> {
        let create = || {
            sqlx::query(sql::CREATE)
                .bind(&token.id)
                .bind(&token.name)
                .bind(&token.scopes)
                .bind(token.hash.as_slice())
                .bind(token.expires_after.map(milliseconds))
                .execute(&self.pool)
        };
        // A second time it would find its own.
        let created = self.call(PATIENCE, Again::No, create).await?;
        Ok(created.rows_affected() > 0)
    }

    async fn token(&self, id: &str) -> Result<Option<TokenRecord>, QueueError> {
        let found =
            self.rows(|| sqlx::query(sql::TOKEN).bind(id).fetch_all(&self.pool), token).await;
        Ok(found?.pop())
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, QueueError> {
        self.rows(|| sqlx::query(sql::TOKENS).fetch_all(&self.pool), token).await
    }

    async fn use_token(&self, id: &str) -> Result<(), QueueError> {
        let within = milliseconds(LAST_USE);
        let used = || sqlx::query(sql::USE).bind(id).bind(within).execute(&self.pool);
        self.call(PATIENCE, Again::Yes, used).await.map(drop)
    }

    async fn revoke_token(&self, id: &str) -> Result<bool, QueueError> {
        let revoke = || sqlx::query(sql::REVOKE).bind(id).execute(&self.pool);
        Ok(self.call(PATIENCE, Again::No, revoke).await?.rows_affected() > 0)
    }

    async fn record(&self, entry: &AuditEntry) -> Result<(), QueueError> {
        let record = || {
            sqlx::query(sql::RECORD)
                .bind(&entry.actor)
                .bind(&entry.action)
                .bind(&entry.subject)
                .bind(&entry.details)
                .execute(&self.pool)
        };
        // Twice is better than never.
        self.call(PATIENCE, Again::Yes, record).await?;
        let kept = milliseconds(AUDIT_KEPT);
        let old = || sqlx::query(sql::FORGET).bind(kept).bind(AUDIT_CHUNK).execute(&self.pool);
        self.call(PATIENCE, Again::Yes, old).await.map(drop)
    }

    async fn audit(&self, page: &Page) -> Result<Vec<AuditRecord>, QueueError> {
        let (after, limit) = (page.after.unwrap_or(i64::MAX), i64::from(page.limit));
        let audit = || sqlx::query(sql::AUDIT).bind(after).bind(limit).fetch_all(&self.pool);
        self.rows(audit, entry).await
    }
}

fn token(row: &PgRow) -> Result<TokenRecord, sqlx::Error> {
    let moment = |column| -> Result<_, sqlx::Error> {
        let at: Option<Moment> = row.try_get(column)?;
        Ok(at.map(|at| millis::timestamp(at.millis())))
    };
    let hash: &[u8] = row.try_get("hash")?;
    Ok(TokenRecord {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        scopes: row.try_get("scopes")?,
        hash: hash.try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        created: millis::timestamp(row.try_get::<Moment, _>("created")?.millis()),
        expires: moment("expires")?,
        last_used: moment("last_used")?,
        expired: row.try_get("expired")?,
    })
}

fn entry(row: &PgRow) -> Result<AuditRecord, sqlx::Error> {
    Ok(AuditRecord {
        id: row.try_get("id")?,
        at: millis::timestamp(row.try_get::<Moment, _>("at")?.millis()),
        entry: AuditEntry {
            actor: row.try_get("actor")?,
            action: row.try_get("action")?,
            subject: row.try_get("subject")?,
            details: row.try_get("details")?,
        },
    })
}
