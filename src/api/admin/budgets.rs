//! `/admin/v1/budgets`: setting, listing and removing budgets.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::query::Query;
use super::{Administrator, IfMatch, Page, tell};
use crate::api::body;
use crate::api::caller::{Body, Segment};
use crate::api::openai::error::ErrorBody;
use crate::error::{Error, Result};
use crate::gateway::Gateway;
use crate::ids::BudgetId;
use crate::tenancy::admin::view::BudgetView;
use crate::tenancy::admin::{self, Budgets, Whose};

/// How long a list waits for calls of this process that are settled and not yet in the store.
const CATCH_UP: Duration = Duration::from_secs(1);

/// What a budget is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct SetBudget {
    /// Id or name of the team whose calls it pays for, all keys taken together.
    #[serde(default)]
    #[schema(example = "search")]
    team: Option<String>,
    /// Id of the key whose calls it pays for.
    #[serde(default)]
    key: Option<String>,
    /// How long it lasts before it begins anew: `day`, `week` (from Monday), `month` or `total`, in UTC.
    #[schema(example = "month")]
    period: String,
    /// What may be spent in that time, in US dollars: a decimal number, or text that is one, with at most six decimals.
    #[schema(value_type = String, example = "12.50")]
    limit_usd: Box<RawValue>,
}

/// The text of an amount that is a number or a string. The number's own digits count: it is never a float.
fn amount(raw: &RawValue) -> Result<String> {
    let text = raw.get();
    if text.starts_with('"') {
        return serde_json::from_str(text).map_err(Error::internal);
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return Ok(text.to_owned());
    }
    Err(Error::invalid("limit_usd", "`limit_usd` has to be a number, or text that is one, such as \"12.50\"."))
}

/// Set a budget
///
/// There is one budget for a team or key and a period: setting it again replaces its amount, under the same id; what was spent
/// stays spent. A call has to fit every budget that pays for it. It counts on this process with the answer, on others within
/// seconds. With `If-Match: "<version>"`, a change that somebody else made in between is a 412. Needs the scope `admin`.
#[utoipa::path(
    put,
    path = "/admin/v1/budgets",
    operation_id = "set_budget",
    tag = "Administration",
    params(
        ("If-Match" = Option<String>, Header, description = "The version that is to be replaced, as the ETag told it."),
    ),
    request_body = SetBudget,
    responses(
        (status = 200, description = "The budget.", body = BudgetView, headers(("ETag", description = "Its version."))),
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
    let asked: SetBudget = body::read(&bytes)?;
    let limit_usd = amount(&asked.limit_usd)?;
    let whose = Whose { team: asked.team, key: asked.key };
    let set = admin::SetBudget { whose, period: asked.period, limit_usd };
    let budget = admin::set_budget(gateway.tenancy().store(), gateway.clock(), actor, &believed, set).await?;
    gateway.tenancy().refresh().await;
    tell(StatusCode::OK, budget.version, budget, Vec::new())
}

/// List budgets
///
/// All budgets that count, the oldest first, each with its present period, what was spent in it and what is held now. Needs the scope `admin`.
#[utoipa::path(
    get,
    path = "/admin/v1/budgets",
    operation_id = "list_budgets",
    tag = "Administration",
    params(
        ("team" = Option<String>, Query, description = "Those of the team with this id or name; not those of its keys."),
        ("key" = Option<String>, Query, description = "Those of the key with this id."),
        ("period" = Option<String>, Query, description = "Those of this period: `day`, `week`, `month` or `total`."),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses(
        (status = 200, description = "The budgets.", body = Page<BudgetView>),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    _: Administrator,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<BudgetView>>> {
    let query = Query::read(query.as_deref(), &["team", "key", "period"])?;
    let which = Budgets { whose: query.whose(), period: query.text("period") };
    let now = gateway.clock().now();
    // Who asks after a call finds it. While the store is away, the list itself says so.
    let _ = tokio::time::timeout(CATCH_UP, gateway.tenancy().flush()).await;
    let listed = admin::list_budgets(gateway.tenancy().store(), now, &which, query.page()).await?;
    let accounts = gateway.tenancy().accounts();
    Ok(Page::of(listed, |budget| budget.with_held(&accounts)))
}

/// Remove a budget
///
/// It counts no more, on this process with the answer, on others within seconds. What was spent stays in the ledger. Needs
/// the scope `admin`.
#[utoipa::path(
    delete,
    path = "/admin/v1/budgets/{budget}",
    operation_id = "remove_budget",
    tag = "Administration",
    params(
        ("budget" = String, Path, description = "Its id."),
        ("If-Match" = Option<String>, Header, description = "The version that is to be removed, as the ETag told it."),
    ),
    responses(
        (status = 200, description = "The budget, as it was.", body = BudgetView),
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
    let budget = admin::remove_budget(store, gateway.clock(), actor, (&BudgetId::from(id), &believed)).await?;
    gateway.tenancy().refresh().await;
    tell(StatusCode::OK, budget.version, budget, Vec::new())
}
