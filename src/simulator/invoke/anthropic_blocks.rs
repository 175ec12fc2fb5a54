//! What Anthropic's Messages API refuses of content blocks: unknown types and keys, sources that Bedrock does not fetch, cache
//! controls it does not know, citations on some documents alone.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::simulator::validate::images;

/// The blocks of a turn and their keys beside `type`.
const BLOCKS: &[(&str, &[&str])] = &[
    ("document", &["source", "title", "context", "citations", "cache_control"]),
    ("image", &["source", "cache_control"]),
    ("redacted_thinking", &["data"]),
    ("search_result", &["source", "title", "content", "citations", "cache_control"]),
    ("server_tool_use", &["id", "name", "input", "caller", "cache_control"]),
    ("text", &["text", "citations", "cache_control"]),
    ("thinking", &["thinking", "signature"]),
    ("tool_reference", &["tool_name", "cache_control"]),
    ("tool_result", &["tool_use_id", "content", "is_error", "cache_control"]),
    ("tool_search_tool_result", &["tool_use_id", "content", "cache_control"]),
    ("tool_use", &["id", "name", "input", "caller", "cache_control"]),
];

/// Refuses a key of `object` that is neither `type` nor in `known`.
pub(super) fn keys(object: &Value, known: &[&str], path: &str) -> Result<(), String> {
    let mut keys = object.as_object().into_iter().flat_map(|object| object.keys());
    match keys.find(|key| *key != "type" && !known.contains(&key.as_str())) {
        Some(key) => Err(format!("{path}.{key}: Extra inputs are not permitted")),
        None => Ok(()),
    }
}

/// Anthropic's refusal of a tag.
pub(super) fn unknown_tag<'a>(path: &str, kind: &str, known: impl Iterator<Item = &'a str>) -> String {
    let tags: Vec<String> = known.map(|tag| format!("'{tag}'")).collect();
    format!(
        "{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {}",
        tags.join(", ")
    )
}

/// Refuses text that is empty or blank.
pub(super) fn not_blank(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("messages: text content blocks must be non-empty".to_owned());
    }
    if text.trim().is_empty() {
        return Err("messages: text content blocks must contain non-whitespace text".to_owned());
    }
    Ok(())
}

/// Checks a cache control; both times to live are generally available, nothing else of it is known.
pub(super) fn cache_control(block: &Value, path: &str) -> Result<(), String> {
    let control = &block["cache_control"];
    if control.is_null() {
        return Ok(());
    }
    match control["type"].as_str() {
        Some("ephemeral") => {}
        Some(kind) => return Err(unknown_tag(&format!("{path}.cache_control"), kind, ["ephemeral"].into_iter())),
        None => return Err(format!("{path}.cache_control.type: Field required")),
    }
    keys(control, &["ttl"], &format!("{path}.cache_control.ephemeral"))?;
    match &control["ttl"] {
        Value::Null => Ok(()),
        Value::String(ttl) if ttl == "5m" || ttl == "1h" => Ok(()),
        _ => Err(format!("{path}.cache_control.ephemeral.ttl: Input should be '5m' or '1h'")),
    }
}

/// Checks a block of a turn of `role`.
pub(super) fn check(block: &Value, role: &str, path: &str) -> Result<(), String> {
    let kind = block["type"].as_str().ok_or_else(|| format!("{path}.type: Field required"))?;
    let known = BLOCKS.iter().find(|(name, _)| *name == kind);
    let (_, known) = known.ok_or_else(|| unknown_tag(path, kind, BLOCKS.iter().map(|(name, _)| *name)))?;
    let of_user = ["image", "document", "tool_result", "search_result"].contains(&kind);
    let of_assistant = ["tool_use", "thinking", "redacted_thinking"].contains(&kind);
    if (role == "assistant" && of_user) || (role == "user" && of_assistant) || (role == "system" && kind != "text") {
        return Err(format!("{path}: `{kind}` blocks are not allowed in `{role}` messages"));
    }
    let own = format!("{path}.{kind}");
    keys(block, known, &own)?;
    cache_control(block, &own)?;
    let required = |key: &str| block[key].as_str().ok_or_else(|| format!("{own}.{key}: Field required"));
    match kind {
        "text" => {
            if !block["cache_control"].is_null() && block["text"].as_str().is_some_and(str::is_empty) {
                return Err(format!("{own}: cache_control cannot be set for empty text blocks"));
            }
            not_blank(required("text")?)
        }
        "image" => image(&block["source"], &format!("{own}.source")),
        "document" => document(block, &own),
        "thinking" => required("thinking").and_then(|_| required("signature")).map(|_| ()),
        "redacted_thinking" => required("data").map(|_| ()),
        "tool_use" => {
            required("id")?;
            required("name")?;
            if block["input"].is_object() {
                Ok(())
            } else {
                Err(format!("{own}.input: Input should be a valid dictionary"))
            }
        }
        "tool_result" => {
            required("tool_use_id")?;
            result(&block["content"], &own)
        }
        _ => Ok(()),
    }
}

fn result(content: &Value, path: &str) -> Result<(), String> {
    let allowed = ["text", "image", "document", "search_result", "tool_reference"];
    for (index, part) in content.as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.content.{index}");
        let kind = part["type"].as_str().ok_or_else(|| format!("{path}.type: Field required"))?;
        if !allowed.contains(&kind) {
            return Err(unknown_tag(&path, kind, allowed.into_iter()));
        }
        check(part, "user", &path)?;
    }
    match content {
        Value::Null | Value::String(_) | Value::Array(_) => Ok(()),
        _ => Err(format!("{path}.content: Input should be a valid string or list")),
    }
}

/// The tag of a source and its data.
fn source<'a>(source: &'a Value, tags: &[&str], path: &str) -> Result<&'a str, String> {
    let kind = source["type"].as_str().ok_or_else(|| format!("{path}.type: Field required"))?;
    if tags.contains(&kind) { Ok(kind) } else { Err(unknown_tag(path, kind, tags.iter().copied())) }
}

fn image(given: &Value, path: &str) -> Result<(), String> {
    source(given, &["base64"], path)?;
    let path = format!("{path}.base64");
    keys(given, &["media_type", "data"], &path)?;
    let data = given["data"].as_str().ok_or_else(|| format!("{path}.data: Field required"))?;
    let media = given["media_type"].as_str().unwrap_or_default();
    let format = media.strip_prefix("image/").filter(|format| ["png", "jpeg", "gif", "webp"].contains(format));
    let Some(format) = format else {
        return Err(format!(
            "{path}.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
        ));
    };
    match images::sniff(data) {
        None => Err("Could not process image".to_owned()),
        Some(real) if real != format => Err(format!(
            "{path}: The image was specified using the {media} media type, but the image appears to be a image/{real} image"
        )),
        Some(_) => Ok(()),
    }
}

fn document(block: &Value, path: &str) -> Result<(), String> {
    let given = &block["source"];
    let at = format!("{path}.source");
    let kind = source(given, &["base64", "content", "text"], &at)?;
    keys(&block["citations"], &["enabled"], &format!("{path}.citations"))?;
    let (at, data) = (format!("{at}.{kind}"), given["data"].as_str());
    match (kind, given["media_type"].as_str()) {
        ("content", _) if given["content"].is_string() || given["content"].is_array() => Ok(()),
        ("content", _) => Err(format!("{at}.content: Field required")),
        (_, _) if data.is_none() => Err(format!("{at}.data: Field required")),
        ("text", Some("text/plain")) => Ok(()),
        ("text", _) => Err(format!("{at}.media_type: Input should be 'text/plain'")),
        (_, Some("application/pdf")) => {
            let start = data.and_then(|data| data.get(..8)).and_then(|start| BASE64_STANDARD.decode(start).ok());
            if start.is_some_and(|start| start.starts_with(b"%PDF")) {
                Ok(())
            } else {
                Err(format!("{at}.data: The PDF specified was not valid."))
            }
        }
        _ => Err(format!("{at}.media_type: Input should be 'application/pdf'")),
    }
}

/// All documents of `messages` cite, or none does.
pub(super) fn citations(messages: &[Value], is_structured: impl Fn() -> bool) -> Result<(), String> {
    let documents = || super::anthropic_citations::documents(messages);
    let cites = documents().filter(|document| document["citations"]["enabled"] == true).count();
    if cites == 0 {
        return Ok(());
    }
    if cites != documents().count() {
        return Err("messages: citations must be enabled on all or none of the documents".to_owned());
    }
    if is_structured() {
        return Err("output_config.format: Citations are not compatible with structured outputs.".to_owned());
    }
    Ok(())
}
