//! What comes next of a batch, by what the store knows of it. Pure: time is an argument, and nothing is remembered.
//!
//! Whatever became of the process that did the last step, the next one follows from the rows alone. Invariant: a batch
//! that is not over has a step, or waits for a place or for AWS.

use std::time::Duration;

use super::codec::Lost;
use super::record::{Batch, Kind, Shard, ShardState, State};
use crate::clock::Timestamp;
use crate::money::MicroUsd;

/// The shortest and the longest time that AWS gives a job, in hours.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelInvocationJob.html>
const JOB_HOURS: (u64, u64) = (24, 168);
/// Letters of a batch's id that are in the names of its jobs.
const NAME_LETTERS: usize = 32;

/// What is to be done. The number is that of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its records are cut into shards.
    Plan,
    /// It waits for a place; whoever gives places is told.
    Queue(u32),
    /// AWS is asked for its job, or whether there is one.
    Submit(u32),
    /// Its records run online.
    Run(u32),
    /// Its job is to be stopped.
    Stop(u32),
    /// It ends without having run.
    Close(u32),
    /// Its answers are read.
    Collect(u32),
    /// All its shards are settled: it ends so.
    Finish(State),
}

/// Why a batch runs no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Somebody cancelled it.
    Cancelled,
    /// Its completion window has ended.
    Expired,
}

/// Whether nothing more of the batch may begin at `now`, and why.
pub(super) fn cut(batch: &Batch, now: Timestamp) -> Option<Cut> {
    if batch.cancelling_at.is_some() || batch.state == State::Cancelling {
        return Some(Cut::Cancelled);
    }
    (batch.expires_at <= now).then_some(Cut::Expired)
}

/// All that can be done now.
pub(super) fn steps(batch: &Batch, shards: &[Shard], now: Timestamp) -> Vec<Step> {
    if batch.state.is_over() {
        return Vec::new();
    }
    if batch.in_progress_at.is_none() {
        return vec![Step::Plan];
    }
    if shards.iter().all(|shard| shard.state == ShardState::Settled) {
        return vec![Step::Finish(end(batch, shards))];
    }
    let cut = cut(batch, now);
    shards.iter().filter_map(|shard| step(shard, cut)).collect()
}

fn step(shard: &Shard, cut: Option<Cut>) -> Option<Step> {
    let number = shard.number;
    match (shard.state, shard.kind, cut) {
        // What is under way online is let end first.
        (ShardState::Queued, _, Some(_)) | (ShardState::Submitted, Kind::Online, Some(_)) => Some(Step::Close(number)),
        (ShardState::Queued, Kind::Job, None) => Some(Step::Queue(number)),
        // It may have made a job, whoever wants it to end: that is looked for first.
        (ShardState::Submitting, ..) => Some(Step::Submit(number)),
        (ShardState::Submitted, Kind::Job, Some(_)) if shard.job_state.as_deref() != Some("Stopping") => {
            Some(Step::Stop(number))
        }
        // The look at the Region's jobs tells when it has ended.
        (ShardState::Submitted, Kind::Job, _) | (ShardState::Settled, ..) => None,
        (ShardState::Queued | ShardState::Submitted, Kind::Online, None) => Some(Step::Run(number)),
        (ShardState::Collecting, ..) => Some(Step::Collect(number)),
    }
}

/// How a batch ends whose shards are settled.
fn end(batch: &Batch, shards: &[Shard]) -> State {
    if cut(batch, batch.created_at) == Some(Cut::Cancelled) {
        return State::Cancelled;
    }
    if shards.iter().any(|shard| shard.expired > 0) {
        return State::Expired;
    }
    let has_run = |shard: &Shard| shard.submitted_at.is_some() || shard.done > shard.failed;
    let is_refused = |shard: &Shard| shard.kind == Kind::Job && shard.job_arn.is_none() && shard.reason.is_some();
    if !shards.iter().any(has_run) && shards.iter().any(is_refused) { State::Failed } else { State::Completed }
}

/// What a batch still holds of the budgets: what its shards may cost that are not settled.
pub(super) fn held(batch: &Batch, shards: &[Shard]) -> MicroUsd {
    let Some(estimate) = batch.estimate else { return MicroUsd::default() };
    if batch.in_progress_at.is_none() {
        return estimate;
    }
    shards.iter().filter(|shard| shard.state != ShardState::Settled).map(|shard| shard.worst).sum()
}

/// What becomes of the records of a shard that have no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// They are tried once more, if they may: it is not their fault.
    Retry,
    /// They end so.
    Lost(Lost, String),
}

/// What becomes of them, by how the shard ended.
pub(super) fn rest(batch: &Batch, shard: &Shard) -> Rest {
    let ended = shard.ended_at.unwrap_or(batch.created_at);
    match (cut(batch, ended), shard.job_state.as_deref()) {
        (Some(Cut::Cancelled), _) => {
            Rest::Lost(Lost::BatchCancelled, "This request was not run, because the batch was cancelled.".into())
        }
        (Some(Cut::Expired), _) | (None, Some("Expired")) => {
            let message = "This request was not run before the completion window of the batch ended.";
            Rest::Lost(Lost::BatchExpired, message.into())
        }
        (None, Some("Failed" | "Stopped")) => Rest::Lost(Lost::JobFailed, failed(shard, "The batch job failed.")),
        (None, None) if shard.kind == Kind::Job => {
            Rest::Lost(Lost::JobFailed, failed(shard, "The batch job could not be made."))
        }
        (None, _) => Rest::Retry,
    }
}

fn failed(shard: &Shard, otherwise: &str) -> String {
    shard.reason.clone().unwrap_or_else(|| otherwise.to_owned())
}

/// The name of a shard's job, and the token that AWS knows a repeated request by. Another batch never has the same, also
/// one that was given an id that was used before.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelInvocationJob.html>
pub(super) fn job_name(batch: &Batch, shard: &Shard) -> String {
    let letters: Vec<char> = batch.id.chars().filter(char::is_ascii_alphanumeric).collect();
    let id: String = letters[letters.len().saturating_sub(NAME_LETTERS)..].iter().collect();
    let made = u64::try_from(batch.created_at.millis()).unwrap_or_default();
    format!("bgw-{id}-{made:x}-{}", shard.number)
}

/// How long AWS may take for a job that is made now: to the end of the window, as far as AWS lets that be said.
pub(super) fn job_hours(batch: &Batch, now: Timestamp) -> u64 {
    let left = batch.expires_at.since(now).as_secs().div_ceil(3600);
    left.clamp(JOB_HOURS.0, JOB_HOURS.1)
}

/// How long to wait after so many failures in a row: from `first`, doubling, to `most`, of which up to half is taken off
/// by `random` (0 to 1).
pub(super) fn pause(failures: u32, (first, most): (Duration, Duration), random: f64) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)));
    doubled.min(most).mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests;
