//! The one path that every completion takes, whatever dialect it came in: admit, candidates, attempt, settle.
//!
//! A surface calls [`Gateway::complete`], [`Gateway::stream`] with a canonical request, or [`Gateway::forward`],
//! [`Gateway::forward_stream`] with bytes that already are what the model speaks. No call that was admitted ends
//! without being booked, once; see `settle/mod.rs`.
//!
//! Here are the path and its four ways in. Who may call what, and where, is in `reach.rs`; what a gateway is made of, in
//! `parts.rs`; calls that are on no model, in `plain.rs`.

mod admit;
mod answer;
mod attempt;
mod candidates;
mod carry;
mod changes;
mod drain;
mod identify;
mod jobs;
mod meter;
mod outline;
mod parts;
mod plain;
mod profile;
mod reach;
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

pub use answer::{Answer, Cost, Served};
pub use attempt::Failover;
pub use changes::{Changes, Present};
pub use drain::outlive;
pub use identify::Guests;
pub use jobs::used;
pub use parts::Parts;
pub use plain::Target;
pub use reach::Asked;
pub use service::{LATENCY, Latency, Service, TIER};
pub use settle::{Booked, Charge, Receipt};
pub use stream::{EventStream, FrameStream};
pub use trail::Trail;
pub use waits::Waiting;

use crate::catalog::{self, Charged, Place};
use crate::converse;
use crate::error::{Error, Kind};
use crate::families;
use crate::tenancy::Caller;
use crate::upstream::sticky::Sticky;
use crate::upstream::{Call, Operation, Region, Reply};
use admit::Admitted;
use answer::{served, settle_tokenless, settle_whole, untold};
use attempt::Ask;
use candidates::Work;
use meter::Meter;
use settle::Settlement;
use statement::Statement;
use weight::Ratios;

/// What every request needs. A cheap clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

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

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gateway(..)")
    }
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

impl Gateway {
    /// Puts a gateway together.
    pub fn new(parts: Parts) -> Self {
        let regions = parts.regions();
        let (profiles, ratios) = (Arc::default(), Arc::default());
        Self(Arc::new(Inner { parts, regions, sticky: Sticky::default(), profiles, ratios }))
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
        let made = self.make(caller, origin, (model, call), |gateway, caller, origin, model, call| {
            Box::pin(gateway.make_whole(caller, origin, model, call))
        });
        made.await
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
        let made = self.make(caller, origin, (model, call), |gateway, caller, origin, model, call| {
            Box::pin(gateway.make_forward(caller, origin, model, call))
        });
        made.await
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
        let made = self.make(caller, origin, (model, call), |gateway, caller, origin, model, call| {
            Box::pin(gateway.make_stream(caller, origin, model, call))
        });
        made.await
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
}

/// The wire call that carries a canonical request.
fn call(operation: Operation, request: &converse::Request) -> Result<Call, Error> {
    // Escaping the text of a long prompt is most of what a call costs, and this library does it in SIMD registers.
    let body = sonic_rs::to_vec(request).map_err(Error::internal)?;
    Ok(Call { operation, headers: HeaderMap::new(), body: Bytes::from(body) })
}
