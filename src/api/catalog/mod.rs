//! `GET /catalog/...`: which model may be called where, by which profile, in batch or not, and at what price; from this
//! gateway, by the key that asks. Answered from the catalog as it is now: AWS is not asked.

mod models;
mod price;
mod profiles;
mod query;
mod quotas;
mod regions;

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::catalog::{Catalog, Destinations, Model, Place, Scope as Way};
use crate::error::{Error, Result};
use crate::gateway::Gateway;
use crate::tenancy::{Caller, Scope};

/// The routes.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(models::list))
        .routes(routes!(regions::list))
        .routes(routes!(profiles::list))
        .routes(routes!(quotas::list))
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
struct Page<T> {
    /// The entries, by id.
    data: Vec<T>,
    /// What `cursor` takes for the page after this one; null on the last.
    next: Option<String>,
}

/// Any key may look at the catalog that may use models in any way.
fn check_scope(caller: &Caller) -> Result<()> {
    if [Scope::Batch, Scope::Admin].into_iter().any(|scope| caller.key.may(scope)) {
        return Ok(());
    }
    caller.require(Scope::Inference)
}

/// The answer, or that it is the one that the client has already. The tag is made from the answer itself: two that differ
/// in a byte have different tags.
fn answer<T: Serialize>(headers: &HeaderMap, body: &T) -> Result<Response> {
    let body = serde_json::to_vec(body).map_err(Error::internal)?;
    let tag = format!("\"{}\"", digest(&body));
    answer_as(headers, &tag, body)
}

/// What tells a text from all others.
fn digest(body: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(body)[..16])
}

/// The answer, or that the client has one with this tag.
fn answer_as(headers: &HeaderMap, tag: &str, body: Vec<u8>) -> Result<Response> {
    let mut response = if is_named(headers, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, "application/json")], body).into_response()
    };
    let told = response.headers_mut();
    told.insert(ETAG, HeaderValue::from_str(tag).map_err(Error::internal)?);
    told.insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=60"));
    // What a key may use is in the answer.
    told.insert(VARY, HeaderValue::from_static("authorization, x-api-key"));
    Ok(response)
}

/// Whether `If-None-Match` names the tag. A weak comparison is what RFC 9110 (13.1.2) asks for.
fn is_named(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    let opaque = |tag: &'_ str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    tags.any(|told| told == "*" || opaque(told) == opaque(tag))
}

/// Where a call may be answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Reached {
    /// In one of these Regions.
    Among(Vec<String>),
    /// `any`: in any Region of the partition.
    Any(&'static str),
}

/// `None` when it is not known.
fn reached(destinations: &Destinations) -> Option<Reached> {
    match destinations {
        Destinations::Among(regions) => Some(Reached::Among(regions.iter().map(ToString::to_string).collect())),
        Destinations::Anywhere => Some(Reached::Any("any")),
        Destinations::Unknown => None,
    }
}

/// `in-region`, or the geography of the inference profile.
fn scope_name(scope: &Way) -> &str {
    match scope {
        Way::InRegion => "in-region",
        Way::Profile(geo) => geo,
    }
}

/// What a key may use: its allow-list, applied to models under all their names.
struct Rights<'a> {
    catalog: &'a Catalog,
    caller: &'a Caller,
}

impl Rights<'_> {
    /// The aliases of the model that the key may use, in the order of the configuration.
    fn aliases(&self, model: &Model) -> Vec<String> {
        let stands_for = self.catalog.aliases().filter(|(_, resolved)| resolved.name == model.id);
        let allowed = stands_for.filter(|(alias, resolved)| self.caller.allows_model(resolved.names(alias)));
        allowed.map(|(alias, _)| alias.to_owned()).collect()
    }

    /// Whether the key may name the model by an alias or so that it is called in one of these ways. One that it may not
    /// name looks like one that does not exist.
    fn may_name(&self, model: &Model, places: &[Arc<Place>]) -> bool {
        let is_allowed = |place: &Arc<Place>| self.allows_id(model, &place.id);
        places.iter().any(is_allowed) || (!places.is_empty() && !self.aliases(model).is_empty())
    }

    /// Whether the key may name the model so that it is called by this id.
    fn allows_id(&self, model: &Model, id: &str) -> bool {
        self.caller.allows_model([id, &*model.id, &*model.short])
    }

    /// Whether an alias that the key may use leads there. It may be limited to Regions, and stand for a profile alone.
    fn leads_to(&self, model: &Model, place: &Place) -> bool {
        self.aliases(model).iter().filter_map(|alias| self.catalog.known(alias)).any(|resolved| {
            let is_way = resolved.offers(&place.region).iter().any(|way| way.id == place.id);
            is_way && resolved.fence.permits(place)
        })
    }

    /// Why this caller's calls do not go there, if they do not.
    fn objection(&self, gateway: &Gateway, model: &Model, place: &Place) -> Option<String> {
        if !gateway.regions().contains(&place.region) {
            return Some(format!("This gateway does not call {}.", place.region));
        }
        if !self.allows_id(model, &place.id) && !self.leads_to(model, place) {
            return Some("The models that this key may use do not include it under this id.".to_owned());
        }
        self.caller.fence().objection(place)
    }
}
