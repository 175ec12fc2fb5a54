//! Several InvokeModel calls behind one answer: some at a time, each booked on its own; the first that fails ends all.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::HeaderMap;

use super::native_headers::bedrocks;
use crate::error::{Error, Kind, Result};
use crate::gateway::{Asked, Cost, Gateway, Origin, Served};
use crate::tenancy::Caller;
use crate::upstream::{Call, Operation};

/// Calls of one request at a time: enough to hide the way to AWS, too few to take a Region's quota from everybody else.
const AT_ONCE: usize = 8;

/// One of the calls.
pub(super) struct Part {
    /// The model's own body.
    pub(super) body: Vec<u8>,
    /// The field that is to blame when AWS refuses this call, if there is just one.
    pub(super) blame: Option<String>,
    /// The caller's own fields in the body: the one that AWS names is to blame.
    pub(super) own: Arc<[String]>,
}

/// The answer to one of the calls.
pub(super) struct Answered {
    /// The model's own body.
    pub(super) body: Bytes,
    /// Tokens read, as they were booked.
    pub(super) input_tokens: u64,
}

/// What calls are for: the model, and the headers of Bedrock's own that go with each.
pub(super) type Aim<'a> = (&'a Asked, &'a HeaderMap);

/// The answers to `parts`, which are not empty, in their order. When a call fails, those under way are cancelled and
/// booked as such, and the others are not made.
pub(super) async fn invoke(
    gateway: &Gateway,
    caller: &Caller,
    origin: &Origin,
    aim: Aim<'_>,
    parts: Vec<Part>,
) -> Result<(Vec<Answered>, Served)> {
    let mut answers: Vec<Option<Answered>> = parts.iter().map(|_| None).collect();
    let mut left = parts.into_iter().enumerate();
    let mut under_way = FuturesUnordered::new();
    let mut total: Option<Served> = None;
    loop {
        let room = AT_ONCE.saturating_sub(under_way.len());
        for (index, part) in left.by_ref().take(room) {
            under_way.push(Box::pin(one(gateway, caller, origin.clone(), aim, (index, part))));
        }
        let Some(done) = under_way.next().await else { break };
        let (index, answered, served) = done?;
        answers[index] = Some(answered);
        total = Some(match total {
            Some(total) => both(total, &served),
            None => served,
        });
    }
    let served = total.ok_or_else(|| Error::internal("there was no call to make"))?;
    Ok((answers.into_iter().flatten().collect(), served))
}

/// The answer to one call, as the only one of its request.
pub(super) async fn invoke_one(
    gateway: &Gateway,
    caller: &Caller,
    origin: Origin,
    aim: Aim<'_>,
    body: Vec<u8>,
) -> Result<(Answered, Served)> {
    let (_, answered, served) =
        one(gateway, caller, origin, aim, (0, Part { body, blame: None, own: Arc::default() })).await?;
    Ok((answered, served))
}

async fn one(
    gateway: &Gateway,
    caller: &Caller,
    origin: Origin,
    (model, headers): Aim<'_>,
    (index, part): (usize, Part),
) -> Result<(usize, Answered, Served)> {
    let call = Call { operation: Operation::InvokeModel, headers: bedrocks(headers), body: Bytes::from(part.body) };
    let answer = Box::pin(gateway.forward(caller, origin, model, call)).await.map_err(|error| {
        if !is_about_the_body(&error) {
            return error;
        }
        match part.own.iter().find(|field| names(error.message(), field)).or(part.blame.as_ref()) {
            Some(field) => error.param(field.clone()),
            None => error,
        }
    })?;
    let booked = answer.served.receipt.booked();
    let input_tokens = booked.map_or(0, |booked| booked.usage.prompt_tokens());
    Ok((index, Answered { body: answer.body.body, input_tokens }, answer.served))
}

/// Whether AWS found fault with what was sent, and not with who sent it or where.
fn is_about_the_body(error: &Error) -> bool {
    error.kind() == Kind::UpstreamRejected
        && error.blamed().is_none()
        && error.aws().is_none_or(|exception| exception.status == 400)
}

/// Whether `message` has `field` in it, as a word of its own.
fn names(message: &str, field: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || c == '_';
    !field.is_empty()
        && message
            .match_indices(field)
            .any(|(at, _)| !message[..at].ends_with(goes_on) && !message[at + field.len()..].starts_with(goes_on))
}

/// Two calls as one: attempts and cost added up, Regions listed.
fn both(total: Served, other: &Served) -> Served {
    let knows = total.region.split(',').any(|region| *region == *other.region);
    Served {
        region: if knows { total.region } else { Arc::from(format!("{},{}", total.region, other.region)) },
        attempts: total.attempts + other.attempts,
        receipt: total.receipt,
        service: total.service,
        changes: total.changes,
        cost: match (total.cost, other.cost) {
            (Cost::Known(one), Cost::Known(two)) => Cost::Known(one + two),
            (Cost::Open, _) | (_, Cost::Open) => Cost::Open,
            (Cost::Unknown, _) | (_, Cost::Unknown) => Cost::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_named_by_a_word_of_its_own() {
        let refusal =
            "Malformed input request: #: extraneous key [foo_bar] is not permitted, please reformat your input.";
        assert!(names(refusal, "foo_bar"));
        for other in ["foo", "bar", "", "oo_ba", "baz"] {
            assert!(!names(refusal, other), "{other}");
        }
        assert!(names("x", "x") && names("`x`: ü", "ü"));
    }
}
