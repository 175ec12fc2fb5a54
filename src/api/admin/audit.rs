//! `GET /admin/v1/audit`: who administered what, and when.

use axum::Json;
use axum::extract::{RawQuery, State};

use super::query::Query;
use super::{Administrator, Page};
use crate::api::openai::error::ErrorBody;
use crate::error::Result;
use crate::gateway::Gateway;
use crate::tenancy::admin::view::ActView;
use crate::tenancy::admin::{self, Acts};

/// List administrative acts
///
/// The newest first; an act that changed nothing is none. Lines are kept for good. No secret is in them. Needs the scope
/// `admin`.
#[utoipa::path(
    get,
    path = "/admin/v1/audit",
    operation_id = "list_acts",
    tag = "Administration",
    params(
        ("actor" = Option<String>, Query, description = "By `command_line`, `gateway`, or `key:` or `bootstrap:` and a key's id."),
        ("action" = Option<String>, Query, description = "Of this kind: `team.create`, `team.update`, `team.revoke`, `webhook.rotate`, `key.create`, `key.update`, `key.rotate`, `key.revoke`, `limit.set`, `limit.remove`, `budget.set`, `budget.remove`."),
        ("subject" = Option<String>, Query, description = "On the team, key, limit or budget with this id."),
        ("from" = Option<String>, Query, description = "At this moment or later, as in RFC 3339."),
        ("to" = Option<String>, Query, description = "Before this moment, as in RFC 3339."),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses(
        (status = 200, description = "The acts.", body = Page<ActView>),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    _: Administrator,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<ActView>>> {
    let query = Query::read(query.as_deref(), &["actor", "action", "subject", "from", "to"])?;
    let which = Acts {
        actor: query.text("actor"),
        action: query.text("action"),
        subject: query.text("subject"),
        from: query.moment("from")?,
        to: query.moment("to")?,
    };
    let listed = admin::list_acts(gateway.tenancy().store(), &which, query.page()).await?;
    Ok(Page::of(listed, |act| act))
}
