//! `StartAsyncInvoke`, `GetAsyncInvoke`, `ListAsyncInvokes`: as AWS's, but each team sees its own invocations only, under
//! ARNs of the account 000000000000, and reads and writes under `s3://bedrock-gateway/`.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_StartAsyncInvoke.html>

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use http::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::async_body::Start;
use super::control::{ACCOUNT, Moment, bad_token, check_one_of, model_arn, moment, page_size, partition};
use super::error;
use super::runtime::origin;
use crate::api::answer::annotate;
use crate::api::caller::{Body, Parameters, Segment};
use crate::catalog::Catalog;
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::gateway::{Answer, Asked, Charge, Gateway, Target, Trail};
use crate::ids::TeamId;
use crate::invocations::{Filter, Invocation, Mark, Order};
use crate::report::Report;
use crate::tenancy::{Caller, Scope};
use crate::upstream::{PlainCall, Reply, mask};

/// Invocations of a page, if nothing is said.
const PAGE: usize = 100;
/// Invocations in progress that a list asks AWS about, and how many at once. AWS runs fewer of one account.
const ASKED: u32 = 200;
const AT_ONCE: usize = 8;

/// StartAsyncInvoke
///
/// The model's input goes to the model as it is. `s3Uri` is `s3://bedrock-gateway/<path>`, which stands for the team's
/// part of the bucket that the operator configured.
#[utoipa::path(
    post,
    path = "/async-invoke",
    tag = "Bedrock runtime",
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 200, description = "It has begun.", body = Started), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["inference"]))
)]
pub(super) async fn start(
    State(gateway): State<Gateway>,
    caller: Caller,
    trail: Trail,
    Body(body): Body,
) -> Result<Response> {
    let start = Start::read(&body)?;
    let (record, team) = (gateway.invocations(), &caller.team.id);
    let token = start.token.as_deref();
    if token.is_some_and(|token| token.is_empty() || token.len() > 256 || !token.bytes().all(|b| b.is_ascii_graphic()))
    {
        let message = "`clientRequestToken` must be 1 to 256 printable ASCII characters without blanks.";
        return Err(Error::invalid("clientRequestToken", message));
    }
    for location in &start.locations {
        record.places().check(team, &location.field, &location.uri)?;
    }
    // AWS takes foundation models alone here, and no profiles.
    let model = trail.wait_for(gateway.model_itself(&caller, &*start.model)).await?;
    let has = |region: &str| if record.places().has(region) { Ok(()) } else { Err(no_bucket()) };
    let own_token = token.map(|token| record.token(team, token));
    let call = |region: &str, id: &str| {
        let named = |uri: &str| record.places().outward(team, region, uri).unwrap_or_default();
        let body = start.body(model_id(&model, id), own_token.as_deref(), named);
        PlainCall::new(Method::POST, ["async-invoke"]).body(body)
    };
    let origin = origin("start_async_invoke", trail);
    let answer = gateway.forward_made(&caller, origin, &model, has, call).await?;
    let known = Known { token: token.map(str::to_owned), output_uri: start.output().to_owned(), team: team.clone() };
    let invocation = begun(&gateway, &model, known, &answer)?;
    record.begin(&invocation).await?;
    let invocation_arn = arn(&gateway.catalog(), &invocation);
    Ok(annotate(Json(Started { invocation_arn }).into_response(), &answer.served, &Report::default()))
}

/// GetAsyncInvoke
///
/// AWS is asked until the invocation has ended.
#[utoipa::path(
    get,
    path = "/async-invoke/{invocation}",
    tag = "Bedrock runtime",
    params(("invocation" = String, Path, description = "ARN, percent-encoded as one segment.")),
    responses((status = 200, description = "The invocation.", body = Told), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["inference"]))
)]
pub(super) async fn get(
    State(gateway): State<Gateway>,
    caller: Caller,
    trail: Trail,
    Segment(arn): Segment,
) -> Result<Json<Told>> {
    caller.require(Scope::Inference)?;
    // The operation declares no ResourceNotFoundException, and says this of an ARN that is not there.
    let missing = || Error::invalid("invocationArn", "The provided invocation ARN is invalid.");
    let (region, id) = located(&arn).ok_or_else(missing)?;
    let known = gateway.invocations().find(&caller.team.id, region, id).await?.ok_or_else(missing)?;
    let invocation = if known.is_open() { heard(&gateway, &caller, &trail, known).await? } else { known };
    Ok(Json(Told::of(&gateway.catalog(), invocation)))
}

/// ListAsyncInvokes
///
/// The team's own invocations, in all Regions; the newest first, unless asked otherwise.
#[utoipa::path(
    get,
    path = "/async-invoke",
    tag = "Bedrock runtime",
    params(
        ("submitTimeAfter" = Option<String>, Query, description = "ISO 8601."),
        ("submitTimeBefore" = Option<String>, Query, description = "ISO 8601."),
        ("statusEquals" = Option<String>, Query, description = "InProgress, Completed or Failed."),
        ("maxResults" = Option<u16>, Query, description = "1 to 1000; 100 if nothing is said."),
        ("nextToken" = Option<String>, Query, description = "Of the page before."),
        ("sortBy" = Option<String>, Query, description = "SubmissionTime."),
        ("sortOrder" = Option<String>, Query, description = "Ascending or Descending."),
    ),
    responses((status = 200, description = "The invocations.", body = Listed), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["inference"]))
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    caller: Caller,
    trail: Trail,
    Parameters(page): Parameters<Page>,
) -> Result<Json<Listed>> {
    caller.require(Scope::Inference)?;
    let (mut filter, size) = page.read()?;
    let (record, team) = (gateway.invocations(), &caller.team.id);
    let in_progress = Some(Invocation::IN_PROGRESS.to_owned());
    let open = Filter { status: in_progress, from: None, limit: ASKED, ..filter.clone() };
    let asked = record.list(team, &open).await?.into_iter().map(|known| heard(&gateway, &caller, &trail, known));
    let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        // One that cannot be asked about is told as it was last heard of: it must not hide the others.
        if let Err(error) = answer {
            tracing::warn!(%error, cause = error.causes(), "an asynchronous invocation could not be asked about");
        }
    }
    filter.limit = u32::try_from(size + 1).unwrap_or(u32::MAX);
    let mut found = record.list(team, &filter).await?;
    let has_more = found.len() > size;
    found.truncate(size);
    let next_token = found.last().filter(|_| has_more).map(|last| token_of(&last.mark()));
    let summaries = found.into_iter().map(|invocation| Told::of(&gateway.catalog(), invocation));
    Ok(Json(Listed { async_invoke_summaries: summaries.collect(), next_token }))
}

fn no_bucket() -> Error {
    let message = "`outputDataConfig` names a bucket that this gateway does not have: its operator has to set \
                   batch.bucket for a Region that offers the model.";
    Error::invalid("outputDataConfig", message)
}

/// What AWS is to call: a foundation model by its own id, because a profile is refused here; else what the name hides.
fn model_id<'a>(model: &'a Asked, id: &'a str) -> &'a str {
    model.resolved.model.as_ref().map_or(id, |model| &model.id)
}

/// What the caller said of an invocation.
struct Known {
    team: TeamId,
    token: Option<String>,
    output_uri: String,
}

/// The invocation that AWS has just begun.
fn begun(gateway: &Gateway, model: &Asked, known: Known, answer: &Answer<Reply>) -> Result<Invocation> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Begun {
        invocation_arn: String,
    }
    let Begun { invocation_arn } = read(&answer.body.body)?;
    let (_, id) = located(&invocation_arn).ok_or_else(unreadable)?;
    let region = &answer.served.region;
    let catalog = gateway.catalog();
    let partition = partition(&catalog, region);
    let model_arn = match &model.resolved.model {
        Some(model) => model_arn(partition, region, &model.id),
        // The kind of resource, and not whose it is.
        None => format!("arn:{partition}:bedrock:{region}:{ACCOUNT}:{}/-", model.resolved.name),
    };
    Ok(Invocation {
        region: region.to_string(),
        id: id.to_owned(),
        team: known.team,
        model_arn,
        token: known.token,
        status: Invocation::IN_PROGRESS.to_owned(),
        failure: None,
        output_uri: known.output_uri,
        submitted_at: gateway.clock().now(),
        modified_at: None,
        ended_at: None,
        arn: invocation_arn,
    })
}

/// What AWS says of an invocation now, remembered.
async fn heard(gateway: &Gateway, caller: &Caller, trail: &Trail, known: Invocation) -> Result<Invocation> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Heard {
        status: String,
        failure_message: Option<String>,
        last_modified_time: Option<jiff::Timestamp>,
        end_time: Option<jiff::Timestamp>,
        output_data_config: Output,
    }
    let call = PlainCall::new(Method::GET, ["async-invoke", &known.arn]);
    let target = Target { sort: "async-invoke", id: &known.id, region: Some(&known.region), charge: Charge::Tokens };
    let answer = gateway.forward_plain(caller, origin("get_async_invoke", trail.clone()), target, &call).await?;
    let heard: Heard = read(&answer.body.body)?;
    let places = gateway.invocations().places();
    let told = places.inward(&known.team, &known.region, &heard.output_data_config.s3_output_data_config.s3_uri);
    let moment = |at: Option<jiff::Timestamp>| at.map(|at| Timestamp::from_millis(at.as_millisecond()));
    let invocation = Invocation {
        status: heard.status,
        failure: heard.failure_message.map(|message| mask(&message).into_owned()),
        output_uri: told.unwrap_or(known.output_uri),
        modified_at: moment(heard.last_modified_time),
        ended_at: moment(heard.end_time),
        ..known
    };
    gateway.invocations().update(&invocation).await?;
    Ok(invocation)
}

fn read<'a, T: Deserialize<'a>>(reply: &'a [u8]) -> Result<T> {
    serde_json::from_slice(reply).map_err(|error| unreadable().source(error))
}

fn unreadable() -> Error {
    Error::new(Kind::UpstreamUnavailable, "Bedrock sent an answer that could not be read.")
}

/// The ARN of an invocation, as its callers know it.
fn arn(catalog: &Catalog, invocation: &Invocation) -> String {
    let Invocation { region, id, .. } = invocation;
    format!("arn:{}:bedrock:{region}:{ACCOUNT}:async-invoke/{id}", partition(catalog, region))
}

/// Region and id of an invocation's ARN.
fn located(arn: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = arn.split(':').collect();
    let ["arn", _, "bedrock", region, _, resource] = parts[..] else { return None };
    let id = resource.strip_prefix("async-invoke/")?;
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_region = region.bytes().all(|b| is_plain(b) || b == b'-');
    (is_region && !id.is_empty() && id.len() <= 64 && id.bytes().all(is_plain)).then_some((region, id))
}

/// Which invocations are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Page {
    submit_time_after: Option<String>,
    submit_time_before: Option<String>,
    status_equals: Option<String>,
    max_results: Option<String>,
    next_token: Option<String>,
    sort_by: Option<String>,
    sort_order: Option<String>,
}

impl Page {
    /// The filter without a limit, and how many entries the page may have.
    fn read(self) -> Result<(Filter, usize)> {
        check_one_of("statusEquals", self.status_equals.as_deref(), &["InProgress", "Completed", "Failed"])?;
        check_one_of("sortBy", self.sort_by.as_deref(), &["SubmissionTime"])?;
        check_one_of("sortOrder", self.sort_order.as_deref(), &["Ascending", "Descending"])?;
        let filter = Filter {
            after: moment("submitTimeAfter", self.submit_time_after.as_deref())?,
            before: moment("submitTimeBefore", self.submit_time_before.as_deref())?,
            status: self.status_equals,
            order: if self.sort_order.as_deref() == Some("Ascending") { Order::Ascending } else { Order::Descending },
            from: self.next_token.as_deref().map(mark_of).transpose()?,
            limit: 0,
        };
        Ok((filter, page_size(self.max_results.as_deref(), PAGE)?))
    }
}

fn token_of(mark: &Mark) -> String {
    format!("{}/{}", mark.at.millis(), mark.id)
}

fn mark_of(token: &str) -> Result<Mark> {
    let (at, id) = token.split_once('/').ok_or_else(bad_token)?;
    let at = at.parse().map(Timestamp::from_millis).map_err(|_| bad_token())?;
    // Not every store takes every character.
    if !id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(bad_token());
    }
    Ok(Mark { at, id: id.to_owned() })
}

/// The answer of `StartAsyncInvoke`.
#[derive(Serialize, ToSchema)]
#[schema(as = AsyncInvokeStarted)]
#[serde(rename_all = "camelCase")]
pub(super) struct Started {
    invocation_arn: String,
}

/// The answer of `ListAsyncInvokes`.
#[derive(Serialize, ToSchema)]
#[schema(as = AsyncInvokes)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    async_invoke_summaries: Vec<Told>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// An asynchronous invocation.
#[derive(Serialize, ToSchema)]
#[schema(as = AsyncInvoke)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    /// Of the account 000000000000, whoever's it really is.
    invocation_arn: String,
    model_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_request_token: Option<String>,
    /// `InProgress`, `Completed` or `Failed`.
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_message: Option<String>,
    submit_time: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_modified_time: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<Moment>,
    output_data_config: Output,
}

/// Where an invocation writes.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = AsyncInvokeOutput)]
#[serde(rename_all = "camelCase")]
struct Output {
    s3_output_data_config: S3Output,
}

/// A location in S3.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = AsyncInvokeS3Output)]
#[serde(rename_all = "camelCase")]
struct S3Output {
    /// `s3://bedrock-gateway/<path>`
    s3_uri: String,
}

impl Told {
    fn of(catalog: &Catalog, invocation: Invocation) -> Self {
        Self {
            invocation_arn: arn(catalog, &invocation),
            model_arn: invocation.model_arn,
            client_request_token: invocation.token,
            status: invocation.status,
            failure_message: invocation.failure,
            submit_time: Moment::at(invocation.submitted_at),
            last_modified_time: invocation.modified_at.map(Moment::at),
            end_time: invocation.ended_at.map(Moment::at),
            output_data_config: Output { s3_output_data_config: S3Output { s3_uri: invocation.output_uri } },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_invocation_can_be_called_does_not_reach_the_store() {
        let arn = |region: &str, id: &str| format!("arn:aws:bedrock:{region}:{ACCOUNT}:async-invoke/{id}");
        assert_eq!(located(&arn("us-east-1", "abc1")), Some(("us-east-1", "abc1")));
        for (region, id) in [("us\0east", "a"), ("us/east", "a"), ("us-east-1", "a\0"), ("us-east-1", "")] {
            assert_eq!(located(&arn(region, id)), None, "{region:?} {id:?}");
        }
        assert_eq!(mark_of("7/us-east-1/abc").unwrap().id, "us-east-1/abc");
        for token in ["7/a\0", "7/é", "x/a", "7"] {
            assert_eq!(mark_of(token).unwrap_err().blamed(), Some("nextToken"), "{token:?}");
        }
    }
}
