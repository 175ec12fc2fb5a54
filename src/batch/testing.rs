//! Batches and shards for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use super::record::{Batch, Counts, Endpoint, File, Form, Invocation, Kind, Origin, Segment, Shard, ShardState, State};
use crate::clock::Timestamp;
use crate::ids::{KeyId, TeamId};
use crate::money::MicroUsd;

/// A batch that was just submitted.
pub(crate) fn batch(id: &str, team: &str) -> Batch {
    let created_at = Timestamp::from_millis(1_000);
    Batch {
        id: id.into(),
        team: TeamId::from(team),
        key: KeyId::from("k1"),
        surface: "openai".into(),
        endpoint: Endpoint::Chat,
        model: None,
        invocation: None,
        input_file: format!("file-{team}"),
        output_file: None,
        error_file: None,
        state: State::Validating,
        counts: Counts { total: 100, ..Counts::default() },
        estimate: None,
        cost: MicroUsd(0),
        unpriced: 0,
        metadata: BTreeMap::new(),
        details: None,
        errors: Vec::new(),
        reason: None,
        webhook_url: None,
        created_at,
        in_progress_at: None,
        finalizing_at: None,
        cancelling_at: None,
        ended_at: None,
        expires_at: created_at.plus(Duration::from_hours(24)),
    }
}

/// A shard of a job.
pub(crate) fn shard(batch: &str, number: u32, state: ShardState) -> Shard {
    Shard {
        batch: batch.into(),
        number,
        kind: Kind::Job,
        model: "m".into(),
        model_id: "m".into(),
        call_id: "us.m".into(),
        region: "us-east-1".into(),
        bucket: "bucket".into(),
        invocation: Invocation::Converse,
        attempt: 1,
        records: 100,
        bytes: 1000,
        worst: MicroUsd(50),
        state,
        job_state: None,
        job_arn: None,
        why_online: None,
        reason: None,
        done: 0,
        failed: 0,
        cancelled: 0,
        expired: 0,
        output: Vec::new(),
        errors: Vec::new(),
        queued_at: Timestamp::from_millis(2_000),
        submitted_at: None,
        ended_at: None,
    }
}

/// A shard that waits for its job.
pub(crate) fn queued(batch: &str, number: u32) -> Shard {
    shard(batch, number, ShardState::Queued)
}

/// A file that a batch made.
pub(crate) fn result_file(batch: &Batch, id: &str) -> File {
    File {
        id: id.into(),
        team: batch.team.clone(),
        key: batch.key.clone(),
        purpose: "batch_output".into(),
        filename: "output.jsonl".into(),
        origin: Origin::Result,
        form: Some(Form::OpenAi),
        bytes: 3,
        segments: vec![Segment { region: "us-east-1".into(), bucket: "b".into(), key: "k".into(), bytes: 3 }],
        created_at: batch.created_at,
        expires_at: batch.expires_at,
    }
}

/// A file that somebody uploaded.
pub(crate) fn input_file(id: &str) -> File {
    File {
        purpose: "batch".into(),
        filename: "input.jsonl".into(),
        origin: Origin::Upload,
        expires_at: Timestamp::from_millis(i64::MAX),
        ..result_file(&batch("b", "t1"), id)
    }
}
