//! One candidate after another until one answers, or nothing is left to try. What follows a failure is decided by
//! `upstream::retry`; it is done here, once, and nowhere beneath.

use std::sync::Arc;
use std::time::Duration;

use super::Gateway;
use super::settle::Settlement;
use crate::catalog::{Place, Resolved};
use crate::error::{Error, Kind};
use crate::upstream::health::Condition;
use crate::upstream::retry::{Next, Retry};
use crate::upstream::{Failure, Reason, Region, route};

/// Makes attempts with `one` until one succeeds.
pub(super) async fn first_success<T, F: Future<Output = Result<T, Failure>>>(
    gateway: &Gateway,
    model: &Resolved,
    mut candidates: Vec<Arc<Place>>,
    settlement: &mut Settlement,
    one: impl Fn(Region, Arc<str>) -> F,
) -> Result<T, Error> {
    let clock = gateway.clock();
    let region = |place: &Place| gateway.upstream().region(&place.region);
    candidates.retain(|place| region(place).is_some());
    if let [_, _, ..] = candidates[..] {
        let now = clock.now();
        route::order(&mut candidates, |place| {
            region(place).map_or(Condition::Ready, |region| region.health().condition(&place.id, now))
        });
    }

    let mut retry = Retry::new(gateway.max_attempts(), fastrand::u64(..));
    let mut told: Option<Error> = None;
    let mut left = candidates.iter();
    let mut current = left.next();
    while let Some((place, region)) = current.and_then(|place| Some((place, region(place)?))) {
        region.health().begin(&place.id, clock.now());
        settlement.attempt(place);
        let failure = match one(region.clone(), place.id.clone()).await {
            Ok(answer) => {
                region.health().succeeded(&place.id, clock.now());
                gateway.metrics().attempt(region.name(), &model.name, "ok");
                return Ok(answer);
            }
            Err(failure) => failure,
        };
        region.health().failed(&place.id, &failure, clock.now());
        gateway.metrics().attempt(region.name(), &model.name, failure.reason.outcome());
        let reason: &'static str = failure.reason.into();
        tracing::warn!(region = &**region.name(), model = &*model.name, reason, "an attempt failed");

        let next = retry.after(&failure, left.len());
        // A refusal means "not through this candidate": what the first one said is the better reason.
        if told.is_none() || !matches!(failure.reason, Reason::Denied | Reason::Missing) {
            told = Some(failure.error);
        }
        match next {
            Next::SameRegionAfter(pause) => tokio::time::sleep(pause).await,
            Next::NextCandidate => current = left.next(),
            Next::GiveUp => break,
        }
    }
    let told = told.unwrap_or_else(|| Error::internal("no candidate belongs to a configured Region"));
    Err(if told.kind() == Kind::UpstreamThrottled && told.wait().is_none() {
        told.retry_after(soonest(gateway, &candidates))
    } else {
        told
    })
}

/// How long until one of `candidates` may be tried again; a second at least, so that nobody comes back at once.
fn soonest(gateway: &Gateway, candidates: &[Arc<Place>]) -> Duration {
    let now = gateway.clock().now();
    let rests = candidates.iter().filter_map(|place| {
        let region = gateway.upstream().region(&place.region)?;
        Some(match region.health().condition(&place.id, now) {
            Condition::Ready => Duration::ZERO,
            Condition::Resting { until } => until.since(now),
        })
    });
    rests.min().unwrap_or_default().max(Duration::from_secs(1))
}
