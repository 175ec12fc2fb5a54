//! What calls on AWS did, used and cost: by our names, and by those of OpenTelemetry's conventions for generative AI.

use std::time::Duration;

use super::Metrics;
use crate::money::MicroUsd;

/// Tokens by class, as the label `type` names them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokens {
    /// Read at the full price.
    pub input: u64,
    /// Written by the model.
    pub output: u64,
    /// Read from the cache.
    pub cache_read: u64,
    /// Written to the cache.
    pub cache_write: u64,
}

/// A call in OpenTelemetry's words.
#[derive(Clone, Copy, Debug)]
pub struct GenAi<'a> {
    /// `gen_ai.operation.name`, such as `chat`: one of a fixed set.
    pub operation: &'a str,
    /// `gen_ai.request.model`: Bedrock's id of it.
    pub model: &'a str,
}

/// How a call was booked.
#[derive(Clone, Copy, Debug)]
pub struct Booked<'a> {
    /// The team's name.
    pub team: &'a str,
    /// Bedrock's id of the model.
    pub model: &'a str,
    /// The Region that served.
    pub region: &'a str,
    /// What was used.
    pub tokens: Tokens,
    /// What it cost, or why that is not known.
    pub cost: Result<MicroUsd, Unpriced>,
    /// The service tier.
    pub tier: &'a str,
}

/// Why nobody knows what a call cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Unpriced {
    /// The catalog has no price for what was used.
    NoPrice,
    /// It is charged by something that the gateway does not count: text units of a guardrail, seconds of video.
    NotCounted,
}

impl Metrics {
    /// A call was booked.
    pub fn booked(&self, call: &Booked<'_>) {
        let (team, model) = (self.team(call.team), self.model(call.model));
        let tokens = &call.tokens;
        let classes = [
            ("input", tokens.input),
            ("output", tokens.output),
            ("cache_read", tokens.cache_read),
            ("cache_write", tokens.cache_write),
        ];
        for (class, count) in classes {
            if count > 0 {
                self.families().tokens.with_label_values(&[team, call.region, model, class]).inc_by(count);
            }
        }
        match call.cost {
            #[expect(clippy::cast_precision_loss, reason = "exact up to nine billion dollars for one series")]
            Ok(cost) => self.families().cost.with_label_values(&[team, call.tier, model]).inc_by(cost.0 as f64 / 1e6),
            Err(reason) => self.families().unpriced.with_label_values(&[model, reason.into()]).inc(),
        }
    }

    /// A call used so many tokens; of a type that it used none of, nothing is said.
    #[expect(clippy::cast_precision_loss, reason = "exact up to far more tokens than a call can use")]
    pub fn token_usage(&self, call: GenAi<'_>, tokens: Tokens) {
        let model = self.model(call.model);
        let input = tokens.input + tokens.cache_read + tokens.cache_write;
        for (kind, count) in [("input", input), ("output", tokens.output)] {
            if count > 0 {
                let labels = [call.operation, model, kind];
                self.families().token_usage.with_label_values(&labels).observe(count as f64);
            }
        }
    }

    /// A call ended after this long: well, or with an error of this type.
    pub fn operation(&self, call: GenAi<'_>, took: Duration, error: Option<&str>) {
        // To Prometheus a label without a value is one that is not there.
        let labels = [call.operation, self.model(call.model), error.unwrap_or_default()];
        self.families().operation_seconds.with_label_values(&labels).observe(took.as_secs_f64());
    }

    /// The first event of a stream came.
    pub fn first_token(&self, call: GenAi<'_>, after: Duration) {
        let labels = [call.operation, self.model(call.model)];
        self.families().first_token_seconds.with_label_values(&labels).observe(after.as_secs_f64());
    }

    /// A stream ended well, whose output tokens but the first took this long.
    #[expect(clippy::cast_precision_loss, reason = "exact up to far more tokens than a call can write")]
    pub fn output_tokens(&self, call: GenAi<'_>, count: u64, after_first: Duration) {
        let Some(further) = count.checked_sub(1).filter(|further| *further > 0) else { return };
        let labels = [call.operation, self.model(call.model)];
        let each = after_first.as_secs_f64() / further as f64;
        self.families().token_seconds.with_label_values(&labels).observe(each);
    }

    /// A model that is on its way out answered a request.
    pub fn legacy(&self, model: &str) {
        self.families().legacy.with_label_values(&[self.model(model)]).inc();
    }

    /// An attempt at AWS ended.
    pub fn attempt(&self, region: &str, model: &str, outcome: &str) {
        self.families().attempts.with_label_values(&[region, self.model(model), outcome]).inc();
    }

    /// Which models rest in which Regions, now.
    pub fn cooling(&self, resting: impl Iterator<Item = (String, String)>) {
        let cooling = &self.families().cooling;
        cooling.reset();
        for (region, model) in resting {
            cooling.with_label_values(&[region.as_str(), self.model(&model)]).set(1.0);
        }
    }
}
