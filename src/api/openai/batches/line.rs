//! The lines of result files: <https://platform.openai.com/docs/api-reference/batch/request-output>.

use bytes::BufMut as _;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::openai::error;
use crate::batch::codec::{Line, Outcome};
use crate::error::Error;

/// An error as the answer to a record: its status and its body.
pub(in crate::api::openai) fn error(error: &Error, request: &str) -> (u16, Vec<u8>) {
    let (status, body) = error::status_and_body(error, &request_id(request));
    // Strings always serialise.
    (status, serde_json::to_vec(&body).unwrap_or_default())
}

/// Appends a line. What has an answer, good or not, has no `error`; what has none, no `response`.
pub(in crate::api::openai) fn line(line: &Line<'_>, out: &mut Vec<u8>) {
    let (response, error) = match line.outcome {
        Outcome::Answered { status, body } => {
            let body = serde_json::from_slice(body).ok();
            (Some(Answered { status_code: status, request_id: request_id(line.request), body }), None)
        }
        Outcome::Lost { why, message } => (None, Some(Lost { code: why.into(), message })),
    };
    let id = format!("batch_req_{}", line.request);
    let written = serde_json::to_writer(out.writer(), &Written { id, custom_id: line.id, response, error });
    debug_assert!(written.is_ok());
    out.push(b'\n');
}

/// The id of the request that a record is.
fn request_id(request: &str) -> String {
    format!("req_{request}")
}

#[derive(Serialize)]
struct Written<'a> {
    id: String,
    custom_id: &'a str,
    response: Option<Answered<'a>>,
    error: Option<Lost<'a>>,
}

#[derive(Serialize)]
struct Answered<'a> {
    status_code: u16,
    request_id: String,
    body: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Lost<'a> {
    code: &'static str,
    message: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::codec;

    fn written(outcome: Outcome<'_>) -> String {
        let mut out = Vec::new();
        line(&Line { id: "a \"b\"", request: "00ff", input: None, outcome }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_is_told_with_its_status_and_its_bytes() {
        let body = br#"{"id":"x","n":1.0}"#;
        assert_eq!(
            written(Outcome::Answered { status: 200, body }),
            concat!(
                r#"{"id":"batch_req_00ff","custom_id":"a \"b\"","response":{"status_code":200,"#,
                r#""request_id":"req_00ff","body":{"id":"x","n":1.0}},"error":null}"#,
                "\n"
            )
        );
        let (status, body) = error(&Error::invalid("messages", "Say something."), "00ff");
        assert_eq!(
            written(Outcome::Answered { status, body: &body }),
            concat!(
                r#"{"id":"batch_req_00ff","custom_id":"a \"b\"","response":{"status_code":400,"request_id":"req_00ff","#,
                r#""body":{"error":{"message":"Say something.","type":"invalid_request_error","param":"messages","#,
                r#""code":null}}},"error":null}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_record_without_an_answer_says_why() {
        let told = written(Outcome::Lost { why: codec::Lost::BatchExpired, message: "Too late." });
        assert_eq!(
            told,
            concat!(
                r#"{"id":"batch_req_00ff","custom_id":"a \"b\"","response":null,"#,
                r#""error":{"code":"batch_expired","message":"Too late."}}"#,
                "\n"
            )
        );
    }
}
