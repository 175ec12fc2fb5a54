//! What the native lanes of this surface have in common: bodies that travel to Bedrock as they came, but for what is only
//! pointed at.

use std::borrow::Cow;

use http::HeaderMap;
use memchr::{memchr, memmem};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::conversation::{At, image};
use crate::api::native_headers::agree;
use crate::catalog::{Catalog, Resolved};
use crate::converse::MediaSource;
use crate::error::{Error, Result};
use crate::gateway::TIER;
use crate::splice::{Edits, Members, quoted};

/// Whether `body` names a model of which `takes` holds, somewhere. Looked for without reading the body, because most bodies
/// go the other way and are read there. A model that is named with escapes is not found, and is served by Converse.
pub(super) fn may_name(body: &[u8], catalog: &Catalog, takes: fn(&Resolved) -> bool) -> bool {
    memmem::find_iter(body, b"\"model\"").any(|at| {
        let value = body[at + b"\"model\"".len()..].trim_ascii_start().strip_prefix(b":");
        let text = value.and_then(|value| value.trim_ascii_start().strip_prefix(b"\""));
        let name = text.and_then(|text| str::from_utf8(&text[..memchr(b'"', text)?]).ok());
        // ARNs are few, and tell their model to who reads them.
        name.is_some_and(|name| name.starts_with("arn:") || catalog.known(name).is_some_and(takes))
    })
}

/// What has to be known of a tool.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct ToolHead {
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Only looked at where it is a group of tools.
    #[serde(default)]
    name: serde_json::Value,
}

impl ToolHead {
    /// Whether it takes text, which Bedrock knows nothing of.
    pub(super) fn is_custom(&self) -> bool {
        self.kind() == "custom"
    }

    /// Its name; nothing when it says none.
    pub(super) fn name(&self) -> &str {
        self.name.as_str().unwrap_or_default()
    }

    /// Its type; nothing when it says none.
    pub(super) fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or_default()
    }
}

/// Gives the tier Bedrock's name in the body, and refuses one that the call's own `headers` contradict. What is no string
/// is Bedrock's to refuse. <https://docs.aws.amazon.com/bedrock/latest/userguide/service-tiers-inference.html>
pub(super) fn name_tier(members: &Members<'_>, edits: &mut Edits<'_>, headers: &HeaderMap) -> Result<()> {
    let Some(value) = members.value("service_tier") else { return Ok(()) };
    let Ok(asked) = serde_json::from_str::<String>(value.get()) else { return Ok(()) };
    let in_header = headers.get(TIER).and_then(|tier| tier.to_str().ok());
    let tier = match &*asked {
        "auto" => in_header.unwrap_or("default"),
        "scale" => "reserved",
        "fast" => "priority",
        asked => asked,
    };
    if in_header.is_some() {
        agree(&mut headers.clone(), TIER, tier)?;
    }
    if tier != asked {
        edits.replace(value, quoted(tier));
    }
    Ok(())
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
