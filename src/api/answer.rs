//! The headers that tell how an answer came about.

use axum::response::Response;
use http::HeaderValue;

use crate::gateway::{Cost, Served};
use crate::report::Report;

/// Adds the `x-gateway-*` headers.
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
    if !report.is_empty() {
        set("x-gateway-translation", &report.to_string());
    }
    headers.insert("x-gateway-attempts", HeaderValue::from(served.attempts));
    response
}
