//! Settings, secrets and signatures.

use crate::bindings::postrider::notifier::host;
use std::time::SystemTime;

pub use crate::bindings::postrider::notifier::host::{Algorithm, SignError};

/// One value of the `[config]` table as text, by its dotted path.
pub fn setting(path: &str) -> Option<String> {
    host::setting(path)
}

/// The value of a secret, only where the destination says `reveal = true`.
///
/// Prefer `{{secret:name}}` in the configuration: then the value never enters the module.
pub fn secret(name: &str) -> Option<String> {
    host::secret(name)
}

/// Signs with a secret that stays with the host; 32 bytes.
pub fn sign_hmac_sha256(secret: &str, data: &[u8]) -> Result<Vec<u8>, SignError> {
    host::sign(secret, Algorithm::HmacSha256, data)
}

/// Signs with a secret 32-byte seed that stays with the host; 64 bytes.
pub fn sign_ed25519(secret: &str, data: &[u8]) -> Result<Vec<u8>, SignError> {
    host::sign(secret, Algorithm::Ed25519, data)
}

/// The header `webhook-signature` of Standard Webhooks over `{id}.{timestamp}.{body}`, with a signature for each key of
/// the secret, which stay with the host.
pub fn sign_webhook(secret: &str, data: &[u8]) -> Result<String, SignError> {
    host::sign_webhook(secret, data)
}

/// The time of day: the one place where the SDK asks for it, everything else takes it as a parameter.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now() -> SystemTime {
    SystemTime::now()
}
