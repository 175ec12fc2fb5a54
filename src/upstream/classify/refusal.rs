//! An answer with an error status, read: the name and the message of the exception wherever they stand, how long to wait,
//! and what it says of our credentials and of our clock.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use serde::Deserialize;

use super::Failure;
use crate::clock::Timestamp;

/// An answer with an error status, read.
#[derive(Debug)]
pub(in crate::upstream) struct Refusal {
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
pub(super) struct Body<'a> {
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
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// The field that the error blames.
    fn param(&self) -> Option<String> {
        self.error.as_ref()?.param.as_deref().map(str::to_owned)
    }

    pub(super) fn split(self) -> (String, String) {
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
    pub(in crate::upstream) fn read(status: u16, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Self {
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
    pub(in crate::upstream) fn refused_credentials(&self) -> Option<&str> {
        const REFUSED: [&str; 4] =
            ["ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"];
        Some(self.name.as_str()).filter(|name| REFUSED.contains(name))
    }

    /// The server's clock, when the refusal may be due to ours being wrong.
    pub(in crate::upstream) fn clock_of_refused_signature(&self) -> Option<Timestamp> {
        const SIGNATURE: [&str; 4] =
            ["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed"];
        self.date.filter(|_| SIGNATURE.contains(&self.name.as_str()))
    }

    /// The name and the message, as they came.
    pub(in crate::upstream) fn told(self) -> (String, String) {
        (self.name, self.message)
    }

    pub(in crate::upstream) fn into_failure(self) -> Failure {
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
pub(in crate::upstream) fn http_date(text: &str) -> Option<Timestamp> {
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::error::Kind;

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
