//! The administration API: `/admin/v1/...`, for keys with the scope `admin`. Errors have OpenAI's shape.

mod upstreams;
mod usage;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::gateway::Gateway;

/// The routes of this API.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(upstreams::list)).routes(routes!(usage::tell))
}
