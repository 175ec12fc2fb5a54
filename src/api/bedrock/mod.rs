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

use axum::Router;
use axum::routing::{get, post};
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

/// The routes for ids with slashes, such as those in ARNs, that the client left as they are: `arn:...:inference-profile/x` has
/// one, `arn:...:custom-model/base/x` two. No path of the document is one, and SDKs encode.
pub(super) fn unencoded() -> Router<Gateway> {
    let mut router = Router::new();
    for rest in ["{rest}", "{rest}/{last}"] {
        let on_model = |operation: &str| format!("/model/{{model_id}}/{rest}/{operation}");
        router = router
            .route(&on_model("converse"), post(runtime::converse))
            .route(&on_model("converse-stream"), post(runtime::converse_stream))
            .route(&on_model("invoke"), post(runtime::invoke))
            .route(&on_model("invoke-with-response-stream"), post(runtime::invoke_with_response_stream))
            .route(&on_model("count-tokens"), post(runtime::count_tokens));
    }
    router
        .route("/guardrail/{guardrail}/{rest}/version/{version}/apply", post(guardrail::apply))
        .route("/async-invoke/{invocation}/{rest}", get(async_invoke::get))
        .route("/foundation-models/{model}/{rest}", get(foundation_models::get))
        .route("/inference-profiles/{profile}/{rest}", get(inference_profiles::get))
        .merge(jobs::unencoded())
}
