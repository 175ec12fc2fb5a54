//! From an [`Error`] to an answer.
//!
//! Handlers and extractors fail with the one error type. It rides in the extensions of an empty response to
//! `access_log.rs`, which has the surface give it its shape (`surface.rs`) and writes it once.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::error::{Error, Kind};

/// The error behind a response, for the surface's shape and the access log.
#[derive(Clone, Debug)]
pub(super) struct Problem(pub(super) Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(Problem(Arc::new(self)));
        response
    }
}

impl Problem {
    /// The shaped answer: status, body, and when to come back.
    pub(super) fn answer(&self, status: u16, body: impl IntoResponse) -> Response {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, body).into_response();
        retry_headers(&self.0, response.headers_mut());
        response
    }
}

/// Says when to come back (`retry-after`, whole seconds, rounded up), and overrules what a client would do by status:
/// `x-should-retry: false` where a 429 will not pass by waiting. A limit of ours that names no wait is one that the
/// request can never fit.
fn retry_headers(error: &Error, headers: &mut HeaderMap) {
    if let Some(wait) = error.wait() {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    let never = match error.kind() {
        Kind::BudgetExhausted => true,
        // What contradicts the present state goes on to, unless it says until when.
        Kind::RateLimited | Kind::Conflict => error.wait().is_none(),
        _ => false,
    };
    if never {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn waiting_is_advised_only_where_it_helps() {
        let told = |error: Error| {
            let response = Problem(Arc::new(error)).answer(429, "");
            let text = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            (text("retry-after"), text("x-should-retry"))
        };
        let limited = Error::new(Kind::RateLimited, "Too fast.").retry_after(Duration::from_millis(1_200));
        assert_eq!(told(limited), (Some("2".into()), None));
        assert_eq!(told(Error::new(Kind::RateLimited, "Larger than the limit.")), (None, Some("false".into())));
        assert_eq!(told(Error::new(Kind::BudgetExhausted, "Spent.")), (None, Some("false".into())));
        assert_eq!(told(Error::new(Kind::UpstreamThrottled, "Busy.")), (None, None));
    }
}
