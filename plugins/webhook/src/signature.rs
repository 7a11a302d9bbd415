//! The headers of Standard Webhooks: id, timestamp, and the signature over both and the body.
//!
//! The signature covers the body as this module made it. The host expands `{{secret:…}}` tokens after that, so a
//! template must not put a secret into a body that is signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postrider_sdk::{Failure, SignError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the destination's secret that signs.
pub(crate) const SECRET: &str = "signing";

/// Whether to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    Always,
    Never,
    IfSecret,
}

impl From<Option<bool>> for Signing {
    fn from(sign: Option<bool>) -> Self {
        match sign {
            Some(true) => Self::Always,
            Some(false) => Self::Never,
            None => Self::IfSecret,
        }
    }
}

impl Signing {
    /// The value of `webhook-signature`, by the host's signing function.
    ///
    /// An unusable secret is retried and never sent without: the receiver would refuse the request, or worse, not.
    pub(crate) fn sign(
        self,
        data: &[u8],
        host_sign: impl FnOnce(&str, &[u8]) -> Result<String, SignError>,
    ) -> Result<Option<String>, Failure> {
        if self == Self::Never {
            return Ok(None);
        }
        match host_sign(SECRET, data) {
            Ok(signatures) => Ok(Some(signatures)),
            Err(SignError::Missing) if self == Self::IfSecret => Ok(None),
            Err(SignError::Missing) => Err(Failure::retry(format!(
                "cannot sign: there is no secret \"{SECRET}\"; add it under [secrets]"
            ))),
            Err(SignError::Unusable(problem)) => {
                Err(Failure::retry(format!("cannot sign: {problem}")))
            }
        }
    }
}

/// What identifies one attempt.
pub(crate) struct Stamp<'a> {
    pub(crate) id: &'a str,
    /// Unix time of the attempt, by which a receiver refuses replays.
    pub(crate) seconds: u64,
}

impl<'a> Stamp<'a> {
    pub(crate) fn new(id: &'a str, now: SystemTime) -> Self {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { id, seconds }
    }

    /// The bytes to sign: `{id}.{timestamp}.{body}`.
    pub(crate) fn signed(&self, body: &[u8]) -> Vec<u8> {
        [format!("{}.{}.", self.id, self.seconds).as_bytes(), body].concat()
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn missing(_: &str, _: &[u8]) -> Result<String, SignError> {
        Err(SignError::Missing)
    }

    fn unusable(_: &str, _: &[u8]) -> Result<String, SignError> {
        Err(SignError::Unusable("secret \"signing\": not base64".to_owned()))
    }

    fn works(secret: &str, data: &[u8]) -> Result<String, SignError> {
        assert_eq!((secret, data), ("signing", b"data".as_slice()));
        Ok("v1,a v1a,b".to_owned())
    }

    #[test]
    fn the_signed_bytes_are_id_timestamp_and_body() {
        let stamp = Stamp::new("0197", UNIX_EPOCH + Duration::from_millis(1_700_000_000_999));
        assert_eq!(stamp.signed(b"\xff{}"), b"0197.1700000000.\xff{}");
    }

    #[test]
    fn the_header_is_what_the_host_made_of_all_keys() {
        for signing in [Signing::Always, Signing::IfSecret] {
            assert_eq!(signing.sign(b"data", works), Ok(Some("v1,a v1a,b".to_owned())));
        }
        assert_eq!(Signing::Never.sign(b"data", works), Ok(None));
    }

    #[test]
    fn without_the_secret_only_a_demanded_signature_fails() {
        assert_eq!(Signing::IfSecret.sign(b"", missing), Ok(None));
        assert_eq!(Signing::Never.sign(b"", missing), Ok(None));
        assert!(matches!(Signing::Always.sign(b"", missing), Err(Failure::Retry(_))));
    }

    #[test]
    fn an_unusable_secret_never_goes_unsigned() {
        for signing in [Signing::Always, Signing::IfSecret] {
            assert!(matches!(signing.sign(b"", unusable), Err(Failure::Retry(_))));
        }
    }
}
