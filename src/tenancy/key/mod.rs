//! Keys as the store has them: what one may, for whom and from where, and until when it counts. The credential itself is in
//! `credential.rs`: here is a hash of its secret alone.

mod credential;
mod new;

use std::net::IpAddr;

use ipnet::IpNet;
use strum::VariantNames as _;
use subtle::Choice;

pub use credential::looks_own;
pub(super) use credential::{Presented, SecretHash, is_id, missing, refused, unknown};
pub use new::NewKey;
pub(super) use new::{check_expiry, check_scopes, networks};

use super::allow_list::AllowList;
use crate::clock::Timestamp;
use crate::config::Secret;
use crate::error::{Error, Exception, Kind, Result};
use crate::ids::{KeyId, TeamId};

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::Display, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Scope {
    /// Calls to models, the catalog.
    Inference,
    /// Files and batches.
    Batch,
    /// Administration.
    Admin,
    /// The metrics of the ops port.
    Metrics,
}

impl Scope {
    /// Reads one of `inference`, `batch`, `admin`, `metrics`.
    pub fn parse(text: &str) -> Result<Self> {
        text.parse().map_err(|_| {
            Error::invalid("scopes", format!("There is no scope `{text}`; there are inference, batch, admin, metrics."))
        })
    }
}

/// A key, as the store has it: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its public part.
    pub id: KeyId,
    /// Who pays for it.
    pub team: TeamId,
    /// What people call it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// The models it may use, within its team's.
    pub models: AllowList,
    /// The Regions its calls may go to, within its team's.
    pub regions: AllowList,
    /// Where its calls have to come from; `None`: anywhere.
    pub networks: Option<Vec<IpNet>>,
    /// What becomes of a call whose client leaves.
    pub on_disconnect: OnDisconnect,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused, if ever.
    pub expires_at: Option<Timestamp>,
    /// Since when it is refused, if it is.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, give or take a minute.
    pub last_use: Option<Timestamp>,
    /// The version of tenancy that its last change made.
    pub version: i64,
    pub(super) secret: SecretHash,
    /// The secret itself, sealed, of a key that may sign as AWS's clients do.
    pub(super) sealed: Option<String>,
    /// What it was before the last rotation, while that still counts.
    pub(super) previous: Option<Previous>,
}

/// The secret before the last rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) secret: SecretHash,
    pub(super) sealed: Option<String>,
    /// From when on it is refused.
    pub(super) until: Timestamp,
}

/// What becomes of a call whose client leaves before its answer ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum OnDisconnect {
    /// It is cancelled, and what was seen of it is booked.
    #[default]
    Cancel,
    /// It is read to its end, and booked with what AWS says.
    Drain,
}

impl OnDisconnect {
    /// Reads `cancel` or `drain`. Fails with [`Kind::Invalid`].
    pub fn parse(text: &str) -> Result<Self> {
        let told = Self::VARIANTS.join("` or `");
        text.parse().map_err(|_| Error::invalid("on_disconnect", format!("`on_disconnect` has to be `{told}`.")))
    }
}

impl Key {
    /// Whether the key may be used for `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it may sign, as AWS's clients do, instead of being shown.
    pub fn may_sign(&self) -> bool {
        self.sealed.is_some()
    }

    /// The secret access key of one that may sign, in the whole `text` of it; its id is the access key id.
    pub fn secret_access_key<'t>(&self, text: &'t Secret) -> Option<&'t str> {
        Presented::parse(text.expose()).ok().filter(|_| self.may_sign()).map(|presented| presented.secret)
    }

    /// Whether `secret` is this key's: the present one, or the one before for as long as that counts. Takes the same
    /// time whichever it is, and however much of it is right.
    pub(super) fn is_opened_by(&self, secret: &str, now: Timestamp) -> bool {
        let hash = SecretHash::of(secret);
        let previous = self.previous.as_ref().filter(|previous| previous.until > now);
        let previous = previous.map_or(Choice::from(0), |previous| previous.secret.is_equal(hash));
        (self.secret.is_equal(hash) | previous).into()
    }

    /// Why the key does not count any more at `now`, or not from `client`. For those only who have its secret.
    pub(super) fn check(&self, client: Option<IpAddr>, now: Timestamp) -> Result<()> {
        if self.revoked_at.is_some() {
            return Err(refused("This key was revoked."));
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(refused("This key has expired."));
        }
        let Some(networks) = &self.networks else { return Ok(()) };
        if client.is_some_and(|client| networks.iter().any(|network| network.contains(&client))) {
            return Ok(());
        }
        // The owner of the key learns what the gateway takes for the client's address: a proxy in between shows.
        let from = client.map_or_else(|| "an unknown address".to_owned(), |client| client.to_string());
        let message = format!("This key may not be used from {from}. It is bound to networks that do not hold it.");
        let exception = Exception { name: "AccessDeniedException", status: 403 };
        Err(Error::new(Kind::Forbidden, message).reason("key").exception(exception))
    }

    /// Its whole text with `secret`.
    pub(super) fn text(&self, secret: &str) -> Secret {
        credential::text(&self.id, secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn a_new_key_is_accepted_by_its_own_text_only() {
        let (key, text) = NewKey::new("t", "k").check(TeamId::from("t"), NOW).unwrap();
        let presented = Presented::parse(text.expose()).unwrap();
        assert_eq!(presented.id, key.id.as_str());
        assert!(key.is_opened_by(presented.secret, NOW));
        for wrong in ["", "x", &presented.secret[1..], &format!("{}0", presented.secret)] {
            assert!(!key.is_opened_by(wrong, NOW));
        }
        assert!(!format!("{key:?}").contains(&key.secret.to_hex()), "the hash shows in no log");
    }

    #[test]
    fn the_secret_before_opens_a_key_until_its_time_is_over() {
        let (mut key, _) = NewKey::new("t", "k").check(TeamId::from("t"), NOW).unwrap();
        let until = Timestamp::from_millis(2_000_000);
        key.previous = Some(Previous { secret: SecretHash::of("before"), sealed: None, until });
        key.secret = SecretHash::of("now");
        for (secret, in_time, later) in [("now", true, true), ("before", true, false), ("", false, false)] {
            assert_eq!(key.is_opened_by(secret, Timestamp::from_millis(1_999_999)), in_time, "{secret}");
            assert_eq!(key.is_opened_by(secret, until), later, "{secret}");
        }
    }

    #[test]
    fn a_key_counts_until_it_expires_or_is_revoked() {
        let new = NewKey { expires_at: Some(Timestamp::from_millis(2_000_000)), ..NewKey::new("t", "k") };
        let (mut key, _) = new.check(TeamId::from("t"), NOW).unwrap();
        assert!(key.check(None, Timestamp::from_millis(1_999_999)).is_ok());
        let at_the_end = Timestamp::from_millis(2_000_000);
        assert!(key.check(None, at_the_end).unwrap_err().message().contains("expired"));
        key.revoked_at = Some(NOW);
        assert!(key.check(None, NOW).unwrap_err().message().contains("revoked"));
    }

    #[test]
    fn a_key_that_is_bound_to_networks_counts_there_alone_and_says_what_it_took_for_the_address() {
        let networks = ["10.0.0.0/8", "::ffff:192.0.2.0/120", "2001:db8::1"].map(str::to_owned).to_vec();
        let new = NewKey { networks: Some(networks), ..NewKey::new("t", "k") };
        let (key, _) = new.check(TeamId::from("t"), NOW).unwrap();
        let check = |client: &str| key.check(Some(client.parse().unwrap()), NOW);
        for inside in ["10.255.0.1", "192.0.2.9", "2001:db8::1"] {
            assert!(check(inside).is_ok(), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.3.9", "2001:db8::2", "::1"] {
            let error = check(outside).unwrap_err();
            assert_eq!((error.kind(), error.refused_by()), (Kind::Forbidden, Some("key")));
            assert!(error.message().contains(outside), "{error}");
        }
        assert_eq!(key.check(None, NOW).unwrap_err().kind(), Kind::Forbidden, "where from is not known");
    }
}
