//! What Claude refuses, in Anthropic's words, for Converse and InvokeModel alike: sampling, thinking, prefill, cache points,
//! fields it does not know. Pages: "Extended thinking" and "Prompt caching" of Anthropic's documentation.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::betas;
use crate::simulator::catalog::Model;
use crate::simulator::content;
use crate::simulator::errors::Failure;

/// The fields of either dialect that the rules look at.
#[derive(Debug, Default)]
pub(crate) struct Request<'a> {
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: bool,
    max_tokens: Option<u64>,
    stop_sequences: Vec<&'a str>,
    thinking: Option<&'a Value>,
    forced_tool: bool,
    turns: Vec<Turn<'a>>,
    extra: Vec<&'a str>,
    betas: Option<&'a Value>,
}

#[derive(Debug, Default)]
struct Turn<'a> {
    assistant: bool,
    blocks: Vec<Part<'a>>,
}

#[derive(Debug, PartialEq)]
enum Part<'a> {
    Text(&'a str),
    Thinking { text: &'a str, signature: &'a str },
    RedactedThinking(String),
    ToolUse,
    Other,
}

/// Fields of the Messages API, which `additionalModelRequestFields` may carry.
const KNOWN: &[&str] = &[
    "anthropic_beta",
    "anthropic_version",
    "cache_control",
    "max_tokens",
    "messages",
    "metadata",
    "output_config",
    "stop_sequences",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

/// Whether the beta flags let a request edit or compact its context.
fn manages_context(flags: &Value) -> bool {
    betas::has(flags, "context-management-") || betas::has(flags, "compact-")
}

/// Whether a model takes system turns between the others.
pub(crate) fn takes_system_turns(model: &Model) -> bool {
    model.is_any(&[
        "claude-opus-4-8",
        "claude-opus-5",
        "claude-sonnet-5",
        "claude-haiku-5",
        "claude-fable-5",
        "claude-mythos-5",
    ])
}

fn unknown(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.keys())
        .map(String::as_str)
        .filter(|key| !KNOWN.contains(key))
        .filter(|key| *key != "context_management" || !manages_context(&object["anthropic_beta"]))
        .collect()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

impl<'a> Request<'a> {
    /// The fields of a Converse body.
    pub(crate) fn from_converse(body: &'a Value) -> Result<Self, Failure> {
        let (config, fields) = (&body["inferenceConfig"], &body["additionalModelRequestFields"]);
        let choice = &body["toolConfig"]["toolChoice"];
        if choice.is_object() && fields["tool_choice"].get("type").is_some() {
            return Err(Failure::validation(
                "The additional field tool_choice/type conflicts with an existing field. Remove the additional field and try again.",
            ));
        }
        let turns = body["messages"].as_array().into_iter().flatten().map(|message| Turn {
            assistant: message["role"] == "assistant",
            blocks: message["content"].as_array().into_iter().flatten().map(converse_part).collect(),
        });
        Ok(Self {
            temperature: config["temperature"].as_f64().or_else(|| fields["temperature"].as_f64()),
            top_p: config["topP"].as_f64().or_else(|| fields["top_p"].as_f64()),
            top_k: fields["top_k"].is_number(),
            max_tokens: config["maxTokens"].as_u64(),
            stop_sequences: strings(&config["stopSequences"]),
            thinking: fields.get("thinking"),
            forced_tool: choice.get("any").is_some() || choice.get("tool").is_some(),
            turns: turns.collect(),
            extra: unknown(fields),
            betas: fields.get("anthropic_beta"),
        })
    }

    /// The fields of a Messages body.
    pub(crate) fn from_messages(body: &'a Value) -> Self {
        let turns = body["messages"].as_array().into_iter().flatten().map(|message| Turn {
            assistant: message["role"] == "assistant",
            blocks: match &message["content"] {
                Value::String(text) => vec![Part::Text(text)],
                content => content.as_array().into_iter().flatten().map(messages_part).collect(),
            },
        });
        Self {
            temperature: body["temperature"].as_f64(),
            top_p: body["top_p"].as_f64(),
            top_k: body["top_k"].is_number(),
            max_tokens: body["max_tokens"].as_u64(),
            stop_sequences: strings(&body["stop_sequences"]),
            thinking: body.get("thinking"),
            forced_tool: matches!(body["tool_choice"]["type"].as_str(), Some("any" | "tool")),
            turns: turns.collect(),
            extra: unknown(body),
            betas: body.get("anthropic_beta"),
        }
    }
}

fn converse_part(block: &Value) -> Part<'_> {
    let reasoning = &block["reasoningContent"];
    if let Some(text) = block["text"].as_str() {
        Part::Text(text)
    } else if let Some(text) = reasoning["reasoningText"]["text"].as_str() {
        Part::Thinking { text, signature: reasoning["reasoningText"]["signature"].as_str().unwrap_or_default() }
    } else if let Some(blob) = reasoning["redactedContent"].as_str() {
        let bytes = BASE64_STANDARD.decode(blob).unwrap_or_default();
        Part::RedactedThinking(String::from_utf8(bytes).unwrap_or_default())
    } else if block.get("toolUse").is_some() {
        Part::ToolUse
    } else {
        Part::Other
    }
}

fn messages_part(block: &Value) -> Part<'_> {
    let text = |key: &str| block[key].as_str().unwrap_or_default();
    match text("type") {
        "text" => Part::Text(text("text")),
        "thinking" => Part::Thinking { text: text("thinking"), signature: text("signature") },
        "redacted_thinking" => Part::RedactedThinking(text("data").to_owned()),
        "tool_use" => Part::ToolUse,
        _ => Part::Other,
    }
}

/// What the model says against `request`, without the wrapping of either operation.
pub(crate) fn check(request: &Request<'_>, model: &Model) -> Result<(), String> {
    betas::check(request.betas.unwrap_or(&Value::Null))?;
    if let Some(key) = request.extra.first() {
        return Err(format!("{key}: Extra inputs are not permitted"));
    }
    sampling(request, model)?;
    if request.stop_sequences.iter().any(|sequence| sequence.trim().is_empty()) {
        return Err("stop_sequences: each stop sequence must contain non-whitespace".to_owned());
    }
    let thinks = thinking(request, model)?;
    prefill(request, model)?;
    signatures(request, thinks)
}

fn sampling(request: &Request<'_>, model: &Model) -> Result<(), String> {
    if model.sampling_params == Some(false) {
        let given = [
            ("temperature", request.temperature.is_some()),
            ("top_p", request.top_p.is_some()),
            ("top_k", request.top_k),
        ];
        if let Some((name, _)) = given.into_iter().find(|(_, given)| *given) {
            return Err(format!("`{name}` is deprecated for this model."));
        }
    }
    let either = [
        "claude-opus-4-1",
        "claude-opus-4-5",
        "claude-opus-4-6",
        "claude-sonnet-4-5",
        "claude-sonnet-4-6",
        "claude-haiku-4-5",
    ];
    if request.temperature.is_some() && request.top_p.is_some() && model.is_any(&either) {
        return Err(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.".to_owned()
        );
    }
    match request.temperature {
        Some(temperature) if !(0.0..=1.0).contains(&temperature) => Err("temperature: range: 0..1".to_owned()),
        _ => Ok(()),
    }
}

/// Whether the model thinks, and with a budget, once the rules are held.
fn thinking(request: &Request<'_>, model: &Model) -> Result<bool, String> {
    let Some(thinking) = request.thinking.filter(|thinking| !thinking.is_null()) else { return Ok(false) };
    let kind = thinking["type"].as_str().unwrap_or_default();
    let adaptive = model.sampling_params == Some(false) || model.is_any(&["claude-opus-4-6", "claude-sonnet-4-6"]);
    match kind {
        "disabled" if model.thinking_always_on == Some(true) => {
            return Err("thinking.type: \"disabled\" is not supported for this model.".to_owned());
        }
        "disabled" => return Ok(false),
        "enabled" if model.sampling_params == Some(false) => {
            return Err("\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.".to_owned());
        }
        "adaptive" if !adaptive => return Err("adaptive thinking is not supported on this model".to_owned()),
        "enabled" | "adaptive" if model.reasoning == Some(false) || model.reasoning.is_none() => {
            return Err("thinking: Extra inputs are not permitted".to_owned());
        }
        "enabled" | "adaptive" => {}
        other => {
            return Err(format!(
                "thinking: Input tag '{other}' found using 'type' does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'"
            ));
        }
    }
    let known: &[&str] = if kind == "enabled" { &["budget_tokens", "display"] } else { &["display"] };
    let mut keys = thinking.as_object().into_iter().flat_map(|thinking| thinking.keys());
    if let Some(key) = keys.find(|key| *key != "type" && !known.contains(&key.as_str())) {
        return Err(format!("thinking.{kind}.{key}: Extra inputs are not permitted"));
    }
    if kind == "enabled" {
        let budget = thinking["budget_tokens"].as_u64().ok_or("thinking.enabled.budget_tokens: Field required")?;
        if budget < 1024 {
            return Err("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024".to_owned());
        }
        if request.max_tokens.is_some_and(|limit| limit <= budget) {
            return Err("`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size".to_owned());
        }
    }
    if request.temperature.is_some_and(|temperature| (temperature - 1.0).abs() > f64::EPSILON) {
        return Err("`temperature` may only be set to 1 when thinking is enabled.".to_owned());
    }
    if request.top_k {
        return Err("`top_k` must be unset when thinking is enabled.".to_owned());
    }
    if request.forced_tool {
        return Err("Thinking may not be enabled when tool_choice forces tool use.".to_owned());
    }
    Ok(kind == "enabled")
}

fn prefill(request: &Request<'_>, model: &Model) -> Result<(), String> {
    let Some(last) = request.turns.last().filter(|turn| turn.assistant) else { return Ok(()) };
    if model.assistant_prefill == Some(false) {
        return Err(
            "This model does not support assistant message prefill. The conversation must end with a user message."
                .to_owned(),
        );
    }
    match last.blocks.last() {
        Some(Part::Text(text)) if text.ends_with(char::is_whitespace) => {
            Err("messages: final assistant content cannot end with trailing whitespace".to_owned())
        }
        Some(Part::ToolUse) => {
            Err("messages: `tool_use` ids were found without `tool_result` blocks immediately after.".to_owned())
        }
        _ => Ok(()),
    }
}

fn signatures(request: &Request<'_>, thinks: bool) -> Result<(), String> {
    for (at, turn) in request.turns.iter().enumerate() {
        for (index, block) in turn.blocks.iter().enumerate() {
            if let Part::Thinking { text, signature } = block
                && *signature != content::signature(text)
            {
                return Err(format!("messages.{at}.content.{index}: Invalid `signature` in `thinking` block"));
            }
            if let Part::RedactedThinking(data) = block
                && !content::is_redacted(data)
            {
                return Err(format!("messages.{at}.content.{index}: Invalid `data` in `redacted_thinking` block"));
            }
        }
    }
    let last = request.turns.iter().enumerate().rev().find(|(_, turn)| turn.assistant);
    match last {
        Some((at, turn))
            if thinks
                && turn.blocks.contains(&Part::ToolUse)
                && !matches!(turn.blocks.first(), Some(Part::Thinking { .. } | Part::RedactedThinking(_))) =>
        {
            Err(format!(
                "messages.{at}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final \
                 `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
            ))
        }
        _ => Ok(()),
    }
}

/// The rules of cache points, given their times to live in the order of the prompt.
pub(crate) fn cache_points<'a>(ttls: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let ttls: Vec<&str> = ttls.collect();
    if ttls.len() > 4 {
        return Err(format!("A maximum of 4 blocks with cache_control may be provided. Found {}.", ttls.len()));
    }
    if ttls.windows(2).any(|pair| pair == ["5m", "1h"]) {
        return Err("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are processed in the following order: `tools`, `system`, `messages`.".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::simulator::catalog;

    fn told(id: &str, fields: &Value) -> String {
        let mut body = json!({"max_tokens": 2000, "messages": [{"role": "user", "content": "a"}]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        check(&Request::from_messages(&body), catalog::model(id).unwrap())
            .map_or_else(|message| message, |()| "ok".to_owned())
    }

    const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";
    const OPUS_5: &str = "anthropic.claude-opus-5";

    #[test]
    fn sampling_thinking_and_prefill_follow_the_generation() {
        let prefill = json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]});
        for (model, fields, expected) in [
            (HAIKU, json!({"temperature": 1, "top_p": 0.5}), "cannot both be specified"),
            (HAIKU, json!({"temperature": 1}), "ok"),
            (OPUS_5, json!({"temperature": 1}), "`temperature` is deprecated"),
            (HAIKU, json!({"surprise": 1}), "surprise: Extra inputs are not permitted"),
            (HAIKU, json!({"thinking": {"type": "enabled", "budget_tokens": 100}}), "greater than or equal to 1024"),
            (HAIKU, json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}), "`max_tokens` must be greater"),
            (HAIKU, json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}), "ok"),
            (
                HAIKU,
                json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "tool_choice": {"type": "any"}}),
                "forces tool use",
            ),
            (
                HAIKU,
                json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "temperature": 0.5}),
                "may only be set to 1",
            ),
            (HAIKU, json!({"thinking": {"type": "adaptive"}}), "adaptive thinking is not supported"),
            (
                OPUS_5,
                json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
                "is not supported for this model",
            ),
            (OPUS_5, json!({"thinking": {"type": "adaptive"}}), "ok"),
            (HAIKU, prefill.clone(), "ok"),
            (OPUS_5, prefill, "does not support assistant message prefill"),
        ] {
            let message = told(model, &fields);
            assert!(message.contains(expected), "{model} {fields}: {message}");
        }
    }

    #[test]
    fn thinking_comes_back_as_it_was_signed() {
        let turns = |signature: &str| {
            json!({"messages": [{"role": "user", "content": "a"},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": signature}, {"type": "text", "text": "b"}]},
                {"role": "user", "content": "c"}]})
        };
        assert_eq!(told(HAIKU, &turns(&content::signature("hm"))), "ok");
        assert!(told(HAIKU, &turns("forged")).contains("messages.1.content.0: Invalid `signature`"));
    }

    #[test]
    fn cache_points_are_few_and_the_long_lived_come_first() {
        assert!(cache_points(["5m"; 5].into_iter()).is_err());
        assert!(cache_points(["5m", "1h"].into_iter()).is_err());
        assert!(cache_points(["1h", "5m", "5m"].into_iter()).is_ok());
    }
}
