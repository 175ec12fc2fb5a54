//! `GET /catalog/profiles`: the inference profiles of AWS's own, from where they can be called and where they lead.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::query::{Query, Reach};
use super::{Page, Reached, Rights, answer, check_scope, reached};
use crate::api::openai::error::ErrorBody;
use crate::catalog::{Batch, Destinations, InferenceProfile};
use crate::error::Result;
use crate::gateway::Gateway;
use crate::tenancy::Caller;

/// List inference profiles with where they lead
///
/// The profiles that this key may name, as far as it is known where they lead, with each Region of the gateway from which
/// they can be called. Naming a `region`, or `all_regions=true`, also shows Regions that this gateway does not call.
#[utoipa::path(
    get,
    path = "/catalog/profiles",
    operation_id = "list_catalog_profiles",
    tag = "Catalog",
    params(
        ("region" = Option<String>, Query, description = "Can be called from this Region."),
        ("provider" = Option<String>, Query, description = "Of a model by this provider."),
        ("batch" = Option<bool>, Query, description = "Whether it takes batch jobs from one of the Regions that are listed."),
        ("modality" = Option<String>, Query, description = "Of a model with this modality."),
        ("q" = Option<String>, Query, description = "Words that are all in its id, or its model's short id, name or provider."),
        ("all_regions" = Option<bool>, Query, description = "Also from Regions that this gateway does not call."),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses(
        (status = 200, description = "The profiles, by id.", body = Page<CatalogProfile>),
        (status = 304, description = "They are those that `If-None-Match` names."),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["inference"]), ("key" = ["batch"]), ("key" = ["admin"]))
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    caller: Caller,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    check_scope(&caller)?;
    let catalog = gateway.catalog();
    let query = Query::read(query.as_deref(), Reach::Gateway, &catalog)?;
    let rights = Rights { catalog: &catalog, caller: &caller };
    let is_listed = |region: &Arc<str>| match &query.region {
        Some(only) => region == only,
        None => query.all_regions || gateway.regions().contains(region),
    };
    let told = catalog.profiles().iter().filter_map(|profile| {
        let model = &profile.model;
        let texts = [&*profile.id, &*model.short, &*model.name, &*model.provider];
        if !query.wants(model) || !query.finds(texts) || !rights.allows_id(model, &profile.id) {
            return None;
        }
        let routes: Vec<_> = profile.routes().filter(|(region, _)| is_listed(region)).collect();
        let has_batch = |batch: &Batch| routes.iter().any(|(region, _)| batch.via_profile.contains(region));
        let takes_batch = catalog.batch(&model.id).is_some_and(has_batch);
        let is_wanted = !routes.is_empty() && query.batch.is_none_or(|wanted| wanted == takes_batch);
        is_wanted.then_some((profile, routes))
    });
    let (profiles, next) = query.page(told, |(profile, _)| profile.id.to_string());
    let data = profiles.into_iter().map(|(profile, routes)| CatalogProfile::of(profile, routes, &gateway, &caller));
    answer(&headers, &Page { data: data.collect(), next })
}

/// An inference profile.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CatalogProfile {
    /// Its id, such as `us.amazon.nova-lite-v1:0`.
    id: String,
    /// Its geography: `us`, `eu`, `global`, ...
    geography: String,
    /// The id of its model.
    model: String,
    /// By which prices calls are charged: those of this geography's profiles in the Region that is called.
    price_scope: String,
    /// Whether this key may call it from one of the Regions of this gateway that are listed.
    callable: bool,
    /// From where it can be called, by Region.
    sources: Vec<Source>,
}

/// A Region from which a profile can be called.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogProfileSource)]
struct Source {
    region: String,
    /// The Regions that may answer, `any`, or null: not known.
    destinations: Option<Reached>,
    /// Whether this gateway calls the Region.
    configured: bool,
    /// Whether a call from here stays where this key's calls have to stay.
    allowed: bool,
}

impl CatalogProfile {
    fn of(
        profile: &InferenceProfile,
        routes: Vec<(&Arc<str>, &Destinations)>,
        gateway: &Gateway,
        caller: &Caller,
    ) -> Self {
        let source = |(region, destinations): (&Arc<str>, &Destinations)| Source {
            region: region.to_string(),
            destinations: reached(destinations),
            configured: gateway.regions().contains(region),
            allowed: caller.fence().permits_route(region, destinations),
        };
        let sources: Vec<Source> = routes.into_iter().map(source).collect();
        Self {
            id: profile.id.to_string(),
            geography: profile.geo.to_string(),
            model: profile.model.id.to_string(),
            price_scope: profile.geo.to_string(),
            callable: sources.iter().any(|source| source.configured && source.allowed),
            sources,
        }
    }
}
