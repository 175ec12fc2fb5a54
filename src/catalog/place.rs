//! Where a model can be called, and by which id.
//!
//! Everything is worked out once, when the catalog is made: a call only looks its Regions up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::data::{GeoDefault, ProfileRow, RegionRow};
use super::freshness::Source;
use super::price::{Price, PriceList};
use crate::converse::Usage;
use crate::money::MicroUsd;

/// A Region in which something can be called, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The Region to send the call to.
    pub region: Arc<str>,
    /// What to put in the path: a model id, a profile id or an ARN.
    pub id: Arc<str>,
    /// How far the call may travel from the Region.
    pub scope: Scope,
    /// The Regions that may answer it.
    pub destinations: Destinations,
    /// What it costs; `None`: unknown.
    pub price: Option<Arc<Price>>,
    /// Who says that it can be called here, and where it leads. Prices are compiled in.
    pub source: Source,
}

/// How far a call may travel from the Region it is sent to, which is also what its price goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It stays.
    InRegion,
    /// It goes where an inference profile of this geography (`us`, `eu`, `global`, ...) sends it.
    Profile(Arc<str>),
}

/// Which Regions may answer a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destinations {
    /// One of these.
    Among(Arc<[Arc<str>]>),
    /// Any Region of the partition.
    Anywhere,
    /// That is not known.
    Unknown,
}

impl Destinations {
    /// The Region that was called, and no other.
    pub fn here(region: &Arc<str>) -> Self {
        Self::Among([Arc::clone(region)].into())
    }
}

/// In which order the candidates of a call are tried.
pub use crate::config::Order;

/// The places of one model or profile, by Region; those of one Region best first.
pub(super) type Places = HashMap<Arc<str>, Vec<Arc<Place>>>;

impl Place {
    /// A call within the Region by `id`, at this price, assuming that it can be called there.
    pub fn in_region(region: Arc<str>, id: Arc<str>, price: Option<Arc<Price>>) -> Self {
        let destinations = Destinations::here(&region);
        Self { region, id, scope: Scope::InRegion, destinations, price, source: Source::Assumed }
    }

    /// What an ordinary answer costs here, to compare places by: three tokens are read for each that is written.
    fn comparable_cost(&self) -> Option<MicroUsd> {
        let usage = Usage { input_tokens: 300_000, output_tokens: 100_000, total_tokens: 400_000, ..Usage::default() };
        self.price.as_ref()?.cost(&usage)
    }

    /// The cheaper, the less; what is not known is dearest.
    pub(super) fn dearness(&self) -> (bool, Option<MicroUsd>) {
        let cost = self.comparable_cost();
        (cost.is_none(), cost)
    }
}

/// An inference profile with its source Regions.
pub(super) struct Profile {
    pub(super) id: Arc<str>,
    pub(super) geo: Arc<str>,
    /// By source Region.
    pub(super) routes: Routes,
}

/// Source Region to where a call from there may go.
pub(super) type Routes = BTreeMap<Arc<str>, Route>;

/// Where a profile sends what comes from one of its source Regions.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) destinations: Destinations,
    /// `Assumed`: concluded from other profiles of the geography; the destinations are not known.
    pub(super) source: Source,
}

/// The Regions that offer a model by its own id, and who says so.
pub(super) type OnDemand = BTreeMap<Arc<str>, Source>;

impl Route {
    /// The less, the better: seen before assumed, a geography before the world, few destinations before many.
    fn rank(&self, geo: &str) -> (bool, bool, usize) {
        let count = match &self.destinations {
            Destinations::Among(regions) => regions.len(),
            Destinations::Anywhere | Destinations::Unknown => usize::MAX,
        };
        (self.source == Source::Assumed, geo == "global", count)
    }
}

/// The Regions by code, and who may be a source of a profile whose routing is not known.
pub(super) struct Atlas<'a> {
    codes: HashMap<&'a str, Arc<str>>,
    partitions: HashMap<&'a str, &'a str>,
    defaults: &'a BTreeMap<&'a str, GeoDefault<'a>>,
}

impl<'a> Atlas<'a> {
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
        let destinations = |regions: &Vec<&str>| {
            if regions.contains(&"*") {
                Destinations::Anywhere
            } else {
                Destinations::Among(regions.iter().map(|region| self.code(region)).collect())
            }
        };
        let routes = if row.sources.is_empty() {
            let assumed = Route { destinations: Destinations::Unknown, source: Source::Assumed };
            self.likely_sources(row.geo).into_iter().map(|region| (region, assumed.clone())).collect()
        } else {
            let route = |to| Route { destinations: destinations(to), source: Source::Compiled };
            row.sources.iter().map(|(region, to)| (self.code(region), route(to))).collect()
        };
        Profile { id: row.id.into(), geo: row.geo.into(), routes }
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
    let places = profile.routes.iter();
    places.map(|(region, route)| (Arc::clone(region), vec![by_profile(region, profile, route, prices)])).collect()
}

/// The places of a model named by its own id. In a Region that offers it on demand it is called by that id. Elsewhere, or
/// where a fence wants it, by a profile: one whose source Regions were seen before one where they are a guess, a
/// geography's before the global one, the one with the fewest destinations first.
pub(super) fn of_model(id: &Arc<str>, on_demand: &OnDemand, profiles: &[Profile], prices: &PriceList) -> Places {
    let mut ranked: HashMap<&Arc<str>, Vec<(&Profile, &Route)>> = HashMap::new();
    for profile in profiles {
        for (region, route) in &profile.routes {
            ranked.entry(region).or_default().push((profile, route));
        }
    }
    let mut places = Places::new();
    for (region, &source) in on_demand {
        let price = prices.find(&Scope::InRegion, region);
        let place = Place { source, ..Place::in_region(Arc::clone(region), Arc::clone(id), price) };
        places.insert(Arc::clone(region), vec![Arc::new(place)]);
    }
    for (region, mut profiles) in ranked {
        profiles.sort_by_key(|(profile, route)| (route.rank(&profile.geo), &profile.id));
        let by_profile = profiles.into_iter().map(|(profile, route)| by_profile(region, profile, route, prices));
        places.entry(Arc::clone(region)).or_default().extend(by_profile);
    }
    places
}

fn by_profile(region: &Arc<str>, profile: &Profile, route: &Route, prices: &PriceList) -> Arc<Place> {
    let scope = Scope::Profile(Arc::clone(&profile.geo));
    Arc::new(Place {
        region: Arc::clone(region),
        id: Arc::clone(&profile.id),
        price: prices.find(&scope, region),
        scope,
        destinations: route.destinations.clone(),
        source: route.source,
    })
}
