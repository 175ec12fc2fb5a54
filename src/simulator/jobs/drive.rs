//! What takes a job from state to state: a task for each job, and the step that it and a test's order share.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::faults::JobFault;
use super::run::{End, Run, Slice};
use super::{Job, JobPace, JobState, inspect, role};
use crate::simulator::Simulator;

/// What a job does next by itself.
enum Turn {
    Over,
    Step,
    After(Duration),
    /// Somebody has to wake it.
    Wait,
}

/// Has a job go its way, for as long as its simulator is there.
pub(crate) fn start(simulator: &Simulator, job: &Arc<Job>) {
    let (inner, job) = (Arc::downgrade(&simulator.inner), Arc::clone(job));
    simulator.jobs_kept().tracker.spawn(async move {
        loop {
            let Some(inner) = inner.upgrade() else { return };
            let simulator = Simulator { inner };
            match turn(&simulator, &job) {
                Turn::Over => return,
                Turn::Step => step(&simulator, &job).await,
                Turn::After(delay) => {
                    drop(simulator);
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = job.wake.notified() => {}
                    }
                }
                Turn::Wait => {
                    drop(simulator);
                    job.wake.notified().await;
                }
            }
        }
    });
}

fn turn(simulator: &Simulator, job: &Job) -> Turn {
    let (state, since, stands) = {
        let standing = job.standing();
        let processed = standing.counts.unwrap_or_default().processed;
        (standing.state, standing.since, standing.stands_at.is_some_and(|at| processed >= at))
    };
    if state.is_over() {
        return Turn::Over;
    }
    if is_late(job, state, simulator.now()) {
        return Turn::Step;
    }
    let sticks = state == JobState::Scheduled && job.faults.has(&JobFault::Stick);
    let paces = simulator.jobs_kept().paces();
    if sticks || paces.holds(&job.region, state) || (state == JobState::InProgress && stands) {
        return Turn::Wait;
    }
    match paces.of(&job.region) {
        JobPace::Manual => Turn::Wait,
        JobPace::Automatic(delay) => match delay.checked_sub(since.elapsed()) {
            Some(left) if !left.is_zero() => Turn::After(left),
            _ => Turn::Step,
        },
    }
}

/// Whether its time is up.
fn is_late(job: &Job, state: JobState, now: Timestamp) -> bool {
    state.takes_a_slot() && now >= job.expires
}

/// Does what a job has to do in its state, and takes it to the next one.
pub(crate) async fn step(simulator: &Simulator, job: &Job) {
    let mut work = job.turn.lock().await;
    let (jobs, state, now) = (simulator.jobs_kept(), job.state(), simulator.now());
    if is_late(job, state, now) && state != JobState::InProgress {
        job.pass(jobs, state, JobState::Expired, now);
        return;
    }
    match state {
        JobState::Submitted => {
            job.pass(jobs, state, JobState::Validating, now);
        }
        JobState::Validating => validate(simulator, job).await,
        JobState::Scheduled => begin(simulator, job),
        JobState::InProgress => Box::pin(proceed(simulator, job, &mut work)).await,
        JobState::Stopping => {
            if let Some(mut run) = work.take() {
                // It was stopped: that its output could not be written changes nothing any more.
                run.end(simulator, job, &End::Early).ok();
            }
            job.pass(jobs, state, JobState::Stopped, now);
        }
        _ => {}
    }
}

async fn validate(simulator: &Simulator, job: &Job) {
    let jobs = simulator.jobs_kept();
    let Ok(_busy) = jobs.busy.acquire().await else { return };
    let limits = jobs.quotas.limits(&job.region, &job.model);
    let found = match inspect::files(simulator, job) {
        Ok(files) => role::check(simulator, job, &files),
        // A role that may not even list does not learn what is missing.
        Err(message) => role::check(simulator, job, &[]).and(Err(message)),
    };
    let counted = match found {
        Ok(()) => inspect::count(simulator, job, limits).await,
        Err(message) => Err(message),
    };
    match counted {
        Ok(total) => {
            job.standing().counts.get_or_insert_default().total = total;
            job.pass(jobs, JobState::Validating, JobState::Scheduled, simulator.now());
        }
        Err(message) => job.fail(jobs, JobState::Validating, message, simulator.now()),
    }
}

fn begin(simulator: &Simulator, job: &Job) {
    let (jobs, now) = (simulator.jobs_kept(), simulator.now());
    let message = job.faults.find(|fault| match fault {
        JobFault::Fail { message } => Some(message.clone()),
        _ => None,
    });
    if let Some(message) = message {
        job.fail(jobs, JobState::Scheduled, message, now);
    } else if job.faults.has(&JobFault::Expire) {
        job.pass(jobs, JobState::Scheduled, JobState::Expired, now);
    } else if !job.faults.has(&JobFault::Stick) {
        job.pass(jobs, JobState::Scheduled, JobState::InProgress, now);
    }
}

async fn proceed(simulator: &Simulator, job: &Job, work: &mut Option<Box<Run>>) {
    let jobs = simulator.jobs_kept();
    let Ok(_busy) = jobs.busy.acquire().await else { return };
    let mut run = match work.take().map_or_else(|| Run::begin(simulator, job).map(Box::new), Ok) {
        Ok(run) => run,
        Err(message) => return job.fail(jobs, JobState::InProgress, message, simulator.now()),
    };
    let end = loop {
        if is_late(job, job.state(), simulator.now()) {
            break End::Early;
        }
        match run.slice(simulator, job) {
            Slice::More => tokio::task::yield_now().await,
            Slice::Stands => {
                *work = Some(run);
                return;
            }
            Slice::End(end) => break end,
        }
    };
    let end = match run.end(simulator, job, &end) {
        Ok(()) => end,
        Err(error) => {
            let message = format!("The job could not write its output: {error}.");
            End::Failed { message, partial: super::Partial::Lost }
        }
    };
    match end {
        End::Done => job.pass(jobs, JobState::InProgress, JobState::Completed, simulator.now()),
        End::Early => job.pass(jobs, JobState::InProgress, JobState::PartiallyCompleted, simulator.now()),
        End::Failed { message, .. } => {
            job.fail(jobs, JobState::InProgress, message, simulator.now());
            true
        }
    };
}
