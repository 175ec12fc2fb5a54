//! `CreateModelInvocationJob`, `GetModelInvocationJob`, `ListModelInvocationJobs`, `StopModelInvocationJob`: as AWS's, but
//! each team sees its own jobs only, under ARNs of the account 000000000000, and files are those of `/v1/files`.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelInvocationJob.html>
//!
//! A job here is a batch of any size, and runs as as many of AWS's as it takes.

mod codec;
mod request;
mod told;

use axum::extract::State;
use axum::{Json, Router, routing};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(in crate::api) use codec::CODEC;

use self::request::{CreateJob, Wanted, is_job_name};
use self::told::{Created, Details, Listed, SORT, STATUSES, Stopped, Told, states, status};
use super::control::{bad_token, check_one_of, identified, moment, not_found, page_size};
use super::error;
use crate::api::batch::Configured;
use crate::api::caller::{Body, Parameters, Segment};
use crate::batch::files::Files;
use crate::batch::record::{Batch, Endpoint};
use crate::batch::{Batches, Filter, NewBatch, Order};
use crate::error::{Error, Exception, Kind, Result};
use crate::gateway::Gateway;
use crate::ids;
use crate::tenancy::{Caller, Scope};

/// Whose batches these are.
const SURFACE: &str = "bedrock";
/// Jobs of a page, if nothing is said.
const PAGE: usize = 100;
/// The member that names the file.
const INPUT: &str = "inputDataConfig.s3InputDataConfig.s3Uri";
/// The length of a job's id.
const ID: usize = 12;

/// The routes of jobs.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(list)).routes(routes!(get)).routes(routes!(stop))
}

/// The routes for ARNs whose slash the client left as it is.
pub(super) fn unencoded() -> Router<Gateway> {
    Router::new()
        .route("/model-invocation-job/{job}/{rest}", routing::get(get))
        .route("/model-invocation-job/{job}/{rest}/stop", routing::post(stop))
}

/// CreateModelInvocationJob
///
/// A job of any size over a file that was uploaded to `/v1/files`; limits of AWS's on records, bytes and jobs do not count
/// here. The role is the gateway's, whatever `roleArn` says.
#[utoipa::path(
    post,
    path = "/model-invocation-job",
    tag = "Bedrock control plane",
    request_body = CreateJob,
    responses((status = 200, description = "It will run.", body = Created), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["batch"]))
)]
async fn create(
    State(gateway): State<Gateway>,
    caller: Caller,
    Configured(batches): Configured<Batches>,
    Configured(files): Configured<Files>,
    Body(text): Body,
) -> Result<Json<Created>> {
    caller.require(Scope::Batch)?;
    let wanted = request::read(&text)?;
    let catalog = gateway.catalog();
    let created = |batch: &Batch| Json(Created { job_arn: Details::of(batch).arn(&catalog, &batch.id) });
    let team = caller.team.id.as_str();
    let id = match &wanted.token {
        Some(token) => id_of(&[team, token]),
        None => id_of(&[&ids::fresh("")]),
    };
    if wanted.token.is_some()
        && let Some(batch) = known(&batches, &caller, &id).await?
    {
        return Ok(created(&batch));
    }
    let has_token = wanted.token.is_some();
    match batches.submit(&caller, new_batch(&gateway, &files, &caller, (&id, wanted)).await?).await {
        Ok(batch) => Ok(created(&batch)),
        // The same request, made twice at the same time.
        Err(error) if has_token && error.kind() == Kind::Conflict => {
            known(&batches, &caller, &id).await?.as_ref().map(created).ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// The batch that is asked for.
async fn new_batch(
    gateway: &Gateway,
    files: &Files,
    caller: &Caller,
    (id, wanted): (&str, Wanted),
) -> Result<NewBatch> {
    let file = files.file(caller, &wanted.file).await;
    let file = file.map_err(|error| match error.kind() {
        Kind::NotFound => {
            let message = "The provided input file does not exist: upload it to /v1/files first.";
            Error::invalid(INPUT, message)
        }
        _ => error,
    })?;
    let details = Details {
        job_name: wanted.name,
        client_request_token: wanted.token,
        region: gateway.regions_of(caller).first().map(ToString::to_string).unwrap_or_default(),
        timeout_duration_in_hours: wanted.timeout.as_secs() / 3600,
    };
    Ok(NewBatch {
        id: id.to_owned(),
        surface: SURFACE,
        endpoint: Endpoint::Native,
        input_file: file.id,
        param: INPUT,
        model: Some(wanted.model),
        invocation: Some(wanted.invocation),
        window: wanted.timeout,
        metadata: wanted.tags,
        details: Some(serde_json::to_string(&details).map_err(Error::internal)?),
        webhook_url: None,
    })
}

/// Twelve letters and digits, always the same for the same parts.
fn id_of(parts: &[&str]) -> String {
    const DIGITS: [u8; 36] = *b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut number = hash.finalize().iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let mut digit = || {
        let digit = DIGITS[usize::try_from(number % 36).unwrap_or_default()];
        number /= 36;
        char::from(digit)
    };
    (0..ID).map(|_| digit()).collect()
}

/// GetModelInvocationJob
#[utoipa::path(
    get,
    path = "/model-invocation-job/{job}",
    tag = "Bedrock control plane",
    params(("job" = String, Path, description = "Id or ARN, percent-encoded as one segment.")),
    responses((status = 200, description = "The job.", body = Told), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["batch"]))
)]
async fn get(
    State(gateway): State<Gateway>,
    caller: Caller,
    Configured(batches): Configured<Batches>,
    Segment(identifier): Segment,
) -> Result<Json<Told>> {
    let batch = find(&batches, &caller, &identifier).await?;
    Ok(Json(Told::of(&gateway.catalog(), batch)))
}

/// StopModelInvocationJob
///
/// What is done by then is in its result.
#[utoipa::path(
    post,
    path = "/model-invocation-job/{job}/stop",
    tag = "Bedrock control plane",
    params(("job" = String, Path, description = "Id or ARN, percent-encoded as one segment.")),
    responses((status = 200, description = "It is being stopped.", body = Stopped), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["batch"]))
)]
async fn stop(
    caller: Caller,
    Configured(batches): Configured<Batches>,
    Segment(identifier): Segment,
) -> Result<Json<Stopped>> {
    let batch = find(&batches, &caller, &identifier).await?;
    if batch.state.is_over() {
        let message = format!("The job is {} and cannot be stopped any more.", status(&batch));
        return Err(Error::new(Kind::Conflict, message).exception(Exception { name: "ConflictException", status: 400 }));
    }
    batches.cancel(&caller, &batch.id).await?;
    Ok(Json(Stopped {}))
}

/// ListModelInvocationJobs
///
/// The team's own jobs; the newest first, unless asked otherwise.
#[utoipa::path(
    get,
    path = "/model-invocation-jobs",
    tag = "Bedrock control plane",
    params(
        ("submitTimeAfter" = Option<String>, Query, description = "ISO 8601."),
        ("submitTimeBefore" = Option<String>, Query, description = "ISO 8601."),
        ("statusEquals" = Option<String>, Query, description = "A status of AWS's."),
        ("nameContains" = Option<String>, Query, description = "A part of the job's name."),
        ("maxResults" = Option<u16>, Query, description = "1 to 1000; 100 if nothing is said."),
        ("nextToken" = Option<String>, Query, description = "Of the page before."),
        ("sortBy" = Option<String>, Query, description = "CreationTime."),
        ("sortOrder" = Option<String>, Query, description = "Ascending or Descending."),
    ),
    responses((status = 200, description = "The jobs.", body = Listed), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["batch"]))
)]
async fn list(
    State(gateway): State<Gateway>,
    caller: Caller,
    Configured(batches): Configured<Batches>,
    Parameters(page): Parameters<Page>,
) -> Result<Json<Listed>> {
    caller.require(Scope::Batch)?;
    let (filter, size) = page.read()?;
    let is_never = page.status_equals.as_deref().is_some_and(|status| states(status).is_empty());
    let found = if is_never { Vec::new() } else { matching(&batches, &caller, &page, (filter, size)).await? };
    let next_token = (found.len() > size).then(|| found.get(size - 1).map(|last| last.id.clone())).flatten();
    let catalog = gateway.catalog();
    let told = found.into_iter().take(size).map(|batch| Told::of(&catalog, batch));
    Ok(Json(Listed { invocation_job_summaries: told.collect(), next_token }))
}

/// The jobs of a page, and one more if there is one. What the store does not know to tell apart is looked through here.
async fn matching(
    batches: &Batches,
    caller: &Caller,
    page: &Page,
    (mut filter, size): (Filter, usize),
) -> Result<Vec<Batch>> {
    let mut found = Vec::new();
    loop {
        let some = batches.list(caller, filter.clone()).await?;
        let last = some.batches.last().map(|batch| batch.id.clone());
        found.extend(some.batches.into_iter().filter(|batch| page.wants(batch)));
        if !some.has_more || last.is_none() || found.len() > size {
            found.truncate(size + 1);
            return Ok(found);
        }
        filter.after = last;
    }
}

/// Which jobs are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Page {
    submit_time_after: Option<String>,
    submit_time_before: Option<String>,
    status_equals: Option<String>,
    name_contains: Option<String>,
    max_results: Option<String>,
    next_token: Option<String>,
    sort_by: Option<String>,
    sort_order: Option<String>,
}

impl Page {
    /// What the store is asked for, and how many entries the page may have.
    fn read(&self) -> Result<(Filter, usize)> {
        check_one_of("statusEquals", self.status_equals.as_deref(), &STATUSES)?;
        check_one_of("sortBy", self.sort_by.as_deref(), &["CreationTime"])?;
        check_one_of("sortOrder", self.sort_order.as_deref(), &["Ascending", "Descending"])?;
        if let Some(name) = self.name_contains.as_deref() {
            request::check("nameContains", name, "Member must be a part of a job's name", is_job_name)?;
        }
        if self.next_token.as_deref().is_some_and(|token| !is_id(token)) {
            return Err(bad_token());
        }
        let size = page_size(self.max_results.as_deref(), PAGE)?;
        let ascending = self.sort_order.as_deref() == Some("Ascending");
        let filter = Filter {
            surface: Some(SURFACE),
            after: self.next_token.clone(),
            limit: u32::try_from(size + 1).unwrap_or(u32::MAX).min(1000),
            order: if ascending { Order::OldestFirst } else { Order::NewestFirst },
            from: moment("submitTimeAfter", self.submit_time_after.as_deref())?,
            to: moment("submitTimeBefore", self.submit_time_before.as_deref())?,
            states: self.status_equals.as_deref().map(states).unwrap_or_default().to_vec(),
            contains: self.name_contains.clone(),
            ..Filter::default()
        };
        Ok((filter, size))
    }

    /// Whether a job is one of those, as far as the store does not tell.
    fn wants(&self, batch: &Batch) -> bool {
        self.status_equals.as_deref().is_none_or(|wanted| wanted == status(batch))
            && self.name_contains.as_deref().is_none_or(|part| Details::of(batch).job_name.contains(part))
    }
}

fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The team's job of this id or ARN.
async fn find(batches: &Batches, caller: &Caller, identifier: &str) -> Result<Batch> {
    caller.require(Scope::Batch)?;
    let (id, _) = identified(identifier, SORT)?;
    known(batches, caller, id).await?.ok_or_else(missing)
}

fn missing() -> Error {
    not_found(&SORT.replace('-', " "))
}

/// The team's job of this id, if there is one.
async fn known(batches: &Batches, caller: &Caller, id: &str) -> Result<Option<Batch>> {
    if !is_id(id) {
        return Ok(None);
    }
    match batches.batch(caller, id).await {
        Ok(batch) => Ok(Some(batch).filter(|batch| batch.surface == SURFACE)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_job_follows_from_team_and_token() {
        let id = id_of(&["team", "token"]);
        assert!(is_id(&id), "{id}");
        assert_eq!(id, id_of(&["team", "token"]));
        assert_ne!(id, id_of(&["teamt", "oken"]));
        assert_ne!(id_of(&[&ids::fresh("")]), id_of(&[&ids::fresh("")]));
    }

    #[test]
    fn a_page_is_what_aws_takes() {
        let read = |set: &dyn Fn(&mut Page)| {
            let mut page = Page::default();
            set(&mut page);
            page.read()
        };
        let (filter, size) = read(&|_| {}).unwrap();
        assert_eq!((size, filter.limit, filter.order, filter.surface), (100, 101, Order::NewestFirst, Some("bedrock")));
        let (filter, size) = read(&|page| page.max_results = Some("1000".into())).unwrap();
        assert_eq!((size, filter.limit), (1000, 1000));
        let refused = |set: &dyn Fn(&mut Page)| read(set).unwrap_err().blamed().map(str::to_owned).unwrap();
        assert_eq!(refused(&|page| page.status_equals = Some("Done".into())), "statusEquals");
        assert_eq!(refused(&|page| page.name_contains = Some("a%b".into())), "nameContains");
        assert_eq!(refused(&|page| page.next_token = Some("a'b".into())), "nextToken");
        assert_eq!(refused(&|page| page.submit_time_after = Some("now".into())), "submitTimeAfter");
        assert_eq!(refused(&|page| page.sort_by = Some("Name".into())), "sortBy");
        assert_eq!(refused(&|page| page.max_results = Some("0".into())), "maxResults");
    }
}
