//! Message batches: <https://docs.anthropic.com/en/api/creating-message-batches>.
//!
//! The body of a new batch is cut into lines while it arrives and becomes a file like any other (`split`); from there on
//! it is a batch like any other. `codec` is what a job takes for a message, and how its result is told.

mod codec;
mod split;
mod wire;

use std::time::Duration;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(in crate::api) use codec::CODEC;

use self::split::Splitter;
use self::wire::{Deleted, MessageBatch, MessageBatches, NewMessageBatch, Page};
use super::error::ErrorBody;
use super::native;
use crate::api::batch::Configured;
use crate::api::caller::{Parameters, Segment, Strictness};
use crate::api::collected;
use crate::api::root::Root;
use crate::batch::files::{Files, NewFile};
use crate::batch::record::{Batch, Endpoint, File, Origin, Problem};
use crate::batch::{Batches, Filter, NewBatch};
use crate::error::{Error, Kind, Result};
use crate::gateway::Gateway;
use crate::ids;
use crate::report::Report;
use crate::tenancy::{Caller, Scope};

/// Whose batches these are.
const SURFACE: &str = "anthropic";
/// How long a batch may take: Anthropic's clients know of no other.
const WINDOW: Duration = Duration::from_hours(24);

/// The routes of message batches.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, delete))
        .routes(routes!(cancel))
        .routes(routes!(results))
}

/// Create a message batch
///
/// The body is read as it arrives and may have `batch.max_inline_mb`. Requests may name different models. A request whose
/// `params` cannot be is told of in its result.
#[utoipa::path(
    post,
    path = "/v1/messages/batches",
    tag = "Anthropic",
    params(("anthropic-beta" = Option<String>, Header, description = "Betas for all requests; those that Bedrock does not have are left out.")),
    request_body = NewMessageBatch,
    responses(
        (status = 200, description = "The batch, in progress.", body = MessageBatch),
        (status = "4XX", description = "The batch cannot be made of this body, or nobody could pay for it.", body = ErrorBody),
    ),
    security(("key" = ["batch"]))
)]
async fn create(
    caller: Caller,
    Configured(batches): Configured<Batches>,
    Configured(files): Configured<Files>,
    Root(root): Root,
    strictness: Strictness,
    headers: HeaderMap,
    request: Request,
) -> Result<Response> {
    caller.require(Scope::Batch)?;
    let mut report = Report::default();
    let betas = native::betas_of(&headers, &mut report)?;
    strictness.judge(&report)?;
    let id = ids::fresh("msgbatch_");
    let new = NewFile {
        filename: format!("{id}.jsonl"),
        purpose: "batch".into(),
        expires_after: None,
        origin: Origin::Inline,
    };
    let lines = lines(request.into_body(), Splitter::new(betas), files.longest(Origin::Inline));
    let file = files.upload(&caller, new, lines).await?;
    let submitted = submit(&batches, &files, &caller, (id, &file)).await;
    if submitted.is_err()
        && let Err(error) = files.delete(&caller, &file.id).await
    {
        tracing::warn!(%error, "the requests of a batch that was refused are still there, until they expire");
    }
    let mut response = Json(MessageBatch::of(submitted?, &root)).into_response();
    if let Ok(told) = HeaderValue::from_str(&report.to_string())
        && !report.is_empty()
    {
        response.headers_mut().insert(HeaderName::from_static("x-gateway-translation"), told);
    }
    Ok(response)
}

async fn submit(batches: &Batches, files: &Files, caller: &Caller, (id, file): (String, &File)) -> Result<Batch> {
    let survey = files.survey(&file.id).await?;
    if let Some(problem) = survey.problems.first() {
        return Err(refused(problem));
    }
    let new = NewBatch {
        id,
        surface: SURFACE,
        endpoint: Endpoint::Messages,
        input_file: file.id.clone(),
        param: "requests",
        model: None,
        invocation: None,
        window: WINDOW,
        metadata: std::collections::BTreeMap::new(),
        details: None,
        webhook_url: None,
    };
    batches.submit(caller, new).await
}

/// What is wrong with a line, as what is wrong with its request: there is a line for each.
fn refused(problem: &Problem) -> Error {
    let request = problem.line.and_then(|line| usize::try_from(line).ok()?.checked_sub(1));
    match (request, problem.param.as_deref()) {
        (Some(request), param) if problem.code == "duplicate_custom_id" => {
            let at = split::path(request, param.unwrap_or("custom_id"));
            let message = format!("`{at}` is that of an earlier request: each has to be unique in its batch.");
            Error::invalid(at, message)
        }
        (Some(request), param) => {
            Error::invalid(split::path(request, param.unwrap_or_default()), problem.message.clone())
        }
        (None, _) => Error::invalid("requests", problem.message.clone()),
    }
}

/// The lines of a body, as they arrive.
fn lines(body: Body, splitter: Splitter, most: u64) -> impl Stream<Item = Result<Bytes>> + Send {
    let inlet = Inlet { body: body.into_data_stream(), splitter, left: most, most };
    stream::try_unfold(inlet, |mut inlet| async move { Ok(inlet.lines().await?.map(|lines| (lines, inlet))) })
}

/// A body on its way in.
struct Inlet {
    body: BodyDataStream,
    splitter: Splitter,
    /// How many bytes more it may have.
    left: u64,
    most: u64,
}

impl Inlet {
    /// Some more lines; none at the end.
    async fn lines(&mut self) -> Result<Option<Bytes>> {
        let mut lines = Vec::new();
        while let Some(piece) = self.body.next().await {
            let piece = piece.map_err(|cause| collected::broken(&cause).source(cause))?;
            self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(|| {
                let message =
                    format!("The body of a message batch may have {} bytes here (batch.max_inline_mb).", self.most);
                Error::new(Kind::TooLarge, message)
            })?;
            self.splitter.push(&piece, &mut lines)?;
            if !lines.is_empty() {
                return Ok(Some(lines.into()));
            }
        }
        self.splitter.finish()?;
        Ok(None)
    }
}

/// List message batches
///
/// Those of the team that were made by this API, the newest first.
#[utoipa::path(
    get,
    path = "/v1/messages/batches",
    tag = "Anthropic",
    params(
        ("after_id" = Option<String>, Query, description = "The last one of the page before."),
        ("before_id" = Option<String>, Query, description = "The first one of the page after."),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 20 if nothing is said."),
    ),
    responses((status = 200, description = "The batches.", body = MessageBatches), (status = "4XX", description = "The query cannot be.", body = ErrorBody)),
    security(("key" = ["batch"]))
)]
async fn list(
    caller: Caller,
    Configured(batches): Configured<Batches>,
    Root(root): Root,
    Parameters(page): Parameters<Page>,
) -> Result<Json<MessageBatches>> {
    caller.require(Scope::Batch)?;
    let (after, before, limit) = page.read()?;
    let filter = Filter { surface: Some(SURFACE), after, before, limit, ..Filter::default() };
    let found = batches.list(&caller, filter).await?;
    let has_more = found.has_more;
    let data: Vec<MessageBatch> = found.batches.into_iter().map(|batch| MessageBatch::of(batch, &root)).collect();
    let id = |batch: &MessageBatch| batch.id().to_owned();
    let (first_id, last_id) = (data.first().map(id), data.last().map(id));
    Ok(Json(MessageBatches { data, has_more, first_id, last_id }))
}

/// Retrieve a message batch
#[utoipa::path(
    get,
    path = "/v1/messages/batches/{message_batch_id}",
    tag = "Anthropic",
    params(("message_batch_id" = String, Path, description = "`msgbatch_...`")),
    responses((status = 200, description = "The batch.", body = MessageBatch), (status = "4XX", description = "There is no such batch.", body = ErrorBody)),
    security(("key" = ["batch"]))
)]
async fn get(
    caller: Caller,
    Configured(batches): Configured<Batches>,
    Root(root): Root,
    Segment(id): Segment,
) -> Result<Json<MessageBatch>> {
    Ok(Json(MessageBatch::of(find(&batches, &caller, &id).await?, &root)))
}

/// Cancel a message batch
///
/// What is done by then is in its results. One that has ended stays as it is.
#[utoipa::path(
    post,
    path = "/v1/messages/batches/{message_batch_id}/cancel",
    tag = "Anthropic",
    params(("message_batch_id" = String, Path, description = "`msgbatch_...`")),
    responses((status = 200, description = "The batch.", body = MessageBatch), (status = "4XX", description = "There is no such batch.", body = ErrorBody)),
    security(("key" = ["batch"]))
)]
async fn cancel(
    caller: Caller,
    Configured(batches): Configured<Batches>,
    Root(root): Root,
    Segment(id): Segment,
) -> Result<Json<MessageBatch>> {
    let batch = find(&batches, &caller, &id).await?;
    let batch = if batch.state.is_over() { batch } else { batches.cancel(&caller, &id).await? };
    Ok(Json(MessageBatch::of(batch, &root)))
}

/// Delete a message batch
///
/// With its requests and results, once it has ended.
#[utoipa::path(
    delete,
    path = "/v1/messages/batches/{message_batch_id}",
    tag = "Anthropic",
    params(("message_batch_id" = String, Path, description = "`msgbatch_...`")),
    responses((status = 200, description = "It is no more.", body = Deleted), (status = "4XX", description = "There is no such batch, or it has not ended.", body = ErrorBody)),
    security(("key" = ["batch"]))
)]
async fn delete(
    caller: Caller,
    Configured(batches): Configured<Batches>,
    Configured(files): Configured<Files>,
    Segment(id): Segment,
) -> Result<Json<Deleted>> {
    let batch = find(&batches, &caller, &id).await?;
    if !batch.state.is_over() {
        let message =
            format!("The message batch {id} has not ended: cancel it first, and delete it when it has ended.");
        return Err(Error::invalid("message_batch_id", message));
    }
    batches.delete(&caller, &id).await?;
    for file in [Some(batch.input_file), batch.output_file, batch.error_file].into_iter().flatten() {
        match files.delete(&caller, &file).await {
            Err(error) if error.kind() != Kind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(Json(Deleted { id, kind: "message_batch_deleted" }))
}

/// Retrieve the results of a message batch
///
/// One line of JSON for each request, in any order.
#[utoipa::path(
    get,
    path = "/v1/messages/batches/{message_batch_id}/results",
    tag = "Anthropic",
    params(("message_batch_id" = String, Path, description = "`msgbatch_...`")),
    responses((status = 200, description = "The results.", body = String, content_type = "application/x-jsonl"), (status = "4XX", description = "There is no such batch, or it has not ended.", body = ErrorBody)),
    security(("key" = ["batch"]))
)]
async fn results(
    caller: Caller,
    Configured(batches): Configured<Batches>,
    Configured(files): Configured<Files>,
    Segment(id): Segment,
) -> Result<Response> {
    let batch = find(&batches, &caller, &id).await?;
    let missing =
        |why: &str| Error::new(Kind::NotFound, format!("The message batch {id} has no available results: {why}."));
    if !batch.state.is_over() {
        return Err(missing("its processing has not ended"));
    }
    let mut parts = Vec::new();
    for file in [&batch.output_file, &batch.error_file].into_iter().flatten() {
        match files.content(&caller, file, None).await {
            Ok(content) => parts.push(content.stream),
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if parts.is_empty() {
        return Err(missing(batch.reason.as_deref().unwrap_or("they were deleted, or have expired")));
    }
    let mut response = Response::new(Body::from_stream(stream::iter(parts).flatten()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-jsonl"));
    Ok(response)
}

/// A batch that was made by this API.
async fn find(batches: &Batches, caller: &Caller, id: &str) -> Result<Batch> {
    caller.require(Scope::Batch)?;
    let missing = || Error::new(Kind::NotFound, "There is no such message batch, or it is not this key's team's.");
    match batches.batch(caller, id).await {
        Ok(batch) if batch.surface == SURFACE => Ok(batch),
        Err(error) if error.kind() != Kind::NotFound => Err(error),
        _ => Err(missing()),
    }
}
