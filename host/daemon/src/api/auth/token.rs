//! How a token is made, written and checked.
//!
//! `prt_<id>_<secret>`: the id finds the row, the secret opens the door. The secret has 256 bits of chance, so one
//! SHA-256 keeps it: there is nothing to guess that a slow hash would slow down.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What every token begins with, so that those who look for leaked secrets find it.
const PREFIX: &str = "prt_";
/// Characters of an id and of a secret.
const ID: usize = 16;
const SECRET: usize = 43;

/// A token as its owner has it.
pub struct Token {
    pub id: String,
    secret: String,
}

impl Token {
    /// Makes one of this much chance.
    pub fn new(id: [u8; 8], secret: [u8; 32]) -> Self {
        let mut written = String::with_capacity(ID);
        for byte in id {
            // Writing to a string does not fail.
            write!(written, "{byte:02x}").ok();
        }
        Self { id: written, secret: URL_SAFE_NO_PAD.encode(secret) }
    }

    /// Reads one; none where it has not the form of a token.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_id = id.len() == ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_id && secret.len() == SECRET)
            .then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// The only time that it is written out.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }

    /// What is kept of the secret.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret.as_bytes()).into()
    }

    /// Whether this is the secret that is kept. Takes as long for a wrong one.
    pub fn is(&self, kept: &[u8; 32]) -> bool {
        self.hash().ct_eq(kept).into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_read_as_it_was_written(id: [u8; 8], secret: [u8; 32]) {
            let token = Token::new(id, secret);
            let read = Token::parse(&token.reveal()).unwrap();
            prop_assert_eq!(&read.id, &token.id);
            prop_assert!(read.is(&token.hash()));
        }

        #[test]
        fn another_secret_does_not_open(id: [u8; 8], secret: [u8; 32], bit in 0usize..256) {
            let token = Token::new(id, secret);
            let mut other = secret;
            other[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!Token::new(id, other).is(&token.hash()));
        }

        #[test]
        fn any_text_is_read_or_is_none(text in ".*") {
            if let Some(token) = Token::parse(&text) {
                prop_assert_eq!(token.reveal(), text);
            }
        }
    }

    #[test]
    fn what_has_not_the_form_is_none() {
        let written = Token::new([1; 8], [2; 32]).reveal();
        assert!(Token::parse(&written).is_some());
        for text in ["", "prt_", "prt_0101010101010101_", &written[1..], &format!("{written}x")] {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }
}
