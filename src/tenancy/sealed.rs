//! Secrets that signatures are made and checked with, sealed: those of keys for signing and of webhooks. A hash will not do
//! there. They are kept under AES-256-GCM with the key of `auth.sealing_key`, which is not in the store; a nonce is drawn for
//! each, and whose it is, is bound in, so that a sealed secret opens for its own key or team only. What is opened is never
//! kept: only what is derived from it for one day, Region and service.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config;
use crate::config::Secret;
use crate::error::{Error, Kind, Result};
use crate::ids::KeyId;
use crate::recent::Recent;
use crate::sigv4;

/// How a sealed secret begins that is sealed in this way.
const VERSION: &str = "v1.";
/// So many derived keys are kept: one for each key, day and Region that calls come for.
const DERIVED: usize = 20_000;

/// Seals secrets and opens them. A cheap clone.
#[derive(Clone)]
pub struct Sealer(Arc<Inner>);

struct Inner {
    key: RandomizedNonceKey,
    derived: Recent<String, [u8; 32]>,
}

impl Sealer {
    /// By `auth.sealing_key`; `None` when it is not set.
    pub fn configured(settings: &config::Auth) -> Option<Self> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &settings.sealing_bytes()?).ok()?;
        Some(Self(Arc::new(Inner { key, derived: Recent::new(DERIVED) })))
    }

    /// The error of who wants a key for signing where there is no sealer.
    pub fn missing() -> Error {
        let message = "A key for signing needs the setting auth.sealing_key, under which its secret is kept: the base64 of \
                       32 bytes, as `openssl rand -base64 32` makes them, the same for every process.";
        Error::new(Kind::Unsupported, message).param("sigv4")
    }

    /// The secret of `owner`, such as a key by its id, as the store keeps it.
    pub(super) fn seal(&self, owner: &str, secret: &str) -> Result<String> {
        let mut text = secret.as_bytes().to_vec();
        let nonce = self.0.key.seal_in_place_append_tag(Aad::from(owner), &mut text).map_err(Error::internal)?;
        Ok(format!("{VERSION}{}", STANDARD.encode([&nonce.as_ref()[..], &text].concat())))
    }

    /// What [`Sealer::seal`] sealed for this owner. `None` when it is anything else: sealed for another, under another key,
    /// or changed.
    pub(super) fn open(&self, owner: &str, sealed: &str) -> Option<Secret> {
        let mut bytes = STANDARD.decode(sealed.strip_prefix(VERSION)?).ok()?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.0.key.open_in_place(nonce, Aad::from(owner), text).ok()?;
        Some(Secret::new(std::str::from_utf8(text).ok()?))
    }

    /// The key that the sealed secret signs with for one day, Region and service; `None` as [`Sealer::open`].
    pub(super) fn signing_key(&self, id: &KeyId, sealed: &str, scope: Scoped<'_>) -> Option<[u8; 32]> {
        let Scoped { day, region, service } = scope;
        let name = format!("{id}/{sealed}/{day}/{region}/{service}");
        if let Some(key) = self.0.derived.get(&name) {
            return Some(key);
        }
        let key = sigv4::signing_key(self.open(id.as_str(), sealed)?.expose(), day, region, service);
        self.0.derived.put(name, key);
        Some(key)
    }
}

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scoped<'a> {
    /// Such as `20260102`.
    pub day: &'a str,
    /// The Region that the client means.
    pub region: &'a str,
    /// `bedrock`.
    pub service: &'a str,
}

/// The same one, not another under the same key.
impl PartialEq for Sealer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Sealer {}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> Sealer {
        let settings =
            config::Auth { sealing_key: Secret::new(STANDARD.encode([byte; 32])), ..config::Auth::default() };
        Sealer::configured(&settings).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_for_its_own_key_and_under_the_same_setting_only() {
        let (sealer, id) = (sealer(1), "a");
        let kept = sealer.seal(id, "my-secret").unwrap();
        assert_eq!(sealer.open(id, &kept).unwrap().expose(), "my-secret");
        assert_ne!(kept, sealer.seal(id, "my-secret").unwrap(), "no nonce is used twice");
        assert!(sealer.open("b", &kept).is_none());
        assert!(super::tests::sealer(2).open(id, &kept).is_none());
        let bytes = STANDARD.decode(kept.strip_prefix(VERSION).unwrap()).unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert!(sealer.open(id, &format!("{VERSION}{}", STANDARD.encode(changed))).is_none(), "{index}");
        }
        for other in ["", "v1.", "v1.AAAA", "v2.AAAA", &kept[..kept.len() - 4]] {
            assert!(sealer.open(id, other).is_none(), "{other}");
        }
        assert!(!format!("{sealer:?}{kept}").contains("my-secret"));
    }

    #[test]
    fn without_the_setting_there_is_no_sealer() {
        assert!(Sealer::configured(&config::Auth::default()).is_none());
        assert!(Sealer::missing().message().contains("auth.sealing_key"));
    }

    #[test]
    fn a_derived_key_is_the_same_from_memory_and_another_for_each_scope() {
        let (sealer, id) = (sealer(1), KeyId::from("a"));
        let kept = sealer.seal(id.as_str(), "my-secret").unwrap();
        let scope = |day, region| Scoped { day, region, service: "bedrock" };
        let key = |scope| sealer.signing_key(&id, &kept, scope).unwrap();
        let first = key(scope("20260102", "eu-west-1"));
        assert_eq!(first, sigv4::signing_key("my-secret", "20260102", "eu-west-1", "bedrock"));
        assert_eq!(first, key(scope("20260102", "eu-west-1")));
        assert_ne!(first, key(scope("20260103", "eu-west-1")));
        assert_ne!(first, key(scope("20260102", "eu-west-2")));
    }
}
