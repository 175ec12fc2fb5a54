//! The shape of `GET /v1/models` and `GET /v1/models/{id}`
//! (<https://platform.openai.com/docs/api-reference/models>).

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::error::ErrorBody;
use crate::api::caller::Segment;
use crate::catalog;
use crate::error::{Error, Result};
use crate::gateway::Gateway;
use crate::tenancy::{Caller, Scope};

/// List models
///
/// The models that this key may use and that can be called from the gateway's Regions, aliases first. All kinds of
/// models are listed, those for embeddings and images too.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "OpenAI",
    responses((status = 200, description = "The models.", body = ModelList), (status = "4XX", description = "Refused.", body = ErrorBody)),
    security(("key" = []))
)]
pub(super) async fn list(State(gateway): State<Gateway>, caller: Caller) -> Result<Json<ModelList>> {
    caller.require(Scope::Inference)?;
    let catalog = gateway.catalog();
    let regions = gateway.regions_of(&caller);
    let mut data = Vec::new();
    for (alias, resolved) in catalog.aliases() {
        if caller.allows_model(resolved.names(alias)) && !catalog.candidates(resolved, &regions).is_empty() {
            data.push(Model::of(alias, resolved.model.as_deref()));
        }
    }
    for model in catalog.models(&regions) {
        if caller.allows_model([&*model.id, &*model.short]) {
            data.push(Model::of(&model.id, Some(model)));
        }
    }
    Ok(Json(ModelList::new(data)))
}

/// Look a model up
///
/// By any name that a request may use: alias, short id, Bedrock id, inference profile.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "OpenAI",
    params(("model" = String, Path, description = "Any name of the model, percent-encoded as one segment.")),
    responses((status = 200, description = "The model.", body = Model), (status = "4XX", description = "Refused, or unknown.", body = ErrorBody)),
    security(("key" = []))
)]
pub(super) async fn retrieve(
    State(gateway): State<Gateway>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Json<Model>> {
    caller.require(Scope::Inference)?;
    let resolved = gateway.catalog().resolve(&name)?;
    let is_near = !gateway.catalog().candidates(&resolved, &gateway.regions_of(&caller)).is_empty();
    if !is_near || !caller.allows_model(resolved.names(&name)) {
        return Err(Error::model_not_found(&name));
    }
    Ok(Json(Model::of(&name, resolved.model.as_deref())))
}

/// All models that the key may use.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: &'static str,
    /// The models.
    pub data: Vec<Model>,
}

impl ModelList {
    /// The list of `data`.
    pub fn new(data: Vec<Model>) -> Self {
        Self { object: "list", data }
    }
}

/// One model.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Model {
    /// What a request has to name.
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// When it became available: seconds since the Unix epoch, 0 if not known.
    pub created: i64,
    /// Who made it, such as `anthropic`.
    pub owned_by: String,
}

impl Model {
    /// The entry of a model under one of its names.
    fn of(id: &str, model: Option<&catalog::Model>) -> Self {
        let created = model.and_then(|model| model.created).unwrap_or(0);
        let owned_by = model.map_or_else(|| "aws".into(), |model| model.provider.to_lowercase());
        Self { id: id.into(), object: "model", created, owned_by }
    }
}
