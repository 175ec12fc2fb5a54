//! The one error type that crosses module borders.
//!
//! A [`Kind`] exists only where somebody decides differently: a surface picks its status and type by it, the
//! failover picks the next step by it, a metric is labelled by it. The message is for the caller and says what to
//! do; causes stay in `source`, which reaches the log and never a client.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Shorthand for results whose error crosses a module border.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as anybody decides by it. The snake-case name is the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[cfg_attr(test, derive(strum::VariantArray))]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// The request is malformed or asks for something impossible: the caller has to change it.
    Invalid,
    /// No key, or one that is wrong, expired or revoked.
    Unauthenticated,
    /// A good key that may not do this.
    Forbidden,
    /// Something named by the request does not exist, or belongs to somebody else.
    NotFound,
    /// The model is unknown, or this key may not use it.
    ModelNotFound,
    /// The route exists, but not with this method.
    MethodNotAllowed,
    /// The request contradicts the present state.
    Conflict,
    /// What is to be changed is no longer as the request says: `If-Match` names another version.
    Stale,
    /// The body is over its limit.
    TooLarge,
    /// The caller did not send the body in time.
    TooSlow,
    /// One of our own limits was reached.
    RateLimited,
    /// A budget is spent.
    BudgetExhausted,
    /// Understood, but this model or surface cannot do it.
    Unsupported,
    /// AWS refused the request; asking again would be refused again.
    UpstreamRejected,
    /// AWS throttled every candidate.
    UpstreamThrottled,
    /// AWS could not be reached, or failed.
    UpstreamUnavailable,
    /// AWS took longer than allowed.
    Timeout,
    /// The gateway cannot do it now, because something that it needs itself does not answer.
    Unavailable,
    /// A fault of the gateway.
    Internal,
}

/// An AWS exception by its name on the wire, and the status AWS sends it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// For example `ValidationException`.
    pub name: &'static str,
    /// For example 400.
    pub status: u16,
}

/// An error with a kind to decide by and a message for the caller.
///
/// Boxed, because results travel through every layer and errors are the rare case.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: Cow<'static, str>,
    param: Option<String>,
    reason: Option<&'static str>,
    retry_after: Option<Duration>,
    exception: Option<Exception>,
    source: Option<BoxError>,
}

impl Error {
    /// An error of `kind` with a message for the caller. Prefer the named constructors.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            param: None,
            reason: None,
            retry_after: None,
            exception: None,
            source: None,
        }))
    }

    /// The caller sent something wrong; `param` is the path of the field, such as `messages[0].content`.
    pub fn invalid(param: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Invalid, message).param(param)
    }

    /// The model, or this gateway, cannot do what the field `param` asks for.
    pub fn unsupported(param: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unsupported, message).param(param)
    }

    /// The model is unknown or not allowed to this key; the two look alike on purpose.
    pub fn model_not_found(model: &str) -> Self {
        Self::new(
            Kind::ModelNotFound,
            format!(
                "The model `{model}` does not exist or this key may not use it. GET /v1/models lists those that \
                 it may, GET /catalog/models where each can be called."
            ),
        )
        .param("model")
    }

    /// A fault of the gateway itself. The caller learns nothing but that; the cause goes to the log.
    pub fn internal(source: impl Into<BoxError>) -> Self {
        Self::new(Kind::Internal, "The gateway failed to handle the request. The request id helps to find out why.")
            .source(source)
    }

    /// Names the request field that is to blame.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// Names the rule that refused, where the kind alone does not say it: a value of the metric label `reason`.
    #[must_use]
    pub fn reason(mut self, reason: &'static str) -> Self {
        self.0.reason = Some(reason);
        self
    }

    /// Says when trying again makes sense.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Sets the AWS exception that stands for this error on the Bedrock surface.
    #[must_use]
    pub fn exception(mut self, exception: Exception) -> Self {
        self.0.exception = Some(exception);
        self
    }

    /// Attaches the cause, for the log only.
    #[must_use]
    pub fn source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What to decide by.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The text for the caller.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The request field to blame, if one is.
    pub fn blamed(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// The rule that refused, where the kind alone does not say it.
    pub fn refused_by(&self) -> Option<&'static str> {
        self.0.reason
    }

    /// How long to wait before another try, if known.
    pub fn wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The AWS exception behind or for this error, if one was named.
    pub fn aws(&self) -> Option<Exception> {
        self.0.exception
    }

    /// The chain of causes in one line, for the log; empty when there is none.
    pub fn causes(&self) -> String {
        let mut text = String::new();
        let mut cause = self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static));
        while let Some(error) = cause {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("param", &self.0.param)
            .field("exception", &self.0.exception)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
