//! Bootstrap administrators: keys that the settings list by the SHA-256 of their whole text, for the time before there is
//! a key in the store, and for when the store is away. They administer and read metrics, and nothing else.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::admission::Rules;
use super::directory::Caller;
use super::key::{Key, NewKey, Presented, Scope, SecretHash};
use super::team::{NewTeam, Team};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{KeyId, TeamId};

/// The id of their team, which no team of the store has.
const TEAM: &str = "team_bootstrap";

/// Tells bootstrap administrators by their keys. A cheap clone.
#[derive(Clone)]
pub struct Administrators(Arc<[Administrator]>);

struct Administrator {
    whole: SecretHash,
    /// Who it is, once the key was shown: its id is in the key alone.
    caller: OnceLock<Caller>,
}

impl Administrators {
    /// By `auth.admin_key_sha256`; what is no hash, and was told so, is nobody's.
    pub fn new(hashes: &[String]) -> Self {
        let hashes = hashes.iter().filter_map(|hash| SecretHash::from_hex(hash));
        Self(hashes.map(|whole| Administrator { whole, caller: OnceLock::new() }).collect())
    }

    /// Whose key this is, if it is one of theirs. Asks no store, and takes the same time whichever it is.
    ///
    /// # Errors
    /// None that a key which is made as keys are can cause.
    pub fn recognise(&self, presented: &str) -> Result<Option<Caller>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let Ok(parts) = Presented::parse(presented) else { return Ok(None) };
        let whole = SecretHash::of(presented);
        let mut found = None;
        for administrator in &*self.0 {
            if administrator.whole.is(whole) {
                found = Some(administrator);
            }
        }
        let Some(administrator) = found else { return Ok(None) };
        if let Some(caller) = administrator.caller.get() {
            return Ok(Some(caller.clone()));
        }
        let caller = caller(parts.id)?;
        Ok(Some(administrator.caller.get_or_init(|| caller).clone()))
    }
}

fn caller(id: &str) -> Result<Caller> {
    let team: Team = NewTeam::new("bootstrap administrators").check(TeamId::from(TEAM), Timestamp::default())?;
    let new = NewKey { scopes: vec![Scope::Admin, Scope::Metrics], ..NewKey::new(TEAM, "bootstrap administrator") };
    // The secret that is made here is nobody's.
    let (key, _) = new.check(team.id.clone(), Timestamp::default())?;
    let key = Key { id: KeyId::from(id), ..key };
    Ok(Caller::new(&Arc::new(team), key, Rules::default(), Arc::default()))
}

impl Caller {
    /// Whether the key is one of the settings and not of the store: for the audit log, which names its id.
    pub fn is_bootstrap(&self) -> bool {
        self.team.id.as_str() == TEAM
    }
}

impl fmt::Debug for Administrators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Administrators").field(&self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "bgw_first_a-secret_of_mine";

    fn hash(text: &str) -> String {
        SecretHash::of(text).to_hex()
    }

    #[test]
    fn a_listed_key_administers_and_nothing_else() {
        let listed = Administrators::new(&[hash("bgw_other_x"), hash(KEY).to_uppercase()]);
        let caller = listed.recognise(KEY).unwrap().unwrap();
        assert_eq!((caller.key.id.as_str(), caller.team.name.as_str()), ("first", "bootstrap administrators"));
        assert!(caller.is_bootstrap() && caller.allows_region("eu-west-1") && caller.allows_model(["x"]));
        let may =
            [Scope::Admin, Scope::Metrics, Scope::Inference, Scope::Batch].map(|scope| caller.require(scope).is_ok());
        assert_eq!(may, [true, true, false, false]);
        let again = listed.recognise(KEY).unwrap().unwrap();
        assert!(Arc::ptr_eq(&again.activity, &caller.activity));
    }

    #[test]
    fn nothing_else_is_one_of_them() {
        let listed = Administrators::new(&[hash(KEY), hash("no-key"), "nonsense".into()]);
        for other in
            ["", "bgw_first_", "bgw_first_a-secret_of_min", "bgw_second_a-secret_of_mine", "no-key", &hash(KEY)]
        {
            assert!(listed.recognise(other).unwrap().is_none(), "{other}");
        }
        assert!(Administrators::new(&[]).recognise(KEY).unwrap().is_none());
        assert!(!format!("{listed:?}").contains(&hash(KEY)));
    }
}
