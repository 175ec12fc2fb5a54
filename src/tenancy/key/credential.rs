//! The credential `bgw_<id>_<secret>`. The store and this module keep a SHA-256 of the secret alone, compared in constant
//! time; the secret exists in full only where it is made and where it is presented.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::config::Secret;
use crate::error::{Error, Exception, Kind, Result};
use crate::ids::KeyId;

const PREFIX: &str = "bgw_";
/// Longest text worth hashing: what we hand out has 89 characters.
const MAX_TEXT: usize = 512;

/// Whether this is meant as a key of a gateway, by how it begins.
pub fn looks_own(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The whole text of the key with this id.
pub(super) fn text(id: &KeyId, secret: &str) -> Secret {
    Secret::new(format!("{PREFIX}{id}_{secret}"))
}

/// A key as somebody presents it.
#[derive(Clone, Copy)]
pub(in crate::tenancy) struct Presented<'a> {
    pub(in crate::tenancy) id: &'a str,
    pub(in crate::tenancy) secret: &'a str,
}

impl<'a> Presented<'a> {
    /// Takes the text of a key apart. Whatever has not our form is no key of ours, and nobody needs to be asked.
    pub(in crate::tenancy) fn parse(text: &'a str) -> Result<Self> {
        if text.is_empty() {
            return Err(missing());
        }
        let parts = if text.len() <= MAX_TEXT { text.strip_prefix(PREFIX) } else { None };
        match parts.and_then(|parts| parts.split_once('_')) {
            Some((id, secret)) if is_id(id) && !secret.is_empty() => Ok(Self { id, secret }),
            _ => Err(unknown()),
        }
    }
}

pub(in crate::tenancy) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// SHA-256 of a secret. Shows in no log: it is all that is needed to try secrets at leisure.
#[derive(Clone, Copy)]
pub(in crate::tenancy) struct SecretHash([u8; 32]);

impl SecretHash {
    pub(in crate::tenancy) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    pub(super) fn is_equal(self, other: Self) -> Choice {
        self.0.ct_eq(&other.0)
    }

    /// Whether both are the same, in the same time whatever they are.
    pub(in crate::tenancy) fn is(self, other: Self) -> bool {
        self.is_equal(other).into()
    }

    /// Lowercase hex, as the store keeps it.
    pub(in crate::tenancy) fn to_hex(self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Reads what [`SecretHash::to_hex`] wrote.
    pub(in crate::tenancy) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.is_equal(*other).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

const WRONG: &str =
    "The key is not valid. It must be a gateway key, `bgw_...`, exactly as it was shown when it was made.";

/// Nobody presented a key.
pub(in crate::tenancy) fn missing() -> Error {
    let message = "No key was sent. Send a gateway key as `Authorization: Bearer bgw_...` or `x-api-key: bgw_...`.";
    Error::new(Kind::Unauthenticated, message)
        .exception(Exception { name: "MissingAuthenticationTokenException", status: 403 })
}

/// The key is not ours: malformed, unknown, or with a wrong secret, which all look alike.
pub(in crate::tenancy) fn unknown() -> Error {
    refused(WRONG)
}

/// The key is ours, and does not count any more.
pub(in crate::tenancy) fn refused(message: &'static str) -> Error {
    Error::new(Kind::Unauthenticated, message).exception(Exception { name: "UnrecognizedClientException", status: 403 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_missing_key_and_a_foreign_one_are_told_apart_and_neither_is_repeated() {
        let name = |text: &str| Presented::parse(text).err().and_then(|error| error.aws()).unwrap().name;
        assert_eq!(name(""), "MissingAuthenticationTokenException");
        assert_eq!(name("sk-proj-abc"), "UnrecognizedClientException");
        assert!(!unknown().message().contains("sk-proj-abc"));
    }

    proptest! {
        #[test]
        fn parsing_takes_exactly_what_was_put_together(id in "[a-z0-9]{1,64}", secret in "[!-~]{1,200}") {
            let text = format!("bgw_{id}_{secret}");
            let presented = Presented::parse(&text).unwrap();
            prop_assert_eq!((presented.id, presented.secret), (&*id, &*secret));
        }

        #[test]
        fn any_text_parses_to_its_own_parts_or_to_an_error(text in "(bgw_)?\\PC{0,40}_?\\PC{0,40}") {
            if let Ok(presented) = Presented::parse(&text) {
                prop_assert_eq!(&format!("bgw_{}_{}", presented.id, presented.secret), &text);
                prop_assert!(is_id(presented.id));
            }
        }

        #[test]
        fn a_hash_reads_back_and_other_text_is_no_hash(secret in "\\PC{0,80}", other in "\\PC{0,70}") {
            let hash = SecretHash::of(&secret);
            prop_assert_eq!(SecretHash::from_hex(&hash.to_hex()).unwrap(), hash);
            prop_assert!(SecretHash::from_hex(&other).is_none() || other.len() == 64);
        }
    }
}
