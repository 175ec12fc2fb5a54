//! `GET /catalog/regions`: every Region there is, and what works there.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::query::{Query, Reach};
use super::{Page, Rights, answer_as, check_scope, digest};
use crate::api::openai::error::ErrorBody;
use crate::catalog::{Freshness, Geography, Offered, Place, Region, Scope};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gateway::Gateway;
use crate::tenancy::Caller;

/// List Regions with what works there
///
/// All Regions that the catalog knows, whether or not this gateway calls them: how many of the models that this key may
/// name can be called there in the Region, by an inference profile, in batch. `provider`, `modality` and `batch` say
/// which models are counted; Regions without one are then left out.
#[utoipa::path(
    get,
    path = "/catalog/regions",
    operation_id = "list_catalog_regions",
    tag = "Catalog",
    params(
        ("region" = Option<String>, Query, description = "This Region."),
        ("provider" = Option<String>, Query, description = "Counts models by this provider."),
        ("batch" = Option<bool>, Query, description = "Counts models that take batch jobs there, or do not."),
        ("modality" = Option<String>, Query, description = "Counts models with this modality."),
        ("q" = Option<String>, Query, description = "Words that are all in the Region's code, name or geographies."),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; all if nothing is said."),
        ("cursor" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses(
        (status = 200, description = "The Regions, by code.", body = Page<CatalogRegion>),
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
    let query = Query::read(query.as_deref(), Reach::World, &catalog)?;
    let rights = Rights { catalog: &catalog, caller: &caller };
    let callable = catalog.offered().filter(|offered| offered.model.is_callable() && query.wants(offered.model));
    let models: Vec<Offered<'_>> = callable.collect();
    let mut regions: Vec<&Region> = catalog.regions().iter().collect();
    regions.sort_by_key(|region| &region.code);
    let wanted = regions.into_iter().filter(|region| query.region.as_ref().is_none_or(|only| region.code == *only));
    let (state, now) = (gateway.catalog_state(), gateway.clock().now());
    let told = wanted.filter_map(|region| {
        let geographies = geographies(&region.code);
        let texts = [&*region.code, &*region.name].into_iter().chain(geographies.iter().copied());
        let models = query.finds(texts).then(|| Models::count(region, &models, &gateway, &rights, query.batch))?;
        (!query.is_about_models() || !models.is_empty()).then(|| CatalogRegion {
            code: region.code.to_string(),
            name: region.name.clone(),
            partition: region.partition.clone(),
            opt_in: region.opt_in,
            geographies,
            configured: gateway.regions().contains(&region.code),
            allowed: caller.allows_region(&region.code),
            endpoints: Endpoints::of(region),
            refresh: state.iter().find(|known| known.region == region.code).map(Refresh::of),
            models,
        })
    });
    let (data, next) = query.page(told, |region| region.code.clone());
    let mut page = Page { data, next };
    // Weak, and made without the ages: they grow by the second, and nobody would ever have the answer already.
    let tag = format!("W/\"{}\"", digest(&serde_json::to_vec(&page).map_err(Error::internal)?));
    for region in &mut page.data {
        if let Some(refresh) = &mut region.refresh {
            let known = state.iter().find(|known| *known.region == *region.code);
            refresh.age_seconds = known.and_then(|known| known.age(now)).map(|age| age.as_secs());
        }
    }
    answer_as(&headers, &tag, serde_json::to_vec(&page).map_err(Error::internal)?)
}

/// An AWS Region.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CatalogRegion {
    /// Its code, such as `eu-central-1`.
    code: String,
    /// Its name for people.
    name: String,
    /// `aws`, `aws-us-gov`, ...
    partition: String,
    /// Whether an account has to switch it on first.
    opt_in: bool,
    /// The geographies that it belongs to, as a limit may name them.
    geographies: Vec<&'static str>,
    /// Whether this gateway calls it.
    configured: bool,
    /// Whether this key may call it.
    allowed: bool,
    endpoints: Endpoints,
    models: Models,
    /// How old what is known of it is; null where this gateway does not call it, and so never asks.
    refresh: Option<Refresh>,
}

/// When AWS was last asked what a Region has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogRefresh)]
struct Refresh {
    /// RFC 3339; null: not yet, or it is switched off.
    last_attempt: Option<String>,
    /// When AWS last answered; null: what is shown is compiled in.
    last_success: Option<String>,
    /// The seconds since.
    age_seconds: Option<u64>,
    /// Whether the last attempt failed, so that what was known before is shown.
    stale: bool,
    /// Why it failed, in one word, such as `denied` or `throttled`.
    problem: Option<&'static str>,
}

impl Refresh {
    /// Without its age.
    fn of(known: &Freshness) -> Self {
        let text = |at: Option<Timestamp>| {
            at.and_then(|at| jiff::Timestamp::from_millisecond(at.millis()).ok()).map(|at| at.to_string())
        };
        Self {
            last_attempt: text(known.last_attempt),
            last_success: text(known.last_success),
            age_seconds: None,
            stale: known.is_stale(),
            problem: known.problem.as_ref().map(|problem| problem.result),
        }
    }
}

/// The hosts of Bedrock there; null: none is known.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogEndpoints)]
struct Endpoints {
    /// Inference.
    runtime: Option<String>,
    /// The control plane.
    control: Option<String>,
    /// Inference with FIPS cryptography.
    runtime_fips: Option<String>,
    /// The control plane with FIPS cryptography.
    control_fips: Option<String>,
    /// The second inference endpoint, which this gateway does not call.
    mantle: Option<String>,
}

impl Endpoints {
    fn of(region: &Region) -> Self {
        let hosts = region.hosts.clone();
        Self {
            runtime: hosts.runtime,
            control: hosts.control,
            runtime_fips: hosts.runtime_fips,
            control_fips: hosts.control_fips,
            mantle: hosts.mantle,
        }
    }
}

/// How many of the models that the key may name work there.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = CatalogRegionModels)]
struct Models {
    /// In any way.
    offered: usize,
    /// By their own id: the call stays in the Region.
    in_region: usize,
    /// By an inference profile.
    by_profile: usize,
    /// In batch jobs, one way or the other.
    batch: usize,
    /// From this gateway, by this key.
    callable: usize,
}

impl Models {
    fn count(
        region: &Region,
        models: &[Offered<'_>],
        gateway: &Gateway,
        rights: &Rights<'_>,
        batch_wanted: Option<bool>,
    ) -> Self {
        let mut count = Self::default();
        let is_configured = gateway.regions().contains(&region.code);
        for offered in models {
            let takes_batch = rights.catalog.batch(&offered.model.id).is_some_and(|batch| batch.is_in(&region.code));
            let places = offered.in_region(&region.code);
            if !rights.may_name(offered.model, places) || batch_wanted.is_some_and(|wanted| wanted != takes_batch) {
                continue;
            }
            count.offered += 1;
            count.in_region += usize::from(places.iter().any(|place| place.scope == Scope::InRegion));
            count.by_profile += usize::from(places.iter().any(|place| place.scope != Scope::InRegion));
            count.batch += usize::from(takes_batch);
            let is_callable = |place: &Arc<Place>| rights.objection(gateway, offered.model, place).is_none();
            count.callable += usize::from(is_configured && places.iter().any(is_callable));
        }
        count
    }

    fn is_empty(&self) -> bool {
        self.offered == 0
    }
}

/// The geographies that hold the Region.
fn geographies(region: &str) -> Vec<&'static str> {
    let all = Geography::NAMES.iter().filter_map(|name| Geography::parse("geography", name).ok());
    all.filter(|geography| geography.holds(region)).map(Geography::name).collect()
}
