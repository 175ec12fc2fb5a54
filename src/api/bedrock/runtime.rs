//! The inference operations of `bedrock-runtime`:
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body as HttpBody;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;
use http::HeaderMap;
use http_body::Frame;
use serde::Deserialize;

use super::error;
use crate::api::answer::annotate;
use crate::api::caller::{Body, Segment, Strictness};
use crate::api::native_headers::{bedrocks, is_bedrocks};
use crate::error::{Error, Result};
use crate::gateway::{FrameStream, Gateway, Origin, Trail};
use crate::report::Report;
use crate::tenancy::Caller;
use crate::upstream::{Call, Operation};

/// Converse
///
/// AWS's own operation: the body goes to the model byte for byte.
#[utoipa::path(
    post,
    path = "/model/{model_id}/converse",
    tag = "Bedrock runtime",
    params(("model_id" = String, Path, description = "Model, alias, inference profile or ARN, percent-encoded as one segment.")),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, description = "As AWS answers.", body = serde_json::Value), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["inference"]))
)]
pub(super) async fn converse(native: Native) -> Result<Response> {
    native.unary("converse", Operation::Converse).await
}

/// ConverseStream
///
/// AWS's own operation: frames of the event stream are passed on byte for byte.
#[utoipa::path(
    post,
    path = "/model/{model_id}/converse-stream",
    tag = "Bedrock runtime",
    params(("model_id" = String, Path, description = "Model, alias, inference profile or ARN, percent-encoded as one segment.")),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, description = "An event stream.", content_type = "application/vnd.amazon.eventstream"), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["inference"]))
)]
pub(super) async fn converse_stream(native: Native) -> Result<Response> {
    native.streamed("converse_stream", Operation::ConverseStream).await
}

/// InvokeModel
///
/// AWS's own operation: the body is the model's own, and goes to it byte for byte.
#[utoipa::path(
    post,
    path = "/model/{model_id}/invoke",
    tag = "Bedrock runtime",
    params(("model_id" = String, Path, description = "Model, alias, inference profile or ARN, percent-encoded as one segment.")),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, description = "As the model answers.", body = serde_json::Value), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["inference"]))
)]
pub(super) async fn invoke(native: Native) -> Result<Response> {
    native.unary("invoke_model", Operation::InvokeModel).await
}

/// InvokeModelWithResponseStream
///
/// AWS's own operation: frames of the event stream are passed on byte for byte.
#[utoipa::path(
    post,
    path = "/model/{model_id}/invoke-with-response-stream",
    tag = "Bedrock runtime",
    params(("model_id" = String, Path, description = "Model, alias, inference profile or ARN, percent-encoded as one segment.")),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, description = "An event stream.", content_type = "application/vnd.amazon.eventstream"), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["inference"]))
)]
pub(super) async fn invoke_with_response_stream(native: Native) -> Result<Response> {
    native.streamed("invoke_model_with_response_stream", Operation::InvokeModelWithResponseStream).await
}

/// CountTokens
///
/// AWS's own operation, free of charge: what a body of InvokeModel or Converse would be counted as.
#[utoipa::path(
    post,
    path = "/model/{model_id}/count-tokens",
    tag = "Bedrock runtime",
    params(("model_id" = String, Path, description = "Model, alias, inference profile or ARN, percent-encoded as one segment.")),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, description = "As AWS answers.", body = serde_json::Value), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["inference"]))
)]
pub(super) async fn count_tokens(native: Native) -> Result<Response> {
    native.unary("count_tokens", Operation::CountTokens).await
}

/// The wire call with the caller's own bytes and the `x-amzn-bedrock-*` headers that belong to them.
fn call(operation: Operation, headers: &HeaderMap, body: Bytes) -> Result<Call> {
    check(&body)?;
    Ok(Call { operation, headers: bedrocks(headers), body })
}

/// Only whether it is one JSON object is looked at: what is in it is between the caller and the model.
pub(super) fn check(body: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Object {}
    let begins = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if begins != Some(&b'{') {
        return Err(Error::invalid("body", "The request body must be a JSON object."));
    }
    match serde_json::from_slice::<Object>(body) {
        Ok(Object {}) => Ok(()),
        Err(error) => Err(Error::invalid("body", format!("The request body is not valid JSON: {error}."))),
    }
}

/// What every one of these operations takes: who calls, and bytes for a model.
pub(super) struct Native {
    gateway: Gateway,
    caller: Caller,
    trail: Trail,
    model: String,
    headers: HeaderMap,
    body: Bytes,
}

impl FromRequest<Gateway> for Native {
    type Rejection = Error;

    /// The key is judged before the body is read.
    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, gateway).await?;
        let Ok(trail) = Trail::from_request_parts(&mut parts, gateway).await;
        // Nothing is translated here, but an answer may be capped: the trail learns that it must not be.
        Strictness::from_request_parts(&mut parts, gateway).await?;
        let Segment(model) = Segment::from_request_parts(&mut parts, gateway).await?;
        let headers = std::mem::take(&mut parts.headers);
        let Body(body) = Body::from_request(Request::from_parts(parts, body), gateway).await?;
        Ok(Self { gateway: gateway.clone(), caller, trail, model, headers, body })
    }
}

impl Native {
    async fn unary(self, name: &'static str, operation: Operation) -> Result<Response> {
        let Self { gateway, caller, trail, model, headers, body } = self;
        let call = call(operation, &headers, body)?;
        let model = trail.wait_for(gateway.model(&caller, model)).await?;
        let answer = gateway.forward(&caller, origin(name, trail), &model, call).await?;
        let response = respond(&answer.body.headers, HttpBody::from(answer.body.body));
        Ok(annotate(response, &answer.served, &Report::default()))
    }

    async fn streamed(self, name: &'static str, operation: Operation) -> Result<Response> {
        let Self { gateway, caller, trail, model, headers, body } = self;
        let call = call(operation, &headers, body)?;
        let model = trail.wait_for(gateway.model(&caller, model)).await?;
        let answer = gateway.forward_stream(&caller, origin(name, trail), &model, call).await?;
        let (headers, frames) = answer.body;
        let response = respond(&headers, HttpBody::new(Raw { operation, frames }));
        Ok(annotate(response, &answer.served, &Report::default()))
    }
}

pub(super) fn origin(operation: &'static str, trail: Trail) -> Origin {
    Origin { surface: "bedrock", operation, trail, end_user: None, status: error::status }
}

/// AWS's answer with the headers that mean something to its client.
pub(super) fn respond(headers: &HeaderMap, body: HttpBody) -> Response {
    let mut response = Response::new(body);
    for (name, value) in headers {
        if is_bedrocks(name) || *name == http::header::CONTENT_TYPE || name.as_str() == "x-amzn-requestid" {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// Frames as they came; the gateway's own last word, if it has one, as an exception frame.
struct Raw {
    operation: Operation,
    frames: FrameStream,
}

impl http_body::Body for Raw {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let operation = self.operation;
        Pin::new(&mut self.frames).poll_next(cx).map(|item| {
            let bytes = match item? {
                // AWS's own last word goes out as ours, because its text may name an account.
                Ok(frame) => frame.failure().map_or(frame.raw, |failure| error::frame(operation, &failure.error)),
                Err(error) => error::frame(operation, &error),
            };
            Some(Ok(Frame::data(bytes)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_no_json_object_is_refused_before_it_travels() {
        for bad in ["", "[]", "nul", "{", "{\"a\":}", "\"text\"", "{} {}"] {
            assert!(check(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(check(b"\xff{}").is_err());
        assert!(check(br#" {"messages": [{"unknown": [[[1]]]}]}"#).is_ok());
    }

    #[test]
    fn only_bedrocks_own_headers_travel() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amzn-bedrock-trace", "ENABLED".parse().unwrap());
        headers.insert("authorization", "Bearer secret".parse().unwrap());
        headers.insert("x-forwarded-for", "10.0.0.1".parse().unwrap());
        let call = call(Operation::InvokeModel, &headers, Bytes::from_static(b"{}")).unwrap();
        assert!(call.headers.contains_key("x-amzn-bedrock-trace"));
        assert!(!call.headers.contains_key("authorization") && !call.headers.contains_key("x-forwarded-for"));
    }
}
