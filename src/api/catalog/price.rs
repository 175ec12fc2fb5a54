//! Prices as the catalog's lists tell them: decimal strings, exact to the micro-dollar, null where none is known.

use serde::Serialize;
use utoipa::ToSchema;

use crate::catalog::{ByUnit, Price, Rates};
use crate::money::PerMillion;

/// What a call costs, in US dollars. For tokens: per million.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogPrice)]
pub(super) struct Told {
    /// The standard tier; null for what is charged by something else than tokens.
    standard: Option<ToldRates>,
    /// The flex tier; null: unknown, or not offered.
    flex: Option<ToldRates>,
    /// The priority tier; null: unknown, or not offered.
    priority: Option<ToldRates>,
    /// Batch jobs; null: unknown, or not offered.
    batch: Option<ToldRates>,
    /// The standard tier for longer prompts, by rising length.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    long_context: Vec<LongRates>,
    /// For what is not charged by its tokens alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_unit: Option<UnitPrices>,
}

/// Per million tokens of each class; null: unknown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogRates)]
struct ToldRates {
    input: Option<String>,
    output: Option<String>,
    cache_read: Option<String>,
    cache_write_5m: Option<String>,
    cache_write_1h: Option<String>,
}

/// Per million tokens of a prompt that is longer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogLongRates)]
struct LongRates {
    /// Prompts of more tokens than this.
    above_tokens: u64,
    #[serde(flatten)]
    rates: ToldRates,
}

/// For one of each; null: unknown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogUnitPrices)]
struct UnitPrices {
    /// An image made.
    image: Option<String>,
    /// A query.
    query: Option<String>,
    /// An image read.
    input_image: Option<String>,
    /// A million tokens of text read.
    text_tokens: Option<String>,
}

impl Told {
    pub(super) fn of(price: &Price) -> Self {
        let is_by_unit = price.by_unit.is_some();
        Self {
            standard: rates(&price.standard).or_else(|| (!is_by_unit).then(|| told(&Rates::default()))),
            flex: rates(&price.flex),
            priority: rates(&price.priority),
            batch: rates(&price.batch),
            long_context: (price.long.iter())
                .map(|(above, rates)| LongRates { above_tokens: *above, rates: told(rates) })
                .collect(),
            by_unit: price.by_unit.as_deref().map(by_unit),
        }
    }
}

fn rates(rates: &Rates) -> Option<ToldRates> {
    (*rates != Rates::default()).then(|| told(rates))
}

fn told(rates: &Rates) -> ToldRates {
    let of = |price: Option<PerMillion>| price.map(|PerMillion(micros)| dollars(micros));
    ToldRates {
        input: of(rates.input),
        output: of(rates.output),
        cache_read: of(rates.cache_read),
        cache_write_5m: of(rates.cache_write_5m),
        cache_write_1h: of(rates.cache_write_1h),
    }
}

fn by_unit(prices: &ByUnit) -> UnitPrices {
    UnitPrices {
        image: prices.image.map(dollars),
        query: prices.query.map(dollars),
        input_image: prices.picture.map(dollars),
        text_tokens: prices.text.map(|PerMillion(micros)| dollars(micros)),
    }
}

/// Micro-dollars as dollars, with two decimals at least and no more than it takes: `3.00`, `0.135`.
fn dollars(micros: u64) -> String {
    let mut decimals = format!("{:06}", micros % 1_000_000);
    while decimals.len() > 2 && decimals.ends_with('0') {
        decimals.pop();
    }
    format!("{}.{decimals}", micros / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_exact() {
        for (micros, text) in [(3_000_000, "3.00"), (135_000, "0.135"), (60, "0.00006"), (0, "0.00"), (1, "0.000001")] {
            assert_eq!(dollars(micros), text);
        }
    }
}
