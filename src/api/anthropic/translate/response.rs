//! A whole answer, and the words that whole answers and streams share.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Context;
use super::citations::cited;
use crate::api::anthropic::wire::{CacheCreation, Message, OutBlock, StopDetails, Usage};
use crate::converse::{ContentBlock, ReasoningContent, Response, StopReason, Usage as Tokens};

/// Puts an answer into the caller's dialect.
pub fn response(mut answer: Response, context: &Context) -> Message {
    context.form.response(&mut answer);
    let blocks = answer.output.message.content.into_iter().filter_map(|block| out(block, context)).collect();
    let (stop_reason, stop_sequence) =
        stop(answer.stop_reason, answer.additional_model_response_fields.as_ref(), context);
    Message {
        id: context.id.clone(),
        kind: "message",
        role: "assistant",
        model: context.model.clone(),
        content: blocks,
        stop_reason: Some(stop_reason),
        stop_sequence,
        stop_details: stop_details(stop_reason),
        usage: usage(&answer.usage, answer.service_tier.as_ref()),
    }
}

fn out(block: ContentBlock, context: &Context) -> Option<OutBlock> {
    match block {
        ContentBlock::Text(text) => Some(OutBlock::Text { text, citations: None }),
        ContentBlock::ReasoningContent(ReasoningContent::ReasoningText(thought)) => {
            Some(OutBlock::Thinking { thinking: thought.text, signature: thought.signature.unwrap_or_default() })
        }
        ContentBlock::ReasoningContent(ReasoningContent::RedactedContent(data)) => {
            Some(OutBlock::RedactedThinking { data: redacted(data) })
        }
        // A tool that Bedrock runs itself is none of the caller's business.
        ContentBlock::ToolUse(tool) if tool.kind.is_none() => Some(OutBlock::ToolUse {
            name: context.tool_names.original(&tool.name).to_owned(),
            id: tool.tool_use_id,
            input: match tool.input {
                Value::Null => json!({}),
                input => input,
            },
        }),
        ContentBlock::Other(block) => cited(&block),
        _ => None,
    }
}

/// Secret reasoning is text with Anthropic, and that text in base64 with Bedrock.
pub(super) fn redacted(data: String) -> String {
    let decoded = STANDARD.decode(&data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.unwrap_or(data)
}

/// Anthropic's word for why the model stopped, and at which text.
pub(super) fn stop(
    reason: StopReason,
    additional: Option<&Value>,
    context: &Context,
) -> (&'static str, Option<String>) {
    let word = match reason {
        StopReason::ToolUse => "tool_use",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence => "stop_sequence",
        StopReason::GuardrailIntervened | StopReason::ContentFiltered => "refusal",
        StopReason::ModelContextWindowExceeded => "model_context_window_exceeded",
        StopReason::EndTurn | StopReason::MalformedModelOutput | StopReason::MalformedToolUse | StopReason::Unknown => {
            "end_turn"
        }
    };
    let told = additional.and_then(|fields| fields["stop_sequence"].as_str());
    // Where there is but one, it was that one.
    let only = context.stop_sequences.first().filter(|_| context.stop_sequences.len() == 1);
    let sequence = told.or(only.map(String::as_str)).filter(|_| reason == StopReason::StopSequence);
    (word, sequence.map(str::to_owned))
}

/// More about a refusal, as far as Bedrock tells.
pub(super) fn stop_details(stop_reason: &str) -> Option<StopDetails> {
    (stop_reason == "refusal").then_some(StopDetails { kind: "refusal", category: None, explanation: None })
}

/// What was used; both count the cached part of the prompt apart.
pub(super) fn usage(tokens: &Tokens, tier: Option<&Value>) -> Usage {
    let written = tokens.cache_write_input_tokens;
    let hour = tokens.cache_details.iter().filter(|detail| detail.ttl == "1h").map(|detail| detail.input_tokens).sum();
    let tier = tier.and_then(|tier| tier["type"].as_str());
    Usage {
        input_tokens: tokens.input_tokens,
        cache_creation_input_tokens: written,
        cache_read_input_tokens: tokens.cache_read_input_tokens,
        cache_creation: CacheCreation {
            ephemeral_5m_input_tokens: written.saturating_sub(hour),
            ephemeral_1h_input_tokens: hour,
        },
        output_tokens: tokens.output_tokens,
        service_tier: tier.map(|tier| if tier == "default" { "standard" } else { tier }.to_owned()),
    }
}
