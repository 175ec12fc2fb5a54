//! Rotation: another secret for a key, while the one before still counts for some time.

use std::time::Duration;

use serde_json::json;

use super::{Act, Actor, no_key};
use crate::clock::Clock;
use crate::config::Secret;
use crate::error::{Error, Kind, Result};
use crate::ids::{self, KeyId};
use crate::store::Store;
use crate::tenancy::key::{Key, SecretHash};
use crate::tenancy::queries;

/// How long the secret before goes on counting, where nobody says so.
pub const DEFAULT_OVERLAP: Duration = Duration::from_hours(1);
/// The longest that it can.
pub const MAX_OVERLAP: Duration = Duration::from_hours(30 * 24);

/// Gives a key another secret, and returns its whole text, which is shown once and kept nowhere. The key's id stays, and
/// all that is said of it; the secret before counts for `overlap` from now on, and one before that no more.
///
/// Fails with [`Kind::Invalid`] for an overlap of more than [`MAX_OVERLAP`], with [`Kind::NotFound`] without such a key,
/// and with [`Kind::Conflict`] for one that is revoked or has expired.
pub async fn rotate_key(
    store: &Store,
    clock: &Clock,
    actor: Actor,
    id: &KeyId,
    overlap: Duration,
) -> Result<(Key, Secret)> {
    if overlap > MAX_OVERLAP {
        return Err(Error::invalid("overlap", "Two secrets can count for 30 days at most."));
    }
    let key = queries::find_key(store, id).await?.ok_or_else(|| no_key(id))?;
    let now = clock.now();
    if key.revoked_at.is_some() {
        return Err(conflict("was revoked"));
    }
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(conflict("has expired"));
    }
    let (secret, until) = (ids::secret(), now.plus(overlap));
    let sealed = seal(&key, &secret)?;
    let detail = json!({ "previous_until": until.millis() });
    let act = Act::new(now, actor, "key.rotate", id.as_str(), detail);
    let next = (SecretHash::of(&secret), sealed.as_deref());
    if !queries::rotate_key(store, id, next, until, &act).await? {
        return Err(conflict("was revoked")); // Meanwhile.
    }
    let key = queries::find_key(store, id).await?.ok_or_else(|| no_key(id))?;
    let text = key.text(&secret);
    Ok((key, text))
}

/// What the store keeps of a secret that may sign as AWS's clients do, beside its hash; nothing for other keys.
fn seal(key: &Key, _secret: &str) -> Result<Option<String>> {
    match key.sealed {
        None => Ok(None),
        Some(_) => Err(Error::new(Kind::Unsupported, "A key that signs as AWS's clients do cannot be rotated yet.")),
    }
}

fn conflict(why: &str) -> Error {
    Error::new(Kind::Conflict, format!("The key {why} and cannot be rotated. Make another one.")).param("id")
}
