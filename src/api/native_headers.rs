//! The headers that are Bedrock's own: guardrail, trace, latency, tier, metadata. With a body that is the model's they
//! travel; on the way by Converse, whose body holds the same, they are put there. A surface that passed over them would
//! answer otherwise than it was asked to, and nobody would know.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>

use std::collections::BTreeMap;

use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::guardrail;
use crate::converse::Request;
use crate::error::{Error, Result};
use crate::gateway::{LATENCY, TIER};

const METADATA: &str = "x-amzn-bedrock-request-metadata";
const TRACE: &str = "x-amzn-bedrock-trace";
/// As many pairs of metadata as Bedrock takes.
const MAX_PAIRS: usize = 16;

/// Whether it is one of them.
pub(super) fn is_bedrocks(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-amzn-bedrock-")
}

/// Those of a caller's `headers` that belong to the call, repeats included.
pub(super) fn bedrocks(headers: &HeaderMap) -> HeaderMap {
    let own = headers.iter().filter(|(name, _)| is_bedrocks(name));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Puts what the headers ask for into the request that Converse gets. What no header may say, and what the body says
/// otherwise, is `Kind::Invalid` and names the header.
pub(super) fn apply(headers: &HeaderMap, request: &mut Request) -> Result<()> {
    if let Some(tier) = one_of(headers, TIER, &["priority", "default", "flex", "reserved"])? {
        set(TIER, &mut request.service_tier, json!({ "type": tier }))?;
    }
    if let Some(latency) = one_of(headers, LATENCY, &["standard", "optimized"])? {
        set(LATENCY, &mut request.performance_config, json!({ "latency": latency }))?;
    }
    add_metadata(headers, &mut request.request_metadata)?;
    apply_guardrail(headers, request)
}

/// Has a call's own `headers` say `value` under `name`; that they say something else is `Kind::Invalid`.
pub(super) fn agree(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<()> {
    let said = HeaderValue::from_str(value).map_err(|_| conflict(name))?;
    match headers.entry(name) {
        Entry::Vacant(entry) => {
            entry.insert(said);
            Ok(())
        }
        Entry::Occupied(entry) if entry.iter().all(|other| *other == said) => Ok(()),
        Entry::Occupied(_) => Err(conflict(name)),
    }
}

fn conflict(name: &'static str) -> Error {
    Error::invalid(name, format!("The header `{name}` and the body do not say the same."))
}

fn set(name: &'static str, place: &mut Option<Value>, asked: Value) -> Result<()> {
    match place {
        Some(said) if *said != asked => Err(conflict(name)),
        _ => {
            *place = Some(asked);
            Ok(())
        }
    }
}

/// The one value of a header.
fn value<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid(name, format!("The header `{name}` is there more than once.")));
    }
    let text = value.to_str().map_err(|_| Error::invalid(name, format!("The header `{name}` is not text.")))?;
    Ok(Some(text))
}

/// The value of a header that has to be one of `allowed`.
fn one_of<'a>(headers: &'a HeaderMap, name: &'static str, allowed: &[&str]) -> Result<Option<&'a str>> {
    let value = value(headers, name)?;
    if value.is_some_and(|value| !allowed.contains(&value)) {
        let allowed = allowed.join("`, `");
        return Err(Error::invalid(name, format!("The header `{name}` has to be one of `{allowed}`.")));
    }
    Ok(value)
}

/// Adds the pairs of the header, which is a JSON object, to those of the body.
fn add_metadata(headers: &HeaderMap, metadata: &mut BTreeMap<String, String>) -> Result<()> {
    let Some(text) = value(headers, METADATA)? else { return Ok(()) };
    let pairs: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| {
        let message = format!("The header `{METADATA}` has to be a JSON object whose values are strings.");
        Error::invalid(METADATA, message)
    })?;
    for (key, value) in pairs {
        if metadata.get(&key).is_some_and(|said| *said != value) {
            return Err(conflict(METADATA));
        }
        metadata.insert(key, value);
    }
    if metadata.len() > MAX_PAIRS {
        let message = format!("Header and body together have more than {MAX_PAIRS} pairs of metadata.");
        return Err(Error::invalid(METADATA, message));
    }
    Ok(())
}

/// The guardrail, and whether it tells what it did; without a guardrail there is nothing to tell.
fn apply_guardrail(headers: &HeaderMap, request: &mut Request) -> Result<()> {
    let trace = one_of(headers, TRACE, &["ENABLED", "DISABLED", "ENABLED_FULL"])?;
    let asked = guardrail::of(headers)?;
    let Some(said) = &mut request.guardrail_config else {
        request.guardrail_config = asked;
        return Ok(());
    };
    if let Some(asked) = asked {
        let same = asked.guardrail_identifier == said.guardrail_identifier
            && asked.guardrail_version == said.guardrail_version;
        if !same {
            return Err(conflict(guardrail::IDENTIFIER));
        }
    }
    if let Some(trace) = trace.map(str::to_ascii_lowercase) {
        if said.trace.as_ref().is_some_and(|said| *said != trace) {
            return Err(conflict(TRACE));
        }
        said.trace = Some(trace);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::converse::GuardrailConfig;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn applied(pairs: &[(&'static str, &str)], mut request: Request) -> Result<Request, String> {
        match apply(&headers(pairs), &mut request) {
            Ok(()) => Ok(request),
            Err(error) => Err(error.blamed().unwrap().to_owned()),
        }
    }

    #[test]
    fn what_headers_ask_for_is_in_the_request() {
        let pairs = [
            (TIER, "flex"),
            (LATENCY, "optimized"),
            (METADATA, r#"{"project":"x"}"#),
            ("x-amzn-bedrock-guardrailidentifier", "g"),
            ("x-amzn-bedrock-guardrailversion", "1"),
            (TRACE, "ENABLED_FULL"),
        ];
        let request = applied(&pairs, Request::default()).unwrap();
        assert_eq!(request.service_tier, Some(json!({"type": "flex"})));
        assert_eq!(request.performance_config, Some(json!({"latency": "optimized"})));
        assert_eq!(request.request_metadata["project"], "x");
        assert_eq!(request.guardrail_config.unwrap().trace.as_deref(), Some("enabled_full"));
        assert_eq!(applied(&[(TRACE, "ENABLED")], Request::default()).unwrap(), Request::default());
    }

    #[test]
    fn the_same_said_twice_is_no_conflict_and_another_thing_is() {
        let request = || Request {
            service_tier: Some(json!({"type": "flex"})),
            performance_config: Some(json!({"latency": "standard"})),
            request_metadata: [("a".to_owned(), "1".to_owned())].into(),
            guardrail_config: Some(GuardrailConfig {
                guardrail_identifier: "g".into(),
                guardrail_version: "1".into(),
                trace: Some("enabled".into()),
                stream_processing_mode: None,
            }),
            ..Request::default()
        };
        let guardrail = |id| [("x-amzn-bedrock-guardrailidentifier", id), ("x-amzn-bedrock-guardrailversion", "1")];
        for same in [
            &[(TIER, "flex")][..],
            &[(LATENCY, "standard")],
            &[(METADATA, r#"{"a":"1"}"#)],
            &[(TRACE, "ENABLED")],
            &guardrail("g"),
        ] {
            assert_eq!(applied(same, request()), Ok(request()), "{same:?}");
        }
        for other in [
            &[(TIER, "priority")][..],
            &[(LATENCY, "optimized")],
            &[(METADATA, r#"{"a":"2"}"#)],
            &[(TRACE, "DISABLED")],
            &guardrail("h"),
        ] {
            assert_eq!(applied(other, request()).unwrap_err(), other[0].0);
        }
    }

    #[test]
    fn what_no_header_may_say_is_refused_by_its_name() {
        let many: BTreeMap<String, String> = (0..17).map(|n| (n.to_string(), String::new())).collect();
        let many = serde_json::to_string(&many).unwrap();
        for (name, value) in [
            (TIER, "fastest"),
            (TIER, "Flex"),
            (LATENCY, ""),
            (METADATA, "[]"),
            (METADATA, r#"{"a":1}"#),
            (METADATA, &many),
            (TRACE, "enabled"),
        ] {
            assert_eq!(applied(&[(name, value)], Request::default()).unwrap_err(), name, "{value}");
        }
        let mut twice = headers(&[(TIER, "flex")]);
        twice.append(TIER, "flex".parse().unwrap());
        assert_eq!(apply(&twice, &mut Request::default()).unwrap_err().blamed(), Some(TIER));
    }
}
