//! What the way of a call depends on, read from its body without parsing the whole: the most it may answer, which quota
//! it counts against, and how its conversation begins.
//!
//! Only members of the top level are looked at; the values between them are skipped. What is not found is not known, and a
//! body that is no JSON says nothing: AWS refuses it.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use http::HeaderMap;
use memchr::memmem;
use sonic_rs::{JsonValueTrait as _, LazyValue};

use crate::upstream::Call;
use crate::upstream::sticky::Conversation;

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
    let mut wish = Wish { max_tokens: None, is_apart: is_apart_by_header(&call.headers) };
    for (key, value) in members(&call.body) {
        let count = |value: &LazyValue<'_>| value.as_u64();
        let inner = |names: &[&str]| names.iter().find_map(|name| value.get(name).as_ref().and_then(count));
        match &*key {
            "max_tokens" | "max_completion_tokens" | "max_output_tokens" | "max_gen_len" | "maxTokens" => {
                wish.max_tokens = count(&value).or(wish.max_tokens);
            }
            "inferenceConfig" => wish.max_tokens = inner(&["maxTokens", "max_new_tokens"]).or(wish.max_tokens),
            "textGenerationConfig" => wish.max_tokens = inner(&["maxTokenCount"]).or(wish.max_tokens),
            "service_tier" => wish.is_apart |= value.as_str() == Some("reserved"),
            "serviceTier" => wish.is_apart |= value.get("type").as_str() == Some("reserved"),
            "performanceConfig" => wish.is_apart |= value.get("latency").as_str() == Some("optimized"),
            _ => {}
        }
    }
    wish
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>
fn is_apart_by_header(headers: &HeaderMap) -> bool {
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|found| found.as_bytes() == value.as_bytes());
    says("x-amzn-bedrock-service-tier", "reserved") || says("x-amzn-bedrock-performanceconfig-latency", "optimized")
}

/// The conversation that `call` goes on with: `caller` and `model`, the system prompt, the tools, and the first message,
/// which is what prompt caches go by. Turns that come later do not change it.
pub(super) fn conversation(caller: &str, model: &str, call: &Call) -> Conversation {
    let mut hasher = DefaultHasher::new();
    (caller, model).hash(&mut hasher);
    let mut kept = Duration::from_mins(5);
    for (key, value) in members(&call.body) {
        let mut tell = |part: &LazyValue<'_>| {
            let bytes = part.as_raw_str().as_bytes();
            (&*key, bytes.len(), &bytes[..bytes.len().min(TELLING)]).hash(&mut hasher);
            if memmem::find(bytes, br#""1h""#).is_some() {
                kept = Duration::from_hours(1);
            }
        };
        match &*key {
            "messages" | "input" if value.is_array() => {
                for message in value.into_array_iter().into_iter().flatten().map_while(Result::ok) {
                    tell(&message);
                    // OpenAI's instructions are messages, too.
                    if !matches!(message.get("role").as_str(), Some("system" | "developer")) {
                        break;
                    }
                }
            }
            "system" | "instructions" | "tools" | "toolConfig" | "messages" | "input" => tell(&value),
            _ => {}
        }
    }
    Conversation { hash: hasher.finish(), kept }
}

/// The members of an object, as far as it can be read.
fn members(body: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, LazyValue<'_>)> {
    sonic_rs::to_object_iter(body).map_while(Result::ok)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
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
            (json!({"inferenceConfig": 7}), None),
            (json!([{"max_tokens": 7}]), None),
        ] {
            assert_eq!(wish(&call(&body)), Wish { max_tokens: most, is_apart: false }, "{body}");
        }
        for broken in ["", "{", "{\"max_tokens\"", "{\"max_tokens\":", "{\"a\":1 \"max_tokens\":7}", "\u{0}"] {
            assert_eq!(wish(&call(broken)), Wish::default(), "{broken}");
        }
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
