//! `/admin/v1/limits`: setting, listing and removing limits.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::query::Query;
use super::{Administrator, IfMatch, Page, Told, tell};
use crate::api::body;
use crate::api::caller::{Body, Segment};
use crate::api::openai::error::ErrorBody;
use crate::error::Result;
use crate::gateway::Gateway;
use crate::ids::LimitId;
use crate::tenancy::admin::view::LimitView;
use crate::tenancy::admin::{self, Limits, Whose, known};

/// What a limit is to be. What is left out is not limited, also if it was before.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct SetLimit {
    /// Id or name of the team whose calls it counts, all keys taken together.
    #[serde(default)]
    #[schema(example = "search")]
    team: Option<String>,
    /// Id of the key whose calls it counts. With neither `team` nor `key`, everyone's calls on `model` are counted together.
    #[serde(default)]
    key: Option<String>,
    /// The model whose calls it counts, by any of its names, or the beginning of names and `*`, whose models are counted
    /// together; without it, every model.
    #[serde(default)]
    #[schema(example = "claude-*")]
    model: Option<String>,
    /// Calls that may begin in a minute.
    #[serde(default)]
    #[schema(example = 600)]
    requests_per_minute: Option<u64>,
    /// Tokens read and written in a minute; those read from a prompt cache do not count.
    #[serde(default)]
    #[schema(example = 200_000)]
    tokens_per_minute: Option<u64>,
    /// Calls that may be open at the same time.
    #[serde(default)]
    #[schema(example = 50)]
    concurrent_requests: Option<u32>,
}

/// Set a limit
///
/// There is one limit for a team, key or everyone, and a model or all of them: setting it again replaces it as a whole, under
/// the same id. A call is counted by every limit that fits it. It counts on this process with the answer, on others within
/// seconds. With `If-Match: "<version>"`, a change that somebody else made in between is a 412. Needs the scope `admin`.
#[utoipa::path(
    put,
    path = "/admin/v1/limits",
    operation_id = "set_limit",
    tag = "Administration",
    params(
        ("If-Match" = Option<String>, Header, description = "The version that is to be replaced, as the ETag told it."),
    ),
    request_body = SetLimit,
    responses(
        (status = 200, description = "The limit.", body = Told<LimitView>, headers(("ETag", description = "Its version."))),
        (status = 412, description = "It has another version, or is not there.", body = ErrorBody),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn set(
    State(gateway): State<Gateway>,
    Administrator(actor): Administrator,
    IfMatch(believed): IfMatch,
    Body(bytes): Body,
) -> Result<Response> {
    let asked: SetLimit = body::read(&bytes)?;
    let warnings = known::doubts(&gateway.catalog(), "model", asked.model.as_deref());
    let set = admin::SetLimit {
        whose: Whose { team: asked.team, key: asked.key },
        model: asked.model,
        requests_per_minute: asked.requests_per_minute,
        tokens_per_minute: asked.tokens_per_minute,
        concurrent_requests: asked.concurrent_requests,
    };
    let limit = admin::set_limit(gateway.tenancy().store(), gateway.clock(), actor, &believed, set).await?;
    gateway.tenancy().refresh().await;
    tell(StatusCode::OK, limit.version, limit, warnings)
}

/// List limits
///
/// All limits that count, the oldest first. Needs the scope `admin`.
#[utoipa::path(
    get,
    path = "/admin/v1/limits",
    operation_id = "list_limits",
    tag = "Administration",
    params(
        ("team" = Option<String>, Query, description = "Those of the team with this id or name; not those of its keys."),
        ("key" = Option<String>, Query, description = "Those of the key with this id."),
        ("model" = Option<String>, Query, description = "Those that are set on exactly this model, or beginning of names and `*`."),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses(
        (status = 200, description = "The limits.", body = Page<LimitView>),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    _: Administrator,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<LimitView>>> {
    let query = Query::read(query.as_deref(), &["team", "key", "model"])?;
    let which = Limits { whose: query.whose(), model: query.text("model") };
    let listed = admin::list_limits(gateway.tenancy().store(), &which, query.page()).await?;
    Ok(Page::of(listed, |limit| limit))
}

/// Remove a limit
///
/// It counts no more, on this process with the answer, on others within seconds. Needs the scope `admin`.
#[utoipa::path(
    delete,
    path = "/admin/v1/limits/{limit}",
    operation_id = "remove_limit",
    tag = "Administration",
    params(
        ("limit" = String, Path, description = "Its id."),
        ("If-Match" = Option<String>, Header, description = "The version that is to be removed, as the ETag told it."),
    ),
    responses(
        (status = 200, description = "The limit, as it was.", body = LimitView),
        (status = 412, description = "It has another version.", body = ErrorBody),
        (status = "4XX", description = "Refused, or not there.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn remove(
    State(gateway): State<Gateway>,
    Administrator(actor): Administrator,
    IfMatch(believed): IfMatch,
    Segment(id): Segment,
) -> Result<Response> {
    let store = gateway.tenancy().store();
    let limit = admin::remove_limit(store, gateway.clock(), actor, (&LimitId::from(id), &believed)).await?;
    gateway.tenancy().refresh().await;
    tell(StatusCode::OK, limit.version, limit, Vec::new())
}
