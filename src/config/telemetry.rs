//! `[telemetry]`: logs and traces. What is captured of prompts is in `capture.rs`, what the standard variables of
//! OpenTelemetry say in `otel.rs`.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use tracing_subscriber::filter::EnvFilter;
use url::Url;

use super::decode::key_text;
use super::{Capture, Otel, Problems, Sampling, Secret, nearest};

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Where a collector takes traces: <https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>.
pub(super) const TRACES_PATH: &str = "/v1/traces";

/// `[telemetry]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// A level, or several `MODULE=LEVEL` with commas between. Reloaded.
    pub log: String,
    /// Base URL of a collector that takes traces by OTLP over HTTP, such as `http://collector:4318`; `/v1/traces` is
    /// added unless the URL ends with it. Empty: no traces, unless `OTEL_EXPORTER_OTLP_ENDPOINT` or
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` names a collector.
    pub otlp_endpoint: String,
    /// Headers that the collector wants, such as a key. Those of `OTEL_EXPORTER_OTLP_HEADERS` are added to them.
    pub otlp_headers: BTreeMap<String, Secret>,
    /// Which part of the requests is traced that come without a `traceparent`: 0.0 to 1.0. For one that comes with it, its
    /// flag decides. None given: by `OTEL_TRACES_SAMPLER`, else all.
    pub trace_sample: Option<f64>,
    /// Prompts and answers, written to a file.
    pub capture: Capture,
    /// What the standard variables of OpenTelemetry say. From the environment only.
    #[serde(skip)]
    pub otel: Otel,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log: "info".into(),
            otlp_endpoint: String::new(),
            otlp_headers: BTreeMap::new(),
            trace_sample: None,
            capture: Capture::default(),
            otel: Otel::default(),
        }
    }
}

impl Telemetry {
    /// The URL that spans are posted to; `None`: nothing is traced.
    pub fn traces_url(&self) -> Option<String> {
        if self.otel.is_disabled {
            return None;
        }
        if self.otlp_endpoint.is_empty() {
            return self.otel.endpoint.clone();
        }
        let base = self.otlp_endpoint.trim_end_matches('/');
        Some(if base.ends_with(TRACES_PATH) { base.to_owned() } else { [base, TRACES_PATH].concat() })
    }

    /// Which requests are traced.
    pub fn sampling(&self) -> Sampling {
        match self.trace_sample {
            Some(ratio) => Sampling { ratio, heeds_parent: true },
            None => self.otel.sampling.unwrap_or_default(),
        }
    }

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
        if !self.otlp_endpoint.is_empty() && !is_collector(&self.otlp_endpoint) {
            problems.add("telemetry.otlp_endpoint", NO_COLLECTOR);
        }
        for (name, value) in &self.otlp_headers {
            if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value.expose()).is_err() {
                let path = format!("telemetry.otlp_headers.{}", key_text(name));
                problems
                    .add(path, "cannot be sent as a header: its name or its value has characters that no header takes");
            }
        }
        if self.trace_sample.is_some_and(|ratio| !(0.0..=1.0).contains(&ratio)) {
            problems.add("telemetry.trace_sample", "is out of range: 0.0 (nothing) to 1.0 (everything)");
        }
        self.capture.validate(problems);
    }
}

pub(super) const NO_COLLECTOR: &str =
    "must be http://HOST[:PORT] or https://HOST[:PORT], with a path if need be, without user and query";

/// Whether spans can be posted there.
pub(super) fn is_collector(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        let is_bare = url.query().is_none() && url.fragment().is_none();
        let is_anonymous = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && is_bare && is_anonymous
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(endpoint: &str) -> Option<String> {
        Telemetry { otlp_endpoint: endpoint.into(), ..Telemetry::default() }.traces_url()
    }

    #[test]
    fn spans_are_posted_to_the_path_of_traces() {
        assert_eq!(url(""), None);
        for (endpoint, posted) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://a.example/otlp", "https://a.example/otlp/v1/traces"),
            ("https://a.example/v1/traces", "https://a.example/v1/traces"),
        ] {
            assert_eq!(url(endpoint).as_deref(), Some(posted));
        }
    }

    #[test]
    fn what_is_no_collector_no_header_and_no_ratio_is_told_with_its_path_and_without_its_value() {
        let telemetry = Telemetry {
            otlp_endpoint: "http://user:hunter2@collector".into(),
            otlp_headers: BTreeMap::from([
                ("x-key".into(), Secret::new("hunter2\n")),
                ("a b".into(), Secret::new("c")),
            ]),
            trace_sample: Some(1.5),
            ..Telemetry::default()
        };
        let mut problems = Problems::default();
        telemetry.validate(&mut problems);
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        let headers = ["telemetry.otlp_headers.\"a b\"", "telemetry.otlp_headers.x-key"];
        assert_eq!(paths, ["telemetry.otlp_endpoint", headers[0], headers[1], "telemetry.trace_sample"]);
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
        assert!(!format!("{:?}", telemetry.otlp_headers).contains("hunter2"));
        for bad in ["collector:4318", "grpc://collector", "http://", "http://a?b=c"] {
            assert!(!is_collector(bad), "{bad}");
        }
    }
}
