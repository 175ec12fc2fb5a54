//! From an answer to Converse's JSON and events. Text and reasoning blocks of a stream come without `contentBlockStart`, tool
//! blocks with it; usage is in `metadata`, after `messageStop`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::simulator::content::{self, Answer, Block};
use crate::simulator::prompt_cache::Input;

/// How a family's blocks look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Reasoning carries a signature.
    pub(crate) signed: bool,
}

/// An event before it is padded and framed.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) kind: &'static str,
    pub(crate) payload: Value,
    /// Output tokens up to and with this event.
    pub(crate) output_tokens: u64,
}

/// The assistant's message.
pub(crate) fn message(answer: &Answer, style: Style) -> Value {
    let blocks = answer.blocks.iter().map(|block| match block {
        Block::Text(text) => json!({"text": text}),
        Block::Reasoning { text, signature } if style.signed => {
            json!({"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}})
        }
        Block::Reasoning { text, .. } => json!({"reasoningContent": {"reasoningText": {"text": text}}}),
        Block::Redacted { data } => json!({"reasoningContent": {"redactedContent": BASE64_STANDARD.encode(data)}}),
        Block::Tool { id, name, input } => json!({"toolUse": {"toolUseId": id, "name": name, "input": input}}),
    });
    json!({"role": "assistant", "content": blocks.collect::<Vec<_>>()})
}

/// `usage`: cache members always, details by time to live when something was written.
pub(crate) fn usage(input: &Input, output_tokens: u64) -> Value {
    let mut usage = json!({
        "inputTokens": input.fresh,
        "outputTokens": output_tokens,
        "totalTokens": input.total() + output_tokens,
        "cacheReadInputTokens": input.read,
        "cacheWriteInputTokens": input.written,
    });
    if !input.written_by_ttl.is_empty() {
        let details = input.written_by_ttl.iter().map(|(ttl, tokens)| json!({"ttl": ttl, "inputTokens": tokens}));
        usage["cacheDetails"] = details.collect();
    }
    usage
}

/// The members of Claude's native answer that a caller may ask for.
pub(crate) fn stop_fields(answer: &Answer) -> Value {
    json!({"stop_sequence": answer.stop_sequence})
}

/// All events of the answer, in AWS's order.
pub(crate) fn events(answer: &Answer, style: Style, response_fields: Option<Value>, metadata: Value) -> Vec<Event> {
    let mut events = vec![Event { kind: "messageStart", payload: json!({"role": "assistant"}), output_tokens: 0 }];
    let mut spoken = 0;
    for (index, block) in answer.blocks.iter().enumerate() {
        let mut push = |kind, payload: Value, output_tokens| events.push(Event { kind, payload, output_tokens });
        let delta = |delta: Value| json!({"contentBlockIndex": index, "delta": delta});
        match block {
            Block::Text(text) => {
                for (text, tokens) in content::text_deltas(text) {
                    spoken += tokens;
                    push("contentBlockDelta", delta(json!({"text": text})), spoken);
                }
            }
            Block::Reasoning { text, signature } => {
                for (text, tokens) in content::text_deltas(text) {
                    spoken += tokens;
                    push("contentBlockDelta", delta(json!({"reasoningContent": {"text": text}})), spoken);
                }
                if style.signed {
                    push("contentBlockDelta", delta(json!({"reasoningContent": {"signature": signature}})), spoken);
                }
            }
            Block::Redacted { data } => {
                spoken += content::block_tokens(block);
                let blob = BASE64_STANDARD.encode(data);
                push("contentBlockDelta", delta(json!({"reasoningContent": {"redactedContent": blob}})), spoken);
            }
            Block::Tool { id, name, input } => {
                let start = json!({"toolUse": {"toolUseId": id, "name": name}});
                push("contentBlockStart", json!({"contentBlockIndex": index, "start": start}), spoken);
                for piece in content::json_deltas(input) {
                    push("contentBlockDelta", delta(json!({"toolUse": {"input": piece}})), spoken);
                }
                spoken += content::block_tokens(block);
            }
        }
        push("contentBlockStop", json!({"contentBlockIndex": index}), spoken);
    }
    let mut stop = json!({"stopReason": answer.stop_reason});
    if let Some(fields) = response_fields {
        stop["additionalModelResponseFields"] = fields;
    }
    let output_tokens = answer.output_tokens;
    events.push(Event { kind: "messageStop", payload: stop, output_tokens });
    events.push(Event { kind: "metadata", payload: metadata, output_tokens });
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::content::{Choice, Prompt, Tool, answer};

    #[test]
    fn events_come_in_order_and_join_to_the_message() {
        let tools = vec![Tool {
            name: "t".to_owned(),
            schema: json!({"type": "object", "properties": {"q": {"type": "string"}}}),
        }];
        let prompt =
            Prompt { question: "call t".to_owned(), tools, thinks: true, choice: Choice::Auto, ..Prompt::default() };
        let answer = answer(&prompt);
        let events = events(&answer, Style { signed: true }, None, json!({}));
        let kinds: Vec<&str> = events.iter().map(|event| event.kind).collect();
        assert_eq!(
            (kinds[0], kinds[kinds.len() - 2], kinds[kinds.len() - 1]),
            ("messageStart", "messageStop", "metadata")
        );
        assert_eq!(kinds.iter().filter(|kind| **kind == "contentBlockStart").count(), 1);
        let input: String =
            events.iter().filter_map(|event| event.payload["delta"]["toolUse"]["input"].as_str()).collect();
        assert_eq!(serde_json::from_str::<Value>(&input).unwrap(), json!({"q": "call t"}));
        assert_eq!(message(&answer, Style { signed: true })["content"].as_array().unwrap().len(), 3);
        assert!(events.windows(2).all(|pair| pair[0].output_tokens <= pair[1].output_tokens));
    }
}
