//! What calls used and cost: `GET /v1/usage` for a team's own keys, and what it shares with `GET /admin/v1/usage` and the
//! command line: the query, the rows as JSON, the rows as CSV.

mod csv;
mod query;
mod wire;

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::openai::error::ErrorBody;
use crate::error::{Error, Kind, Result};
use crate::gateway::Gateway;
use crate::ids::TeamId;
use crate::tenancy::Caller;
use crate::tenancy::usage::{Page, Question};

pub use self::csv::{header, line};
pub(crate) use self::query::model;
pub use self::wire::{UsageList, UsageRow, columns};
use query::{Format, Query};

/// How long a report waits for calls of this process that are settled and not yet in the store.
const CATCH_UP: Duration = Duration::from_secs(1);
/// Where the next page of a CSV begins, which has no place for it: what `cursor` takes.
const NEXT: HeaderName = HeaderName::from_static("x-gateway-next");

/// The routes.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(own))
}

/// Tell the usage of one's own team
///
/// As `GET /admin/v1/usage`, for any key, but of the calls of the key's own team alone.
#[utoipa::path(
    get,
    path = "/v1/usage",
    tag = "Usage",
    operation_id = "own_usage",
    params(
        ("group_by" = Option<String>, Query, description = "With commas: team, key, model, region, day, tier, surface, operation, outcome, end_user. Nothing: one row."),
        ("from" = Option<String>, Query, description = "Of calls settled then or later: a date (midnight in UTC) or a time as in RFC 3339."),
        ("to" = Option<String>, Query, description = "Of calls settled before."),
        ("team" = Option<String>, Query, description = "The key's own team, if any."),
        ("key" = Option<String>, Query, description = "Of the key with this id."),
        ("model" = Option<String>, Query, description = "On this model, by any of its names."),
        ("region" = Option<String>, Query, description = "Answered by this Region."),
        ("format" = Option<String>, Query, description = "json or csv."),
        ("limit" = Option<u32>, Query, description = "Rows of a page, 1 to 1000. If nothing is said, 100, and all for csv."),
        ("cursor" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses(
        (status = 200, description = "The usage; text/csv with `format=csv`.", body = UsageList),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["inference"]), ("key" = ["batch"]), ("key" = ["admin"]), ("key" = ["metrics"]))
)]
async fn own(State(gateway): State<Gateway>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response> {
    let query = Query::read(query.as_deref())?;
    if query.team.as_deref().is_some_and(|team| team != caller.team.id.as_str() && team != caller.team.name) {
        // The same for teams that there are and for those that there are not.
        let message = "GET /v1/usage tells of the key's own team only; a key with the scope `admin` sees others by \
                       GET /admin/v1/usage.";
        return Err(Error::new(Kind::Forbidden, message).param("team"));
    }
    answer(&gateway, query, Some(caller.team.id.clone())).await
}

/// The answer to `query`, read of everybody's calls or of one team's.
pub(super) async fn told(gateway: &Gateway, query: Option<&str>) -> Result<Response> {
    let query = Query::read(query)?;
    let team = match &query.team {
        Some(team) => Some(gateway.usage().team(team).await?),
        None => None,
    };
    answer(gateway, query, team).await
}

async fn answer(gateway: &Gateway, query: Query, team: Option<TeamId>) -> Result<Response> {
    let (question, format) = query.question(team, &gateway.catalog())?;
    // Who asks after a call finds it. While the store is away, the report itself says so.
    let _ = tokio::time::timeout(CATCH_UP, gateway.tenancy().flush()).await;
    let page = gateway.usage().report(&question).await?;
    let mut response = match format {
        Format::Json => {
            let data = page.rows.iter().map(|row| UsageRow::of(row, &question.by)).collect();
            let next = page.next.map(|last| last.cursor(&question.by));
            Json(UsageList { data, next }).into_response()
        }
        Format::CsvPage => {
            let next = page.next.as_ref().map(|last| last.cursor(&question.by));
            let mut response = csv_response(Body::from(text(&page, &question, header(&question.by))));
            if let Some(next) = next.and_then(|next| HeaderValue::try_from(next).ok()) {
                response.headers_mut().insert(NEXT, next);
            }
            response
        }
        Format::CsvWhole => csv_response(whole(gateway.clone(), question, page)),
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn csv_response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"usage.csv\""));
    response
}

fn text(page: &Page, question: &Question, mut before: String) -> String {
    for row in &page.rows {
        before += &line(row, &question.by);
    }
    before
}

/// Every page after `page`, one at a time. What fails on the way cuts the answer: half a table is not taken for a whole.
fn whole(gateway: Gateway, question: Question, page: Page) -> Body {
    let first = text(&page, &question, header(&question.by));
    let state = page.next.map(|after| (gateway, Question { after: Some(after), ..question }));
    let rest = stream::try_unfold(state, |state| async {
        let Some((gateway, question)) = state else { return Ok(None) };
        let page = gateway.usage().report(&question).await.inspect_err(|error| {
            tracing::warn!(%error, causes = error.causes(), "a report was cut");
        })?;
        let text = text(&page, &question, String::new());
        let state = page.next.map(|after| (gateway, Question { after: Some(after), ..question }));
        Ok::<_, Error>(Some((Bytes::from(text), state)))
    });
    Body::from_stream(stream::iter([Ok(Bytes::from(first))]).chain(rest))
}
