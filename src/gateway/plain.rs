//! Calls that are on no model: admitted, tried in Region after Region and booked as completions are, but what they cost
//! is not known from tokens.

use std::sync::Arc;

use super::answer::served;
use super::attempt::{self, Ask};
use super::settle::{Charge, Settlement};
use super::{Answer, Asked, Cost, Failover, Gateway, Origin, carry};
use crate::catalog::Place;
use crate::converse::Usage;
use crate::error::{Error, Exception, Kind};
use crate::tenancy::ledger::Entry;
use crate::tenancy::{Caller, Demand, Need, Scope, Worst};
use crate::upstream::{Failure, PlainCall, Region, Reply};

/// What a call that is on no model is on.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// What sort of thing, such as `guardrail`: in the place of the model in ledger, metrics and log.
    pub sort: &'static str,
    /// Its id, without account: what rests in a Region that does not have it.
    pub id: &'a str,
    /// The Region that it is in, if that is known.
    pub region: Option<&'a str>,
    /// What AWS charges for the call.
    pub charge: Charge,
}

/// What such a call may use at most.
fn demand(charge: Charge) -> Demand {
    match charge {
        Charge::Tokens => Demand::NOTHING,
        Charge::Otherwise => Demand { cost: Worst::Unknown, ..Demand::NOTHING },
    }
}

impl Gateway {
    /// The whole answer to a call that is on no model. Where the Region is not known, all that the caller may use are
    /// tried once, even where `max_attempts` would leave some out. Booked without tokens.
    ///
    /// # Errors
    /// `Forbidden` without the scope `inference` or without a Region to use, `NotFound` when the Region of the target
    /// is not called; else what AWS said.
    pub async fn forward_plain(
        &self,
        caller: &Caller,
        origin: Origin,
        target: Target<'_>,
        call: &PlainCall,
    ) -> Result<Answer<Reply>, Error> {
        let id = Entry::fresh_id();
        let need = Need { id: &id, scope: Scope::Inference, model: None, names: &[], demand: demand(target.charge) };
        let hold = self.admitted(caller, &origin, &need).await?;
        let candidates = self.regions_with(caller, target)?;
        let label: Arc<str> = target.sort.into();
        let settlement = Settlement::begin(self, caller, origin, (&label, target.charge), (id, hold, 0));
        let mut failover = self.failover();
        failover.max_attempts = failover.max_attempts.max(u32::try_from(candidates.len()).unwrap_or(u32::MAX));
        // Not every one of these is free of effects.
        failover.hedge_after = None;
        let one = |region: Region, _| async move { region.send_plain(call).await };
        self.settled(settlement, Ask { label: &label, failover, candidates, work: None }, one).await
    }

    /// The whole answer to a call that is on a model, but not through the model's own path: `call` makes it for a Region
    /// and the id to call there; `has` says of a Region why it cannot be used, if it cannot. Booked without tokens and at an unknown cost.
    ///
    /// # Errors
    /// As [`Gateway::forward`]; when no Region can be used, why the first cannot.
    pub async fn forward_made(
        &self,
        caller: &Caller,
        origin: Origin,
        model: &Asked,
        has: impl Fn(&str) -> Result<(), Error>,
        call: impl Fn(&str, &str) -> PlainCall,
    ) -> Result<Answer<Reply>, Error> {
        carry::refuse_unguarded(&caller.team, "an asynchronous invocation")?;
        let names = model.resolved.names(&model.name);
        let id = Entry::fresh_id();
        let model_name = Some(&*model.name);
        let demand = demand(Charge::Otherwise);
        let need = Need { id: &id, scope: Scope::Inference, model: model_name, names: &names, demand };
        let hold = self.admitted(caller, &origin, &need).await?;
        let mut candidates = self.candidates(caller, &model.resolved)?;
        let mut refusal = None;
        candidates.retain(|place| match has(&place.region) {
            Ok(()) => true,
            Err(error) => {
                refusal.get_or_insert(error);
                false
            }
        });
        if let (Some(refusal), true) = (refusal, candidates.is_empty()) {
            return Err(refusal);
        }
        let label = &model.resolved.name;
        let settlement = Settlement::begin(self, caller, origin, (label, Charge::Otherwise), (id, hold, 0));
        let one = |region: Region, id: Arc<str>| {
            let call = call(region.name(), &id);
            async move { region.send_plain(&call).await }
        };
        let failover = Failover { hedge_after: None, ..self.failover() };
        self.settled(settlement, Ask { label, failover, candidates, work: None }, one).await
    }

    /// The first answer, booked.
    async fn settled<F: Future<Output = Result<Reply, Failure>>>(
        &self,
        mut settlement: Settlement,
        ask: Ask<'_>,
        one: impl Fn(Region, Arc<str>) -> F,
    ) -> Result<Answer<Reply>, Error> {
        match attempt::first_success(self, ask, &mut settlement, one).await {
            Ok((reply, attempt)) => {
                attempt.succeeded();
                let mut served = served(&settlement);
                served.cost = settlement.finish(Usage::default()).map_or(Cost::Unknown, Cost::Known);
                Ok(Answer { body: reply, served })
            }
            Err(error) => {
                settlement.fail(&error);
                Err(error)
            }
        }
    }

    /// The Regions in which `target` may be, in order of preference.
    fn regions_with(&self, caller: &Caller, target: Target<'_>) -> Result<Vec<Arc<Place>>, Error> {
        let is_meant = |region: &Arc<str>| target.region.is_none_or(|meant| **region == *meant);
        if !self.0.regions.iter().any(is_meant) {
            let message = format!("The {}'s ARN is of a Region that this gateway does not call.", target.sort);
            let exception = Exception { name: "ResourceNotFoundException", status: 404 };
            return Err(Error::new(Kind::NotFound, message).exception(exception));
        }
        let id: Arc<str> = [target.sort, "/", target.id].concat().into();
        let place = |region| Arc::new(Place::in_region(region, Arc::clone(&id), None));
        let regions = self.regions_of(caller);
        let places: Vec<_> = regions.into_iter().filter(is_meant).map(place).collect();
        if places.is_empty() {
            let message = format!("This key may not use any Region in which the {} can be.", target.sort);
            return Err(Error::new(Kind::Forbidden, message).reason("region"));
        }
        Ok(places)
    }
}
