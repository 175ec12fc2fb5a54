//! What the data plane did, made to count: a plan, the answers of a shard and what they cost, the end of a batch.

use super::batches::Batches;
use super::queries::{self, Finished, Mine};
use super::record::{Batch, File, Form, Origin, Problem, Segment, Shard, State};
use super::run::{Desk, View};
use crate::error::{Error, Result};

impl Batches {
    /// Cuts the records of a batch into shards.
    pub(super) async fn plan_batch(&self, _view: &View) -> Result<()> {
        Err(Error::internal("planning is not merged yet"))
    }

    /// Reads the answers of a shard that has ended.
    pub(super) async fn collect_shard(&self, _desk: &Desk, _view: &View, _shard: &Shard) -> Result<()> {
        Err(Error::internal("collecting is not merged yet"))
    }

    /// Runs the records of a shard online.
    pub(super) async fn run_online(&self, _desk: &Desk, _view: &View, _shard: &Shard) -> Result<()> {
        Err(Error::internal("running online is not merged yet"))
    }

    /// The folder of a shard's objects, with its slash.
    pub(super) fn folder(&self, shard: &Shard) -> String {
        format!("{}/batches/{}/{}/", self.settings().prefix.trim_end_matches('/'), shard.batch, shard.number)
    }

    /// The batch is over: its results are files.
    pub(super) async fn finish_batch(&self, view: &View, state: State, problems: &[Problem]) -> Result<()> {
        let View { batch, shards, .. } = view;
        let mine = Mine { worker: self.worker(), batch: &batch.id };
        let at = self.now();
        let mut files = Vec::new();
        let segments = |of: fn(&Shard) -> &Vec<Segment>| shards.iter().flat_map(of).cloned().collect::<Vec<_>>();
        files.extend(self.result_file(batch, batch.output_file.as_ref(), "output", segments(|shard| &shard.output)));
        files.extend(self.result_file(batch, batch.error_file.as_ref(), "error", segments(|shard| &shard.errors)));
        let refused = shards.iter().find_map(|shard| shard.reason.clone()).filter(|_| state == State::Failed);
        let told: Vec<Problem> = refused
            .iter()
            .map(|reason| Problem { line: None, code: "job_failed".into(), message: reason.clone(), param: None })
            .collect();
        let problems = if problems.is_empty() { &told } else { problems };
        let reason = refused.as_deref();
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
        Some(File {
            id: id.clone(),
            team: batch.team.clone(),
            key: batch.key.clone(),
            purpose: "batch_output".into(),
            filename: format!("{}_{what}.jsonl", batch.id),
            origin: Origin::Result,
            form: self.codecs().of(batch.endpoint).map_or(Some(Form::OpenAi), |codec| Some(codec.form)),
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            segments,
            created_at: now,
            expires_at: now.plus(std::time::Duration::from_hours(self.settings().retention_hours)),
        })
    }
}
