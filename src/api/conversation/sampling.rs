//! How long an answer may be, how it is drawn, and where it stops: held to what the model takes.

use serde_json::json;

use super::At;
use crate::converse::Object;
use crate::error::Error;
use crate::families::{TopK, Traits};
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

/// The most tokens of the answer, as asked for in `field`, within what the model takes. No token at all is `Kind::Invalid`.
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
    let most = traits.max_output_tokens.unwrap_or(u32::MAX);
    let kept = asked.max(traits.min_output_tokens).min(most);
    if kept != asked {
        report.add(Action::Clamped, field);
    }
    Ok(Some(kept))
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

/// Puts `top_k` where the model takes it, among its own request fields.
pub fn top_k(asked: Option<u32>, traits: &Traits, fields: &mut Object, report: &mut Report) {
    let Some(asked) = asked else { return };
    match traits.top_k {
        TopK::Plain if traits.sampling => {
            fields.insert("top_k".to_owned(), json!(asked));
        }
        TopK::Nested if traits.sampling => {
            let config = fields.entry("inferenceConfig").or_insert_with(|| json!({}));
            if let Some(config) = config.as_object_mut() {
                config.insert("topK".to_owned(), json!(asked));
            }
        }
        TopK::Refused | TopK::Plain | TopK::Nested => report.add(Action::Dropped, "top_k"),
    }
}

/// The stop sequences without the blank ones, which Bedrock refuses, and as many as the model takes. `at` is the place
/// of each.
pub fn stop_sequences(
    items: Vec<String>,
    at: impl Fn(usize) -> At,
    traits: &Traits,
    report: &mut Report,
) -> Vec<String> {
    let mut kept = Vec::with_capacity(items.len());
    for (i, item) in items.into_iter().enumerate() {
        if item.trim().is_empty() || kept.len() == traits.max_stop_sequences {
            report.add(Action::Dropped, at(i));
        } else {
            kept.push(item);
        }
    }
    kept
}
