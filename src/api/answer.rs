//! Whole answers, the headers that tell how an answer came about, and those that tell how long there will be such answers.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde::Serialize;

use crate::catalog::{Lifecycle, Tier};
use crate::error::{Error, Result};
use crate::gateway::{Cost, LATENCY, Served, TIER};
use crate::report::Report;

/// A whole answer of a model, written as JSON: its text is escaped in SIMD registers, unlike by `axum::Json`.
pub(super) fn json(answer: &impl WithoutRaw) -> Result<Response> {
    let body = sonic_rs::to_vec(answer).map_err(Error::internal)?;
    Ok(of_json(body.into()))
}

/// A whole answer of a model that is JSON already.
pub(super) fn of_json(json: Bytes) -> Response {
    let mut response = Response::new(Body::from(json));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What has no `RawValue` of `serde_json` in it, however deep: `sonic_rs` would write that as an object. Equality tells,
/// because it is derived from that of all parts, and a `RawValue` has none (a test holds it to that).
pub(super) trait WithoutRaw: Serialize + PartialEq {}

impl<T: Serialize + PartialEq> WithoutRaw for T {}

/// Adds the `x-gateway-*` headers, and by Bedrock's own what it said of tier and latency by then.
pub(super) fn annotate(mut response: Response, served: &Served, report: &Report) -> Response {
    let headers = response.headers_mut();
    let mut set = |name: &'static str, text: &str| {
        // Names of Regions and models are ASCII; a value that were not is better left out than a reason to fail.
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    set("x-gateway-region", &served.region);
    set("x-gateway-model", served.receipt.model());
    match served.cost {
        Cost::Known(cost) => set("x-gateway-cost-usd", &cost.to_string()),
        Cost::Unknown => set("x-gateway-cost-usd", "unknown"),
        Cost::Open => {}
    }
    // Where AWS's own headers go on, they say it.
    if let Some(tier) = served.service.tier.filter(|tier| *tier != Tier::Other) {
        set(TIER, tier.name());
    }
    if let Some(latency) = served.service.latency {
        set(LATENCY, latency.name());
    }
    match (report.is_empty(), served.changes.is_empty()) {
        (true, true) => {}
        (false, true) => set("x-gateway-translation", &report.to_string()),
        (true, false) => set("x-gateway-translation", &served.changes.to_string()),
        (false, false) => set("x-gateway-translation", &format!("{report},{}", served.changes)),
    }
    headers.insert("x-gateway-attempts", HeaderValue::from(served.attempts));
    response
}

/// Tells of a model that is on its way out: since when, and when it ends; as far as AWS's dates for both are known. What
/// is only planned is no deprecation yet. <https://www.rfc-editor.org/rfc/rfc9745>, <https://www.rfc-editor.org/rfc/rfc8594>
pub(super) fn warn(headers: &mut HeaderMap, lifecycle: &Lifecycle, now: i64) {
    let mut set = |name: &'static str, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    };
    if let Some(since) = lifecycle.legacy.filter(|since| *since <= now) {
        set("deprecation", format!("@{since}"));
    }
    let end = lifecycle.end.and_then(|end| Timestamp::from_second(end).ok());
    if let Some(date) = end.and_then(|end| DateTimePrinter::new().timestamp_to_rfc9110_string(&end).ok()) {
        set("sunset", date);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::catalog::Stage;

    /// Does not compile once a `RawValue` can be compared: `_` could then be either of two.
    #[test]
    fn what_holds_a_raw_value_cannot_be_written_as_an_answer() {
        trait Told<Way> {
            const IS_TOLD: bool = true;
        }
        impl<T: ?Sized> Told<()> for T {}
        impl<T: ?Sized + PartialEq> Told<u8> for T {}
        const { assert!(<RawValue as Told<_>>::IS_TOLD) };
        const { assert!(<Box<RawValue> as Told<_>>::IS_TOLD) };
    }

    #[test]
    fn only_dates_that_are_known_are_told_and_a_deprecation_only_when_it_has_come() {
        let told = |legacy, end, now| {
            let mut headers = HeaderMap::new();
            warn(&mut headers, &Lifecycle { stage: Stage::Legacy, legacy, end }, now);
            let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            (text("deprecation"), text("sunset"))
        };
        let (legacy, end) = (1_783_468_800, 1_799_366_400);
        let sunset = Some("Fri, 08 Jan 2027 00:00:00 GMT".to_owned());
        assert_eq!(told(Some(legacy), Some(end), legacy), (Some("@1783468800".to_owned()), sunset.clone()));
        assert_eq!(told(Some(legacy), Some(end), legacy - 1), (None, sunset));
        assert_eq!(told(None, None, end), (None, None));
    }
}
