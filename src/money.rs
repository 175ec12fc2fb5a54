//! Money: whole micro-dollars, so that sums are exact.
//!
//! A call's cost is worked out exactly in pico-dollars and rounded up once, to the micro-dollar that the ledger stores: the
//! sum over many calls is at most a micro-dollar a call above what AWS bills, and never below.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// Millionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroUsd(pub i64);

impl Add for MicroUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for MicroUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::default(), Add::add)
    }
}

/// Dollars with six decimals, as in `0.000123`: exact, and read as a decimal string by every language.
impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// What one million tokens cost, in micro-dollars: the unit in which AWS publishes prices, kept exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerMillion(pub u64);

impl PerMillion {
    /// The exact cost of `tokens` in pico-dollars; the caller adds classes up before rounding once.
    pub fn pico(self, tokens: u64) -> u128 {
        u128::from(self.0) * u128::from(tokens)
    }
}

/// Rounds an exact sum of pico-dollars up to whole micro-dollars: a budget is never under-charged.
pub fn round_up(pico: u128) -> MicroUsd {
    MicroUsd(i64::try_from(pico.div_ceil(1_000_000)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_times_tokens_is_exact_and_rounds_up_once() {
        // 1.10 USD per million in, 5.50 out: 10 in and 3 out are 11 + 16.5 micro-dollars.
        let pico = PerMillion(1_100_000).pico(10) + PerMillion(5_500_000).pico(3);
        assert_eq!(round_up(pico), MicroUsd(28));
        assert_eq!(round_up(pico).to_string(), "0.000028");
    }

    #[test]
    fn negative_amounts_keep_their_sign() {
        assert_eq!(MicroUsd(-1_500_000).to_string(), "-1.500000");
    }
}
