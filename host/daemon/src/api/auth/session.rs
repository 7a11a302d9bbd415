//! A web page's cookie: it stands for a token that was shown once, and says nothing of its secret.
//!
//! `<token's id>.<expiry>.<MAC>`, by a key that only this daemon's data directory has. Nothing is stored: a session ends
//! with its time, or with its token.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

/// The cookie's name.
pub const COOKIE: &str = "postrider_session";
/// How long a session lasts, in seconds.
pub const LASTS: i64 = 12 * 3_600;

/// Makes cookies and reads them.
#[derive(Clone)]
pub struct Sessions {
    key: [u8; 64],
    now: fn() -> Timestamp,
}

impl Sessions {
    pub fn new(key: [u8; 64], now: fn() -> Timestamp) -> Self {
        Self { key, now }
    }

    /// The value of a cookie for the token of this id.
    pub fn open(&self, token: &str) -> String {
        let expires = (self.now)().as_second().saturating_add(LASTS);
        let mac = URL_SAFE_NO_PAD.encode(self.mac(token, expires).finalize().into_bytes());
        format!("{token}.{expires}.{mac}")
    }

    /// The id of the token that a cookie stands for; none where it is not ours or has expired.
    pub fn token_of(&self, value: &str) -> Option<String> {
        let mut parts = value.splitn(3, '.');
        let (token, expires, mac) = (parts.next()?, parts.next()?, parts.next()?);
        let expires: i64 = expires.parse().ok()?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        self.mac(token, expires).verify_slice(&mac).ok()?;
        (expires > (self.now)().as_second()).then(|| token.to_owned())
    }

    fn mac(&self, token: &str, expires: i64) -> Hmac<Sha256> {
        let mut mac = Hmac::new(&self.key.into());
        mac.update(format!("postrider session\n{token}\n{expires}").as_bytes());
        mac
    }
}

/// The value of our cookie in a request.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

/// What sets the cookie, or ends it where there is no value.
pub fn set_cookie(value: Option<&str>, tls: bool) -> String {
    let (value, lasts) = value.map_or(("", 0), |value| (value, LASTS));
    let secure = if tls { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Strict{secure}")
}

/// Reads the key of this data directory, or makes it from `chance`.
pub fn key(path: &Path, chance: [u8; 64]) -> Result<[u8; 64]> {
    let place = || format!("cannot use {}", path.display());
    let mut options = std::fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            file.write_all(&chance).with_context(place)?;
            Ok(chance)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mut key = [0; 64];
            let mut file = std::fs::File::open(path).with_context(place)?;
            let whole = file.read_exact(&mut key);
            whole
                .with_context(|| format!("{} is no key of 64 bytes; remove it", path.display()))?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(key: u8, now: fn() -> Timestamp) -> Sessions {
        Sessions::new([key; 64], now)
    }

    #[test]
    fn a_cookie_ends_with_its_time() {
        let cookie = at(1, || Timestamp::UNIX_EPOCH).open("abc");
        let in_time = at(1, || Timestamp::constant(LASTS - 1, 0));
        assert_eq!(in_time.token_of(&cookie).as_deref(), Some("abc"));
        assert_eq!(at(1, || Timestamp::constant(LASTS, 0)).token_of(&cookie), None);
    }

    #[test]
    fn a_forged_cookie_is_none() {
        let sessions = at(1, || Timestamp::UNIX_EPOCH);
        let cookie = sessions.open("abc");
        let longer = cookie.replacen(&LASTS.to_string(), &(LASTS + 1).to_string(), 1);
        let other = cookie.replacen("abc", "abd", 1);
        let strange = at(2, || Timestamp::UNIX_EPOCH).open("abc");
        for forged in [longer, other, strange, "abc".into(), "abc.9.".into(), String::new()] {
            assert_eq!(sessions.token_of(&forged), None, "{forged}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=b; other=1".parse().unwrap());
        assert_eq!(cookie(&headers), None);
        headers.append(header::COOKIE, format!("x=y;{COOKIE}=v=1").parse().unwrap());
        assert_eq!(cookie(&headers), Some("v=1"));
    }

    #[test]
    fn the_key_is_made_once_for_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("session.key");
        assert_eq!(key(&path, [1; 64]).unwrap(), [1; 64]);
        assert_eq!(key(&path, [2; 64]).unwrap(), [1; 64]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "short").unwrap();
        assert!(key(&path, [1; 64]).unwrap_err().to_string().contains("remove it"));
    }
}
