//! New keys, and what any key's settings have to be: each fault names its field.

use ipnet::IpNet;

use super::credential::SecretHash;
use super::{Key, OnDisconnect, Scope};
use crate::clock::Timestamp;
use crate::config::{self, Secret};
use crate::error::{Error, Result};
use crate::ids::{self, KeyId, TeamId};
use crate::tenancy::allow_list::AllowList;
use crate::tenancy::sealed::Sealer;
use crate::tenancy::team::check_name;

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
    pub(in crate::tenancy) fn check(self, team: TeamId, now: Timestamp) -> Result<(Key, Secret)> {
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

/// At least one scope, each once. Fails with [`crate::error::Kind::Invalid`].
pub(in crate::tenancy) fn check_scopes(scopes: Vec<Scope>) -> Result<Vec<Scope>> {
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

/// A key that ends, ends in the future. Fails with [`crate::error::Kind::Invalid`].
pub(in crate::tenancy) fn check_expiry(end: Option<Timestamp>, now: Timestamp) -> Result<()> {
    if end.is_some_and(|end| end <= now) {
        return Err(Error::invalid("expires_at", "`expires_at` must be in the future."));
    }
    Ok(())
}

/// Networks in CIDR notation, or single addresses. Fails with [`crate::error::Kind::Invalid`], the entry to blame.
pub(in crate::tenancy) fn networks(entries: Option<Vec<String>>) -> Result<Option<Vec<IpNet>>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

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
}
