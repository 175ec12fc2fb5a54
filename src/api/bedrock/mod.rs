//! The Bedrock surface: what an AWS SDK speaks when its endpoint is this gateway. Bodies travel untouched in both
//! directions; errors are AWS's own exceptions, in a stream as exception frames.

mod error;
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
}
