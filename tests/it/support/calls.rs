//! The surfaces, as their clients call them.

use bytes::Bytes;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::reply::{Live, Reply};
use super::{MODEL, TestGateway};

/// The body of a chat completion.
pub(crate) fn chat(text: &str) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": text}]})
}

/// The body of a Converse call.
pub(crate) fn turn(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": [{"text": text}]}]})
}

/// The body of an InvokeModel call, as Claude takes it.
pub(crate) fn anthropic(text: &str) -> Value {
    json!({
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 2000,
        "messages": [{"role": "user", "content": text}],
    })
}

/// `body` and `more`.
pub(crate) fn with(mut body: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("not an object: {more}") };
    body.as_object_mut().unwrap().extend(more);
    body
}

/// The OpenAI surface with a key.
pub(crate) struct OpenAi<'t> {
    t: &'t TestGateway,
    key: String,
}

impl<'t> OpenAi<'t> {
    pub(crate) fn new(t: &'t TestGateway, key: &str) -> Self {
        Self { t, key: key.to_owned() }
    }

    /// With another key.
    pub(crate) fn with_key(self, key: &str) -> Self {
        Self::new(self.t, key)
    }

    /// A completion of one turn.
    pub(crate) async fn chat(&self, text: &str) -> Reply {
        self.send(&chat(text)).await
    }

    /// A completion of this body.
    pub(crate) async fn send(&self, body: &Value) -> Reply {
        Reply::to(self.request().json(body)).await
    }

    /// A completion of these bytes.
    pub(crate) async fn send_bytes(&self, body: impl Into<reqwest::Body>) -> Reply {
        Reply::to(self.request().body(body).header("content-type", "application/json")).await
    }

    /// A streamed completion of one turn, as far as its head.
    pub(crate) async fn stream(&self, text: &str) -> Live {
        self.open(&with(chat(text), json!({"stream": true}))).await
    }

    /// The answer to this body as far as its head.
    pub(crate) async fn open(&self, body: &Value) -> Live {
        Live::to(self.request().json(body)).await
    }

    pub(crate) async fn models(&self) -> Reply {
        Reply::to(self.t.request(Method::GET, "/v1/models").bearer_auth(&self.key)).await
    }

    /// The request, for what has no method of its own here.
    pub(crate) fn request(&self) -> RequestBuilder {
        self.request_to("/v1/chat/completions")
    }

    /// A request to another route under `/v1`.
    pub(crate) fn request_to(&self, path: &str) -> RequestBuilder {
        self.t.request(Method::POST, path).bearer_auth(&self.key)
    }

    /// The answer of another route under `/v1` to this body.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        Reply::to(self.request_to(path).json(body)).await
    }
}

/// The Bedrock surface with a key and a model.
pub(crate) struct Bedrock<'t> {
    t: &'t TestGateway,
    key: String,
    model: String,
}

impl<'t> Bedrock<'t> {
    pub(crate) fn new(t: &'t TestGateway, key: &str) -> Self {
        Self { t, key: key.to_owned(), model: MODEL.to_owned() }
    }

    /// With another key.
    pub(crate) fn with_key(self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self }
    }

    /// Calling another model; the name goes into the path as it is.
    pub(crate) fn model(self, model: &str) -> Self {
        Self { model: model.to_owned(), ..self }
    }

    /// Converse with one turn.
    pub(crate) async fn converse(&self, text: &str) -> Reply {
        self.send("converse", turn(text).to_string()).await
    }

    /// ConverseStream with one turn, as far as the head of the answer.
    pub(crate) async fn converse_stream(&self, text: &str) -> Live {
        self.open("converse-stream", turn(text).to_string()).await
    }

    /// The operation with these bytes.
    pub(crate) async fn send(&self, operation: &str, body: impl Into<Bytes>) -> Reply {
        self.open(operation, body).await.rest().await
    }

    /// The operation with these bytes, as far as the head of the answer.
    pub(crate) async fn open(&self, operation: &str, body: impl Into<Bytes>) -> Live {
        Live::to(self.request(operation).body(body.into()).header("content-type", "application/json")).await
    }

    /// The request, for what has no method of its own here.
    pub(crate) fn request(&self, operation: &str) -> RequestBuilder {
        let path = format!("/model/{}/{operation}", self.model);
        self.t.request(Method::POST, &path).bearer_auth(&self.key)
    }
}
