//! Where a model can be called, and by which id.
//!
//! Everything is worked out once, when the catalog is made: a call only looks its Regions up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::data::{GeoDefault, ProfileRow, RegionRow};
use super::price::{Price, PriceList};

/// A Region in which something can be called, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The Region to send the call to.
    pub region: Arc<str>,
    /// What to put in the path: a model id, a profile id or an ARN.
    pub id: Arc<str>,
    /// How far the call may travel from the Region.
    pub scope: Scope,
    /// What it costs; `None`: unknown.
    pub price: Option<Arc<Price>>,
}

/// How far a call may travel from the Region it is sent to, which is also what its price goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It stays.
    InRegion,
    /// It goes where an inference profile of this geography (`us`, `eu`, `global`, ...) sends it.
    Profile(Arc<str>),
}

/// The places of one model or profile, by Region.
pub(super) type Places = HashMap<Arc<str>, Arc<Place>>;

/// An inference profile with its source Regions.
pub(super) struct Profile {
    pub(super) id: Arc<str>,
    pub(super) geo: Arc<str>,
    sources: Sources,
}

/// From where a profile can be called.
enum Sources {
    /// Seen, with the destinations of each: `*` is any Region of the partition.
    Seen(Routes),
    /// Concluded from other profiles of the geography; the destinations are not known.
    Guessed(BTreeSet<Arc<str>>),
}

/// Source Region to destinations.
pub(super) type Routes = BTreeMap<Arc<str>, Vec<Arc<str>>>;

impl Profile {
    /// The source Regions.
    fn regions(&self) -> impl Iterator<Item = &Arc<str>> {
        let (seen, guessed) = match &self.sources {
            Sources::Seen(routes) => (Some(routes.keys()), None),
            Sources::Guessed(regions) => (None, Some(regions.iter())),
        };
        seen.into_iter().flatten().chain(guessed.into_iter().flatten())
    }

    /// Where it sends what comes from its source Regions, if that was seen.
    pub(super) fn routes(&self) -> Option<&Routes> {
        match &self.sources {
            Sources::Seen(routes) => Some(routes),
            Sources::Guessed(_) => None,
        }
    }

    /// The less, the better: seen before guessed, a geography before the world, few destinations before many.
    fn rank(&self, region: &str) -> (bool, bool, usize) {
        let destinations = self.routes().and_then(|routes| routes.get(region));
        (self.routes().is_none(), &*self.geo == "global", destinations.map_or(usize::MAX, Vec::len))
    }
}

/// The Regions by code, and who may be a source of a profile whose routing is not known.
pub(super) struct Geography<'a> {
    codes: HashMap<&'a str, Arc<str>>,
    partitions: HashMap<&'a str, &'a str>,
    defaults: &'a BTreeMap<&'a str, GeoDefault<'a>>,
}

impl<'a> Geography<'a> {
    pub(super) fn new(regions: &[RegionRow<'a>], defaults: &'a BTreeMap<&'a str, GeoDefault<'a>>) -> Self {
        let codes = regions.iter().map(|region| (region.code, Arc::from(region.code))).collect();
        let partitions = regions.iter().map(|region| (region.code, region.partition)).collect();
        Self { codes, partitions, defaults }
    }

    /// The shared copy of a Region's code; one that the data does not list gets its own.
    pub(super) fn code(&self, region: &str) -> Arc<str> {
        self.codes.get(region).map_or_else(|| Arc::from(region), Arc::clone)
    }

    pub(super) fn profile(&self, row: &ProfileRow<'_>) -> Profile {
        let codes = |regions: &Vec<&str>| regions.iter().map(|region| self.code(region)).collect();
        let sources = if row.sources.is_empty() {
            Sources::Guessed(self.likely_sources(row.geo))
        } else {
            Sources::Seen(row.sources.iter().map(|(region, to)| (self.code(region), codes(to))).collect())
        };
        Profile { id: row.id.into(), geo: row.geo.into(), sources }
    }

    /// Where a profile of the geography can usually be called from. Trying in vain costs one attempt.
    fn likely_sources(&self, geo: &str) -> BTreeSet<Arc<str>> {
        if let Some(GeoDefault::Routing(routing)) = self.defaults.get(geo) {
            return routing.keys().map(|region| self.code(region)).collect();
        }
        let belongs = |code: &str| match geo {
            "global" => self.partitions.get(code) == Some(&"aws"),
            "apac" => code.starts_with("ap-"),
            _ => code.split('-').next() == Some(geo),
        };
        self.codes.iter().filter(|(code, _)| belongs(code)).map(|(_, code)| Arc::clone(code)).collect()
    }
}

/// The places of a named profile: its source Regions.
pub(super) fn of_profile(profile: &Profile, prices: &PriceList) -> Places {
    let scope = Scope::Profile(Arc::clone(&profile.geo));
    profile.regions().map(|region| at(region, &profile.id, scope.clone(), prices)).collect()
}

/// The places of a model named by its own id. In a Region that offers it on demand it is called by that id. Elsewhere
/// by a profile: one whose source Regions were seen before one where they are a guess, a geography's before the global
/// one, the one with the fewest destinations first.
pub(super) fn of_model(id: &Arc<str>, on_demand: &[Arc<str>], profiles: &[Profile], prices: &PriceList) -> Places {
    let mut best: HashMap<&Arc<str>, &Profile> = HashMap::new();
    for profile in profiles {
        for region in profile.regions() {
            best.entry(region)
                .and_modify(|chosen| {
                    if profile.rank(region) < chosen.rank(region) {
                        *chosen = profile;
                    }
                })
                .or_insert(profile);
        }
    }
    let by_profile = best
        .into_iter()
        .map(|(region, profile)| at(region, &profile.id, Scope::Profile(Arc::clone(&profile.geo)), prices));
    let mut places: Places = by_profile.collect();
    places.extend(on_demand.iter().map(|region| at(region, id, Scope::InRegion, prices)));
    places
}

fn at(region: &Arc<str>, id: &Arc<str>, scope: Scope, prices: &PriceList) -> (Arc<str>, Arc<Place>) {
    let price = prices.find(&scope, region);
    (Arc::clone(region), Arc::new(Place { region: Arc::clone(region), id: Arc::clone(id), scope, price }))
}
