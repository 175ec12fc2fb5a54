//! From a name to what it stands for: the one step that every call takes through the catalog.

use std::sync::Arc;

use super::arn::{self, Arn, Resource};
use super::{Facts, Place, Resolved, Scope, Target, names};
use crate::config::PromptCache;
use crate::error::{Error, Kind, Result};

impl Facts {
    pub(super) fn resolve(&self, name: &str) -> Result<Resolved> {
        if let Some(known) = self.names.get(name) {
            return Ok(known.clone());
        }
        names::check(name)?;
        match arn::parse(name) {
            Some(arn) => self.resolve_arn(name, &arn?),
            None => Err(self.unknown(name)),
        }
    }

    fn resolve_arn(&self, name: &str, arn: &Arn<'_>) -> Result<Resolved> {
        let target = |scope, price| {
            let place = Place { region: arn.region.into(), id: name.into(), scope, price };
            Target::Arn(Arc::new(place))
        };
        let id = match arn.resource {
            Resource::Known(id) => id,
            Resource::Opaque(kind) => {
                return Ok(Resolved {
                    model: None,
                    name: kind.into(),
                    prompt_cache: PromptCache::Explicit,
                    target: target(Scope::InRegion, None),
                });
            }
        };
        let known = self.ids.get(id).ok_or_else(|| self.unknown(id))?;
        // A profile's id is its geography, a dot and the model's id.
        let scope = match id.strip_suffix(&*known.name) {
            Some(geo) if !geo.is_empty() => Scope::Profile(geo.trim_end_matches('.').into()),
            _ => Scope::InRegion,
        };
        let price = self.prices.get(&known.name).and_then(|prices| prices.find(&scope, arn.region));
        Ok(Resolved { target: target(scope, price), ..known.clone() })
    }

    fn unknown(&self, name: &str) -> Error {
        let shown: String = name.chars().take(128).collect();
        let Some(meant) = self.suggestion(name) else { return Error::model_not_found(&shown) };
        let message = format!("The model `{shown}` does not exist or this key may not use it; did you mean `{meant}`?");
        Error::new(Kind::ModelNotFound, message).param("model")
    }

    /// The name that may be meant.
    pub(super) fn suggestion(&self, name: &str) -> Option<&str> {
        let callable = self.models.iter().map(|entry| &*entry.model).filter(|model| model.is_callable());
        let aliases = self.aliases.iter().map(|alias| &**alias);
        let known: Vec<&str> = aliases.chain(callable.flat_map(|model| [model.short.as_str(), &*model.id])).collect();
        names::suggest(name, &known)
    }
}
