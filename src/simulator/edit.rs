//! How tests make AWS's offer another than the data files say: models, Regions and profiles that come, go and change.

use std::sync::{Arc, PoisonError, RwLock};

use super::catalog::{Batch, Catalog, Profile};

/// The offer of one simulator; calls under way keep the snapshot they began with.
#[derive(Debug)]
pub(crate) struct Offer(RwLock<Arc<Catalog>>);

impl Default for Offer {
    fn default() -> Self {
        Self(RwLock::new(Catalog::compiled()))
    }
}

impl Offer {
    pub(crate) fn snapshot(&self) -> Arc<Catalog> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Catalog)) {
        change(Arc::make_mut(&mut self.0.write().unwrap_or_else(PoisonError::into_inner)));
    }
}

/// Changes what a simulator offers, at once and for every Region's listener. Methods give the editor back, so that changes line
/// up; what names a model or profile that there is not changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct CatalogEditor<'a> {
    offer: &'a Offer,
}

impl<'a> CatalogEditor<'a> {
    pub(crate) const fn new(offer: &'a Offer) -> Self {
        Self { offer }
    }

    /// A new model `id` that behaves as the model `like` does, but is offered nowhere yet.
    pub fn add_model(&self, id: &str, like: &str) -> &Self {
        self.offer.change(|catalog| {
            let Some(mut model) = catalog.models.get(like).map(|model| (**model).clone()) else { return };
            id.clone_into(&mut model.id);
            model.on_demand_regions.clear();
            model.profiles.clear();
            model.batch = Batch::default();
            catalog.models.insert(id.to_owned(), Arc::new(model));
        });
        self
    }

    /// `model` is no longer known anywhere, by no id.
    pub fn remove_model(&self, model: &str) -> &Self {
        self.offer.change(|catalog| {
            catalog.models.remove(model);
            catalog.profiles.retain(|_, profile| profile.model != model);
        });
        self
    }

    /// `region` offers `model` by its bare id.
    pub fn add_region(&self, model: &str, region: &str) -> &Self {
        self.on_model(model, |model| {
            model.on_demand_regions.insert(region.to_owned());
        })
    }

    /// `region` no longer offers `model`: neither by its bare id nor as the source of a profile.
    pub fn remove_region(&self, model: &str, region: &str) -> &Self {
        self.on_model(model, |model| {
            model.on_demand_regions.remove(region);
        });
        self.offer.change(|catalog| {
            let ids: Vec<String> =
                catalog.profiles.values().filter(|profile| profile.model == model).map(|p| p.id.clone()).collect();
            for id in ids {
                let Some(routing) = catalog.profile(&id, region) else { continue };
                let sources = catalog.sources(&id);
                let mut profile = (*routing.profile).clone();
                profile.sources = sources;
                profile.sources.remove(region);
                profile.keep_no_defaults();
                catalog.profiles.insert(id, Arc::new(profile));
            }
        });
        self
    }

    /// The Regions in which `model` takes batch jobs by its bare id, and those in which it takes them by a profile.
    pub fn set_batch(&self, model: &str, by_id: &[&str], by_profile: &[&str]) -> &Self {
        let set = |regions: &[&str]| regions.iter().map(|region| (*region).to_owned()).collect();
        self.on_model(model, |model| {
            model.batch = Batch { single_region: set(by_id), via_profile: set(by_profile) };
        })
    }

    /// What the control plane lists as `modelLifecycle.status`, known to the API's model or not.
    pub fn set_lifecycle(&self, model: &str, status: &str) -> &Self {
        self.on_model(model, |model| status.clone_into(&mut model.lifecycle.status))
    }

    /// `YYYY-MM-DD` from which on `model` is withdrawn; every call of it then fails.
    pub fn set_end_of_life(&self, model: &str, date: &str) -> &Self {
        self.on_model(model, |model| model.lifecycle.eol = Some(date.to_owned()))
    }

    /// What the control plane lists as `inferenceTypesSupported`, known to the API's model or not.
    pub fn set_inference_types(&self, model: &str, types: &[&str]) -> &Self {
        self.on_model(model, |model| {
            model.inference_types = Some(types.iter().map(|kind| (*kind).to_owned()).collect());
        })
    }

    /// A new system profile `id` of `model`, which `source` may call and which routes to `destinations`.
    pub fn add_profile(&self, id: &str, model: &str, source: &str, destinations: &[&str]) -> &Self {
        self.offer.change(|catalog| {
            let Some(known) = catalog.models.get_mut(model) else { return };
            let known = Arc::make_mut(known);
            if !known.profiles.iter().any(|profile| profile == id) {
                known.profiles.push(id.to_owned());
            }
            catalog.profiles.entry(id.to_owned()).or_insert_with(|| Arc::new(Profile::new(id, model)));
        });
        self.set_destinations(id, source, destinations)
    }

    /// `profile`, called in `source`, routes to `destinations` from now on; `source` becomes a source if it was none.
    pub fn set_destinations(&self, profile: &str, source: &str, destinations: &[&str]) -> &Self {
        self.offer.change(|catalog| {
            let sources = catalog.sources(profile);
            let Some(known) = catalog.profiles.get_mut(profile) else { return };
            let known = Arc::make_mut(known);
            known.sources = sources;
            known.sources.insert(source.to_owned(), destinations.iter().map(|to| (*to).to_owned()).collect());
        });
        self
    }

    /// `profile` is no longer known anywhere.
    pub fn remove_profile(&self, profile: &str) -> &Self {
        self.offer.change(|catalog| {
            catalog.profiles.remove(profile);
        });
        self
    }

    fn on_model(&self, model: &str, change: impl FnOnce(&mut super::catalog::Model)) -> &Self {
        self.offer.change(|catalog| {
            if let Some(model) = catalog.models.get_mut(model) {
                change(Arc::make_mut(model));
            }
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOVA: &str = "amazon.nova-lite-v1:0";
    const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";

    #[test]
    fn models_and_profiles_come_go_and_change() {
        let offer = Offer::default();
        let editor = CatalogEditor::new(&offer);
        let before = offer.snapshot();
        editor.add_model("acme.next-v1:0", NOVA).add_region("acme.next-v1:0", "eu-west-1");
        editor.add_profile("eu.acme.next-v1:0", "acme.next-v1:0", "eu-west-1", &["eu-west-1", "eu-west-3"]);
        let now = offer.snapshot();
        assert!(now.model("acme.next-v1:0").unwrap().on_demand_in("eu-west-1"));
        assert!(!now.model("acme.next-v1:0").unwrap().on_demand_in("us-east-1"));
        assert_eq!(now.profile("eu.acme.next-v1:0", "eu-west-1").unwrap().destinations, ["eu-west-1", "eu-west-3"]);
        assert!(now.profile("eu.acme.next-v1:0", "us-east-1").is_none());
        assert!(before.model("acme.next-v1:0").is_none(), "a snapshot stays");
        editor.remove_model("acme.next-v1:0");
        assert!(offer.snapshot().profile("eu.acme.next-v1:0", "eu-west-1").is_none());
    }

    #[test]
    fn a_region_that_is_taken_away_leaves_the_others() {
        let offer = Offer::default();
        let editor = CatalogEditor::new(&offer);
        editor.remove_region(HAIKU, "us-east-1");
        editor.set_destinations(&format!("us.{HAIKU}"), "us-west-2", &["us-west-2"]);
        let now = offer.snapshot();
        assert!(now.profile(&format!("us.{HAIKU}"), "us-east-1").is_none());
        assert!(now.profile_of(now.model(HAIKU).unwrap(), "us-east-1").is_none());
        assert_eq!(now.profile(&format!("us.{HAIKU}"), "us-west-2").unwrap().destinations, ["us-west-2"]);
        assert!(now.profile(&format!("us.{HAIKU}"), "us-east-2").is_some());
    }
}
