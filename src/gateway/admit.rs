//! Admission of a call on a model: what it may use at most, by what its body says and by the dearest of the places that
//! may answer it; and the cap it gets where less is left.

use std::sync::Arc;

use bytes::Bytes;

use super::outline::{self, Longest};
use super::service::{Latency, Service};
use super::settle::{Charge, Settlement};
use super::weight::Weight;
use super::{Asked, Gateway, Origin, carry};
use crate::catalog::{Kind, Place, Tier};
use crate::error::{Error, Exception, Kind as ErrorKind};
use crate::families;
use crate::report::{Action, Report};
use crate::splice::{Edits, Members};
use crate::tenancy::ledger::Entry;
use crate::tenancy::{Caller, Demand, Hold, Need, Output, UnknownPrice, Worst};
use crate::upstream::{Call, Operation};

/// What a model may answer of which the catalog knows no maximum.
const MOST_OUTPUT: u64 = 128 * 1024;

/// A call that may be made.
pub(super) struct Admitted {
    pub(super) settlement: Settlement,
    /// As it is to be made: capped, where less was left than it might have used.
    pub(super) call: Call,
    /// Where, best first.
    pub(super) places: Vec<Arc<Place>>,
}

impl Gateway {
    /// Whether this caller may make this call now; what it may cost is held until the settlement.
    pub(super) async fn admit(
        &self,
        caller: &Caller,
        origin: Origin,
        model: &Asked,
        mut call: Call,
    ) -> Result<Admitted, Error> {
        let names = model.resolved.names(&model.name);
        let id = Entry::fresh_id();
        let scope = origin.trail.scope();
        let mut need = Need { id: &id, scope, model: Some(&model.name), names: &names, demand: Demand::NOTHING };
        caller.permits(&need)?;
        let mut places = self.candidates(caller, &model.resolved)?;
        let mut changes = Report::default();
        if call.operation != Operation::CountTokens {
            carry::keep_guarded(&caller.team, &mut places)?;
            carry::note_profile(&caller.team, model, &places, &mut changes);
        }
        carry::put(&caller.team, &mut call, &mut changes)?;
        let service = Service::asked(&call);
        let (input, weight) = self.input(caller, model, &call);
        if weight.is_some_and(|weight| weight.hides_names) {
            return Err(hidden_name());
        }
        if caller.is_counted() && call.operation != Operation::CountTokens {
            need.demand = demand(caller, model, &call, (input, service), &mut places);
        }
        if origin.trail.is_paid_by_batch() {
            need.demand.cost = Worst::Free;
        }
        let hold = self.admitted(caller, &origin, &need).await?;

        let granted = hold.output_tokens();
        if granted < need.demand.output.most() {
            if origin.trail.forbids_changes() {
                return Err(would_be_capped(granted));
            }
            call.body = capped(&call, granted)?;
            changes.add(Action::Clamped, "max_tokens");
        }
        let charged = (&model.resolved.name, Charge::Tokens);
        let mut settlement = Settlement::begin(self, caller, origin, charged, (id, hold, input));
        settlement.asks_for(service);
        settlement.weighs(weight);
        settlement.changed(changes);
        settlement.span.asks(&call);
        Ok(Admitted { settlement, call, places })
    }

    /// What is held for a call; the request's trail learns how far the limits are used.
    pub(super) async fn admitted(&self, caller: &Caller, origin: &Origin, need: &Need<'_>) -> Result<Hold, Error> {
        match self.tenancy().admit(caller, need).await {
            Ok(hold) => {
                origin.trail.stands(hold.standing().copied());
                Ok(hold)
            }
            Err(refused) => {
                origin.trail.stands(refused.standing);
                Err(refused.error)
            }
        }
    }

    /// The estimate of the tokens of the input, and what it was made from where that was looked at.
    fn input(&self, caller: &Caller, model: &Asked, call: &Call) -> (u64, Option<Weight>) {
        if call.operation == Operation::CountTokens {
            // Free, even when nobody waited for the answer.
            return (0, None);
        }
        let known = model.resolved.model.as_ref();
        // No call that AWS took had more than the model can read.
        let most = known.and_then(|model| model.context_window).unwrap_or(u64::MAX);
        if caller.is_counted() {
            let weight = Weight::of(&call.body);
            return (self.ratios().tokens(&model.resolved.name, weight).min(most), Some(weight));
        }
        (super::meter::estimate(call.body.len()).min(most), None)
    }
}

/// What a call may use at most. Where a budget has to pay and its team refuses what has no price, the places without
/// one are left out, if there are others.
fn demand(
    caller: &Caller,
    model: &Asked,
    call: &Call,
    (input_tokens, service): (u64, Service),
    places: &mut Vec<Arc<Place>>,
) -> Demand {
    let output = output(model, call);
    if !caller.is_budgeted() {
        return Demand { input_tokens, output, cost: Worst::Free };
    }
    let is_cached = outline::marks_cache(call);
    let worst = |place: &Place| worst(place, model, (call, is_cached), (input_tokens, service));
    if caller.team.unknown_price == UnknownPrice::Refuse && places.iter().any(|place| worst(place).is_some()) {
        places.retain(|place| worst(place).is_some());
    }
    let all: Option<Vec<(u128, u64)>> = places.iter().map(|place| worst(place)).collect();
    let cost = all.map_or(Worst::Unknown, |all| Worst::Known {
        input_pico: all.iter().map(|(input, _)| *input).max().unwrap_or_default(),
        output_pico: all.iter().map(|(_, output)| *output).max().unwrap_or_default(),
    });
    Demand { input_tokens, output, cost }
}

/// The most tokens of an answer that nothing bounds.
pub(super) fn longest_answer(model: &Asked) -> u64 {
    let known = model.resolved.model.as_deref();
    known.and_then(|model| model.max_output_tokens.or(model.context_window)).unwrap_or(MOST_OUTPUT)
}

/// The most tokens of the answer.
fn output(model: &Asked, call: &Call) -> Output {
    let known = model.resolved.model.as_deref();
    if known.is_some_and(|model| model.kind != Kind::Chat) {
        return Output::Asked(0);
    }
    let of_model = longest_answer(model);
    // AWS refuses more than the model has.
    let most = of_model.max(MOST_OUTPUT);
    match (outline::longest(call, &model.resolved.name), call.operation) {
        (Longest::Said(asked), _) => Output::Asked(asked.min(most)),
        (Longest::Unclear(asked), _) => Output::Asked(asked.min(most).max(of_model)),
        (Longest::Unsaid, Operation::InvokeModel | Operation::InvokeModelWithResponseStream | Operation::Messages) => {
            Output::Asked(of_model)
        }
        (Longest::Unsaid, _) => Output::Open { most: of_model },
    }
}

/// What a call may cost at `place`: its input, and each token of its answer, in pico-dollars.
fn worst(
    place: &Place,
    model: &Asked,
    (call, is_cached): (&Call, bool),
    (input, service): (u64, Service),
) -> Option<(u128, u64)> {
    if service.latency == Some(Latency::Optimized) {
        return None;
    }
    let price = place.price.as_ref()?;
    if let Some(by_unit) = &price.by_unit {
        let charged = families::charged_at_most(model.resolved.model.as_ref()?, &call.body)?;
        let micros = by_unit.cost(charged, input)?.0;
        return Some((u128::try_from(micros).ok()? * 1_000_000, 0));
    }
    let tier = service.tier.unwrap_or_default();
    let dearest = price.dearest(tier, input, is_cached)?;
    // AWS may serve it as usual after all, where it was asked for something cheaper.
    let usual = if tier == Tier::Flex { price.dearest(Tier::Standard, input, is_cached) } else { None };
    let usual = usual.unwrap_or(dearest);
    Some((dearest.0.pico(input).max(usual.0.pico(input)), dearest.1.0.max(usual.1.0)))
}

/// The body of a call that did not say how long its answer may be, saying it.
fn capped(call: &Call, tokens: u64) -> Result<Bytes, Error> {
    let body =
        Members::read(&call.body).map_err(|cause| Error::invalid("body", "The body is no JSON.").source(cause))?;
    let mut edits = Edits::new(&call.body);
    let number = tokens.to_string();
    let member = match call.operation {
        Operation::Converse | Operation::ConverseStream => {
            let Some(config) = body.value("inferenceConfig").filter(|config| config.get().starts_with('{')) else {
                edits.remove(&body, &["inferenceConfig"]);
                edits.add("inferenceConfig", &format!(r#"{{"maxTokens":{number}}}"#));
                return Ok(edits.apply());
            };
            let inner = Members::of(config).map_err(Error::internal)?;
            let mut inside = Edits::new(config.get().as_bytes());
            inside.remove(&inner, &["maxTokens"]);
            inside.add("maxTokens", &number);
            edits.replace(config, String::from_utf8_lossy(&inside.apply()));
            return Ok(edits.apply());
        }
        Operation::ChatCompletions => "max_completion_tokens",
        Operation::Responses => "max_output_tokens",
        _ => "max_tokens",
    };
    edits.remove(&body, &[member]);
    edits.add(member, &number);
    Ok(edits.apply())
}

/// What limits and budgets are judged by has to be readable without doubt.
fn hidden_name() -> Error {
    let message = "A member's name is written with a letter as its number, such as `\\u0054`. Write names plainly: the \
                   limits and budgets of this key are judged by them.";
    Error::invalid("body", message)
}

/// Who asks for strictness is not capped.
fn would_be_capped(left: u64) -> Error {
    let message = format!(
        "The request does not say how long its answer may be, and what is left of the limits and budgets of this key is \
         enough for {left} tokens. Ask for as many, or without x-gateway-strict."
    );
    let exception = Exception { name: "ServiceQuotaExceededException", status: 400 };
    Error::new(ErrorKind::RateLimited, message).param("max_tokens").reason("tokens_per_minute").exception(exception)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::{Value, json};

    use super::*;

    fn cap(operation: Operation, body: &str) -> Value {
        let call = Call { operation, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) };
        serde_json::from_slice(&capped(&call, 1024).unwrap()).unwrap()
    }

    #[test]
    fn a_cap_is_said_in_the_words_of_the_operation_and_once() {
        let config = |body: &str| cap(Operation::Converse, body)["inferenceConfig"].clone();
        assert_eq!(config(r#"{"messages":[]}"#), json!({"maxTokens": 1024}));
        assert_eq!(
            config(r#"{"inferenceConfig":{"topP":0.5},"messages":[]}"#),
            json!({"topP": 0.5, "maxTokens": 1024})
        );
        assert_eq!(config(r#"{"inferenceConfig":null}"#), json!({"maxTokens": 1024}));
        assert_eq!(config(r#"{"inferenceConfig":{}}"#), json!({"maxTokens": 1024}));
        let chat = cap(Operation::ChatCompletions, r#"{"max_completion_tokens":null,"messages":[]}"#);
        assert_eq!(chat, json!({"messages": [], "max_completion_tokens": 1024}));
        assert_eq!(cap(Operation::Responses, "{}"), json!({"max_output_tokens": 1024}));
    }
}
