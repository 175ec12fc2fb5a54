//! `/admin/v1/keys/{key}/rotate`: another secret for a key.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::keys::KeyWithText;
use super::{Administrator, IfMatch, Told, tell};
use crate::api::body;
use crate::api::caller::{Body, Segment};
use crate::api::openai::error::ErrorBody;
use crate::error::Result;
use crate::gateway::Gateway;
use crate::ids::KeyId;
use crate::tenancy::admin;

/// How a key is to be rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct RotateKey {
    /// Seconds for which the secret before still counts, 0 to 2592000 (30 days); without it, 3600.
    #[serde(default)]
    #[schema(example = 3600)]
    overlap_seconds: Option<u64>,
}

/// Rotate a key
///
/// Gives it another secret; its id and its settings stay. The answer shows the key, this once. The secret before counts as
/// well for the overlap, and one before that no more. It counts on this process with the answer, on others within seconds.
/// The body may be left out. Needs the scope `admin`.
#[utoipa::path(
    post,
    path = "/admin/v1/keys/{key}/rotate",
    operation_id = "rotate_key",
    tag = "Administration",
    params(
        ("key" = String, Path, description = "Its id."),
        ("If-Match" = Option<String>, Header, description = "The version that is to be rotated, as the ETag told it."),
    ),
    request_body = RotateKey,
    responses(
        (status = 200, description = "The key.", body = Told<KeyWithText>, headers(("ETag", description = "Its version."))),
        (status = 412, description = "It has another version.", body = ErrorBody),
        (status = "4XX", description = "Refused, or not there.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn rotate(
    State(gateway): State<Gateway>,
    Administrator(actor): Administrator,
    IfMatch(believed): IfMatch,
    Segment(id): Segment,
    Body(bytes): Body,
) -> Result<Response> {
    let asked: RotateKey = if bytes.is_empty() { RotateKey::default() } else { body::read(&bytes)? };
    let overlap = asked.overlap_seconds.map_or(admin::DEFAULT_OVERLAP, Duration::from_secs);
    let (store, which) = (gateway.tenancy().store(), (&KeyId::from(id), &believed));
    let (key, text) = admin::rotate_key(store, gateway.clock(), actor, which, (overlap, gateway.sealer())).await?;
    gateway.tenancy().refresh().await;
    tell(StatusCode::OK, key.version, KeyWithText::of(&gateway, &key, &text).await?, Vec::new())
}
