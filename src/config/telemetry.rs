//! `[telemetry]`: logs and traces.

use serde::Deserialize;
use tracing_subscriber::filter::EnvFilter;

use super::{Problems, nearest};

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// `[telemetry]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// A level, or several `MODULE=LEVEL` with commas between. Reloaded.
    pub log: String,
    /// Where traces go by OTLP; empty: nowhere.
    pub otlp_endpoint: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log: "info".into(), otlp_endpoint: String::new() }
    }
}

impl Telemetry {
    pub(super) fn validate(&self, problems: &mut Problems) {
        // The filter takes a mistyped level for the name of a module and would log all of it, that is, nothing.
        for part in self.log.split(',').map(str::trim) {
            let level = part.rsplit('=').next().unwrap_or(part);
            if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
                let hint = nearest(level, LEVELS).map(|known| format!("; did you mean \"{known}\"?"));
                let message = format!("{level:?} is not a level ({}){}", LEVELS.join(", "), hint.unwrap_or_default());
                problems.add("telemetry.log", message);
            }
        }
        if EnvFilter::builder().parse(&self.log).is_err() {
            problems.add("telemetry.log", "must be a level, or MODULE=LEVEL parts with commas between");
        }
        if !self.otlp_endpoint.is_empty() {
            problems.add_unsupported("telemetry.otlp_endpoint");
        }
    }
}
