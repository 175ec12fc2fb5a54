//! The one path that every completion takes, whatever dialect it came in: admit, candidates, attempt, settle.
//!
//! A surface calls [`Gateway::complete`], [`Gateway::stream`] with a canonical request, or [`Gateway::forward`],
//! [`Gateway::forward_stream`] with bytes that already are what the model speaks. No call that was admitted ends
//! without being booked, once; see `settle.rs`.

mod admit;
mod attempt;
mod candidates;
mod carry;
mod drain;
mod identify;
mod meter;
mod outline;
mod parts;
mod plain;
mod profile;
mod semantics;
mod service;
mod settle;
mod statement;
mod stream;
mod traced;
mod trail;
mod unveil;
mod waits;
mod weight;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

pub use attempt::Failover;
pub use drain::outlive;
pub use identify::Guests;
pub use parts::{Changes, Parts};
pub use plain::Target;
pub use service::{LATENCY, Latency, Service, TIER};
pub use settle::{Booked, Charge, Receipt};
pub use stream::{EventStream, FrameStream};
pub use trail::Trail;
pub use waits::Waiting;

use crate::catalog::{self, Catalog, Charged, Freshness, Live, Place, Quotas, Resolved};
use crate::clock::Clock;
use crate::converse::{self, Usage};
use crate::error::{Error, Kind};
use crate::families;
use crate::fetch::Fetcher;
use crate::idempotency::Idempotency;
use crate::invocations::Invocations;
use crate::memory::Memory;
use crate::money::MicroUsd;
use crate::report::Report;
use crate::responses::Responses;
use crate::telemetry::{Capture, Metrics, Traces};
use crate::tenancy::usage::Usage as Reports;
use crate::tenancy::{Caller, Team, Tenancy};
use crate::upstream::sticky::Sticky;
use crate::upstream::{Call, Operation, Region, Regions, Reply, TeamRole, Upstream};
use admit::Admitted;
use attempt::Ask;
use candidates::Work;
use meter::Meter;
use settle::Settlement;
use statement::Statement;
use weight::Ratios;

/// What a whole answer to `operation` says that it used, where nothing but its body is known: a job's answers have no
/// headers.
pub fn used(operation: Operation, answer: &[u8]) -> Option<Usage> {
    Statement::of(operation, &HeaderMap::new(), answer).usage
}

/// What every request needs. A cheap clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

/// The gateway as it is now, for what outlives a change of the configuration. A cheap clone.
#[derive(Clone)]
pub struct Present(Arc<dyn Fn() -> Gateway + Send + Sync>);

impl Present {
    /// What `find` finds whenever it is asked.
    pub fn new(find: impl Fn() -> Gateway + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    /// By the settings as they are now. A piece of work takes it once.
    pub fn now(&self) -> Gateway {
        (self.0)()
    }
}

impl fmt::Debug for Present {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Present(..)")
    }
}

struct Inner {
    parts: Parts,
    /// The Regions that are called, in order of preference.
    regions: Vec<Arc<str>>,
    /// Who served which conversation last.
    sticky: Sticky,
    profiles: Arc<unveil::Profiles>,
    /// What bodies weighed so far.
    ratios: Arc<Ratios>,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changes(..)")
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gateway(..)")
    }
}

/// A model as a caller asked for it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The name that was used.
    pub name: String,
    /// What it stands for.
    pub resolved: Resolved,
}

/// Where a request came from, for the ledger.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `openai`, `anthropic` or `bedrock`.
    pub surface: &'static str,
    /// What was asked for, as the metric labels name it.
    pub operation: &'static str,
    /// Where the request leaves its marks.
    pub trail: Trail,
    /// Who the caller says its own user is.
    pub end_user: Option<String>,
    /// The HTTP status by which the surface answers with an error: what the ledger says the caller got.
    pub status: fn(&Error) -> u16,
}

/// An answer, and how it came about.
#[derive(Debug)]
pub struct Answer<T> {
    /// What the client asked for.
    pub body: T,
    /// How it came about.
    pub served: Served,
}

/// How an answer came about.
#[derive(Clone, Debug)]
pub struct Served {
    /// The Region that was called.
    pub region: Arc<str>,
    /// Attempts made.
    pub attempts: u32,
    /// What the access log may know.
    pub receipt: Arc<Receipt>,
    /// What it cost; told only of whole answers.
    pub cost: Cost,
    /// How it was served, as far as AWS said so by then.
    pub service: Service,
    /// What the gateway changed about the call for the sake of the caller's limits.
    pub changes: Report,
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Settled.
    Known(MicroUsd),
    /// The model has no known price.
    Unknown,
    /// The answer has not ended.
    Open,
}

impl Gateway {
    /// Puts a gateway together.
    pub fn new(parts: Parts) -> Self {
        let regions = regions(&parts);
        let (profiles, ratios) = (Arc::default(), Arc::default());
        Self(Arc::new(Inner { parts, regions, sticky: Sticky::default(), profiles, ratios }))
    }

    /// The gateway by another configuration. It shares with this one what is remembered and counted; this one stays what
    /// it is, for the calls that it has begun.
    #[must_use]
    pub fn changed(&self, changes: Changes) -> Self {
        let Inner { parts, sticky, profiles, ratios, .. } = &*self.0;
        let parts = parts.changed(changes);
        let regions = regions(&parts);
        let (sticky, profiles, ratios) = (sticky.clone(), Arc::clone(profiles), Arc::clone(ratios));
        Self(Arc::new(Inner { parts, regions, sticky, profiles, ratios }))
    }

    /// Who calls without a key of the store.
    pub fn guests(&self) -> &Guests {
        &self.0.parts.guests
    }

    /// The catalog that is replaced when AWS tells something new.
    pub fn live(&self) -> &Live {
        &self.0.parts.catalog
    }

    /// Models and where they can be called, as it is known now.
    pub fn catalog(&self) -> Catalog {
        self.0.parts.catalog.now()
    }

    /// How fresh what is known of each Region is, in order of preference.
    pub fn catalog_state(&self) -> Vec<Freshness> {
        self.0.regions.iter().map(|region| self.0.parts.catalog.freshness(region)).collect()
    }

    /// Teams, keys, and the ledger.
    pub fn tenancy(&self) -> &Tenancy {
        &self.0.parts.tenancy
    }

    /// Whose the asynchronous invocations are.
    pub fn invocations(&self) -> &Invocations {
        &self.0.parts.invocations
    }

    /// The Regions that are called, in order of preference.
    pub fn regions(&self) -> &[Arc<str>] {
        &self.0.regions
    }

    /// AWS, Region by Region.
    pub fn upstream(&self) -> &Upstream {
        &self.0.parts.upstream
    }

    /// AWS, Region by Region, with the identity that calls of `caller` are made with: its team's role, if it has one.
    pub fn regions_as(&self, caller: &Caller) -> Regions {
        let team = &*caller.team;
        let role = team.role.as_ref();
        let role = role.map(|role| TeamRole { team: team.id.as_str(), name: &team.name, arn: role.as_str() });
        self.upstream().regions_for(role)
    }

    /// What is kept of answers.
    pub fn responses(&self) -> &Responses {
        &self.0.parts.responses
    }

    /// What calls used and cost.
    pub fn usage(&self) -> &Reports {
        &self.0.parts.usage
    }

    /// Calls that are made once, however often they are asked for.
    pub fn idempotency(&self) -> &Idempotency {
        &self.0.parts.idempotency
    }

    /// Files that requests point to.
    pub fn fetcher(&self) -> &Fetcher {
        &self.0.parts.fetcher
    }

    /// What the bodies of requests may take together.
    pub fn memory(&self) -> &Memory {
        &self.0.parts.memory
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.parts.metrics
    }

    /// Makes spans, if somebody collects them.
    pub fn traces(&self) -> &Traces {
        &self.0.parts.traces
    }

    /// Keeps prompts and answers, if somebody asks for that.
    pub fn capture(&self) -> &Capture {
        &self.0.parts.capture
    }

    /// How much of AWS's models the account may use.
    pub fn quotas(&self) -> &Quotas {
        &self.0.parts.quotas
    }

    /// How long and how often a call is tried.
    fn failover(&self) -> Failover {
        self.0.parts.failover
    }

    /// Who served which conversation last.
    fn sticky(&self) -> &Sticky {
        &self.0.sticky
    }

    /// What bodies weighed so far.
    fn ratios(&self) -> &Ratios {
        &self.0.ratios
    }

    /// What time it is.
    pub fn clock(&self) -> &Clock {
        &self.0.parts.clock
    }

    /// What a caller's name for a model stands for, by the application inference profiles of the caller's team where it has
    /// some for the model.
    ///
    /// # Errors
    /// [`Kind::ModelNotFound`] if nothing; [`Kind::Forbidden`] when a profile of the team is one of another model. Waits for
    /// AWS only for the ARN of an application inference profile that was not seen for an hour.
    pub async fn model(&self, caller: &Caller, name: impl Into<String>) -> Result<Asked, Error> {
        let Asked { name, resolved } = self.model_itself(caller, name).await?;
        Ok(Asked { name, resolved: self.through_profiles(caller, resolved).await? })
    }

    /// The same without the profiles of a team, for what cannot be called through one.
    pub async fn model_itself(&self, caller: &Caller, name: impl Into<String>) -> Result<Asked, Error> {
        let name = name.into();
        let mut resolved = self.catalog().resolve_for(&name, &|names| caller.allows_model(names))?;
        if resolved.hidden_profile().is_some() {
            resolved = self.unveil(caller, resolved).await;
        }
        Ok(Asked { name, resolved })
    }

    /// The whole answer to a canonical request.
    pub async fn complete(
        &self,
        caller: &Caller,
        origin: Origin,
        model: &Asked,
        request: &converse::Request,
    ) -> Result<Answer<converse::Response>, Error> {
        let call = call(Operation::Converse, request)?;
        if Self::drains(caller) {
            let (gateway, caller, model) = (self.clone(), caller.clone(), model.clone());
            let make = |origin| async move { gateway.make_whole(&caller, origin, &model, call).await };
            return self.make_to_the_end(origin, make).await;
        }
        self.make_whole(caller, origin, model, call).await
    }

    async fn make_whole(
        &self,
        caller: &Caller,
        origin: Origin,
        model: &Asked,
        call: Call,
    ) -> Result<Answer<converse::Response>, Error> {
        let (reply, _, mut settlement) = self.ask(caller, origin, model, call).await?;
        match serde_json::from_slice::<converse::Response>(&reply.body) {
            Ok(body) => {
                let served = settle_whole(settlement, Statement::of_response(&body), &reply.body);
                Ok(Answer { body, served })
            }
            Err(error) => {
                // AWS charges for what it answered, whether it can be read or not.
                settlement.seen(untold(settlement.input_estimate(), &reply.body));
                let text = "Bedrock sent an answer that could not be read.";
                let error = Error::new(Kind::UpstreamUnavailable, text).source(error);
                settlement.fail(&error);
                Err(error)
            }
        }
    }

    /// The streamed answer to a canonical request. By the time this returns the first event is there.
    pub async fn stream(
        &self,
        caller: &Caller,
        origin: Origin,
        model: &Asked,
        request: &converse::Request,
    ) -> Result<Answer<EventStream>, Error> {
        let answer = self.forward_stream(caller, origin, model, call(Operation::ConverseStream, request)?).await?;
        let (_, frames) = answer.body;
        Ok(Answer { body: EventStream::new(frames), served: answer.served })
    }

    /// The whole answer to a body that is already what the model speaks, byte for byte.
    pub async fn forward(
        &self,
        caller: &Caller,
        origin: Origin,
        model: &Asked,
        call: Call,
    ) -> Result<Answer<Reply>, Error> {
        if Self::drains(caller) {
            let (gateway, caller, model) = (self.clone(), caller.clone(), model.clone());
            let make = |origin| async move { gateway.make_forward(&caller, origin, &model, call).await };
            return self.make_to_the_end(origin, make).await;
        }
        self.make_forward(caller, origin, model, call).await
    }

    async fn make_forward(
        &self,
        caller: &Caller,
        origin: Origin,
        model: &Asked,
        call: Call,
    ) -> Result<Answer<Reply>, Error> {
        let operation = call.operation;
        let (reply, call, mut settlement) = self.ask(caller, origin, model, call).await?;
        let told = Statement::of(operation, &reply.headers, &reply.body);
        if settlement.is_by_unit() {
            let charged = model.resolved.model.as_ref();
            let charged = charged.and_then(|model| families::charged(model, &call.body, &reply.body));
            settlement.charge(charged);
            if told.usage.is_none() && !matches!(charged, None | Some(Charged::Text)) {
                return Ok(Answer { body: reply, served: settle_tokenless(settlement, told) });
            }
        }
        // Numbers and pictures are no tokens, however long they are.
        let is_text = model.resolved.model.as_ref().is_none_or(|model| model.kind == catalog::Kind::Chat);
        let served = settle_whole(settlement, told, if is_text { &reply.body } else { &[] });
        Ok(Answer { body: reply, served })
    }

    /// The whole answer of the first candidate that has one, and the settlement that is still to be made.
    async fn ask(
        &self,
        caller: &Caller,
        origin: Origin,
        model: &Asked,
        call: Call,
    ) -> Result<(Reply, Call, Settlement), Error> {
        let Admitted { mut settlement, call, places } = self.admit(caller, origin, model, call).await?;
        let ask = self.asking(caller, model, &call, places, &settlement);
        // Tokens are counted by the model itself: an inference profile is refused.
        let counted = model.resolved.model.as_ref().filter(|_| call.operation == Operation::CountTokens);
        let body = &call;
        let one = |region: Region, id: Arc<str>| async move {
            region.send(counted.map_or(&id, |model| &model.id), body).await
        };
        match attempt::first_success(self, ask, &mut settlement, one).await {
            Ok((reply, attempt)) => {
                attempt.succeeded();
                settlement.span.answered(call.operation, &reply.body);
                Ok((reply, call, settlement))
            }
            Err(error) => {
                settlement.fail(&error);
                Err(error)
            }
        }
    }

    /// The streamed answer to a body that is already what the model speaks: response headers, and frames byte for byte.
    pub async fn forward_stream(
        &self,
        caller: &Caller,
        origin: Origin,
        model: &Asked,
        call: Call,
    ) -> Result<Answer<(HeaderMap, FrameStream)>, Error> {
        if Self::drains(caller) {
            let (gateway, caller, model) = (self.clone(), caller.clone(), model.clone());
            let make = |origin| async move { gateway.make_stream(&caller, origin, &model, call).await };
            return self.make_to_the_end(origin, make).await;
        }
        self.make_stream(caller, origin, model, call).await
    }

    async fn make_stream(
        &self,
        caller: &Caller,
        origin: Origin,
        model: &Asked,
        call: Call,
    ) -> Result<Answer<(HeaderMap, FrameStream)>, Error> {
        let Admitted { mut settlement, call, places } = self.admit(caller, origin, model, call).await?;
        let ask = self.asking(caller, model, &call, places, &settlement);
        let body = &call;
        let one = |region: Region, id: Arc<str>| async move { region.open(&id, body).await };
        let opened = attempt::first_success(self, ask, &mut settlement, one).await;
        let ((headers, frames), attempt) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                settlement.fail(&error);
                return Err(error);
            }
        };
        let service = Service::in_headers(&headers);
        let meter = Meter::of(call.operation, service);
        settlement.learn(Statement { service, ..Statement::default() });
        let served = Served { service, ..served(&settlement) };
        let cut = self.0.parts.cut.clone().cancelled_owned();
        let frames = FrameStream::new(frames, meter, (settlement, attempt), cut, self.metrics().stream_open());
        Ok(Answer { body: (headers, frames), served })
    }

    /// What is to be asked, and of whom.
    fn asking<'a>(
        &self,
        caller: &'a Caller,
        model: &'a Asked,
        call: &'a Call,
        candidates: Vec<Arc<Place>>,
        settlement: &Settlement,
    ) -> Ask<'a> {
        // Counting counts against no quota of the model.
        let worked = model.resolved.model.as_deref().filter(|_| call.operation != Operation::CountTokens);
        let input = settlement.input_estimate();
        let work = worked.map(|model| Work { model, call, input, team: caller.team.id.as_str() });
        Ask { label: &model.resolved.name, failover: self.failover(), candidates, work }
    }

    /// Where this caller may have a model called, best first.
    ///
    /// # Errors
    /// `ModelNotFound` when no Region of the gateway offers it, `Forbidden` when every call would leave the Regions that
    /// the caller or the alias is limited to.
    pub fn candidates(&self, caller: &Caller, resolved: &Resolved) -> Result<Vec<Arc<Place>>, Error> {
        self.catalog().candidates(resolved, &self.0.regions, caller.fence(), self.0.parts.order)
    }

    /// How many tokens so many bytes of requests will be counted as, by what the model counted before.
    pub fn input_tokens(&self, model: &Asked, bytes: u64) -> u64 {
        self.ratios().tokens_of(&model.resolved.name, bytes)
    }

    /// The most tokens of an answer that no request bounds.
    pub fn longest_answer(&self, model: &Asked) -> u64 {
        admit::longest_answer(model)
    }

    /// Why the calls of `team` cannot be part of a job of AWS's, if they cannot.
    pub fn keeps_from_jobs(team: &Team) -> Option<&'static str> {
        if team.guardrail.is_some() {
            return Some("the team's guardrail, which jobs do not take");
        }
        team.role.is_some().then_some("the team's own AWS role")
    }

    /// The Regions that this gateway calls and this caller may use, in order of preference.
    pub fn regions_of(&self, caller: &Caller) -> Vec<Arc<str>> {
        self.0.regions.iter().filter(|region| caller.allows_region(region)).cloned().collect()
    }
}

fn regions(parts: &Parts) -> Vec<Arc<str>> {
    parts.upstream.regions().map(|region| region.name().clone()).collect()
}

/// The wire call that carries a canonical request.
fn call(operation: Operation, request: &converse::Request) -> Result<Call, Error> {
    // Escaping the text of a long prompt is most of what a call costs, and this library does it in SIMD registers.
    let body = sonic_rs::to_vec(request).map_err(Error::internal)?;
    Ok(Call { operation, headers: HeaderMap::new(), body: Bytes::from(body) })
}

fn served(settlement: &Settlement) -> Served {
    Served {
        region: settlement.region().clone(),
        attempts: settlement.attempts(),
        receipt: settlement.receipt().clone(),
        cost: Cost::Open,
        service: Service::default(),
        changes: settlement.changes().clone(),
    }
}

/// Books a whole answer of which nothing told tokens, and which is not charged by any.
fn settle_tokenless(mut settlement: Settlement, told: Statement) -> Served {
    let mut served = Served { service: told.service, ..served(&settlement) };
    settlement.learn(told);
    served.cost = settlement.finish_untold(Usage::default()).map_or(Cost::Unknown, Cost::Known);
    served
}

/// Books a whole answer: the usage if it was told, else by the size of what the model wrote.
fn settle_whole(mut settlement: Settlement, mut told: Statement, written: &[u8]) -> Served {
    let mut served = Served { service: told.service, ..served(&settlement) };
    let usage = told.usage.take();
    settlement.learn(told);
    let cost = if let Some(usage) = usage {
        settlement.finish(usage)
    } else {
        let usage = untold(settlement.input_estimate(), written);
        settlement.finish_untold(usage)
    };
    served.cost = cost.map_or(Cost::Unknown, Cost::Known);
    served
}

/// The usage of an answer that does not tell it: estimated by its size.
fn untold(input_tokens: u64, body: &[u8]) -> Usage {
    let output_tokens = meter::estimate(body.len());
    Usage { input_tokens, output_tokens, total_tokens: input_tokens + output_tokens, ..Usage::default() }
}
