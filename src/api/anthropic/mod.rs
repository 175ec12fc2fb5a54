//! The Anthropic surface: messages, token counts and models, as the official clients speak them
//! (<https://platform.claude.com/docs/en/api/overview>).
//!
//! Claude takes the bytes that came (`native`); every other model gets a translation (`wire` is the shape, `translate`
//! leads from it to the canonical form and back without touching network or clock). `error` is the shape of failure.

pub(in crate::api) mod batches;
mod count_tokens;
pub mod error;
#[cfg(test)]
mod golden_tests;
mod lane;
mod messages;
pub mod models;
mod native;
pub mod translate;
pub mod wire;

use axum::Json;
use axum::response::Response;
use http::HeaderName;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Problem;
use crate::gateway::Gateway;
use crate::ids::RequestId;

pub(super) use lane::{Lane, of_model};

/// The header that every client of Anthropic's sends.
pub(super) const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// The routes of this surface.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(messages::create)).routes(routes!(count_tokens::count)).merge(batches::router())
}

/// A failed request in this surface's shape.
pub(super) fn shape(problem: &Problem, id: &RequestId) -> Response {
    let (status, body) = error::status_and_body(&problem.0, id.as_str());
    problem.answer(status, Json(body))
}
