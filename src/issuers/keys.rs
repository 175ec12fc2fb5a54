//! What an issuer signs with: its JSON Web Key Set, read, and a signature held against a key of it. Pure.
//! <https://www.rfc-editor.org/rfc/rfc7517>

use bytes::Bytes;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{AlgorithmFamily, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::claims::Claims;
use super::refused;
use crate::config::Algorithm;
use crate::error::{Error, Result};

/// More keys are not looked at.
const MOST: usize = 200;

/// The keys of an issuer at one moment.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    source: Bytes,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    /// The one algorithm it is for, if it says so.
    algorithm: Option<String>,
    public: DecodingKey,
}

impl KeySet {
    /// Reads the set. Keys that are not for signatures, or of a sort that is not known, are left out; a set may be empty.
    pub(super) fn parse(source: Bytes) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(&source)?;
        let keys = set.keys.into_iter().take(MOST).filter_map(Key::read).collect();
        Ok(Self { source, keys })
    }

    /// Whether both are what was read from the same text.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.source == other.source
    }

    /// How many keys can be used.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key of that name for `algorithm`. A token that names none has to be of an issuer with one such key.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let mut fitting = self.keys.iter().filter(|key| {
            let is_named = kid.is_none_or(|kid| key.kid.as_deref() == Some(kid));
            is_named && key.fits(algorithm)
        });
        let found = fitting.next()?;
        (kid.is_some() || fitting.next().is_none()).then(|| found.public.clone())
    }
}

impl Key {
    fn read(value: Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let (kid, algorithm, purpose) = (text("kid"), text("alg"), text("use"));
        let operations = value.get("key_ops").and_then(Value::as_array);
        let verifies = operations.is_none_or(|all| all.iter().any(|one| one == "verify"));
        if purpose.is_some_and(|purpose| purpose != "sig") || !verifies {
            return None;
        }
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let public = DecodingKey::from_jwk(&jwk).ok()?;
        // What everybody can read is no secret to share.
        (public.family() != AlgorithmFamily::Hmac).then_some(Self { kid, algorithm, public })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.public.family() == family(algorithm)
            && self.algorithm.as_deref().is_none_or(|only| only == algorithm.to_string())
    }
}

fn family(algorithm: Algorithm) -> AlgorithmFamily {
    match algorithm {
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => AlgorithmFamily::Rsa,
        Algorithm::ES256 | Algorithm::ES384 => AlgorithmFamily::Ec,
        Algorithm::EdDsa => AlgorithmFamily::Ed,
    }
}

fn library(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::RS384 => jsonwebtoken::Algorithm::RS384,
        Algorithm::RS512 => jsonwebtoken::Algorithm::RS512,
        Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::PS384 => jsonwebtoken::Algorithm::PS384,
        Algorithm::PS512 => jsonwebtoken::Algorithm::PS512,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
    }
}

/// The claims of a token that `key` signed with `algorithm` and no other. Times and audience are the caller's to check:
/// this library knows only the system's clock.
pub(super) fn verify(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<Claims> {
    let mut validation = Validation::new(library(algorithm));
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation);
    // The library's errors name neither key nor token, but nobody promises that.
    let decoded = decoded.map_err(|_| -> Error { refused("The signature of this token is wrong.") })?;
    Ok(Claims::new(decoded.claims))
}
