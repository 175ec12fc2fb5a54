//! `POST /v1/messages/count_tokens`: <https://platform.claude.com/docs/en/api/messages-count-tokens>.
//!
//! Bedrock counts by itself or not at all: a model that it does not count for is an error here, because a number that is
//! only guessed would look like one that is not.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ErrorBody;
use super::lane::Lane;
use super::messages::{self, Exchange};
use super::native::{self, Draft, Purpose};
use super::translate;
use super::wire::{self, MessagesRequest};
use crate::api::answer::annotate;
use crate::api::caller::{Body, Strictness};
use crate::api::token_count::Input;
use crate::api::{body, remote};
use crate::error::Result;
use crate::families;
use crate::gateway::{Gateway, Trail};
use crate::report::Report;
use crate::splice::Members;
use crate::tenancy::Caller;

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
    security(("key" = ["inference"]))
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
    let (model, lane) = trail.wait_for(messages::model(&gateway, &caller, &members)).await?;
    native::refuse_impossible(&members)?;
    let exchange = Exchange { gateway, caller, trail, strictness, operation: "count_tokens", model };
    let mut report = Report::default();
    let input = if lane == Lane::Converse {
        native::leave_betas_out(&members, &headers, &mut report)?;
        exchange.translated_input(wire::parse(&text)?, &mut report).await?
    } else {
        exchange.native_input(&text, &members, (lane, &headers), &mut report).await?
    };
    drop(members);
    drop(text);
    strictness.judge(&report)?;
    let (gateway, caller, model) = (&exchange.gateway, &exchange.caller, &exchange.model);
    let (input_tokens, served) = input.count(gateway, caller, exchange.origin(None), model, INSTEAD).await?;
    let count = Count { input_tokens };
    Ok(annotate(Json(count).into_response(), &served, &report))
}

const INSTEAD: &str =
    "The usage of a message tells what its input was: one with max_tokens 1 costs little more than that.";

impl Exchange {
    /// What is counted for Claude: the body that would be sent.
    async fn native_input(
        &self,
        text: &Bytes,
        members: &Members<'_>,
        (lane, headers): (Lane, &HeaderMap),
        report: &mut Report,
    ) -> Result<Input> {
        let draft = Draft::read(text, members, Purpose::Count)?;
        let fetched = self.trail.wait_for(remote::fetch_all(self.gateway.fetcher(), draft.remotes())).await?;
        Ok(Input::native(&draft.call(lane, headers, fetched, report)?.body))
    }

    /// What is counted for the others: the parts of the translation that are input.
    async fn translated_input(&self, wire: MessagesRequest, report: &mut Report) -> Result<Input> {
        let wire = self.trail.wait_for(messages::fetch(&self.gateway, wire, report)).await?;
        let traits = families::traits(self.model.resolved.model.as_deref());
        let request = translate::request(wire, &traits, report)?.request;
        Input::converse(&request)
    }
}
