//! Several answers to one request. Bedrock gives one per call: so each is a call of its own, booked as such, and they
//! run at the same time. When one fails before it has answered, the others are cancelled and the request has failed.

use futures_util::future::{Either, try_join, try_join_all};
use futures_util::stream::SelectAll;
use futures_util::{Stream, StreamExt as _};

use crate::converse::{Event, Request, Response};
use crate::error::Result;
use crate::gateway::{Asked, Cost, EventStream, Gateway, Origin, Served};
use crate::tenancy::Caller;

/// What all the calls of one request have in common.
pub(super) struct Calls<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) caller: &'a Caller,
    pub(super) origin: Origin,
    pub(super) model: &'a Asked,
    pub(super) request: &'a Request,
    /// How many beside the first.
    pub(super) more: usize,
}

impl Calls<'_> {
    /// All answers, whole.
    pub(super) async fn complete(self) -> Result<(Vec<Response>, Served)> {
        let Self { gateway, caller, origin, model, request, more } = self;
        if more == 0 {
            let answer = gateway.complete(caller, origin, model, request).await?;
            return Ok((vec![answer.body], answer.served));
        }
        let call = || gateway.complete(caller, origin.clone(), model, request);
        let (first, others) = Box::pin(try_join(call(), try_join_all((0..more).map(|_| call())))).await?;
        let mut bodies = Vec::with_capacity(1 + more);
        bodies.push(first.body);
        let others = others.into_iter().map(|answer| {
            bodies.push(answer.body);
            answer.served
        });
        let served = together(first.served, others);
        Ok((bodies, served))
    }

    /// All answers event by event, each event with the number of its answer.
    pub(super) async fn stream(
        self,
    ) -> Result<(impl Stream<Item = Result<(usize, Event)>> + Send + Unpin + use<>, Served)> {
        let Self { gateway, caller, origin, model, request, more } = self;
        let numbered = |number: usize, events: EventStream| events.map(move |event| event.map(|event| (number, event)));
        if more == 0 {
            let answer = gateway.stream(caller, origin, model, request).await?;
            return Ok((Either::Left(numbered(0, answer.body)), answer.served));
        }
        let call = || gateway.stream(caller, origin.clone(), model, request);
        let (first, others) = Box::pin(try_join(call(), try_join_all((0..more).map(|_| call())))).await?;
        let mut streams = SelectAll::new();
        streams.push(numbered(0, first.body));
        let others = others.into_iter().enumerate().map(|(i, answer)| {
            streams.push(numbered(i + 1, answer.body));
            answer.served
        });
        let served = together(first.served, others);
        Ok((Either::Right(streams), served))
    }
}

/// How the answers came about: where the first did, by the attempts and at the cost of all.
fn together(first: Served, others: impl Iterator<Item = Served>) -> Served {
    others.fold(first, |mut sum, served| {
        sum.attempts += served.attempts;
        sum.cost = match (sum.cost, served.cost) {
            (Cost::Known(own), Cost::Known(more)) => Cost::Known(own + more),
            (Cost::Open, _) | (_, Cost::Open) => Cost::Open,
            _ => Cost::Unknown,
        };
        sum
    })
}
