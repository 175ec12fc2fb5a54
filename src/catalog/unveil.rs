//! What is behind an ARN that hides its model, once somebody has told: the alias, or AWS.

use std::sync::Arc;

use super::place::Places;
use super::{Catalog, Destinations, Model, Place, Resolved, Scope, Source, Target, arn};

impl Catalog {
    /// What an application inference profile stands for, when `GetInferenceProfile` lists these ARNs as its models.
    /// `None` when they are not of one model that is known.
    pub fn unveiled<'a>(&self, hidden: &Resolved, model_arns: impl IntoIterator<Item = &'a str>) -> Option<Resolved> {
        let (region, id) = hidden.hidden_profile()?;
        let mut destinations: Vec<Arc<str>> = Vec::new();
        let (mut model, mut anywhere) = (None, false);
        for arn in model_arns {
            let (to, of) = arn::destination(arn)?;
            if *model.get_or_insert(of) != of {
                return None;
            }
            match to {
                Some(to) => destinations.push(to.into()),
                None => anywhere = true,
            }
        }
        let known = self.0.ids.get(model?)?;
        let destinations = if anywhere { Destinations::Anywhere } else { Destinations::Among(destinations.into()) };
        let offers = known.target.places.get(region).map(Vec::as_slice).unwrap_or_default();
        // It is charged as what it was copied from: the offer that leads to the same Regions.
        let copied = offers.iter().find(|offer| offer.destinations.same(&destinations));
        let (scope, price) = copied.map_or((Scope::InRegion, None), |offer| (offer.scope.clone(), offer.price.clone()));
        let source = Source::Aws;
        let place = Place { region: Arc::clone(region), id: Arc::clone(id), scope, destinations, price, source };
        Some(Resolved {
            target: Target::arn(vec![place]),
            fence: hidden.fence.clone(),
            prompt_cache: hidden.prompt_cache,
            ..known.clone()
        })
    }

    /// Whether `name` is one of the names of `model`: an alias of it, its ids, its profiles. ARNs are nobody's names here.
    pub fn is_named(&self, model: &Model, name: &str) -> bool {
        let known = self.0.names.get(name).filter(|known| known.hosting().is_none());
        known.and_then(|known| known.model.as_ref()).is_some_and(|known| known.id == model.id)
    }
}

impl Destinations {
    /// Whether they are the same Regions, in whatever order.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Among(own), Self::Among(others)) => {
                own.len() == others.len() && own.iter().all(|region| others.contains(region))
            }
            _ => self == other,
        }
    }
}

impl Resolved {
    /// The same, called in the places of `ways` alone, which are ARNs.
    #[must_use]
    pub fn through(self, ways: &[Self]) -> Self {
        let places = ways.iter().flat_map(|way| way.target.places.values().flatten());
        Self { target: Target::arn(places.map(|place| Place::clone(place)).collect()), ..self }
    }

    /// The ARN, with the model that is said to be behind it. An application profile is charged and sent on as the one it
    /// is said to copy; what something else behind an ARN costs is not known.
    pub(super) fn with_base(self, base: &Self) -> Self {
        let is_copy = &*self.name == arn::APPLICATION_PROFILE;
        let told = |place: &Arc<Place>| match base.target.places.get(&place.region).and_then(|offers| offers.first()) {
            Some(offer) if is_copy => Arc::new(Place { id: Arc::clone(&place.id), ..Place::clone(offer) }),
            _ => Arc::clone(place),
        };
        let places: Places = (self.target.places.iter())
            .map(|(region, places)| (Arc::clone(region), places.iter().map(told).collect()))
            .collect();
        let target = Target { places: Arc::new(places), ..self.target };
        Self { model: base.model.clone(), name: Arc::clone(&base.name), target, ..self }
    }
}
