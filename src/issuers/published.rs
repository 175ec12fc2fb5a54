//! What one issuer publishes, kept and kept fresh: one task asks, everybody else reads.
//!
//! The task alone talks to the issuer, so that looks never overlap and a caller that leaves ends none. Who has a key that
//! is known waits for nobody. A look that fails changes nothing. What the issuer dropped is gone with the next look.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::keys::KeySet;
use super::refused;
use crate::config::Algorithm;
use crate::error::{Error, Kind, Result};
use crate::fetch::Documents;

/// How long what is published may be kept, whatever its server says; and how long if it says nothing.
const KEPT: (Duration, Duration) = (Duration::from_mins(5), Duration::from_hours(24));
const KEPT_UNTOLD: Duration = Duration::from_hours(1);
/// After a look that failed, the next is made this much later, if nobody asks for one.
const RETRY: Duration = Duration::from_mins(1);
/// After a look that somebody asked for and that found nothing new there is none for this long, whoever asks: made-up
/// names of keys cost the issuer a look every so often, however many there are.
const REST: Duration = Duration::from_secs(5);
/// A look that takes longer has failed.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// The reading side.
pub(super) struct Published {
    state: watch::Receiver<State>,
    wake: Arc<Notify>,
}

/// The asking side.
pub(super) struct Publisher {
    issuer: String,
    documents: Arc<Documents>,
    state: watch::Sender<State>,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct State {
    keys: Arc<KeySet>,
    /// Whether the last look failed.
    failed: bool,
    /// Until when nobody can ask for a look.
    resting: Option<Instant>,
}

/// What a look found.
enum Found {
    New,
    Same,
    Nothing,
}

/// Both sides.
pub(super) fn new(issuer: String, documents: Arc<Documents>) -> (Published, Publisher) {
    let (sender, state) = watch::channel(State::default());
    let wake = Arc::new(Notify::new());
    let publisher = Publisher { issuer, documents, state: sender, wake: Arc::clone(&wake) };
    (Published { state, wake }, publisher)
}

impl Published {
    /// Whether `keys` are what is published now.
    pub(super) fn are(&self, keys: &Arc<KeySet>) -> bool {
        Arc::ptr_eq(&self.state.borrow().keys, keys)
    }

    /// The key of that name, and what it was published with. One that is not known is looked for once.
    pub(super) async fn key(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<(Arc<KeySet>, DecodingKey)> {
        let find = || {
            let state = self.state.borrow();
            state.keys.find(kid, algorithm).map(|key| (Arc::clone(&state.keys), key))
        };
        if let Some(found) = find() {
            return Ok(found);
        }
        self.look_again().await;
        find().ok_or_else(|| self.unknown(kid))
    }

    /// Returns when the next look is done; at once while there is to be none.
    async fn look_again(&self) {
        let mut state = self.state.clone();
        if state.borrow_and_update().resting.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.wake.notify_one();
        // Fails when the gateway stops: what is known has to do.
        let _ = state.changed().await;
    }

    fn unknown(&self, kid: Option<&str>) -> Error {
        if self.state.borrow().failed {
            let message = "The issuer of this token cannot be asked for its keys right now. Try again later.";
            return Error::new(Kind::Unavailable, message).retry_after(REST);
        }
        refused(match kid {
            Some(_) => "This token is signed with a key that its issuer does not publish (kid).",
            None => "This token does not say which of its issuer's keys it is signed with (kid).",
        })
    }
}

impl Publisher {
    /// Looks at once, when what is kept has become old, and when it is asked to.
    pub(super) async fn run(self) {
        let mut asked = false;
        loop {
            let (found, kept) = self.look().await;
            let resting = asked && !matches!(found, Found::New);
            let rest = resting.then(|| Instant::now() + REST);
            // Who asked until now is answered by this look, and who asks from here on by the next.
            let _ = self.wake.notified().now_or_never();
            // Even when nothing is new: somebody may wait for it.
            self.state.send_modify(|state| state.resting = rest);
            if let Some(until) = rest {
                tokio::time::sleep_until(until).await;
            }
            asked = tokio::time::timeout(kept, self.wake.notified()).await.is_ok();
        }
    }

    /// One look, and how long what is known now may be kept.
    async fn look(&self) -> (Found, Duration) {
        let fetched = tokio::time::timeout(LOOK_TIMEOUT, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err(Error::new(Kind::Timeout, "The issuer did not answer in time.")));
        let failed = self.state.borrow().failed;
        match fetched {
            Ok((keys, kept)) => {
                let (issuer, count) = (&*self.issuer, keys.len());
                let is_same = keys.is(&self.state.borrow().keys);
                if failed {
                    tracing::info!(issuer, "the keys of this issuer can be fetched again");
                }
                if !is_same {
                    tracing::info!(issuer, count, "the keys of this issuer are known");
                }
                self.state.send_if_modified(|state| {
                    state.failed = false;
                    if !is_same {
                        state.keys = Arc::new(keys);
                    }
                    // Whoever waits is told by `run`, with when the next look may be.
                    false
                });
                (if is_same { Found::Same } else { Found::New }, kept)
            }
            Err(error) => {
                if !failed {
                    let (issuer, causes) = (&*self.issuer, error.causes());
                    tracing::warn!(%error, causes, issuer, "the keys of this issuer cannot be fetched; those known go on counting");
                }
                self.state.send_if_modified(|state| {
                    state.failed = true;
                    false
                });
                (Found::Nothing, RETRY)
            }
        }
    }

    /// <https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig>
    async fn fetch(&self) -> Result<(KeySet, Duration)> {
        #[derive(Deserialize)]
        struct Configuration {
            issuer: String,
            jwks_uri: String,
        }
        let broken = |what: &'static str| Error::new(Kind::Unavailable, what);
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let document = self.documents.read(&url).await?;
        let configuration: Configuration = serde_json::from_slice(&document.bytes)
            .map_err(|error| broken("The issuer's configuration cannot be read.").source(error))?;
        if configuration.issuer != self.issuer {
            return Err(broken(
                "The issuer's configuration is another issuer's: `issuer` in it is not what is configured.",
            ));
        }
        let document = self.documents.read(&configuration.jwks_uri).await?;
        let kept = document.max_age.unwrap_or(KEPT_UNTOLD).clamp(KEPT.0, KEPT.1);
        let keys =
            KeySet::parse(document.bytes).map_err(|error| broken("The issuer's keys cannot be read.").source(error))?;
        Ok((keys, kept))
    }
}
