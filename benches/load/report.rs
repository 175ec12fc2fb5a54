//! The table: what each side cost, the ratio, and whether the target holds. Markdown, to be pasted into the documents.

use std::fmt::{self, Write as _};

/// One side's value of one measure in every round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(pub(crate) Vec<f64>);

/// A promise about a measure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// None was made.
    None,
    /// At most so many times the floor's value, aiming at fewer.
    Ratio { most: f64, aim: f64 },
    /// At most so much, in the measure's unit.
    Most(f64),
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) measure: String,
    pub(crate) unit: &'static str,
    pub(crate) floor: Samples,
    pub(crate) gateway: Samples,
    pub(crate) target: Target,
}

impl Samples {
    /// The middle one.
    pub(crate) fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}

impl Row {
    /// Nothing where a side has no value or, as a difference lost in noise can be, not a positive one.
    fn ratio(&self) -> Option<f64> {
        let positive = self.gateway.0.iter().chain(&self.floor.0).all(|value| *value > 0.0);
        positive.then_some(self.gateway.median()? / self.floor.median()?)
    }

    /// The lowest and highest ratio of one round: how far to trust the middle.
    fn spread(&self) -> Option<(f64, f64)> {
        let ratios = || self.gateway.0.iter().zip(&self.floor.0).map(|(gateway, floor)| gateway / floor);
        (ratios().len() > 1)
            .then(|| (ratios().fold(f64::INFINITY, f64::min), ratios().fold(f64::NEG_INFINITY, f64::max)))
    }

    fn ratio_cell(&self) -> String {
        match (self.ratio(), self.spread()) {
            (Some(ratio), Some((low, high))) => format!("{ratio:.2} x ({low:.2} to {high:.2})"),
            (Some(ratio), None) => format!("{ratio:.2} x"),
            (None, _) if self.gateway.0.len() > 1 => {
                let rounds = || self.gateway.0.iter().copied();
                let (low, high) = (rounds().fold(f64::INFINITY, f64::min), rounds().fold(f64::NEG_INFINITY, f64::max));
                format!("({} to {})", number(low, self.unit), number(high, self.unit))
            }
            (None, _) => String::new(),
        }
    }

    fn target_cell(&self) -> String {
        match self.target {
            Target::None => String::new(),
            Target::Ratio { most, aim } if most > aim => format!("at most {most} x, aim {aim} x"),
            Target::Ratio { most, .. } => format!("at most {most} x"),
            Target::Most(most) => format!("under {most} {}", self.unit),
        }
    }

    /// Whether the target holds; nothing if there is none, or nothing to hold against it.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let (value, most, aim) = match self.target {
            Target::None => return None,
            Target::Ratio { most, aim } => (self.ratio()?, most, aim),
            Target::Most(most) => (self.gateway.median()?, most, most),
        };
        Some(match value {
            _ if value > most => Verdict::Missed,
            _ if value > aim => Verdict::Holds,
            _ => Verdict::Reached,
        })
    }
}

/// How a target fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Missed,
    /// The promise holds; the aim does not.
    Holds,
    Reached,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missed => "**missed**",
            Self::Holds => "holds, aim missed",
            Self::Reached => "holds",
        })
    }
}

/// The whole table.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut table =
        String::from("| measure | floor | gateway | ratio (rounds) | target | |\n|---|--:|--:|--:|---|---|\n");
    for row in rows {
        let value = |samples: &Samples| samples.median().map(|value| number(value, row.unit)).unwrap_or_default();
        let (floor, gateway) = (value(&row.floor), value(&row.gateway));
        let verdict = row.verdict().map(|verdict| verdict.to_string()).unwrap_or_default();
        let (ratio, target) = (row.ratio_cell(), row.target_cell());
        let _ = writeln!(table, "| {} | {floor} | {gateway} | {ratio} | {target} | {verdict} |", row.measure);
    }
    table
}

fn number(value: f64, unit: &str) -> String {
    let digits = usize::from(value.abs() < 100.0);
    format!("{value:.digits$} {unit}")
}
