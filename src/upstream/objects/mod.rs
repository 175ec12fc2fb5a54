//! One Region's S3 as the gateway itself calls it: whole objects, reading that outlives broken connections, and writing
//! in parts.
//!
//! The SDK's own retries are off: what passes (throttling, failures of S3, broken connections, expired credentials) is
//! asked again here a few times with growing pauses; then it is a [`Failure`], and who waits longer does so on their own.
//! Memory is bounded whatever the length of an object. Errors name the permission or the setting, never the account.

mod reading;
mod refusal;
#[cfg(test)]
mod tests;
mod writer;

use std::error::Error as StdError;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError, future};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Builder, IdentityCache, Region as SdkRegion, StalledStreamProtectionConfig};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, Delete, ObjectIdentifier};
use aws_types::SdkConfig;
use bytes::Bytes;
use tokio_util::task::TaskTracker;

pub use self::reading::Reading;
pub use self::writer::Writer;

use self::refusal::{Ask, Said, passes};
use super::Upstream;
use super::classify::{Failure, Reason, http_date};
use super::credentials::Credentials;
use super::endpoint::named_by_environment;
use super::mask::masked_chain;
use super::time::AwsClock;
use crate::clock::Timestamp;
use crate::config;
use crate::error::{Error, Kind};

/// Attempts of one operation, the first included.
const ATTEMPTS: u32 = 6;
/// The longest pause before the second attempt; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// No pause that S3 asks for is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// AWS deletes so many with one request.
const DELETED_AT_ONCE: usize = 1000;
/// Nothing came of a body for so long: it is asked for again. The configured patience is for models that think.
const SILENCE: Duration = Duration::from_secs(30);

/// How long S3 is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    connect: Duration,
    first_byte: Duration,
    idle: Duration,
}

impl Patience {
    pub(super) fn new(aws: &config::Aws) -> Self {
        Self {
            connect: Duration::from_millis(aws.connect_timeout_ms),
            first_byte: Duration::from_secs(aws.first_byte_timeout_s),
            idle: Duration::from_secs(aws.idle_timeout_s).min(SILENCE),
        }
    }
}

/// What is needed to call S3.
pub(super) struct Means<'a> {
    pub(super) sdk: &'a SdkConfig,
    /// The base URL of the configuration, if it names one.
    pub(super) url: Option<&'a str>,
    pub(super) credentials: Credentials,
    pub(super) clock: AwsClock,
    pub(super) patience: Patience,
    pub(super) tracker: TaskTracker,
}

/// One Region's S3. A cheap clone.
#[derive(Clone)]
pub struct Objects(Arc<Inner>);

struct Inner {
    region: Arc<str>,
    client: Client,
    credentials: Credentials,
    clock: AwsClock,
    idle: Duration,
    tracker: TaskTracker,
}

/// The gateway's own credentials, as the SDK asks for them.
#[derive(Debug)]
struct Own(Credentials, AwsClock);

impl ProvideCredentials for Own {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let keys = self.0.keys(self.1.now()).await.map_err(CredentialsError::provider_error)?;
            Ok(keys.to_sdk())
        })
    }
}

impl Upstream {
    /// The S3 of this Region, with the gateway's own credentials; none: the Region is not configured.
    pub fn objects(&self, region: &str) -> Option<Objects> {
        self.region(region).map(super::Region::objects)
    }
}

impl Objects {
    /// Asks AWS for nothing yet.
    pub(super) fn new(region: &Arc<str>, means: Means<'_>) -> Self {
        let Means { sdk, url, credentials, clock, patience, tracker } = means;
        let timeouts = TimeoutConfig::builder().connect_timeout(patience.connect).read_timeout(patience.first_byte);
        let mut config = Builder::from(sdk)
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(SdkRegion::new(region.to_string()))
            .credentials_provider(Own(credentials.clone(), clock.clone()))
            .identity_cache(IdentityCache::no_cache())
            // One clock is put right, and once.
            .time_source(clock.clone())
            .disable_clock_skew_correction(true)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build())
            // The pauses of who reads are theirs; a silent S3 is noticed here.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .disable_s3_express_session_auth(true);
        if let Some(url) = url.map(str::to_owned).or_else(|| named_by_environment(sdk, "S3")) {
            // A host that somebody chose has no name for each bucket, and is what FIPS or dual stack would change.
            config = config.endpoint_url(url).force_path_style(true).use_fips(false).use_dual_stack(false);
        }
        let client = Client::from_conf(config.build());
        Self(Arc::new(Inner { region: Arc::clone(region), client, credentials, clock, idle: patience.idle, tracker }))
    }

    /// The Region.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Writes a whole object, in place of one that is there.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>
    ///
    /// # Errors
    /// When S3 refuses it, or fails again and again.
    pub async fn put(&self, bucket: &str, key: &str, body: Bytes) -> Result<(), Failure> {
        let attempt = || {
            let body = ByteStream::from(body.clone());
            let call = self.0.client.put_object().bucket(bucket).key(key).body(body);
            Box::pin(call.checksum_algorithm(ChecksumAlgorithm::Crc32).send())
        };
        self.repeat("s3:PutObject", attempt).await.map(|_| ())
    }

    /// Opens an object, or these bytes of it, for reading. What lies beyond its end is left out.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>
    ///
    /// # Errors
    /// As [`Objects::put`]; [`Reason::Missing`] when it is not there.
    pub async fn read(&self, bucket: &str, key: &str, range: Option<Range<u64>>) -> Result<Reading, Failure> {
        match Reading::open(self.clone(), bucket, key, range).await {
            // Who may list only what is below a prefix is told of a missing object that reading it is not allowed.
            Err(failure) if failure.reason == Reason::Denied => match self.length(bucket, key).await {
                Ok(None) => Err(self.missing()),
                _ => Err(failure),
            },
            other => other,
        }
    }

    /// The length of an object; none: it is not there. By listing: to who may list only what is below a prefix, S3 would
    /// answer a `HEAD` of what is missing with 403.
    ///
    /// # Errors
    /// As [`Objects::put`].
    pub async fn length(&self, bucket: &str, key: &str) -> Result<Option<u64>, Failure> {
        let attempt = || {
            let call = self.0.client.list_objects_v2().bucket(bucket).prefix(key).max_keys(1);
            Box::pin(call.send())
        };
        let answer = self.repeat("s3:ListBucket", attempt).await?;
        let first = answer.contents.unwrap_or_default().into_iter().next();
        let found = first.filter(|object| object.key.as_deref() == Some(key));
        Ok(found.map(|object| object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default()))
    }

    /// The objects below a prefix and their lengths, in the order of their keys.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
    ///
    /// # Errors
    /// As [`Objects::put`].
    pub async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<(String, u64)>, Failure> {
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let attempt = || {
                let call = self.0.client.list_objects_v2().bucket(bucket).prefix(prefix);
                Box::pin(call.set_continuation_token(next.clone()).send())
            };
            let page = self.repeat("s3:ListBucket", attempt).await?;
            for object in page.contents.unwrap_or_default() {
                let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                found.extend(object.key.map(|key| (key, size)));
            }
            next = page.next_continuation_token.filter(|_| page.is_truncated == Some(true));
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// Deletes these objects; those that are not there any more are no error.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
    ///
    /// # Errors
    /// As [`Objects::put`]; some may be deleted by then.
    pub async fn delete(&self, bucket: &str, keys: &[String]) -> Result<(), Failure> {
        for keys in keys.chunks(DELETED_AT_ONCE) {
            self.delete_some(bucket, keys.to_vec()).await?;
        }
        Ok(())
    }

    async fn delete_some(&self, bucket: &str, mut keys: Vec<String>) -> Result<(), Failure> {
        const ACTION: &str = "s3:DeleteObject";
        let mut pauses = Pauses::default();
        loop {
            let named = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build());
            let named: Vec<_> = named.collect::<Result<_, _>>().map_err(|e| Failure::internal(Error::internal(e)))?;
            let delete = Delete::builder().set_objects(Some(named)).quiet(true).build();
            let delete = delete.map_err(|error| Failure::internal(Error::internal(error)))?;
            let attempt = || Box::pin(self.0.client.delete_objects().bucket(bucket).delete(delete.clone()).send());
            let answer = self.repeat(ACTION, attempt).await?;
            let errors = answer.errors.unwrap_or_default().into_iter();
            let left: Vec<_> = errors.filter(|error| error.code.as_deref() != Some("NoSuchKey")).collect();
            let Some(first) = left.first() else { return Ok(()) };
            let said = Said {
                code: first.code.clone().unwrap_or_default(),
                message: first.message.clone().unwrap_or_default(),
                ..Said::default()
            };
            let failure = said.into_failure(self.ask(ACTION));
            if !pauses.after(&failure).await {
                return Err(failure);
            }
            keys = left.into_iter().filter_map(|error| error.key).collect();
        }
    }

    /// Begins an object that is written piece by piece. Nothing is asked of S3 yet.
    pub fn writer(&self, bucket: impl Into<String>, key: impl Into<String>) -> Writer {
        Writer::new(self.clone(), bucket.into(), key.into())
    }

    /// Forgets an upload in parts that nobody will finish; one that is not there any more is no error.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>
    ///
    /// # Errors
    /// As [`Objects::put`].
    pub async fn abort(&self, bucket: &str, key: &str, upload_id: &str) -> Result<(), Failure> {
        let attempt = || {
            let call = self.0.client.abort_multipart_upload().bucket(bucket).key(key).upload_id(upload_id);
            Box::pin(call.send())
        };
        match self.repeat("s3:AbortMultipartUpload", attempt).await {
            Err(failure) if failure.reason != Reason::Missing => Err(failure),
            _ => Ok(()),
        }
    }

    fn ask(&self, action: &'static str) -> Ask<'_> {
        Ask { region: &self.0.region, action }
    }

    fn missing(&self) -> Failure {
        let said = Said { status: 404, code: "NoSuchKey".into(), ..Said::default() };
        said.into_failure(self.ask("s3:GetObject"))
    }

    /// The answer to `attempt`, which is made again while there is hope.
    async fn repeat<T, E, F>(&self, action: &'static str, attempt: impl Fn() -> F) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        let mut pauses = Pauses::default();
        let mut corrected = 0;
        loop {
            let signed_at = self.0.clock.now();
            // Known before, to be forgotten if they are refused.
            let keys = self.0.credentials.keys(signed_at).await.map_err(Failure::credentials)?;
            let error = match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let failure = match said(&error) {
                Some(said) => {
                    let other_keys = said.refuses_keys() && self.0.credentials.refused(&keys, &said.code);
                    let other_time = said.clock().is_some_and(|server| self.0.clock.adopt(server, signed_at));
                    if (other_keys || other_time) && corrected < 2 {
                        corrected += 1;
                        continue;
                    }
                    said.into_failure(self.ask(action))
                }
                None => unanswered(&error, &self.0.region),
            };
            if !pauses.after(&failure).await {
                tracing::warn!(
                    action,
                    region = &*self.0.region,
                    cause = failure.error.causes(),
                    "S3 did not do what it was asked"
                );
                return Err(failure);
            }
        }
    }
}

/// The pauses between the attempts of one operation.
#[derive(Debug, Default)]
struct Pauses(u32);

impl Pauses {
    /// Waits until it is worth while to try again after this failure; says whether it is at all.
    async fn after(&mut self, failure: &Failure) -> bool {
        self.0 += 1;
        let asked = failure.retry_after.unwrap_or_default();
        if self.0 >= ATTEMPTS || !passes(failure.reason) || asked > LONGEST_PAUSE {
            return false;
        }
        let ceiling = FIRST_PAUSE.saturating_mul(1 << (self.0 - 1));
        tokio::time::sleep(asked + ceiling.mul_f64(fastrand::f64())).await;
        true
    }
}

/// What S3 said, if it answered.
fn said<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<Said> {
    let response = error.raw_response()?;
    let status = response.status().as_u16();
    if status < 300 && error.as_service_error().is_none() {
        // A success that breaks off or cannot be read.
        return None;
    }
    let header = |name: &str| response.headers().get(name);
    let retry_after = header("retry-after").and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
    let date: Option<Timestamp> = header("date").and_then(http_date);
    Some(Said {
        status,
        code: error.code().unwrap_or_default().to_owned(),
        message: error.message().unwrap_or_default().to_owned(),
        bucket_region: header("x-amz-bucket-region").map(str::to_owned),
        retry_after,
        date,
    })
}

/// Why there is no answer.
fn unanswered<E: StdError + Send + Sync + 'static>(error: &SdkError<E>, region: &str) -> Failure {
    let source = masked_chain(error);
    let (reason, text) = match error {
        SdkError::ConstructionFailure(_) => return Failure::internal(Error::internal(source)),
        SdkError::TimeoutError(_) => (Reason::Timeout, "takes longer to answer than the gateway may wait"),
        SdkError::DispatchFailure(cause) if cause.is_timeout() => {
            (Reason::Timeout, "takes longer to answer than the gateway may wait")
        }
        SdkError::DispatchFailure(_) => (Reason::Connection, "could not be reached"),
        _ => (Reason::Cut, "broke off its answer"),
    };
    let error = Error::new(Kind::UpstreamUnavailable, format!("S3 in {region} {text}.")).source(source);
    Failure { reason, error, retry_after: None, sent: false }
}
