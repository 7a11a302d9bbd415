//! Signing with keys that stay with the host. A secret may hold several keys, newest first, separated by white space:
//! that is how one is rotated while receivers still know the old one.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How a symmetric key of Standard Webhooks begins; base64 follows.
const SYMMETRIC: &str = "whsec_";
/// How an asymmetric one begins.
const ASYMMETRIC: &str = "whsk_";
/// Keys of one secret that sign; more of them are no rotation.
const MAX_KEYS: usize = 8;

/// How to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    HmacSha256,
    Ed25519,
}

/// Signs with the first of the keys in `value`.
pub(crate) fn sign(value: &str, way: Way, data: &[u8]) -> Result<Vec<u8>, &'static str> {
    let key = value.split_whitespace().next().ok_or("is empty")?;
    sign_with(key, way, data)
}

/// The header `webhook-signature` of Standard Webhooks: one signature for each key.
pub(crate) fn sign_webhook(value: &str, data: &[u8]) -> Result<String, &'static str> {
    let keys: Vec<&str> = value.split_whitespace().collect();
    if keys.is_empty() {
        return Err("is empty");
    }
    if keys.len() > MAX_KEYS {
        return Err("holds more than 8 keys; take old ones out");
    }
    let signatures = keys.into_iter().map(|key| -> Result<String, &'static str> {
        let (version, way) = match key.starts_with(ASYMMETRIC) {
            true => ("v1a", Way::Ed25519),
            false => ("v1", Way::HmacSha256),
        };
        Ok(format!("{version},{}", STANDARD.encode(sign_with(key, way, data)?)))
    });
    Ok(signatures.collect::<Result<Vec<_>, _>>()?.join(" "))
}

fn sign_with(key: &str, way: Way, data: &[u8]) -> Result<Vec<u8>, &'static str> {
    let bytes = match key.strip_prefix(SYMMETRIC).or_else(|| key.strip_prefix(ASYMMETRIC)) {
        Some(text) => STANDARD
            .decode(text)
            .or_else(|_no_padding| STANDARD_NO_PAD.decode(text))
            .map_err(|_bad| "begins with whsec_ or whsk_ but does not go on in base64")?,
        None => key.as_bytes().to_vec(),
    };
    match way {
        Way::HmacSha256 => {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(&bytes).map_err(|_bad| "is no HMAC key")?;
            mac.update(data);
            Ok(mac.finalize().into_bytes().to_vec())
        }
        Way::Ed25519 => Ok(signing_key(&bytes)?.sign(data).to_bytes().to_vec()),
    }
}

/// A seed, or a seed with its public key behind it as some tools write it.
fn signing_key(bytes: &[u8]) -> Result<SigningKey, &'static str> {
    if let Ok(seed) = <[u8; 32]>::try_from(bytes) {
        return Ok(SigningKey::from_bytes(&seed));
    }
    let pair = <[u8; 64]>::try_from(bytes)
        .map_err(|_length| "is no ed25519 seed: 32 bytes, or whsk_ and 32 bytes in base64")?;
    SigningKey::from_keypair_bytes(&pair)
        .map_err(|_bad| "is an ed25519 key pair whose halves do not fit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signature, Verifier as _};

    /// The example of the Standard Webhooks specification's reference libraries.
    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const DATA: &[u8] = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn a_webhook_secret_signs_as_the_standard_says() {
        let signed = sign(KEY, Way::HmacSha256, DATA).unwrap();
        assert_eq!(format!("v1,{}", STANDARD.encode(signed)), SIGNATURE);
        assert_eq!(sign_webhook(KEY, DATA).unwrap(), SIGNATURE);
    }

    #[test]
    fn the_first_of_several_keys_signs() {
        let new = sign("new", Way::HmacSha256, b"x").unwrap();
        assert_eq!(sign(" new old\n", Way::HmacSha256, b"x").unwrap(), new);
        assert!(sign(" ", Way::HmacSha256, b"x").is_err());
    }

    #[test]
    fn every_key_signs_a_webhook_the_newest_first() {
        let seed = format!("{ASYMMETRIC}{}", STANDARD.encode([7; 32]));
        let header = sign_webhook(&format!("{seed}\n{KEY} plain"), DATA).unwrap();
        let signatures: Vec<&str> = header.split(' ').collect();
        assert_eq!(signatures[1], SIGNATURE);
        assert_eq!(signatures[2], sign_webhook("plain", DATA).unwrap());
        let asymmetric = STANDARD.decode(signatures[0].strip_prefix("v1a,").unwrap()).unwrap();
        let public = SigningKey::from_bytes(&[7; 32]).verifying_key();
        assert!(public.verify(DATA, &Signature::from_slice(&asymmetric).unwrap()).is_ok());
        // One key that cannot sign leaves nothing half signed.
        assert!(sign_webhook(&format!("{KEY} whsec_!"), DATA).unwrap_err().contains("base64"));
        assert!(sign_webhook(&"k ".repeat(9), DATA).unwrap_err().contains("more than 8"));
        assert!(sign_webhook(" ", DATA).is_err());
    }

    #[test]
    fn an_ed25519_seed_signs_what_its_public_key_verifies() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let pair = STANDARD.encode(key.to_keypair_bytes());
        for secret in [
            format!("whsec_{}", STANDARD.encode([7; 32])),
            format!("whsk_{}", STANDARD.encode([7; 32])),
            format!("whsk_{pair}"),
        ] {
            let signed = sign(&secret, Way::Ed25519, b"data").unwrap();
            let signature = Signature::from_slice(&signed).unwrap();
            assert!(key.verifying_key().verify(b"data", &signature).is_ok());
        }
        assert!(sign("short", Way::Ed25519, b"data").unwrap_err().contains("32 bytes"));
        let torn = format!("whsk_{}", STANDARD.encode([7; 64]));
        assert!(sign(&torn, Way::Ed25519, b"data").unwrap_err().contains("do not fit"));
    }
}
