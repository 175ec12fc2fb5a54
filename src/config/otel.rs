//! The standard variables of OpenTelemetry that this gateway heeds:
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>. Settings of `[telemetry]` win.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::telemetry::{NO_COLLECTOR, TRACES_PATH, is_collector};
use super::{Problems, Secret};

/// What the variables say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Otel {
    /// `OTEL_SDK_DISABLED`: nothing is traced, whatever else is said.
    pub is_disabled: bool,
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` as it is, or `OTEL_EXPORTER_OTLP_ENDPOINT` with the path of traces; `None`
    /// where `OTEL_TRACES_EXPORTER` is `none`.
    pub endpoint: Option<String>,
    /// `OTEL_EXPORTER_OTLP_HEADERS`, and over it `OTEL_EXPORTER_OTLP_TRACES_HEADERS`.
    pub headers: Vec<(String, Secret)>,
    /// `OTEL_EXPORTER_OTLP_TRACES_TIMEOUT` or `OTEL_EXPORTER_OTLP_TIMEOUT`: how long one export may take.
    pub timeout: Option<Duration>,
    /// `OTEL_SERVICE_NAME`.
    pub service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource: Vec<(String, String)>,
    /// `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
    pub sampling: Option<Sampling>,
}

/// Which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The part of them, from 0.0 to 1.0, told by the trace's id: all services that sample so choose the same.
    pub ratio: f64,
    /// Whether the flag of a `traceparent` that came along decides instead.
    pub heeds_parent: bool,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { ratio: 1.0, heeds_parent: true }
    }
}

impl Otel {
    /// Reads them out of the process's environment. A variable that is empty is as if it were not there.
    pub(super) fn read(env: &[(String, String)], problems: &mut Problems) -> Self {
        let variable = |name: &str| {
            let found = env.iter().find(|(other, _)| other == name);
            found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
        };
        let traces = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let all = variable("OTEL_EXPORTER_OTLP_ENDPOINT");
        let is_wanted = variable("OTEL_TRACES_EXPORTER").is_none_or(|exporter| exporter != "none");
        for (name, url) in [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces), ("OTEL_EXPORTER_OTLP_ENDPOINT", all)] {
            if url.is_some_and(|url| !is_collector(url)) {
                problems.add(name, NO_COLLECTOR);
            }
        }
        let endpoint = traces.map(str::to_owned);
        let endpoint = endpoint.or_else(|| all.map(|base| [base.trim_end_matches('/'), TRACES_PATH].concat()));
        let pairs = |name: &str| variable(name).map(pairs).unwrap_or_default();
        let mut headers = pairs("OTEL_EXPORTER_OTLP_HEADERS");
        for (name, value) in pairs("OTEL_EXPORTER_OTLP_TRACES_HEADERS") {
            headers.retain(|(other, _)| *other != name);
            headers.push((name, value));
        }
        let timeout = variable("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT").or(variable("OTEL_EXPORTER_OTLP_TIMEOUT"));
        Self {
            is_disabled: variable("OTEL_SDK_DISABLED").is_some_and(|flag| flag.eq_ignore_ascii_case("true")),
            endpoint: endpoint.filter(|_| is_wanted),
            headers: headers.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
            timeout: timeout.and_then(|text| text.parse().ok()).map(Duration::from_millis),
            service_name: variable("OTEL_SERVICE_NAME").map(str::to_owned),
            resource: pairs("OTEL_RESOURCE_ATTRIBUTES"),
            sampling: sampling(variable("OTEL_TRACES_SAMPLER"), variable("OTEL_TRACES_SAMPLER_ARG"), problems),
        }
    }
}

/// `a=b,c=d`, the values percent-encoded: <https://www.w3.org/TR/baggage/#header-content>.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let decode = |text: &str| percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
    pairs.filter(|(key, _)| !key.trim().is_empty()).map(|(key, value)| (decode(key), decode(value))).collect()
}

/// Only what asks nobody else which requests to trace.
fn sampling(name: Option<&str>, argument: Option<&str>, problems: &mut Problems) -> Option<Sampling> {
    let name = name?;
    let (kind, heeds_parent) = match name.strip_prefix("parentbased_") {
        Some(kind) => (kind, true),
        None => (name, false),
    };
    let ratio = match kind {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => {
            let ratio = argument.map_or(Ok(1.0), str::parse::<f64>).ok().filter(|ratio| (0.0..=1.0).contains(ratio));
            if ratio.is_none() {
                problems.add("OTEL_TRACES_SAMPLER_ARG", "must be a number from 0.0 to 1.0");
            }
            ratio?
        }
        _ => {
            let message = "must be always_on, always_off or traceidratio, or one of them after parentbased_";
            problems.add("OTEL_TRACES_SAMPLER", message);
            return None;
        }
    };
    Some(Sampling { ratio, heeds_parent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[(&str, &str)]) -> (Otel, Vec<String>) {
        let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut problems = Problems::default();
        let otel = Otel::read(&env, &mut problems);
        (otel, problems.iter().map(|problem| problem.path.clone()).collect())
    }

    #[test]
    fn the_more_exact_variable_wins_and_the_path_is_added_to_the_general_one_alone() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        assert_eq!(read(&[]), (Otel::default(), vec![]));
        assert_eq!(read(&[general]).0.endpoint.as_deref(), Some("http://collector:4318/v1/traces"));
        let exact = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other/t");
        assert_eq!(read(&[general, exact]).0.endpoint.as_deref(), Some("http://other/t"));
        assert_eq!(read(&[general, ("OTEL_TRACES_EXPORTER", "none")]).0.endpoint, None);
        assert!(read(&[general, ("OTEL_SDK_DISABLED", "TRUE")]).0.is_disabled);
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")]).1, ["OTEL_EXPORTER_OTLP_ENDPOINT"]);
    }

    #[test]
    fn headers_and_attributes_are_decoded_and_headers_do_not_show() {
        let (otel, _) = read(&[
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2, authorization=Basic%20aaa"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-key=hunter3"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,broken,=x,a=b%2Cc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ]);
        let headers: Vec<_> = otel.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(headers, [("authorization", "Basic aaa"), ("x-key", "hunter3")]);
        let attributes = [("deployment.environment.name", "prod"), ("a", "b,c")];
        assert_eq!(otel.resource, attributes.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(otel.timeout, Some(Duration::from_millis(2500)));
        assert!(!format!("{otel:?}").contains("hunter"), "{otel:?}");
    }

    #[test]
    fn samplers_are_read_and_unknown_ones_told() {
        let of =
            |name: &str, argument: &str| read(&[("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)]);
        let sampling = |ratio, heeds_parent| Some(Sampling { ratio, heeds_parent });
        assert_eq!(of("always_on", "").0.sampling, sampling(1.0, false));
        assert_eq!(of("always_off", "").0.sampling, sampling(0.0, false));
        assert_eq!(of("traceidratio", "0.25").0.sampling, sampling(0.25, false));
        assert_eq!(of("parentbased_traceidratio", "0.25").0.sampling, sampling(0.25, true));
        assert_eq!(of("parentbased_traceidratio", "2").1, ["OTEL_TRACES_SAMPLER_ARG"]);
        assert_eq!(of("jaeger_remote", "").1, ["OTEL_TRACES_SAMPLER"]);
    }
}
