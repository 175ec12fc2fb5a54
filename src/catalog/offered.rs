//! The catalog as a whole, for who wants to look at it and not to call something: every model with all its offers, and
//! why one of them may not be used.

use std::sync::Arc;

use super::place::Places;
use super::{Catalog, Fence, Model, Place};

/// A model with all the ways to call it.
#[derive(Clone, Copy, Debug)]
pub struct Offered<'a> {
    /// The model.
    pub model: &'a Arc<Model>,
    places: &'a Places,
}

impl<'a> Offered<'a> {
    /// The ways to call it in `region`, best first; none when it is not offered there.
    pub fn in_region(&self, region: &str) -> &'a [Arc<Place>] {
        self.places.get(region).map_or(&[], Vec::as_slice)
    }

    /// Its short id, unless that stands for another model, such as a newer version.
    pub fn short_id(&self, catalog: &'a Catalog) -> Option<&'a str> {
        let is_own = catalog.known(&self.model.short).is_some_and(|resolved| resolved.name == self.model.id);
        is_own.then_some(&*self.model.short)
    }

    /// The Regions that offer it, by code.
    pub fn regions(&self) -> Vec<&'a Arc<str>> {
        let mut regions: Vec<_> = self.places.keys().collect();
        regions.sort_unstable();
        regions
    }
}

impl Catalog {
    /// Every model that is known, by id: also those that have ended, and those of other endpoints.
    pub fn offered(&self) -> impl Iterator<Item = Offered<'_>> {
        self.0.models.iter().map(|entry| Offered { model: &entry.model, places: &entry.places })
    }

    /// The model of this id, whatever an alias of the same name stands for.
    pub fn model(&self, id: &str) -> Option<&Arc<Model>> {
        let models = &self.0.models;
        models.binary_search_by(|entry| (*entry.model.id).cmp(id)).ok().map(|at| &models[at].model)
    }
}

impl Fence {
    /// Why a call to `place` could leave the fence, for its caller; `None` when it cannot.
    pub fn objection(&self, place: &Place) -> Option<String> {
        if self.permits(place) {
            return None;
        }
        Some(match self.leaves(&place.destinations) {
            Some(exit) if self.holds(&place.region) => format!("A call {exit}; it must stay in {self}."),
            _ => format!("{} is outside of {self}.", place.region),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_offered_in_every_way_and_the_fence_says_what_is_wrong_with_one() {
        let catalog = Catalog::embedded(&[]).unwrap();
        let id = "anthropic.claude-haiku-4-5-20251001-v1:0";
        let haiku = catalog.offered().find(|offered| &*offered.model.id == id).unwrap();
        let ways: Vec<&str> = haiku.in_region("us-east-1").iter().map(|place| &*place.id).collect();
        assert_eq!(ways, [format!("us.{id}"), format!("global.{id}")]);
        assert_eq!(catalog.model(id), Some(haiku.model));
        assert_eq!(catalog.model("nova-lite"), None, "only ids");
        assert_eq!(haiku.short_id(&catalog), Some("claude-haiku-4-5"));
        let older = "anthropic.claude-3-5-sonnet-20240620-v1:0";
        let older = catalog.offered().find(|offered| &*offered.model.id == older).unwrap();
        assert_eq!(older.short_id(&catalog), None, "it stands for the second version");
        assert!(haiku.regions().is_sorted() && haiku.in_region("mars").is_empty());

        let fence = Fence::new(Some(&["us-east-1".to_owned()]), None);
        let why = |region: &str, way: usize| fence.objection(&haiku.in_region(region)[way]).unwrap();
        assert_eq!(why("us-east-1", 0), "A call may be sent on to us-east-2; it must stay in us-east-1.");
        assert_eq!(why("us-east-1", 1), "A call may be sent on to any Region; it must stay in us-east-1.");
        assert_eq!(why("eu-west-1", 0), "eu-west-1 is outside of us-east-1.");
        assert_eq!(Fence::default().objection(&haiku.in_region("us-east-1")[1]), None);
    }
}
