//! A whole answer, and the words that whole answers and streams share.

use serde_json::Value;

use super::{Context, reasoning};
use crate::api::conversation::custom_text;
use crate::api::openai::responses::wire::{
    Failure, Incomplete, InputDetails, OutputDetails, OutputItem, OutputText, Response, Status, SummaryText, Usage,
};
use crate::converse::{self, ContentBlock, Message, ReasoningContent, StopReason, ToolUse};

/// Puts an answer into the caller's dialect. It is not said yet when it was completed.
pub fn response(mut answer: converse::Response, context: Context) -> Response {
    context.form.response(&mut answer);
    let output = output(answer.output.message, &context);
    let mut response = Response { output, ..context.response };
    if let Some(tier) = answer.service_tier.as_ref().and_then(service_tier) {
        response.service_tier = tier;
    }
    response.usage = Some(usage(&answer.usage));
    end(&mut response, answer.stop_reason);
    response
}

/// The items of an answer: texts next to each other are one message, everything else is an item of its own.
fn output(message: Message, context: &Context) -> Vec<OutputItem> {
    let mut items = Vec::new();
    for block in message.content {
        match block {
            ContentBlock::Text(text) => {
                if let Some(OutputItem::Message { content, .. }) = items.last_mut() {
                    content.push(OutputText::new(text));
                } else {
                    let id = context.item_id("msg_", items.len());
                    items.push(OutputItem::Message {
                        id,
                        status: Status::Completed,
                        role: "assistant",
                        content: vec![OutputText::new(text)],
                    });
                }
            }
            ContentBlock::ReasoningContent(thought) => {
                items.push(thinking(&thought, context.item_id("rs_", items.len()), &context.provider));
            }
            // A tool that Bedrock runs itself is none of the caller's business.
            ContentBlock::ToolUse(tool) if tool.kind.is_none() => items.push(call(tool, items.len(), context)),
            _ => {}
        }
    }
    items
}

/// The item of a thought of a model by `provider`.
pub(super) fn thinking(thought: &ReasoningContent, id: String, provider: &str) -> OutputItem {
    let summary = match thought {
        ReasoningContent::ReasoningText(readable) if !readable.text.is_empty() => {
            vec![SummaryText::new(&*readable.text)]
        }
        _ => Vec::new(),
    };
    OutputItem::Reasoning { id, summary, encrypted_content: Some(reasoning::seal(thought, provider)) }
}

fn call(tool: ToolUse, position: usize, context: &Context) -> OutputItem {
    let name = context.tools.original(&tool.name).to_owned();
    let is_custom = context.tools.is_custom(&name);
    let (namespace, name) = context.namespaces.apart(name);
    let (call_id, status) = (tool.tool_use_id, Status::Completed);
    if is_custom {
        let id = context.item_id("ctc_", position);
        return OutputItem::CustomToolCall { id, call_id, name, namespace, input: custom_text(tool.input), status };
    }
    let arguments = match tool.input {
        Value::Null => "{}".to_owned(),
        input => input.to_string(),
    };
    OutputItem::FunctionCall { id: context.item_id("fc_", position), call_id, name, namespace, arguments, status }
}

/// Says how `response` ended, the model having stopped for `reason`.
pub(super) fn end(response: &mut Response, reason: StopReason) {
    let incomplete = match reason {
        StopReason::MaxTokens | StopReason::ModelContextWindowExceeded => Some("max_output_tokens"),
        StopReason::GuardrailIntervened | StopReason::ContentFiltered => Some("content_filter"),
        _ => None,
    };
    response.status = match reason {
        _ if incomplete.is_some() => Status::Incomplete,
        StopReason::MalformedModelOutput | StopReason::MalformedToolUse => Status::Failed,
        _ => Status::Completed,
    };
    response.incomplete_details = incomplete.map(|reason| Incomplete { reason });
    if response.status == Status::Failed {
        let message = "The model's answer did not hold to the form that was asked for.".to_owned();
        response.error = Some(Failure { code: "server_error", message });
    }
    if response.status != Status::Completed
        && let Some(last) = response.output.last_mut()
    {
        last.set_status(Status::Incomplete);
    }
}

/// Tokens by OpenAI's classes: the cached ones are part of the input.
pub(super) fn usage(tokens: &converse::Usage) -> Usage {
    let input_tokens = tokens.prompt_tokens();
    Usage {
        input_tokens,
        input_tokens_details: InputDetails {
            cached_tokens: tokens.cache_read_input_tokens,
            cache_write_tokens: tokens.cache_write_input_tokens,
        },
        output_tokens: tokens.output_tokens,
        output_tokens_details: OutputDetails { reasoning_tokens: 0 },
        total_tokens: input_tokens + tokens.output_tokens,
    }
}

/// OpenAI's name for the tier that served.
pub(super) fn service_tier(served: &Value) -> Option<String> {
    match served["type"].as_str()? {
        "reserved" => Some("scale".to_owned()),
        tier => Some(tier.to_owned()),
    }
}
