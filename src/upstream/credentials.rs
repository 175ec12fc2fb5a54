//! One identity's AWS credentials: loaded once, kept as a snapshot that calls read without a lock, and renewed by one
//! task before they expire.
//!
//! However many calls find them missing, one asks the provider and the others wait for it. A provider that fails, or whose
//! credentials AWS refuses, is left alone for a second, then for two, and so on up to half a minute: credentials come back
//! by themselves and nobody is asked in a hot loop. No secret and no ARN is in an error or a log.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio_util::task::TaskTracker;

use super::mask::masked_chain;
use super::sign::Keys;
use super::time::AwsClock;
use crate::clock::Timestamp;
use crate::config::Secret;
use crate::error::{Error, Kind, Result};

/// Renewal starts this long before they expire.
const AHEAD: Duration = Duration::from_mins(5);
/// Keys that expire within this time are not signed with any more.
const MARGIN: Duration = Duration::from_secs(10);
/// The pause between two attempts to renew keys that still work.
const RENEW_PAUSE: Duration = Duration::from_secs(30);
/// For how long a failure to load answers for all calls; doubled with every one in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A refusal of keys begins a new row when none was heard for so long.
const ROW: Duration = Duration::from_mins(5);
/// The chain may ask the instance, a container or STS.
const LOAD_TIMEOUT: Duration = Duration::from_secs(15);

const NO_CREDENTIALS: &str = "The gateway has no AWS credentials that work. Its operator sets AWS_PROFILE, or \
                              AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or gives the machine a role; the log says \
                              what failed.";
const NO_ROLE: &str = "The AWS role of this team cannot be assumed now. The gateway's operator finds the cause in its log \
                       under the team's id.";

/// The cache. Clones share it.
#[derive(Clone)]
pub(super) struct Credentials(Arc<Inner>);

/// Whose credentials they are, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The gateway's own.
    Gateway,
    /// Of the role of the team with this id.
    Team(Arc<str>),
}

impl Owner {
    fn team(&self) -> Option<&str> {
        match self {
            Self::Gateway => None,
            Self::Team(id) => Some(id),
        }
    }
}

struct Inner {
    provider: SharedCredentialsProvider,
    owner: Owner,
    current: ArcSwapOption<Keys>,
    /// Held by the one that loads; the last failure, if the last attempt failed.
    load: tokio::sync::Mutex<Option<Failed>>,
    /// No renewal begins before this moment, in milliseconds.
    renew_from: AtomicI64,
    refused: Mutex<Refused>,
    clock: AwsClock,
    tracker: TaskTracker,
}

struct Failed {
    cause: String,
    /// In a row, this one included.
    times: u32,
    /// When the provider may be asked again.
    until: Timestamp,
}

/// What AWS refused of late.
#[derive(Default)]
struct Refused {
    times: u32,
    last: Timestamp,
}

/// How long to wait after the last of so many failures.
fn pause(times: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << times.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
}

impl Credentials {
    pub(super) fn new(
        provider: SharedCredentialsProvider,
        owner: Owner,
        clock: AwsClock,
        tracker: TaskTracker,
    ) -> Self {
        Self(Arc::new(Inner {
            provider,
            owner,
            current: ArcSwapOption::empty(),
            load: tokio::sync::Mutex::new(None),
            renew_from: AtomicI64::new(i64::MIN),
            refused: Mutex::default(),
            clock,
            tracker,
        }))
    }

    /// Keys that are good now.
    pub(super) async fn keys(&self, now: Timestamp) -> Result<Arc<Keys>> {
        match self.0.current.load_full() {
            Some(keys) if is_good(&keys, now) => {
                if keys.expiry().is_some_and(|expiry| now.plus(AHEAD) >= expiry) {
                    self.renew(now);
                }
                Ok(keys)
            }
            // Seldom, and by a large future, which no call is to carry with it.
            _ => Box::pin(self.load()).await,
        }
    }

    /// Forgets `used`, which AWS refused as expired or unknown, unless that happens too often to be cured by other keys:
    /// AWS says the same of good keys in a Region that the account has not enabled. Keys that have replaced `used` stay.
    /// Says whether a repeat would be signed with other keys.
    pub(super) fn refused(&self, used: &Keys, code: &str) -> bool {
        let Inner { current, refused, clock, owner, .. } = &*self.0;
        let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.load().as_ref().is_some_and(|current| current.is(used)) {
            return true;
        }
        let now = clock.now();
        if now.since(refused.last) >= ROW {
            refused.times = 0;
        }
        if refused.times > 0 && now.since(refused.last) < pause(refused.times) {
            return false;
        }
        *refused = Refused { times: refused.times + 1, last: now };
        current.store(None);
        tracing::warn!(team = owner.team(), code, "AWS refused credentials; they are loaded again");
        true
    }

    async fn load(&self) -> Result<Arc<Keys>> {
        let mut last = self.0.load.lock().await;
        let now = self.0.clock.now();
        if let Some(keys) = self.0.current.load_full().filter(|keys| is_good(keys, now)) {
            return Ok(keys);
        }
        if let Some(failed) = last.as_ref().filter(|failed| now < failed.until) {
            return Err(self.error(failed, now));
        }
        match self.fetch().await {
            Ok(keys) => {
                *last = None;
                Ok(keys)
            }
            Err(cause) => {
                let times = last.take().map_or(0, |failed| failed.times) + 1;
                let now = self.0.clock.now();
                let failed = last.insert(Failed { cause, times, until: now.plus(pause(times)) });
                self.log(failed);
                Err(self.error(failed, now))
            }
        }
    }

    fn log(&self, failed: &Failed) {
        let Failed { cause, times, .. } = failed;
        match &self.0.owner {
            Owner::Gateway => tracing::warn!(cause, times, "AWS credentials could not be loaded"),
            Owner::Team(team) => tracing::warn!(
                %team,
                cause,
                times,
                "the AWS role of a team could not be assumed: its trust policy must allow the gateway's identity \
                 sts:AssumeRole and sts:TagSession"
            ),
        }
    }

    fn error(&self, failed: &Failed, now: Timestamp) -> Error {
        let message = match self.0.owner {
            Owner::Gateway => NO_CREDENTIALS,
            Owner::Team(_) => NO_ROLE,
        };
        let wait = failed.until.since(now).max(FIRST_PAUSE);
        Error::new(Kind::UpstreamUnavailable, message).retry_after(wait).source(failed.cause.clone())
    }

    /// Starts one task that replaces keys which still work.
    fn renew(&self, now: Timestamp) {
        let from = self.0.renew_from.load(Ordering::Acquire);
        let next = now.plus(RENEW_PAUSE).millis();
        if now.millis() < from
            || self.0.renew_from.compare_exchange(from, next, Ordering::AcqRel, Ordering::Acquire).is_err()
        {
            return;
        }
        let credentials = self.clone();
        self.0.tracker.spawn(async move {
            if let Err(cause) = credentials.fetch().await {
                let team = credentials.0.owner.team();
                tracing::warn!(team, cause, "AWS credentials could not be renewed; the present ones still work");
            }
        });
    }

    /// Asks the provider; the error is its cause, for the log.
    async fn fetch(&self) -> Result<Arc<Keys>, String> {
        let loaded = tokio::time::timeout(LOAD_TIMEOUT, self.0.provider.provide_credentials()).await;
        let credentials = match loaded {
            Ok(Ok(credentials)) => credentials,
            Ok(Err(error)) => return Err(masked_chain(&error)),
            Err(elapsed) => return Err(elapsed.to_string()),
        };
        let expiry = credentials.expiry().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let expiry = expiry.map(|since| Timestamp::default().plus(since));
        let secret = Secret::new(credentials.secret_access_key());
        let keys = Keys::new(credentials.access_key_id().to_owned(), secret, credentials.session_token(), expiry)
            .map_err(|error| error.causes())?;
        let keys = Arc::new(keys);
        self.0.current.store(Some(Arc::clone(&keys)));
        Ok(keys)
    }
}

fn is_good(keys: &Keys, now: Timestamp) -> bool {
    keys.expiry().is_none_or(|expiry| now.plus(MARGIN) < expiry)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::future;

    use super::*;
    use crate::clock::Clock;

    /// Gives keys that live ten minutes; fails while it is `broken`.
    #[derive(Debug, Clone)]
    struct Provider {
        asked: Arc<AtomicU32>,
        broken: Arc<std::sync::atomic::AtomicBool>,
        clock: Clock,
    }

    impl ProvideCredentials for Provider {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async {
                let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::task::yield_now().await;
                if self.broken.load(Ordering::SeqCst) {
                    return Err(CredentialsError::not_loaded("nothing for 123456789012"));
                }
                let expiry = self.clock.now().plus(Duration::from_mins(10));
                let id = format!("AKID{asked}");
                Ok(aws_credential_types::Credentials::new(id, "secret", None, Some(expiry.into()), "test"))
            })
        }
    }

    struct Bench {
        provider: Provider,
        credentials: Credentials,
        clock: Clock,
        tracker: TaskTracker,
    }

    impl Bench {
        fn new() -> Self {
            let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
            let provider = Provider { asked: Arc::default(), broken: Arc::default(), clock: clock.clone() };
            let tracker = TaskTracker::new();
            let shared = SharedCredentialsProvider::new(provider.clone());
            let credentials = Credentials::new(shared, Owner::Gateway, AwsClock::new(clock.clone()), tracker.clone());
            Self { provider, credentials, clock, tracker }
        }

        async fn id(&self) -> Result<String> {
            self.credentials.keys(self.clock.now()).await.map(|keys| keys.parts().0.to_owned())
        }

        fn asked(&self) -> u32 {
            self.provider.asked.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn many_callers_ask_the_provider_once() {
        let bench = Bench::new();
        let all = futures_util::future::join_all((0..50).map(|_| bench.id())).await;
        assert!(all.into_iter().all(|id| id.unwrap() == "AKID1"));
        assert_eq!(bench.asked(), 1);
    }

    #[tokio::test]
    async fn keys_are_renewed_once_in_the_background_before_they_expire() {
        let bench = Bench::new();
        bench.id().await.unwrap();
        bench.clock.advance(Duration::from_secs(400));
        for _ in 0..5 {
            assert_eq!(bench.id().await.unwrap(), "AKID1");
        }
        bench.tracker.close();
        bench.tracker.wait().await;
        assert_eq!((bench.id().await.unwrap().as_str(), bench.asked()), ("AKID2", 2));
    }

    #[tokio::test]
    async fn expired_keys_are_not_used() {
        let bench = Bench::new();
        bench.id().await.unwrap();
        bench.clock.advance(Duration::from_secs(595));
        assert_eq!(bench.id().await.unwrap(), "AKID2");
    }

    #[tokio::test]
    async fn only_the_keys_that_were_refused_are_forgotten() {
        let bench = Bench::new();
        let first = bench.credentials.keys(bench.clock.now()).await.unwrap();
        assert!(bench.credentials.refused(&first, "ExpiredToken"));
        assert_eq!(bench.id().await.unwrap(), "AKID2");
        assert!(bench.credentials.refused(&first, "ExpiredToken"));
        assert_eq!((bench.id().await.unwrap().as_str(), bench.asked()), ("AKID2", 2));
    }

    #[tokio::test]
    async fn keys_that_are_refused_again_and_again_are_loaded_ever_more_rarely() {
        let bench = Bench::new();
        let refuse = async || {
            let keys = bench.credentials.keys(bench.clock.now()).await.unwrap();
            bench.credentials.refused(&keys, "UnrecognizedClientException")
        };
        let mut forgotten = Vec::new();
        for second in 0..120 {
            if refuse().await {
                forgotten.push(second);
            }
            bench.clock.advance(Duration::from_secs(1));
        }
        assert_eq!(forgotten, [0, 1, 3, 7, 15, 31, 61, 91]);
        bench.clock.advance(ROW);
        assert!(refuse().await);
        bench.clock.advance(Duration::from_secs(1));
        assert!(refuse().await, "a new row");
    }

    #[tokio::test]
    async fn a_provider_that_fails_is_asked_ever_more_rarely_until_it_gives_keys() {
        let bench = Bench::new();
        bench.provider.broken.store(true, Ordering::SeqCst);
        for second in 0..120_u64 {
            let error = bench.id().await.unwrap_err();
            let until = error.wait().unwrap();
            assert!((1..=30).contains(&until.as_secs()), "second {second}: {until:?}");
            bench.clock.advance(Duration::from_secs(1));
        }
        // At 0, 1, 3, 7, 15, 31, 61 and 91 seconds.
        assert_eq!(bench.asked(), 8);
        bench.provider.broken.store(false, Ordering::SeqCst);
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.id().await.unwrap(), "AKID9");
    }

    #[tokio::test]
    async fn a_failure_is_told_clearly_answers_for_a_second_and_passes() {
        let bench = Bench::new();
        bench.provider.broken.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            let error = bench.id().await.unwrap_err();
            assert!(error.message().contains("no AWS credentials"), "{error}");
            assert!(!error.causes().contains("123456789012"));
        }
        assert_eq!(bench.asked(), 1);
        bench.provider.broken.store(false, Ordering::SeqCst);
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.id().await.unwrap(), "AKID2");
    }
}
