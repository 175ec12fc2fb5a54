//! `GetModelInvocationJob`, `ListModelInvocationJobs`, `StopModelInvocationJob`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::create::now;
use super::{Counts, Job, JobState};
use crate::simulator::errors::Failure;
use crate::simulator::handler::query;
use crate::simulator::operations::Context;
use crate::simulator::reply::Reply;

const PAGE: usize = 100;

/// Answers `GetModelInvocationJob`.
pub(crate) fn get(context: &Context<'_>, identifier: &str) -> Result<Reply, Failure> {
    Ok(Reply::json(&told(&*found(context, identifier)?)))
}

/// Answers `StopModelInvocationJob`.
pub(crate) fn stop(context: &Context<'_>, identifier: &str) -> Result<Reply, Failure> {
    let (job, jobs) = (found(context, identifier)?, context.simulator.jobs_kept());
    loop {
        let state = job.state();
        if !state.takes_a_slot() {
            let message = format!("The batch inference job is in the {} state and can't be stopped.", state.name());
            return Err(Failure::new(400, "ConflictException", message));
        }
        if job.pass(jobs, state, JobState::Stopping, now(context)) {
            job.wake.notify_one();
            return Ok(Reply::json(&json!({})));
        }
    }
}

fn found(context: &Context<'_>, identifier: &str) -> Result<Arc<Job>, Failure> {
    let kept = context.simulator.jobs_kept().lock();
    let is_meant = |job: &&Arc<Job>| job.region == context.region && (job.id == identifier || job.arn == identifier);
    let job = kept.iter().find(is_meant).cloned();
    job.ok_or_else(|| Failure::not_found("Could not find a batch inference job with the provided job identifier."))
}

/// Answers `ListModelInvocationJobs`, the newest first unless asked otherwise; the token is the id last told.
pub(crate) fn list(context: &Context<'_>) -> Result<Reply, Failure> {
    let query = query(context.query);
    let text = |name: &str| query.get(name).map(String::as_str);
    let time = |name: &str| text(name).and_then(|text| text.parse::<Timestamp>().ok());
    let (after, before) = (time("submitTimeAfter"), time("submitTimeBefore"));
    let size = text("maxResults").and_then(|text| text.parse().ok()).unwrap_or(PAGE);
    let kept = context.simulator.jobs_kept().of(context.region);
    let mut all: Vec<(usize, &Arc<Job>)> = kept
        .iter()
        .enumerate()
        .filter(|(_, job)| text("statusEquals").is_none_or(|status| job.state().name() == status))
        .filter(|(_, job)| text("nameContains").is_none_or(|part| job.name.contains(part)))
        .filter(|(_, job)| after.is_none_or(|after| job.submitted > after))
        .filter(|(_, job)| before.is_none_or(|before| job.submitted < before))
        .collect();
    let ascending = text("sortOrder") == Some("Ascending");
    if !ascending {
        all.reverse();
    }
    let start = match text("nextToken") {
        None => 0,
        Some(token) => {
            let last = kept.iter().position(|job| job.id == token);
            let last = last.ok_or_else(|| Failure::validation("The pagination token that you provided is invalid."))?;
            // The job last told may be one that the filter leaves out by now.
            all.iter().take_while(|(at, _)| if ascending { *at <= last } else { *at >= last }).count()
        }
    };
    let page: Vec<Value> = all.iter().skip(start).take(size).map(|(_, job)| told(job)).collect();
    let mut body = json!({"invocationJobSummaries": page});
    if start + size < all.len() {
        body["nextToken"] = Value::from(all[start + size - 1].1.id.as_str());
    }
    Ok(Reply::json(&body))
}

/// Jobs tell milliseconds.
fn stamp(at: Timestamp) -> Value {
    Value::from(Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at).to_string())
}

/// A job, as Get and List tell it.
fn told(job: &Job) -> Value {
    let standing = job.standing();
    let mut told = Map::new();
    let mut put = |member: &str, value: Value| {
        if !value.is_null() {
            told.insert(member.to_owned(), value);
        }
    };
    put("jobArn", Value::from(job.arn.as_str()));
    put("status", Value::from(standing.state.name()));
    put("message", standing.message.as_deref().map_or(Value::Null, Value::from));
    put("submitTime", stamp(job.submitted));
    put("lastModifiedTime", stamp(standing.modified));
    put("endTime", standing.ended.map_or(Value::Null, stamp));
    put("jobExpirationTime", stamp(job.expires));
    let echoed =
        ["jobName", "modelId", "clientRequestToken", "roleArn", "inputDataConfig", "outputDataConfig", "vpcConfig"];
    for member in echoed {
        put(member, job.request[member].clone());
    }
    put("timeoutDurationInHours", job.request["timeoutDurationInHours"].clone());
    put("modelInvocationType", Value::from(if job.converses { "Converse" } else { "InvokeModel" }));
    if let Some(Counts { total, processed, succeeded, failed }) = standing.counts {
        put("totalRecordCount", Value::from(total));
        put("processedRecordCount", Value::from(processed));
        put("successRecordCount", Value::from(succeeded));
        put("errorRecordCount", Value::from(failed));
    }
    Value::Object(told)
}
