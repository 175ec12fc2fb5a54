//! From a name to what it stands for: the one step that every call takes through the catalog.

use std::sync::Arc;

use super::arn::{self, Arn, Resource};
use super::place::Places;
use super::{Destinations, Facts, Fence, Place, Resolved, Scope, Source, Target, names};
use crate::config::PromptCache;
use crate::error::{Error, Kind, Result};

impl Target {
    /// These places of one Region, best first.
    pub(super) fn arn(places: Vec<Place>) -> Self {
        let places = places.into_iter().fold(Places::new(), |mut all, place| {
            all.entry(Arc::clone(&place.region)).or_default().push(Arc::new(place));
            all
        });
        Self { places: Arc::new(places), is_arn: true }
    }
}

/// Whether a model that has these names may be told of.
pub(super) type MayTell<'a> = &'a dyn Fn([&str; 3]) -> bool;

impl Facts {
    pub(super) fn resolve(&self, name: &str) -> Result<Resolved> {
        self.resolve_for(name, &|_| true)
    }

    /// The same for somebody who may not be told of every model: of others an error says nothing.
    pub(super) fn resolve_for(&self, name: &str, may_tell: MayTell<'_>) -> Result<Resolved> {
        if let Some(known) = self.names.get(name) {
            return Ok(known.clone());
        }
        names::check(name)?;
        match arn::parse(name) {
            Some(arn) => self.resolve_arn(name, &arn?, may_tell),
            None => Err(self.unknown(name, may_tell)),
        }
    }

    fn resolve_arn(&self, name: &str, arn: &Arn<'_>, may_tell: MayTell<'_>) -> Result<Resolved> {
        let region: Arc<str> = arn.region.into();
        let known = self.regions.iter().find(|known| known.code == region);
        if let Some(known) = known.filter(|known| known.partition != arn.partition) {
            let message =
                format!("The ARN's partition is `{}`, but {region} is in `{}`.", arn.partition, known.partition);
            return Err(Error::invalid("model", message));
        }
        let place = |scope, destinations, price| Place {
            region: Arc::clone(&region),
            id: name.into(),
            scope,
            destinations,
            price,
            source: Source::Assumed,
        };
        let id = match arn.resource {
            Resource::Known(id) => id,
            Resource::Opaque(kind) => {
                // A profile or a router sends calls on; everything else runs where it is.
                let destinations =
                    if arn::is_sent_on(kind) { Destinations::Unknown } else { Destinations::here(&region) };
                return Ok(Resolved {
                    model: None,
                    name: kind.into(),
                    prompt_cache: PromptCache::Explicit,
                    fence: Fence::default(),
                    target: Target::arn(vec![place(Scope::InRegion, destinations, None)]),
                });
            }
        };
        let known = self.ids.get(id).ok_or_else(|| self.unknown(id, may_tell))?;
        let offers = known.target.places.get(&region).map(Vec::as_slice).unwrap_or_default();
        let is_model = *id == *known.name;
        // A model that is offered by profiles only is called by one of them, whatever form its name has.
        let places: Vec<Place> = if is_model && !offers.is_empty() {
            let as_named = |offer: &Arc<Place>| match &offer.scope {
                Scope::InRegion => Place { id: name.into(), ..Place::clone(offer) },
                Scope::Profile(_) => Place::clone(offer),
            };
            offers.iter().map(as_named).collect()
        } else if let [offer] = offers {
            vec![Place { id: name.into(), ..Place::clone(offer) }]
        } else {
            // The data does not know it there. AWS may.
            let scope = match id.strip_suffix(&*known.name) {
                Some(geo) if !geo.is_empty() => Scope::Profile(geo.trim_end_matches('.').into()),
                _ => Scope::InRegion,
            };
            let price = self.prices.get(&known.name).and_then(|prices| prices.find(&scope, &region));
            let destinations = if is_model { Destinations::here(&region) } else { Destinations::Unknown };
            vec![place(scope, destinations, price)]
        };
        Ok(Resolved { target: Target::arn(places), ..known.clone() })
    }

    fn unknown(&self, name: &str, may_tell: MayTell<'_>) -> Error {
        let shown: String = name.chars().take(128).collect();
        let Some(meant) = self.suggestion(name, may_tell) else { return Error::model_not_found(&shown) };
        let message = format!("The model `{shown}` does not exist or this key may not use it; did you mean `{meant}`?");
        Error::new(Kind::ModelNotFound, message).param("model")
    }

    /// The name that may be meant.
    pub(super) fn suggestion(&self, name: &str, may_tell: MayTell<'_>) -> Option<&str> {
        let callable = self.models.iter().map(|entry| &*entry.model).filter(|model| model.is_callable());
        let callable = callable.filter(|model| may_tell([&*model.id, &*model.id, &*model.short]));
        let is_told = |alias: &&str| self.names.get(*alias).is_some_and(|resolved| may_tell(resolved.names(alias)));
        let aliases = self.aliases.iter().map(|alias| &**alias).filter(is_told);
        let known: Vec<&str> = aliases.chain(callable.flat_map(|model| [model.short.as_str(), &*model.id])).collect();
        names::suggest(name, &known)
    }
}
