//! The making of a [`Catalog`] from the rows of the data and the aliases of the configuration.

use std::collections::HashMap;
use std::sync::Arc;

use super::batch::BatchFacts;
use super::data::{Data, ModelRow, ProfileRow, RegionRow};
use super::observed::Observed;
use super::place::{self, Atlas, OnDemand, Places, Profile};
use super::price::PriceList;
use super::{
    Catalog, Entry, Facts, Fence, Geography, Hosts, InferenceProfile, Model, Region, Resolved, Source, Target, merge,
    names,
};
use crate::config::{Alias, PromptCache};
use crate::error::{Error, Result};

impl Catalog {
    /// The catalog of the compiled-in data, with these aliases.
    ///
    /// # Errors
    /// That of the first alias whose model is not known; [`Catalog::configured`] tells all of them.
    pub fn embedded(aliases: &[Alias]) -> Result<Self> {
        let mut facts = Facts::embedded()?;
        match facts.add_aliases(aliases).into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(Self(Arc::new(facts))),
        }
    }

    /// The catalog with what `observed` Regions were seen to have, the compiled-in data for all others, and these aliases.
    /// An alias whose model is not known any more stays what it is in `self`; those are returned by name.
    ///
    /// # Errors
    /// The compiled-in data is broken, which a test would have found.
    pub fn refreshed<'a>(
        &self,
        observed: impl IntoIterator<Item = &'a Observed>,
        aliases: &[Alias],
    ) -> Result<(Self, Vec<String>)> {
        let mut facts = Facts::with(observed)?;
        let lost = facts.add_aliases(aliases).into_iter().filter_map(|(index, _)| aliases.get(index));
        let lost: Vec<String> = lost.map(|alias| alias.alias.clone()).collect();
        for alias in &lost {
            if let Some(last) = self.known(alias) {
                facts.names.insert(alias.as_str().into(), last.clone());
            }
        }
        let order = aliases.iter().map(|alias| alias.alias.as_str());
        facts.aliases = order.filter(|alias| facts.names.contains_key(*alias)).map(Box::from).collect();
        Ok((Self(Arc::new(facts)), lost))
    }
}

/// What is known of a model before its places are worked out.
pub(super) struct Sketch {
    pub(super) model: Model,
    pub(super) on_demand: OnDemand,
    pub(super) profiles: Vec<Profile>,
}

/// A model with its profiles, and the places of each.
struct Draft {
    entry: Entry,
    profiles: Vec<(Profile, Arc<Places>)>,
}

impl Facts {
    /// The compiled-in data alone.
    pub(super) fn embedded() -> Result<Self> {
        Self::with([])
    }

    /// What `observed` Regions have, and for all others the compiled-in data.
    fn with<'a>(observed: impl IntoIterator<Item = &'a Observed>) -> Result<Self> {
        let data = Data::embedded()?;
        let atlas = Atlas::new(&data.regions, &data.profiles.geo_defaults);
        let mut prices: HashMap<Arc<str>, PriceList> = HashMap::new();
        for row in &data.prices {
            match prices.get_mut(row.model) {
                Some(list) => list.add(row),
                None => prices.entry(row.model.into()).or_default().add(row),
            }
        }
        let mut profiles: HashMap<&str, Vec<&ProfileRow<'_>>> = HashMap::new();
        for row in &data.profiles.profiles {
            profiles.entry(row.model).or_default().push(row);
        }
        let mut sketches: Vec<Sketch> = Vec::with_capacity(data.models.len());
        for row in data.models {
            let profiles = profiles.remove(row.id).unwrap_or_default();
            sketches.push(sketch(row, &profiles, &atlas));
        }
        sketches.sort_by(|left, right| left.model.claim(&right.model));
        merge::merge(&mut sketches, observed);
        let drafts: Vec<Draft> = sketches.into_iter().map(|sketch| draft(sketch, &prices)).collect();
        let regions = data.regions.iter().map(|row| Region {
            code: atlas.code(row.code),
            name: row.name.to_string(),
            partition: row.partition.to_owned(),
            opt_in: row.opt_in,
            hosts: hosts(row),
        });
        let batch = Arc::new(BatchFacts::embedded()?);
        let mut facts = Self { prices, regions: regions.collect(), batch, as_of: data.as_of, ..Self::default() };
        facts.add_models(drafts);
        Ok(facts)
    }

    /// Gives every model and profile its names: ids first; then, in the order of `drafts`, what is left of the shorter
    /// forms. The id of a model that another endpoint serves comes last: it may be the short form of one that can be called.
    fn add_models(&mut self, drafts: Vec<Draft>) {
        for Draft { entry, profiles } in drafts.iter().filter(|draft| draft.entry.model.on_runtime) {
            self.add_id(&entry.model.id, resolved(&entry.model, &entry.places));
            for (profile, places) in profiles {
                self.add_id(&profile.id, resolved(&entry.model, places));
            }
        }
        for Draft { entry, profiles } in &drafts {
            let provider = entry.model.id.split('.').next().unwrap_or_default();
            for form in names::forms(&entry.model.id) {
                self.add_name(form.to_owned(), &entry.model, &entry.places);
                self.add_name(format!("{provider}.{form}"), &entry.model, &entry.places);
                for (profile, places) in profiles {
                    self.add_name(format!("{}.{provider}.{form}", profile.geo), &entry.model, places);
                }
            }
        }
        for Draft { entry, profiles } in drafts.iter().filter(|draft| draft.entry.model.is_callable()) {
            self.profiles
                .extend(profiles.iter().filter_map(|(profile, _)| InferenceProfile::of(profile, &entry.model)));
        }
        self.profiles.sort_by(|left, right| left.id.cmp(&right.id));
        self.models = drafts.into_iter().map(|draft| draft.entry).collect();
        self.models.sort_by(|left, right| left.model.id.cmp(&right.model.id));
    }

    fn add_id(&mut self, id: &Arc<str>, resolved: Resolved) {
        self.names.insert((**id).into(), resolved.clone());
        self.ids.insert(Arc::clone(id), resolved);
    }

    fn add_name(&mut self, name: String, model: &Arc<Model>, places: &Arc<Places>) {
        self.names.entry(name.into_boxed_str()).or_insert_with(|| resolved(model, places));
    }

    /// Adds the aliases, and returns those whose model is not known by their number. All of them are looked up before
    /// any is added, so their order does not matter and none can lead in a circle.
    pub(super) fn add_aliases(&mut self, aliases: &[Alias]) -> Vec<(usize, Error)> {
        let targets: Vec<_> = aliases.iter().map(|alias| self.resolve_alias(alias)).collect();
        let mut errors = Vec::new();
        for (index, (alias, target)) in aliases.iter().zip(targets).enumerate() {
            match target {
                Ok(resolved) => {
                    self.names.insert(alias.alias.as_str().into(), resolved);
                    self.aliases.push(alias.alias.as_str().into());
                }
                Err(error) => errors.push((index, error)),
            }
        }
        errors
    }
}

impl Facts {
    /// What an alias stands for: its model, behind an ARN the one that it says is there, in the Regions that it allows.
    fn resolve_alias(&self, alias: &Alias) -> Result<Resolved> {
        let mut resolved = self.resolve(&alias.model)?;
        if let (None, Some(base)) = (&resolved.model, &alias.base) {
            resolved = resolved.with_base(&self.resolve(base)?);
        }
        let geography = alias.geography.as_deref().map(|name| Geography::parse("geography", name)).transpose()?;
        resolved.fence = Fence::new(alias.regions.as_deref(), geography);
        resolved.prompt_cache = alias.prompt_cache;
        Ok(resolved)
    }
}

fn hosts(row: &RegionRow<'_>) -> Hosts {
    let owned = |host: Option<&str>| host.map(str::to_owned);
    Hosts {
        runtime: owned(row.runtime),
        control: owned(row.control),
        runtime_fips: owned(row.runtime_fips),
        control_fips: owned(row.control_fips),
        mantle: owned(row.mantle),
    }
}

fn sketch(row: ModelRow<'_>, profiles: &[&ProfileRow<'_>], atlas: &Atlas<'_>) -> Sketch {
    let on_demand = row.on_demand_regions.iter().map(|region| (atlas.code(region), Source::Compiled)).collect();
    let profiles = profiles.iter().map(|row| atlas.profile(row)).collect();
    Sketch { model: Model::new(row), on_demand, profiles }
}

fn draft(sketch: Sketch, prices: &HashMap<Arc<str>, PriceList>) -> Draft {
    let Sketch { model, on_demand, profiles } = sketch;
    let none = PriceList::default();
    let prices = prices.get(&model.id).unwrap_or(&none);
    let places =
        if model.on_runtime { place::of_model(&model.id, &on_demand, &profiles, prices) } else { Places::new() };
    let with_places = |profile| {
        let places = Arc::new(place::of_profile(&profile, prices));
        (profile, places)
    };
    Draft {
        entry: Entry { model: Arc::new(model), places: Arc::new(places) },
        profiles: profiles.into_iter().map(with_places).collect(),
    }
}

fn resolved(model: &Arc<Model>, places: &Arc<Places>) -> Resolved {
    Resolved {
        model: Some(Arc::clone(model)),
        name: Arc::clone(&model.id),
        prompt_cache: PromptCache::Explicit,
        fence: Fence::default(),
        target: Target { places: Arc::clone(places), is_arn: false },
    }
}
