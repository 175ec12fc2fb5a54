//! `/admin/v1/teams/{team}/webhook/rotate`: another secret for a team's webhook.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::teams::{TeamWithSecret, told_with};
use super::{Administrator, IfMatch, Told};
use crate::api::body;
use crate::api::caller::{Body, Segment};
use crate::api::openai::error::ErrorBody;
use crate::error::Result;
use crate::gateway::Gateway;
use crate::tenancy::NewSecret;
use crate::tenancy::admin;

/// How the secret of a webhook is to be rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct RotateWebhook {
    /// Seconds for which messages are signed with the secret before as well, 0 to 2592000 (30 days); without it, 3600.
    #[serde(default)]
    #[schema(example = 3600)]
    overlap_seconds: Option<u64>,
}

/// Rotate the secret of a team's webhook
///
/// The answer shows the new secret, this once. For the overlap messages carry two signatures, so that a receiver that knows
/// one of the secrets takes them. The body may be left out. Needs the scope `admin`.
#[utoipa::path(
    post,
    path = "/admin/v1/teams/{team}/webhook/rotate",
    operation_id = "rotate_webhook",
    tag = "Administration",
    params(
        ("team" = String, Path, description = "Its id or its name."),
        ("If-Match" = Option<String>, Header, description = "The version that is to be rotated, as the ETag told it."),
    ),
    request_body = RotateWebhook,
    responses(
        (status = 200, description = "The team.", body = Told<TeamWithSecret>, headers(("ETag", description = "Its version."))),
        (status = 409, description = "The team has no webhook.", body = ErrorBody),
        (status = 412, description = "It has another version.", body = ErrorBody),
        (status = "4XX", description = "Refused, or not there.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn rotate(
    State(gateway): State<Gateway>,
    Administrator(actor): Administrator,
    IfMatch(believed): IfMatch,
    Segment(which): Segment,
    Body(bytes): Body,
) -> Result<Response> {
    let asked: RotateWebhook = if bytes.is_empty() { RotateWebhook::default() } else { body::read(&bytes)? };
    let overlap = asked.overlap_seconds.map_or(admin::DEFAULT_OVERLAP, Duration::from_secs);
    let secret = NewSecret::make(gateway.sealer())?;
    let store = gateway.tenancy().store();
    let which = (&*which, &believed);
    let team = admin::rotate_webhook(store, gateway.clock(), actor, which, (&secret, overlap)).await?;
    gateway.tenancy().refresh().await;
    told_with(StatusCode::OK, (&team, Some(&secret)), Vec::new())
}
