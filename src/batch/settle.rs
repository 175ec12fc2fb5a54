//! What the data plane did, made to count: the answers of a shard and what they cost, the end of a batch.
//!
//! Invariant: what a shard cost is in the ledger before the shard is settled, under an id made of batch and shard: done
//! again after a crash it makes no second row.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde::Deserialize;

use super::batches::Batches;
use super::codec::{Codec, Lost};
use super::collect::{self, Again, Collected, Ending, Joining, Retry};
use super::job::{self, Rest};
use super::layout::BatchKeys;
use super::planner::Limits;
use super::queries::{self, Finished, Mine, Settled};
use super::record::{Batch, File, Kind, Origin, Problem, Segment, Shard, State};
use super::run::{Desk, View};
use super::source::Load;
use crate::catalog::Price;
use crate::converse::Usage;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::ids::RequestId;
use crate::money::MicroUsd;
use crate::telemetry::metrics::{Booked, Tokens, Unpriced};
use crate::tenancy::ledger::{Entry, Outcome, UsageSource};

/// Attempts of a record in all.
const ATTEMPTS: u32 = 3;
/// The shard of what is tried again has the number of the shard before and so many more: always the same, and nobody
/// else's.
const NEXT_ATTEMPT: u32 = 1_000_000;
/// What the ledger calls it.
const OPERATION: &str = "batch";
const TIER: &str = "batch";

impl Batches {
    /// Where the objects of a batch are.
    pub(super) fn keys(&self, batch: &str) -> BatchKeys {
        BatchKeys::new(&self.settings().prefix, batch)
    }

    /// What the records of a batch look like.
    pub(super) fn codec(&self, batch: &Batch) -> Result<&'static Codec> {
        self.codecs().of(batch.endpoint).ok_or_else(|| Error::internal("a batch has an endpoint without a codec"))
    }

    /// Reads the answers of a shard that has ended, and settles it.
    pub(super) async fn collect_shard(&self, desk: &Desk, view: &View, shard: &Shard) -> Result<()> {
        let _place = self.crew().heavy.acquire().await;
        if shard.kind == Kind::Online {
            return self.collect_online(view, shard).await;
        }
        let batch = &view.batch;
        let may_retry = shard.attempt < ATTEMPTS && job::cut(batch, self.now()).is_none();
        let (again, ending) = match job::rest(batch, shard) {
            Rest::Retry if may_retry => (Again::Tried, no_result()),
            Rest::Retry => (Again::Never, no_result()),
            Rest::Lost(why, message) => (Again::Never, Ending { why, message }),
        };
        let at = shard.ended_at.unwrap_or_else(|| self.now());
        let what = Joining { shard: shard.clone(), codec: *self.codec(batch)?, again, ending, at };
        let gateway = self.gateway();
        let upstream = gateway.upstream();
        let collected = Box::pin(collect::collect(&what, &self.keys(&batch.id), upstream)).await?;
        let places = &collected.tally.again;
        let retry = if places.is_empty() { None } else { Some(self.retry(view, shard, places).await?) };
        let way = self.price(view, shard).await;
        let (usage, source) = used(&collected);
        let cost = if usage == Usage::default() {
            Some(MicroUsd::default())
        } else {
            way.and_then(|price| price.batch_cost(&usage))
        };
        if shard.job_arn.is_some() {
            self.book(desk, view, shard, (&usage, source, cost), &collected).await?;
            // What is settled in the store is in its ledger.
            self.gateway().tenancy().flush().await;
        }
        let tally = &collected.tally;
        let settled = Settled {
            number: shard.number,
            output: collected.output.as_slice(),
            errors: collected.errors.as_slice(),
            done: tally.done,
            failed: tally.failed,
            cancelled: tally.cancelled,
            expired: tally.expired,
            cost: cost.unwrap_or_default(),
            unpriced: if cost.is_none() { tally.done.saturating_sub(tally.failed) } else { 0 },
            retry: retry.as_ref(),
            at: self.now(),
        };
        self.settle(batch, settled).await
    }

    pub(super) async fn settle(&self, batch: &Batch, settled: Settled<'_>) -> Result<()> {
        let mine = Mine { worker: self.worker(), batch: &batch.id };
        if !queries::settle(self.store(), mine, settled).await? {
            return Ok(());
        }
        let gateway = self.gateway();
        let metrics = gateway.metrics();
        let Settled { done, failed, cancelled, expired, .. } = settled;
        metrics.batch_records("completed", done.saturating_sub(failed));
        metrics.batch_records("failed", failed.saturating_sub(cancelled + expired));
        metrics.batch_records("cancelled", cancelled);
        metrics.batch_records("expired", expired);
        Ok(())
    }

    /// Writes the shard of what is tried once more.
    async fn retry(&self, view: &View, shard: &Shard, places: &[usize]) -> Result<Shard> {
        let View { batch, caller, .. } = view;
        let file = self.files().known(&batch.input_file).await?;
        let load = Load { records: places.len() as u64, ..Load::default() };
        let way = self.way(caller, &shard.model, &load).await?;
        let limits = self.gateway().catalog().batch_limits(&shard.model_id).filter(|_| !way.jobs.is_empty());
        let worst = |kind: Kind, load: &Load| way.worst_as(&self.gateway(), kind, load).unwrap_or_default();
        let source = |range| self.files().open_range(&file, range).boxed();
        let retry = Retry {
            shard,
            places,
            number: shard.number.saturating_add(NEXT_ATTEMPT),
            keys: &self.keys(&batch.id),
            limits: limits.map(|limits| Limits::new(&limits, &self.settings().limits)),
            home: &self.home(caller, &file)?,
            form: self.codec(batch)?.form,
            source: &source,
            worst: &worst,
            at: self.now(),
        };
        Box::pin(retry.write(self.gateway().upstream())).await
    }

    /// What the job of a shard is charged by.
    async fn price(&self, view: &View, shard: &Shard) -> Option<Arc<Price>> {
        let model = self.gateway().model(&view.caller, &*shard.model).await.ok()?;
        let places = self.gateway().candidates(&view.caller, &model.resolved).ok()?;
        places.into_iter().find(|place| *place.region == *shard.region && *place.id == *shard.call_id)?.price.clone()
    }

    /// The job of a shard is in the ledger, in the metrics, and paid for: each once, whichever process did it.
    async fn book(
        &self,
        desk: &Desk,
        view: &View,
        shard: &Shard,
        (usage, source, cost): (&Usage, UsageSource, Option<MicroUsd>),
        collected: &Collected,
    ) -> Result<()> {
        let View { batch, caller, .. } = view;
        let at = self.now();
        let id = format!("{}.{}", batch.id, shard.number);
        // A process that died may have come so far.
        let is_booked = self.gateway().tenancy().is_booked(&id).await?;
        if !desk.book(shard.number) {
            return Ok(());
        }
        if is_booked {
            desk.spend_booked(&id, cost.unwrap_or_default(), at);
            return Ok(());
        }
        let ended = shard.ended_at.unwrap_or(at);
        let began = shard.submitted_at.unwrap_or(ended);
        let has_answers = collected.tally.done > collected.tally.failed;
        let outcome = if has_answers { Outcome::OK } else { Outcome::failed(ErrorKind::UpstreamRejected) };
        let entry = Entry {
            id: id.clone(),
            request_id: RequestId::from(&batch.id),
            at,
            team: batch.team.clone(),
            key: batch.key.clone(),
            surface: batch.surface.clone().into(),
            operation: OPERATION.into(),
            model: shard.model_id.clone(),
            region: Some(shard.region.clone()),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_tokens: usage.cache_read_input_tokens,
            cache_write_tokens: usage.cache_write_input_tokens,
            cost,
            tier: TIER.into(),
            latency_ms: u64::try_from(ended.since(began).as_millis()).unwrap_or(u64::MAX),
            ttft_ms: None,
            attempts: 1,
            status: 200,
            outcome,
            usage_source: source,
            streamed: false,
            end_user: None,
        };
        let tokens = Tokens {
            input: entry.input_tokens,
            output: entry.output_tokens,
            cache_read: entry.cache_read_tokens,
            cache_write: entry.cache_write_tokens,
        };
        self.gateway().metrics().booked(&Booked {
            team: &caller.team.name,
            model: &shard.model_id,
            region: &shard.region,
            tokens,
            cost: cost.ok_or(Unpriced::NoPrice),
            tier: TIER,
        });
        self.gateway().tenancy().record(entry);
        desk.spend(&id, cost.unwrap_or_default(), at);
        Ok(())
    }

    /// The folder of a shard's objects, with its slash.
    pub(super) fn folder(&self, shard: &Shard) -> String {
        let inputs = self.keys(&shard.batch).shard(shard.number).inputs();
        inputs.trim_end_matches("input/").to_owned()
    }

    /// The batch is over: its results are files, and who wants to know is told.
    pub(super) async fn finish_batch(&self, view: &View, state: State, problems: &[Problem]) -> Result<()> {
        let View { batch, shards, .. } = view;
        let mine = Mine { worker: self.worker(), batch: &batch.id };
        let at = self.now();
        let segments = |of: fn(&Shard) -> &Vec<Segment>| shards.iter().flat_map(of).cloned().collect::<Vec<_>>();
        let output = self.result_file(batch, batch.output_file.as_ref(), "output", segments(|shard| &shard.output));
        let errors = self.result_file(batch, batch.error_file.as_ref(), "error", segments(|shard| &shard.errors));
        let files: Vec<File> = output.into_iter().chain(errors).collect();
        let refused = shards.iter().find_map(|shard| shard.reason.clone()).filter(|_| state == State::Failed);
        let problem = |message: &String| Problem {
            line: None,
            code: <&str>::from(Lost::JobFailed).into(),
            message: message.clone(),
            param: None,
        };
        let told: Vec<Problem> = refused.iter().map(problem).collect();
        let problems = if problems.is_empty() { &told } else { problems };
        let reason = refused.as_deref().or_else(|| problems.first().map(|problem| &*problem.message));
        // Whoever was not asked is told why it was cancelled.
        let reason = reason.or(batch.reason.as_deref().filter(|_| state == State::Cancelled));
        let finished = Finished { state, files: &files, problems, reason, at };
        if queries::finish(self.store(), mine, batch, finished).await? {
            let state: &'static str = state.into();
            tracing::info!(batch = %batch.id, state, "a batch is over");
        }
        Ok(())
    }

    fn result_file(&self, batch: &Batch, id: Option<&String>, what: &str, segments: Vec<Segment>) -> Option<File> {
        let segments: Vec<Segment> = segments.into_iter().filter(|segment| segment.bytes > 0).collect();
        let id = id.filter(|_| !segments.is_empty())?;
        let now = self.now();
        let usual = self.files().expiry(now);
        Some(File {
            id: id.clone(),
            team: batch.team.clone(),
            key: batch.key.clone(),
            purpose: "batch_output".into(),
            filename: format!("{}_{what}.jsonl", batch.id),
            origin: Origin::Result,
            form: self.codecs().of(batch.endpoint).map(|codec| codec.form),
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            segments,
            created_at: now,
            expires_at: kept_for(batch).map_or(usual, |kept| now.plus(kept).min(usual)),
        })
    }
}

/// How long its owner wants the results kept, where a surface lets that be said.
fn kept_for(batch: &Batch) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Details {
        output_expires_after: Option<u64>,
    }
    let details: Details = serde_json::from_str(batch.details.as_deref()?).ok()?;
    details.output_expires_after.map(Duration::from_secs)
}

fn no_result() -> Ending {
    let message = "The batch job ended without an answer to this request.";
    Ending { why: Lost::NoResult, message: message.into() }
}

/// What a job used: as its answers say, or its totals where not all of them do.
fn used(collected: &Collected) -> (Usage, UsageSource) {
    let tally = &collected.tally;
    match collected.manifest {
        Some(manifest) if tally.untold > 0 => {
            let (input_tokens, output_tokens) = (manifest.input_token_count, manifest.output_token_count);
            let total_tokens = input_tokens + output_tokens;
            (Usage { input_tokens, output_tokens, total_tokens, ..Usage::default() }, UsageSource::Final)
        }
        _ if tally.untold > 0 => (tally.usage.clone(), UsageSource::Partial),
        _ => (tally.usage.clone(), UsageSource::Final),
    }
}
