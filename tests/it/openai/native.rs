//! `POST /v1/chat/completions` of models that speak it on Bedrock: the body travels as it came.

use bedrock_gateway::tenancy::ledger::UsageSource;
use serde_json::{Value, json};

use crate::support::calls::with;
use crate::support::{FIRST, SECOND, TestGateway};

const NATIVE: &str = "gpt-oss-120b";

fn ask(text: &str) -> Value {
    json!({"model": NATIVE, "messages": [{"role": "user", "content": text}]})
}

#[tokio::test]
async fn body_and_answer_travel_untouched_but_for_the_model() {
    let t = TestGateway::start().await;
    let reply = t.openai().send(&with(ask("hello there"), json!({"seed": 7, "temperature": 1.5}))).await;
    assert_eq!((reply.status(), reply.region(), reply.header("x-gateway-translation")), (200, FIRST, ""));
    let answer = reply.json();
    assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("openai.gpt-oss-120b-1:0")));
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().contains("hello there"));
    let sent = t.sim.calls();
    assert_eq!(
        (sent.len(), sent[0].operation, sent[0].model_id.as_str()),
        (1, "ChatCompletions", "openai.gpt-oss-120b-1:0")
    );
    let call = t.only_call().await;
    assert_eq!((call.usage_source, &*call.operation), (UsageSource::Final, "chat"));
    assert_eq!(json!(call.output_tokens), answer["usage"]["completion_tokens"]);
    assert!(call.cost.unwrap().0 > 0);
    t.finish().await;
}

#[tokio::test]
async fn a_stream_tells_the_gateway_its_usage_and_the_client_only_if_it_asked() {
    let t = TestGateway::start().await;
    let body = with(ask("a story [[words:20]]"), json!({"stream": true}));
    let chunks = t.openai().send(&body).await.sse();
    assert_eq!(chunks.last().unwrap(), "[DONE]");
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none() && chunk.get("choices") != Some(&json!([]))));
    let quiet = t.only_call().await;
    assert_eq!((quiet.usage_source, quiet.streamed), (UsageSource::Final, true));

    let asked = with(body, json!({"stream_options": {"include_usage": true}}));
    let chunks = t.openai().send(&asked).await.sse();
    let [.., last, done] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!((&last["choices"], done), (&json!([]), &json!("[DONE]")));
    assert_eq!(last["usage"]["completion_tokens"], json!(quiet.output_tokens));
    t.finish().await;
}

#[tokio::test]
async fn another_region_answers_before_the_first_chunk_and_none_after_it() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).throttle(1);
    let streamed = with(ask("over there"), json!({"stream": true}));
    let reply = t.openai().send(&streamed).await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, SECOND, "2"));
    t.finish().await;

    let t = TestGateway::start().await;
    t.sim.region("*").stream_exception("throttlingException", 3);
    let events = t.openai().send(&with(ask("too fast [[words:30]]"), json!({"stream": true}))).await.sse();
    assert_eq!(events.last().unwrap()["error"]["code"], "rate_limit_exceeded", "{events:?}");
    let call = t.only_call().await;
    assert_eq!((call.attempts, call.usage_source), (1, UsageSource::Partial));
    assert!(call.output_tokens > 0);
    t.finish().await;

    let t = TestGateway::start().await;
    t.sim.region(FIRST).cut_stream_after(3);
    let events = t.openai().send(&with(ask("cut me [[words:30]]"), json!({"stream": true}))).await.sse();
    assert_eq!(events.last().unwrap()["error"]["code"], "upstream_unavailable");
    t.finish().await;
}

#[tokio::test]
async fn bad_input_is_refused_here_or_by_the_model_with_its_reason() {
    let t = TestGateway::start().await;
    let twice = format!(r#"{{"model":"{NATIVE}","messages":[],"mod\u0065l":"other"}}"#);
    let reply = t.openai().send_bytes(twice).await;
    assert_eq!((reply.status(), &reply.openai_error()["param"]), (400, &json!("model")));
    let reply = t.openai().send(&with(ask("hi"), json!({"messages": "hi"}))).await;
    assert_eq!((reply.status(), &reply.openai_error()["code"]), (400, &json!("upstream_rejected")));
    let message =
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://127.0.0.1/a.png"}}]}]);
    let reply = t.openai().send(&with(ask("hi"), json!({"messages": message}))).await;
    let error = reply.openai_error();
    assert_eq!((reply.status(), &error["param"]), (400, &json!("messages[0].content[0].image_url.url")), "{error}");
    t.finish().await;
}
