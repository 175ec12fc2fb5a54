//! A batch is planned: where its records may go is found out, and what the plan comes to is written down.

use futures_util::FutureExt as _;

use super::batches::Batches;
use super::estimate::Way;
use super::plan::{self, Group, JobPlace, Place, Plan, Planned};
use super::planner::Limits;
use super::queries::{self, Mine};
use super::record::{Batch, File, Invocation, Kind, Problem, Segment, Shard, ShardState, State};
use super::run::View;
use super::source::Load;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::gateway::Gateway;
use crate::money::MicroUsd;
use crate::tenancy::Caller;

impl Batches {
    /// Cuts the records of a batch into shards. What can never be planned fails the batch.
    pub(super) async fn plan_batch(&self, view: &View) -> Result<()> {
        let batch = &view.batch;
        let mine = Mine { worker: self.worker(), batch: &batch.id };
        let _place = self.crew().heavy.acquire().await;
        // Planning begins by deleting what an earlier attempt left. After the wait for a place, or a long stop of this
        // process, that may be what jobs of a plan that another worker has made are reading.
        if queries::load(self.store(), mine)
            .await?
            .is_none_or(|now| now.in_progress_at.is_some() || now.state.is_over())
        {
            return Ok(());
        }
        let planned = match self.plan_records(view).await {
            Ok(planned) => planned,
            Err(error) if is_final(&error) => {
                let code: &'static str = error.kind().into();
                let problem = Problem {
                    line: None,
                    code: code.into(),
                    message: error.message().to_owned(),
                    param: error.blamed().map(str::to_owned),
                };
                return self.finish_batch(view, State::Failed, &[problem]).await;
            }
            Err(error) => return Err(error),
        };
        if !planned.problems.is_empty() {
            return self.finish_batch(view, State::Failed, &planned.problems).await;
        }
        let Planned { mut shards, refused, refusals, .. } = planned;
        let total = shards.iter().map(|shard| shard.records).sum::<u64>() + refused;
        if let Some(refusals) = refusals {
            shards.push(self.refused(batch, &shards, refused, refusals));
        }
        let plan = queries::Planned { shards: &shards, total, at: self.now() };
        if queries::planned(self.store(), mine, plan).await? {
            self.gateway().metrics().batch_records("failed", refused);
            tracing::info!(batch = %batch.id, shards = shards.len(), records = total, "a batch is planned");
        }
        Ok(())
    }

    async fn plan_records(&self, view: &View) -> Result<Planned> {
        let View { batch, caller, .. } = view;
        let file = self.files().known(&batch.input_file).await?;
        let survey = self.files().survey(&file.id).await?;
        let mut groups = Vec::with_capacity(survey.groups.len());
        let mut ways = Vec::with_capacity(survey.groups.len());
        for group in survey.groups {
            let name = batch.model.as_ref().unwrap_or(&group.model);
            let way = self.way(caller, name, &group.load).await?;
            let model_id = way.model.resolved.name.to_string();
            let (name, model, load) = (group.model, way.model.clone(), group.load);
            groups.push(Group { name, model, model_id, load, way: self.run_as(caller, &way).await? });
            ways.push(way);
        }
        let what = Plan {
            batch: batch.id.clone(),
            codec: *self.codec(batch)?,
            native_tools: self.settings().native_tools,
            invocation: batch.invocation,
            small: self.settings().small_batches,
            keys: self.keys(&batch.id),
            home: self.home(caller, &file)?,
            groups,
            at: self.now(),
        };
        let worst = |group: &Group, kind: Kind, load: &Load| {
            let way = what.groups.iter().position(|known| known.name == group.name).and_then(|at| ways.get(at));
            way.and_then(|way| way.worst_as(&self.gateway(), kind, load)).unwrap_or_default()
        };
        let source = |range| self.files().open_range(&file, range).boxed();
        Box::pin(plan::plan(&what, &source, file.bytes, &worst, self.gateway().upstream())).await
    }

    /// How the records of a model are run: as jobs in the Regions with the fewest, or online.
    async fn run_as(&self, caller: &Caller, way: &Way) -> Result<plan::Way> {
        let model = &*way.model.resolved.name;
        let Some(limits) = self.gateway().catalog().batch_limits(model).filter(|_| !way.jobs.is_empty()) else {
            let why = Gateway::keeps_from_jobs(&caller.team).unwrap_or(way.why_online);
            return Ok(plan::Way::Online { why: why.to_owned() });
        };
        let slots = queries::slots(self.store()).await?;
        let open = |region: &str| {
            let of_queue = slots.iter().filter(|slot| slot.model == model && slot.region == region);
            of_queue.map(|slot| slot.running + slot.waiting).sum::<u64>()
        };
        let mut jobs: Vec<_> = way.jobs.iter().filter_map(|place| Some((place, self.bucket(&place.region)?))).collect();
        jobs.sort_by_key(|(place, _)| open(&place.region));
        let places =
            jobs.into_iter().map(|(place, at)| JobPlace { place: at, call_id: place.id.to_string() }).collect();
        Ok(plan::Way::Jobs { limits: Limits::new(&limits, &self.settings().limits), places })
    }

    fn bucket(&self, region: &str) -> Option<Place> {
        let bucket = self.settings().bucket.get(region)?.clone();
        Some(Place { region: region.to_owned(), bucket })
    }

    /// Where what is no job is kept: in the first Region that the caller may use, else where the file is.
    pub(super) fn home(&self, caller: &Caller, file: &File) -> Result<Place> {
        let own = self.gateway().regions_of(caller);
        let of_file = file.segments.first();
        let of_file = of_file.map(|segment| Place { region: segment.region.clone(), bucket: segment.bucket.clone() });
        let home = own.iter().find_map(|region| self.bucket(region)).or(of_file);
        home.ok_or_else(|| Error::new(ErrorKind::Forbidden, "This key may use no Region with a bucket for batches."))
    }

    /// Records that are in no shard, as a shard that is settled.
    fn refused(&self, batch: &Batch, shards: &[Shard], records: u64, lines: Segment) -> Shard {
        let number = shards.iter().map(|shard| shard.number).max().map_or(0, |last| last + 1);
        let (output, errors) = match batch.error_file {
            Some(_) => (Vec::new(), vec![lines.clone()]),
            None => (vec![lines.clone()], Vec::new()),
        };
        Shard {
            batch: batch.id.clone(),
            number,
            kind: Kind::Online,
            model: String::new(),
            model_id: String::new(),
            call_id: String::new(),
            region: lines.region,
            bucket: lines.bucket,
            invocation: Invocation::Converse,
            attempt: 1,
            records,
            bytes: 0,
            worst: MicroUsd::default(),
            state: ShardState::Settled,
            job_state: None,
            job_arn: None,
            why_online: None,
            reason: None,
            done: records,
            failed: records,
            cancelled: 0,
            expired: 0,
            output,
            errors,
            queued_at: self.now(),
            submitted_at: None,
            ended_at: Some(self.now()),
        }
    }
}

/// Whether trying again would come to the same.
fn is_final(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::ModelNotFound
            | ErrorKind::Forbidden
            | ErrorKind::Unsupported
            | ErrorKind::TooLarge
    )
}
