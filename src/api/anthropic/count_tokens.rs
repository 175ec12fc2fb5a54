//! `POST /v1/messages/count_tokens`: <https://platform.claude.com/docs/en/api/messages-count-tokens>.
//!
//! Bedrock counts by itself or not at all: a model that it does not count for is an error here, because a number that is
//! only guessed would look like one that is not.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ErrorBody;
use super::lane::Lane;
use super::messages::{self, Exchange};
use super::native::{self, Draft, Purpose};
use super::translate;
use super::wire::{self, MessagesRequest};
use crate::api::answer::annotate;
use crate::api::caller::{Body, Strictness};
use crate::api::{body, remote};
use crate::converse::{Message, Object, SystemBlock, ToolConfig};
use crate::error::{Error, Kind, Result};
use crate::families;
use crate::gateway::{Gateway, Trail};
use crate::report::Report;
use crate::splice::Members;
use crate::tenancy::Caller;
use crate::upstream::{Call, Operation};

/// How many tokens a message would have.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnthropicTokenCount)]
pub(super) struct Count {
    /// Messages, instructions and tools together.
    input_tokens: u64,
}

/// Count the tokens of a message
///
/// Counted by Bedrock's `CountTokens`, which is free of charge. Bedrock does not count for every model: a 400 says so.
#[utoipa::path(
    post,
    path = "/v1/messages/count_tokens",
    tag = "Anthropic",
    request_body = MessagesRequest,
    responses(
        (status = 200, description = "The count.", body = Count),
        (status = "4XX", description = "The request cannot be served as it is, or Bedrock does not count for this model.", body = ErrorBody),
        (status = "5XX", description = "Bedrock or the gateway failed.", body = ErrorBody),
    ),
    security(("key" = []))
)]
pub(super) async fn count(
    State(gateway): State<Gateway>,
    caller: Caller,
    trail: Trail,
    strictness: Strictness,
    headers: HeaderMap,
    Body(text): Body,
) -> Result<Response> {
    let members = body::object(&text)?;
    let (model, lane) = messages::model(&gateway, &members)?;
    native::refuse_impossible(&members)?;
    let exchange = Exchange { gateway, caller, trail, strictness, operation: "count_tokens", model };
    let mut report = Report::default();
    let body = if lane == Lane::Converse {
        native::leave_betas_out(&members, &headers, &mut report)?;
        exchange.translated_input(wire::parse(&text)?, &mut report).await?
    } else {
        exchange.native_input(&text, &members, (lane, &headers), &mut report).await?
    };
    drop(members);
    drop(text);
    strictness.judge(&report)?;
    let call = Call { operation: Operation::CountTokens, headers: HeaderMap::new(), body };
    let name = exchange.model.resolved.name.clone();
    let answer = exchange.gateway.forward(&exchange.caller, exchange.origin(None), &exchange.model, call).await;
    let answer = answer.map_err(|error| told(error, &name))?;
    let counted: Counted = serde_json::from_slice(&answer.body.body).map_err(|error| {
        Error::new(Kind::UpstreamUnavailable, "Bedrock sent a count that could not be read.").source(error)
    })?;
    let count = Count { input_tokens: counted.input_tokens };
    Ok(annotate(Json(count).into_response(), &answer.served, &report))
}

/// Bedrock's refusal to count for a model at all, with what to do instead.
fn told(error: Error, model: &str) -> Error {
    let is_that = error.kind() == Kind::UpstreamRejected && error.message().contains("counting tokens");
    if !is_that {
        return error;
    }
    let message = format!(
        "Bedrock does not count tokens for the model `{model}`. The usage of a message tells what its input was: one with \
         max_tokens 1 costs little more than that."
    );
    Error::unsupported("model", message).source(error)
}

impl Exchange {
    /// What is counted for Claude: the body that would be sent.
    async fn native_input(
        &self,
        text: &Bytes,
        members: &Members<'_>,
        (lane, headers): (Lane, &HeaderMap),
        report: &mut Report,
    ) -> Result<Bytes> {
        let draft = Draft::read(text, members, Purpose::Count)?;
        let fetched = remote::fetch_all(self.gateway.fetcher(), draft.remotes()).await?;
        let native = draft.call(lane, headers, fetched, report)?.body;
        // Base64 needs no escapes.
        let mut body = String::with_capacity(native.len() / 3 * 4 + 64);
        body.push_str(r#"{"input":{"invokeModel":{"body":""#);
        STANDARD.encode_string(&native, &mut body);
        body.push_str("\"}}}");
        Ok(body.into())
    }

    /// What is counted for the others: the parts of the translation that are input.
    async fn translated_input(&self, wire: MessagesRequest, report: &mut Report) -> Result<Bytes> {
        let wire = messages::fetch(&self.gateway, wire, report).await?;
        let traits = families::traits(self.model.resolved.model.as_deref());
        let request = translate::request(wire, &traits, report)?.request;
        let converse = Converse {
            messages: &request.messages,
            system: &request.system,
            tool_config: request.tool_config.as_ref(),
            additional_model_request_fields: &request.additional_model_request_fields,
        };
        let body = Input { input: Kinds { converse } };
        Ok(serde_json::to_vec(&body).map_err(Error::internal)?.into())
    }
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseTokensRequest.html>
#[derive(Serialize)]
struct Input<'a> {
    input: Kinds<'a>,
}

#[derive(Serialize)]
struct Kinds<'a> {
    converse: Converse<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Converse<'a> {
    messages: &'a [Message],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    system: &'a [SystemBlock],
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<&'a ToolConfig>,
    #[serde(skip_serializing_if = "Object::is_empty")]
    additional_model_request_fields: &'a Object,
}

/// Bedrock's answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    input_tokens: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_refusal_to_count_at_all_is_put_into_other_words() {
        let refused = |message: &'static str| told(Error::new(Kind::UpstreamRejected, message), "m");
        let error = refused("The provided model doesn't support counting tokens.");
        assert_eq!((error.kind(), error.blamed()), (Kind::Unsupported, Some("model")));
        assert_eq!(refused("messages: Field required").message(), "messages: Field required");
    }
}
