//! What can be called: models, the names they go by, the Regions and inference profiles to call them through, prices.
//!
//! The facts are compiled in from `data/*.json` and worked out once into a [`Catalog`]; a call costs a look-up by
//! name and one by Region. Nothing here talks to AWS or knows which Region is healthy. What the data does not say is
//! unknown, and a name that it does not know is refused.

mod arn;
mod batch;
mod build;
mod candidates;
mod check;
mod data;
mod fence;
mod freshness;
mod hosting;
mod live;
mod lookup;
mod merge;
mod model;
mod names;
mod observed;
mod offered;
mod place;
mod price;
mod profile;
mod quota;
mod unveil;

use std::collections::HashMap;
use std::sync::Arc;

use self::batch::BatchFacts;
use self::place::Places;
use self::price::PriceList;
use crate::config::PromptCache;
use crate::error::Result;

pub use batch::{Batch, BatchLimits};
pub use fence::{Fence, Geography};
pub use freshness::{Freshness, Problem, Source};
pub use hosting::Hosting;
pub use live::Live;
pub use model::{Abilities, Apis, Kind, Lifecycle, Model, PromptCaching, Stage};
pub use observed::Observed;
pub use offered::Offered;
pub use place::{Destinations, Order, Place, Scope};
pub use price::{ByUnit, Charged, Price, Rates, Tier};
pub use profile::InferenceProfile;
pub use quota::{Known, Quotas, Source as QuotaSource};

/// The catalog. A clone is cheap and shows the same facts.
#[derive(Clone, Debug)]
pub struct Catalog(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    /// By id.
    models: Vec<Entry>,
    /// Every name that may be used: ids, short ids, aliases.
    names: HashMap<Box<str>, Resolved>,
    /// Ids of models and profiles only: what an ARN may hold.
    ids: HashMap<Arc<str>, Resolved>,
    /// The names of `names` that are aliases, in the order of the configuration.
    aliases: Vec<Box<str>>,
    /// Those of models that can be called and whose routing is known, by id.
    profiles: Vec<InferenceProfile>,
    prices: HashMap<Arc<str>, PriceList>,
    regions: Vec<Region>,
    batch: Arc<BatchFacts>,
    /// The day of the compiled-in data.
    as_of: &'static str,
}

#[derive(Debug)]
struct Entry {
    model: Arc<Model>,
    places: Arc<Places>,
}

/// An AWS Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its code, such as `eu-central-1`.
    pub code: Arc<str>,
    /// Its name for people.
    pub name: String,
    /// The partition: `aws`, `aws-us-gov`, ...
    pub partition: String,
    /// Whether an account has to switch it on first.
    pub opt_in: bool,
    /// The hosts of its endpoints.
    pub hosts: Hosts,
}

/// The hosts of Bedrock in a Region, as they are published or follow from the pattern; `None`: none is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// The runtime: inference.
    pub runtime: Option<String>,
    /// The control plane.
    pub control: Option<String>,
    /// The runtime with FIPS cryptography.
    pub runtime_fips: Option<String>,
    /// The control plane with FIPS cryptography.
    pub control_fips: Option<String>,
    /// The second inference endpoint, which this gateway does not call.
    pub mantle: Option<String>,
}

/// What a name stands for. A clone is cheap.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The model; `None` behind an ARN that hides it.
    pub model: Option<Arc<Model>>,
    /// The id of the model, for labels and the ledger; behind an ARN that hides it, the type of resource, such as
    /// `application-inference-profile`. Never an ARN, and one of a bounded set.
    pub name: Arc<str>,
    /// Who says what of a prompt is worth caching; an alias may say so.
    pub prompt_cache: PromptCache,
    /// The Regions that an alias is limited to.
    pub fence: Fence,
    target: Target,
}

#[derive(Clone, Debug)]
struct Target {
    places: Arc<Places>,
    /// Called as it is named, where it is.
    is_arn: bool,
}

impl Resolved {
    /// The Region and the ARN of an application inference profile whose model is not known: AWS can tell it.
    pub fn hidden_profile(&self) -> Option<(&Arc<str>, &Arc<str>)> {
        if self.model.is_some() || &*self.name != arn::APPLICATION_PROFILE {
            return None;
        }
        let place = self.target.places.values().flatten().next()?;
        Some((&place.region, &place.id))
    }

    /// The ways to call it from `region`, best first; none when it cannot be called from there.
    pub fn offers(&self, region: &str) -> &[Arc<Place>] {
        self.target.places.get(region).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every name that an allow-list may know the model by: the one that was asked for, Bedrock's id, the short id.
    pub fn names<'a>(&'a self, asked: &'a str) -> [&'a str; 3] {
        [asked, &self.name, self.model.as_ref().map_or(asked, |model| &model.short)]
    }
}

impl Catalog {
    /// What `name` stands for: an alias, a short id, a Bedrock id, a profile id or an ARN.
    ///
    /// # Errors
    /// `Invalid` for what is no name at all, `ModelNotFound` for a name that is not known.
    pub fn resolve(&self, name: &str) -> Result<Resolved> {
        self.0.resolve(name)
    }

    /// The same for a caller who may use only the models that `may_tell` says by their names: an error suggests no other.
    ///
    /// # Errors
    /// Those of [`Catalog::resolve`].
    pub fn resolve_for(&self, name: &str, may_tell: &dyn Fn([&str; 3]) -> bool) -> Result<Resolved> {
        self.0.resolve_for(name, may_tell)
    }

    /// What `name` stands for, if it is a name by itself and not inside an ARN. Nothing is made up or suggested: this is for
    /// a look ahead.
    pub fn known(&self, name: &str) -> Option<&Resolved> {
        self.0.names.get(name)
    }

    /// The models that can be called from one of `regions` inside `fence`, by id. Those whose end has come are left out.
    pub fn models<'a>(&'a self, regions: &'a [Arc<str>], fence: &'a Fence) -> impl Iterator<Item = &'a Arc<Model>> {
        let is_near = |entry: &&Entry| {
            let mut offers = regions.iter().filter_map(|region| entry.places.get(region)).flatten();
            offers.any(|place| fence.permits(place))
        };
        self.0.models.iter().filter(|entry| entry.model.is_callable()).filter(is_near).map(|entry| &entry.model)
    }

    /// The inference profiles of models that can be called, by id, as far as it is known where they lead.
    pub fn profiles(&self) -> &[InferenceProfile] {
        &self.0.profiles
    }

    /// Every id of a model or a profile that a call may name, in no order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.ids.keys().map(|id| &**id)
    }

    /// The aliases and what they stand for, in the order of the configuration.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &Resolved)> {
        self.0.aliases.iter().filter_map(|alias| Some((&**alias, self.0.names.get(alias)?)))
    }

    /// The day that the compiled-in data is of, such as `2026-11-22`: what AWS did not tell is that old.
    pub fn as_of(&self) -> &str {
        self.0.as_of
    }

    /// Every Region there is, by code.
    pub fn regions(&self) -> &[Region] {
        &self.0.regions
    }

    /// The Region of this code.
    pub fn region(&self, code: &str) -> Option<&Region> {
        self.0.regions.iter().find(|region| &*region.code == code)
    }
}

/// `a, b, c and 9 more`.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.get(..4) {
        Some(first) if names.len() > 4 => format!("{} and {} more", first.join(", "), names.len() - 4),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod residency_tests;
