//! How tests see jobs, take them from state to state and have them go wrong.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::faults::{JobFault, RecordError};
use super::{Counts, Job, JobPace, JobQuota, JobQuotaSet, JobState, Partial, Records, drive};
use crate::simulator::{Simulator, Tokens};

/// Nothing that a test waits for takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A job, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobRecord {
    /// The Region.
    pub region: String,
    /// `arn:...:model-invocation-job/...`
    pub arn: String,
    /// `jobName`
    pub name: String,
    /// `clientRequestToken`
    pub token: Option<String>,
    /// How many calls of `CreateModelInvocationJob` were answered with it: 1, and one more for each repeat with its token.
    pub creates: u64,
    /// As it was asked for: a model's id, a profile's, or an ARN.
    pub model_id: String,
    /// `Converse` or `InvokeModel`
    pub invocation: &'static str,
    /// Where it is.
    pub state: JobState,
    /// Why it failed.
    pub message: Option<String>,
    /// Its records, once it was validated.
    pub records: u64,
    /// Records that were run.
    pub processed: u64,
    /// Records with an answer.
    pub succeeded: u64,
    /// Records with an error.
    pub failed: u64,
    /// What its answers used.
    pub tokens: Tokens,
    /// The address of its input.
    pub input_uri: String,
    /// The address of its output, as it was asked for.
    pub output_uri: String,
    /// What the keys of its output begin with, in the bucket of `output_uri`.
    pub output_prefix: String,
    /// The role that it runs as.
    pub role_arn: String,
}

/// Sums over all jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JobTotals {
    /// Jobs.
    pub jobs: u64,
    /// Calls of `CreateModelInvocationJob` that were answered with one of them.
    pub creates: u64,
    /// Those that are `Submitted` to `InProgress`.
    pub open: u64,
    /// Records that were run.
    pub records: u64,
    /// Records with an answer.
    pub succeeded: u64,
    /// Records with an error.
    pub failed: u64,
    /// What the answers used.
    pub tokens: Tokens,
}

impl JobRecord {
    fn of(job: &Job) -> Self {
        let standing = job.standing();
        let Counts { total, processed, succeeded, failed } = standing.counts.unwrap_or_default();
        Self {
            region: job.region.clone(),
            arn: job.arn.clone(),
            name: job.name.clone(),
            token: job.token.clone(),
            creates: standing.creates,
            model_id: job.model_id.clone(),
            invocation: if job.converses { "Converse" } else { "InvokeModel" },
            state: standing.state,
            message: standing.message.clone(),
            records: total,
            processed,
            succeeded,
            failed,
            tokens: standing.tokens,
            input_uri: job.input.to_string(),
            output_uri: job.output.to_string(),
            output_prefix: job.output_folder(),
            role_arn: job.role.clone(),
        }
    }
}

impl Simulator {
    /// All jobs, in the order in which they were created.
    pub fn jobs(&self) -> Vec<JobRecord> {
        self.jobs_kept().all().iter().map(|job| JobRecord::of(job)).collect()
    }

    /// Sums over all jobs. What jobs use is in no [`Self::totals`], and their records are no [`Self::invocations`].
    pub fn job_totals(&self) -> JobTotals {
        self.jobs().into_iter().fold(JobTotals::default(), |mut totals, job| {
            totals.jobs += 1;
            totals.creates += job.creates;
            totals.open += u64::from(job.state.takes_a_slot());
            totals.records += job.processed;
            totals.succeeded += job.succeeded;
            totals.failed += job.failed;
            totals.tokens.input += job.tokens.input;
            totals.tokens.output += job.tokens.output;
            totals.tokens.cache_read += job.tokens.cache_read;
            totals.tokens.cache_write += job.tokens.cache_write;
            totals
        })
    }

    /// From now on the jobs of `model` (a bare id) in `region` are held to this; either may be `*`, and the narrower wins.
    pub fn set_job_quota(&self, region: &str, model: &str, quota: JobQuota) {
        self.jobs_kept().quotas.set(region, model, quota);
    }

    /// What [`Self::set_job_quota`] set.
    pub fn job_quotas(&self) -> Vec<JobQuotaSet> {
        self.jobs_kept().quotas.list()
    }

    /// AWS's defaults again.
    pub fn clear_job_quotas(&self) {
        self.jobs_kept().quotas.clear();
    }
}

/// The batch jobs of one Region (`*`: of any). Faults are for the next `n` jobs that are created; each method returns the jobs, so
/// that orders line up.
#[derive(Clone, Debug)]
pub struct RegionJobs {
    simulator: Simulator,
    region: String,
}

impl RegionJobs {
    pub(crate) fn new(simulator: Simulator, region: &str) -> Self {
        Self { simulator, region: region.to_owned() }
    }

    /// From here on jobs stay where they are until [`Self::advance`], [`Self::process`] or [`Self::complete`].
    pub fn manual(&self) -> &Self {
        self.pace(JobPace::Manual)
    }

    /// From here on jobs go on by themselves, after `delay` in each state.
    pub fn automatic(&self, delay: Duration) -> &Self {
        self.pace(JobPace::Automatic(delay))
    }

    fn pace(&self, pace: JobPace) -> &Self {
        let jobs = self.simulator.jobs_kept();
        let mut paces = jobs.paces();
        paces.regions.retain(|(region, _)| *region != self.region);
        paces.regions.push((self.region.clone(), pace));
        drop(paces);
        jobs.wake();
        self
    }

    /// Jobs that come into this state stay there until [`Self::release`], [`Self::advance`] or [`Self::complete`]. One that is
    /// held `InProgress` has run nothing.
    pub fn hold_at(&self, state: JobState) -> &Self {
        self.simulator.jobs_kept().paces().held.push((self.region.clone(), state));
        self
    }

    /// Takes [`Self::hold_at`] back, and has what stands in the midst of its records go on.
    pub fn release(&self) -> &Self {
        let jobs = self.simulator.jobs_kept();
        jobs.paces().held.retain(|(region, _)| *region != self.region);
        self.mine().iter().for_each(|job| job.standing().stands_at = None);
        jobs.wake();
        self
    }

    /// Does one step of each job that is not over, whatever holds it: `Submitted`, `Validating`, `Scheduled`, `InProgress`, its
    /// end; `Stopping`, `Stopped`. How many jobs are in another state now.
    pub async fn advance(&self) -> usize {
        let mut moved = 0;
        for job in self.open() {
            job.standing().stands_at = None;
            let before = job.state();
            drive::step(&self.simulator, &job).await;
            moved += usize::from(job.state() != before);
        }
        moved
    }

    /// Has each job that is `InProgress` run so many records more, and then stand until it is told to go on. It does not end,
    /// even when it has run them all.
    pub async fn process(&self, records: u64) {
        for job in self.open().into_iter().filter(|job| job.state() == JobState::InProgress) {
            let processed = job.done().0.processed;
            job.standing().stands_at = Some(processed.saturating_add(records));
            drive::step(&self.simulator, &job).await;
        }
    }

    /// Takes each job to its end, whatever holds it but [`Self::stick`].
    pub async fn complete(&self) {
        for job in self.open() {
            job.standing().stands_at = None;
            while !job.state().is_over() {
                let before = job.state();
                drive::step(&self.simulator, &job).await;
                if job.state() == before {
                    break;
                }
            }
        }
    }

    /// Waits until so many jobs are in this state at the same time; whether that came about within half a minute.
    pub async fn reached(&self, state: JobState, jobs: usize) -> bool {
        let mut changes = self.simulator.jobs_kept().changes.subscribe();
        let come = async {
            loop {
                changes.borrow_and_update();
                if self.mine().iter().filter(|job| job.state() == state).count() >= jobs {
                    return true;
                }
                if changes.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(PATIENCE, come).await.unwrap_or(false)
    }

    /// They fail when their turn comes, before any record is run.
    pub fn fail(&self, n: u64, message: &str) -> &Self {
        self.add(n, JobFault::Fail { message: message.to_owned() })
    }

    /// They fail after so many records.
    pub fn fail_after(&self, n: u64, records: u64, message: &str, partial: Partial) -> &Self {
        self.add(n, JobFault::FailAfter { records, message: message.to_owned(), partial })
    }

    /// Their time is up after so many records: `PartiallyCompleted`, and the others have no line.
    pub fn partially_complete_after(&self, n: u64, records: u64) -> &Self {
        self.add(n, JobFault::PartialAfter { records })
    }

    /// Their time is up before they begin: `Expired`.
    pub fn expire(&self, n: u64) -> &Self {
        self.add(n, JobFault::Expire)
    }

    /// They stay `Scheduled` until they are stopped, or expire by the simulator's clock.
    pub fn stick(&self, n: u64) -> &Self {
        self.add(n, JobFault::Stick)
    }

    /// These records have no line in the output, though the manifest counts them.
    pub fn lose_records(&self, n: u64, records: Records) -> &Self {
        self.add(n, JobFault::Lose(records))
    }

    /// So many lines of the output are of records that nobody asked for.
    pub fn add_records(&self, n: u64, count: u64) -> &Self {
        self.add(n, JobFault::Add(count))
    }

    /// These records have two lines.
    pub fn repeat_records(&self, n: u64, records: Records) -> &Self {
        self.add(n, JobFault::Repeat(records))
    }

    /// There is no `manifest.json.out`.
    pub fn drop_manifest(&self, n: u64) -> &Self {
        self.add(n, JobFault::NoManifest)
    }

    /// The output is in the order of the input.
    pub fn in_order(&self, n: u64) -> &Self {
        self.add(n, JobFault::InOrder)
    }

    /// These records end in an error of this code in so many jobs that run them, then in an answer. A record is known again in
    /// a later job by its `modelInput`. Until faults are cleared.
    pub fn record_errors(&self, records: Records, code: u16, attempts: u64) -> &Self {
        let message = match code {
            400 => "The provided request is not valid.",
            429 => "Too many requests, please wait before trying again.",
            503 => "Bedrock is unable to process your request.",
            _ => "The system encountered an unexpected error during processing. Try your request again.",
        };
        self.record_errors_saying(records, code, attempts, message)
    }

    /// As [`Self::record_errors`], with this message.
    pub fn record_errors_saying(&self, records: Records, code: u16, attempts: u64, message: &str) -> &Self {
        let error = RecordError { records, code, attempts, message: message.to_owned() };
        self.simulator.jobs_kept().faults.err(&self.region, error);
        self
    }

    pub(super) fn add(&self, n: u64, fault: JobFault) -> &Self {
        self.simulator.jobs_kept().faults.add(&self.region, n, fault);
        self
    }

    fn mine(&self) -> Vec<Arc<Job>> {
        self.simulator.jobs_kept().of(&self.region)
    }

    fn open(&self) -> Vec<Arc<Job>> {
        self.mine().into_iter().filter(|job| !job.state().is_over()).collect()
    }
}
