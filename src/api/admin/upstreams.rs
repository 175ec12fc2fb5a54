//! `GET /admin/v1/upstreams`: what the gateway knows of each model it called, Region by Region and identity by identity.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::openai::error::ErrorBody;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gateway::Gateway;
use crate::tenancy::{Caller, Scope};
use crate::upstream::health::Row;
use crate::upstream::quota::InUse;
use crate::upstream::{Reason, mask};

/// A list of upstreams.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UpstreamList {
    /// In the order of `aws.regions`, then by id; first as the gateway itself calls them, then as teams with a role do.
    pub(super) data: Vec<Upstream>,
    /// Where the next page begins; null, because there is one.
    pub(super) next: Option<String>,
}

/// One id as it is called in one Region with one identity.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Upstream {
    /// The Region that is called.
    pub(super) region: String,
    /// The id that is called; of an ARN the last part.
    pub(super) id: String,
    /// The model; of an ARN that hides it the type of resource.
    pub(super) model: Option<String>,
    /// The id of the team whose role is used; null: the gateway's own identity.
    pub(super) team: Option<String>,
    /// `ready`, `nearly_full` (nine tenths of a quota are used), `resting` or `probing`.
    pub(super) state: &'static str,
    /// Why it rests, or did until a moment ago.
    pub(super) reason: Option<&'static str>,
    /// Since when attempts fail.
    pub(super) since: Option<String>,
    /// When the next call may try.
    pub(super) next_probe: Option<String>,
    /// Attempts that have not ended.
    pub(super) in_flight: u32,
    /// The quota of the account; null where none is known.
    pub(super) quota: Option<Quota>,
    /// When an attempt was last answered.
    pub(super) last_success: Option<String>,
    /// The last failed attempt.
    pub(super) last_failure: Option<LastFailure>,
}

/// A quota of the account, and what is used of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Quota {
    /// `config` or `catalog`.
    pub(super) source: &'static str,
    /// Null where it is not known.
    pub(super) tokens_per_minute: Option<u64>,
    /// Tokens that calls have reserved or used and a minute has not brought back yet.
    pub(super) tokens_used: u64,
    /// Null where it is not known.
    pub(super) requests_per_minute: Option<u64>,
    /// Requests that a minute has not brought back yet.
    pub(super) requests_used: u64,
}

/// A failed attempt.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LastFailure {
    /// When.
    pub(super) at: String,
    /// Why.
    pub(super) reason: &'static str,
}

/// List upstreams
///
/// Every model that was called, in each Region and with each identity: whether it rests, why and until when, what is in
/// flight, and how much of a known quota is used. Times are in RFC 3339. Needs the scope `admin`.
#[utoipa::path(
    get,
    path = "/admin/v1/upstreams",
    tag = "Administration",
    responses(
        (status = 200, description = "The upstreams.", body = UpstreamList),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn list(State(gateway): State<Gateway>, caller: Caller) -> Result<Json<UpstreamList>> {
    caller.require(Scope::Admin)?;
    let now = gateway.clock().now();
    let mut data = Vec::new();
    for (team, regions) in gateway.upstream().identities() {
        for region in regions.iter() {
            for row in region.health().rows(now) {
                let model = gateway.catalog().resolve(&row.id).ok().map(|resolved| resolved.name.to_string());
                data.push(upstream((region.name(), team.as_deref(), model), &row));
            }
        }
    }
    Ok(Json(UpstreamList { data, next: None }))
}

fn upstream((region, team, model): (&str, Option<&str>, Option<String>), row: &Row) -> Upstream {
    Upstream {
        region: region.to_owned(),
        id: mask(&row.id).into_owned(),
        model,
        team: team.map(str::to_owned),
        state: row.state.into(),
        reason: row.trouble.map(|trouble| trouble.reason.into()),
        since: row.trouble.map(|trouble| rfc3339(trouble.since)),
        next_probe: row.trouble.map(|trouble| rfc3339(trouble.next_probe)),
        in_flight: row.in_flight,
        quota: row.quota.map(quota),
        last_success: row.last_success.map(rfc3339),
        last_failure: row.last_failure.map(last_failure),
    }
}

fn quota(in_use: InUse) -> Quota {
    Quota {
        source: in_use.source.into(),
        tokens_per_minute: in_use.tokens_per_minute,
        tokens_used: in_use.tokens,
        requests_per_minute: in_use.requests_per_minute,
        requests_used: in_use.requests,
    }
}

fn last_failure((at, reason): (Timestamp, Reason)) -> LastFailure {
    LastFailure { at: rfc3339(at), reason: reason.into() }
}

/// A moment that cannot be written, beyond the year 9999, is the end of time.
fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(jiff::Timestamp::MAX).to_string()
}
