//! How long an answer may be, how it is drawn, and where it stops: held to what the model takes.

use super::At;
use crate::error::Error;
use crate::families::Traits;
use crate::report::{Action, Report};

/// How a caller wants its answer drawn. The fields are called `temperature` and `top_p` in every dialect.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// From 0 to `hottest`.
    pub temperature: Option<f64>,
    /// From 0 to 1.
    pub top_p: Option<f64>,
    /// The highest temperature of the dialect; Bedrock's is 1.
    pub hottest: f64,
}

/// The most tokens of the answer, as asked for in `field`, within what the model can. None at all is `Kind::Invalid`.
pub fn max_tokens(
    field: &'static str,
    asked: Option<u32>,
    traits: &Traits,
    report: &mut Report,
) -> Result<Option<u32>, Error> {
    let Some(asked) = asked else { return Ok(None) };
    if asked == 0 {
        return Err(Error::invalid(field, format!("`{field}` has to be at least 1.")));
    }
    match traits.max_output_tokens {
        Some(most) if asked > most => {
            report.add(Action::Clamped, field);
            Ok(Some(most))
        }
        _ => Ok(Some(asked)),
    }
}

/// Temperature and `top_p` as the model takes them. Out of the dialect's range is `Kind::Invalid`.
pub fn sampling(asked: Sampling, traits: &Traits, report: &mut Report) -> Result<(Option<f64>, Option<f64>), Error> {
    let within = |field: &'static str, value: Option<f64>, most: f64| match value {
        Some(value) if !(0.0..=most).contains(&value) => {
            Err(Error::invalid(field, format!("`{field}` has to lie between 0 and {most}.")))
        }
        value => Ok(value),
    };
    let temperature = within("temperature", asked.temperature, asked.hottest)?;
    let top_p = within("top_p", asked.top_p, 1.0)?;
    // 1 is the default for both, and what a model does that takes neither: leaving it out changes nothing.
    let matters = |value: Option<f64>| value.is_some_and(|value| (value - 1.0).abs() > 0.0);

    if !traits.sampling {
        for (field, value) in [("temperature", temperature), ("top_p", top_p)] {
            if matters(value) {
                report.add(Action::Dropped, field);
            }
        }
        return Ok((None, None));
    }
    if temperature.is_some_and(|value| value > 1.0) {
        report.add(Action::Clamped, "temperature");
    }
    let temperature = temperature.map(|value| value.min(1.0));
    if traits.temperature_xor_top_p && temperature.is_some() {
        if matters(top_p) {
            report.add(Action::Dropped, "top_p");
        }
        return Ok((temperature, None));
    }
    Ok((temperature, top_p))
}

/// The stop sequences without the blank ones, which Bedrock refuses. `at` is the place of each.
pub fn stop_sequences(items: Vec<String>, at: impl Fn(usize) -> At, report: &mut Report) -> Vec<String> {
    let mut kept = Vec::with_capacity(items.len());
    for (i, item) in items.into_iter().enumerate() {
        if item.trim().is_empty() {
            report.add(Action::Dropped, at(i));
        } else {
            kept.push(item);
        }
    }
    kept
}
