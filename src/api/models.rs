//! `GET /v1/models` and `GET /v1/models/{id}`: the models that a key may use. OpenAI and Anthropic have the same paths;
//! the header `anthropic-version`, which every client of Anthropic's sends, tells whose shape is wanted.

use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Segment;
use super::openai::error::ErrorBody;
use super::{anthropic, openai};
use crate::catalog::{Kind, Model};
use crate::error::{Error, Result};
use crate::gateway::Gateway;
use crate::tenancy::{Caller, Scope};

/// The routes.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(retrieve))
}

/// The routes for names with a slash, of an alias or an ARN, that the client left as it is: no path of the document is one.
pub(super) fn unencoded() -> Router<Gateway> {
    Router::new().route("/v1/models/{model}/{*rest}", get(retrieve))
}

/// A model under one of its names.
pub(super) struct Named<'a> {
    /// What a request has to name.
    pub(super) name: &'a str,
    /// What is known of it; nothing behind an ARN that hides its model.
    pub(super) model: Option<&'a Model>,
}

/// The models in either shape.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Models)]
pub(super) enum List {
    /// OpenAI's.
    OpenAi(openai::models::ModelList),
    /// Anthropic's.
    Anthropic(anthropic::models::ModelPage),
}

/// A model in either shape.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = OneModel)]
pub(super) enum One {
    /// OpenAI's.
    OpenAi(openai::models::Model),
    /// Anthropic's.
    Anthropic(anthropic::models::Model),
}

/// List models
///
/// The models that this key may use and that can be called from the gateway's Regions, aliases first. All kinds of
/// models are listed, those for embeddings and images too. With the header `anthropic-version` the answer has
/// Anthropic's shape, holds the models that converse, and comes in pages (`limit`, `after_id`, `before_id`).
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "OpenAI",
    params(
        ("anthropic-version" = Option<String>, Header, description = "Asks for Anthropic's shape."),
        ("limit" = Option<u32>, Query, description = "Anthropic's shape only: entries of a page, 1 to 1000, default 20."),
        ("after_id" = Option<String>, Query, description = "Anthropic's shape only: the page after this entry."),
        ("before_id" = Option<String>, Query, description = "Anthropic's shape only: the page before this entry."),
    ),
    responses(
        (status = 200, description = "The models.", body = List),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["inference"]))
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    caller: Caller,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Json<List>> {
    caller.require(Scope::Inference)?;
    let catalog = gateway.catalog();
    let regions = gateway.regions_of(&caller);
    let mut listed = Vec::new();
    for (alias, resolved) in catalog.aliases() {
        if caller.allows_model(resolved.names(alias)) && gateway.candidates(&caller, resolved).is_ok() {
            listed.push(Named { name: alias, model: resolved.model.as_deref() });
        }
    }
    for model in catalog.models(&regions, caller.fence()) {
        if caller.allows_model([&*model.id, &*model.short]) {
            listed.push(Named { name: &model.id, model: Some(model) });
        }
    }
    if headers.contains_key(anthropic::VERSION) {
        listed.retain(|named| named.model.is_none_or(|model| model.kind == Kind::Chat));
        let page = anthropic::models::page(&listed, query.as_deref().unwrap_or_default())?;
        return Ok(Json(List::Anthropic(page)));
    }
    Ok(Json(List::OpenAi(openai::models::list(&listed))))
}

/// Look a model up
///
/// By any name that a request may use: alias, short id, Bedrock id, inference profile. With the header
/// `anthropic-version` the answer has Anthropic's shape.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "OpenAI",
    params(
        ("model" = String, Path, description = "Any name of the model, percent-encoded as one segment."),
        ("anthropic-version" = Option<String>, Header, description = "Asks for Anthropic's shape."),
    ),
    responses(
        (status = 200, description = "The model.", body = One),
        (status = "4XX", description = "Refused, or unknown.", body = ErrorBody),
    ),
    security(("key" = ["inference"]))
)]
pub(super) async fn retrieve(
    State(gateway): State<Gateway>,
    caller: Caller,
    headers: HeaderMap,
    Segment(name): Segment,
) -> Result<Json<One>> {
    found(&gateway, &caller, &headers, &name)
}

fn found(gateway: &Gateway, caller: &Caller, headers: &HeaderMap, name: &str) -> Result<Json<One>> {
    caller.require(Scope::Inference)?;
    let resolved = gateway.catalog().resolve_for(name, &|names| caller.allows_model(names))?;
    let is_near = gateway.candidates(caller, &resolved).is_ok();
    if !is_near || !caller.allows_model(resolved.names(name)) {
        return Err(Error::model_not_found(name));
    }
    let named = Named { name, model: resolved.model.as_deref() };
    if headers.contains_key(anthropic::VERSION) {
        return Ok(Json(One::Anthropic(anthropic::models::Model::of(&named))));
    }
    Ok(Json(One::OpenAi(openai::models::Model::of(&named))))
}
