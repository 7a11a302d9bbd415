//! Who may call the API, and what was changed through it: kept where the queue is, so that all its hosts agree.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{Page, QueueError};

/// Entries of the audit that are older go, as new ones come.
pub const AUDIT_KEPT: Duration = Duration::from_secs(400 * 86_400);
/// How exactly the last use of a token is kept: one write for so long, however often it is used.
pub const LAST_USE: Duration = Duration::from_secs(60);

/// Old entries that one new one takes with it.
pub(crate) const AUDIT_CHUNK: i64 = 100;

/// Tokens and the audit. Methods stand in the order of a token's life.
///
/// Every method answers only after its effect is durable.
#[async_trait]
pub trait Access: Send + Sync + 'static {
    /// Keeps a token. Answers false, and keeps nothing, where its id or its name is taken.
    async fn create_token(&self, token: &NewToken) -> Result<bool, QueueError>;

    /// The token of this id.
    async fn token(&self, id: &str) -> Result<Option<TokenRecord>, QueueError>;

    /// All tokens, also those that have expired, by name.
    async fn tokens(&self) -> Result<Vec<TokenRecord>, QueueError>;

    /// Notes that a token is used now, unless that was noted within [`LAST_USE`].
    async fn use_token(&self, id: &str) -> Result<(), QueueError>;

    /// Removes a token. Answers whether it was there.
    async fn revoke_token(&self, id: &str) -> Result<bool, QueueError>;

    /// Writes an entry of the audit, and removes old ones as [`AUDIT_KEPT`] says.
    async fn record(&self, entry: &AuditEntry) -> Result<(), QueueError>;

    /// Entries of the audit, newest first.
    async fn audit(&self, page: &Page) -> Result<Vec<AuditRecord>, QueueError>;
}

/// A token to keep. Its secret stays with its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    pub id: String,
    pub name: String,
    /// Names, separated by spaces.
    pub scopes: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// From now on, by the store's clock.
    pub expires_after: Option<Duration>,
}

/// A token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    pub id: String,
    pub name: String,
    pub scopes: String,
    pub hash: [u8; 32],
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub last_used: Option<Timestamp>,
    /// Whether it has expired, by the store's clock.
    pub expired: bool,
}

/// A change: who made it, what it was, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    pub actor: String,
    /// Such as `delivery.redeliver`.
    pub action: String,
    pub subject: String,
    /// A JSON object, without secrets.
    pub details: String,
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    pub id: i64,
    pub at: Timestamp,
    pub entry: AuditEntry,
}
