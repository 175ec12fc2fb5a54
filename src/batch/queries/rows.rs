//! Rows as the types that they are.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{count, maybe_time, parsed, time, word};
use crate::batch::record::{Batch, Counts, Shard};
use crate::error::{Error, Result};
use crate::ids::{KeyId, TeamId};
use crate::money::MicroUsd;

/// The columns of a batch `b`, and the sums of its shards: what [`batch`] reads.
macro_rules! batch_columns {
    () => {
        "b.id, b.team_id, b.key_id, b.surface, b.endpoint, b.model, b.invocation, b.input_file_id, b.output_file_id, \
         b.error_file_id, b.state, b.total, b.estimate_micro_usd, b.cost_micro_usd, b.unpriced, b.metadata, b.details, \
         b.errors, b.reason, b.webhook_url, b.created_at, b.in_progress_at, b.finalizing_at, b.cancelling_at, \
         b.ended_at, b.expires_at, b.lease_owner, \
         (SELECT CAST(COALESCE(SUM(s.done), 0) AS BIGINT) FROM batch_shards s WHERE s.batch_id = b.id) AS done, \
         (SELECT CAST(COALESCE(SUM(s.failed), 0) AS BIGINT) FROM batch_shards s WHERE s.batch_id = b.id) AS failed, \
         (SELECT CAST(COALESCE(SUM(s.cancelled), 0) AS BIGINT) FROM batch_shards s WHERE s.batch_id = b.id) AS cancelled, \
         (SELECT CAST(COALESCE(SUM(s.expired), 0) AS BIGINT) FROM batch_shards s WHERE s.batch_id = b.id) AS expired"
    };
}
pub(super) use batch_columns;

pub(super) fn batch(row: &AnyRow) -> Result<Batch> {
    let (done, failed) = (count(row, "done")?, count(row, "failed")?);
    let invocation: Option<String> = row.try_get("invocation")?;
    let invocation = invocation.map(|word| word.parse()).transpose().map_err(Error::internal)?;
    Ok(Batch {
        id: row.try_get("id")?,
        team: TeamId::from(row.try_get::<String, _>("team_id")?),
        key: KeyId::from(row.try_get::<String, _>("key_id")?),
        surface: row.try_get("surface")?,
        endpoint: word(row, "endpoint")?,
        model: row.try_get("model")?,
        invocation,
        input_file: row.try_get("input_file_id")?,
        output_file: row.try_get("output_file_id")?,
        error_file: row.try_get("error_file_id")?,
        state: word(row, "state")?,
        counts: Counts {
            total: count(row, "total")?,
            completed: done.saturating_sub(failed),
            failed,
            cancelled: count(row, "cancelled")?,
            expired: count(row, "expired")?,
        },
        estimate: row.try_get::<Option<i64>, _>("estimate_micro_usd")?.map(MicroUsd),
        cost: MicroUsd(row.try_get("cost_micro_usd")?),
        unpriced: count(row, "unpriced")?,
        metadata: parsed(row, "metadata")?,
        details: row.try_get("details")?,
        errors: parsed(row, "errors")?,
        reason: row.try_get("reason")?,
        webhook_url: row.try_get("webhook_url")?,
        created_at: time(row, "created_at")?,
        in_progress_at: maybe_time(row, "in_progress_at")?,
        finalizing_at: maybe_time(row, "finalizing_at")?,
        cancelling_at: maybe_time(row, "cancelling_at")?,
        ended_at: maybe_time(row, "ended_at")?,
        expires_at: time(row, "expires_at")?,
    })
}

pub(super) fn shard(row: &AnyRow) -> Result<Shard> {
    Ok(Shard {
        batch: row.try_get("batch_id")?,
        number: u32::try_from(row.try_get::<i64, _>("number")?).unwrap_or(u32::MAX),
        kind: word(row, "kind")?,
        model: row.try_get("model")?,
        model_id: row.try_get("model_id")?,
        call_id: row.try_get("call_id")?,
        region: row.try_get("region")?,
        bucket: row.try_get("bucket")?,
        invocation: word(row, "invocation")?,
        attempt: u32::try_from(row.try_get::<i64, _>("attempt")?).unwrap_or(u32::MAX),
        records: count(row, "records")?,
        bytes: count(row, "bytes")?,
        worst: MicroUsd(row.try_get("worst_micro_usd")?),
        state: word(row, "state")?,
        job_state: row.try_get("job_state")?,
        job_arn: row.try_get("job_arn")?,
        why_online: row.try_get("why_online")?,
        reason: row.try_get("reason")?,
        done: count(row, "done")?,
        failed: count(row, "failed")?,
        cancelled: count(row, "cancelled")?,
        expired: count(row, "expired")?,
        output: parsed(row, "output")?,
        errors: parsed(row, "errors")?,
        queued_at: time(row, "queued_at")?,
        submitted_at: maybe_time(row, "submitted_at")?,
        ended_at: maybe_time(row, "ended_at")?,
    })
}
