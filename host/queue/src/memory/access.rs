//! Tokens and the audit in the model.

use async_trait::async_trait;

use super::{MemoryQueue, Tables};
use crate::{
    AUDIT_KEPT, Access, AuditEntry, AuditRecord, LAST_USE, NewToken, Page, QueueError, TokenRecord,
    millis,
};

#[derive(Debug)]
pub(super) struct StoredToken {
    new: NewToken,
    created: i64,
    expires: Option<i64>,
    last_used: Option<i64>,
}

#[async_trait]
impl Access for MemoryQueue {
    async fn create_token(&self, token: &NewToken) -> Result<bool, QueueError> {
        let mut tables = self.open()?;
        if tables.tokens.values().any(|kept| kept.new.id == token.id || kept.new.name == token.name)
        {
            return Ok(false);
        }
        let stored = StoredToken {
            new: token.clone(),
            created: tables.now,
            expires: token.expires_after.map(|after| tables.now + millis::of(after)),
            last_used: None,
        };
        tables.tokens.insert(token.id.clone(), stored);
        Ok(true)
    }

    async fn token(&self, id: &str) -> Result<Option<TokenRecord>, QueueError> {
        let tables = self.open()?;
        Ok(tables.tokens.get(id).map(|stored| tables.token(stored)))
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, QueueError> {
        let tables = self.open()?;
        let mut found: Vec<_> = tables.tokens.values().map(|stored| tables.token(stored)).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    async fn use_token(&self, id: &str) -> Result<(), QueueError> {
        let mut tables = self.open()?;
        let (now, before) = (tables.now, tables.now - millis::of(LAST_USE));
        if let Some(stored) = tables.tokens.get_mut(id) {
            stored.last_used = stored.last_used.filter(|at| *at > before).or(Some(now));
        }
        Ok(())
    }

    async fn revoke_token(&self, id: &str) -> Result<bool, QueueError> {
        Ok(self.open()?.tokens.remove(id).is_some())
    }

    async fn record(&self, entry: &AuditEntry) -> Result<(), QueueError> {
        let mut tables = self.open()?;
        let (now, before) = (tables.now, tables.now - millis::of(AUDIT_KEPT));
        tables.audit.retain(|_, (at, _)| *at >= before);
        tables.last_audit += 1;
        let id = tables.last_audit;
        tables.audit.insert(id, (now, entry.clone()));
        Ok(())
    }

    async fn audit(&self, page: &Page) -> Result<Vec<AuditRecord>, QueueError> {
        let tables = self.open()?;
        let below = tables.audit.range(..page.after.unwrap_or(i64::MAX)).rev();
        let records = below.map(|(id, (at, entry))| AuditRecord {
            id: *id,
            at: millis::timestamp(*at),
            entry: entry.clone(),
        });
        Ok(records.take(page.limit as usize).collect())
    }
}

impl Tables {
    fn token(&self, stored: &StoredToken) -> TokenRecord {
        TokenRecord {
            id: stored.new.id.clone(),
            name: stored.new.name.clone(),
            scopes: stored.new.scopes.clone(),
            hash: stored.new.hash,
            created: millis::timestamp(stored.created),
            expires: stored.expires.map(millis::timestamp),
            last_used: stored.last_used.map(millis::timestamp),
            expired: stored.expires.is_some_and(|at| at <= self.now),
        }
    }
}
