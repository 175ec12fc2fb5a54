//! Why there is no file, in words for the caller: neither an address behind a name nor a word of the answer is in them.

use std::error::Error as StdError;
use std::time::Duration;

use super::names::NotPublic;
use crate::error::{Error, Kind};

/// Why there is no file. The text goes on after "This URL could not be fetched: ".
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("it is not a URL such as https://example.com/picture.png")]
    NotAUrl,
    #[error("it is longer than {0} characters")]
    LongUrl(usize),
    #[error("only https:// is fetched")]
    NotHttps,
    #[error("only https:// is called, and http:// on this machine where fetch.allow_networks lets it")]
    NotCalled,
    #[error("it holds a user name or password, which is not sent")]
    Credentials,
    #[error("port {0} is not called; 443 and those above 1023 are")]
    Port(u16),
    #[error("the address is not public")]
    NotPublic,
    #[error("the server could not be reached over https")]
    Unreachable(#[source] reqwest::Error),
    #[error("the server gave no answer that can be read")]
    Unread(#[source] reqwest::Error),
    #[error("the server answered {0}")]
    Status(u16),
    #[error("it redirects more than {0} times")]
    Redirects(usize),
    #[error("it redirects, and {0}")]
    Redirected(Box<Self>),
    #[error("the answer is compressed, which was not asked for")]
    Compressed,
    #[error("it is larger than {} MB", .0 / (1024 * 1024))]
    TooLarge(usize),
    #[error("it took longer than {} s", .0.as_secs_f64())]
    TooSlow(Duration),
    #[error("the answer broke off")]
    BrokeOff(#[source] reqwest::Error),
}

impl Failure {
    /// What kept a request from being answered.
    pub(super) fn unanswered(error: reqwest::Error) -> Self {
        // The URL may hold a signature; the log is not to have it.
        let error = error.without_url();
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
        while let Some(error) = cause {
            if error.is::<NotPublic>() {
                return Self::NotPublic;
            }
            cause = error.source();
        }
        if error.is_connect() { Self::Unreachable(error) } else { Self::Unread(error) }
    }

    /// The same, `redirects` later.
    pub(super) fn after(self, redirects: usize) -> Self {
        if redirects == 0 { self } else { Self::Redirected(Box::new(self)) }
    }

    fn into_cause(self) -> Option<reqwest::Error> {
        match self {
            Self::Unreachable(cause) | Self::Unread(cause) | Self::BrokeOff(cause) => Some(cause),
            Self::Redirected(failure) => failure.into_cause(),
            _ => None,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let error = Self::new(Kind::Invalid, format!("This URL could not be fetched: {failure}."));
        match failure.into_cause() {
            Some(cause) => error.source(cause),
            None => error,
        }
    }
}
