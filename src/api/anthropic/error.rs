//! How failure looks on this surface: the status, and `{"type": "error", "error": {"type", "message"}, "request_id"}`
//! (<https://platform.claude.com/docs/en/api/errors>).

use bytes::{BufMut as _, BytesMut};
use serde::Serialize;

use crate::error::{Error, Kind};

/// The body of an error answer, and the payload of an error event in a stream.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AnthropicErrorBody)]
pub struct ErrorBody {
    /// Always `error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What went wrong.
    pub error: ErrorObject,
    /// The id to ask about.
    pub request_id: String,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AnthropicErrorObject)]
pub struct ErrorObject {
    /// The class of the error, such as `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What happened and what to do about it; begins with the path of the field to blame, if one is.
    pub message: String,
    /// The exact reason, for programs, where Anthropic's clients act on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// The exact reason.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AnthropicErrorDetails)]
pub struct Details {
    /// Such as `thread_unsupported_request`, after which a client sends the whole conversation again.
    pub error_code: &'static str,
}

/// The HTTP status of `error`.
pub(super) fn status(error: &Error) -> u16 {
    classify(error).0
}

/// The HTTP status of `error` and the body to send with it.
pub fn status_and_body(error: &Error, request_id: &str) -> (u16, ErrorBody) {
    let (status, kind) = classify(error);
    let message = match error.blamed() {
        Some(field) if !error.message().contains(field) => format!("{field}: {}", error.message()),
        _ => error.message().to_owned(),
    };
    let threaded = error.kind() == Kind::Unsupported && error.blamed() == Some("thread");
    let details = threaded.then_some(Details { error_code: "thread_unsupported_request" });
    (
        status,
        ErrorBody { kind: "error", error: ErrorObject { kind, message, details }, request_id: request_id.to_owned() },
    )
}

/// Appends the event that ends a stream which broke after its first byte.
pub(super) fn event(error: &Error, request_id: &str, out: &mut BytesMut) {
    out.extend_from_slice(b"event: error\ndata: ");
    let (_, body) = status_and_body(error, request_id);
    let written = serde_json::to_writer(out.writer(), &body);
    debug_assert!(written.is_ok());
    out.extend_from_slice(b"\n\n");
}

/// Status and type.
fn classify(error: &Error) -> (u16, &'static str) {
    const REQUEST: &str = "invalid_request_error";
    match error.kind() {
        Kind::Invalid | Kind::Unsupported => (400, REQUEST),
        Kind::Unauthenticated => (401, "authentication_error"),
        Kind::Forbidden => (403, "permission_error"),
        Kind::NotFound | Kind::ModelNotFound => (404, "not_found_error"),
        Kind::MethodNotAllowed => (405, REQUEST),
        Kind::TooSlow => (408, REQUEST),
        Kind::Conflict => (409, REQUEST),
        Kind::Stale => (412, REQUEST),
        Kind::TooLarge => (413, "request_too_large"),
        Kind::RateLimited | Kind::BudgetExhausted | Kind::UpstreamThrottled => (429, "rate_limit_error"),
        Kind::UpstreamRejected => match error.aws().map(|exception| exception.status) {
            Some(403) => (403, "permission_error"),
            Some(404) => (404, "not_found_error"),
            _ => (400, REQUEST),
        },
        Kind::Internal => (500, "api_error"),
        Kind::Timeout => (504, "timeout_error"),
        Kind::Unavailable | Kind::UpstreamUnavailable => (529, "overloaded_error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_names_the_field_in_its_message_once() {
        let (status, body) = status_and_body(&Error::invalid("messages[0].content", "Say something."), "req_1");
        assert_eq!(status, 400);
        let text = r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages[0].content: Say something."},"request_id":"req_1"}"#;
        assert_eq!(serde_json::to_string(&body).unwrap(), text);
        let named = status_and_body(&Error::invalid("model", "`model` is missing."), "").1;
        assert_eq!(named.error.message, "`model` is missing.");
    }

    #[test]
    fn a_client_that_wants_a_thread_is_told_in_words_that_it_acts_on() {
        let (_, body) = status_and_body(&Error::unsupported("thread", "No threads."), "");
        assert_eq!(body.error.details.unwrap().error_code, "thread_unsupported_request");
        assert!(status_and_body(&Error::unsupported("container", "No."), "").1.error.details.is_none());
    }

    #[test]
    fn a_broken_stream_ends_with_one_whole_event() {
        let mut out = BytesMut::new();
        event(&Error::new(Kind::UpstreamUnavailable, "Gone.\n"), "req_1", &mut out);
        let text = std::str::from_utf8(&out).unwrap();
        assert!(text.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\""));
        assert!(text.ends_with("}\n\n") && text.matches('\n').count() == 3, "{text:?}");
    }

    #[test]
    fn every_kind_has_a_type_that_anthropics_clients_know() {
        use strum::VariantArray as _;
        let known = [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (405, "invalid_request_error"),
            (408, "invalid_request_error"),
            (409, "invalid_request_error"),
            (412, "invalid_request_error"),
            (413, "request_too_large"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (504, "timeout_error"),
            (529, "overloaded_error"),
        ];
        let mut met = Vec::new();
        for kind in Kind::VARIANTS {
            let (status, body) = status_and_body(&Error::new(*kind, "Why."), "");
            assert!(known.contains(&(status, body.error.kind)), "{kind:?}: {status} {}", body.error.kind);
            met.push(status);
        }
        assert!(known.iter().all(|(status, _)| met.contains(status)));
    }

    #[test]
    fn what_aws_refused_keeps_the_meaning_of_its_status() {
        let refused = |status| {
            let exception = crate::error::Exception { name: "Some", status };
            status_and_body(&Error::new(Kind::UpstreamRejected, "No.").exception(exception), "").0
        };
        assert_eq!([refused(400), refused(403), refused(404), refused(424)], [400, 403, 404, 400]);
    }
}
