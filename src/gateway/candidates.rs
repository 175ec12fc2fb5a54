//! Who is asked next: the first by preference that is well and whose quota has room, a conversation's last Region before
//! others. What a call may use of a quota is set aside in the same step, so that calls side by side do not count on the
//! same room.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{Gateway, outline};
use crate::catalog::{Kind, Model, Place};
use crate::clock::Timestamp;
use crate::upstream::health::Condition;
use crate::upstream::quota::{Demand, Reservation, Use};
use crate::upstream::route::{self, Standing};
use crate::upstream::sticky::Conversation;
use crate::upstream::{Call, Region, Regions};

/// The fewest tokens that a model caches, where that is not known: what most want.
const LEAST_CACHED: u64 = 1024;

/// A call that a model works on.
pub(super) struct Work<'a> {
    pub(super) model: &'a Model,
    pub(super) call: &'a Call,
    /// Tokens of input, estimated.
    pub(super) input: u64,
    /// Whose conversation it is.
    pub(super) team: &'a str,
}

/// A candidate that was chosen, with what it needs of the quota set aside.
pub(super) struct Chosen {
    pub(super) place: Arc<Place>,
    pub(super) region: Region,
    pub(super) quota: Option<Arc<Use>>,
    pub(super) reservation: Option<Reservation>,
}

/// The candidates of one call.
pub(super) struct Candidates<'a> {
    gateway: &'a Gateway,
    /// As the caller's team calls them.
    regions: Regions,
    work: Option<Work<'a>>,
    /// Those that were not chosen yet, in order of preference.
    left: Vec<Arc<Place>>,
    chosen: Vec<Arc<Place>>,
    /// The Region that is preferred, where there is a choice.
    preferred: Option<Arc<str>>,
    /// Worked out when it is needed, which is seldom.
    conversation: OnceLock<Option<Conversation>>,
    /// Worked out for the first place whose quota is known.
    demand: OnceLock<Option<Demand>>,
}

impl<'a> Candidates<'a> {
    /// `places` in order of preference; those that are in no configured Region do not count.
    pub(super) fn new(
        gateway: &'a Gateway,
        regions: Regions,
        mut places: Vec<Arc<Place>>,
        work: Option<Work<'a>>,
    ) -> Self {
        places.retain(|place| regions.region(&place.region).is_some());
        let preferred = places.get(1).and(places.first()).map(|place| Arc::clone(&place.region));
        let mut candidates = Self {
            gateway,
            regions,
            work,
            chosen: Vec::with_capacity(places.len()),
            left: places,
            preferred,
            conversation: OnceLock::new(),
            demand: OnceLock::new(),
        };
        candidates.prefer_the_last();
        candidates
    }

    /// How many were not chosen yet.
    pub(super) fn count(&self) -> usize {
        self.left.len()
    }

    /// Who served the conversation last goes first.
    fn prefer_the_last(&mut self) {
        let sticky = self.gateway.sticky();
        if sticky.is_empty() || self.preferred.is_none() {
            return;
        }
        let Some(conversation) = self.conversation() else { return };
        let last = sticky.region(conversation, self.now());
        if let Some(at) = last.and_then(|last| self.left.iter().position(|place| place.region == last)) {
            self.left[..=at].rotate_right(1);
        }
    }

    /// The conversation, if the model keeps something of it: it is long enough, and says what to keep where it has to.
    fn conversation(&self) -> Option<Conversation> {
        *self.conversation.get_or_init(|| {
            let work = self.work.as_ref()?;
            let caching = work.model.prompt_caching.as_ref()?;
            let is_long = work.input >= caching.min_tokens.unwrap_or(LEAST_CACHED);
            if !is_long || (caching.explicit == Some(true) && !outline::marks_cache(work.call)) {
                return None;
            }
            Some(outline::conversation(work.team, &work.model.id, work.call))
        })
    }

    /// What the call may use of a quota; `None` if it counts against none of those that are known.
    fn demand(&self) -> Option<Demand> {
        *self.demand.get_or_init(|| {
            let work = self.work.as_ref()?;
            let wish = outline::wish(work.call);
            let most = if work.model.kind == Kind::Chat { work.model.max_output_tokens } else { Some(0) };
            let output = wish.max_tokens.or(most).unwrap_or_default();
            (!wish.is_apart).then_some(Demand { input: work.input, output })
        })
    }

    /// The quota that counts at `place`, if one is known.
    fn quota(&self, place: &Place, region: &Region) -> Option<Arc<Use>> {
        let model = self.work.as_ref()?.model;
        let known = self.gateway.quotas().of(place, model);
        region.health().quota(&place.quota_id(model), known, self.now())
    }

    /// The next candidate: the first by preference that is well and whose quota has room; if there is none, the one that
    /// may soonest be tried.
    pub(super) fn choose(&mut self) -> Option<Chosen> {
        if self.left.len() > 1 {
            if let Some(chosen) = self.choose_ready() {
                return Some(chosen);
            }
            let now = self.now();
            let mut left = std::mem::take(&mut self.left);
            route::order(&mut left, |place| self.standing(place, now));
            self.left = left;
        }
        let place = (!self.left.is_empty()).then(|| self.left.remove(0))?;
        let region = self.regions.region(&place.region)?.clone();
        let quota = self.quota(&place, &region);
        let reservation = self.reserve(quota.as_ref());
        self.chosen.push(Arc::clone(&place));
        Some(Chosen { place, region, quota, reservation })
    }

    /// That candidate, if it is well and its quota has room.
    fn choose_if_fits(&mut self, index: usize) -> Option<Chosen> {
        let place = self.left.get(index)?;
        let region = self.regions.region(&place.region)?.clone();
        if region.health().condition(&place.id, self.now()) != Condition::Ready {
            return None;
        }
        let quota = self.quota(place, &region);
        let reservation = match self.demand_on(quota.as_ref()) {
            Some((quota, demand)) => Some(quota.reserve_if_fits(demand, self.gateway.clock()).ok()?),
            None => None,
        };
        let place = self.left.remove(index);
        self.chosen.push(Arc::clone(&place));
        Some(Chosen { place, region, quota, reservation })
    }

    pub(super) fn reserve(&self, quota: Option<&Arc<Use>>) -> Option<Reservation> {
        self.demand_on(quota).map(|(quota, demand)| quota.reserve(demand, self.gateway.clock()))
    }

    /// The quota and what the call may use of it. Where none is known the body is not looked at.
    fn demand_on<'q>(&self, quota: Option<&'q Arc<Use>>) -> Option<(&'q Arc<Use>, Demand)> {
        let quota = quota?;
        Some((quota, self.demand()?))
    }

    fn standing(&self, place: &Place, now: Timestamp) -> Standing {
        let Some(region) = self.regions.region(&place.region) else { return Standing::Ready };
        let standing = Standing::of(region.health().condition(&place.id, now));
        if standing != Standing::Ready {
            return standing;
        }
        let quota = self.quota(place, region);
        let Some((quota, demand)) = self.demand_on(quota.as_ref()) else { return standing };
        match quota.wait_for(demand, now) {
            Some(Duration::ZERO) => standing,
            wait => Standing::Full { until: now.plus(wait.unwrap_or(Duration::MAX)) },
        }
    }

    /// The first by preference that is well and whose quota has room, if there is one.
    pub(super) fn choose_ready(&mut self) -> Option<Chosen> {
        (0..self.left.len()).find_map(|index| self.choose_if_fits(index))
    }

    /// `place` served the call: where that was not the first choice, the conversation goes there again.
    pub(super) fn served(&self, place: &Place) {
        let Some(preferred) = &self.preferred else { return };
        let (sticky, is_preferred) = (self.gateway.sticky(), *preferred == place.region);
        if is_preferred && sticky.is_empty() {
            // Nothing to forget, so nothing is worked out for it.
            return;
        }
        let Some(conversation) = self.conversation() else { return };
        if is_preferred {
            sticky.forget(conversation, self.now());
        } else {
            sticky.remember(conversation, &place.region, self.now());
        }
    }

    /// How long until one of the candidates may be tried again; a second at least, so that nobody comes back at once.
    pub(super) fn soonest(&self) -> Duration {
        let now = self.now();
        let rests = self.chosen.iter().chain(&self.left).filter_map(|place| {
            let region = self.regions.region(&place.region)?;
            Some(match region.health().condition(&place.id, now) {
                Condition::Ready => Duration::ZERO,
                Condition::Resting { until } => until.since(now),
            })
        });
        rests.min().unwrap_or_default().max(Duration::from_secs(1))
    }

    fn now(&self) -> Timestamp {
        self.gateway.clock().now()
    }
}
