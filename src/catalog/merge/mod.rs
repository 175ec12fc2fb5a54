//! AWS's word over the compiled-in data, Region by Region. Pure.
//!
//! What AWS tells of a Region holds there: which models are called by their own id, which profiles can be called and
//! where they lead, how long a model will live. A Region that was not seen keeps what is compiled in, as does everything
//! that the lists do not tell (prices, limits, abilities).
//!
//! A model or profile that a whole list does not name cannot be called in that Region any more. AWS lists every model of
//! a Region, whether the account has access or not, and takes it off the list at its end of life, so a call would only
//! spend an attempt; an ARN of it is still passed on. A list with entries that could not be read takes nothing away.
//!
//! No name comes to mean another model while the gateway runs: a model that is new takes what names are left.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::build::Sketch;
use super::observed::{Observed, SeenModel, SeenProfile};
use super::place::{Profile, Route};
use super::{Lifecycle, Model, Source, Stage};

/// Puts what was seen over `sketches`, which are in the order of their claim to names, and new models where their claim
/// is: after those that are known, before those that another endpoint serves.
pub(super) fn merge<'a>(sketches: &mut Vec<Sketch>, observed: impl IntoIterator<Item = &'a Observed>) {
    let observed: Vec<&Observed> = observed.into_iter().collect();
    let mut merge = Merge::new(std::mem::take(sketches));
    // A profile says little of its model: what the Regions list comes first.
    for region in &observed {
        merge.models(region);
    }
    for region in &observed {
        merge.profiles(region);
    }
    for region in &observed {
        merge.settle_untold(region);
    }
    *sketches = merge.finish();
}

struct Merge {
    sketches: Vec<Sketch>,
    /// How many of `sketches` were known before.
    known: usize,
    by_id: HashMap<Arc<str>, usize>,
    /// By profile id: the model, and which of its profiles.
    profiles: HashMap<Arc<str>, (usize, usize)>,
    /// What Regions say of a model's life, by its number.
    lives: BTreeMap<usize, Vec<(Arc<str>, Lifecycle)>>,
}

impl Merge {
    fn new(sketches: Vec<Sketch>) -> Self {
        let by_id =
            sketches.iter().enumerate().map(|(number, sketch)| (Arc::clone(&sketch.model.id), number)).collect();
        let profiles = sketches.iter().enumerate().flat_map(|(number, sketch)| {
            let profiles = sketch.profiles.iter().enumerate();
            profiles.map(move |(index, profile)| (Arc::clone(&profile.id), (number, index)))
        });
        Self { known: sketches.len(), profiles: profiles.collect(), sketches, by_id, lives: BTreeMap::new() }
    }

    fn models(&mut self, seen: &Observed) {
        let region = &seen.region;
        if seen.lists_all_models() {
            for sketch in &mut self.sketches {
                if !seen.models.contains_key(&*sketch.model.id) {
                    sketch.on_demand.remove(region);
                }
            }
        }
        for (id, model) in &seen.models {
            let number = self.number_of(id, model);
            let sketch = &mut self.sketches[number];
            match model.on_demand {
                Some(true) => _ = sketch.on_demand.insert(Arc::clone(region), Source::Aws),
                Some(false) => _ = sketch.on_demand.remove(region),
                None => {}
            }
            let life = lifecycle(&sketch.model.lifecycle, model);
            self.lives.entry(number).or_default().push((Arc::clone(region), life));
        }
    }

    /// The number of the model, which is added if it is new.
    fn number_of(&mut self, id: &str, seen: &SeenModel) -> usize {
        if let Some(&number) = self.by_id.get(id) {
            return number;
        }
        let model = Model::seen(id, seen);
        let number = self.sketches.len();
        self.by_id.insert(Arc::clone(&model.id), number);
        self.sketches.push(Sketch { model, on_demand: BTreeMap::new(), profiles: Vec::new() });
        number
    }

    fn profiles(&mut self, seen: &Observed) {
        let region = &seen.region;
        if seen.lists_all_profiles() {
            for profile in self.sketches.iter_mut().flat_map(|sketch| &mut sketch.profiles) {
                if !seen.profiles.contains_key(&*profile.id) {
                    profile.routes.remove(region);
                }
            }
        }
        for (id, told) in &seen.profiles {
            let Some((number, index)) = self.place_of(id, told) else { continue };
            let route = Route { destinations: told.destinations.clone(), source: Source::Aws };
            self.sketches[number].profiles[index].routes.insert(Arc::clone(region), route);
        }
    }

    /// The model of the profile, and which of its profiles it is; it is added if it is new. `None` when it cannot be known
    /// what it leads to.
    fn place_of(&mut self, id: &str, told: &SeenProfile) -> Option<(usize, usize)> {
        if let Some(&place) = self.profiles.get(id) {
            return Some(place);
        }
        let (prefix, rest) = id.split_once('.')?;
        let number = match &told.model {
            Some(model) => self.number_of(model, &SeenModel::default()),
            None => *self.by_id.get(rest)?,
        };
        let sketch = &mut self.sketches[number];
        let geo = id.strip_suffix(&*sketch.model.id).and_then(|geo| geo.strip_suffix('.')).unwrap_or(prefix);
        let profile = Profile { id: id.into(), geo: geo.into(), routes: BTreeMap::new() };
        let place = (number, sketch.profiles.len());
        self.profiles.insert(Arc::clone(&profile.id), place);
        sketch.profiles.push(profile);
        Some(place)
    }

    /// A new model of which the Region does not tell how it is called there is called by its id, unless a profile is.
    fn settle_untold(&mut self, seen: &Observed) {
        let untold = seen.models.iter().filter(|(_, model)| model.on_demand.is_none());
        for number in untold.filter_map(|(id, _)| self.by_id.get(&**id)) {
            let Some(sketch) = self.sketches.get_mut(*number).filter(|_| *number >= self.known) else { continue };
            if !sketch.profiles.iter().any(|profile| profile.routes.contains_key(&seen.region)) {
                sketch.on_demand.insert(Arc::clone(&seen.region), Source::Assumed);
            }
        }
    }

    fn finish(self) -> Vec<Sketch> {
        let Self { mut sketches, known, lives, .. } = self;
        for (number, lives) in lives {
            set_lifecycle(&mut sketches[number].model, lives);
        }
        let mut new = sketches.split_off(known);
        // What cannot be called at all (variants that are for provisioned throughput alone) has no use for names.
        new.retain(|sketch| !sketch.on_demand.is_empty() || !sketch.profiles.is_empty());
        new.sort_by(|left, right| left.model.claim(&right.model));
        let elsewhere = sketches.iter().position(|sketch| !sketch.model.on_runtime).unwrap_or(sketches.len());
        sketches.splice(elsewhere..elsewhere, new);
        sketches
    }
}

/// The life of a model in a Region that lists it: what the Region tells over what is compiled in. What is listed has not
/// come to its end.
fn lifecycle(compiled: &Lifecycle, seen: &SeenModel) -> Lifecycle {
    if compiled.stage == Stage::EndOfLife {
        return Lifecycle { stage: seen.stage.unwrap_or(Stage::Active), legacy: seen.legacy, end: seen.end };
    }
    Lifecycle {
        stage: seen.stage.unwrap_or(compiled.stage),
        legacy: seen.legacy.or(compiled.legacy),
        end: seen.end.or(compiled.end),
    }
}

/// The model lives as long as in the Region that lists it longest.
fn set_lifecycle(model: &mut Model, lives: Vec<(Arc<str>, Lifecycle)>) {
    let longest = |life: &Lifecycle| (life.stage, std::cmp::Reverse(life.end.unwrap_or(i64::MAX)));
    if let Some((_, best)) = lives.iter().min_by_key(|(_, life)| longest(life)) {
        model.lifecycle = *best;
    }
    model.regional = lives.into_iter().filter(|(_, life)| *life != model.lifecycle).collect();
}

#[cfg(test)]
mod tests;
