//! Whether what the configuration names exists: Regions, and the models that aliases stand for.

use std::sync::Arc;

use super::{Catalog, Facts, Fence, Geography, Order, Quotas};
use crate::config::{Config, Problems, nearest};
use crate::error::Kind;

impl Catalog {
    /// The catalog for this configuration.
    ///
    /// # Errors
    /// Every Region that does not exist, every endpoint for a Region that is not called, every alias whose model is
    /// unknown or cannot be called from the configured Regions.
    pub fn configured(config: &Config) -> Result<Self, Problems> {
        Self::checked(config, Problems::default())
    }

    /// As [`Catalog::configured`], for settings some of which are known to be wrong: their problems and these together.
    ///
    /// # Errors
    /// All problems, in the order of their paths.
    pub fn checked(config: &Config, mut problems: Problems) -> Result<Self, Problems> {
        let mut facts = match Facts::embedded() {
            Ok(facts) => facts,
            Err(error) => {
                problems.add("catalog", format!("the compiled-in data is broken: {}", error.causes()));
                return Err(problems);
            }
        };
        check_regions(&facts, config, &mut problems);
        for (index, alias) in config.models.iter().enumerate() {
            let path = |field: &str| format!("models[{index}].{field}");
            for (field, name) in [("model", Some(&alias.model)), ("base", alias.base.as_ref())] {
                if let Some(Err(problem)) = name.map(|name| facts.check_target(name)) {
                    problems.add(path(field), problem);
                }
            }
            for (number, region) in alias.regions.iter().flatten().enumerate() {
                if let Err(problem) = facts.check_region(region) {
                    problems.add(format!("models[{index}].regions[{number}]"), problem);
                }
            }
            if let Some(Err(error)) = alias.geography.as_deref().map(|name| Geography::parse("geography", name)) {
                problems.add(path("geography"), error.message());
            }
        }
        facts.add_aliases(&config.models);
        let catalog = Self(Arc::new(facts));
        // What cannot be called from Regions that are not the ones that are meant says nothing.
        if !problems.concern("aws.regions") {
            check_aliases(&catalog, config, &mut problems);
            if let Err(error) = Quotas::read(config, &catalog, &mut problems) {
                problems.add("catalog", format!("the compiled-in data is broken: {}", error.causes()));
            }
        }
        problems.sort();
        problems.or(catalog)
    }

    /// Whether there is a Region of this code, or what to say if not.
    ///
    /// # Errors
    /// The text that says so, with the one that may be meant and those there are.
    pub fn check_region(&self, code: &str) -> Result<(), String> {
        self.0.check_region(code)
    }

    /// Whether an entry of an allow-list can match anything that is known now, `*` at its end standing for any rest. An
    /// ARN may stand for what only its account knows.
    ///
    /// # Errors
    /// The text that says so, with the name that may be meant.
    pub fn check_allowed(&self, entry: &str) -> Result<(), String> {
        match entry.strip_suffix('*') {
            Some(start) if start.starts_with("arn:") || self.0.names.keys().any(|name| name.starts_with(start)) => {
                Ok(())
            }
            Some(start) => Err(format!("no model is known whose name begins with \"{start}\"")),
            None => self.0.check_target(entry),
        }
    }
}

impl Facts {
    fn check_region(&self, code: &str) -> Result<(), String> {
        let known = || self.regions.iter().map(|region| &*region.code);
        if known().any(|known| known == code) {
            return Ok(());
        }
        let hint = nearest(code, known()).map(|meant| format!("did you mean \"{meant}\"? ")).unwrap_or_default();
        Err(format!("unknown Region \"{code}\"; {hint}known are {}", known().collect::<Vec<_>>().join(", ")))
    }

    /// Whether the name stands for a model, in words for who administers.
    fn check_target(&self, name: &str) -> Result<(), String> {
        let Err(error) = self.resolve(name) else { return Ok(()) };
        if error.kind() != Kind::ModelNotFound {
            return Err(error.message().to_owned());
        }
        // Of an ARN, which names an account, the last part.
        let shown = name.rsplit('/').next().unwrap_or(name);
        let hint = self.suggestion(shown, &|_| true).map(|meant| format!("; did you mean \"{meant}\"?"));
        Err(format!("unknown model \"{shown}\"{}", hint.unwrap_or_default()))
    }
}

fn check_regions(facts: &Facts, config: &Config, problems: &mut Problems) {
    // Whether an endpoint is used is seen only where every Region could be read.
    let are_regions_read = !problems.concern("aws.regions");
    for (index, region) in config.aws.regions.iter().enumerate() {
        if let Err(problem) = facts.check_region(region) {
            problems.add(format!("aws.regions[{index}]"), problem);
        }
    }
    for region in config.batch.bucket.keys() {
        let path = format!("batch.bucket.{region}");
        if let Err(problem) = facts.check_region(region)
            && !problems.concern(&path)
        {
            problems.add(path, problem);
        }
    }
    if !are_regions_read {
        return;
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
            && let Err(error) = catalog.candidates(&resolved, &regions, &Fence::default(), Order::Preference)
        {
            problems.add(format!("models[{index}].model"), error.message());
        }
    }
}
