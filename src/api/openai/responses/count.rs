//! `POST /v1/responses/input_tokens`: <https://platform.openai.com/docs/api-reference/responses/input-tokens>.
//!
//! Bedrock counts by itself or not at all: a model that it does not count for is an error here, because a number that is
//! only guessed would look like one that is not.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use super::super::error::ErrorBody;
use super::{end_user, gather, origin, translate, wire};
use crate::api::answer::annotate;
use crate::api::caller::{Body, Strictness};
use crate::api::token_count::Input;
use crate::error::Result;
use crate::families;
use crate::gateway::{Gateway, Trail};
use crate::tenancy::{Caller, Scope};

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
    security(("key" = ["inference"]))
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
    let model = trail.wait_for(gateway.model(&caller, wire.model.clone())).await?;
    let origin = origin("input_tokens", &trail, end_user(&wire));
    let (asked, _) = gather((&gateway, &trail), &caller, wire, &model).await?;
    let traits = families::traits(model.resolved.model.as_deref());
    let translate::Translated { request, report, .. } = translate::request(asked, &traits)?;
    strictness.judge(&report)?;
    let input = Input::converse(&request)?;
    let (input_tokens, served) = input.count(&gateway, &caller, origin, &model, INSTEAD).await?;
    let count = wire::InputTokens { object: "response.input_tokens", input_tokens };
    Ok(annotate(Json(count).into_response(), &served, &report))
}

const INSTEAD: &str =
    "The usage of a response tells what its input was: one with max_output_tokens 16 costs little more than that.";
