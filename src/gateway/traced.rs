//! What the span of a call says of it, read from its body and from its answer without parsing the whole. Only calls that
//! are traced come here. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::catalog::{Catalog, Kind};
use crate::scan::{elements, members};
use crate::telemetry::traces::Wishes;
use crate::upstream::{Call, Operation};

/// The operation by the conventions for generative AI, or by our own name where they have none.
/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/>
pub(super) fn operation(ours: &'static str, model: &str, catalog: &Catalog) -> &'static str {
    match ours {
        "count_tokens" | "input_tokens" => "count_tokens",
        "apply_guardrail" | "async_invoke" => ours,
        _ => match catalog.model(model).map_or(Kind::Chat, |model| model.kind) {
            Kind::Embedding => "embeddings",
            Kind::Image | Kind::ImageEdit | Kind::Video => "generate_content",
            Kind::Rerank => "rerank",
            Kind::Chat | Kind::Realtime | Kind::Other => "chat",
        },
    }
}

/// How `call` wants to be answered, in the fields of any dialect.
pub(super) fn wishes(call: &Call) -> Wishes {
    let mut wishes = Wishes { max_tokens: super::outline::wish(call).max_tokens, ..Wishes::default() };
    wishes.stream = matches!(call.operation, Operation::ConverseStream | Operation::InvokeModelWithResponseStream);
    for (key, value) in members(&call.body) {
        match key {
            b"inferenceConfig" | b"textGenerationConfig" => {
                members(value).for_each(|(key, value)| sampling(&mut wishes, key, value));
            }
            b"stream" => wishes.stream |= value == b"true",
            _ => sampling(&mut wishes, key, value),
        }
    }
    wishes
}

fn sampling(wishes: &mut Wishes, key: &[u8], value: &[u8]) {
    let number = || std::str::from_utf8(value).ok()?.parse::<f64>().ok();
    match key {
        b"temperature" => wishes.temperature = number(),
        b"top_p" | b"topP" => wishes.top_p = number(),
        _ => {}
    }
}

/// Why the model stopped, by the whole answer.
pub(super) fn finish_reasons(operation: Operation, body: &[u8]) -> Vec<String> {
    let mut reasons = Vec::new();
    if operation == Operation::Responses {
        status(body, &mut reasons);
    } else {
        collect(body, &mut reasons);
    }
    reasons
}

/// Why the model stopped, if this frame of a stream says so.
pub(super) fn finish_reasons_in(kind: &str, payload: &[u8]) -> Vec<String> {
    let mut reasons = Vec::new();
    match kind {
        "chunk" => {
            let wrapped = members(payload).find(|(key, _)| *key == b"bytes").map(|(_, value)| value);
            let wrapped = wrapped.and_then(|text| text.strip_prefix(b"\"")?.strip_suffix(b"\""));
            if let Some(inner) = wrapped.and_then(|text| STANDARD.decode(text).ok()) {
                collect(&inner, &mut reasons);
            }
        }
        "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
            let response = members(payload).find(|(key, _)| *key == b"response");
            response.into_iter().for_each(|(_, response)| status(response, &mut reasons));
        }
        "messageStop" | "message_delta" | "data" => collect(payload, &mut reasons),
        _ => {}
    }
    reasons
}

/// Where a dialect says it.
fn collect(object: &[u8], reasons: &mut Vec<String>) {
    for (key, value) in members(object) {
        match key {
            b"stopReason" | b"stop_reason" | b"finish_reason" | b"completionReason" => push(value, reasons),
            b"delta" | b"messageStop" => collect(value, reasons),
            b"choices" | b"results" => elements(value).for_each(|choice| collect(choice, reasons)),
            _ => {}
        }
    }
}

/// Where a response of OpenAI's says it.
fn status(response: &[u8], reasons: &mut Vec<String>) {
    for (_, value) in members(response).filter(|(key, _)| *key == b"status") {
        push(value, reasons);
    }
}

/// Takes a word, and nothing that could be more than that.
fn push(value: &[u8], reasons: &mut Vec<String>) {
    let word = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or_default();
    let is_word = (1..=40).contains(&word.len()) && word.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    if is_word && let Ok(word) = std::str::from_utf8(word) {
        reasons.push(word.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    #[test]
    fn wishes_are_found_in_every_dialect() {
        let of = |operation, body: &str| {
            wishes(&Call { operation, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) })
        };
        let all = Wishes { stream: true, max_tokens: Some(7), temperature: Some(0.5), top_p: Some(1.0) };
        let converse = r#"{"messages":[{"temperature":9}],"inferenceConfig":{"maxTokens":7,"temperature":0.5,"topP":1}}"#;
        assert_eq!(of(Operation::ConverseStream, converse), all);
        assert_eq!(of(Operation::ChatCompletions, r#"{"stream":true,"max_tokens":7,"temperature":0.5,"top_p":1.0}"#), all);
        assert_eq!(of(Operation::InvokeModel, r#"{"temperature":"hot","stream":"no"}"#), Wishes::default());
    }

    #[test]
    fn reasons_are_found_in_every_dialect_and_are_words() {
        let whole = |operation, body: &str| finish_reasons(operation, body.as_bytes());
        assert_eq!(whole(Operation::Converse, r#"{"output":{"stopReason":"no"},"stopReason":"end_turn"}"#), ["end_turn"]);
        assert_eq!(whole(Operation::InvokeModel, r#"{"stop_reason":"max_tokens"}"#), ["max_tokens"]);
        assert_eq!(whole(Operation::InvokeModel, r#"{"results":[{"completionReason":"FINISH"}]}"#), ["FINISH"]);
        let choices = r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":"length"}]}"#;
        assert_eq!(whole(Operation::ChatCompletions, choices), ["stop", "length"]);
        assert_eq!(whole(Operation::Responses, r#"{"status":"incomplete","output":[]}"#), ["incomplete"]);
        assert_eq!(whole(Operation::InvokeModel, r#"{"stop_reason":"two words","finish_reason":null}"#), Vec::<String>::new());

        let frame = |kind, payload: &str| finish_reasons_in(kind, payload.as_bytes());
        assert_eq!(frame("messageStop", r#"{"stopReason":"tool_use","p":"abc"}"#), ["tool_use"]);
        assert_eq!(frame("message_delta", r#"{"delta":{"stop_reason":"end_turn"}}"#), ["end_turn"]);
        assert_eq!(frame("data", r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#), Vec::<String>::new());
        assert_eq!(frame("response.completed", r#"{"response":{"status":"completed"}}"#), ["completed"]);
        let chunk = STANDARD.encode(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#);
        assert_eq!(frame("chunk", &format!(r#"{{"bytes":"{chunk}","p":"ab"}}"#)), ["end_turn"]);
        assert_eq!(frame("contentBlockDelta", r#"{"delta":{"stopReason":"x"}}"#), Vec::<String>::new());
    }
}
