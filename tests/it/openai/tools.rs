//! Tools: asked for, called, answered, in one piece and streamed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::TestGateway;
use crate::support::calls::{chat, with};

fn weather() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    });
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}])
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_reaches_the_model() {
    let t = TestGateway::start().await;
    let body = with(chat("What is the weather? [[tool]]"), json!({"tools": weather()}));
    let choice = t.openai().send(&body).await.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "tool_calls");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("get_weather")));
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["city"].is_string() && arguments["days"].is_i64(), "{arguments}");

    let mut conversation = body;
    let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "sunny, 21 degrees"});
    conversation["messages"].as_array_mut().unwrap().extend([choice["message"].clone(), result]);
    let reply = t.openai().send(&conversation).await.json();
    assert!(reply["choices"][0]["message"]["content"].as_str().unwrap().contains("sunny, 21 degrees"), "{reply}");
    t.finish().await;
}

#[tokio::test]
async fn streamed_tool_calls_are_numbered_from_zero_and_their_arguments_add_up() {
    let t = TestGateway::start().await;
    let body = with(chat("Both, please [[tools:2]]"), json!({"tools": weather(), "stream": true}));
    let chunks = t.openai().send(&body).await.sse();
    let mut calls: BTreeMap<u64, (Vec<String>, String)> = BTreeMap::new();
    for delta in chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array()).flatten() {
        let (ids, arguments) = calls.entry(delta["index"].as_u64().unwrap()).or_default();
        ids.extend(delta["id"].as_str().map(str::to_owned));
        arguments.push_str(delta["function"]["arguments"].as_str().unwrap_or_default());
    }
    assert_eq!(calls.keys().copied().collect::<Vec<_>>(), [0, 1]);
    for (ids, arguments) in calls.values() {
        assert_eq!(ids.len(), 1, "the id comes once");
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        assert!(arguments["city"].is_string(), "{arguments}");
    }
    assert_ne!(calls[&0].0, calls[&1].0);
    let finish = chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).next_back();
    assert_eq!(finish, Some("tool_calls"));
    t.finish().await;
}

#[tokio::test]
async fn a_forced_tool_is_called_without_being_asked_for() {
    let t = TestGateway::start().await;
    let choice = json!({"type": "function", "function": {"name": "get_weather"}});
    let body = with(chat("hi"), json!({"tools": weather(), "tool_choice": choice}));
    let reply = t.openai().send(&body).await.json();
    assert_eq!(reply["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "get_weather");
    t.finish().await;
}

#[tokio::test]
async fn functions_of_2023_are_called_and_answered_in_their_own_words() {
    let t = TestGateway::start().await;
    let functions = json!([weather()[0]["function"]]);
    let body = with(chat("What is the weather? [[tools:2]]"), json!({"functions": functions}));
    let choice = t.openai().send(&body).await.json()["choices"][0].clone();
    assert_eq!((&choice["finish_reason"], &choice["message"]["tool_calls"]), (&json!("function_call"), &Value::Null));
    let call = &choice["message"]["function_call"];
    assert_eq!(call["name"], "get_weather");
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["city"].is_string(), "{arguments}");

    let mut conversation = body.clone();
    let result = json!({"role": "function", "name": "get_weather", "content": "sunny, 21 degrees"});
    conversation["messages"].as_array_mut().unwrap().extend([choice["message"].clone(), result]);
    let reply = t.openai().send(&conversation).await.json();
    assert!(reply["choices"][0]["message"]["content"].as_str().unwrap().contains("sunny, 21 degrees"), "{reply}");

    let chunks = t.openai().send(&with(body, json!({"stream": true}))).await.sse();
    let calls = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["function_call"]);
    let names: Vec<_> = calls.clone().filter_map(|call| call["name"].as_str()).collect();
    let streamed: String = calls.filter_map(|call| call["arguments"].as_str()).collect();
    assert_eq!(names, ["get_weather"], "there is room for one");
    assert!(serde_json::from_str::<Value>(&streamed).unwrap()["city"].is_string(), "{streamed}");
    let finish = chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).next_back();
    assert_eq!(finish, Some("function_call"));
    t.finish().await;
}

#[tokio::test]
async fn a_custom_tool_gets_its_text_whole_streamed_and_in_the_history() {
    let t = TestGateway::start().await;
    let tool = json!({"type": "custom", "custom": {"name": "run", "description": "Runs a command."}});
    let body = with(chat("Run it. [[tool]]"), json!({"tools": [tool]}));
    let choice = t.openai().send(&body).await.json()["choices"][0].clone();
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["custom"]["name"]), (&json!("custom"), &json!("run")));
    let text = call["custom"]["input"].as_str().unwrap();
    assert!(!text.is_empty() && !text.contains("\"input\""), "{text}");

    let mut conversation = body.clone();
    let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "exit code 0"});
    conversation["messages"].as_array_mut().unwrap().extend([choice["message"].clone(), result]);
    let reply = t.openai().send(&conversation).await.json();
    assert!(reply["choices"][0]["message"]["content"].as_str().unwrap().contains("exit code 0"), "{reply}");

    let chunks = t.openai().send(&with(body, json!({"stream": true}))).await.sse();
    let calls = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array()).flatten();
    let streamed: String = calls.filter_map(|call| call["custom"]["input"].as_str()).collect();
    assert_eq!(streamed, text);
    t.finish().await;
}
