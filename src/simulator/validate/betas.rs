//! Anthropic's beta flags as Bedrock knows them. An unknown one is refused with `invalid beta flag`: on InvokeModel those of the
//! body's `anthropic_beta`, on Converse those within `additionalModelRequestFields`, on the Messages path those of the header.
//!
//! From AWS's page "Anthropic Claude Messages API: request and response" and the cards of the models; flags that Anthropic's
//! own API takes and Bedrock does not (`structured-outputs-*`, `mcp-servers-*`, `advanced-tool-use-*`, ...) are not here.

use serde_json::Value;

/// Every flag that Bedrock takes.
const KNOWN: &[&str] = &[
    "compact-2026-09-04",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "dev-full-thinking-2025-05-14",
    "effort-2025-11-24",
    "fine-grained-tool-streaming-2025-05-14",
    "interleaved-thinking-2025-05-14",
    "output-128k-2025-02-19",
    "token-efficient-tools-2025-02-19",
    "tool-examples-2025-10-29",
    "tool-search-tool-2025-10-19",
];

/// Refuses a list with a flag that Bedrock does not know.
pub(crate) fn check(flags: &Value) -> Result<(), String> {
    let list = match flags {
        Value::Null => return Ok(()),
        Value::Array(list) => list,
        _ => return Err("anthropic_beta: Input should be a valid list".to_owned()),
    };
    let known = |flag: &Value| flag.as_str().is_some_and(|flag| KNOWN.contains(&flag));
    if list.iter().all(known) { Ok(()) } else { Err("invalid beta flag".to_owned()) }
}

/// Whether `flags` has one that begins so.
pub(crate) fn has(flags: &Value, start: &str) -> bool {
    flags.as_array().into_iter().flatten().any(|flag| flag.as_str().is_some_and(|flag| flag.starts_with(start)))
}
