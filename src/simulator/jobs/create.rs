//! `CreateModelInvocationJob`: what is refused at once, and what a job is made of.

use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::faults::Bound;
use super::quota::Limits;
use super::{Job, JobState, Place, Standing, drive, role};
use crate::simulator::Tokens;
use crate::simulator::errors::{self, Failure};
use crate::simulator::operations::Context;
use crate::simulator::reply::Reply;
use crate::simulator::resolve::Target;
use crate::simulator::validate::shape;

/// Where a job is not told when to give up: not in AWS's reference, but what is seen.
const DEFAULT_HOURS: i64 = 24;

/// The name that a body gives a job; an unreadable one gives none.
pub(crate) fn peek(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["jobName"].as_str().unwrap_or_default().to_owned()
}

/// Answers `CreateModelInvocationJob`.
pub(crate) fn create(context: &Context<'_>, body: &[u8]) -> Result<Reply, Failure> {
    let request = shape::parse("bedrock#CreateModelInvocationJobRequest", body)?;
    let text = |member: &str| request[member].as_str().unwrap_or_default();
    let token = request["clientRequestToken"].as_str();
    let jobs = context.simulator.jobs_kept();
    if let Some(earlier) = token.and_then(|token| repeated(context, token)) {
        return again(&earlier, &request);
    }
    let target = model(context, text("modelId"))?;
    let converses = request["modelInvocationType"] == "Converse";
    let serves = if converses { target.model.converses() } else { target.model.invokes() };
    if !serves {
        return Err(Failure::validation("This action doesn't support the model that you provided."));
    }
    let id = new_id();
    let arn = context.own(&format!("model-invocation-job/{id}"));
    if !role::trusts(context.simulator, text("roleArn"), &arn) {
        return Err(Failure::validation(
            "Could not assume provided IAM role. Please verify IAM role exists and has the necessary trust relationship with Bedrock and try again.",
        ));
    }
    let input = place(context, &request["inputDataConfig"]["s3InputDataConfig"])?;
    let output = place(context, &request["outputDataConfig"]["s3OutputDataConfig"])?;
    let limits = jobs.quotas.limits(context.region, &target.model.id);
    let submitted = now(context);
    let hours = request["timeoutDurationInHours"].as_i64().unwrap_or(DEFAULT_HOURS);
    let job = Job {
        region: context.region.to_owned(),
        arn,
        name: text("jobName").to_owned(),
        token: token.map(str::to_owned),
        model_id: text("modelId").to_owned(),
        model: target.model.id.clone(),
        converses,
        role: text("roleArn").to_owned(),
        input,
        output,
        submitted,
        expires: submitted.saturating_add(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MAX),
        faults: Bound::default(),
        turn: tokio::sync::Mutex::default(),
        wake: Notify::new(),
        standing: Mutex::new(Standing {
            state: JobState::Submitted,
            message: None,
            modified: submitted,
            ended: None,
            since: Instant::now(),
            counts: None,
            tokens: Tokens::NONE,
            creates: 1,
            stands_at: None,
        }),
        request,
        id,
    };
    let job = place_in_order(context, job, limits)?;
    Ok(Reply::json(&json!({"jobArn": job.arn})))
}

/// The job is there and goes its way from here on, unless its name is taken or there are too many.
fn place_in_order(context: &Context<'_>, mut job: Job, limits: Limits) -> Result<Arc<Job>, Failure> {
    let jobs = context.simulator.jobs_kept();
    let mut kept = jobs.lock();
    let here = || kept.iter().filter(|other| other.region == job.region);
    if let Some(same) = here().find(|other| job.token.is_some() && other.token == job.token).cloned() {
        // The same call came in at the same time.
        return again(&same, &job.request).map(|_| same);
    }
    if here().any(|other| other.name == job.name) {
        return Err(Failure::new(400, "ConflictException", "The provided job name is currently in use."));
    }
    let open = here().filter(|other| other.model == job.model && other.state().takes_a_slot()).count();
    if open as u64 >= limits.max_jobs {
        return Err(Failure::new(
            400,
            "ServiceQuotaExceededException",
            format!(
                "You have reached the limit of {} submitted and in-progress batch inference jobs for the model {} in {}.",
                limits.max_jobs, job.model, job.region
            ),
        ));
    }
    job.faults = jobs.faults.take(&job.region);
    let job = Arc::new(job);
    kept.push(Arc::clone(&job));
    drop(kept);
    jobs.changed();
    drive::start(context.simulator, &job);
    Ok(job)
}

fn repeated(context: &Context<'_>, token: &str) -> Option<Arc<Job>> {
    let kept = context.simulator.jobs_kept().lock();
    kept.iter().find(|job| job.region == context.region && job.token.as_deref() == Some(token)).cloned()
}

/// "If this token matches a previous request, Amazon Bedrock ignores the request": the job that it made is told again.
fn again(job: &Job, request: &Value) -> Result<Reply, Failure> {
    if job.request != *request {
        return Err(Failure::new(
            400,
            "ConflictException",
            "The client request token was used before with different parameters. Use another token and try again.",
        ));
    }
    job.standing().creates += 1;
    Ok(Reply::json(&json!({"jobArn": job.arn})))
}

/// The model of a job, by an identifier by which it takes jobs here.
fn model(context: &Context<'_>, identifier: &str) -> Result<Target, Failure> {
    let target = context.resolve(identifier)?;
    let denies = |id: &str| context.simulator.inner.faults.is_denied(context.region, id);
    if denies(identifier) || denies(&target.model.id) {
        let (status, message) = errors::known("AccessDeniedException");
        return Err(Failure::new(status, "AccessDeniedException", message));
    }
    let takes = match target.kind() {
        "" | "application-inference-profile" if target.routing.is_some() => {
            target.model.batch.via_profile.contains(context.region)
        }
        "" | "application-inference-profile" => target.model.batch.single_region.contains(context.region),
        _ => false,
    };
    if takes {
        return Ok(target);
    }
    Err(Failure::validation(format!(
        "The provided model identifier {identifier} doesn't support batch inference in {}.",
        context.region
    )))
}

/// A place in a bucket of this Region.
fn place(context: &Context<'_>, config: &Value) -> Result<Place, Failure> {
    let place = Place::read(config["s3Uri"].as_str().unwrap_or_default());
    let bucket = context.simulator.inner.account.bucket(&place.bucket);
    let bucket = bucket.ok_or_else(|| {
        Failure::validation(format!(
            "The Amazon S3 bucket {} does not exist. Provide an existing bucket.",
            place.bucket
        ))
    })?;
    if bucket.region != context.region {
        return Err(Failure::validation(format!(
            "The Amazon S3 bucket {} is in {}. It must be in the Region of the batch inference job, {}.",
            place.bucket, bucket.region, context.region
        )));
    }
    Ok(place)
}

/// Twelve letters and digits that no other job has, whatever was simulated before.
fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect()
}

/// Jobs know milliseconds.
pub(super) fn now(context: &Context<'_>) -> Timestamp {
    let now = context.simulator.now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
