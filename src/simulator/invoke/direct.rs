//! The runtime's OpenAI and Anthropic paths (`/openai/v1/chat/completions`, `/openai/v1/responses`, `/anthropic/v1/messages`):
//! the native bodies with the model inside, answered as JSON or server-sent events.

use serde_json::Value;

use super::{Native, NativeBody, anthropic, headers, openai, parse};
use crate::simulator::converse::Delivery;
use crate::simulator::errors::{Failure, Surface};
use crate::simulator::frames::Item;
use crate::simulator::operations::Context;
use crate::simulator::reply::Reply;
use crate::simulator::responses;

/// An API of another provider that the runtime speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    ChatCompletions,
    Responses,
    Messages,
}

impl Api {
    /// Whose shape its errors have.
    pub(crate) const fn surface(self) -> Surface {
        match self {
            Self::ChatCompletions => Surface::OpenAi,
            Self::Responses => Surface::Responses,
            Self::Messages => Surface::Anthropic,
        }
    }
}

/// The model and delivery that a body asks for; an unreadable body asks for none.
pub(crate) fn peek(body: &[u8]) -> (String, Delivery) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let delivery = if body["stream"] == true { Delivery::Stream } else { Delivery::Whole };
    (body["model"].as_str().unwrap_or_default().to_owned(), delivery)
}

/// Answers a call of `api`.
pub(crate) fn answer(
    context: &Context<'_>,
    api: Api,
    model_id: &str,
    body: &[u8],
    delivery: Delivery,
) -> Result<Reply, Failure> {
    let mut body = parse(body)?;
    headers(context)?;
    if model_id.is_empty() {
        return Err(Failure::validation("model: Field required").about("model"));
    }
    if api == Api::Responses && model_id.contains("application-inference-profile/") {
        return Err(Failure::validation("Application inference profiles are not supported by this API.").about("model"));
    }
    let target = context.resolve(model_id)?;
    let serves = match api {
        Api::ChatCompletions => target.model.completes_chats(),
        Api::Responses => target.model.responds(),
        Api::Messages => target.model.takes_messages(),
    };
    if !serves {
        return Err(Failure::validation("This API doesn't support the model that you provided.").about("model"));
    }
    if api == Api::Responses {
        return responses::answer(context, &target, &body, delivery);
    }
    if api == Api::ChatCompletions && delivery == Delivery::Whole && !body["stream_options"].is_null() {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Failure::validation(message).about("stream_options"));
    }
    if let Some(fields) = body.as_object_mut() {
        fields.shift_remove("model");
        fields.shift_remove("stream");
        if api == Api::Messages {
            let own = ["anthropic_beta", "anthropic_version"].into_iter().find(|name| fields.contains_key(*name));
            if let Some(name) = own {
                return Err(Failure::validation(format!("{name}: Extra inputs are not permitted")));
            }
            fields.insert("anthropic_version".to_owned(), Value::from("bedrock-2023-05-31"));
            if let Some(flags) = context.header("anthropic-beta") {
                let flags: Vec<&str> = flags.split(',').map(str::trim).filter(|flag| !flag.is_empty()).collect();
                fields.insert("anthropic_beta".to_owned(), Value::from(flags));
            }
        }
    }
    let native = match api {
        Api::Messages if context.header("anthropic-version").is_none() => {
            Err(Failure::validation("anthropic-version: header is required"))
        }
        Api::Messages if context.header("anthropic-version") != Some("2023-06-01") => {
            Err(Failure::validation("anthropic-version: Input should be '2023-06-01'"))
        }
        Api::Messages => anthropic::answer(context, &target, &body, delivery, Some(api)),
        _ => openai::answer(context, &target, &body, delivery, openai::Reasoning::of_path(&target)),
    }?;
    let Native { body, input, output_tokens } = native;
    let mut reply = match body {
        NativeBody::Whole(body) => Reply::json(&body),
        NativeBody::Stream(objects) => Reply::events(server_sent(api, &objects, output_tokens)),
    };
    if let Some(tier) = context.tier(&target, None)? {
        reply.headers.push(("x-amzn-bedrock-service-tier", tier.to_owned()));
    }
    Ok(reply.costing(&input, output_tokens))
}

fn server_sent(api: Api, objects: &[(Value, u64)], output_tokens: u64) -> Vec<Item> {
    let event = |object: &Value| object["type"].as_str().filter(|_| api == Api::Messages).map(str::to_owned);
    let mut items: Vec<Item> =
        objects.iter().map(|(object, tokens)| Item::server_sent(event(object), object.to_string(), *tokens)).collect();
    if api == Api::ChatCompletions {
        items.push(Item::server_sent(None, "[DONE]".to_owned(), output_tokens));
    }
    items
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::simulator::probe::{events, post, send, with};
    use crate::simulator::{Settings, Simulator};

    const CHAT: &str = "/openai/v1/chat/completions";

    fn chat(fields: &serde_json::Value) -> serde_json::Value {
        let base = json!({"model": "openai.gpt-oss-120b-1:0", "messages": [{"role": "user", "content": "hello"}]});
        with(base, fields)
    }

    #[tokio::test]
    async fn chat_streams_as_openai_does() {
        let simulator = Simulator::new(Settings::default());
        let tool = json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]);
        let fields = json!({"tools": tool, "tool_choice": "required", "reasoning_effort": "low"});
        let (status, whole) = post(&simulator, CHAT, &chat(&fields)).await;
        assert_eq!(status, 200);
        let body = chat(&with(json!({"stream": true, "stream_options": {"include_usage": true}}), &fields));
        let chunks: Vec<_> =
            events(&send(&simulator, "POST", CHAT, &body).await.1).into_iter().map(|(_, data)| data).collect();
        assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
        let said = |member: &str| -> String {
            let deltas = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][member].as_str());
            deltas.collect()
        };
        assert_eq!(json!(said("reasoning")), whole["choices"][0]["message"]["reasoning"]);
        let calls: Vec<_> = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0])
            .filter(|call| call.is_object())
            .collect();
        let call = &whole["choices"][0]["message"]["tool_calls"][0];
        assert_eq!(
            (&calls[0]["id"], &calls[0]["function"]["name"], &calls[0]["index"]),
            (&call["id"], &json!("weather"), &json!(0))
        );
        assert!(calls[1..].iter().all(|call| call.get("id").is_none()));
        let arguments: String = calls.iter().map(|call| call["function"]["arguments"].as_str().unwrap()).collect();
        assert_eq!(json!(arguments), call["function"]["arguments"]);
        let [.., finish, usage, done] = &chunks[..] else { panic!("three more chunks") };
        assert_eq!((&finish["choices"][0]["finish_reason"], &finish["usage"]), (&json!("tool_calls"), &json!(null)));
        assert_eq!((&usage["choices"], &usage["usage"]), (&json!([]), &whole["usage"]));
        assert_eq!(done, "[DONE]");
    }

    #[tokio::test]
    async fn usage_is_streamed_only_to_who_asks() {
        let simulator = Simulator::new(Settings::default());
        let text = send(&simulator, "POST", CHAT, &chat(&json!({"stream": true}))).await.1;
        assert!(events(&text).iter().all(|(_, chunk)| chunk.get("usage").is_none()), "{text}");
        let (status, body) = post(&simulator, CHAT, &chat(&json!({"stream_options": {"include_usage": true}}))).await;
        assert_eq!((status, &body["error"]["param"]), (400, &json!("stream_options")));
    }

    #[tokio::test]
    async fn openais_own_models_count_their_reasoning_and_hide_it() {
        let simulator = Simulator::new(Settings::default());
        let (_, body) =
            post(&simulator, CHAT, &chat(&json!({"model": "us.openai.gpt-5.6-sol", "reasoning_effort": "high"}))).await;
        assert_eq!(body["choices"][0]["message"]["content"], "You said: hello");
        assert!(body["choices"][0]["message"].get("reasoning").is_none());
        assert!(body["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0);
    }

    #[tokio::test]
    async fn a_guardrail_is_named_whole_and_blocks() {
        let simulator = Simulator::new(Settings::default());
        let blocked = chat(&json!({"messages": [{"role": "user", "content": "[[blocked]]"}]}));
        let half = [("x-amzn-bedrock-guardrailidentifier", "abc")];
        assert_eq!(crate::simulator::probe::send_with(&simulator, "POST", CHAT, &blocked, &half).await.0, 400);
        let both = [half[0], ("x-amzn-bedrock-guardrailversion", "1")];
        let (status, text) = crate::simulator::probe::send_with(&simulator, "POST", CHAT, &blocked, &both).await;
        assert!(status == 200 && text.contains("content_filter"), "{text}");
    }

    const MESSAGES: &str = "/anthropic/v1/messages";
    const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

    async fn message(simulator: &Simulator, fields: &serde_json::Value, headers: &[(&str, &str)]) -> (u16, String) {
        let base = json!({"model": "us.anthropic.claude-haiku-4-5-20251001-v1:0", "max_tokens": 2000, "messages": [{"role": "user", "content": "hello"}]});
        crate::simulator::probe::send_with(simulator, "POST", MESSAGES, &with(base, fields), headers).await
    }

    #[tokio::test]
    async fn the_messages_path_reads_its_flags_from_the_header_and_pings() {
        let simulator = Simulator::new(Settings::default());
        let edits = json!({"context_management": {"edits": []}});
        assert_eq!(message(&simulator, &edits, &[VERSION]).await.0, 400);
        let flag = ("anthropic-beta", "context-management-2025-06-27, interleaved-thinking-2025-05-14");
        assert_eq!(message(&simulator, &edits, &[VERSION, flag]).await.0, 200);
        let (status, text) = message(&simulator, &json!({}), &[VERSION, ("anthropic-beta", "unheard-of")]).await;
        assert!(status == 400 && text.contains("invalid beta flag"), "{text}");
        for name in ["anthropic_beta", "anthropic_version"] {
            let (status, text) = message(&simulator, &json!({name: []}), &[VERSION]).await;
            assert!(status == 400 && text.contains("Extra inputs are not permitted"), "{text}");
        }
        let names: Vec<String> = events(&message(&simulator, &json!({"stream": true}), &[VERSION]).await.1)
            .into_iter()
            .map(|(name, data)| {
                assert_eq!(data["type"], name);
                name
            })
            .collect();
        assert_eq!(names[..3], ["message_start", "ping", "content_block_start"]);
    }

    #[tokio::test]
    async fn documents_are_cited_when_they_ask_for_it() {
        let simulator = Simulator::new(Settings::default());
        let source = json!({"type": "text", "media_type": "text/plain", "data": "The sky is blue."});
        let document = |cites: bool| json!({"type": "document", "title": "sky", "source": source, "citations": {"enabled": cites}});
        let ask = |documents: &[serde_json::Value]| {
            let mut content = documents.to_vec();
            content.push(json!({"type": "text", "text": "why"}));
            json!({"messages": [{"role": "user", "content": content}]})
        };
        let (_, text) = message(&simulator, &ask(&[document(true)]), &[VERSION]).await;
        let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        let citation = &whole["content"][0]["citations"][0];
        assert_eq!(
            (&citation["type"], &citation["cited_text"], &citation["end_char_index"]),
            (&json!("char_location"), &json!("The sky is blue."), &json!(16))
        );
        let (_, text) = message(&simulator, &with(ask(&[document(true)]), &json!({"stream": true})), &[VERSION]).await;
        let delta = events(&text).into_iter().find(|(_, data)| data["delta"]["type"] == "citations_delta");
        assert_eq!(&delta.unwrap().1["delta"]["citation"], citation);
        let (status, text) = message(&simulator, &ask(&[document(true), document(false)]), &[VERSION]).await;
        assert!(status == 400 && text.contains("all or none of the documents"), "{text}");
    }

    #[tokio::test]
    async fn redacted_thinking_is_taken_back_unchanged_alone() {
        let simulator = Simulator::new(Settings::default());
        let thinking = json!({"type": "enabled", "budget_tokens": 1024});
        let ask = json!({"thinking": thinking, "messages": [{"role": "user", "content": "why [[redacted]]"}]});
        let whole: serde_json::Value = serde_json::from_str(&message(&simulator, &ask, &[VERSION]).await.1).unwrap();
        assert_eq!(whole["content"][0]["type"], "redacted_thinking");
        let replay = |content: &serde_json::Value| json!({"thinking": thinking, "messages": [{"role": "user", "content": "why"}, {"role": "assistant", "content": content}, {"role": "user", "content": "and"}]});
        assert_eq!(message(&simulator, &replay(&whole["content"]), &[VERSION]).await.0, 200);
        let mut forged = whole["content"].clone();
        forged[0]["data"] = json!("Zm9yZ2Vk");
        let (status, text) = message(&simulator, &replay(&forged), &[VERSION]).await;
        assert!(status == 400 && text.contains("`redacted_thinking`"), "{text}");
    }
}
