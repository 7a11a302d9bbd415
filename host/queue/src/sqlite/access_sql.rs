//! The statements of tokens and the audit.

/// ?1: id, ?2: name, ?3: scopes, ?4: hash, ?5: now, ?6: expiry.
pub(super) const CREATE: &str = "INSERT INTO tokens (id, name, scopes, hash, created, expires) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";

/// ?1: id.
pub(super) const TOKEN: &str =
    "SELECT id, name, scopes, hash, created, expires, last_used FROM tokens WHERE id = ?1";

pub(super) const TOKENS: &str =
    "SELECT id, name, scopes, hash, created, expires, last_used FROM tokens ORDER BY name";

/// ?1: id, ?2: now, ?3: unless it was used since.
pub(super) const USE: &str =
    "UPDATE tokens SET last_used = ?2 WHERE id = ?1 AND (last_used IS NULL OR last_used <= ?3)";

/// ?1: id.
pub(super) const REVOKE: &str = "DELETE FROM tokens WHERE id = ?1";

/// ?1: older than this, ?2: at most so many.
pub(super) const FORGET: &str = "DELETE FROM audit WHERE id IN ( \
     SELECT id FROM audit WHERE at < ?1 ORDER BY at LIMIT ?2)";

/// ?1: now, ?2: actor, ?3: action, ?4: subject, ?5: details.
pub(super) const RECORD: &str =
    "INSERT INTO audit (at, actor, action, subject, details) VALUES (?1, ?2, ?3, ?4, ?5)";

/// ?1: below this id, ?2: at most so many.
pub(super) const AUDIT: &str = "SELECT id, at, actor, action, subject, details FROM audit \
     WHERE id < ?1 ORDER BY id DESC LIMIT ?2";

/// All of them, for the test that prepares each.
#[cfg(test)]
pub(super) const ALL: &[&str] = &[CREATE, TOKEN, TOKENS, USE, REVOKE, FORGET, RECORD, AUDIT];
