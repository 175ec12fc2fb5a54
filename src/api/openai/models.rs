//! The shape of `GET /v1/models` and `GET /v1/models/{id}`
//! (<https://platform.openai.com/docs/api-reference/models>).

use serde::Serialize;

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
    /// The model `id` of `owned_by`, available since `created` in seconds since the Unix epoch.
    pub fn new(id: impl Into<String>, created: i64, owned_by: impl Into<String>) -> Self {
        Self { id: id.into(), object: "model", created, owned_by: owned_by.into() }
    }
}
