//! Keys: the credential `bgw_<id>_<secret>`. The store and this module keep a SHA-256 of the secret alone, compared
//! in constant time; the secret exists in full only where it is made and where it is presented.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};
use strum::VariantNames as _;
use subtle::{Choice, ConstantTimeEq as _};

use super::allow_list::AllowList;
use super::sealed::Sealer;
use super::team::check_name;
use crate::clock::Timestamp;
use crate::config::{self, Secret};
use crate::error::{Error, Exception, Kind, Result};
use crate::ids::{self, KeyId, TeamId};

const PREFIX: &str = "bgw_";

/// Whether this is meant as a key of a gateway, by how it begins.
pub fn looks_own(text: &str) -> bool {
    text.starts_with(PREFIX)
}
/// Longest text worth hashing: what we hand out has 89 characters.
const MAX_TEXT: usize = 512;

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
        Secret::new(format!("{PREFIX}{}_{secret}", self.id))
    }
}

/// What it takes to make a key.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Id or name of its team.
    pub team: String,
    /// 1 to 64 printable characters.
    pub name: String,
    /// What it may be used for; at least one.
    pub scopes: Vec<Scope>,
    /// From when on it is refused; in the future.
    pub expires_at: Option<Timestamp>,
    /// Allowed models; `None`: what the team may.
    pub models: Option<Vec<String>>,
    /// Allowed Regions; `None`: what the team may.
    pub regions: Option<Vec<String>>,
    /// Networks that its calls have to come from, such as `10.0.0.0/8`, or single addresses; at most 100. `None`: anywhere.
    pub networks: Option<Vec<String>>,
    /// What becomes of a call whose client leaves.
    pub on_disconnect: OnDisconnect,
    /// What its secret is sealed with, for a key that may also sign as AWS's clients do; `None`: it may not.
    pub sigv4: Option<Sealer>,
}

impl NewKey {
    /// A key for inference and batches that never expires and may what its team may.
    pub fn new(team: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            team: team.into(),
            name: name.into(),
            scopes: vec![Scope::Inference, Scope::Batch],
            expires_at: None,
            models: None,
            regions: None,
            networks: None,
            on_disconnect: OnDisconnect::default(),
            sigv4: None,
        }
    }

    /// The key of `team` and its whole text, or which field keeps it from being one.
    pub(super) fn check(self, team: TeamId, now: Timestamp) -> Result<(Key, Secret)> {
        check_name(&self.name)?;
        let scopes = check_scopes(self.scopes)?;
        check_expiry(self.expires_at, now)?;
        // 76 random bits and no underscore: an id that is short in logs and that nobody meets twice.
        let (id, secret) = (ids::secret()[..20].to_owned(), ids::secret());
        let id = KeyId::from(id);
        let sealed = self.sigv4.map(|sealer| sealer.seal(id.as_str(), &secret)).transpose()?;
        let key = Key {
            id,
            team,
            name: self.name,
            scopes,
            models: AllowList::models("models", self.models)?,
            regions: AllowList::regions("regions", self.regions)?,
            networks: networks(self.networks)?,
            on_disconnect: self.on_disconnect,
            created_at: now,
            expires_at: self.expires_at,
            revoked_at: None,
            last_use: None,
            version: 0,
            secret: SecretHash::of(&secret),
            sealed,
            previous: None,
        };
        let text = key.text(&secret);
        Ok((key, text))
    }
}

/// Most networks of one key.
const MAX_NETWORKS: usize = 100;

/// At least one scope, each once. Fails with [`Kind::Invalid`].
pub(super) fn check_scopes(scopes: Vec<Scope>) -> Result<Vec<Scope>> {
    if scopes.is_empty() {
        return Err(Error::invalid("scopes", "A key needs at least one scope."));
    }
    let mut each = Vec::with_capacity(scopes.len());
    for scope in scopes {
        if !each.contains(&scope) {
            each.push(scope);
        }
    }
    Ok(each)
}

/// A key that ends, ends in the future. Fails with [`Kind::Invalid`].
pub(super) fn check_expiry(end: Option<Timestamp>, now: Timestamp) -> Result<()> {
    if end.is_some_and(|end| end <= now) {
        return Err(Error::invalid("expires_at", "`expires_at` must be in the future."));
    }
    Ok(())
}

/// Networks in CIDR notation, or single addresses. Fails with [`Kind::Invalid`], the entry to blame.
pub(super) fn networks(entries: Option<Vec<String>>) -> Result<Option<Vec<IpNet>>> {
    let Some(entries) = entries else { return Ok(None) };
    if entries.is_empty() {
        let message = "`networks` is empty and would allow nothing. Leave it out to allow calls from anywhere.";
        return Err(Error::invalid("networks", message));
    }
    if entries.len() > MAX_NETWORKS {
        return Err(Error::invalid("networks", format!("`networks` may have at most {MAX_NETWORKS} entries.")));
    }
    let network = |(index, text): (usize, &String)| {
        config::network(text).map_err(|problem| {
            let path = format!("networks[{index}]");
            let message = format!("`{path}` {problem}.");
            Error::invalid(path, message)
        })
    };
    entries.iter().enumerate().map(network).collect::<Result<_>>().map(Some)
}

/// A key as somebody presents it.
#[derive(Clone, Copy)]
pub(super) struct Presented<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a str,
}

impl<'a> Presented<'a> {
    /// Takes the text of a key apart. Whatever has not our form is no key of ours, and nobody needs to be asked.
    pub(super) fn parse(text: &'a str) -> Result<Self> {
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

pub(super) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// SHA-256 of a secret. Shows in no log: it is all that is needed to try secrets at leisure.
#[derive(Clone, Copy)]
pub(super) struct SecretHash([u8; 32]);

impl SecretHash {
    pub(super) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    fn is_equal(self, other: Self) -> Choice {
        self.0.ct_eq(&other.0)
    }

    /// Whether both are the same, in the same time whatever they are.
    pub(super) fn is(self, other: Self) -> bool {
        self.is_equal(other).into()
    }

    /// Lowercase hex, as the store keeps it.
    pub(super) fn to_hex(self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Reads what [`SecretHash::to_hex`] wrote.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
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
pub(super) fn missing() -> Error {
    let message = "No key was sent. Send a gateway key as `Authorization: Bearer bgw_...` or `x-api-key: bgw_...`.";
    Error::new(Kind::Unauthenticated, message)
        .exception(Exception { name: "MissingAuthenticationTokenException", status: 403 })
}

/// The key is not ours: malformed, unknown, or with a wrong secret, which all look alike.
pub(super) fn unknown() -> Error {
    refused(WRONG)
}

/// The key is ours, and does not count any more.
pub(super) fn refused(message: &'static str) -> Error {
    Error::new(Kind::Unauthenticated, message).exception(Exception { name: "UnrecognizedClientException", status: 403 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn a_bad_new_key_names_its_field() {
        let base = || NewKey::new("t", "k");
        let cases = [
            (NewKey { name: String::new(), ..base() }, "name"),
            (NewKey { scopes: vec![], ..base() }, "scopes"),
            (NewKey { expires_at: Some(NOW), ..base() }, "expires_at"),
            (NewKey { models: Some(vec!["*x".into()]), ..base() }, "models[0]"),
            (NewKey { regions: Some(vec!["mars".into()]), ..base() }, "regions[0]"),
            (NewKey { networks: Some(vec![]), ..base() }, "networks"),
            (NewKey { networks: Some(vec!["10.0.0.0/8".into(); 101]), ..base() }, "networks"),
            (NewKey { networks: Some(vec!["10.0.0.0/8".into(), "10.0.0.0/33".into()]), ..base() }, "networks[1]"),
        ];
        for (new, field) in cases {
            assert_eq!(new.check(TeamId::from("t"), NOW).unwrap_err().blamed(), Some(field));
        }
        assert_eq!(Scope::parse("root").unwrap_err().blamed(), Some("scopes"));
        assert_eq!(OnDisconnect::parse("stay").unwrap_err().blamed(), Some("on_disconnect"));
        assert_eq!(OnDisconnect::parse("drain").unwrap(), OnDisconnect::Drain);
        assert_eq!(Scope::parse("metrics").unwrap(), Scope::Metrics);
    }

    #[test]
    fn a_network_is_told_by_its_first_address_and_an_address_is_a_network_of_its_own() {
        let told = networks(Some(vec!["10.1.2.3/8".into(), "2001:db8::1".into()])).unwrap().unwrap();
        assert_eq!(told.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "2001:db8::1/128"]);
        assert_eq!(check_scopes(vec![Scope::Admin, Scope::Batch, Scope::Admin]).unwrap(), [Scope::Admin, Scope::Batch]);
    }

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
