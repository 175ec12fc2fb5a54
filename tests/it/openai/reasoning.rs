//! Thinking: asked for, shown, signed, sent back.

use serde_json::{Value, json};

use crate::support::TestGateway;
use crate::support::calls::{chat, with};

fn ask(model: &str, text: &str, fields: Value) -> Value {
    with(with(chat(text), json!({"model": model})), fields)
}

fn weather() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}])
}

#[tokio::test]
async fn signed_reasoning_survives_a_tool_loop_whole_and_streamed() {
    let t = TestGateway::start().await;
    for text in ["the weather? [[tool]]", "the weather? [[redacted]] [[tool]]"] {
        let body = ask("claude-haiku-4-5", text, json!({"tools": weather(), "reasoning_effort": "low"}));
        let whole = t.openai().send(&body).await;
        assert_eq!((whole.status(), whole.header("x-gateway-translation")), (200, ""), "{}", whole.text());
        let message = whole.json()["choices"][0]["message"].clone();
        assert_eq!(message["thinking_blocks"].as_array().unwrap().len(), 1, "{message}");

        let chunks = t.openai().send(&with(body.clone(), json!({"stream": true}))).await.sse();
        let deltas = || chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]);
        let blocks: Vec<Value> =
            deltas().filter_map(|delta| delta["thinking_blocks"].as_array()).flatten().cloned().collect();
        assert_eq!(json!(blocks), message["thinking_blocks"]);

        // The simulator refuses a signature that is not its own, and a loop that goes on without one.
        let mut next = body;
        let call = message["tool_calls"][0]["id"].clone();
        let result = json!({"role": "tool", "tool_call_id": call, "content": "rain"});
        next["messages"].as_array_mut().unwrap().extend([message, result]);
        let reply = t.openai().send(&next).await;
        assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, ""), "{}", reply.text());
    }
    t.finish().await;
}

#[tokio::test]
async fn effort_is_told_to_each_family_as_it_takes_it() {
    let t = TestGateway::start().await;
    for (model, effort, reported) in [
        ("claude-haiku-4-5", "high", ""),
        ("claude-opus-4-6", "xhigh", "clamped:reasoning_effort"),
        ("claude-opus-4-8", "xhigh", ""),
        ("claude-opus-5", "none", ""),
        ("nova-2-lite", "medium", ""),
        ("deepseek.v3-v1:0", "low", ""),
        ("llama3-3-70b-instruct", "low", "dropped:reasoning_effort"),
    ] {
        let reply = t.openai().send(&ask(model, "hello", json!({"reasoning_effort": effort, "n": 2}))).await;
        assert_eq!(
            (reply.status(), reply.header("x-gateway-translation")),
            (200, reported),
            "{model}: {}",
            reply.text()
        );
        let thinks = reply.json()["choices"][0]["message"]["reasoning_content"].is_string();
        assert_eq!(thinks, effort != "none" && reported != "dropped:reasoning_effort", "{model}");
    }
    t.finish().await;
}

#[tokio::test]
async fn an_answer_by_schema_comes_as_text_whatever_the_model_can() {
    let t = TestGateway::start().await;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "place", "schema": schema}});
    for (model, reported) in
        [("claude-haiku-4-5", "inserted:response_format"), ("claude-opus-5", "renamed:response_format")]
    {
        let body = ask(model, "a city", json!({"response_format": format}));
        let reply = t.openai().send(&body).await;
        assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, reported), "{}", reply.text());
        let choice = reply.json()["choices"][0].clone();
        let answer: Value = serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
        assert!(answer["city"].is_string() && choice["message"].get("tool_calls").is_none(), "{choice}");
        assert_eq!(choice["finish_reason"], "stop");

        let chunks = t.openai().send(&with(body, json!({"stream": true}))).await.sse();
        let deltas = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
        let streamed: Value = serde_json::from_str(&deltas.collect::<String>()).unwrap();
        assert_eq!(streamed, answer, "{model}");
    }
    t.finish().await;
}
