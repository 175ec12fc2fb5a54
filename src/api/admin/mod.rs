//! The administration API: `/admin/v1/...`, for keys with the scope `admin`, whichever team they are of: such a key
//! administers everything. Errors have OpenAI's shape.
//!
//! A handler reads what was asked, has `tenancy::admin` do it, and tells it; what was changed counts on this process
//! before the answer leaves. Changes may be tied to a version by `If-Match`.

mod audit;
mod batches;
mod budgets;
mod keys;
mod limits;
mod query;
mod rotate;
mod teams;
mod upstreams;
mod usage;
mod webhook;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, ETAG, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{Error, Result};
use crate::gateway::Gateway;
use crate::tenancy::admin::{Actor, Listed, Precondition};
use crate::tenancy::{Caller, Scope};

/// The routes of this API.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(teams::create, teams::list))
        .routes(routes!(teams::retrieve, teams::update, teams::revoke))
        .routes(routes!(webhook::rotate))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::retrieve, keys::update, keys::revoke))
        .routes(routes!(rotate::rotate))
        .routes(routes!(limits::set, limits::list))
        .routes(routes!(limits::remove))
        .routes(routes!(budgets::set, budgets::list))
        .routes(routes!(budgets::remove))
        .routes(routes!(batches::list))
        .routes(routes!(audit::list))
        .routes(routes!(upstreams::list))
        .routes(routes!(usage::tell))
}

/// An administrator: a caller whose key has the scope `admin`.
struct Administrator(Actor);

impl FromRequestParts<Gateway> for Administrator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self> {
        let caller = Caller::from_request_parts(parts, gateway).await?;
        caller.require(Scope::Admin)?;
        Ok(Self(Actor::of(&caller)))
    }
}

/// The versions that a change is tied to: `If-Match`.
struct IfMatch(Precondition);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        if_match(&parts.headers).map(Self)
    }
}

/// What `If-Match` says: <https://www.rfc-editor.org/rfc/rfc9110#name-if-match>. A tag that is none of ours names no
/// version.
fn if_match(headers: &HeaderMap) -> Result<Precondition> {
    let mut versions = Vec::new();
    let mut is_there = false;
    for value in headers.get_all(IF_MATCH) {
        let wrong = || Error::invalid("If-Match", "The header If-Match takes `*`, or ETags such as `\"7\"`.");
        let value = value.to_str().map_err(|_| wrong())?;
        for tag in value.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            is_there = true;
            if tag == "*" {
                return Ok(Precondition::Exists);
            }
            // A weak tag never matches here; one without quotes is what a version looks like in the answer.
            let quoted = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            versions.extend(quoted.unwrap_or(tag).parse::<i64>().ok());
        }
    }
    Ok(if is_there { Precondition::Among(versions) } else { Precondition::Any })
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
struct Page<T> {
    /// The entries.
    data: Vec<T>,
    /// What `cursor` takes for the page after this one; null on the last.
    next: Option<String>,
}

impl<T> Page<T> {
    fn of<U>(listed: Listed<U>, view: impl FnMut(U) -> T) -> Json<Self> {
        Json(Self { data: listed.data.into_iter().map(view).collect(), next: listed.next })
    }
}

/// An answer about one thing, and what to say of it besides.
#[derive(Debug, Serialize, ToSchema)]
struct Told<T> {
    #[serde(flatten)]
    thing: T,
    /// What is probably not meant, such as models that are not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// The answer about a thing in this version, which no cache keeps.
fn tell(status: StatusCode, version: i64, thing: impl Serialize, warnings: Vec<String>) -> Result<Response> {
    let mut response = (status, Json(Told { thing, warnings })).into_response();
    let tag = HeaderValue::from_str(&format!("\"{version}\"")).map_err(Error::internal)?;
    response.headers_mut().insert(ETAG, tag);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_names_versions_or_anything_that_is_there() {
        let read = |values: &[&str]| {
            if_match(&values.iter().map(|value| (IF_MATCH, HeaderValue::from_str(value).unwrap())).collect())
        };
        let among = |versions: &[i64]| Precondition::Among(versions.to_vec());
        assert_eq!(read(&[]).unwrap(), Precondition::Any);
        assert_eq!(read(&["*"]).unwrap(), Precondition::Exists);
        assert_eq!(read(&["\"7\""]).unwrap(), among(&[7]));
        assert_eq!(read(&["\"7\", \"8\"", "9"]).unwrap(), among(&[7, 8, 9]));
        assert_eq!(read(&["W/\"7\""]).unwrap(), among(&[]), "a weak tag matches nothing");
        assert_eq!(read(&["\"of-somebody-else\""]).unwrap(), among(&[]));
        let latin = HeaderMap::from_iter([(IF_MATCH, HeaderValue::from_bytes(b"\xff").unwrap())]);
        assert_eq!(if_match(&latin).unwrap_err().blamed(), Some("If-Match"));
    }
}
