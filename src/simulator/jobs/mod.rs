//! Batch inference: `CreateModelInvocationJob`, `GetModelInvocationJob`, `ListModelInvocationJobs`, `StopModelInvocationJob`, and the
//! jobs themselves, which read their records from the simulator's S3, run them through its own models and write AWS's output.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference.html>
//!
//! A job goes through AWS's states one step at a time (`drive`), by itself after a short delay or when a test says so
//! (`control`; over HTTP `orders`). What it runs is never counted as a call. Invariant: at most one step of a job at a time, and
//! no more of its records in memory than the window in which its output is shuffled.

mod control;
mod create;
mod drive;
mod faults;
mod inspect;
mod lines;
mod orders;
mod output;
mod quota;
mod record;
mod role;
mod run;
mod state;
mod tell;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use control::{JobRecord, JobTotals, RegionJobs};
pub(crate) use create::{create, peek};
pub use faults::{Partial, Records};
pub(crate) use orders::routes;
pub use quota::{JobQuota, JobQuotaSet};
pub use state::JobState;
pub(crate) use tell::{get, list, stop};

use super::Tokens;
use super::catalog;
use faults::{Bound, JobFaults};
use quota::JobQuotas;
use record::Answered;
use run::Run;

/// Records between two looks at whether the job is to go on.
const SLICE: usize = 32;
/// As many jobs read or run records at the same time.
const BUSY: usize = 2;

/// The jobs of one simulator.
#[derive(Debug)]
pub(crate) struct Jobs {
    /// In the order in which they were created.
    kept: Mutex<Vec<Arc<Job>>>,
    faults: JobFaults,
    quotas: JobQuotas,
    paces: Mutex<Paces>,
    tracker: TaskTracker,
    busy: Semaphore,
    /// Counts changes of states, for those who wait for one.
    changes: watch::Sender<u64>,
}

impl Jobs {
    pub(crate) fn new(pace: JobPace) -> Self {
        Self {
            kept: Mutex::default(),
            faults: JobFaults::default(),
            quotas: JobQuotas::default(),
            paces: Mutex::new(Paces { usual: pace, regions: Vec::new(), held: Vec::new() }),
            tracker: TaskTracker::new(),
            busy: Semaphore::new(BUSY),
            changes: watch::Sender::new(0),
        }
    }

    /// Forgets the faults that wait.
    pub(crate) fn clear_faults(&self) {
        self.faults.clear();
    }

    /// How many jobs will still meet a fault.
    pub(crate) fn waiting_faults(&self) -> u64 {
        self.faults.waiting()
    }

    /// Has jobs look at the clock.
    pub(crate) fn wake(&self) {
        self.all().iter().for_each(|job| job.wake.notify_one());
    }

    fn all(&self) -> Vec<Arc<Job>> {
        self.lock().clone()
    }

    fn of(&self, region: &str) -> Vec<Arc<Job>> {
        self.lock().iter().filter(|job| region == "*" || job.region == region).cloned().collect()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn paces(&self) -> MutexGuard<'_, Paces> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Job>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How jobs get from one state to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobPace {
    /// By themselves, after so long in each.
    Automatic(Duration),
    /// When a test says so.
    Manual,
}

/// How fast jobs are, and where they are held. `*` is any Region.
#[derive(Debug)]
struct Paces {
    usual: JobPace,
    regions: Vec<(String, JobPace)>,
    held: Vec<(String, JobState)>,
}

impl Paces {
    /// What was said last is what holds.
    fn of(&self, region: &str) -> JobPace {
        let said = self.regions.iter().rev().find(|(at, _)| at == region || at == "*");
        said.map_or(self.usual, |(_, pace)| *pace)
    }

    fn holds(&self, region: &str, state: JobState) -> bool {
        self.held.iter().any(|(at, held)| *held == state && (at == region || at == "*"))
    }
}

/// A bucket and a key or the beginning of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    bucket: String,
    key: String,
}

impl Place {
    /// Of an address that its shape let pass.
    fn read(uri: &str) -> Self {
        let rest = uri.strip_prefix("s3://").unwrap_or(uri);
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        Self { bucket: bucket.to_owned(), key: key.to_owned() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{}/{}", self.bucket, self.key)
    }
}

/// Records of a job, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Counts {
    total: u64,
    processed: u64,
    succeeded: u64,
    failed: u64,
}

/// A job.
#[derive(Debug)]
pub(crate) struct Job {
    region: String,
    /// The last part of its ARN.
    id: String,
    arn: String,
    name: String,
    token: Option<String>,
    /// As it was asked for.
    request: Value,
    model_id: String,
    /// The bare id of the model.
    model: String,
    /// Whether its records are bodies of Converse.
    converses: bool,
    role: String,
    input: Place,
    output: Place,
    submitted: Timestamp,
    expires: Timestamp,
    faults: Bound,
    /// Held for a step. What is in it is the work in progress.
    turn: tokio::sync::Mutex<Option<Box<Run>>>,
    wake: Notify,
    standing: Mutex<Standing>,
}

/// What of a job changes.
#[derive(Debug)]
struct Standing {
    state: JobState,
    message: Option<String>,
    modified: Timestamp,
    ended: Option<Timestamp>,
    /// When it came into its state, for the pace of jobs.
    since: Instant,
    /// Known once it was validated.
    counts: Option<Counts>,
    tokens: Tokens,
    /// How many calls asked for it.
    creates: u64,
    /// It stands before the record of this number, from 0.
    stands_at: Option<u64>,
}

impl Job {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> JobState {
        self.standing().state
    }

    fn partition(&self) -> &'static str {
        catalog::partition(&self.region).unwrap_or("aws")
    }

    /// What the keys of its output begin with.
    fn output_folder(&self) -> String {
        match self.output.key.trim_end_matches('/') {
            "" => format!("{}/", self.id),
            key => format!("{key}/{}/", self.id),
        }
    }

    fn stands_at(&self, index: u64) -> bool {
        self.standing().stands_at.is_some_and(|at| index >= at)
    }

    fn count(&self, answered: &Answered) {
        let mut standing = self.standing();
        let counts = standing.counts.get_or_insert_default();
        counts.processed += 1;
        match answered.output {
            Ok(_) => counts.succeeded += 1,
            Err(_) => counts.failed += 1,
        }
        let (tokens, more) = (&mut standing.tokens, answered.tokens);
        tokens.input += more.input;
        tokens.output += more.output;
        tokens.cache_read += more.cache_read;
        tokens.cache_write += more.cache_write;
    }

    fn done(&self) -> (Counts, Tokens) {
        let standing = self.standing();
        (standing.counts.unwrap_or_default(), standing.tokens)
    }

    /// Goes from one state to another, unless it is no longer there.
    fn pass(&self, jobs: &Jobs, from: JobState, to: JobState, now: Timestamp) -> bool {
        let mut standing = self.standing();
        if standing.state != from {
            return false;
        }
        standing.state = to;
        standing.modified = now;
        standing.since = Instant::now();
        standing.ended = to.is_over().then_some(now);
        drop(standing);
        jobs.changed();
        true
    }

    fn fail(&self, jobs: &Jobs, from: JobState, message: String, now: Timestamp) {
        let mut standing = self.standing();
        if standing.state == from {
            standing.message = Some(message);
        }
        drop(standing);
        self.pass(jobs, from, JobState::Failed, now);
    }
}
