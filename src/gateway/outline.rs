//! What the way of a call depends on, read from its body without parsing the whole: the most it may answer, which quota
//! it counts against, and how its conversation begins.
//!
//! Only members of the top level are looked at; the values between them are skipped. What is not found is not known, and a
//! body that is no JSON says nothing: AWS refuses it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use memchr::memmem;

use super::service::Service;
use crate::families::MAX_TOKENS;
use crate::scan::{elements, members};
use crate::upstream::sticky::Conversation;
use crate::upstream::{Call, Operation};

/// Of each part of a conversation's beginning, this much tells it from others.
const TELLING: usize = 64 * 1024;

/// What a call says of how much it may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// The most tokens of the answer, if it says.
    pub(super) max_tokens: Option<u64>,
    /// Whether it counts against another quota than that of the model: reserved capacity, or optimized latency.
    pub(super) is_apart: bool,
}

/// What `call` says of how much it may use, in the fields of any dialect.
pub(super) fn wish(call: &Call) -> Wish {
    let mut wish = Wish { max_tokens: None, is_apart: Service::in_headers(&call.headers).is_apart() };
    for (key, value) in members(&call.body) {
        let inner = |names: &[&[u8]]| members(value).find(|(key, _)| names.contains(key)).map(|(_, value)| value);
        match key {
            b"inferenceConfig" | b"textGenerationConfig" | b"additionalModelRequestFields" => {
                for (_, value) in members(value).filter(|(key, _)| MAX_TOKENS.contains(key)) {
                    wish.max_tokens = wish.max_tokens.max(count(value));
                }
            }
            key if MAX_TOKENS.contains(&key) => wish.max_tokens = wish.max_tokens.max(count(value)),
            b"service_tier" => wish.is_apart |= value == b"\"reserved\"",
            b"serviceTier" => wish.is_apart |= inner(&[b"type"]) == Some(b"\"reserved\""),
            b"performanceConfig" => wish.is_apart |= inner(&[b"latency"]) == Some(b"\"optimized\""),
            _ => {}
        }
    }
    wish
}

/// What a call on a model says of the most tokens of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Longest {
    /// So many.
    Said(u64),
    /// Nothing.
    Unsaid,
    /// Something that is not what the operation goes by, or that cannot be read: so many, if that is more than the model's
    /// own maximum.
    Unclear(u64),
}

/// The most tokens of the answer by what the operation and the `model` go by, and by nothing else: a name that belongs to
/// another dialect caps nothing. Names are expected to be written plainly.
pub(super) fn longest(call: &Call, model: &str) -> Longest {
    let invoked: (&[u8], &[&[u8]]) = match model {
        nova if nova.contains("amazon.nova") => (b"inferenceConfig", &[b"max_new_tokens", b"maxTokens"]),
        titan if titan.contains("amazon.titan") => (b"textGenerationConfig", &[b"maxTokenCount"]),
        llama if llama.contains("meta.") => (b"", &[b"max_gen_len"]),
        gpt if gpt.contains("openai.") => (b"", &[b"max_tokens", b"max_completion_tokens"]),
        _ => (b"", &[b"max_tokens"]),
    };
    let (within, names): (&[u8], &[&[u8]]) = match call.operation {
        Operation::Converse | Operation::ConverseStream => (b"inferenceConfig", &[b"maxTokens"]),
        Operation::ChatCompletions => (b"", &[b"max_tokens", b"max_completion_tokens"]),
        Operation::Responses => (b"", &[b"max_output_tokens"]),
        Operation::Messages => (b"", &[b"max_tokens"]),
        Operation::InvokeModel | Operation::InvokeModelWithResponseStream | Operation::CountTokens => invoked,
    };
    let (mut said, mut unclear, mut times) = (None, None, 0);
    let mut note = |name: &[u8], value: &[u8], is_own: bool| match count(value) {
        _ if value == b"null" => {}
        Some(tokens) if is_own && names.contains(&name) => said = said.max(Some(tokens)),
        tokens if MAX_TOKENS.contains(&name) => unclear = unclear.max(Some(tokens.unwrap_or_default())),
        _ => {}
    };
    for (name, value) in members(&call.body) {
        match name {
            b"additionalModelRequestFields" => {
                members(value).for_each(|(name, value)| note(name, value, false));
                // Some models take their own form in there.
                if memmem::find(value, b"inferenceConfig").is_some() || memmem::find(value, b"textGeneration").is_some()
                {
                    note(b"max_tokens", b"", false);
                }
            }
            name if !within.is_empty() && name == within => {
                times += 1;
                members(value).for_each(|(name, value)| note(name, value, true));
            }
            name => note(name, value, within.is_empty()),
        }
    }
    match (said, unclear) {
        // Of one that is given twice the last counts, which may say nothing.
        (said, _) if times > 1 => Longest::Unclear(said.unwrap_or_default()),
        (Some(said), None) => Longest::Said(said),
        (None, None) => Longest::Unsaid,
        (said, Some(unclear)) => Longest::Unclear(unclear.max(said.unwrap_or_default())),
    }
}

/// Whether `call` says what is to be kept in the prompt cache.
pub(super) fn marks_cache(call: &Call) -> bool {
    [&b"cachePoint"[..], b"cache_control"].iter().any(|mark| memmem::find(&call.body, mark).is_some())
}

/// The conversation that `call` goes on with: `caller` and `model`, the system prompt, the tools, and the first message,
/// which is what prompt caches go by. Turns that come later do not change it.
pub(super) fn conversation(caller: &str, model: &str, call: &Call) -> Conversation {
    let mut hasher = DefaultHasher::new();
    (caller, model).hash(&mut hasher);
    let mut kept = Duration::from_mins(5);
    for (key, value) in members(&call.body) {
        let mut tell = |part: &[u8]| {
            (key, part.len(), &part[..part.len().min(TELLING)]).hash(&mut hasher);
            if memmem::find(part, br#""1h""#).is_some() {
                kept = Duration::from_hours(1);
            }
        };
        match key {
            b"messages" | b"input" if value.starts_with(b"[") => {
                for message in elements(value) {
                    tell(message);
                    // OpenAI's instructions are messages, too.
                    let role = members(message).find(|(key, _)| *key == b"role").map(|(_, role)| role);
                    if !matches!(role, Some(b"\"system\"" | b"\"developer\"")) {
                        break;
                    }
                }
            }
            b"system" | b"instructions" | b"tools" | b"toolConfig" | b"messages" | b"input" => tell(value),
            _ => {}
        }
    }
    Conversation { hash: hasher.finish(), kept }
}

fn count(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use serde_json::{Value, json};

    use super::*;
    use crate::upstream::Operation;

    fn call(body: &(impl ToString + ?Sized)) -> Call {
        Call {
            operation: Operation::InvokeModel,
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_string().into_bytes()),
        }
    }

    #[test]
    fn the_most_that_may_be_answered_is_found_in_every_dialect() {
        for (body, most) in [
            (json!({"messages": [{"max_tokens": 1}], "max_tokens": 7}), Some(7)),
            (json!({"max_completion_tokens": 7}), Some(7)),
            (json!({"max_output_tokens": 7, "input": "x"}), Some(7)),
            (json!({"inferenceConfig": {"maxTokens": 7}, "messages": []}), Some(7)),
            (json!({"inferenceConfig": {"max_new_tokens": 7}}), Some(7)),
            (json!({"textGenerationConfig": {"maxTokenCount": 7}}), Some(7)),
            (json!({"max_gen_len": 7}), Some(7)),
            (json!({"max_tokens": "7"}), None),
            (json!({"max_tokens": -7}), None),
            (json!({"max_tokens": null, "max_completion_tokens": 7}), Some(7)),
            (json!({"max_tokens": 7, "max_completion_tokens": 5}), Some(7)),
            (json!({"inferenceConfig": {"maxTokens": 5}, "additionalModelRequestFields": {"max_tokens": 7}}), Some(7)),
            (json!({"inferenceConfig": 7}), None),
            (json!([{"max_tokens": 7}]), None),
        ] {
            assert_eq!(wish(&call(&body)), Wish { max_tokens: most, is_apart: false }, "{body}");
        }
        let deep = format!("{{\"a\":{0}{1},\"max_tokens\":7}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(wish(&call(&deep)).max_tokens, Some(7));
        let escaped = json!({"a": "\"max_tokens\":8,\\", "b\"": ["}", "\\\""], "max_tokens": 7});
        assert_eq!(wish(&call(&escaped)).max_tokens, Some(7), "{escaped}");
        for broken in [
            "",
            "{",
            "{\"max_tokens\"",
            "{\"max_tokens\":",
            "{\"a\":1 \"max_tokens\":7}",
            "\u{0}",
            "{}}",
            "{]",
            "{\"a\":}",
        ] {
            assert_eq!(wish(&call(broken)), Wish::default(), "{broken}");
        }
    }

    #[test]
    fn only_what_the_operation_goes_by_caps_an_answer() {
        let of = |operation: Operation, model: &str, body: &str| longest(&Call { operation, ..call(body) }, model);
        let converse = |body: &str| of(Operation::Converse, "anthropic.claude", body);
        let invoke = |model: &str, body: &str| of(Operation::InvokeModel, model, body);
        assert_eq!(converse(r#"{"inferenceConfig":{"maxTokens":7}}"#), Longest::Said(7));
        assert_eq!(converse(r#"{"inferenceConfig":{"topP":1}}"#), Longest::Unsaid);
        for (body, least) in [
            (r#"{"max_tokens":1}"#, 1),
            (r#"{"inferenceConfig":{"max_tokens":1}}"#, 1),
            (r#"{"inferenceConfig":{"maxTokens":7e3}}"#, 0),
            (r#"{"inferenceConfig":{"maxTokens":7},"inferenceConfig":{}}"#, 7),
            (r#"{"inferenceConfig":{"maxTokens":7},"additionalModelRequestFields":{"max_tokens":9}}"#, 9),
            (r#"{"inferenceConfig":{"maxTokens":7},"additionalModelRequestFields":{"max_tokens":6e4}}"#, 7),
            (r#"{"additionalModelRequestFields":{"inferenceConfig":{"maxTokens":60000}}}"#, 0),
        ] {
            assert_eq!(converse(body), Longest::Unclear(least), "{body}");
        }
        assert_eq!(invoke("anthropic.claude", r#"{"max_tokens":7}"#), Longest::Said(7));
        assert_eq!(invoke("anthropic.claude", r#"{"max_tokens":7,"max_tokens":9}"#), Longest::Said(9));
        assert_eq!(invoke("amazon.nova-lite", r#"{"max_tokens":1}"#), Longest::Unclear(1));
        assert_eq!(invoke("amazon.nova-lite", r#"{"inferenceConfig":{"max_new_tokens":7}}"#), Longest::Said(7));
        assert_eq!(invoke("meta.llama3", r#"{"max_gen_len":7}"#), Longest::Said(7));
        assert_eq!(of(Operation::ChatCompletions, "openai.gpt", r#"{"max_tokens":null}"#), Longest::Unsaid);
        assert_eq!(of(Operation::Responses, "openai.gpt", r#"{"max_output_tokens":7}"#), Longest::Said(7));
    }

    #[test]
    fn reserved_capacity_and_optimized_latency_count_apart() {
        for (body, is_apart) in [
            (json!({"service_tier": "reserved"}), true),
            (json!({"serviceTier": {"type": "reserved"}}), true),
            (json!({"performanceConfig": {"latency": "optimized"}}), true),
            (json!({"service_tier": "priority", "performanceConfig": {"latency": "standard"}}), false),
            (json!({"service_tier": ["reserved"], "serviceTier": "reserved", "performanceConfig": []}), false),
        ] {
            assert_eq!(wish(&call(&body)).is_apart, is_apart, "{body}");
        }
        for (name, value, is_apart) in [
            ("x-amzn-bedrock-service-tier", "reserved", true),
            ("x-amzn-bedrock-service-tier", "flex", false),
            ("x-amzn-bedrock-performanceconfig-latency", "optimized", true),
        ] {
            let mut call = call("{}");
            call.headers.insert(name, value.parse().unwrap());
            assert_eq!(wish(&call).is_apart, is_apart, "{name}: {value}");
        }
    }

    #[test]
    fn a_conversation_is_told_by_its_beginning() {
        let of = |team: &str, body: &Value| conversation(team, "model", &call(body));
        let turn = |role: &str, text: &str| json!({"role": role, "content": text});
        let body = |turns: &[Value]| json!({"max_tokens": turns.len(), "system": "s", "messages": turns});
        let first = of("a", &body(&[turn("user", "x")]));
        assert_eq!(first.kept, Duration::from_mins(5));
        assert_eq!(of("a", &body(&[turn("user", "x"), turn("assistant", "y"), turn("user", "z")])), first);
        for other in [
            of("b", &body(&[turn("user", "x")])),
            of("a", &body(&[turn("user", "y")])),
            of("a", &json!({"system": "t", "messages": [turn("user", "x")]})),
            of("a", &json!({"system": "s", "tools": [], "messages": [turn("user", "x")]})),
        ] {
            assert_ne!(other.hash, first.hash);
        }
        // With OpenAI the system prompt is a message.
        let chat = |user: &str| of("a", &json!({"messages": [turn("system", "s"), turn("user", user)]}));
        assert_ne!(chat("x").hash, chat("y").hash);
        let hour = json!({"type": "ephemeral", "ttl": "1h"});
        let body = json!({"system": [{"type": "text", "text": "s", "cache_control": hour}], "messages": []});
        assert_eq!(of("a", &body).kept, Duration::from_hours(1));
        assert_ne!(of("a", &json!({"input": "x"})).hash, of("a", &json!({"input": "y"})).hash);
    }
}
