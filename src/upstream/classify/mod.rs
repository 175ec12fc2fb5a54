//! What an answer of AWS means. Pure: the exception's name and message decide, the status only where they say nothing. How
//! they are read is in `refusal.rs`, what becomes of them in `failure.rs`.
//!
//! A 400 can be a quota and a 429 a cold model, so the status alone would send the next attempt the wrong way.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>

mod failure;
mod refusal;

pub use failure::Failure;
pub(super) use refusal::{Refusal, http_date};

use crate::error::{Exception, Kind};

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

#[cfg(test)]
mod tests {
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
}
