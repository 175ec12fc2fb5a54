//! `GET /admin/v1/usage`: what calls used and cost, of all teams.

use axum::extract::{RawQuery, State};
use axum::response::Response;

use crate::api::openai::error::ErrorBody;
use crate::api::usage::{self, UsageList};
use crate::error::Result;
use crate::gateway::Gateway;
use crate::tenancy::{Caller, Scope};

/// Tell the usage
///
/// What calls used and cost, added up by `group_by`, from the ledger. Days are UTC days; a call counts on the day in which it
/// was settled. Days older than `ledger.retention_days` are known as a whole and without end users. Needs the scope `admin`.
#[utoipa::path(
    get,
    path = "/admin/v1/usage",
    tag = "Administration",
    operation_id = "usage",
    params(
        ("group_by" = Option<String>, Query, description = "With commas: team, key, model, region, day, tier, surface, operation, outcome, end_user. Nothing: one row."),
        ("from" = Option<String>, Query, description = "Of calls settled then or later: a date (midnight in UTC) or a time as in RFC 3339."),
        ("to" = Option<String>, Query, description = "Of calls settled before."),
        ("team" = Option<String>, Query, description = "Of the team with this id or name."),
        ("key" = Option<String>, Query, description = "Of the key with this id."),
        ("model" = Option<String>, Query, description = "On this model, by any of its names."),
        ("region" = Option<String>, Query, description = "Answered by this Region."),
        ("format" = Option<String>, Query, description = "json or csv."),
        ("limit" = Option<u32>, Query, description = "Rows of a page, 1 to 1000. If nothing is said, 100, and all for csv."),
        ("cursor" = Option<String>, Query, description = "`next` of the page before; of a page of csv its header `x-gateway-next`."),
    ),
    responses(
        (status = 200, description = "The usage; text/csv with `format=csv`.", body = UsageList),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn tell(
    State(gateway): State<Gateway>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    caller.require(Scope::Admin)?;
    usage::told(&gateway, query.as_deref()).await
}
