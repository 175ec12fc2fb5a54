//! The gateway's own AWS credentials: loaded once, kept as a snapshot that calls read without a lock, and renewed by one
//! task before they expire.
//!
//! However many calls find them missing, one asks the provider and the others wait for it; after a failure the provider
//! is left alone for a second. No secret is in an error or a log.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use super::mask::masked_chain;
use super::sign::Keys;
use crate::clock::{Clock, Timestamp};
use crate::config::Secret;
use crate::error::{Error, Kind, Result};

/// Renewal starts this long before they expire.
const AHEAD: Duration = Duration::from_mins(5);
/// Keys that expire within this time are not signed with any more.
const MARGIN: Duration = Duration::from_secs(10);
/// The pause between two attempts to renew keys that still work.
const RENEW_PAUSE: Duration = Duration::from_secs(30);
/// For how long a failure to load answers for all calls.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// The chain may ask the instance, a container or STS.
const LOAD_TIMEOUT: Duration = Duration::from_secs(15);

const NO_CREDENTIALS: &str = "The gateway has no AWS credentials that work. Its operator sets AWS_PROFILE, or \
                              AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or gives the machine a role; the log says \
                              what failed.";

/// The cache. Clones share it.
#[derive(Clone)]
pub(super) struct Credentials(Arc<Inner>);

struct Inner {
    provider: SharedCredentialsProvider,
    current: ArcSwapOption<Keys>,
    /// Held by the one that loads; the last failure, if the last attempt failed.
    load: Mutex<Option<Failed>>,
    /// No renewal begins before this moment, in milliseconds.
    renew_from: AtomicI64,
    clock: Clock,
    tracker: TaskTracker,
}

struct Failed {
    at: Timestamp,
    cause: String,
}

impl Failed {
    fn error(&self) -> Error {
        Error::new(Kind::UpstreamUnavailable, NO_CREDENTIALS).source(self.cause.clone())
    }
}

impl Credentials {
    pub(super) fn new(provider: SharedCredentialsProvider, clock: Clock, tracker: TaskTracker) -> Self {
        Self(Arc::new(Inner {
            provider,
            current: ArcSwapOption::empty(),
            load: Mutex::new(None),
            renew_from: AtomicI64::new(i64::MIN),
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
            _ => self.load().await,
        }
    }

    /// Forgets `used`, which AWS called expired. Keys that have replaced it stay.
    pub(super) fn invalidate(&self, used: &Keys) {
        if self.0.current.load().as_ref().is_some_and(|current| current.is(used)) {
            self.0.current.store(None);
        }
    }

    async fn load(&self) -> Result<Arc<Keys>> {
        let mut failed = self.0.load.lock().await;
        let now = self.0.clock.now();
        if let Some(keys) = self.0.current.load_full().filter(|keys| is_good(keys, now)) {
            return Ok(keys);
        }
        if let Some(failed) = failed.as_ref().filter(|failed| now.since(failed.at) < FAILURE_PAUSE) {
            return Err(failed.error());
        }
        match self.fetch().await {
            Ok(keys) => {
                *failed = None;
                Ok(keys)
            }
            Err(now_failed) => Err(failed.insert(now_failed).error()),
        }
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
            if let Err(failed) = credentials.fetch().await {
                tracing::warn!(
                    cause = failed.cause,
                    "AWS credentials could not be renewed; the present ones still work"
                );
            }
        });
    }

    async fn fetch(&self) -> Result<Arc<Keys>, Failed> {
        let failed = |cause: String| Failed { at: self.0.clock.now(), cause };
        let loaded = tokio::time::timeout(LOAD_TIMEOUT, self.0.provider.provide_credentials()).await;
        let credentials = match loaded {
            Ok(Ok(credentials)) => credentials,
            Ok(Err(error)) => {
                return Err(failed(masked_chain(&error)));
            }
            Err(elapsed) => return Err(failed(elapsed.to_string())),
        };
        let expiry = credentials.expiry().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let expiry = expiry.map(|since| Timestamp::default().plus(since));
        let secret = Secret::new(credentials.secret_access_key());
        let keys = Keys::new(credentials.access_key_id().to_owned(), secret, credentials.session_token(), expiry)
            .map_err(|error| failed(error.causes()))?;
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
            Self { provider, credentials: Credentials::new(shared, clock.clone(), tracker.clone()), clock, tracker }
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
        bench.credentials.invalidate(&first);
        assert_eq!(bench.id().await.unwrap(), "AKID2");
        bench.credentials.invalidate(&first);
        assert_eq!((bench.id().await.unwrap().as_str(), bench.asked()), ("AKID2", 2));
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
