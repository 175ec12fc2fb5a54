//! From what the store knows of a batch to what its owner is told; pure.

use serde::{Deserialize, Serialize};

use super::wire::{self, Anchor, Errors, GatewayWord, LineError, OutputExpiresAfter, RequestCounts, Shards};
use crate::batch::{Batch, Shard, Standing, State};
use crate::clock::Timestamp;

/// What this surface keeps of a request, to tell it again.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Details {
    /// As it was asked for.
    pub(super) completion_window: String,
    /// Seconds that the files of the results are kept, if that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_expires_after: Option<u64>,
}

/// A batch as OpenAI shows it. The ids of its files are told once there is something to read under them.
pub(super) fn batch(batch: Batch) -> wire::Batch {
    let Batch { state, counts, ended_at, .. } = batch;
    let seconds = |at: Option<Timestamp>| at.map(Timestamp::seconds);
    let ended = |as_what: State| seconds(ended_at.filter(|_| state == as_what));
    let is_there = |records: u64| state.is_over() && records > 0;
    let details: Details = batch.details.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    wire::Batch {
        id: batch.id,
        object: "batch",
        endpoint: batch.endpoint.into(),
        model: batch.model,
        errors: errors(batch.errors),
        input_file_id: batch.input_file,
        completion_window: details.completion_window,
        status: state.into(),
        output_file_id: batch.output_file.filter(|_| is_there(counts.completed)),
        error_file_id: batch.error_file.filter(|_| is_there(counts.failed)),
        created_at: batch.created_at.seconds(),
        in_progress_at: seconds(batch.in_progress_at),
        expires_at: batch.expires_at.seconds(),
        finalizing_at: seconds(batch.finalizing_at),
        completed_at: ended(State::Completed),
        failed_at: ended(State::Failed),
        expired_at: ended(State::Expired),
        cancelling_at: seconds(batch.cancelling_at),
        cancelled_at: ended(State::Cancelled),
        request_counts: RequestCounts { total: counts.total, completed: counts.completed, failed: counts.failed },
        metadata: Some(batch.metadata).filter(|pairs| !pairs.is_empty()),
        output_expires_after: details
            .output_expires_after
            .map(|seconds| OutputExpiresAfter { anchor: Anchor::CreatedAt, seconds }),
        webhook_url: batch.webhook_url,
        gateway: GatewayWord {
            estimate_usd: batch.estimate.map(|estimate| estimate.to_string()),
            cost_usd: (batch.unpriced == 0).then(|| batch.cost.to_string()),
            reason: batch.reason,
            queue_position: None,
            waiting_for: Vec::new(),
            shards: Vec::new(),
        },
    }
}

/// Adds what is told of one batch alone.
pub(super) fn add(told: &mut wire::Batch, shards: &[Shard], standing: Standing) {
    told.gateway.queue_position = standing.ahead;
    told.gateway.waiting_for = standing.waiting_for;
    told.gateway.shards = together(shards);
    if let Some(first) = shards.first()
        && shards.iter().all(|shard| shard.model == first.model)
    {
        told.model.get_or_insert_with(|| first.model.clone());
    }
}

fn errors(problems: Vec<crate::batch::record::Problem>) -> Option<Errors> {
    let data: Vec<LineError> = problems
        .into_iter()
        .map(|problem| LineError {
            code: problem.code,
            message: problem.message,
            param: problem.param,
            line: problem.line,
        })
        .collect();
    (!data.is_empty()).then_some(Errors { object: "list", data })
}

/// The shards, those that look the same counted as one, in the order in which the first of each comes.
fn together(shards: &[Shard]) -> Vec<Shards> {
    let mut groups: Vec<Shards> = Vec::new();
    for shard in shards {
        let (kind, state) = (shard.kind.into(), shard.state.into());
        let alike = groups.iter_mut().find(|group| {
            (group.kind, group.state) == (kind, state)
                && group.model == shard.model
                && group.region == shard.region
                && group.why_online == shard.why_online
        });
        if let Some(group) = alike {
            group.count += 1;
            group.records += shard.records;
            group.done += shard.done;
        } else {
            groups.push(Shards {
                model: shard.model.clone(),
                kind,
                state,
                region: shard.region.clone(),
                why_online: shard.why_online.clone(),
                count: 1,
                records: shard.records,
                done: shard.done,
            });
        }
    }
    groups
}
