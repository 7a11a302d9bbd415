//! The statements of tokens and the audit.

macro_rules! token {
    () => {
        "SELECT id, name, scopes, hash, created, expires, last_used, \
         coalesce(expires <= now(), false) AS expired FROM tokens"
    };
}

/// $1: id, $2: name, $3: scopes, $4: hash, $5: milliseconds until it expires.
pub(super) const CREATE: &str = "INSERT INTO tokens (id, name, scopes, hash, created, expires) \
     VALUES ($1, $2, $3, $4, now(), now() + $5::bigint * interval '1 millisecond') ON CONFLICT DO NOTHING";

/// $1: id.
pub(super) const TOKEN: &str = concat!(token!(), " WHERE id = $1");

pub(super) const TOKENS: &str = concat!(token!(), " ORDER BY name COLLATE \"C\"");

/// $1: id, $2: unless it was used within so many milliseconds.
pub(super) const USE: &str = "UPDATE tokens SET last_used = now() WHERE id = $1 \
     AND (last_used IS NULL OR last_used <= now() - $2::bigint * interval '1 millisecond')";

/// $1: id.
pub(super) const REVOKE: &str = "DELETE FROM tokens WHERE id = $1";

/// $1: older than so many milliseconds, $2: at most so many.
pub(super) const FORGET: &str = "DELETE FROM audit WHERE id IN ( \
     SELECT id FROM audit WHERE at < now() - $1::bigint * interval '1 millisecond' ORDER BY at LIMIT $2)";

/// $1: actor, $2: action, $3: subject, $4: details.
pub(super) const RECORD: &str =
    "INSERT INTO audit (at, actor, action, subject, details) VALUES (now(), $1, $2, $3, $4)";

/// $1: below this id, $2: at most so many.
pub(super) const AUDIT: &str = "SELECT id, at, actor, action, subject, details FROM audit \
     WHERE id < $1 ORDER BY id DESC LIMIT $2";

/// All of them, for the test that prepares each.
#[cfg(test)]
pub(super) const ALL: &[&str] = &[CREATE, TOKEN, TOKENS, USE, REVOKE, FORGET, RECORD, AUDIT];
