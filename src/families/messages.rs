//! Claude's own body, as InvokeModel takes and answers it: from a request in canonical form, and back to an answer. For
//! jobs, whose other form has no tools. Pure functions of their arguments; nothing here knows a surface.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::converse::{
    ContentBlock, Document, DocumentSource, Image, MediaSource, Message, Output, ReasoningContent, ReasoningText,
    Request, Response, Role, StopReason, SystemBlock, Tool, ToolChoice, ToolResult, ToolResultBlock, ToolUse, Usage,
};

/// The version of this body on Bedrock.
const VERSION: &str = "bedrock-2023-05-31";

/// The body for `request`; `most` is how long an answer may be that the request does not limit. `None`: there is something
/// in it that this body has no form for. Cache points are left out.
pub fn body(request: &Request, most: u32) -> Option<Value> {
    let mut body = Map::from_iter([
        ("anthropic_version".to_owned(), json!(VERSION)),
        ("max_tokens".to_owned(), json!(request.inference_config.max_tokens.unwrap_or(most))),
        ("messages".to_owned(), request.messages.iter().map(message).collect::<Option<Value>>()?),
    ]);
    let system: Vec<Value> =
        request.system.iter().filter(|block| is_said(block)).map(instruction).collect::<Option<_>>()?;
    let config = &request.inference_config;
    let members = [
        ("system", (!system.is_empty()).then(|| system.into())),
        ("temperature", config.temperature.map(Value::from)),
        ("top_p", config.top_p.map(Value::from)),
        ("stop_sequences", (!config.stop_sequences.is_empty()).then(|| json!(config.stop_sequences))),
    ];
    body.extend(members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    if let Some(config) = &request.tool_config {
        let tools = config.tools.iter().filter(|tool| !matches!(tool, Tool::CachePoint(_)));
        let tools = tools.map(tool).collect::<Option<Value>>()?;
        body.insert("tools".to_owned(), tools);
        if let Some(choice) = &config.tool_choice {
            body.insert("tool_choice".to_owned(), choose(choice));
        }
    }
    for (key, value) in &request.additional_model_request_fields {
        match (body.get_mut(key), value) {
            // Whether several tools may be used at once stands beside which.
            (Some(Value::Object(own)), Value::Object(more)) => own.extend(more.clone()),
            _ => {
                body.insert(key.clone(), value.clone());
            }
        }
    }
    if let Some(choice) = body.get_mut("tool_choice").and_then(Value::as_object_mut) {
        choice.entry("type").or_insert_with(|| json!("auto"));
    }
    Some(Value::Object(body))
}

fn is_said(block: &SystemBlock) -> bool {
    !matches!(block, SystemBlock::CachePoint(_))
}

fn instruction(block: &SystemBlock) -> Option<Value> {
    match block {
        SystemBlock::Text(text) => Some(json!({"type": "text", "text": text})),
        SystemBlock::CachePoint(_) | SystemBlock::Other(_) => None,
    }
}

fn tool(tool: &Tool) -> Option<Value> {
    let Tool::ToolSpec(spec) = tool else { return None };
    let mut told = json!({"name": spec.name, "input_schema": spec.input_schema.json});
    if let Some(description) = &spec.description {
        told["description"] = json!(description);
    }
    if let Some(strict) = spec.strict {
        told["strict"] = json!(strict);
    }
    Some(told)
}

fn choose(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto(_) => json!({"type": "auto"}),
        ToolChoice::Any(_) => json!({"type": "any"}),
        ToolChoice::Tool { name } => json!({"type": "tool", "name": name}),
    }
}

fn message(message: &Message) -> Option<Value> {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::System => return None,
    };
    let content = message.content.iter().filter(|block| !matches!(block, ContentBlock::CachePoint(_)));
    let content = content.map(block).collect::<Option<Value>>()?;
    Some(json!({"role": role, "content": content}))
}

fn block(block: &ContentBlock) -> Option<Value> {
    Some(match block {
        ContentBlock::Text(text) => json!({"type": "text", "text": text}),
        ContentBlock::Image(image) => picture(image)?,
        ContentBlock::Document(document) => self::document(document)?,
        ContentBlock::ToolUse(ToolUse { tool_use_id, name, input, kind: None }) => {
            json!({"type": "tool_use", "id": tool_use_id, "name": name, "input": input})
        }
        ContentBlock::ToolResult(result) => answered(result)?,
        ContentBlock::ReasoningContent(ReasoningContent::ReasoningText(ReasoningText { text, signature })) => {
            json!({"type": "thinking", "thinking": text, "signature": signature.as_ref()?})
        }
        ContentBlock::ReasoningContent(ReasoningContent::RedactedContent(data)) => {
            let data = String::from_utf8(STANDARD.decode(data).ok()?).ok()?;
            json!({"type": "redacted_thinking", "data": data})
        }
        ContentBlock::ToolUse(_)
        | ContentBlock::Audio(_)
        | ContentBlock::Video(_)
        | ContentBlock::CachePoint(_)
        | ContentBlock::Other(_) => return None,
    })
}

fn picture(image: &Image) -> Option<Value> {
    let MediaSource::Bytes(data) = &image.source else { return None };
    let media_type = format!("image/{}", image.format);
    Some(json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}))
}

/// Of documents this body knows two kinds.
fn document(document: &Document) -> Option<Value> {
    let source = match (&document.source, document.format.as_deref()) {
        (DocumentSource::Bytes(data), Some("pdf")) => {
            json!({"type": "base64", "media_type": "application/pdf", "data": data})
        }
        (DocumentSource::Text(text), _) => json!({"type": "text", "media_type": "text/plain", "data": text}),
        _ => return None,
    };
    let mut told = json!({"type": "document", "source": source, "title": document.name});
    if let Some(context) = &document.context {
        told["context"] = json!(context);
    }
    if let Some(citations) = &document.citations {
        told["citations"] = citations.clone();
    }
    Some(told)
}

fn answered(result: &ToolResult) -> Option<Value> {
    let part = |part: &ToolResultBlock| match part {
        ToolResultBlock::Text(text) => Some(json!({"type": "text", "text": text})),
        ToolResultBlock::Json(value) => Some(json!({"type": "text", "text": value.to_string()})),
        ToolResultBlock::Image(image) => picture(image),
        ToolResultBlock::Document(document) => self::document(document),
        ToolResultBlock::Other(_) => None,
    };
    let content: Value = result.content.iter().map(part).collect::<Option<_>>()?;
    let mut told = json!({"type": "tool_result", "tool_use_id": result.tool_use_id, "content": content});
    if result.status.as_deref() == Some("error") {
        told["is_error"] = json!(true);
    }
    Some(told)
}

/// Its answer.
#[derive(Deserialize)]
struct Answer {
    content: Vec<Piece>,
    stop_reason: Option<String>,
    usage: Told,
}

/// A piece of it.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece {
    Text {
        text: String,
    },
    Thinking {
        thinking: String,
        signature: Option<String>,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "as Anthropic names them")]
struct Told {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

/// The answer in canonical form.
///
/// # Errors
/// What is no answer of this kind.
pub fn answer(text: &str) -> serde_json::Result<Response> {
    let Answer { content, stop_reason, usage } = serde_json::from_str(text)?;
    let content = content.into_iter().filter_map(canonical).collect();
    Ok(Response {
        output: Output { message: Message { role: Role::Assistant, content } },
        stop_reason: stopped(stop_reason.as_deref()),
        usage: used(&usage),
        metrics: None,
        additional_model_response_fields: None,
        trace: None,
        performance_config: None,
        service_tier: None,
    })
}

fn canonical(piece: Piece) -> Option<ContentBlock> {
    Some(match piece {
        Piece::Text { text } => ContentBlock::Text(text),
        Piece::Thinking { thinking: text, signature } => {
            ContentBlock::ReasoningContent(ReasoningContent::ReasoningText(ReasoningText { text, signature }))
        }
        Piece::RedactedThinking { data } => {
            ContentBlock::ReasoningContent(ReasoningContent::RedactedContent(STANDARD.encode(data)))
        }
        Piece::ToolUse { id, name, input } => {
            ContentBlock::ToolUse(ToolUse { tool_use_id: id, name, input, kind: None })
        }
        Piece::Unknown => return None,
    })
}

/// <https://docs.anthropic.com/en/api/handling-stop-reasons>
fn stopped(reason: Option<&str>) -> StopReason {
    match reason {
        Some("end_turn") => StopReason::EndTurn,
        Some("tool_use") => StopReason::ToolUse,
        Some("max_tokens") => StopReason::MaxTokens,
        Some("stop_sequence") => StopReason::StopSequence,
        Some("refusal") => StopReason::ContentFiltered,
        Some("model_context_window_exceeded") => StopReason::ModelContextWindowExceeded,
        _ => StopReason::Unknown,
    }
}

fn used(told: &Told) -> Usage {
    let (read, written) =
        (told.cache_read_input_tokens.unwrap_or_default(), told.cache_creation_input_tokens.unwrap_or_default());
    Usage {
        input_tokens: told.input_tokens,
        output_tokens: told.output_tokens,
        total_tokens: told.input_tokens + read + written + told.output_tokens,
        cache_read_input_tokens: read,
        cache_write_input_tokens: written,
        cache_details: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: &Value) -> Option<Value> {
        body(&serde_json::from_value(request.clone()).unwrap(), 64)
    }

    #[test]
    fn a_conversation_with_tools_takes_the_form_of_the_models_own() {
        let request = json!({
            "system": [{"text": "s"}, {"cachePoint": {"type": "default"}}],
            "messages": [
                {"role": "user", "content": [
                    {"text": "hi"},
                    {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                    {"document": {"format": "pdf", "name": "d", "source": {"bytes": "BBBB"}}},
                ]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                    {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
                    {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
                ]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": "t1", "content": [{"text": "no"}, {"json": {"b": 2}}], "status": "error"}},
                ]},
            ],
            "inferenceConfig": {"temperature": 0.5, "stopSequences": ["x"]},
            "toolConfig": {"tools": [{"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}}}],
                "toolChoice": {"tool": {"name": "f"}}},
            "additionalModelRequestFields": {"top_k": 3, "tool_choice": {"disable_parallel_tool_use": true}},
        });
        let expected = json!({
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 64,
            "system": [{"type": "text", "text": "s"}],
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "hi"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "document", "title": "d",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}},
                ]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "secret"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "is_error": true,
                        "content": [{"type": "text", "text": "no"}, {"type": "text", "text": "{\"b\":2}"}]},
                ]},
            ],
            "temperature": 0.5,
            "stop_sequences": ["x"],
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
            "top_k": 3,
        });
        assert_eq!(asked(&request), Some(expected));
    }

    #[test]
    fn what_has_no_form_there_has_no_body() {
        let odd = [
            json!({"video": {"format": "mp4", "source": {"bytes": "AAAA"}}}),
            json!({"document": {"format": "docx", "name": "d", "source": {"bytes": "AAAA"}}}),
            json!({"image": {"format": "png", "source": {"s3Location": {"uri": "s3://a/b"}}}}),
            json!({"toolUse": {"toolUseId": "t", "name": "f", "input": {}, "type": "server_tool_use"}}),
            json!({"somethingNew": {}}),
        ];
        for block in odd {
            assert_eq!(asked(&json!({"messages": [{"role": "user", "content": [block]}]})), None, "{block}");
        }
        assert_eq!(asked(&json!({"messages": [{"role": "system", "content": [{"text": "s"}]}]})), None);
        let alone = json!({"messages": [], "additionalModelRequestFields": {"tool_choice": {"disable_parallel_tool_use": true}}});
        assert_eq!(asked(&alone).unwrap()["tool_choice"]["type"], "auto");
    }

    #[test]
    fn an_answer_becomes_what_converse_would_have_said() {
        let text = json!({"id": "msg_1", "type": "message", "role": "assistant", "stop_reason": "tool_use", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "secret"},
            {"type": "text", "text": "hi"},
            {"type": "something_new"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
        ], "usage": {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": null}});
        let expected = json!({
            "output": {"message": {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
                {"text": "hi"},
                {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
            ]}},
            "stopReason": "tool_use",
            "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
        });
        assert_eq!(serde_json::to_value(answer(&text.to_string()).unwrap()).unwrap(), expected);
        assert!(answer(r#"{"content":"hi"}"#).is_err());
    }
}
