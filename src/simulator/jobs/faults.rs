//! What goes wrong with jobs when a test says so. A fault is for the next jobs that are created in its Region, first come first
//! served; errors of records stay until faults are cleared, and end for a record after its attempts.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which records of a job are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Every so-many-th, counted from 1 in the order of the input: `Every(1)` is all of them.
    Every(u64),
    /// Those of these `recordId`s.
    Named(Vec<String>),
}

impl Records {
    /// `index` counts from 0.
    fn takes(&self, index: u64, id: &str) -> bool {
        match self {
            Self::Every(0) => false,
            Self::Every(every) => (index + 1).is_multiple_of(*every),
            Self::Named(ids) => ids.iter().any(|named| named == id),
        }
    }
}

/// What becomes of the output of a job that fails half-way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// The records that were run are in the output; there is no manifest.
    Kept,
    /// There is no output.
    Lost,
}

/// What goes wrong with a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobFault {
    /// It fails before any record is run.
    Fail {
        message: String,
    },
    FailAfter {
        records: u64,
        message: String,
        partial: Partial,
    },
    /// Its time is up after so many records.
    PartialAfter {
        records: u64,
    },
    /// Its time is up before it begins.
    Expire,
    /// It stays `Scheduled` until it expires or is stopped.
    Stick,
    /// These records have no line in the output.
    Lose(Records),
    /// So many lines of records that nobody asked for.
    Add(u64),
    /// These records have two lines.
    Repeat(Records),
    NoManifest,
    /// The output is in the order of the input.
    InOrder,
}

/// The faults of one job.
#[derive(Debug, Default)]
pub(crate) struct Bound(Vec<JobFault>);

impl Bound {
    pub(crate) fn find<T>(&self, of: impl FnMut(&JobFault) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(of)
    }

    pub(crate) fn has(&self, fault: &JobFault) -> bool {
        self.0.contains(fault)
    }

    pub(crate) fn loses(&self, index: u64, id: &str) -> bool {
        self.0.iter().any(|fault| matches!(fault, JobFault::Lose(records) if records.takes(index, id)))
    }

    pub(crate) fn repeats(&self, index: u64, id: &str) -> bool {
        self.0.iter().any(|fault| matches!(fault, JobFault::Repeat(records) if records.takes(index, id)))
    }
}

#[derive(Debug)]
struct Waiting {
    region: String,
    times: u64,
    fault: JobFault,
}

/// An error of records.
#[derive(Clone, Debug)]
pub(crate) struct RecordError {
    pub(crate) records: Records,
    pub(crate) code: u16,
    pub(crate) message: String,
    /// In how many jobs one record meets it.
    pub(crate) attempts: u64,
}

#[derive(Debug)]
struct Erring {
    region: String,
    error: RecordError,
    /// By what the record asks: in how many jobs it failed, and the last of them.
    failed: HashMap<u64, (u64, String)>,
}

impl Erring {
    /// Whether the record fails in this job. A record is known again in a later job by its input, whatever its id and place are
    /// there; equal records of one job count once.
    fn fails(&mut self, job: &str, index: u64, id: &str, input: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let key = hasher.finish();
        let chosen = self.error.records.takes(index, id);
        let (times, last) = match self.failed.get(&key) {
            Some((times, last)) => (*times, last.as_str()),
            None if chosen => (0, ""),
            None => return false,
        };
        if last == job {
            return chosen;
        }
        if times >= self.error.attempts {
            return false;
        }
        self.failed.insert(key, (times + 1, job.to_owned()));
        true
    }
}

/// The faults that wait for jobs.
#[derive(Debug, Default)]
pub(crate) struct JobFaults {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    waiting: VecDeque<Waiting>,
    erring: Vec<Erring>,
}

impl JobFaults {
    pub(crate) fn add(&self, region: &str, times: u64, fault: JobFault) {
        if times > 0 {
            self.lock().waiting.push_back(Waiting { region: region.to_owned(), times, fault });
        }
    }

    pub(crate) fn err(&self, region: &str, error: RecordError) {
        self.lock().erring.push(Erring { region: region.to_owned(), error, failed: HashMap::new() });
    }

    pub(crate) fn clear(&self) {
        *self.lock() = Kept::default();
    }

    /// How many jobs will still meet a fault.
    pub(crate) fn waiting(&self) -> u64 {
        self.lock().waiting.iter().fold(0, |sum, waiting| sum.saturating_add(waiting.times))
    }

    /// The faults of a new job in `region`, of each kind at most one.
    pub(crate) fn take(&self, region: &str) -> Bound {
        let mut kept = self.lock();
        let mut taken: Vec<JobFault> = Vec::new();
        for waiting in kept.waiting.iter_mut().filter(|waiting| waiting.region == region || waiting.region == "*") {
            let kind = std::mem::discriminant(&waiting.fault);
            if !taken.iter().any(|fault| std::mem::discriminant(fault) == kind) {
                waiting.times -= 1;
                taken.push(waiting.fault.clone());
            }
        }
        kept.waiting.retain(|waiting| waiting.times > 0);
        Bound(taken)
    }

    /// The error of a record, if it meets one.
    pub(crate) fn error_of(
        &self,
        region: &str,
        job: &str,
        (index, id): (u64, &str),
        input: &str,
    ) -> Option<(u16, String)> {
        let mut kept = self.lock();
        let mut here = kept.erring.iter_mut().filter(|erring| erring.region == region || erring.region == "*");
        let erring = here.find_map(|erring| erring.fails(job, index, id, input).then_some(&erring.error))?;
        Some((erring.code, erring.message.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_takes_one_fault_of_each_kind() {
        let faults = JobFaults::default();
        let fail = |message: &str| JobFault::Fail { message: message.to_owned() };
        faults.add("us-east-1", 1, fail("first"));
        faults.add("*", 1, fail("second"));
        faults.add("us-east-1", 1, JobFault::NoManifest);
        let first = faults.take("us-east-1");
        assert!(first.has(&fail("first")) && first.has(&JobFault::NoManifest) && !first.has(&fail("second")));
        assert!(faults.take("us-east-1").has(&fail("second")));
        assert_eq!(faults.waiting(), 0);
    }

    #[test]
    fn a_record_fails_in_so_many_jobs_and_is_known_again_by_its_input() {
        let faults = JobFaults::default();
        let error = RecordError { records: Records::Every(2), code: 429, message: "slow down".to_owned(), attempts: 2 };
        faults.err("us-east-1", error);
        let fails =
            |job: &str, index: u64, input: &str| faults.error_of("us-east-1", job, (index, "r"), input).is_some();
        assert!(!fails("job1", 0, "a") && fails("job1", 1, "b"));
        assert!(fails("job2", 0, "b"), "a second attempt at another place");
        assert!(!fails("job3", 1, "b"), "its attempts are over");
        assert!(!fails("job4", 2, "c") && fails("job4", 3, "c") && fails("job4", 5, "c"), "equal records of one job");
        assert!(faults.error_of("us-west-2", "job5", (1, "r"), "d").is_none());
    }
}
