//! How much of a model an account may use in a minute, as far as that is known: what the configuration says, else AWS's
//! defaults (`data/quotas.json`).
//!
//! A quota belongs to a Region, a model, and the way it is called there: in the Region, by a geography's profile, by the
//! global one. What is in neither source is unknown, which is no limit. New accounts often have less than the default.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::{Catalog, Fence, Model, Order, Place, Scope};
use crate::config::{self, Config, Problems};
use crate::error::{Error, Result};

/// What an output token counts for, in tokens of the quota, where AWS says it is more than one but not how much: between
/// the 5 and 15 of the model's siblings.
const UNTOLD_BURNDOWN: u32 = 10;

/// What is known of the quota of one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Tokens per minute; `None`: unknown, or there is none.
    pub tokens_per_minute: Option<u64>,
    /// Requests per minute; likewise.
    pub requests_per_minute: Option<u64>,
    /// How many tokens of the quota a token of output takes.
    pub burndown: u32,
    /// Who says so.
    pub source: Source,
}

impl Known {
    /// Nothing is known.
    pub const NOTHING: Self =
        Self { tokens_per_minute: None, requests_per_minute: None, burndown: 1, source: Source::Catalog };

    /// Whether there is anything to count against.
    pub fn is_nothing(&self) -> bool {
        self.tokens_per_minute.is_none() && self.requests_per_minute.is_none()
    }
}

/// Where a quota is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Source {
    /// AWS's defaults, as compiled in.
    Catalog,
    /// `aws.quotas`, for at least one of the two numbers.
    Config,
}

/// The quotas of all models in all Regions.
#[derive(Debug)]
pub struct Quotas {
    online: Online,
    /// By Region and model.
    own: HashMap<String, HashMap<String, Vec<Own>>>,
}

/// One entry of `aws.quotas`.
#[derive(Debug)]
struct Own {
    /// The geography of the inference profile that was named; `None`: the model itself was, however it is called.
    geo: Option<String>,
    quota: config::Quota,
}

#[derive(Deserialize)]
struct File {
    online: Online,
}

/// The tables of `data/quotas.json` that are about a minute.
#[derive(Debug, Deserialize)]
struct Online {
    cross_region_tpm: Table,
    cross_region_rpm: Table,
    on_demand_rpm: Table,
}

#[derive(Debug, Deserialize)]
struct Table {
    values: HashMap<String, Amount>,
}

/// One number for all Regions, or one for each with that of the `other` ones.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Amount {
    Everywhere(u64),
    ByRegion(BTreeMap<String, u64>),
}

impl Table {
    fn find(&self, model: &str, region: &str) -> Option<u64> {
        match self.values.get(model)? {
            Amount::Everywhere(amount) => Some(*amount),
            Amount::ByRegion(amounts) => amounts.get(region).or_else(|| amounts.get("other")).copied(),
        }
    }
}

impl Quotas {
    /// AWS's defaults, and over them those of `config`, whose names `catalog` resolves.
    ///
    /// # Errors
    /// The first entry that names nothing; [`Catalog::configured`] tells all of them.
    pub fn configured(config: &Config, catalog: &Catalog) -> Result<Self> {
        let mut problems = Problems::default();
        let quotas = Self::read(config, catalog, &mut problems)?;
        match problems.iter().next() {
            Some(problem) => Err(Error::invalid(problem.path.clone(), problem.message.clone())),
            None => Ok(quotas),
        }
    }

    /// As [`Quotas::configured`], with all that is wrong in `problems`.
    pub(super) fn read(config: &Config, catalog: &Catalog, problems: &mut Problems) -> Result<Self> {
        let file: File = serde_json::from_str(include_str!("../../data/quotas.json")).map_err(Error::internal)?;
        let mut own: HashMap<String, HashMap<String, Vec<Own>>> = HashMap::new();
        for (region, quotas) in &config.aws.quotas {
            if !config.aws.regions.contains(region) {
                problems.add(format!("aws.quotas.{region}"), "is never used: the Region is not in aws.regions");
                continue;
            }
            let mut problem = |name: &String, told: String| {
                let keys = ["aws", "quotas", region, name].map(str::to_owned);
                problems.add(config::path_of(&keys), told);
            };
            for (name, quota) in quotas {
                match named(name, region, catalog) {
                    Ok((model, geo)) => {
                        let entries = own.entry(region.clone()).or_default().entry(model).or_default();
                        if entries.iter().any(|entry| entry.geo == geo) {
                            problem(name, "is given already, under another name of the same model".to_owned());
                        }
                        entries.push(Own { geo, quota: *quota });
                    }
                    Err(told) => problem(name, told),
                }
            }
        }
        Ok(Self { online: file.online, own })
    }

    /// What is known of the quota of `model` as `place` calls it. An entry of `aws.quotas` that names the profile goes
    /// before one that names the model, which is for every way to call it.
    pub fn of(&self, place: &Place, model: &Model) -> Known {
        let mut known = self.default_of(place, model);
        let own = self.own.get(&*place.region).and_then(|models| models.get(&*model.id)).map_or(&[][..], Vec::as_slice);
        let geo = match &place.scope {
            Scope::InRegion => None,
            Scope::Profile(geo) => Some(&**geo),
        };
        let exact = own.iter().find(|own| own.geo.is_some() && own.geo.as_deref() == geo);
        if let Some(Own { quota, .. }) = exact.or_else(|| own.iter().find(|own| own.geo.is_none())) {
            known.tokens_per_minute = quota.tokens_per_minute.or(known.tokens_per_minute);
            known.requests_per_minute = quota.requests_per_minute.or(known.requests_per_minute);
            known.source = Source::Config;
        }
        known
    }

    /// AWS's default. That of global profiles is not published in the sources.
    fn default_of(&self, place: &Place, model: &Model) -> Known {
        let (tokens, requests) = match &place.scope {
            Scope::InRegion => (None, Some(&self.online.on_demand_rpm)),
            Scope::Profile(geo) if **geo == *"global" => (None, None),
            Scope::Profile(_) => (Some(&self.online.cross_region_tpm), Some(&self.online.cross_region_rpm)),
        };
        Known {
            tokens_per_minute: tokens.and_then(|table| table.find(&model.id, &place.region)),
            requests_per_minute: requests.and_then(|table| table.find(&model.id, &place.region)),
            burndown: model.output_burndown.unwrap_or(UNTOLD_BURNDOWN),
            source: Source::Catalog,
        }
    }
}

impl Place {
    /// The id by which calls of `model` here count against one quota, however the model was named: an ARN counts with the
    /// profile or the model that it leads to.
    pub fn quota_id(&self, model: &Model) -> Arc<str> {
        match &self.scope {
            _ if !self.id.starts_with("arn:") => Arc::clone(&self.id),
            Scope::InRegion => Arc::clone(&model.id),
            Scope::Profile(geo) => [&**geo, ".", &*model.id].concat().into(),
        }
    }
}

/// The model that `name` stands for, and the geography if it is the name of a profile. The error says what is wrong with
/// it.
fn named(name: &str, region: &str, catalog: &Catalog) -> Result<(String, Option<String>), String> {
    if name.starts_with("arn:") {
        return Err("is an ARN: name the model or the inference profile whose quota it is".into());
    }
    if name.contains('*') {
        return Err("names several models: each has a quota of its own".into());
    }
    catalog.check_allowed(name)?;
    let resolved = catalog.resolve(name).map_err(|error| error.message().to_owned())?;
    let Some(model) = &resolved.model else { return Err("is no name of a model".into()) };
    let places = catalog.candidates(&resolved, &[region.into()], &Fence::default(), Order::Preference);
    let places = places.map_err(|error| error.message().to_owned())?;
    let Some(place) = places.first() else { return Err("has no place".into()) };
    let geo = match &place.scope {
        Scope::Profile(geo) => {
            name.strip_prefix(&**geo).and_then(|rest| rest.strip_prefix('.')).map(|_| geo.to_string())
        }
        Scope::InRegion => None,
    };
    Ok((model.id.to_string(), geo))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";

    fn of(quotas: &Quotas, catalog: &Catalog, region: &str, name: &str) -> (Option<u64>, Option<u64>, u32, Source) {
        let resolved = catalog.resolve(name).unwrap();
        let place =
            catalog.candidates(&resolved, &[region.into()], &Fence::default(), Order::Preference).unwrap().remove(0);
        let Known { tokens_per_minute, requests_per_minute, burndown, source } =
            quotas.of(&place, resolved.model.as_ref().unwrap());
        (tokens_per_minute, requests_per_minute, burndown, source)
    }

    fn with(toml: &str) -> (Config, Catalog) {
        let mut config = Config::default();
        config.aws.quotas = toml::from_str(toml).unwrap();
        let catalog = Catalog::embedded(&[]).unwrap();
        (config, catalog)
    }

    #[test]
    fn defaults_go_by_region_and_by_the_way_a_model_is_called() {
        let (config, catalog) = with("");
        let quotas = Quotas::configured(&config, &catalog).unwrap();
        let of = |region, name| of(&quotas, &catalog, region, name);
        let default = Source::Catalog;
        assert_eq!(of("us-east-1", "us.anthropic.claude-haiku-4-5"), (Some(5_000_000), None, 5, default));
        assert_eq!(of("us-east-1", "global.anthropic.claude-haiku-4-5"), (None, None, 5, default));
        assert_eq!(of("us-east-2", "us.amazon.nova-lite-v1:0"), (Some(8_000_000), None, 1, default));
        assert_eq!(of("eu-west-3", "eu.amazon.nova-lite-v1:0"), (Some(400_000), None, 1, default));
        assert_eq!(of("us-east-1", "amazon.titan-embed-text-v2:0"), (None, Some(6000), 1, default));
        assert_eq!(of("us-west-2", "us.anthropic.claude-opus-4-8").2, 15);
        assert_eq!(of("us-west-2", "us.anthropic.claude-opus-5-5").2, 10);
    }

    #[test]
    fn what_the_configuration_says_goes_before_what_is_compiled_in() {
        let toml = format!(
            "[us-east-1]\nclaude-haiku-4-5 = {{ requests_per_minute = 7 }}\n\"global.{HAIKU}\" = {{ tokens_per_minute = 9 }}"
        );
        let (config, catalog) = with(&toml);
        let quotas = Quotas::configured(&config, &catalog).unwrap();
        let of = |region, name| of(&quotas, &catalog, region, name);
        assert_eq!(of("us-east-1", "claude-haiku-4-5"), (Some(5_000_000), Some(7), 5, Source::Config));
        assert_eq!(of("us-east-1", "global.anthropic.claude-haiku-4-5"), (Some(9), None, 5, Source::Config));
        assert_eq!(of("us-west-2", "claude-haiku-4-5"), (Some(5_000_000), None, 5, Source::Catalog));
    }

    #[test]
    fn what_names_nothing_is_refused_with_its_path() {
        for (region, name, problem) in [
            ("us-east-1", "claude-haiku-4-6", "aws.quotas.us-east-1.claude-haiku-4-6: unknown model"),
            ("us-east-1", "eu.anthropic.claude-haiku-4-5", "cannot be called from us-east-1"),
            ("us-east-1", "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/a", "is an ARN"),
            ("us-east-1", "claude-*", "aws.quotas.us-east-1.\"claude-*\": "),
            ("eu-west-1", "claude-haiku-4-5", "aws.quotas.eu-west-1: is never used"),
        ] {
            let (mut config, _) = with("");
            let quota = config::Quota { tokens_per_minute: Some(1), requests_per_minute: None };
            config.aws.quotas.insert(region.into(), BTreeMap::from([(name.into(), quota)]));
            let problems = Catalog::configured(&config).unwrap_err().to_string();
            assert!(problems.contains(problem) && problems.lines().count() == 1, "{problems}");
        }
    }

    #[test]
    fn a_quota_that_is_given_under_two_names_of_a_model_is_refused() {
        let toml = format!(
            "[us-east-1]\n\"{HAIKU}\" = {{ requests_per_minute = 5 }}\nclaude-haiku-4-5 = {{ requests_per_minute = 7 }}\n\
             \"us.{HAIKU}\" = {{ requests_per_minute = 6 }}"
        );
        let (config, _) = with(&toml);
        let problems = Catalog::configured(&config).unwrap_err().to_string();
        assert!(problems.contains("aws.quotas.us-east-1.claude-haiku-4-5: is given already"), "{problems}");
        assert_eq!(problems.lines().count(), 1, "the profile's own quota is another one: {problems}");
    }
}
