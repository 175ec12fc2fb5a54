//! A shard's job: made once, however often it is asked for, and stopped.
//!
//! That AWS is about to be asked is written down before (`queries::take_slot`). Whoever comes to a shard in that state
//! looks first whether there is a job of its name; and AWS makes no second one for the same token.

use std::time::Duration;

use super::desk::{Desk, Work};
use crate::batch::batches::Batches;
use crate::batch::job;
use crate::batch::queries::{self, Mine};
use crate::batch::record::{Batch, Shard};
use crate::error::{Error, Kind, Result};
use crate::upstream::jobs::{Job, JobQuery, NewJob, is_conflict};
use crate::upstream::{Failure, Reason, Region};

/// How long AWS may refuse a job before its records are given up: a changed permission takes minutes to count.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long a queue rests where AWS has no place although we count one: others use the account, too.
const RESTS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(10));

impl Batches {
    /// Has AWS make the job of a shard that has a place, or finds the one that was made.
    pub(super) async fn submit_job(&self, desk: &Desk, batch: &Batch, shard: &Shard) -> Result<()> {
        let mine = Mine { worker: self.worker(), batch: &batch.id };
        let gateway = self.gateway();
        let Some(region) = gateway.upstream().region(&shard.region) else {
            let reason = format!("This gateway does not call {} any more.", shard.region);
            queries::end(self.store(), mine, shard.number, (None, Some(&reason)), self.now()).await?;
            return Ok(());
        };
        let name = job::job_name(batch, shard);
        let _turn = self.crew().requests.acquire().await;
        if !desk.take_fresh(shard.number)
            && let Some(job) = find(region, &name).await?
        {
            return self.adopt(mine, shard, &job).await;
        }
        if job::cut(batch, self.now()).is_some() {
            // AWS knows no job of this name, and is not asked for one.
            queries::end(self.store(), mine, shard.number, (None, None), self.now()).await?;
            return Ok(());
        }
        let failure = match self.create(region, batch, shard, &name).await {
            Ok(arn) => {
                let queue = (&*shard.region, &*shard.model_id);
                queries::submitted(self.store(), mine, shard.number, (&arn, "Submitted"), self.now()).await?;
                queries::rest(self.store(), queue, None).await?;
                tracing::info!(batch = %batch.id, shard = shard.number, region = %shard.region, "a batch job was made");
                return Ok(());
            }
            Err(failure) => failure,
        };
        if is_conflict(&failure)
            && let Some(job) = find(region, &name).await?
        {
            return self.adopt(mine, shard, &job).await;
        }
        self.not_made(desk, mine, shard, failure).await
    }

    async fn create(
        &self,
        region: &Region,
        batch: &Batch,
        shard: &Shard,
        name: &str,
    ) -> std::result::Result<String, Failure> {
        let invocation: &'static str = shard.invocation.into();
        let folder = format!("s3://{}/{}", shard.bucket, self.folder(shard));
        let (input, output) = (format!("{folder}input/"), format!("{folder}output/"));
        let new = NewJob {
            name,
            // The same letters: a token may have no less, and names the shard as well.
            token: name,
            role: &self.settings().role_arn,
            model: &shard.call_id,
            invocation,
            input_uri: &input,
            output_uri: &output,
            timeout_hours: u32::try_from(job::job_hours(batch, self.now())).unwrap_or(u32::MAX),
            tags: &[("bedrock-gateway:team", batch.team.as_str()), ("bedrock-gateway:batch", &batch.id)],
        };
        region.create_job(&new).await
    }

    async fn adopt(&self, mine: Mine<'_>, shard: &Shard, job: &Job) -> Result<()> {
        tracing::info!(batch = mine.batch, shard = shard.number, "a batch job that was made before is taken up");
        let at = job.submitted_at.unwrap_or_else(|| self.now());
        let status = job.status.to_string();
        // That it is over is for the look at the Region's jobs to tell, with its counts.
        let word = if job.status.is_over() { "Submitted" } else { &*status };
        queries::submitted(self.store(), mine, shard.number, (&job.arn, word), at).await?;
        Ok(())
    }

    /// AWS made no job, or did not say so.
    async fn not_made(&self, desk: &Desk, mine: Mine<'_>, shard: &Shard, failure: Failure) -> Result<()> {
        let work = Work::Shard(shard.number);
        match failure.reason {
            Reason::Quota => {
                let queue = (&*shard.region, &*shard.model_id);
                let (first, most) = RESTS;
                let times = queries::rest(self.store(), queue, Some(self.now().plus(first))).await?;
                let pause = job::pause(u32::try_from(times).unwrap_or(u32::MAX), (first, most), fastrand::f64());
                queries::put_off(self.store(), queue, self.now().plus(pause)).await?;
                let reason = format!(
                    "Waiting for a job slot: AWS has none left for `{}` in {}. {}",
                    shard.model_id,
                    shard.region,
                    failure.error.message()
                );
                queries::requeue(self.store(), mine, shard.number, &reason).await?;
                Ok(())
            }
            Reason::Denied | Reason::Rejected | Reason::Missing => {
                let now = self.now();
                let reason = format!("AWS refuses the batch job: {}", failure.error.message());
                if now.since(desk.refused(work, now)) >= PATIENCE {
                    queries::end(self.store(), mine, shard.number, (None, Some(&reason)), now).await?;
                    return Ok(());
                }
                Err(Error::new(Kind::UpstreamRejected, reason).source(failure.error))
            }
            _ => {
                let reason = format!("AWS cannot be asked for the batch job now: {}", failure.error.message());
                let error = Error::new(Kind::UpstreamUnavailable, reason).source(failure.error);
                Err(match failure.retry_after {
                    Some(after) => error.retry_after(after),
                    None => error,
                })
            }
        }
    }

    /// Has AWS stop the job of a shard. That it has is for the look at the Region's jobs to tell.
    pub(super) async fn stop_job(&self, mine: Mine<'_>, shard: &Shard) -> Result<()> {
        let gateway = self.gateway();
        let region = gateway.upstream().region(&shard.region);
        if let (Some(region), Some(arn)) = (region, shard.job_arn.as_deref()) {
            match region.stop_job(arn).await {
                Ok(()) => {}
                Err(failure) if failure.reason == Reason::Missing => {}
                Err(failure) => return Err(failure.error),
            }
        }
        queries::observe(self.store(), mine, shard.number, (Some("Stopping"), shard.done, shard.failed)).await?;
        Ok(())
    }
}

/// The job of this name, if there is one.
async fn find(region: &Region, name: &str) -> Result<Option<Job>> {
    let mut next: Option<String> = None;
    loop {
        let query = JobQuery { submitted_after: None, name_contains: Some(name), next: next.as_deref() };
        let page = region.jobs(&query).await.map_err(|failure| failure.error)?;
        if let Some(job) = page.jobs.into_iter().find(|job| job.name == name) {
            return Ok(Some(job));
        }
        next = page.next;
        if next.is_none() {
            return Ok(None);
        }
    }
}
