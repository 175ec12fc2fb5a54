//! What can be called: models, the names they go by, the Regions and inference profiles to call them through, prices.
//!
//! The facts are compiled in from `data/*.json` and worked out once into a [`Catalog`]; a call costs a look-up by
//! name and one by Region. Nothing here talks to AWS or knows which Region is healthy. What the data does not say is
//! unknown, and a name that it does not know is refused.

mod arn;
mod build;
mod check;
mod data;
mod lookup;
mod model;
mod names;
mod place;
mod price;
mod profile;
mod quota;

use std::collections::HashMap;
use std::sync::Arc;

use self::place::Places;
use self::price::PriceList;
use crate::config::PromptCache;
use crate::error::{Error, Kind as ErrorKind, Result};

pub use model::{Abilities, Apis, Kind, Lifecycle, Model, PromptCaching, Stage};
pub use place::{Place, Scope};
pub use price::{ByUnit, Charged, Price, Rates, Tier};
pub use profile::{Destinations, InferenceProfile};
pub use quota::{Known, Quotas, Source};

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
    target: Target,
}

#[derive(Clone, Debug)]
enum Target {
    /// Called in any of these.
    Places(Arc<Places>),
    /// An ARN: called as it is, where it is.
    Arn(Arc<Place>),
}

impl Resolved {
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

    /// What `name` stands for, if it is a name by itself and not inside an ARN. Nothing is made up or suggested: this is for
    /// a look ahead.
    pub fn known(&self, name: &str) -> Option<&Resolved> {
        self.0.names.get(name)
    }

    /// Where it can be called, in the order of `regions`; empty when in none of them.
    pub fn candidates(&self, resolved: &Resolved, regions: &[Arc<str>]) -> Vec<Arc<Place>> {
        match &resolved.target {
            Target::Places(places) => regions.iter().filter_map(|region| places.get(region).cloned()).collect(),
            Target::Arn(place) if regions.contains(&place.region) => vec![Arc::clone(place)],
            Target::Arn(_) => Vec::new(),
        }
    }

    /// Why there is no candidate in `regions`, and where there would be one.
    pub fn unavailable(&self, resolved: &Resolved, regions: &[Arc<str>]) -> Error {
        let tried = listed(regions.iter().map(|region| &**region));
        let message = match (&resolved.target, &resolved.model) {
            (Target::Arn(place), _) => {
                format!("The ARN belongs to {}, which this gateway does not call (it calls {tried}).", place.region)
            }
            (_, Some(model)) if !model.on_runtime => format!(
                "The model `{}` is offered on the bedrock-mantle endpoint only, which this gateway does not call.",
                model.id
            ),
            (Target::Places(places), _) if places.is_empty() => {
                format!("The model `{}` is not known to be offered in any Region.", resolved.name)
            }
            (Target::Places(places), _) => {
                let mut offers: Vec<&str> = places.keys().map(|region| &**region).collect();
                offers.sort_unstable();
                let offers = listed(offers.into_iter());
                format!("The model `{}` cannot be called from {tried} by this name, but from {offers}.", resolved.name)
            }
        };
        Error::new(ErrorKind::ModelNotFound, message).param("model")
    }

    /// The models that can be called from one of `regions`, by id. Those whose end has come are left out.
    pub fn models<'a>(&'a self, regions: &'a [Arc<str>]) -> impl Iterator<Item = &'a Arc<Model>> {
        let is_near = |entry: &&Entry| regions.iter().any(|region| entry.places.contains_key(region));
        self.0.models.iter().filter(|entry| entry.model.is_callable()).filter(is_near).map(|entry| &entry.model)
    }

    /// The inference profiles of models that can be called, by id, as far as it is known where they lead.
    pub fn profiles(&self) -> &[InferenceProfile] {
        &self.0.profiles
    }

    /// The aliases and what they stand for, in the order of the configuration.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &Resolved)> {
        self.0.aliases.iter().filter_map(|alias| Some((&**alias, self.0.names.get(alias)?)))
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
