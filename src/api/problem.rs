//! From an [`Error`] to an answer.
//!
//! Handlers and extractors fail with the one error type. It rides in the extensions of an empty response until the
//! layer of the surface (`openai::error::render`, `bedrock::error::render`) gives it the surface's shape, and from there on
//! to the access log, which writes it once.

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

/// Says when to come back, and whether to: `retry-after` in whole seconds, `x-should-retry` where a client's own idea
/// would be wrong.
pub(super) fn retry_headers(error: &Error, headers: &mut HeaderMap) {
    if let Some(wait) = error.wait() {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    if error.kind() == Kind::BudgetExhausted {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
}
