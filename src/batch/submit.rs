//! A batch is submitted: all that can be known at once is checked at once, and what it may cost is held.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::batches::Batches;
use super::estimate::Way;
use super::queries::{self, Added};
use super::record::{Batch, Counts, Endpoint, Invocation, Problem, State};
use super::source::Load;
use super::survey::{Group, Survey};
use super::webhook;
use crate::catalog::{Catalog, Place};
use crate::clock::Timestamp;
use crate::config::{self, SmallBatches};
use crate::error::{Error, Kind, Result};
use crate::gateway::{Asked, Gateway};
use crate::ids;
use crate::money::MicroUsd;
use crate::tenancy::{Caller, Demand, Hold, Need, Output, Scope, Worst};

/// What files that a batch is made of are for.
const PURPOSE: &str = "batch";
/// Why records run online.
const NO_JOBS: &str = "the model takes no batch jobs in the Regions with a bucket";
const FEW: &str = "fewer records than AWS takes as a batch job";

/// A batch as a surface was asked for it.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// Unique, made by the surface: where it is derived from the request, a repeat meets the first.
    pub id: String,
    /// `openai`, `anthropic`, `bedrock`.
    pub surface: &'static str,
    /// What its records ask for.
    pub endpoint: Endpoint,
    /// The file of its records.
    pub input_file: String,
    /// The member of the request that names the file, for errors.
    pub param: &'static str,
    /// The model of a native job, as its caller names it.
    pub model: Option<String>,
    /// Of a native job.
    pub invocation: Option<Invocation>,
    /// How long it may take.
    pub window: Duration,
    /// The caller's own.
    pub metadata: BTreeMap<String, String>,
    /// What the surface wants back: JSON of its own.
    pub details: Option<String>,
    /// Who is told when it is over.
    pub webhook_url: Option<String>,
}

impl Batches {
    /// Submits a batch: from here on it runs by itself. A file with a bad line makes a batch that has failed, with the
    /// lines in [`Batch::errors`].
    ///
    /// # Errors
    /// `Forbidden` without the scope `batch`; `NotFound` without the file; `ModelNotFound`, or `Forbidden` by the Region
    /// fence, for one of its models; `Invalid` for what is no batch's file or too small where that is refused;
    /// `BudgetExhausted`, the estimate in its message, where a budget has less left; `Conflict` where there is a batch of
    /// that id.
    pub async fn submit(&self, caller: &Caller, new: NewBatch) -> Result<Batch> {
        caller.require(Scope::Batch)?;
        if self.codecs().of(new.endpoint).is_none() {
            return Err(Error::unsupported("endpoint", "This gateway runs no batches for this endpoint."));
        }
        if let Some(url) = &new.webhook_url {
            webhook::check(self.gateway().fetcher(), &caller.team, url)?;
        }
        let now = self.now();
        let input = queries::input(self.store(), &caller.team.id, &new.input_file, now).await?;
        let input = input.ok_or_else(|| no_file(&new.input_file, new.param))?;
        if input.purpose != PURPOSE {
            let message = format!("The file `{}` is not for batches: its purpose has to be `batch`.", new.input_file);
            return Err(Error::invalid(new.param, message));
        }
        let survey = input.survey;
        let mut batch = row(caller, &new, survey.records, now);
        if let Some(problems) = self.problems(&new, &survey) {
            batch = Batch { state: State::Failed, errors: problems, ended_at: Some(now), ..batch };
            self.insert(&batch, None, new.param).await?;
            return Ok(batch);
        }
        let mut ways = Vec::with_capacity(survey.groups.len());
        for Group { model, load } in &survey.groups {
            let name = new.model.as_ref().unwrap_or(model);
            let way = self.way(caller, name, load).await?;
            check_size(self.settings(), &way, load, new.param)?;
            ways.push((way, *load));
        }
        let gateway = self.gateway();
        batch.estimate = ways.iter().map(|(way, load)| way.worst(&gateway, load)).sum();
        let hold = self.hold(caller, &batch).await?;
        self.insert(&batch, Some(self.worker()), new.param).await?;
        tracing::info!(batch = %batch.id, records = survey.records, "a batch was submitted");
        self.take(&batch, hold);
        Ok(batch)
    }

    async fn insert(&self, batch: &Batch, worker: Option<&str>, param: &'static str) -> Result<()> {
        match queries::insert(self.store(), batch, worker).await? {
            Added::Yes => Ok(()),
            Added::Known => Err(Error::new(Kind::Conflict, format!("There is a batch `{}` already.", batch.id))),
            Added::NoFile => Err(no_file(&batch.input_file, param)),
        }
    }

    /// What is wrong with the file, if anything is.
    fn problems(&self, new: &NewBatch, survey: &Survey) -> Option<Vec<Problem>> {
        if !survey.problems.is_empty() || survey.bad > 0 {
            return Some(survey.problems.clone());
        }
        let whole = |code: &str, message: String, param: Option<&str>| {
            Some(vec![Problem { line: None, code: code.into(), message, param: param.map(Into::into) }])
        };
        let codec = self.codecs().of(new.endpoint)?;
        if survey.form != Some(codec.form) {
            let wanted: &'static str = codec.form.into();
            let message = format!("The lines of this file are not those of a batch of this kind (`{wanted}`).");
            return whole("invalid_file_format", message, None);
        }
        let endpoint: &'static str = new.endpoint.into();
        match survey.url.as_deref() {
            Some(url) if url != endpoint => {
                let message = format!("The `url` of the lines is `{url}`, and the batch is for `{endpoint}`.");
                whole("mismatched_endpoint", message, Some("url"))
            }
            _ => None,
        }
    }

    /// Where the records of one model can go.
    pub(super) async fn way(&self, caller: &Caller, name: &str, load: &Load) -> Result<Way> {
        let gateway = self.gateway();
        let model = gateway.model(caller, name).await?;
        let names = model.resolved.names(&model.name);
        let need =
            Need { id: "", scope: Scope::Batch, model: Some(&model.name), names: &names, demand: Demand::NOTHING };
        caller.permits(&need)?;
        let online = gateway.candidates(caller, &model.resolved)?;
        let mut jobs = job_places(&gateway.catalog(), self.settings(), &model, &online);
        let limits = gateway.catalog().batch_limits(&model.resolved.name);
        let is_small = limits.is_none_or(|limits| load.records < limits.min_records);
        let why_online = if jobs.is_empty() { NO_JOBS } else { FEW };
        if Gateway::keeps_from_jobs(&caller.team).is_some() || is_small {
            jobs.clear();
        }
        Ok(Way { model, jobs, online, why_online })
    }

    /// Holds what it may cost.
    async fn hold(&self, caller: &Caller, batch: &Batch) -> Result<Hold> {
        let cost = match batch.estimate {
            None if caller.is_budgeted() => Worst::Unknown,
            None => Worst::Free,
            Some(MicroUsd(micros)) => {
                let input_pico = u128::try_from(micros).unwrap_or_default().saturating_mul(1_000_000);
                Worst::Known { input_pico, output_pico: 0 }
            }
        };
        let demand = Demand { input_tokens: 0, output: Output::Asked(0), cost };
        let need = Need { id: &batch.id, scope: Scope::Batch, model: None, names: &[], demand };
        let admitted = self.gateway().tenancy().admit(caller, &need).await;
        admitted.map_err(|refused| with_estimate(refused.error, batch.estimate))
    }
}

/// The refusal of a budget, and how much was asked of it.
fn with_estimate(error: Error, estimate: Option<MicroUsd>) -> Error {
    let (Kind::BudgetExhausted, Some(estimate)) = (error.kind(), estimate) else { return error };
    let message =
        format!("{} This batch may cost {estimate} USD at most, which is held until it ends.", error.message());
    let mut told = Error::new(Kind::BudgetExhausted, message);
    if let Some(reason) = error.refused_by() {
        told = told.reason(reason);
    }
    if let Some(exception) = error.aws() {
        told = told.exception(exception);
    }
    match error.wait() {
        Some(after) => told.retry_after(after),
        None => told,
    }
}

/// Those of `places` where a job of the model may be made: AWS takes them there, and there is a bucket.
pub(super) fn job_places(
    catalog: &Catalog,
    settings: &config::Batch,
    model: &Asked,
    places: &[Arc<Place>],
) -> Vec<Arc<Place>> {
    let Some(offer) = catalog.batch(&model.resolved.name) else { return Vec::new() };
    let is_good =
        |place: &&Arc<Place>| settings.bucket.contains_key(&*place.region) && offer.takes(&place.region, &place.scope);
    places.iter().filter(is_good).cloned().collect()
}

fn check_size(settings: &config::Batch, way: &Way, load: &Load, param: &'static str) -> Result<()> {
    if settings.small_batches == SmallBatches::Online || !way.jobs.is_empty() {
        return Ok(());
    }
    let message = format!(
        "The {} records for `{}` cannot be a batch job: AWS takes jobs of at least 100 records, of models that have batch \
         inference in a Region with a bucket. This gateway is set to refuse them (batch.small_batches).",
        load.records, way.model.name
    );
    Err(Error::invalid(param, message))
}

fn no_file(id: &str, param: &'static str) -> Error {
    let message = format!("There is no file `{id}`. Upload one by POST /v1/files with the purpose `batch`.");
    Error::new(Kind::NotFound, message).param(param)
}

/// The batch as it is submitted.
fn row(caller: &Caller, new: &NewBatch, records: u64, now: Timestamp) -> Batch {
    let has_errors = !matches!(new.endpoint, Endpoint::Messages | Endpoint::Native);
    Batch {
        id: new.id.clone(),
        team: caller.team.id.clone(),
        key: caller.key.id.clone(),
        surface: new.surface.to_owned(),
        endpoint: new.endpoint,
        model: new.model.clone(),
        invocation: new.invocation,
        input_file: new.input_file.clone(),
        output_file: Some(ids::fresh("file-")),
        error_file: has_errors.then(|| ids::fresh("file-")),
        state: State::Validating,
        counts: Counts { total: records, ..Counts::default() },
        estimate: None,
        cost: MicroUsd::default(),
        unpriced: 0,
        metadata: new.metadata.clone(),
        details: new.details.clone(),
        errors: Vec::new(),
        reason: None,
        webhook_url: new.webhook_url.clone(),
        created_at: now,
        in_progress_at: None,
        finalizing_at: None,
        cancelling_at: None,
        ended_at: None,
        expires_at: now.plus(new.window),
    }
}
