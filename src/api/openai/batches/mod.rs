//! Batches as OpenAI has them (<https://platform.openai.com/docs/api-reference/batch>): the routes, what records become in
//! a job, and what result files look like. What runs them is `crate::batch`.

pub(super) mod chat;
pub(super) mod line;
mod told;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::told::Details;
use self::wire::{Batch, List, OutputExpiresAfter, Request};
use super::error::ErrorBody;
use crate::api::batch::Configured;
use crate::api::body;
use crate::api::caller::{Body, Parameters, Segment};
use crate::api::idempotency;
use crate::batch::{Batches, Endpoint, Filter, NewBatch};
use crate::error::{Error, Kind, Result};
use crate::gateway::Gateway;
use crate::ids;
use crate::tenancy::{Caller, Scope};

pub(in crate::api) use self::chat::CODEC as CHAT;
pub(in crate::api) use super::embeddings::record::CODEC as EMBEDDINGS;
pub(in crate::api) use super::responses::record::CODEC as RESPONSES;

/// The name of this surface in the store.
const SURFACE: &str = "openai";
const PREFIX: &str = "batch_";
/// The endpoints of records of this surface.
const ENDPOINTS: [Endpoint; 3] = [Endpoint::Chat, Endpoint::Responses, Endpoint::Embeddings];
/// Hours that a batch may take, as AWS's jobs may
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelInvocationJob.html>).
const HOURS: std::ops::RangeInclusive<u64> = 24..=168;
/// Seconds that files of results may be asked to be kept.
const KEPT: std::ops::RangeInclusive<u64> = 3_600..=2_592_000;

/// The routes of batches.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(retrieve)).routes(routes!(cancel))
}

/// Submit a batch
///
/// Records run as batch jobs of AWS's where they can, at the batch price, and otherwise one by one. A file with a bad line
/// makes a batch that has `failed` with `errors`. What it may cost is held from the key's budgets until it ends.
#[utoipa::path(
    post,
    path = "/v1/batches",
    operation_id = "create_batch",
    tag = "OpenAI",
    request_body = Request,
    responses(
        (status = 200, description = "The batch.", body = Batch),
        (status = "4XX", description = "It cannot be run as it is.", body = ErrorBody),
        (status = "5XX", description = "The gateway failed, or runs no batches.", body = ErrorBody),
    ),
    security(("key" = ["batch"]))
)]
async fn create(
    caller: Caller,
    Configured(batches): Configured<Batches>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<Batch>> {
    caller.require(Scope::Batch)?;
    let request: Request = body::read(&body)?;
    let name = headers.get(idempotency::NAME).map(HeaderValue::as_bytes);
    let id = id(&caller, name, &request);
    let new = new_batch(id.clone(), request)?;
    let batch = match batches.submit(&caller, new).await {
        // The same request under the same name, whose answer was lost with the process that made the batch.
        Err(error) if error.kind() == Kind::Conflict && name.is_some() => batches.batch(&caller, &id).await?,
        submitted => submitted?,
    };
    one(&batches, batch).await
}

/// List batches
///
/// The key's team's own, the newest first.
#[utoipa::path(
    get,
    path = "/v1/batches",
    operation_id = "list_batches",
    tag = "OpenAI",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 100; default 20."),
        ("after" = Option<String>, Query, description = "The id of the batch before the page."),
    ),
    responses((status = 200, description = "A page of batches.", body = List), (status = "4XX", description = "Refused.", body = ErrorBody)),
    security(("key" = ["batch"]))
)]
async fn list(
    caller: Caller,
    Configured(batches): Configured<Batches>,
    Parameters(parameters): Parameters<BTreeMap<String, String>>,
) -> Result<Json<List>> {
    let filter = filter(parameters)?;
    if let Some(mark) = &filter.after {
        let unknown = |_| Error::invalid("after", "There is no batch with this id.");
        batches.batch(&caller, mark).await.and_then(own).map_err(|error| match error.kind() {
            Kind::NotFound => unknown(error),
            _ => error,
        })?;
    }
    let page = batches.list(&caller, filter).await?;
    let data: Vec<Batch> = page.batches.into_iter().map(told::batch).collect();
    let id = |batch: Option<&Batch>| batch.map(|batch| batch.id.clone());
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    Ok(Json(List { object: "list", data, first_id, last_id, has_more: page.has_more }))
}

/// Look a batch up
///
/// With what it waits for, how far its parts are, and what it has cost so far.
#[utoipa::path(
    get,
    path = "/v1/batches/{batch_id}",
    operation_id = "retrieve_batch",
    tag = "OpenAI",
    params(("batch_id" = String, Path, description = "`batch_...`")),
    responses((status = 200, description = "The batch.", body = Batch), (status = "4XX", description = "Refused, or not there.", body = ErrorBody)),
    security(("key" = ["batch"]))
)]
async fn retrieve(
    caller: Caller,
    Configured(batches): Configured<Batches>,
    Segment(id): Segment,
) -> Result<Json<Batch>> {
    let batch = own(batches.batch(&caller, &id).await?)?;
    one(&batches, batch).await
}

/// Cancel a batch
///
/// What has not begun is not begun, jobs are stopped; the answers that are there by then are kept. One that is over stays
/// as it is.
#[utoipa::path(
    post,
    path = "/v1/batches/{batch_id}/cancel",
    operation_id = "cancel_batch",
    tag = "OpenAI",
    params(("batch_id" = String, Path, description = "`batch_...`")),
    responses((status = 200, description = "The batch.", body = Batch), (status = "4XX", description = "Refused, or not there.", body = ErrorBody)),
    security(("key" = ["batch"]))
)]
async fn cancel(caller: Caller, Configured(batches): Configured<Batches>, Segment(id): Segment) -> Result<Json<Batch>> {
    own(batches.batch(&caller, &id).await?)?;
    let batch = batches.cancel(&caller, &id).await?;
    one(&batches, batch).await
}

/// All that is told of one batch.
async fn one(batches: &Batches, batch: crate::batch::Batch) -> Result<Json<Batch>> {
    let (shards, standing) = (batches.shards(&batch.id).await?, batches.standing(&batch.id).await?);
    let mut told = told::batch(batch);
    told::add(&mut told, &shards, standing);
    Ok(Json(told))
}

/// A batch of another surface is none here: its states and its files are not what clients of this one expect.
fn own(batch: crate::batch::Batch) -> Result<crate::batch::Batch> {
    if batch.surface == SURFACE {
        return Ok(batch);
    }
    Err(Error::new(Kind::NotFound, format!("There is no batch `{}`.", batch.id)).param("batch_id"))
}

/// The id of a new batch. One that was asked for under a name has the same id whenever it is asked for again, so that it
/// is not made twice where the first answer was lost.
fn id(caller: &Caller, name: Option<&[u8]>, request: &Request) -> String {
    let Some(name) = name else { return ids::fresh(PREFIX) };
    let mut hash = Sha256::new();
    for part in [caller.key.id.as_str().as_bytes(), name, request.input_file_id.as_bytes(), request.endpoint.as_bytes()]
    {
        hash.update(u64::try_from(part.len()).unwrap_or_default().to_le_bytes());
        hash.update(part);
    }
    let number = hash.finalize().iter().take(16).fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
    format!("{PREFIX}{number:032x}")
}

/// What is to be submitted.
fn new_batch(id: String, request: Request) -> Result<NewBatch> {
    let endpoint = request.endpoint.parse().ok().filter(|endpoint| ENDPOINTS.contains(endpoint)).ok_or_else(|| {
        let names = ENDPOINTS.map(<&str>::from).join(", ");
        Error::invalid("endpoint", format!("`endpoint` has to be one of {names}."))
    })?;
    let window = window(&request.completion_window)?;
    let kept = request.output_expires_after;
    if kept.is_some_and(|OutputExpiresAfter { seconds, .. }| !KEPT.contains(&seconds)) {
        let message = format!("`seconds` has to lie between {} and {}.", KEPT.start(), KEPT.end());
        return Err(Error::invalid("output_expires_after.seconds", message));
    }
    let metadata = request.metadata.unwrap_or_default();
    check(&metadata)?;
    let details =
        Details { completion_window: request.completion_window, output_expires_after: kept.map(|kept| kept.seconds) };
    Ok(NewBatch {
        id,
        surface: SURFACE,
        endpoint,
        input_file: request.input_file_id,
        param: "input_file_id",
        model: None,
        invocation: None,
        window,
        metadata,
        details: Some(serde_json::to_string(&details).map_err(Error::internal)?),
        webhook_url: request.webhook_url,
    })
}

/// `24h`, or as many hours as AWS's jobs may take.
fn window(text: &str) -> Result<Duration> {
    let hours = text.strip_suffix('h').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let hours = hours.and_then(|digits| digits.parse().ok()).filter(|hours| HOURS.contains(hours));
    hours.map(Duration::from_hours).ok_or_else(|| {
        let message = format!("`completion_window` is a number of hours from {}h to {}h.", HOURS.start(), HOURS.end());
        Error::invalid("completion_window", message)
    })
}

/// <https://platform.openai.com/docs/api-reference/batch/create>: 16 pairs, keys of 64 characters, values of 512.
fn check(metadata: &BTreeMap<String, String>) -> Result<()> {
    if metadata.len() > 16 {
        return Err(Error::invalid("metadata", "`metadata` takes at most 16 pairs."));
    }
    let fits = |(key, value): (&String, &String)| key.chars().count() <= 64 && value.chars().count() <= 512;
    if metadata.iter().all(fits) {
        return Ok(());
    }
    Err(Error::invalid("metadata", "Keys of `metadata` have at most 64 characters, values at most 512."))
}

/// Which page is wanted.
fn filter(parameters: BTreeMap<String, String>) -> Result<Filter> {
    let mut filter = Filter { surface: Some(SURFACE), limit: 20, ..Filter::default() };
    for (name, value) in parameters {
        match name.as_str() {
            "after" => filter.after = Some(value),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=100).contains(limit));
                let wrong = || Error::invalid("limit", "`limit` has to lie between 1 and 100.");
                filter.limit = limit.ok_or_else(wrong)?;
            }
            _ => return Err(Error::invalid(name, "This parameter is not known: there are `limit` and `after`.")),
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests;
