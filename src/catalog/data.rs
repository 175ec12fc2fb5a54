//! The rows of `data/*.json` as far as the catalog reads them; `data/README.md` tells what each field means.
//!
//! An absent key is unknown, never no. Rows borrow from the text, which is compiled in.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny};
use serde_json::value::RawValue;

use super::price::micro_dollars;
use crate::error::{Error, Result};
use crate::money::PerMillion;

/// Everything that is compiled in.
pub(super) struct Data<'a> {
    /// The day of the models.
    pub(super) as_of: &'a str,
    pub(super) models: Vec<ModelRow<'a>>,
    pub(super) profiles: Profiles<'a>,
    pub(super) prices: Vec<PriceRow<'a>>,
    pub(super) regions: Vec<RegionRow<'a>>,
}

impl Data<'static> {
    /// Parses the files. An error is a fault of the build, which a test would have found.
    pub(super) fn embedded() -> Result<Self> {
        let Models { as_of, models } = parse(include_str!("../../data/models.json"))?;
        Ok(Self {
            as_of,
            models,
            profiles: parse(include_str!("../../data/profiles.json"))?,
            prices: parse::<Prices<'_>>(include_str!("../../data/prices.json"))?.prices,
            regions: parse::<Regions<'_>>(include_str!("../../data/regions.json"))?.regions,
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(Error::internal)
}

#[derive(Deserialize)]
struct Models<'a> {
    as_of: &'a str,
    #[serde(borrow)]
    models: Vec<ModelRow<'a>>,
}

#[derive(Deserialize)]
pub(super) struct ModelRow<'a> {
    pub(super) id: &'a str,
    #[serde(borrow)]
    pub(super) provider: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) kind: &'a str,
    pub(super) endpoints: EndpointsRow,
    #[serde(default)]
    pub(super) apis: super::model::Apis,
    pub(super) input_modalities: Vec<String>,
    pub(super) output_modalities: Vec<String>,
    pub(super) context_window: Option<u64>,
    pub(super) max_output_tokens: Option<u64>,
    pub(super) lifecycle: LifecycleRow<'a>,
    pub(super) launch_date: Option<&'a str>,
    pub(super) on_demand_regions: Vec<&'a str>,
    pub(super) prompt_caching: Option<super::model::PromptCaching>,
    pub(super) output_token_burndown: Option<BurndownRow>,
    #[serde(flatten)]
    pub(super) abilities: super::model::Abilities,
}

#[derive(Deserialize)]
pub(super) struct BurndownRow {
    pub(super) rate: Option<u32>,
}

#[derive(Deserialize)]
pub(super) struct EndpointsRow {
    pub(super) runtime: bool,
}

#[derive(Deserialize)]
pub(super) struct LifecycleRow<'a> {
    pub(super) status: &'a str,
    pub(super) legacy: Option<&'a str>,
    pub(super) eol: Option<&'a str>,
}

#[derive(Deserialize)]
pub(super) struct Profiles<'a> {
    #[serde(borrow)]
    pub(super) profiles: Vec<ProfileRow<'a>>,
    /// By geography: its source Regions, for profiles whose routing is not known.
    #[serde(borrow)]
    pub(super) geo_defaults: BTreeMap<&'a str, GeoDefault<'a>>,
}

/// Beside the geographies, the table holds a note.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum GeoDefault<'a> {
    #[serde(borrow)]
    Routing(BTreeMap<&'a str, Vec<IgnoredAny>>),
    Note(IgnoredAny),
}

#[derive(Deserialize)]
pub(super) struct ProfileRow<'a> {
    pub(super) id: &'a str,
    pub(super) geo: &'a str,
    pub(super) model: &'a str,
    /// Source Region to destinations, `*` for any of the partition; empty when the routing is not known.
    #[serde(borrow)]
    pub(super) sources: BTreeMap<&'a str, Vec<&'a str>>,
}

#[derive(Deserialize)]
struct Prices<'a> {
    #[serde(borrow)]
    prices: Vec<PriceRow<'a>>,
}

#[derive(Deserialize)]
pub(super) struct PriceRow<'a> {
    pub(super) model: &'a str,
    pub(super) scope: &'a str,
    pub(super) region: Option<&'a str>,
    pub(super) endpoint: &'a str,
    pub(super) variant: Option<IgnoredAny>,
    /// Dollars by what they are for, such as `per_image`.
    #[serde(borrow)]
    pub(super) other_usd: Option<BTreeMap<&'a str, &'a RawValue>>,
    pub(super) audio_input: Option<IgnoredAny>,
    pub(super) image_input: Option<IgnoredAny>,
    pub(super) input: Option<Dollars>,
    pub(super) output: Option<Dollars>,
    pub(super) cache_read: Option<Dollars>,
    pub(super) cache_write_5m: Option<Dollars>,
    pub(super) cache_write_1h: Option<Dollars>,
    pub(super) flex_input: Option<Dollars>,
    pub(super) flex_output: Option<Dollars>,
    pub(super) priority_input: Option<Dollars>,
    pub(super) priority_output: Option<Dollars>,
    pub(super) batch_input: Option<Dollars>,
    pub(super) batch_output: Option<Dollars>,
    pub(super) batch_cache_read: Option<Dollars>,
    /// By threshold, such as `above_200k`.
    #[serde(borrow, default)]
    pub(super) long_context: BTreeMap<&'a str, LongRow>,
}

#[derive(Deserialize)]
pub(super) struct LongRow {
    pub(super) input: Option<Dollars>,
    pub(super) output: Option<Dollars>,
    pub(super) cache_read: Option<Dollars>,
    pub(super) cache_write_5m: Option<Dollars>,
    pub(super) cache_write_1h: Option<Dollars>,
}

/// Dollars per million tokens, read from the digits as they stand: a float would round them.
#[derive(Clone, Copy)]
pub(super) struct Dollars(pub(super) PerMillion);

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = <&RawValue>::deserialize(deserializer)?.get();
        let micros = micro_dollars(digits).ok_or_else(|| D::Error::custom(format!("{digits} is not exact")))?;
        Ok(Self(PerMillion(micros)))
    }
}

#[derive(Deserialize)]
struct Regions<'a> {
    #[serde(borrow)]
    regions: Vec<RegionRow<'a>>,
}

#[derive(Deserialize)]
pub(super) struct RegionRow<'a> {
    pub(super) code: &'a str,
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    pub(super) partition: &'a str,
    pub(super) opt_in: bool,
    pub(super) runtime: Option<&'a str>,
    pub(super) control: Option<&'a str>,
    pub(super) runtime_fips: Option<&'a str>,
    pub(super) control_fips: Option<&'a str>,
    pub(super) mantle: Option<&'a str>,
}
