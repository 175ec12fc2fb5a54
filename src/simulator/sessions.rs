//! Who a caller is, and the temporary credentials that STS gave out: found by their access key until they expire or are revoked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

/// Whom a call was believed to come from.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// The access key of the settings.
    Key,
    Bearer,
    Session(Arc<Session>),
    /// An operation that nobody signs.
    Nobody,
}

impl Identity {
    /// As calls are recorded: `root key`, `bearer token`, the ARN of a role, nothing.
    pub(crate) fn label(&self) -> &str {
        match self {
            Self::Key => "root key",
            Self::Bearer => "bearer token",
            Self::Session(session) => &session.role_arn,
            Self::Nobody => "",
        }
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        match self {
            Self::Session(session) => Some(session),
            _ => None,
        }
    }

    /// As IAM names the caller in a refusal.
    pub(crate) fn arn(&self, partition: &str, account: &str) -> String {
        match self {
            Self::Session(session) => session.arn.clone(),
            _ => format!("arn:{partition}:iam::{account}:user/simulator"),
        }
    }
}

/// A role that somebody assumed, with the keys that prove it.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) role_arn: String,
    /// `arn:aws:sts::ACCOUNT:assumed-role/ROLE/NAME`.
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) tags: BTreeMap<String, String>,
    /// The keys of the tags that sessions assumed from this one keep.
    pub(crate) transitive: Vec<String>,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) token: String,
}

/// A session that was assumed, as often as with the same name and tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AssumedSession {
    /// The role.
    pub role_arn: String,
    /// `RoleSessionName`.
    pub session_name: String,
    /// The session tags, those inherited from a chained role too.
    pub tags: BTreeMap<String, String>,
    /// Who assumed it: `root key`, the ARN of a role, or nothing for a web identity.
    pub assumed_by: String,
    /// The external id that was told.
    pub external_id: Option<String>,
    /// `DurationSeconds` as asked for, or its default.
    pub duration_seconds: u64,
    /// How often credentials were given out.
    pub times: u64,
}

/// A session's credentials now.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    Good(Arc<Session>),
    Expired(Arc<Session>),
}

/// The sessions of one simulator.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    live: HashMap<String, (Arc<Session>, Timestamp)>,
    assumed: Vec<AssumedSession>,
    denied: BTreeSet<String>,
    web_token: Option<String>,
}

impl Sessions {
    /// Remembers credentials and that they were given out.
    pub(crate) fn add(&self, session: Session, expires: Timestamp, assumed: AssumedSession) {
        let mut kept = self.lock();
        let same = |earlier: &&mut AssumedSession| AssumedSession { times: 1, ..(**earlier).clone() } == assumed;
        match kept.assumed.iter_mut().find(same) {
            Some(earlier) => earlier.times += 1,
            None => kept.assumed.push(assumed),
        }
        kept.live.insert(session.access_key.clone(), (Arc::new(session), expires));
    }

    /// The session of an access key that was given out and not revoked.
    pub(crate) fn find(&self, access_key: &str, now: Timestamp) -> Option<Standing> {
        let kept = self.lock();
        let (session, expires) = kept.live.get(access_key)?;
        let session = Arc::clone(session);
        Some(if now < *expires { Standing::Good(session) } else { Standing::Expired(session) })
    }

    pub(crate) fn list(&self) -> Vec<AssumedSession> {
        self.lock().assumed.clone()
    }

    pub(crate) fn forget_list(&self) {
        self.lock().assumed.clear();
    }

    pub(crate) fn expire_all(&self) {
        self.lock().live.values_mut().for_each(|(_, expires)| *expires = Timestamp::MIN);
    }

    pub(crate) fn revoke_all(&self) {
        self.lock().live.clear();
    }

    pub(crate) fn deny(&self, role_arn: &str) {
        self.lock().denied.insert(role_arn.to_owned());
    }

    pub(crate) fn allow(&self, role_arn: &str) {
        self.lock().denied.remove(role_arn);
    }

    pub(crate) fn is_denied(&self, role_arn: &str) -> bool {
        self.lock().denied.contains(role_arn)
    }

    /// The one web identity token that is taken, instead of that of the settings.
    pub(crate) fn expect_token(&self, token: &str) {
        self.lock().web_token = Some(token.to_owned());
    }

    pub(crate) fn expected_token(&self) -> Option<String> {
        self.lock().web_token.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
