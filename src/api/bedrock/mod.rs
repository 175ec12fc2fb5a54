//! The Bedrock surface: what an AWS SDK speaks when its endpoint is this gateway. Bodies of the runtime travel untouched
//! in both directions; the control plane is answered from the catalog; errors are AWS's own exceptions, in a stream as
//! exception frames.

mod async_body;
mod async_invoke;
mod control;
mod error;
mod foundation_models;
mod guardrail;
mod inference_profiles;
pub(in crate::api) mod jobs;
mod runtime;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::gateway::Gateway;

pub(super) use error::shape;

/// The routes of this surface.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(runtime::converse))
        .routes(routes!(runtime::converse_stream))
        .routes(routes!(runtime::invoke))
        .routes(routes!(runtime::invoke_with_response_stream))
        .routes(routes!(runtime::count_tokens))
        .routes(routes!(guardrail::apply))
        .routes(routes!(async_invoke::start, async_invoke::list))
        .routes(routes!(async_invoke::get))
        .routes(routes!(foundation_models::list))
        .routes(routes!(foundation_models::get))
        .routes(routes!(inference_profiles::list))
        .routes(routes!(inference_profiles::get))
        .merge(jobs::router())
}
