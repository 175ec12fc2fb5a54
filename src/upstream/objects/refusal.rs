//! What S3's answers mean, and how they are told: to an operator who can put it right, without the bucket's name, an
//! account or an ARN. Pure.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::upstream::classify::{Failure, Reason};
use crate::upstream::mask::mask;

/// What was asked: the object, its bucket's Region, and the permission for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    /// The Region whose bucket was meant.
    pub(super) region: &'a str,
    /// The IAM action.
    pub(super) action: &'static str,
}

/// An answer with an error status.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    /// `x-amz-bucket-region`.
    pub(super) bucket_region: Option<String>,
    pub(super) retry_after: Option<Duration>,
    /// The server's clock.
    pub(super) date: Option<Timestamp>,
}

/// What S3 says of keys that have expired, were revoked or never were.
const REFUSED: [&str; 4] = ["ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired"];
/// What it says when the time of the signature may be to blame.
const CLOCK: [&str; 3] = ["RequestTimeTooSkewed", "SignatureDoesNotMatch", "RequestExpired"];
/// What passes.
const THROTTLED: [&str; 5] =
    ["SlowDown", "RequestLimitExceeded", "ThrottlingException", "Throttling", "TooManyRequests"];
const UNAVAILABLE: [&str; 6] = [
    "InternalError",
    "ServiceUnavailable",
    "OperationAborted",
    "ConditionalRequestConflict",
    "RequestTimeout",
    "503 SlowDown",
];
/// The bucket is somewhere else.
const ELSEWHERE: [&str; 4] =
    ["PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"];

impl Said {
    /// Whether other keys could cure it.
    pub(super) fn refuses_keys(&self) -> bool {
        REFUSED.contains(&self.code.as_str())
    }

    /// The server's clock, when the refusal may be due to ours being wrong.
    pub(super) fn clock(&self) -> Option<Timestamp> {
        self.date.filter(|_| CLOCK.contains(&self.code.as_str()))
    }

    fn reason(&self, region: &str) -> Reason {
        let code = self.code.as_str();
        if REFUSED.contains(&code) || CLOCK.contains(&code) {
            return Reason::Credentials;
        }
        if self.is_elsewhere(region) || code == "NoSuchBucket" {
            return Reason::Rejected;
        }
        match (code, self.status) {
            (code, _) if THROTTLED.contains(&code) => Reason::Throttled,
            (code, _) if UNAVAILABLE.contains(&code) => Reason::Unavailable,
            ("NoSuchKey" | "NoSuchUpload", _) => Reason::Missing,
            ("AccessDenied" | "AllAccessDisabled", _) | (_, 401 | 403) => Reason::Denied,
            (_, 404) => Reason::Missing,
            (_, 429) => Reason::Throttled,
            (_, 500..) => Reason::Unavailable,
            _ => Reason::Rejected,
        }
    }

    fn is_elsewhere(&self, region: &str) -> bool {
        ELSEWHERE.contains(&self.code.as_str())
            || matches!(self.status, 301 | 307)
            || (self.status >= 400 && self.bucket_region.as_deref().is_some_and(|there| there != region))
    }

    /// The permission that S3's own words name, such as one of KMS.
    fn named_action(&self) -> Option<&str> {
        let (_, after) = self.message.split_once("not authorized to perform: ")?;
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != ':' && c != '*').unwrap_or(after.len());
        Some(&after[..end]).filter(|action| action.contains(':'))
    }

    /// The failure, worded.
    pub(super) fn into_failure(self, ask: Ask<'_>) -> Failure {
        let Ask { region, action } = ask;
        let reason = self.reason(region);
        let source =
            format!("S3 answers {action} in {region} with {} {}: {}", self.status, self.code, mask(&self.message));
        let error = match reason {
            Reason::Credentials => Error::new(Kind::UpstreamUnavailable, "AWS refused the gateway's credentials."),
            Reason::Denied => {
                let action = self.named_action().unwrap_or(action);
                Error::new(
                    Kind::Unavailable,
                    format!(
                        "The gateway may not use its bucket in {region}: it lacks `{action}`. Its operator grants it on \
                         the bucket of `batch.bucket.{region}`; `bedrock-gateway iam-policy` prints what is needed."
                    ),
                )
            }
            Reason::Rejected if self.is_elsewhere(region) => Error::new(Kind::Unavailable, elsewhere(region, &self)),
            Reason::Rejected if self.code == "NoSuchBucket" => Error::new(
                Kind::Unavailable,
                format!(
                    "The gateway's bucket in {region} does not exist. Its operator makes it, or corrects \
                     `batch.bucket.{region}`."
                ),
            ),
            Reason::Rejected if self.code.starts_with("KMS.") => Error::new(
                Kind::Unavailable,
                format!(
                    "The key that encrypts the gateway's bucket in {region} cannot be used; its operator enables it."
                ),
            ),
            Reason::Rejected => Error::new(
                Kind::Unavailable,
                format!("S3 refused what the gateway asked of its bucket in {region}; the log says why."),
            ),
            Reason::Missing => {
                Error::new(Kind::NotFound, "What was kept of this in the gateway's bucket is not there any more.")
            }
            Reason::Throttled => Error::new(
                Kind::UpstreamThrottled,
                format!("S3 in {region} is asked too often. Try again in a moment."),
            ),
            _ => Error::new(Kind::UpstreamUnavailable, format!("S3 in {region} fails. Try again in a moment.")),
        };
        let error = match self.retry_after {
            Some(after) => error.retry_after(after),
            None => error,
        };
        Failure { reason, error: error.source(source), retry_after: self.retry_after, sent: false }
    }
}

fn elsewhere(region: &str, said: &Said) -> String {
    let there = said.bucket_region.as_deref().filter(|there| *there != region);
    let there = there.map_or_else(|| "another Region".to_owned(), str::to_owned);
    format!(
        "The bucket of `batch.bucket.{region}` is in {there}. Bedrock reads and writes buckets of its own Region only: the \
         gateway's operator names one of {region} there."
    )
}

/// Whether the same may work in a moment.
pub(super) const fn passes(reason: Reason) -> bool {
    matches!(reason, Reason::Throttled | Reason::Unavailable | Reason::Timeout | Reason::Connection | Reason::Cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: Ask<'_> = Ask { region: "us-east-1", action: "s3:PutObject" };

    fn said(status: u16, code: &str, message: &str) -> Said {
        Said { status, code: code.into(), message: message.into(), ..Said::default() }
    }

    #[test]
    fn each_answer_has_its_meaning() {
        for (status, code, reason) in [
            (503, "SlowDown", Reason::Throttled),
            (500, "InternalError", Reason::Unavailable),
            (400, "RequestTimeout", Reason::Unavailable),
            (409, "OperationAborted", Reason::Unavailable),
            (502, "", Reason::Unavailable),
            (404, "NoSuchKey", Reason::Missing),
            (404, "NoSuchUpload", Reason::Missing),
            (404, "", Reason::Missing),
            (404, "NoSuchBucket", Reason::Rejected),
            (403, "AccessDenied", Reason::Denied),
            (403, "", Reason::Denied),
            (400, "ExpiredToken", Reason::Credentials),
            (403, "RequestTimeTooSkewed", Reason::Credentials),
            (301, "PermanentRedirect", Reason::Rejected),
            (416, "InvalidRange", Reason::Rejected),
        ] {
            let failure = said(status, code, "").into_failure(PUT);
            assert_eq!(failure.reason, reason, "{status} {code}");
        }
    }

    #[test]
    fn a_missing_permission_is_named_be_it_of_s3_or_of_the_key_beneath() {
        let arn = "arn:aws:sts::123456789012:assumed-role/gateway/i-1";
        for (message, action) in [
            ("Access Denied".to_owned(), "s3:PutObject"),
            (
                format!(
                    "User: {arn} is not authorized to perform: kms:GenerateDataKey on resource: x because no policy"
                ),
                "kms:GenerateDataKey",
            ),
        ] {
            let failure = said(403, "AccessDenied", &message).into_failure(PUT);
            assert!(failure.error.message().contains(&format!("`{action}`")), "{}", failure.error);
            assert!(failure.error.message().contains("batch.bucket.us-east-1"));
            let all = format!("{:?} {}", failure.error, failure.error.causes());
            assert!(!all.contains("123456789012") && !all.contains("assumed-role"), "{all}");
        }
    }

    #[test]
    fn a_bucket_in_another_region_is_told_with_that_region_and_the_setting() {
        let there = Some("eu-west-1".to_owned());
        for (status, code) in [(301, "PermanentRedirect"), (400, "AuthorizationHeaderMalformed"), (403, "AccessDenied")]
        {
            let said = Said { bucket_region: there.clone(), ..said(status, code, "") };
            let failure = said.into_failure(PUT);
            let message = failure.error.message();
            assert!(message.contains("is in eu-west-1") && message.contains("batch.bucket.us-east-1"), "{message}");
        }
        let here = Said { bucket_region: Some("us-east-1".into()), ..said(403, "AccessDenied", "") };
        assert_eq!(here.into_failure(PUT).reason, Reason::Denied);
    }
}
