//! `POST /v1/responses/input_tokens`: <https://platform.openai.com/docs/api-reference/responses/input-tokens>.
//!
//! Bedrock counts by itself or not at all: a model that it does not count for is an error here, because a number that is
//! only guessed would look like one that is not.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::super::error::ErrorBody;
use super::{end_user, gather, origin, translate, wire};
use crate::api::answer::annotate;
use crate::api::caller::{Body, Strictness};
use crate::converse::{self, Message, Object, SystemBlock, ToolConfig};
use crate::error::{Error, Kind, Result};
use crate::families;
use crate::gateway::{Gateway, Trail};
use crate::tenancy::{Caller, Scope};
use crate::upstream::{Call, Operation};

/// Count the input tokens of a response
///
/// What the same request would have as input, the responses it goes on from included. Counted by Bedrock's
/// `CountTokens`, which is free of charge. Bedrock does not count for every model: a 400 says so.
#[utoipa::path(
    post,
    path = "/v1/responses/input_tokens",
    operation_id = "count_response_input_tokens",
    tag = "OpenAI",
    request_body = wire::Request,
    responses(
        (status = 200, description = "The count.", body = wire::InputTokens),
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
    Body(body): Body,
) -> Result<Response> {
    caller.require(Scope::Inference)?;
    let mut wire = wire::parse(&body)?;
    drop(body);
    // Nothing is answered, so there is nothing to keep.
    wire.store = Some(false);
    let model = gateway.model(wire.model.clone())?;
    let origin = origin("input_tokens", &trail, end_user(&wire));
    let (asked, _) = gather(&gateway, &caller, wire, &model).await?;
    let traits = families::traits(model.resolved.model.as_deref());
    let translate::Translated { request, report, .. } = translate::request(asked, &traits)?;
    strictness.judge(&report)?;
    let call = Call { operation: Operation::CountTokens, headers: HeaderMap::new(), body: input(&request)? };
    let answer = gateway.forward(&caller, origin, &model, call).await.map_err(|error| told(error, &model.name))?;
    let counted: Counted = serde_json::from_slice(&answer.body.body).map_err(|error| {
        Error::new(Kind::UpstreamUnavailable, "Bedrock sent a count that could not be read.").source(error)
    })?;
    let count = wire::InputTokens { object: "response.input_tokens", input_tokens: counted.input_tokens };
    Ok(annotate(Json(count).into_response(), &answer.served, &report))
}

/// Bedrock's refusal to count for a model at all, with what to do instead.
fn told(error: Error, model: &str) -> Error {
    let is_that = error.kind() == Kind::UpstreamRejected && error.message().contains("counting tokens");
    if !is_that {
        return error;
    }
    let message = format!(
        "Bedrock does not count tokens for the model `{model}`. The usage of a response tells what its input was: one with \
         max_output_tokens 16 costs little more than that."
    );
    Error::unsupported("model", message).source(error)
}

/// The parts of a request that are input, as `CountTokens` takes them
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseTokensRequest.html>).
fn input(request: &converse::Request) -> Result<Bytes> {
    #[derive(Serialize)]
    struct Count<'a> {
        input: Kind<'a>,
    }
    #[derive(Serialize)]
    struct Kind<'a> {
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
    let converse = Converse {
        messages: &request.messages,
        system: &request.system,
        tool_config: request.tool_config.as_ref(),
        additional_model_request_fields: &request.additional_model_request_fields,
    };
    let body = Count { input: Kind { converse } };
    Ok(serde_json::to_vec(&body).map_err(Error::internal)?.into())
}

/// Bedrock's answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    input_tokens: u64,
}
