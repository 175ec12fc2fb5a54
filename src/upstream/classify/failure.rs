//! A failed attempt, from whatever failed: an exception of AWS, the connection, the credentials, the gateway itself. Words
//! for the caller name no account and no credential.

use std::time::Duration;

use super::refusal::Body;
use super::{Reason, SERVICE_UNAVAILABLE, classify};
use crate::error::{Error, Exception, Kind};
use crate::upstream::mask::mask;
use crate::upstream::wire::{Broken, Unanswered};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

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

impl Failure {
    /// An exception by status (0: none), name and message, as it came.
    pub(in crate::upstream) fn from_exception(status: u16, name: &str, message: &str) -> Self {
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
    pub(in crate::upstream) fn from_stream(name: &str, payload: &[u8]) -> Self {
        let (_, message) = Body::read(payload).split();
        Self { sent: true, ..Self::from_exception(0, name, &message) }
    }

    /// The answer broke off or could not be read.
    pub(in crate::upstream) fn cut(source: impl Into<BoxError>) -> Self {
        let error = Error::new(Reason::Cut.kind(), "The answer from AWS broke off.")
            .exception(Exception { name: "InternalServerException", status: 500 })
            .source(source);
        Self { reason: Reason::Cut, error, retry_after: None, sent: true }
    }

    /// The gateway has no credentials to sign with.
    pub(in crate::upstream) fn credentials(error: Error) -> Self {
        Self {
            reason: Reason::Credentials,
            error: error.exception(SERVICE_UNAVAILABLE),
            retry_after: None,
            sent: false,
        }
    }

    /// A fault of the gateway while it built the request.
    pub(in crate::upstream) fn internal(error: Error) -> Self {
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
