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

impl MicroUsd {
    /// Reads a decimal number of dollars, such as `12.5`, `0.000001` or JSON's `1e3`, exactly: `None` for what is none,
    /// has more than six decimals, or is too large.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i8>().ok()?),
            None => (text, 0),
        };
        let (sign, number) = number.strip_prefix('-').map_or((1, number), |number| (-1, number));
        let (whole, fraction) = match number.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (number, ""),
        };
        let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) || number.len() > 40 {
            return None;
        }
        let digits: i128 = [whole, fraction].concat().parse().ok()?;
        let decimals = i32::try_from(fraction.len()).ok()? - i32::from(exponent);
        let shift = u32::try_from(6 - decimals).ok()?;
        let micros = digits.checked_mul(10_i128.checked_pow(shift)?)?;
        i64::try_from(sign * micros).ok().map(Self)
    }
}

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
    fn a_decimal_number_is_read_exactly_or_not_at_all() {
        for (text, micros) in [
            ("12.50", 12_500_000),
            ("12.5", 12_500_000),
            ("0", 0),
            ("0.000001", 1),
            ("0.1", 100_000),
            ("9007199254.740993", 9_007_199_254_740_993),
            ("9223372036854.775807", i64::MAX),
            ("-1.5", -1_500_000),
            ("1e3", 1_000_000_000),
            ("1.5E-3", 1_500),
            ("1e-6", 1),
            ("007", 7_000_000),
        ] {
            assert_eq!(MicroUsd::parse(text), Some(MicroUsd(micros)), "{text}");
        }
        for none in [
            "",
            ".",
            ".5",
            "5.",
            "+1",
            "--1",
            " 1",
            "1 ",
            "1,5",
            "$1",
            "NaN",
            "inf",
            "0x1",
            "1e",
            "1e-7",
            "1e300",
            "e3",
            "0.0000001",
            "0.1000000",
            "9223372036854.775808",
            "1_000",
            "\u{661}",
        ] {
            assert_eq!(MicroUsd::parse(none), None, "{none}");
        }
        assert_eq!(MicroUsd::parse(&"9".repeat(10_000)), None);
    }

    #[test]
    fn negative_amounts_keep_their_sign() {
        assert_eq!(MicroUsd(-1_500_000).to_string(), "-1.500000");
    }
}
