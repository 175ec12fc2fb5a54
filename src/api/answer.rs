//! The headers that tell how an answer came about.

use axum::response::Response;
use http::HeaderValue;

use crate::catalog::Tier;
use crate::gateway::{Cost, LATENCY, Served, TIER};
use crate::report::Report;

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
    if !report.is_empty() {
        set("x-gateway-translation", &report.to_string());
    }
    headers.insert("x-gateway-attempts", HeaderValue::from(served.attempts));
    response
}
