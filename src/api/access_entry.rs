//! The access line as it is written. `docs/LOGS.md` describes it, and the tests hold that page to it: people and programs
//! read these names.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

/// The line. Absent is what is not known or does not apply.
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    pub(super) timestamp: jiff::Timestamp,
    pub(super) level: &'static str,
    pub(super) target: &'static str,
    pub(super) message: &'static str,
    pub(super) request_id: &'a str,
    /// The trace that it is part of, where requests are traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace_id: Option<String>,
    /// The address that the request came from, behind proxies that are trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<IpAddr>,
    pub(super) method: &'a str,
    /// The pattern, not the path: a path can hold a model's ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<&'a str>,
    pub(super) surface: &'static str,
    pub(super) operation: &'static str,
    pub(super) status: u16,
    pub(super) duration_ms: f64,
    /// Of that, what was neither waited for AWS nor for the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) overhead_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) head_ms: Option<f64>,
    pub(super) bytes: u64,
    pub(super) complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) team: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost_micro_usd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_causes: Option<&'a str>,
}

/// Milliseconds with three decimals.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use serde_json::Value;

    use super::*;

    const DOCUMENT: &str = include_str!("../../docs/LOGS.md");

    /// A line with every field there is.
    fn full() -> Entry<'static> {
        Entry {
            timestamp: jiff::Timestamp::UNIX_EPOCH,
            level: "INFO",
            target: "access",
            message: "request",
            request_id: "req_1",
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
            client: Some(Ipv4Addr::LOCALHOST.into()),
            method: "POST",
            route: Some("/v1/messages"),
            surface: "anthropic",
            operation: "messages",
            status: 200,
            duration_ms: 1.5,
            overhead_ms: Some(0.5),
            head_ms: Some(1.25),
            bytes: 1,
            complete: true,
            team: Some("t"),
            key: Some("k"),
            model: Some("m"),
            region: Some("us-east-1"),
            attempts: Some(1),
            input_tokens: Some(1),
            output_tokens: Some(1),
            cost_micro_usd: Some(1),
            outcome: Some("ok"),
            error: Some("invalid"),
            error_message: Some("why"),
            error_causes: Some("because"),
        }
    }

    /// The fields of [`full`] that every line has.
    fn bare() -> Entry<'static> {
        Entry {
            trace_id: None,
            client: None,
            route: None,
            overhead_ms: None,
            head_ms: None,
            team: None,
            key: None,
            model: None,
            region: None,
            attempts: None,
            input_tokens: None,
            output_tokens: None,
            cost_micro_usd: None,
            outcome: None,
            error: None,
            error_message: None,
            error_causes: None,
            ..full()
        }
    }

    fn written(entry: &Entry<'_>) -> serde_json::Map<String, Value> {
        serde_json::from_str(&serde_json::to_string(entry).unwrap()).unwrap()
    }

    fn kind(value: &Value) -> &'static str {
        match value {
            Value::String(_) => "string",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::Null | Value::Array(_) | Value::Object(_) => "none that is documented",
        }
    }

    /// The rows of the document's table: name, type, and when the field is absent.
    fn documented() -> Vec<[String; 3]> {
        let table = DOCUMENT.split("| field | type | what | absent |\n|---|---|---|---|\n").nth(1).unwrap();
        let rows = table.lines().take_while(|line| line.starts_with('|'));
        let cells =
            rows.map(|row| row.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`']).to_owned()).collect());
        cells.map(|cells: Vec<_>| [cells[0].clone(), cells[1].clone(), cells[3].clone()]).collect()
    }

    #[test]
    fn the_document_has_every_field_in_its_order_and_with_its_type() {
        let told: Vec<_> = documented().into_iter().map(|[name, kind, _]| (name, kind)).collect();
        let all: Vec<_> = written(&full()).iter().map(|(name, value)| (name.clone(), kind(value).to_owned())).collect();
        assert_eq!(told, all);
    }

    #[test]
    fn the_document_says_of_the_right_fields_that_they_are_never_absent() {
        let never = documented().into_iter().filter(|[_, _, absent]| absent == "never").map(|[name, ..]| name);
        assert_eq!(never.collect::<Vec<_>>(), written(&bare()).keys().cloned().collect::<Vec<_>>());
    }

    #[test]
    fn the_examples_are_lines_that_could_have_been_written() {
        let kinds: BTreeMap<_, _> = documented().into_iter().map(|[name, kind, _]| (name, kind)).collect();
        let examples: Vec<_> = DOCUMENT.split("```json\n").skip(1).map(|rest| rest.lines().next().unwrap()).collect();
        assert_eq!(examples.len(), 2);
        for example in examples {
            let line: serde_json::Map<String, Value> = serde_json::from_str(example).unwrap();
            for (name, value) in &line {
                let is_whole = kinds[name] == "number" && kind(value) == "integer";
                assert!(kinds[name] == kind(value) || is_whole, "{name}: {value}");
            }
            let order: Vec<_> = written(&full()).keys().filter(|name| line.contains_key(*name)).cloned().collect();
            assert_eq!(line.keys().cloned().collect::<Vec<_>>(), order, "fields are in the order of the table");
            assert!(written(&bare()).keys().all(|name| line.contains_key(name)));
        }
    }
}
