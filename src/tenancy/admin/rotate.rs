//! Rotation: another secret for a key, while the one before still counts for some time.

use std::time::Duration;

use serde_json::json;

use super::keys::unknown;
use super::{Act, Actor, Precondition};
use crate::clock::Clock;
use crate::config::Secret;
use crate::error::{Error, Kind, Result};
use crate::ids::{self, KeyId};
use crate::store::Store;
use crate::tenancy::key::{Key, Previous, SecretHash};
use crate::tenancy::queries::{self, Change};
use crate::tenancy::sealed::Sealer;

/// How long the secret before goes on counting, where nobody says so.
pub const DEFAULT_OVERLAP: Duration = Duration::from_hours(1);
/// The longest that it can.
pub const MAX_OVERLAP: Duration = Duration::from_hours(30 * 24);

/// Gives a key another secret, and returns its whole text, which is shown once and kept nowhere. The key's id stays, and
/// all that is said of it; one that signs is sealed with `sealer`. The secret before counts for `overlap` from now on, and one before that no more.
///
/// Fails with [`Kind::Invalid`] for an overlap of more than [`MAX_OVERLAP`], with [`Kind::NotFound`] without such a key,
/// with [`Kind::Conflict`] for one that is revoked or has expired, and with [`Kind::Stale`].
pub async fn rotate_key(
    store: &Store,
    clock: &Clock,
    actor: Actor,
    (id, believed): (&KeyId, &Precondition),
    (overlap, sealer): (Duration, Option<&Sealer>),
) -> Result<(Key, Secret)> {
    if overlap > MAX_OVERLAP {
        return Err(Error::invalid("overlap_seconds", "Two secrets of a key can count for 30 days at most."));
    }
    let mut change = Change::begin(store).await?;
    let mut key = queries::find_key_in(&mut change, id).await?.ok_or_else(|| unknown(id))?;
    believed.check(Some(key.version))?;
    let now = clock.now();
    if key.revoked_at.is_some() {
        return Err(conflict("is revoked, for good"));
    }
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(conflict("has expired"));
    }
    let secret = ids::secret();
    let kept = seal(&key, &secret, sealer)?;
    let until = now.plus(overlap);
    let before = std::mem::replace(&mut key.secret, SecretHash::of(&secret));
    let sealed_before = std::mem::replace(&mut key.sealed, kept);
    key.previous = Some(Previous { secret: before, sealed: sealed_before, until });
    key.version = change.version;
    queries::write_secrets(&mut change, &key).await?;
    let detail = json!({ "previous_until": until.millis() });
    change.commit(&Act::new(now, actor, "key.rotate", id.as_str(), detail)).await?;
    let text = key.text(&secret);
    Ok((key, text))
}

/// What the store keeps of a secret that may sign as AWS's clients do, beside its hash; nothing for other keys.
fn seal(key: &Key, secret: &str, sealer: Option<&Sealer>) -> Result<Option<String>> {
    if !key.may_sign() {
        return Ok(None);
    }
    sealer.ok_or_else(Sealer::missing)?.seal(key.id.as_str(), secret).map(Some)
}

fn conflict(why: &str) -> Error {
    Error::new(Kind::Conflict, format!("The key {why} and cannot be rotated. Make another one.")).param("id")
}
