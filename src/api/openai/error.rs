//! How failure looks on this surface: the status, and `{"error": {"message", "type", "param", "code"}}`. The official
//! clients choose their exception by status and read `code`; whether they try again, they take from two headers.

use bytes::{BufMut as _, BytesMut};
use serde::Serialize;

use crate::error::{Error, Kind};

/// The body of an error answer, and the payload of an error event in a stream.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorObject,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ErrorObject {
    /// What happened and what to do about it.
    pub message: String,
    /// The class of the error, such as `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The path of the field to blame.
    pub param: Option<String>,
    /// The exact reason, for programs.
    pub code: Option<&'static str>,
}

/// What stands, as the exception of [`Kind::UpstreamRejected`], for a content filter of the model's own. AWS has none for
/// it: such an answer comes with status 200.
pub(super) const FILTERED: &str = "ContentFilteredException";

/// The HTTP status of `error`.
pub(in crate::api) fn status(error: &Error) -> u16 {
    classify(error).0
}

/// The HTTP status of `error` and the body to send with it. `request_id` is told where only the log knows more.
pub fn status_and_body(error: &Error, request_id: &str) -> (u16, ErrorBody) {
    let (status, kind, code) = classify(error);
    let message = match error.kind() {
        Kind::Internal => format!("{} Request id: {request_id}", error.message()),
        _ => error.message().to_owned(),
    };
    (status, ErrorBody { error: ErrorObject { message, kind, param: error.blamed().map(str::to_owned), code } })
}

/// Appends the event that ends a stream which broke after its first byte: the error, at which the official clients raise.
pub(super) fn event(error: &Error, request_id: &str, out: &mut BytesMut) {
    out.extend_from_slice(b"data: ");
    let written = serde_json::to_writer(out.writer(), &status_and_body(error, request_id).1);
    debug_assert!(written.is_ok());
    out.extend_from_slice(b"\n\n");
}

/// Status, type and code.
fn classify(error: &Error) -> (u16, &'static str, Option<&'static str>) {
    const REQUEST: &str = "invalid_request_error";
    const SERVER: &str = "server_error";
    match error.kind() {
        Kind::Invalid => (400, REQUEST, None),
        Kind::Unsupported => (400, REQUEST, Some("unsupported_parameter")),
        Kind::Unauthenticated => (401, REQUEST, Some("invalid_api_key")),
        Kind::Forbidden => (403, "permission_error", Some("insufficient_permissions")),
        Kind::NotFound if error.blamed() == Some("previous_response_id") => {
            (400, REQUEST, Some("previous_response_not_found"))
        }
        Kind::NotFound => (404, REQUEST, Some("not_found")),
        Kind::ModelNotFound => (404, REQUEST, Some("model_not_found")),
        Kind::MethodNotAllowed => (405, REQUEST, Some("method_not_allowed")),
        Kind::TooSlow => (408, REQUEST, Some("request_timeout")),
        Kind::Conflict => (409, REQUEST, Some("conflict")),
        Kind::Stale => (412, REQUEST, Some("precondition_failed")),
        Kind::TooLarge => (413, REQUEST, Some("request_too_large")),
        Kind::RateLimited | Kind::UpstreamThrottled => (429, "rate_limit_error", Some("rate_limit_exceeded")),
        Kind::BudgetExhausted => (429, "insufficient_quota", Some("insufficient_quota")),
        Kind::UpstreamRejected if error.aws().is_some_and(|exception| exception.name == FILTERED) => {
            (400, REQUEST, Some("content_policy_violation"))
        }
        Kind::UpstreamRejected => match error.aws().map(|exception| exception.status) {
            Some(403) => (403, "permission_error", Some("upstream_access_denied")),
            Some(404) => (404, REQUEST, Some("model_not_found")),
            _ => (400, REQUEST, Some("upstream_rejected")),
        },
        Kind::Internal => (500, SERVER, Some("internal_error")),
        Kind::Unavailable => (503, SERVER, Some("unavailable")),
        Kind::UpstreamUnavailable => (503, SERVER, Some("upstream_unavailable")),
        Kind::Timeout => (504, SERVER, Some("upstream_timeout")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_all_four_fields_and_the_path_of_the_blamed_one() {
        let (status, body) = status_and_body(&Error::invalid("messages[0].content", "Say something."), "req_1");
        assert_eq!(status, 400);
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            r#"{"error":{"message":"Say something.","type":"invalid_request_error","param":"messages[0].content","code":null}}"#
        );
    }

    #[test]
    fn only_a_fault_of_ours_tells_the_request_id_and_none_tells_its_cause() {
        let (status, body) = status_and_body(&Error::internal("disk /dev/sda on fire"), "req_1");
        assert_eq!((status, body.error.kind), (500, "server_error"));
        assert!(body.error.message.ends_with("Request id: req_1"));
        assert!(!body.error.message.contains("fire"));
    }

    #[test]
    fn what_a_models_own_filter_stopped_has_a_code_of_its_own() {
        let exception = crate::error::Exception { name: FILTERED, status: 400 };
        let (status, body) = status_and_body(&Error::new(Kind::UpstreamRejected, "No.").exception(exception), "");
        assert_eq!((status, body.error.code), (400, Some("content_policy_violation")));
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
