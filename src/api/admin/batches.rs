//! `GET /admin/v1/batches`: the batches of all teams, and the places for jobs.

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::Administrator;
use super::query::Query;
use crate::api::batch::Configured;
use crate::api::openai::error::ErrorBody;
use crate::batch::webhook::Notice;
use crate::batch::{self, Batches, Filter, Slot, Spread};
use crate::error::{Error, Result};
use crate::gateway::Gateway;
use crate::tenancy::admin;
use crate::tenancy::admin::moment::tell;

/// A page of batches.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminBatches)]
pub(super) struct BatchPage {
    /// The batches, the newest first.
    data: Vec<BatchView>,
    /// What `cursor` takes for the page after this one; null on the last.
    next: Option<String>,
    /// The places for jobs, where there is a job or a shard that waits for a place.
    slots: Vec<SlotView>,
}

/// A batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminBatch)]
struct BatchView {
    /// Its id.
    id: String,
    /// The id of its team.
    team: String,
    /// The id of the key that submitted it.
    key: String,
    /// `openai`, `anthropic` or `bedrock`.
    surface: String,
    /// What its records ask for; `native` for a job of AWS's own API.
    endpoint: &'static str,
    /// `validating`, `in_progress`, `finalizing`, `completed`, `failed`, `expired`, `cancelling` or `cancelled`.
    state: &'static str,
    /// Its records.
    total: u64,
    /// Those with an answer.
    completed: u64,
    /// Those with an error; those that never ran among them.
    failed: u64,
    /// US dollars that it may cost at most; null: a price is not known.
    #[schema(example = "1.250000")]
    estimate_usd: Option<String>,
    /// US dollars that it has cost so far.
    #[schema(example = "0.640000")]
    cost_usd: String,
    /// Records that were settled without a known price.
    unpriced: u64,
    /// What it waits for, or why it failed.
    reason: Option<String>,
    /// When it was submitted.
    created_at: String,
    /// When its window ends.
    expires_at: String,
    /// When it was over; null: it is not.
    ended_at: Option<String>,
    /// Its shards, added up.
    shards: Vec<SpreadView>,
    /// What became of the message about its end; null: nobody was to be told, or it was long ago.
    webhook: Option<NoticeView>,
}

/// Shards of a batch that have Region, model, kind and state in common.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminShards)]
struct SpreadView {
    /// The Region.
    region: String,
    /// Bedrock's id of the model.
    model: String,
    /// `job`: as batch jobs of AWS's; `online`: record by record.
    kind: &'static str,
    /// `queued`, `submitting`, `submitted`, `collecting` or `settled`.
    state: &'static str,
    /// How many.
    shards: u64,
    /// Their records.
    records: u64,
    /// Of those, how many have an answer or an error.
    done: u64,
}

/// What became of a message to a webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminNotice)]
struct NoticeView {
    /// Tries so far.
    tries: u32,
    /// When it was delivered or given up; null: it is tried again.
    ended_at: Option<String>,
    /// Why the last try failed; null: it did not, or there was none.
    problem: Option<String>,
}

/// The places for jobs of one model in one Region.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminSlots)]
struct SlotView {
    /// The Region.
    region: String,
    /// Bedrock's id of the model.
    model: String,
    /// Jobs that take a place.
    running: u64,
    /// Shards that wait for one.
    waiting: u64,
    /// How many jobs AWS runs at most, by its defaults; null: not known.
    most: Option<u64>,
}

/// List the batches of all teams
///
/// The newest first, with how their shards are spread, and how many places for jobs are taken in each Region. Needs the
/// scope `admin`.
#[utoipa::path(
    get,
    path = "/admin/v1/batches",
    operation_id = "list_all_batches",
    tag = "Administration",
    params(
        ("team" = Option<String>, Query, description = "Of the team with this id or name."),
        ("state" = Option<String>, Query, description = "In this state."),
        ("model" = Option<String>, Query, description = "With records for this model, as they name it or by Bedrock's id."),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses(
        (status = 200, description = "The batches.", body = BatchPage),
        (status = 503, description = "This gateway runs no batches.", body = ErrorBody),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    _: Administrator,
    Configured(batches): Configured<Batches>,
    RawQuery(query): RawQuery,
) -> Result<Json<BatchPage>> {
    let query = Query::read(query.as_deref(), &["team", "state", "model"])?;
    let team = match query.text("team") {
        Some(team) => Some(admin::find_team(gateway.tenancy().store(), &team).await?.id),
        None => None,
    };
    let filter = Filter {
        team,
        states: query.text("state").map(|text| state(&text)).transpose()?.into_iter().collect(),
        model: query.text("model"),
        after: query.page().after.clone(),
        limit: query.page().limit,
        ..Filter::default()
    };
    let page = batches.all(&filter).await?;
    let next = page.batches.last().filter(|_| page.has_more).map(|batch| batch.id.clone());
    let mut data = Vec::with_capacity(page.batches.len());
    for batch in page.batches {
        let (shards, notice) = tokio::try_join!(batches.spread(&batch.id), batches.notice(&batch.id))?;
        data.push(view(batch, shards, notice));
    }
    let slots = batches.slots().await?.into_iter().map(|slot| place(&gateway, slot)).collect();
    Ok(Json(BatchPage { data, next, slots }))
}

fn state(text: &str) -> Result<batch::State> {
    text.parse().map_err(|_| {
        let states = "validating, in_progress, finalizing, completed, failed, expired, cancelling or cancelled";
        Error::invalid("state", format!("`state` has to be {states}."))
    })
}

fn view(batch: batch::Batch, shards: Vec<Spread>, notice: Option<Notice>) -> BatchView {
    BatchView {
        id: batch.id,
        team: batch.team.to_string(),
        key: batch.key.to_string(),
        surface: batch.surface,
        endpoint: batch.endpoint.into(),
        state: batch.state.into(),
        total: batch.counts.total,
        completed: batch.counts.completed,
        failed: batch.counts.failed,
        estimate_usd: batch.estimate.map(|estimate| estimate.to_string()),
        cost_usd: batch.cost.to_string(),
        unpriced: batch.unpriced,
        reason: batch.reason,
        created_at: tell(batch.created_at),
        expires_at: tell(batch.expires_at),
        ended_at: batch.ended_at.map(tell),
        shards: shards.into_iter().map(group).collect(),
        webhook: notice.map(|notice| NoticeView {
            tries: notice.tries,
            ended_at: notice.ended_at.map(tell),
            problem: notice.problem,
        }),
    }
}

fn group(spread: Spread) -> SpreadView {
    SpreadView {
        region: spread.region,
        model: spread.model_id,
        kind: spread.kind.into(),
        state: spread.state.into(),
        shards: spread.shards,
        records: spread.records,
        done: spread.done,
    }
}

fn place(gateway: &Gateway, slot: Slot) -> SlotView {
    let most = gateway.catalog().batch_limits(&slot.model).map(|limits| limits.max_jobs);
    SlotView { region: slot.region, model: slot.model, running: slot.running, waiting: slot.waiting, most }
}
