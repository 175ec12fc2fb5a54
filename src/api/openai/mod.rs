//! The OpenAI surface: chat completions and the list of models, as the official clients speak them
//! (<https://platform.openai.com/docs/api-reference>). `wire` is their shape, `translate` leads from it to the
//! canonical form and back without touching network or clock, `error` is the shape of failure.

pub(super) mod azure;
pub(super) mod batches;
mod chat;
mod choices;
mod embeddings;
pub mod error;
mod files;
mod forward;
mod found;
#[cfg(test)]
mod golden_tests;
mod images;
pub mod models;
mod native;
mod pointed;
pub mod responses;
pub mod translate;
pub mod wire;

use axum::Json;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body;
use super::problem::Problem;
use crate::gateway::Gateway;
use crate::ids::RequestId;

pub(super) use native::speaks_chat;
pub(super) use responses::speaks_responses;

/// The routes of this surface.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(chat::create))
        .routes(routes!(embeddings::create))
        .routes(routes!(images::create))
        .merge(files::router())
        .merge(responses::router())
        .merge(batches::router())
}

/// A failed request in this surface's shape.
pub(super) fn shape(problem: &Problem, id: &RequestId) -> Response {
    let (status, body) = error::status_and_body(&problem.0, id.as_str());
    problem.answer(status, Json(body))
}
