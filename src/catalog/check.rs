//! Whether what the configuration names exists: Regions, and the models that aliases stand for.

use std::sync::Arc;

use super::{Catalog, Facts};
use crate::config::{Config, Problems, nearest};

impl Catalog {
    /// The catalog for this configuration.
    ///
    /// # Errors
    /// Every Region that does not exist, every endpoint for a Region that is not called, every alias whose model is
    /// unknown or cannot be called from the configured Regions.
    pub fn configured(config: &Config) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut facts = match Facts::embedded() {
            Ok(facts) => facts,
            Err(error) => {
                problems.add("catalog", format!("the compiled-in data is broken: {}", error.causes()));
                return Err(problems);
            }
        };
        check_regions(&facts, config, &mut problems);
        let are_regions_good = problems.is_empty();
        for (index, error) in facts.add_aliases(&config.models) {
            problems.add(format!("models[{index}].model"), error.message());
        }
        let catalog = Self(Arc::new(facts));
        if are_regions_good {
            check_aliases(&catalog, config, &mut problems);
        }
        problems.or(catalog)
    }
}

fn check_regions(facts: &Facts, config: &Config, problems: &mut Problems) {
    let known = || facts.regions.iter().map(|region| &*region.code);
    for (index, region) in config.aws.regions.iter().enumerate() {
        if !known().any(|code| code == region) {
            let hint = match nearest(region, known()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("known are {}", known().collect::<Vec<_>>().join(", ")),
            };
            problems.add(format!("aws.regions[{index}]"), format!("unknown Region \"{region}\"; {hint}"));
        }
    }
    for region in config.aws.endpoints.keys().filter(|region| !config.aws.regions.contains(region)) {
        problems.add(format!("aws.endpoints.{region}"), "is never used: the Region is not in aws.regions");
    }
}

fn check_aliases(catalog: &Catalog, config: &Config, problems: &mut Problems) {
    let regions: Vec<Arc<str>> = config.aws.regions.iter().map(|region| region.as_str().into()).collect();
    for (index, alias) in config.models.iter().enumerate() {
        // One that did not resolve is in `problems` already.
        if let Ok(resolved) = catalog.resolve(&alias.alias)
            && catalog.candidates(&resolved, &regions).is_empty()
        {
            problems.add(format!("models[{index}].model"), catalog.unavailable(&resolved, &regions).message());
        }
    }
}
