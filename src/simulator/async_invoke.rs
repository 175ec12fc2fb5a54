//! `StartAsyncInvoke`, `GetAsyncInvoke`, `ListAsyncInvokes`: invocations in memory, per Region. One is `InProgress` when it is first
//! asked after and `Completed` from then on, or `Failed` when its input says `[[fail]]`; `POST /_sim/async-invokes/complete`
//! ends those that wait. What it would write to S3 is not simulated: there is no S3 here yet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::catalog::{Family, Model};
use super::content;
use super::errors::Failure;
use super::handler::query;
use super::invoke::check_async;
use super::operations::Context;
use super::reply::Reply;
use super::validate::shape;

const PAGE: usize = 100;

/// The invocations of one simulator, oldest first.
#[derive(Debug, Default)]
pub(crate) struct AsyncInvokes {
    kept: Mutex<Vec<Invocation>>,
}

#[derive(Clone, Debug)]
struct Invocation {
    region: String,
    arn: String,
    model_arn: String,
    token: Option<String>,
    request: Value,
    submitted: Timestamp,
    ended: Option<Timestamp>,
    status: &'static str,
    /// It was asked after while in progress.
    seen: bool,
}

impl Invocation {
    fn end(&mut self, now: Timestamp) {
        if self.ended.is_none() {
            let fails = self.request["modelInput"].to_string().contains("[[fail]]");
            self.status = if fails { "Failed" } else { "Completed" };
            self.ended = Some(now);
        }
    }

    fn told(&self) -> Value {
        let mut told = json!({
            "invocationArn": self.arn,
            "modelArn": self.model_arn,
            "status": self.status,
            "submitTime": self.submitted.to_string(),
            "lastModifiedTime": self.ended.unwrap_or(self.submitted).to_string(),
            "outputDataConfig": self.request["outputDataConfig"],
        });
        if let Some(token) = &self.token {
            told["clientRequestToken"] = Value::from(token.as_str());
        }
        if let Some(ended) = self.ended {
            told["endTime"] = Value::from(ended.to_string());
        }
        if self.status == "Failed" {
            told["failureMessage"] = Value::from("The model could not process the input.");
        }
        told
    }
}

impl AsyncInvokes {
    /// Ends every invocation that is in progress.
    pub(crate) fn complete(&self, now: Timestamp) {
        self.lock().iter_mut().for_each(|invocation| invocation.end(now));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Invocation>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now(context: &Context<'_>) -> Timestamp {
    let now = context.simulator.now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// The foundation model of a call; profiles are not taken.
fn model(context: &Context<'_>, identifier: &str) -> Result<Arc<Model>, Failure> {
    let invalid = || Failure::validation("The provided model identifier is invalid.");
    let id = match identifier.strip_prefix("arn:") {
        None => identifier,
        Some(arn) => {
            let parts: Vec<&str> = arn.splitn(5, ':').collect();
            let [_, "bedrock", region, _, resource] = parts[..] else { return Err(invalid()) };
            resource.strip_prefix("foundation-model/").filter(|_| region == context.region).ok_or_else(invalid)?
        }
    };
    let model = context.catalog.model(id).ok_or_else(invalid)?;
    if model.withdrawn(&context.today()) {
        return Err(Failure::not_found(
            "This model version has reached the end of its life. Please refer to the AWS documentation for more details.",
        ));
    }
    if !model.on_demand_in(context.region) && context.catalog.profile_of(model, context.region).is_none() {
        return Err(invalid());
    }
    match model.family() {
        Family::Marengo | Family::NovaEmbedding => Ok(Arc::clone(model)),
        _ => Err(Failure::validation("The provided model doesn't support asynchronous invocation.")),
    }
}

/// The model that a body of `StartAsyncInvoke` names; an unreadable one names none.
pub(crate) fn peek(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["modelId"].as_str().unwrap_or_default().to_owned()
}

/// Answers `StartAsyncInvoke`.
pub(crate) fn start(context: &Context<'_>, body: &[u8]) -> Result<Reply, Failure> {
    let request = shape::parse("StartAsyncInvokeRequest", body)?;
    let model = model(context, request["modelId"].as_str().unwrap_or_default())?;
    let token = request["clientRequestToken"].as_str();
    let mut kept = context.simulator.async_invokes().lock();
    let same = |invocation: &&Invocation| {
        token.is_some() && invocation.region == context.region && invocation.token.as_deref() == token
    };
    if let Some(earlier) = kept.iter().find(same) {
        if earlier.request == request {
            return Ok(Reply::json(&json!({"invocationArn": earlier.arn})));
        }
        return Err(Failure::new(
            400,
            "ConflictException",
            "The client request token was used before with different parameters. Use another token and try again.",
        ));
    }
    check_async(&model, &request["modelInput"])?;
    let id: String = content::identifier("", kept.len() as u64, 1).to_lowercase().chars().take(12).collect();
    let own = format!("arn:{}:bedrock:{}", context.partition(), context.region);
    let arn = format!("{own}:{}:async-invoke/{id}", context.account());
    kept.push(Invocation {
        region: context.region.to_owned(),
        arn: arn.clone(),
        model_arn: format!("{own}::foundation-model/{}", model.id),
        token: token.map(str::to_owned),
        request,
        submitted: now(context),
        ended: None,
        status: "InProgress",
        seen: false,
    });
    Ok(Reply::json(&json!({"invocationArn": arn})))
}

/// Answers `GetAsyncInvoke`.
pub(crate) fn get(context: &Context<'_>, arn: &str) -> Result<Reply, Failure> {
    let at = now(context);
    let mut kept = context.simulator.async_invokes().lock();
    let found = kept.iter_mut().find(|invocation| invocation.region == context.region && invocation.arn == arn);
    // GetAsyncInvoke declares no ResourceNotFoundException.
    let found = found.ok_or_else(|| Failure::validation("The provided invocation ARN is invalid."))?;
    if std::mem::replace(&mut found.seen, true) {
        found.end(at);
    }
    Ok(Reply::json(&found.told()))
}

/// Answers `ListAsyncInvokes`, the newest first unless asked otherwise; the token is the ARN last told.
pub(crate) fn list(context: &Context<'_>) -> Result<Reply, Failure> {
    let query = query(context.query);
    let text = |name: &str| query.get(name).map(String::as_str);
    let time = |name: &str| text(name).and_then(|text| text.parse::<Timestamp>().ok());
    let (after, before) = (time("submitTimeAfter"), time("submitTimeBefore"));
    let size = text("maxResults").and_then(|text| text.parse().ok()).unwrap_or(PAGE);
    let kept = context.simulator.async_invokes().lock();
    let mut all: Vec<&Invocation> = kept
        .iter()
        .filter(|invocation| invocation.region == context.region)
        .filter(|invocation| text("statusEquals").is_none_or(|status| invocation.status == status))
        .filter(|invocation| after.is_none_or(|after| invocation.submitted > after))
        .filter(|invocation| before.is_none_or(|before| invocation.submitted < before))
        .collect();
    if text("sortOrder") != Some("Ascending") {
        all.reverse();
    }
    let start = match text("nextToken") {
        None => 0,
        Some(token) => {
            let last = all.iter().position(|invocation| invocation.arn == token);
            last.ok_or_else(|| Failure::validation("The pagination token that you provided is invalid."))? + 1
        }
    };
    let page: Vec<Value> = all.iter().skip(start).take(size).map(|invocation| invocation.told()).collect();
    let mut body = json!({"asyncInvokeSummaries": page});
    if start + size < all.len() {
        body["nextToken"] = Value::from(all[start + size - 1].arn.as_str());
    }
    Ok(Reply::json(&body))
}
