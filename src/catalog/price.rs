//! Prices: what tokens cost, and the other things that models are charged by, exactly, or not at all.
//!
//! A class of tokens without a price makes the whole cost unknown; nothing is ever taken for free because its price
//! is missing. Prices are those of AWS's list, in micro-dollars per million tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::data::{Dollars, LongRow, PriceRow};
use super::place::Scope;
use crate::converse::Usage;
use crate::money::{MicroUsd, PerMillion, round_up};

/// What the tokens of one model cost in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// The standard tier.
    pub standard: Rates,
    /// The flex tier.
    pub flex: Rates,
    /// The priority tier.
    pub priority: Rates,
    /// Batch jobs.
    pub batch: Rates,
    /// The standard tier for prompts of more tokens than the number, by rising number.
    pub long: Vec<(u64, Rates)>,
    /// For a model that is not charged by its tokens alone: then there are no rates.
    pub by_unit: Option<Box<ByUnit>>,
}

/// Prices of other things than tokens, each in micro-dollars for one; `None`: unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByUnit {
    /// An image made.
    pub image: Option<u64>,
    /// A query.
    pub query: Option<u64>,
    /// An image read.
    pub picture: Option<u64>,
    /// Text read, by its tokens.
    pub text: Option<PerMillion>,
}

/// What a call is charged by that is not charged by its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charged {
    /// So many images made.
    Images(u64),
    /// So many queries.
    Queries(u64),
    /// One image read.
    Picture,
    /// The text read, by its tokens.
    Text,
}

impl ByUnit {
    /// What a call costs that is charged by this; `tokens` are those of its input. `None` when it has no price.
    pub fn cost(&self, charged: Charged, tokens: u64) -> Option<MicroUsd> {
        let (price, count) = match charged {
            Charged::Images(count) => (self.image?, count),
            Charged::Queries(count) => (self.query?, count),
            Charged::Picture => (self.picture?, 1),
            Charged::Text => return Some(round_up(self.text?.pico(tokens))),
        };
        Some(MicroUsd(i64::try_from(price.saturating_mul(count)).unwrap_or(i64::MAX)))
    }
}

/// A price for each class of tokens; `None`: unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Read fresh.
    pub input: Option<PerMillion>,
    /// Written by the model.
    pub output: Option<PerMillion>,
    /// Read from the cache.
    pub cache_read: Option<PerMillion>,
    /// Written to the cache for five minutes.
    pub cache_write_5m: Option<PerMillion>,
    /// Written to the cache for an hour.
    pub cache_write_1h: Option<PerMillion>,
}

/// How a call is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// As usual.
    #[default]
    Standard,
    /// Cheaper, when there is room.
    Flex,
    /// Dearer, before the others.
    Priority,
    /// From capacity that is paid for by the month, whatever is used of it.
    Reserved,
    /// In a batch job.
    Batch,
    /// By a tier that this version does not know.
    Other,
}

impl Tier {
    /// The tier of this name of Bedrock's, or Anthropic's `standard`.
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ServiceTier.html>
    pub fn named(name: &str) -> Self {
        match name {
            "default" | "standard" => Self::Standard,
            "flex" => Self::Flex,
            "priority" => Self::Priority,
            "reserved" => Self::Reserved,
            "batch" => Self::Batch,
            _ => Self::Other,
        }
    }

    /// Bedrock's name for it, which is the label in metrics and ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "default",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Reserved => "reserved",
            Self::Batch => "batch",
            Self::Other => "other",
        }
    }
}

impl Price {
    /// What `usage` costs in the standard tier; `None` when a class that was used has no price.
    pub fn cost(&self, usage: &Usage) -> Option<MicroUsd> {
        self.cost_at(Tier::Standard, usage)
    }

    /// What `usage` costs in `tier`. The price of a long prompt is known for the standard tier only; reserved capacity has
    /// none by the token.
    pub fn cost_at(&self, tier: Tier, usage: &Usage) -> Option<MicroUsd> {
        self.rates(tier, usage.prompt_tokens())?.cost(usage)
    }

    /// What many answers of a batch job cost that used so much together. The length of a prompt plays no part: no price of
    /// long ones is known for jobs.
    pub fn batch_cost(&self, usage: &Usage) -> Option<MicroUsd> {
        self.batch.cost(usage)
    }

    /// The most that a token of the input and one of the answer may cost in `tier`, for a prompt of about so many tokens
    /// of which some may be written to a prompt cache if it `is_cached`. `None` when one of them has no price.
    pub fn dearest(&self, tier: Tier, prompt: u64, is_cached: bool) -> Option<(PerMillion, PerMillion)> {
        let rates = self.rates(tier, prompt)?;
        let written = if is_cached { rates.cache_write_5m.max(rates.cache_write_1h) } else { None };
        Some((rates.input?.max(written.unwrap_or_default()), rates.output.unwrap_or_default()))
    }

    fn rates(&self, tier: Tier, prompt: u64) -> Option<&Rates> {
        let long = self.long.iter().rev().find(|(threshold, _)| prompt > *threshold).map(|(_, rates)| rates);
        match (tier, long) {
            (Tier::Standard, None) => Some(&self.standard),
            (Tier::Standard, Some(long)) => Some(long),
            (Tier::Flex, None) => Some(&self.flex),
            (Tier::Priority, None) => Some(&self.priority),
            (Tier::Batch, None) => Some(&self.batch),
            (Tier::Reserved | Tier::Other, None) | (_, Some(_)) => None,
        }
    }

    fn fill(&mut self, other: Self) {
        self.standard.fill(other.standard);
        self.flex.fill(other.flex);
        self.priority.fill(other.priority);
        self.batch.fill(other.batch);
        if self.long.is_empty() {
            self.long = other.long;
        }
        self.by_unit = self.by_unit.take().or(other.by_unit);
    }
}

impl Rates {
    fn cost(&self, usage: &Usage) -> Option<MicroUsd> {
        let (mut short_lived, mut long_lived) = (0, 0);
        for detail in &usage.cache_details {
            match detail.ttl.as_str() {
                "5m" => short_lived += detail.input_tokens,
                "1h" => long_lived += detail.input_tokens,
                _ if detail.input_tokens == 0 => {}
                _ => return None,
            }
        }
        // What is not told apart lives for five minutes, which is the default.
        short_lived = short_lived.max(usage.cache_write_input_tokens.saturating_sub(long_lived));
        let classes = [
            (usage.input_tokens, self.input),
            (usage.output_tokens, self.output),
            (usage.cache_read_input_tokens, self.cache_read),
            (short_lived, self.cache_write_5m),
            (long_lived, self.cache_write_1h),
        ];
        let mut pico = 0_u128;
        for (tokens, price) in classes {
            if tokens > 0 {
                pico += price?.pico(tokens);
            }
        }
        Some(round_up(pico))
    }

    fn fill(&mut self, other: Self) {
        self.input = self.input.or(other.input);
        self.output = self.output.or(other.output);
        self.cache_read = self.cache_read.or(other.cache_read);
        self.cache_write_5m = self.cache_write_5m.or(other.cache_write_5m);
        self.cache_write_1h = self.cache_write_1h.or(other.cache_write_1h);
    }
}

/// The prices of one model, by scope and Region.
#[derive(Clone, Debug, Default)]
pub(super) struct PriceList(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    scope: Box<str>,
    region: Option<Box<str>>,
    price: Arc<Price>,
}

impl PriceList {
    /// Adds a row of the data. A row of another endpoint or of a commitment is left out, and so is one with units that
    /// nobody here counts: by the others alone the cost would come out too low. Rows for the same place complete each
    /// other.
    pub(super) fn add(&mut self, row: &PriceRow<'_>) {
        let has_other_tokens = row.audio_input.is_some() || row.image_input.is_some();
        if row.endpoint != "runtime" || row.variant.is_some() || has_other_tokens {
            return;
        }
        let price = match &row.other_usd {
            None => price(row),
            Some(units) => match by_unit(row, units) {
                Some(by_unit) => Price { by_unit: Some(Box::new(by_unit)), ..Price::default() },
                None => return,
            },
        };
        let same = |entry: &&mut Entry| *entry.scope == *row.scope && entry.region.as_deref() == row.region;
        match self.0.iter_mut().find(same) {
            Some(entry) => Arc::make_mut(&mut entry.price).fill(price),
            None => self.0.push(Entry {
                scope: row.scope.into(),
                region: row.region.map(Into::into),
                price: Arc::new(price),
            }),
        }
    }

    /// The price in `region` by way of `scope`: the row for that Region before the row for all. In GovCloud, where
    /// prices are higher, the in-Region row for all does not count. There is no falling back to another scope: what a
    /// model costs by one profile does not tell what it costs by another.
    pub(super) fn find(&self, scope: &Scope, region: &str) -> Option<Arc<Price>> {
        let (name, counts_for_all) = match scope {
            Scope::InRegion => ("in-region", !region.starts_with("us-gov-")),
            Scope::Profile(geo) => (&**geo, true),
        };
        let exact = |region: Option<&str>| {
            let is_it = |entry: &&Entry| *entry.scope == *name && entry.region.as_deref() == region;
            self.0.iter().find(is_it).map(|entry| Arc::clone(&entry.price))
        };
        exact(Some(region)).or_else(|| if counts_for_all { exact(None) } else { None })
    }
}

/// The prices of units that are counted; `None` if there are none. Text has one where nothing else is charged for it:
/// rerank models say 0 because they are charged by the query.
fn by_unit(row: &PriceRow<'_>, units: &BTreeMap<&str, &RawValue>) -> Option<ByUnit> {
    let price = |unit| micro_dollars(units.get(unit)?.get());
    let (image, query, picture) = (price("per_image"), price("per_query"), price("per_input_image"));
    let text = row.input.map(|Dollars(price)| price).filter(|_| query.is_none());
    let is_counted = image.is_some() || query.is_some() || picture.is_some();
    is_counted.then_some(ByUnit { image, query, picture, text })
}

fn price(row: &PriceRow<'_>) -> Price {
    let of = |dollars: Option<Dollars>| dollars.map(|Dollars(price)| price);
    let pair = |input, output| Rates { input: of(input), output: of(output), ..Rates::default() };
    let mut long: Vec<(u64, Rates)> =
        row.long_context.iter().filter_map(|(name, row)| Some((threshold(name)?, long_rates(row)))).collect();
    long.sort_by_key(|(threshold, _)| *threshold);
    Price {
        standard: Rates {
            cache_read: of(row.cache_read),
            cache_write_5m: of(row.cache_write_5m),
            cache_write_1h: of(row.cache_write_1h),
            ..pair(row.input, row.output)
        },
        flex: pair(row.flex_input, row.flex_output),
        priority: pair(row.priority_input, row.priority_output),
        batch: Rates { cache_read: of(row.batch_cache_read), ..pair(row.batch_input, row.batch_output) },
        long,
        by_unit: None,
    }
}

fn long_rates(row: &LongRow) -> Rates {
    let of = |dollars: Option<Dollars>| dollars.map(|Dollars(price)| price);
    Rates {
        input: of(row.input),
        output: of(row.output),
        cache_read: of(row.cache_read),
        cache_write_5m: of(row.cache_write_5m),
        cache_write_1h: of(row.cache_write_1h),
    }
}

/// `above_200k` is 200,000 tokens.
fn threshold(name: &str) -> Option<u64> {
    name.strip_prefix("above_")?.strip_suffix('k')?.parse::<u64>().ok()?.checked_mul(1000)
}

/// The dollars of a JSON number (`0.15`, `6e-05`) as whole micro-dollars; `None` when they are not whole.
pub(super) fn micro_dollars(number: &str) -> Option<u64> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits: u64 = format!("{whole}{fraction}").parse().ok()?;
    let power = exponent.parse::<i32>().ok()?.checked_add(6)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let factor = 10_u64.checked_pow(power.unsigned_abs())?;
    if power >= 0 {
        digits.checked_mul(factor)
    } else if digits.is_multiple_of(factor) {
        Some(digits / factor)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_become_micro_dollars_without_rounding() {
        for (number, micros) in [
            ("0.15", 150_000),
            ("3.0", 3_000_000),
            ("15", 15_000_000),
            ("6e-05", 60),
            ("1.5E1", 15_000_000),
            ("0.000001", 1),
            ("0.0", 0),
        ] {
            assert_eq!(micro_dollars(number), Some(micros), "{number}");
        }
        for number in ["0.0000001", "1e99", "-1", "NaN", "", "1e-9"] {
            assert_eq!(micro_dollars(number), None, "{number}");
        }
    }

    fn usage(json: &str) -> Usage {
        serde_json::from_str(json).unwrap()
    }

    fn rates(input: u64, output: u64) -> Rates {
        Rates { input: Some(PerMillion(input)), output: Some(PerMillion(output)), ..Rates::default() }
    }

    #[test]
    fn a_class_without_a_price_makes_the_cost_unknown_and_one_that_was_not_used_does_not() {
        let price = Price { standard: rates(1_000_000, 5_000_000), ..Price::default() };
        assert_eq!(price.cost(&usage(r#"{"inputTokens": 10, "outputTokens": 2}"#)), Some(MicroUsd(20)));
        assert_eq!(price.cost(&usage(r#"{"inputTokens": 10, "cacheReadInputTokens": 1}"#)), None);
        assert_eq!(price.cost_at(Tier::Flex, &usage(r#"{"inputTokens": 10}"#)), None);
        assert_eq!(price.cost_at(Tier::Flex, &usage("{}")), Some(MicroUsd(0)));
        assert_eq!(price.cost_at(Tier::Reserved, &usage(r#"{"inputTokens": 10}"#)), None);
        assert_eq!(price.cost_at(Tier::Other, &usage(r#"{"inputTokens": 10}"#)), None);
    }

    #[test]
    fn cache_writes_are_priced_by_their_lifetime() {
        let standard = Rates {
            cache_write_5m: Some(PerMillion(1_000_000)),
            cache_write_1h: Some(PerMillion(2_000_000)),
            ..Rates::default()
        };
        let price = Price { standard, ..Price::default() };
        let whole = usage(r#"{"cacheWriteInputTokens": 100}"#);
        assert_eq!(price.cost(&whole), Some(MicroUsd(100)));
        let split = r#"{"cacheWriteInputTokens": 100, "cacheDetails": [{"ttl": "1h", "inputTokens": 60}]}"#;
        assert_eq!(price.cost(&usage(split)), Some(MicroUsd(160)));
        let strange = r#"{"cacheWriteInputTokens": 9, "cacheDetails": [{"ttl": "24h", "inputTokens": 9}]}"#;
        assert_eq!(price.cost(&usage(strange)), None);
    }

    #[test]
    fn a_long_prompt_has_its_own_price_counted_with_what_the_cache_served() {
        let mut price = Price { standard: rates(1, 1), long: vec![(200_000, rates(2_000_000, 0))], ..Price::default() };
        price.standard.cache_read = Some(PerMillion(0));
        assert_eq!(price.cost(&usage(r#"{"inputTokens": 200000}"#)), Some(MicroUsd(1)));
        assert_eq!(price.cost(&usage(r#"{"inputTokens": 200001}"#)), Some(MicroUsd(400_002)));
        let cached = r#"{"inputTokens": 1, "cacheReadInputTokens": 200000}"#;
        assert_eq!(price.cost(&usage(cached)), None);
        assert_eq!(price.cost_at(Tier::Batch, &usage(r#"{"inputTokens": 200001}"#)), None);
    }
}
