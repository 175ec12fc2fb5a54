//! The shape of `GET /v1/models` and `GET /v1/models/{id}`
//! (<https://platform.openai.com/docs/api-reference/models>).

use serde::Serialize;

use crate::api::models::Named;

/// All models that the key may use.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: &'static str,
    /// The models.
    pub data: Vec<Model>,
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

/// The list of these models.
pub(in crate::api) fn list(models: &[Named<'_>]) -> ModelList {
    ModelList { object: "list", data: models.iter().map(Model::of).collect() }
}

impl Model {
    /// The entry of a model.
    pub(in crate::api) fn of(named: &Named<'_>) -> Self {
        let created = named.model.and_then(|model| model.created).unwrap_or(0);
        let owned_by = named.model.map_or_else(|| "aws".into(), |model| model.provider.to_lowercase());
        Self { id: named.name.into(), object: "model", created, owned_by }
    }
}
