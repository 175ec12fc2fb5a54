//! Answers, whole and live.

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use super::frames::{self, Frame};
use super::within;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    pub(crate) fn new(status: u16, headers: HeaderMap, body: Bytes) -> Self {
        Self { status, headers, body }
    }

    /// Sends `request` and waits for all of its answer.
    pub(crate) async fn to(request: RequestBuilder) -> Self {
        Live::to(request).await.rest().await
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// A header; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn region(&self) -> &str {
        self.header("x-gateway-region")
    }

    pub(crate) fn attempts(&self) -> &str {
        self.header("x-gateway-attempts")
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.body
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body, if it is JSON.
    pub(crate) fn json_if_any(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The error of the OpenAI dialect; checks that it has its four fields and nothing beside it.
    pub(crate) fn openai_error(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        let body = self.json();
        let fields: Vec<&String> = body["error"].as_object().unwrap_or_else(|| panic!("{self:?}")).keys().collect();
        assert_eq!(fields, ["message", "type", "param", "code"], "{self:?}");
        assert!(body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        body["error"].clone()
    }

    /// The exception of the Bedrock dialect: its name and its message.
    pub(crate) fn exception(&self) -> (&str, String) {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        let message = self.json()["message"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned();
        (self.header("x-amzn-errortype"), message)
    }

    /// The error of the Anthropic dialect; checks that it has its fields and nothing beside them.
    pub(crate) fn anthropic_error(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        let body = self.json();
        let keys = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(
            (keys(&body), &body["type"]),
            (["type", "error", "request_id"].map(String::from).to_vec(), &"error".into())
        );
        assert_eq!(keys(&body["error"]), ["type", "message"], "{self:?}");
        assert!(body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        let id = self.header("request-id");
        assert_eq!((id, body["request_id"].as_str()), (self.header("x-request-id"), Some(id)));
        body["error"].clone()
    }

    /// The payloads of the named server-sent events; checks that each is named as its type says.
    pub(crate) fn events(&self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), "text/event-stream; charset=utf-8", "{self:?}");
        assert!(self.text().ends_with("\n\n"), "{self:?}");
        let events = self.text().split_terminator("\n\n").map(|event| {
            let (name, data) = event.split_once('\n').unwrap_or_else(|| panic!("{event:?}"));
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(data["type"].as_str(), name.strip_prefix("event: "), "{event:?}");
            data
        });
        events.collect()
    }

    /// The payloads of the server-sent events, `[DONE]` as a string.
    pub(crate) fn sse(&self) -> Vec<Value> {
        assert!(self.text().ends_with("\n\n"), "{self:?}");
        let events = self.text().split_terminator("\n\n").filter(|event| !event.starts_with(':'));
        let data = events.map(|event| event.strip_prefix("data: ").unwrap_or_else(|| panic!("{event:?}")));
        data.map(|data| if data == "[DONE]" { data.into() } else { serde_json::from_str(data).unwrap() }).collect()
    }

    /// The frames of the event stream, read by other code than the gateway's.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        assert_eq!(self.header("content-type"), "application/vnd.amazon.eventstream", "{self:?}");
        frames::read_all(&self.body)
    }
}

/// An answer that is still coming.
pub(crate) struct Live {
    response: Response,
    seen: BytesMut,
}

impl Live {
    /// Sends `request` and waits for the head of its answer.
    pub(crate) async fn to(request: RequestBuilder) -> Self {
        Self { response: within(request.send()).await.unwrap(), seen: BytesMut::new() }
    }

    /// Reads until `text` has come.
    pub(crate) async fn read_until(&mut self, text: &str) {
        while !self.seen.windows(text.len()).any(|window| window == text.as_bytes()) {
            let piece = within(self.response.chunk()).await.unwrap();
            self.seen.extend_from_slice(&piece.unwrap_or_else(|| panic!("ended before {text:?}: {:?}", self.seen)));
        }
    }

    /// The whole answer.
    pub(crate) async fn rest(mut self) -> Reply {
        while let Some(piece) = within(self.response.chunk()).await.unwrap() {
            self.seen.extend_from_slice(&piece);
        }
        Reply::new(self.response.status().as_u16(), self.response.headers().clone(), self.seen.freeze())
    }

    /// Leaves, as a client that is closed.
    pub(crate) fn hang_up(self) {
        drop(self);
    }
}
