//! Callers that sign, as AWS's clients do, instead of showing their key: the key's id is the access key id, and the secret
//! part of its text the secret access key. How a request is written down to be signed is not known here.

use subtle::{Choice, ConstantTimeEq as _};

use super::Tenancy;
use super::directory::Caller;
use super::key::{self, Key};
use super::sealed::{Scoped, Sealer};
use crate::clock::Timestamp;
use crate::error::{Error, Exception, Kind, Result};
use crate::sigv4;

/// Who a request says it is signed by, and the keys that its signature may be made with. It is nobody yet.
#[derive(Debug)]
pub struct Claimed {
    caller: Caller,
    keys: [Option<SigningKey>; 2],
}

/// A derived key. Shows in no log: it signs.
struct SigningKey([u8; 32]);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl Tenancy {
    /// Who has the access key `id`, with what a signature of theirs for `scope` can be made with: the secret of now, and
    /// until its end the one before the last rotation.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`] without such a key, and when it was not made for signing.
    pub async fn claimed(&self, sealer: Option<&Sealer>, id: &str, scope: Scoped<'_>) -> Result<Claimed> {
        if !key::is_id(id) {
            return Err(unknown());
        }
        let caller = self.find(id).await?.ok_or_else(unknown)?;
        let key = &*caller.key;
        let kept = key.sealed.as_deref().ok_or_else(|| refused(NOT_MADE_FOR_IT))?;
        let sealer = sealer.ok_or_else(|| refused(NO_SEALER))?;
        let opened = |kept: &str| sealer.signing_key(&key.id, kept, scope).map(SigningKey);
        let current = opened(kept).ok_or_else(|| refused(SEALED_OTHERWISE))?;
        let previous = previous(key, self.0.clock.now()).and_then(opened);
        Ok(Claimed { caller, keys: [Some(current), previous] })
    }

    /// The caller, once `signature` is found to be that of `text`, and its key to count still.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`]; that the key expired or was revoked is told only to who has its secret.
    pub fn signed(&self, claimed: Claimed, text: &[u8], signature: &[u8; 32]) -> Result<Caller> {
        let mut matches = Choice::from(0);
        for SigningKey(key) in claimed.keys.iter().flatten() {
            matches |= sigv4::keyed_hash(key, text).ct_eq(signature);
        }
        if !bool::from(matches) {
            return Err(wrong());
        }
        self.accept(&claimed.caller)?;
        Ok(claimed.caller)
    }
}

fn previous(key: &Key, now: Timestamp) -> Option<&str> {
    let previous = key.previous.as_ref().filter(|previous| now < previous.until)?;
    previous.sealed.as_deref()
}

const NOT_MADE_FOR_IT: &str = "This key was not made for signing: make one with `sigv4` (keys create --sigv4), or send this one \
                               as bearer token (AWS_BEARER_TOKEN_BEDROCK).";
const NO_SEALER: &str = "This gateway checks no signatures: its setting auth.sealing_key is missing.";
const SEALED_OTHERWISE: &str = "The signature cannot be checked: the secret of this key was sealed under another \
                                auth.sealing_key. Rotate the key.";
const UNKNOWN: &str = "The access key of this signature is no key of this gateway. Sign with a gateway key that was made with \
                       `sigv4`, or send a gateway key as bearer token: set AWS_BEARER_TOKEN_BEDROCK=bgw_... for the AWS SDK, \
                       which sends it over https.";

fn unknown() -> Error {
    refused(UNKNOWN)
}

fn refused(message: &'static str) -> Error {
    let exception = Exception { name: "UnrecognizedClientException", status: 403 };
    Error::new(Kind::Unauthenticated, message).exception(exception)
}

fn wrong() -> Error {
    let message = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
                   Key and signing method. Consult the service documentation for details.";
    let exception = Exception { name: "InvalidSignatureException", status: 403 };
    Error::new(Kind::Unauthenticated, message).exception(exception)
}
