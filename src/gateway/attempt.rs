//! One candidate after another until one answers, or nothing is left to try. What follows a failure is decided by
//! `upstream::retry`; it is done here, once, and nowhere beneath.

use std::sync::Arc;
use std::time::Duration;

use super::settle::Settlement;
use super::{Gateway, Trail};
use crate::catalog::Place;
use crate::error::{Error, Kind};
use crate::upstream::health::Condition;
use crate::upstream::retry::{Next, Retry};
use crate::upstream::{Failure, Reason, Region, Regions, route};

/// An attempt that AWS has begun to answer and whose outcome is not counted yet: a stream may break. One that is dropped
/// has none, because its client did not wait.
pub(super) struct Attempt {
    gateway: Gateway,
    trail: Trail,
    region: Region,
    /// What was called.
    id: Arc<str>,
    model: Arc<str>,
}

impl Attempt {
    fn begin(gateway: &Gateway, trail: &Trail, region: &Region, id: &Arc<str>, model: &Arc<str>) -> Self {
        region.health().begin(id, gateway.clock().now());
        Self {
            gateway: gateway.clone(),
            trail: trail.clone(),
            region: region.clone(),
            id: id.clone(),
            model: Arc::clone(model),
        }
    }

    /// The answer is there, or its first event.
    fn answered(&self) {
        self.region.health().succeeded(&self.id, self.gateway.clock().now());
    }

    /// The answer ended well, or what ended it is not the Region's fault.
    pub(super) fn succeeded(self) {
        self.gateway.metrics().attempt(self.region.name(), &self.model, "ok");
    }

    /// There was no answer, or it broke.
    pub(super) fn failed(self, failure: &Failure) {
        self.region.health().failed(&self.id, failure, self.gateway.clock().now());
        self.gateway.metrics().attempt(self.region.name(), &self.model, failure.reason.outcome());
        let reason: &'static str = failure.reason.into();
        let (region, model, request_id) = (&**self.region.name(), &*self.model, self.trail.id().as_str());
        tracing::warn!(request_id, region, model, reason, "an attempt failed");
    }
}

/// Makes attempts with `one`, `max_attempts` at most, until one succeeds. `model` is what the metrics call it.
pub(super) async fn first_success<T, F: Future<Output = Result<T, Failure>>>(
    gateway: &Gateway,
    (model, max_attempts): (&Arc<str>, u32),
    mut candidates: Vec<Arc<Place>>,
    settlement: &mut Settlement,
    one: impl Fn(Region, Arc<str>) -> F,
) -> Result<(T, Attempt), Error> {
    let regions = gateway.regions_as(settlement.caller());
    let region = |place: &Place| regions.region(&place.region);
    candidates.retain(|place| region(place).is_some());
    if let [_, _, ..] = candidates[..] {
        let now = gateway.clock().now();
        route::order(&mut candidates, |place| {
            region(place).map_or(Condition::Ready, |region| region.health().condition(&place.id, now))
        });
    }

    let mut retry = Retry::new(max_attempts, fastrand::u64(..));
    let mut told: Option<Error> = None;
    let mut left = candidates.iter();
    let mut current = left.next();
    while let Some((place, region)) = current.and_then(|place| Some((place, region(place)?))) {
        settlement.attempt(place);
        let attempt = Attempt::begin(gateway, settlement.trail(), region, &place.id, model);
        let failure = match one(region.clone(), place.id.clone()).await {
            Ok(answer) => {
                attempt.answered();
                return Ok((answer, attempt));
            }
            Err(failure) => failure,
        };
        attempt.failed(&failure);

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
        told.retry_after(soonest(gateway, &regions, &candidates))
    } else {
        told
    })
}

/// How long until one of `candidates` may be tried again; a second at least, so that nobody comes back at once.
fn soonest(gateway: &Gateway, regions: &Regions, candidates: &[Arc<Place>]) -> Duration {
    let now = gateway.clock().now();
    let rests = candidates.iter().filter_map(|place| {
        let region = regions.region(&place.region)?;
        Some(match region.health().condition(&place.id, now) {
            Condition::Ready => Duration::ZERO,
            Condition::Resting { until } => until.since(now),
        })
    });
    rests.min().unwrap_or_default().max(Duration::from_secs(1))
}
