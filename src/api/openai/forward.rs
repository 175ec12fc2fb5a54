//! What the native lanes of this surface have in common: bodies that travel to Bedrock as they came, but for what is only
//! pointed at.

use std::borrow::Cow;

use http::HeaderMap;
use serde_json::value::RawValue;

use crate::api::conversation::{At, image};
use crate::converse::MediaSource;
use crate::error::{Error, Result};

/// The headers that belong to the call: guardrail, trace, latency, tier.
pub(super) fn bedrock_headers(headers: &HeaderMap) -> HeaderMap {
    let ours = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-amzn-bedrock-"));
    ours.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The URL in a JSON string, unless it holds its content itself. What is no string is Bedrock's to refuse.
pub(super) fn pointer(value: &RawValue) -> Option<Cow<'_, str>> {
    let holds = value.get().get(1..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    if holds { None } else { serde_json::from_str(value.get()).ok() }
}

/// A fetched picture as a URL that holds it, in JSON. The server's word for its format counts for nothing.
pub(super) fn data_url(base64: String, path: &str) -> Result<String> {
    let image = image(base64, At::field("image_url")).map_err(|error| error.param(path))?;
    let MediaSource::Bytes(base64) = image.source else { return Err(Error::internal("a picture without its bytes")) };
    // Neither a format nor base64 has anything to escape.
    Ok(format!("\"data:image/{};base64,{base64}\"", image.format))
}
