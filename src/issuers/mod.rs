//! Issuers of tokens: OIDC providers whose JWTs stand for keys.
//!
//! A token is believed when an issuer of the settings signed it, with an algorithm and for an audience that the settings
//! name, and when it is in its time by the gateway's clock. Which team it is for is told, not decided here. A token that
//! was seen before costs a hash and a lookup. Nothing of a token is in a log or an error: neither its text nor who its
//! subject is. The rules are those of <https://www.rfc-editor.org/rfc/rfc8725>.

mod claims;
mod keys;
mod published;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use url::Url;

use self::claims::{Claims, Unverified};
use self::keys::KeySet;
use self::published::Published;
use crate::clock::{Clock, Timestamp};
use crate::config::{Algorithm, Jwt};
use crate::error::{Error, Kind, Result};
use crate::fetch::Documents;
use crate::ids::KeyId;
use crate::recent::Recent;

/// So many tokens are remembered as good.
const REMEMBERED: usize = 20_000;
/// No longer text is read as a token.
const MAX_TOKEN: usize = 16 * 1024;

/// The issuers whose tokens count. A cheap clone.
#[derive(Clone)]
pub struct Issuers(Arc<Inner>);

struct Inner {
    clock: Clock,
    issuers: Vec<Issuer>,
    believed: Recent<[u8; 32], Believed>,
    /// Ends what is fetched in the background.
    _end: DropGuard,
}

/// One `[[auth.jwt]]`.
struct Issuer {
    settings: Jwt,
    host: String,
    published: Published,
}

/// A token that was found good, by what its issuer published then.
#[derive(Clone)]
struct Believed {
    badge: Arc<Badge>,
    issuer: usize,
    keys: Arc<KeySet>,
}

/// What a good token says of who shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Badge {
    /// Stands for issuer and subject: `jwt` and 20 hex digits, which no key of the store has.
    pub key: KeyId,
    /// The issuer's host, 64 characters of it at most.
    pub name: String,
    /// The team, by id or name.
    pub team: String,
    /// What it is for, in the issuer's words; `None` when the settings do not ask the token.
    pub scopes: Option<Vec<String>>,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Issuers {
    /// By the settings. What issuers publish is fetched on `tracker`, until `stop` or the last clone is gone: at once, whenever it has become old,
    /// and when a token names a key that is not known.
    pub fn new(
        settings: &[Jwt],
        documents: Documents,
        clock: Clock,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let (documents, stop) = (Arc::new(documents), stop.child_token());
        let issuer = |jwt: &Jwt| {
            let (published, asking) = published::new(jwt.issuer.clone(), Arc::clone(&documents));
            tracker.spawn(stop.clone().run_until_cancelled_owned(asking.run()));
            Issuer { settings: jwt.clone(), host: host(&jwt.issuer), published }
        };
        let issuers = settings.iter().map(issuer).collect();
        Self(Arc::new(Inner { clock, issuers, believed: Recent::new(REMEMBERED), _end: stop.drop_guard() }))
    }

    /// Whether `text` is to be read as a token: it is built as one, and there is an issuer.
    pub fn take(&self, text: &str) -> bool {
        // A header is a JSON object, and so begins with `{"` in base64url.
        !self.0.issuers.is_empty() && text.starts_with("ey") && text.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// What a token says, if it is good.
    ///
    /// Answers from memory. Only a key that is not known is waited for, in a look at what its issuer publishes that all
    /// such callers share; after one that found nothing new there is none for 5 seconds.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`] with what is wrong; [`Kind::Unavailable`] when the issuer cannot be asked for a
    /// key that is not known.
    pub async fn verify(&self, token: &str) -> Result<Arc<Badge>> {
        if token.len() > MAX_TOKEN {
            return Err(refused("This token is too long."));
        }
        let inner = &*self.0;
        let (now, digest) = (inner.clock.now(), Sha256::digest(token.as_bytes()).into());
        if let Some(believed) = inner.believed.get::<[u8; 32]>(&digest)
            && now < believed.badge.expires_at
            && inner.issuers[believed.issuer].published.are(&believed.keys)
        {
            return Ok(believed.badge);
        }
        let believed = inner.judge(token, now).await?;
        let badge = Arc::clone(&believed.badge);
        inner.believed.put(digest, believed);
        Ok(badge)
    }
}

impl Inner {
    async fn judge(&self, token: &str, now: Timestamp) -> Result<Believed> {
        let told = Unverified::read(token)?;
        let (index, issuer) = self.issuer(&told.claims)?;
        if !issuer.settings.algorithms.contains(&told.algorithm) {
            let allowed: Vec<String> = issuer.settings.algorithms.iter().map(Algorithm::to_string).collect();
            let message =
                format!("This token is not signed with what its issuer's have to be: {}.", allowed.join(", "));
            return Err(refused(message));
        }
        told.claims.check_times(now)?;
        let (keys, key) = issuer.published.key(told.kid.as_deref(), told.algorithm).await?;
        let claims = keys::verify(token, &key, told.algorithm)?;
        let badge = Arc::new(issuer.badge(&claims)?);
        Ok(Believed { badge, issuer: index, keys })
    }

    /// The issuer of a token, by what it says itself.
    fn issuer(&self, claims: &Claims) -> Result<(usize, &Issuer)> {
        let is_issuers = |(_, issuer): &(usize, &Issuer)| claims.text("iss") == Some(&*issuer.settings.issuer);
        let mut same = self.issuers.iter().enumerate().filter(is_issuers).peekable();
        if same.peek().is_none() {
            return Err(refused("This token is of an issuer whose tokens this gateway does not take (iss)."));
        }
        let found = same.find(|(_, issuer)| claims.is_for(&issuer.settings.audience));
        found.ok_or_else(|| refused("This token is for another audience than this gateway (aud)."))
    }
}

impl Issuer {
    fn badge(&self, claims: &Claims) -> Result<Badge> {
        let settings = &self.settings;
        let subject = claims.text("sub").filter(|subject| !subject.is_empty());
        let subject = subject.ok_or_else(|| refused("This token names no subject (sub)."))?;
        let team = claims.team(&settings.team_claim).ok_or_else(|| {
            refused(format!("This token names no team: its claim `{}` is missing or no text.", settings.team_claim))
        })?;
        let scopes = match &*settings.scopes_claim {
            "" => None,
            claim => Some(claims.words(claim).ok_or_else(|| {
                refused(format!("This token does not say what it is for: its claim `{claim}` is missing or no text."))
            })?),
        };
        Ok(Badge {
            key: key_id(&settings.issuer, subject),
            name: self.host.clone(),
            team: team.to_owned(),
            scopes,
            expires_at: claims.expires_at()?,
        })
    }
}

/// The same for every token of a subject; nobody is known by it.
fn key_id(issuer: &str, subject: &str) -> KeyId {
    use fmt::Write as _;
    let digest = Sha256::new().chain_update(issuer).chain_update("|").chain_update(subject).finalize();
    let id = digest[..10].iter().fold(String::from("jwt"), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    });
    KeyId::from(id)
}

fn host(issuer: &str) -> String {
    let url = Url::parse(issuer).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or("issuer");
    host.chars().take(64).collect()
}

/// An answer to who shows a token that does not count.
fn refused(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Kind::Unauthenticated, message)
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers: Vec<&str> = self.0.issuers.iter().map(|issuer| &*issuer.settings.issuer).collect();
        f.debug_tuple("Issuers").field(&issuers).finish()
    }
}
