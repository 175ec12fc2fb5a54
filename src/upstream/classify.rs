//! What an answer of AWS means. Pure: the exception's name and message decide, the status only where they say nothing.
//!
//! A 400 can be a quota and a 429 a cold model, so the status alone would send the next attempt the wrong way.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use serde::Deserialize;

use super::mask::mask;
use super::wire::{Broken, Unanswered};
use crate::clock::Timestamp;
use crate::error::{Error, Exception, Kind};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an attempt failed, as far as the next step depends on it. The snake-case name is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[cfg_attr(test, derive(strum::VariantArray))]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// Too many requests or tokens per minute.
    Throttled,
    /// A quota that will not be free again within a call: per day, or of the account.
    Quota,
    /// A custom or imported model that is loading.
    NotReady,
    /// AWS failed or has no capacity.
    Unavailable,
    /// The model, or AWS as a whole, took too long.
    Timeout,
    /// The model failed while it worked.
    ModelError,
    /// The request is wrong, wherever it is sent.
    Rejected,
    /// The gateway may not call this model here.
    Denied,
    /// This model cannot be called here by this id.
    Missing,
    /// No connection, or one that broke before an answer.
    Connection,
    /// The gateway's own AWS credentials are missing or refused.
    Credentials,
    /// The answer broke off, or was no answer of AWS.
    Cut,
}

/// One failed attempt: what to decide by, and what to tell the caller if it was the last.
#[derive(Debug)]
pub struct Failure {
    /// What to decide by.
    pub reason: Reason,
    /// Worded for the caller, ARNs and account ids taken out; names the AWS exception and its status.
    pub error: Error,
    /// How long AWS asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether the model may have worked on the request, so that a repeat can cost twice.
    pub sent: bool,
}

/// What AWS's exceptions mean. Names compare without case, since streams write them in lowerCamel.
const EXCEPTIONS: [(&str, u16, Reason); 16] = [
    ("ValidationException", 400, Reason::Rejected),
    ("ServiceQuotaExceededException", 400, Reason::Quota),
    ("ConflictException", 400, Reason::Rejected),
    ("AccessDeniedException", 403, Reason::Denied),
    ("ResourceNotFoundException", 404, Reason::Missing),
    ("FTUFormNotFilled", 404, Reason::Missing),
    ("ModelTimeoutException", 408, Reason::Timeout),
    ("ModelErrorException", 424, Reason::ModelError),
    ("ModelStreamErrorException", 424, Reason::ModelError),
    ("ThrottlingException", 429, Reason::Throttled),
    ("TooManyRequestsException", 429, Reason::Throttled),
    ("ModelNotReadyException", 429, Reason::NotReady),
    ("InternalServerException", 500, Reason::Unavailable),
    ("InternalFailure", 500, Reason::Unavailable),
    ("ServiceUnavailableException", 503, Reason::Unavailable),
    ("overloaded_error", 529, Reason::Unavailable),
];

/// Refusals of the gateway's signature or key; the caller's own key is another matter.
const AUTHENTICATION: [&str; 12] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Parts of a 400's message, in lower case, that blame the pair of model and Region rather than the request.
const NOT_THROUGH_HERE: [&str; 3] =
    ["on-demand throughput", "provided model identifier is invalid", "model is not supported in this region"];

const SERVICE_UNAVAILABLE: Exception = Exception { name: "ServiceUnavailableException", status: 503 };

/// What an exception means, and its name and status as AWS documents them. `status` is 0 where there is none.
pub(super) fn classify(status: u16, name: &str, message: &str) -> (Reason, Exception) {
    if AUTHENTICATION.iter().any(|known| known.eq_ignore_ascii_case(name))
        || message.contains("make sure your API Key is valid")
    {
        return (Reason::Credentials, SERVICE_UNAVAILABLE);
    }
    let known = EXCEPTIONS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
    let (reason, exception) = match known {
        Some(&(name, status, reason)) => (reason, Exception { name, status }),
        None if status == 0 => {
            let typed = ERROR_TYPES.iter().find(|(kind, _)| *kind == name);
            by_status(typed.map_or(0, |(_, status)| *status))
        }
        None => by_status(status),
    };
    let lower = message.to_ascii_lowercase();
    let reason = match reason {
        Reason::Throttled if lower.contains("per day") => Reason::Quota,
        // The model had no room: that costs nothing, whatever the exception is called.
        Reason::ModelError if status == 529 => Reason::Unavailable,
        Reason::Rejected if NOT_THROUGH_HERE.iter().any(|part| lower.contains(part)) => Reason::Missing,
        reason => reason,
    };
    (reason, exception)
}

/// The types of error of the OpenAI and Anthropic APIs, for a stream, which has no status of its own.
/// <https://docs.claude.com/en/api/errors>, <https://platform.openai.com/docs/guides/error-codes>
const ERROR_TYPES: [(&str, u16); 12] = [
    ("invalid_request_error", 400),
    ("invalid_prompt", 400),
    ("authentication_error", 401),
    ("permission_error", 403),
    ("not_found_error", 404),
    ("request_too_large", 413),
    ("rate_limit_error", 429),
    ("rate_limit_exceeded", 429),
    ("api_error", 500),
    ("server_error", 500),
    ("timeout_error", 504),
    ("service_unavailable_error", 503),
];

fn by_status(status: u16) -> (Reason, Exception) {
    let (reason, name) = match status {
        401 | 403 => (Reason::Denied, "AccessDeniedException"),
        404 => (Reason::Missing, "ResourceNotFoundException"),
        408 | 504 => (Reason::Timeout, "ModelTimeoutException"),
        424 => (Reason::ModelError, "ModelErrorException"),
        429 => (Reason::Throttled, "ThrottlingException"),
        400..=499 => (Reason::Rejected, "ValidationException"),
        503 | 529 => (Reason::Unavailable, "ServiceUnavailableException"),
        _ => (Reason::Unavailable, "InternalServerException"),
    };
    let documented = EXCEPTIONS.iter().find(|(known, ..)| *known == name).map_or(500, |known| known.1);
    (reason, Exception { name, status: documented })
}

impl Reason {
    /// The label `outcome` of the attempt in the metrics.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Throttled | Self::Quota => "throttled",
            Self::NotReady | Self::Unavailable | Self::Connection => "unavailable",
            Self::Timeout => "timeout",
            Self::Rejected | Self::Denied | Self::Missing => "rejected",
            Self::ModelError | Self::Credentials | Self::Cut => "error",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Throttled | Self::Quota => Kind::UpstreamThrottled,
            Self::Timeout => Kind::Timeout,
            Self::Rejected | Self::Denied | Self::Missing => Kind::UpstreamRejected,
            Self::NotReady
            | Self::Unavailable
            | Self::ModelError
            | Self::Connection
            | Self::Credentials
            | Self::Cut => Kind::UpstreamUnavailable,
        }
    }
}

/// An answer with an error status, read.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    name: String,
    message: String,
    param: Option<String>,
    retry_after: Option<Duration>,
    /// The server's clock.
    date: Option<Timestamp>,
}

/// The members under which AWS and the model APIs behind it put an error's name and message.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow, rename = "__type")]
    aws_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "Message")]
    capital_message: Option<Cow<'a, str>>,
    error: Option<Inner<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Inner<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
    /// The field to blame, in OpenAI's dialect.
    #[serde(borrow)]
    param: Option<Cow<'a, str>>,
}

impl<'a> Body<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// The field that the error blames.
    fn param(&self) -> Option<String> {
        self.error.as_ref()?.param.as_deref().map(str::to_owned)
    }

    fn split(self) -> (String, String) {
        let inner = self.error.unwrap_or_default();
        let name = self.aws_type.or(self.code).or(inner.kind).unwrap_or_default();
        let message = self.message.or(self.capital_message).or(inner.message).unwrap_or_default();
        (bare(&name).to_owned(), message.into_owned())
    }
}

/// `com.amazon#Name:http://internal/` is `Name`.
fn bare(name: &str) -> &str {
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    name.rsplit_once('#').map_or(name, |(_, name)| name).trim()
}

impl Refusal {
    /// Reads an answer with an error status; `now` is for a `retry-after` that is a date.
    pub(super) fn read(status: u16, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Self {
        let body = Body::read(body);
        let param = body.param();
        let (mut name, message) = body.split();
        let header = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok()).map(bare);
        if let Some(header) = header.filter(|header| !header.is_empty()) {
            header.clone_into(&mut name);
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let date = text(http::header::DATE).and_then(http_date);
        let retry_after = text(RETRY_AFTER).and_then(|value| match value.trim().parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => http_date(value).map(|at| at.since(date.unwrap_or(now))),
        });
        Self { status, name, message, param, retry_after, date }
    }

    /// What AWS calls it, when it says that the credentials have expired or that it does not know them, any more or at all.
    pub(super) fn refused_credentials(&self) -> Option<&str> {
        const REFUSED: [&str; 4] =
            ["ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"];
        Some(self.name.as_str()).filter(|name| REFUSED.contains(name))
    }

    /// The server's clock, when the refusal may be due to ours being wrong.
    pub(super) fn clock_of_refused_signature(&self) -> Option<Timestamp> {
        const SIGNATURE: [&str; 4] =
            ["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed"];
        self.date.filter(|_| SIGNATURE.contains(&self.name.as_str()))
    }

    /// The name and the message, as they came.
    pub(super) fn told(self) -> (String, String) {
        (self.name, self.message)
    }

    pub(super) fn into_failure(self) -> Failure {
        let mut failure = Failure::from_exception(self.status, &self.name, &self.message);
        if let Some(param) = self.param {
            failure.error = failure.error.param(param);
        }
        if let Some(after) = self.retry_after {
            failure.error = failure.error.retry_after(after);
            failure.retry_after = Some(after);
        }
        failure
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

impl Failure {
    /// An exception by status (0: none), name and message, as it came.
    pub(super) fn from_exception(status: u16, name: &str, message: &str) -> Self {
        let (reason, exception) = classify(status, name, message);
        let masked = mask(message);
        let error = match reason {
            Reason::Credentials => {
                Error::new(reason.kind(), "AWS refused the gateway's credentials.").source(format!("{name}: {masked}"))
            }
            _ if masked.trim().is_empty() => {
                Error::new(reason.kind(), format!("AWS answered with {} and no message.", exception.name))
            }
            _ => Error::new(reason.kind(), masked.into_owned()),
        };
        let sent = matches!(reason, Reason::Timeout | Reason::ModelError);
        Self { reason, error: error.exception(exception), retry_after: None, sent }
    }

    /// An exception inside a stream, by its name in lowerCamel and its JSON payload.
    pub(super) fn from_stream(name: &str, payload: &[u8]) -> Self {
        let (_, message) = Body::read(payload).split();
        Self { sent: true, ..Self::from_exception(0, name, &message) }
    }

    /// The answer broke off or could not be read.
    pub(super) fn cut(source: impl Into<BoxError>) -> Self {
        let error = Error::new(Reason::Cut.kind(), "The answer from AWS broke off.")
            .exception(Exception { name: "InternalServerException", status: 500 })
            .source(source);
        Self { reason: Reason::Cut, error, retry_after: None, sent: true }
    }

    /// The gateway has no credentials to sign with.
    pub(super) fn credentials(error: Error) -> Self {
        Self {
            reason: Reason::Credentials,
            error: error.exception(SERVICE_UNAVAILABLE),
            retry_after: None,
            sent: false,
        }
    }

    /// A fault of the gateway while it built the request.
    pub(super) fn internal(error: Error) -> Self {
        Self { reason: Reason::Rejected, error, retry_after: None, sent: false }
    }

    fn timeout() -> Self {
        let error = Error::new(Kind::Timeout, "AWS took longer to answer than the gateway may wait.")
            .exception(Exception { name: "ModelTimeoutException", status: 408 });
        Self { reason: Reason::Timeout, error, retry_after: None, sent: true }
    }
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        let (text, source, sent) = match unanswered {
            Unanswered::Timeout => return Self::timeout(),
            Unanswered::Connect(source) => ("AWS could not be reached.", source, false),
            Unanswered::Lost(source) => ("The connection to AWS broke before an answer came.", source, true),
        };
        let error = Error::new(Reason::Connection.kind(), text).exception(SERVICE_UNAVAILABLE).source(source);
        Self { reason: Reason::Connection, error, retry_after: None, sent }
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Cut(source) => Self::cut(source),
            Broken::Idle => Self::timeout(),
            Broken::TooLong => Self::cut("the answer is longer than the gateway takes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn meaning_goes_before_status() {
        let day = "Too many tokens per day, please wait before trying again.";
        let bare_model =
            "Invocation of model ID m with on-demand throughput isn\u{2019}t supported. Retry with a profile.";
        for (status, name, message, reason, wire) in [
            (400, "ValidationException", "messages: too long", Reason::Rejected, ("ValidationException", 400)),
            (400, "ValidationException", bare_model, Reason::Missing, ("ValidationException", 400)),
            (
                400,
                "ValidationException",
                "The provided model identifier is invalid.",
                Reason::Missing,
                ("ValidationException", 400),
            ),
            (400, "ServiceQuotaExceededException", "", Reason::Quota, ("ServiceQuotaExceededException", 400)),
            (429, "ThrottlingException", "Too many requests", Reason::Throttled, ("ThrottlingException", 429)),
            (429, "ThrottlingException", day, Reason::Quota, ("ThrottlingException", 429)),
            (429, "ModelNotReadyException", "", Reason::NotReady, ("ModelNotReadyException", 429)),
            (403, "AccessDeniedException", "", Reason::Denied, ("AccessDeniedException", 403)),
            (
                403,
                "AccessDeniedException",
                "Authentication failed: Please make sure your API Key is valid.",
                Reason::Credentials,
                ("ServiceUnavailableException", 503),
            ),
            (403, "ExpiredTokenException", "", Reason::Credentials, ("ServiceUnavailableException", 503)),
            (400, "RequestExpired", "", Reason::Credentials, ("ServiceUnavailableException", 503)),
            (404, "ResourceNotFoundException", "", Reason::Missing, ("ResourceNotFoundException", 404)),
            (408, "ModelTimeoutException", "", Reason::Timeout, ("ModelTimeoutException", 408)),
            (424, "ModelErrorException", "", Reason::ModelError, ("ModelErrorException", 424)),
            (500, "InternalServerException", "", Reason::Unavailable, ("InternalServerException", 500)),
            (503, "ServiceUnavailableException", "", Reason::Unavailable, ("ServiceUnavailableException", 503)),
            (529, "overloaded_error", "", Reason::Unavailable, ("overloaded_error", 529)),
            (529, "ModelErrorException", "Overloaded", Reason::Unavailable, ("ModelErrorException", 424)),
            (0, "modelStreamErrorException", "", Reason::ModelError, ("ModelStreamErrorException", 424)),
            (0, "throttlingException", "", Reason::Throttled, ("ThrottlingException", 429)),
            (0, "somethingNewException", "", Reason::Unavailable, ("InternalServerException", 500)),
            (418, "NewException", "", Reason::Rejected, ("ValidationException", 400)),
            (429, "", "", Reason::Throttled, ("ThrottlingException", 429)),
            (502, "", "", Reason::Unavailable, ("InternalServerException", 500)),
            (529, "", "", Reason::Unavailable, ("ServiceUnavailableException", 503)),
            (504, "", "", Reason::Timeout, ("ModelTimeoutException", 408)),
        ] {
            let (found, exception) = classify(status, name, message);
            assert_eq!((found, (exception.name, exception.status)), (reason, wire), "{status} {name} {message}");
        }
    }

    fn refusal(headers: &[(&'static str, &'static str)], body: &str) -> Refusal {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        let now = Timestamp::from_millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT
        Refusal::read(400, &headers.collect(), body.as_bytes(), now)
    }

    #[test]
    fn the_name_and_the_message_are_found_wherever_they_stand() {
        for (headers, body, name, message) in [
            (&[("x-amzn-errortype", "AExc:http://internal/")][..], r#"{"__type":"B","message":"m"}"#, "AExc", "m"),
            (&[], r#"{"__type":"com.amazon.coral#AExc","Message":"m"}"#, "AExc", "m"),
            (&[], r#"{"code":"AExc","message":"m","more":[{}]}"#, "AExc", "m"),
            (
                &[],
                r#"{"type":"error","error":{"type":"overloaded_error","message":"m\u0021"}}"#,
                "overloaded_error",
                "m!",
            ),
            (&[], "<html>", "", ""),
        ] {
            let found = refusal(headers, body);
            assert_eq!((found.name.as_str(), found.message.as_str()), (name, message), "{body}");
        }
    }

    #[test]
    fn the_field_that_an_api_blames_is_told_on() {
        let body = r#"{"error":{"message":"m","type":"invalid_request_error","param":"messages[0]","code":"c"}}"#;
        assert_eq!(refusal(&[], body).into_failure().error.blamed(), Some("messages[0]"));
        let null = body.replace("\"messages[0]\"", "null");
        assert_eq!(refusal(&[], &null).into_failure().error.blamed(), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_servers_clock() {
        let after = |headers| refusal(headers, "{}").into_failure().error.wait().map(|wait| wait.as_secs());
        assert_eq!(after(&[("retry-after", "7")]), Some(7));
        assert_eq!(after(&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")]), Some(10));
        let ahead = [("date", "Sun, 06 Nov 1994 08:49:45 GMT"), ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")];
        assert_eq!(after(&ahead), Some(2));
        assert_eq!(after(&[("retry-after", "soon")]), None);
    }

    #[test]
    fn what_the_caller_reads_names_no_account_and_no_credential() {
        let body =
            r#"{"message":"arn:aws:iam::123456789012:role/app may not call arn:aws:bedrock:r::foundation-model/m"}"#;
        let denied = refusal(&[("x-amzn-errortype", "AccessDeniedException")], body).into_failure();
        assert_eq!(denied.error.message(), "[the gateway] may not call m");
        assert_eq!((denied.error.kind(), denied.error.aws().unwrap().status), (Kind::UpstreamRejected, 403));
        let expired = refusal(&[("x-amzn-errortype", "ExpiredTokenException")], body).into_failure();
        assert_eq!(expired.error.message(), "AWS refused the gateway's credentials.");
        assert!(!expired.error.causes().contains("123456789012"));
    }
}
