//! A whole answer, and the words that whole answers and streams share.

use serde_json::Value;

use super::{Calling, Context};
use crate::api::conversation::custom_text;
use crate::api::openai::wire::{
    Answer, AnswerCustom, AnswerFunction, AnswerThinking, AnswerToolCall, ChatCompletion, Choice, CompletionDetails,
    PromptDetails, Usage,
};
use crate::converse::{ContentBlock, ReasoningContent, Response, StopReason, ToolUse, Usage as Tokens};

/// Puts the answers to one request into the caller's dialect, a choice each; there is at least one.
pub fn response(answers: Vec<Response>, context: &Context) -> ChatCompletion {
    let mut completion = ChatCompletion {
        id: context.id.clone(),
        object: "chat.completion",
        created: context.created,
        model: context.model.clone(),
        choices: Vec::with_capacity(answers.len()),
        usage: Usage::default(),
        service_tier: None,
    };
    for (index, mut answer) in (0..).zip(answers) {
        context.form.response(&mut answer);
        completion.service_tier = answer.service_tier.as_ref().and_then(service_tier).or(completion.service_tier);
        let reasoned = reasons(&answer);
        let used = usage(&answer.usage, reasoned);
        if index == 0 {
            completion.usage = used;
        } else {
            completion.usage.add(&used);
        }
        completion.choices.push(choice(index, answer, context));
    }
    completion
}

fn reasons(answer: &Response) -> bool {
    answer.output.message.content.iter().any(|block| matches!(block, ContentBlock::ReasoningContent(_)))
}

fn choice(index: u32, response: Response, context: &Context) -> Choice {
    let mut text = String::new();
    let mut reasoning = String::new();
    let (mut tool_calls, mut function_call) = (Vec::new(), None);
    let mut thinking_blocks = Vec::new();
    for block in response.output.message.content {
        match block {
            ContentBlock::Text(piece) => text.push_str(&piece),
            ContentBlock::ReasoningContent(thought) => {
                if let ReasoningContent::ReasoningText(piece) = &thought {
                    reasoning.push_str(&piece.text);
                }
                thinking_blocks.extend(thinking(thought));
            }
            // A tool that Bedrock runs itself is none of the caller's business.
            ContentBlock::ToolUse(tool) if tool.kind.is_none() => match context.calling {
                Calling::Tools => tool_calls.push(tool_call(tool, context)),
                // There is room for one; what else the model asked for it will ask for again.
                Calling::Function => function_call = function_call.or_else(|| Some(called(tool, context))),
            },
            _ => {}
        }
    }
    let message = Answer {
        role: "assistant",
        content: Some(text).filter(|text| !text.is_empty() || tool_calls.is_empty() && function_call.is_none()),
        refusal: None,
        reasoning_content: Some(reasoning).filter(|reasoning| !reasoning.is_empty()),
        thinking_blocks,
        tool_calls,
        function_call,
    };
    let finish_reason = finish_reason(response.stop_reason, context.calling);
    Choice { index, message, logprobs: None, finish_reason }
}

/// Reasoning as it has to come back, if it is signed.
fn thinking(thought: ReasoningContent) -> Option<AnswerThinking> {
    match thought {
        ReasoningContent::ReasoningText(text) => {
            let signature = text.signature.filter(|signature| !signature.is_empty())?;
            Some(AnswerThinking::Thinking { thinking: text.text, signature })
        }
        ReasoningContent::RedactedContent(data) => Some(AnswerThinking::RedactedThinking { data }),
    }
}

fn tool_call(tool: ToolUse, context: &Context) -> AnswerToolCall {
    let id = tool.tool_use_id.clone();
    let name = context.tools.original(&tool.name);
    if context.tools.is_custom(name) {
        let custom = AnswerCustom { name: name.to_owned(), input: custom_text(tool.input) };
        return AnswerToolCall { id, kind: "custom", function: None, custom: Some(custom) };
    }
    AnswerToolCall { id, kind: "function", function: Some(called(tool, context)), custom: None }
}

fn called(tool: ToolUse, context: &Context) -> AnswerFunction {
    let arguments = match tool.input {
        Value::Null => "{}".to_owned(),
        input => input.to_string(),
    };
    AnswerFunction { name: context.tools.original(&tool.name).to_owned(), arguments }
}

/// OpenAI's word for why the model stopped.
pub(super) fn finish_reason(reason: StopReason, calling: Calling) -> &'static str {
    match reason {
        StopReason::ToolUse => match calling {
            Calling::Tools => "tool_calls",
            Calling::Function => "function_call",
        },
        StopReason::MaxTokens | StopReason::ModelContextWindowExceeded => "length",
        StopReason::GuardrailIntervened | StopReason::ContentFiltered => "content_filter",
        StopReason::EndTurn
        | StopReason::StopSequence
        | StopReason::MalformedModelOutput
        | StopReason::MalformedToolUse
        | StopReason::Unknown => "stop",
    }
}

/// OpenAI counts the cached part of the prompt among its tokens; Bedrock does not.
pub(super) fn usage(tokens: &Tokens, reasoned: bool) -> Usage {
    let prompt_tokens = tokens.prompt_tokens();
    Usage {
        prompt_tokens,
        completion_tokens: tokens.output_tokens,
        total_tokens: prompt_tokens + tokens.output_tokens,
        prompt_tokens_details: PromptDetails {
            cached_tokens: tokens.cache_read_input_tokens,
            cache_write_tokens: Some(tokens.cache_write_input_tokens).filter(|written| *written > 0),
        },
        completion_tokens_details: CompletionDetails { reasoning_tokens: (!reasoned).then_some(0) },
    }
}

/// OpenAI's word for the tier that served.
pub(super) fn service_tier(tier: &Value) -> Option<String> {
    match tier["type"].as_str()? {
        "reserved" => Some("scale".to_owned()),
        tier => Some(tier.to_owned()),
    }
}
