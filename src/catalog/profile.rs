//! System-defined inference profiles, as far as it is known where they lead.

use std::sync::Arc;

use super::place::{Profile, Routes};
use super::{Destinations, Model, Source};

/// An inference profile of AWS's own, from whose source Regions it is known where it sends a call.
#[derive(Clone, Debug)]
pub struct InferenceProfile {
    /// Its id, such as `us.amazon.nova-lite-v1:0`.
    pub id: Arc<str>,
    /// Its geography: `us`, `eu`, `global`, ...
    pub geo: Arc<str>,
    /// The model that it leads to.
    pub model: Arc<Model>,
    routes: Routes,
}

impl InferenceProfile {
    pub(super) fn of(profile: &Profile, model: &Arc<Model>) -> Option<Self> {
        let seen = profile.routes.iter().filter(|(_, route)| route.source != Source::Assumed);
        let routes: Routes = seen.map(|(region, route)| (Arc::clone(region), route.clone())).collect();
        let is_known = !routes.is_empty();
        is_known.then(|| Self {
            id: Arc::clone(&profile.id),
            geo: Arc::clone(&profile.geo),
            model: Arc::clone(model),
            routes,
        })
    }

    /// Where a call from `region` may go; `None` where the profile cannot be called from there.
    pub fn destinations(&self, region: &str) -> Option<&Destinations> {
        self.routes.get(region).map(|route| &route.destinations)
    }

    /// Who says that it can be called from `region`, and where it leads from there.
    pub fn source(&self, region: &str) -> Option<Source> {
        self.routes.get(region).map(|route| route.source)
    }

    /// The Regions from which it can be called, and where each sends it.
    pub fn routes(&self) -> impl Iterator<Item = (&Arc<str>, &Destinations)> {
        self.routes.iter().map(|(region, route)| (region, &route.destinations))
    }
}
