//! `GET /catalog/quotas`: how much of a model an account may use in a Region, as far as that is known.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::models::View;
use super::query::{Query, Reach};
use super::{Page, Rights, answer, check_scope, scope_name};
use crate::api::openai::error::ErrorBody;
use crate::catalog::{BatchLimits, Known, Offered, Place};
use crate::error::Result;
use crate::gateway::Gateway;
use crate::tenancy::Caller;

/// List quotas by model and Region
///
/// What is known of AWS's quotas for the models that this key may name: the defaults, and over them what `aws.quotas` of
/// the configuration says. An account may have been given others, a new one often less. What is not known is null.
#[utoipa::path(
    get,
    path = "/catalog/quotas",
    operation_id = "list_catalog_quotas",
    tag = "Catalog",
    params(
        ("region" = Option<String>, Query, description = "In this Region."),
        ("provider" = Option<String>, Query, description = "Of models by this provider."),
        ("batch" = Option<bool>, Query, description = "Of models that take batch jobs there, or do not."),
        ("modality" = Option<String>, Query, description = "Of models with this modality."),
        ("q" = Option<String>, Query, description = "Words that are all in the model's id, short id, name or provider."),
        ("all_regions" = Option<bool>, Query, description = "Also in Regions that this gateway does not call."),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses(
        (status = 200, description = "The quotas, by model and Region.", body = Page<CatalogQuota>),
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
    let view = View { gateway: &gateway, rights: Rights { catalog: &catalog, caller: &caller }, query: &query };
    let takes_batch = |offered: &Offered<'_>, region: &Arc<str>| {
        catalog.batch(&offered.model.id).is_some_and(|batch| batch.is_in(region))
    };
    let rows = view.models().flat_map(|(offered, regions)| regions.into_iter().map(move |region| (offered, region)));
    let wanted = rows.filter(|(offered, region)| query.batch.is_none_or(|only| only == takes_batch(offered, region)));
    // A comma comes before all that ids are made of: these texts are in the order of ids, then Regions.
    let (rows, next) = query.page(wanted, |(offered, region)| format!("{},{region}", offered.model.id));
    let data = rows.into_iter().map(|(offered, region)| {
        let limits = catalog.batch_limits(&offered.model.id).filter(|_| takes_batch(&offered, region));
        CatalogQuota {
            model: offered.model.id.to_string(),
            region: region.to_string(),
            configured: gateway.regions().contains(region),
            online: offered.in_region(region).iter().map(|place| Online::of(place, &offered, &gateway)).collect(),
            batch: limits.map(BatchQuota::of),
        }
    });
    answer(&headers, &Page { data: data.collect(), next })
}

/// The quotas of one model in one Region.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CatalogQuota {
    /// Bedrock's id.
    model: String,
    region: String,
    /// Whether this gateway calls the Region.
    configured: bool,
    /// For each way to call it there, best first.
    online: Vec<Online>,
    /// Null where it is not known to take batch jobs.
    batch: Option<BatchQuota>,
}

/// The quota of one way to call a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogOnlineQuota)]
struct Online {
    /// By what it is called: the model's id, or an inference profile's.
    id: String,
    /// `in-region`, or the geography of the inference profile.
    scope: String,
    /// Null: not known, or there is none.
    tokens_per_minute: Option<u64>,
    /// Null: not known, or there is none.
    requests_per_minute: Option<u64>,
    /// How many tokens of the quota a token of output takes.
    output_burndown: u32,
    /// `catalog` (AWS's default) or `config`; null where neither number is known.
    source: Option<&'static str>,
}

impl Online {
    fn of(place: &Place, offered: &Offered<'_>, gateway: &Gateway) -> Self {
        let known = gateway.quotas().of(place, offered.model);
        let Known { tokens_per_minute, requests_per_minute, burndown, source } = known;
        Self {
            id: place.id.to_string(),
            scope: scope_name(&place.scope).to_owned(),
            tokens_per_minute,
            requests_per_minute,
            output_burndown: burndown,
            source: (!known.is_nothing()).then(|| source.into()),
        }
    }
}

/// How large a batch job may be, and how many there may be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogBatchQuota)]
struct BatchQuota {
    /// The fewest records of a job.
    min_records: u64,
    /// The most records of a job.
    max_records: u64,
    /// The most records of one of its files.
    max_file_records: u64,
    /// The most bytes of one of its files.
    max_file_bytes: u64,
    /// The most bytes of all its files.
    max_job_bytes: u64,
    /// The most jobs that are submitted or in progress.
    max_jobs: u64,
    /// `catalog`: AWS's default.
    source: &'static str,
}

impl BatchQuota {
    fn of(limits: BatchLimits) -> Self {
        let BatchLimits { min_records, max_records, max_file_records, max_file_bytes, max_job_bytes, max_jobs } =
            limits;
        Self { min_records, max_records, max_file_records, max_file_bytes, max_job_bytes, max_jobs, source: "catalog" }
    }
}
