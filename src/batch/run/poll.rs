//! A look at the jobs of a Region: one list for all of them, and one question for each that needs it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::batches::Batches;
use crate::batch::queries::{self, Mine, OpenJob};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::upstream::jobs::{Job, JobPage, JobQuery, JobStatus};
use crate::upstream::{Reason, Region};

/// What all our jobs' names begin with.
const OURS: &str = "bgw-";
/// How far AWS's clock may be from ours, and a job's record from its making.
const SLACK: Duration = Duration::from_mins(15);
/// Jobs whose counts are asked for at one look.
const COUNTED: usize = 50;
/// So many failures end a look.
const FAILURES: u32 = 5;

impl Batches {
    /// For ever: looks at the jobs of a Region every `batch.poll_seconds`, and when batches were taken over: their jobs may
    /// have ended long ago.
    pub(super) async fn watch(self, region: Arc<str>) {
        let period = Duration::from_secs(self.settings().poll_seconds);
        let mut taken = self.crew().taken.subscribe();
        // What was taken before is looked at, too.
        taken.mark_changed();
        loop {
            tokio::select! {
                // Replicas and Regions do not all ask at the same moment.
                () = tokio::time::sleep(period.mul_f64(0.8 + 0.4 * fastrand::f64())) => {}
                // The sender lives as long as the crew.
                _ = taken.changed() => {}
            }
            self.poll(&region).await;
        }
    }

    /// One look.
    pub(super) async fn poll(&self, region: &str) {
        if self.crew().desks().is_empty() {
            return;
        }
        if let Err(error) = self.look_at_jobs(region).await {
            // The next look may do better; jobs do not end sooner for being looked at.
            tracing::warn!(region, %error, causes = error.causes(), "batch jobs cannot be looked at");
        }
    }

    async fn look_at_jobs(&self, name: &str) -> Result<()> {
        let open = queries::open_jobs(self.store(), self.worker(), name).await?;
        let Some(oldest) = open.iter().map(|job| job.submitted_at).min() else { return Ok(()) };
        let gateway = self.gateway();
        let Some(region) = gateway.upstream().region(name) else { return Ok(()) };
        let seen = match list(region, oldest).await {
            Ok(seen) => seen,
            Err(error) => {
                let reason = format!("AWS cannot be asked how the batch job stands: {}", error.message());
                queries::explain_jobs(self.store(), self.worker(), name, Some(&reason)).await?;
                return Err(error);
            }
        };
        queries::explain_jobs(self.store(), self.worker(), name, None).await?;
        // Those that change least are asked for their counts last; which come first is left to chance.
        let (mut counted, mut failures) = (0, 0);
        for index in shuffled(open.len()) {
            let job = &open[index];
            let listed = seen.get(&job.arn);
            let is_running = listed.is_some_and(|seen| seen.status == JobStatus::InProgress);
            let has_changed = listed.is_none_or(|seen| Some(seen.status.to_string()) != job.job_state);
            if !has_changed && (!is_running || counted >= COUNTED) {
                continue;
            }
            counted += usize::from(!has_changed);
            // One that cannot be looked at does not keep the others from it; an outage does.
            if let Err(error) = self.look_at(region, job).await {
                failures += 1;
                if failures >= FAILURES {
                    return Err(error);
                }
                tracing::warn!(region = name, batch = job.batch, %error, "a batch job cannot be looked at");
            }
        }
        Ok(())
    }

    /// Asks AWS for one job, and keeps what it says.
    async fn look_at(&self, region: &Region, open: &OpenJob) -> Result<()> {
        let mine = Mine { worker: self.worker(), batch: &open.batch };
        let job = match region.job(&open.arn).await {
            Ok(job) => job,
            Err(failure) if failure.reason == Reason::Missing => {
                let reason = "AWS does not know the batch job any more.";
                let gone = (Some("Failed"), Some(reason));
                queries::end(self.store(), mine, open.number, gone, self.now()).await?;
                self.crew().tell(&open.batch);
                return Ok(());
            }
            Err(failure) => return Err(failure.error),
        };
        let word = job.status.to_string();
        if job.status.is_over() {
            let reason = job.message.as_deref().map(|message| format!("AWS says of the batch job: {message}"));
            let ended = (Some(&*word), reason.as_deref());
            // One that was stopped because the window ended has not ended before it, whatever AWS's clock says.
            let at = job.ended_at.filter(|_| job.status != JobStatus::Stopped).unwrap_or_else(|| self.now());
            queries::end(self.store(), mine, open.number, ended, at).await?;
            // Its place is free.
            self.crew().queue();
            self.crew().tell(&open.batch);
            return Ok(());
        }
        let counts = job.counts.unwrap_or_default();
        queries::observe(self.store(), mine, open.number, (Some(&word), counts.processed, counts.failed)).await?;
        Ok(())
    }
}

/// The jobs of ours that were made since, by ARN.
async fn list(region: &Region, since: Timestamp) -> Result<HashMap<String, Job>> {
    let since = Timestamp::from_millis(since.millis() - i64::try_from(SLACK.as_millis()).unwrap_or_default());
    let mut seen = HashMap::new();
    let mut next: Option<String> = None;
    loop {
        let query = JobQuery { submitted_after: Some(since), name_contains: Some(OURS), next: next.as_deref() };
        let page: JobPage = region.jobs(&query).await.map_err(|failure| -> Error { failure.error })?;
        seen.extend(page.jobs.into_iter().map(|job| (job.arn.clone(), job)));
        next = page.next;
        if next.is_none() {
            return Ok(seen);
        }
    }
}

fn shuffled(count: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..count).collect();
    fastrand::shuffle(&mut indices);
    indices
}
