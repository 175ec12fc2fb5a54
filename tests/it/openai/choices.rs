//! Several answers to one request.

use serde_json::{Value, json};

use crate::support::calls::{chat, with};
use crate::support::{FIRST, TestGateway};

#[tokio::test]
async fn each_choice_is_a_call_of_its_own_and_the_usage_is_that_of_all() {
    let t = TestGateway::start().await;
    let reply = t.openai().send(&with(chat("a name, please"), json!({"n": 3}))).await;
    assert_eq!((reply.status(), reply.attempts()), (200, "3"));
    let answer = reply.json();
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(choices.iter().all(|choice| choice["message"]["content"].as_str().unwrap().contains("a name, please")));
    let calls = t.booked_calls(3).await;
    let sum =
        |tokens: fn(&bedrock_gateway::tenancy::ledger::Entry) -> u64| json!(calls.iter().map(tokens).sum::<u64>());
    assert_eq!(answer["usage"]["prompt_tokens"], sum(|call| call.input_tokens));
    assert_eq!(answer["usage"]["completion_tokens"], sum(|call| call.output_tokens));
    assert_eq!(t.sim.calls().len(), 3);
    t.finish().await;
}

#[tokio::test]
async fn streamed_choices_keep_their_numbers_and_end_with_one_usage() {
    let t = TestGateway::start().await;
    let fields = json!({"n": 2, "stream": true, "stream_options": {"include_usage": true}});
    let chunks = t.openai().send(&with(chat("a story [[words:20]]"), fields)).await.sse();
    let mut texts = [String::new(), String::new()];
    let mut finished = Vec::new();
    for choice in chunks.iter().filter_map(|chunk| chunk["choices"].get(0)) {
        let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
        texts[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        finished.extend(choice["finish_reason"].as_str().map(|reason| (index, reason)));
    }
    finished.sort_unstable();
    assert_eq!(finished, [(0, "stop"), (1, "stop")]);
    assert!(texts.iter().all(|text| text.contains("a story")), "{texts:?}");
    let told: Vec<&Value> = chunks.iter().filter(|chunk| chunk["usage"].is_object()).collect();
    let calls = t.booked_calls(2).await;
    let output: u64 = calls.iter().map(|call| call.output_tokens).sum();
    assert_eq!((told.len(), &told[0]["usage"]["completion_tokens"]), (1, &json!(output)));
    assert_eq!(chunks.iter().filter(|chunk| **chunk == "[DONE]").count(), 1);
    t.finish().await;
}

#[tokio::test]
async fn one_choice_that_breaks_ends_the_stream_with_one_error_and_books_all() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).cut_stream_after(3);
    let body = with(chat("cut one of us [[words:30]]"), json!({"n": 2, "stream": true}));
    let events = t.openai().open(&body).await.rest().await.sse();
    let errors: Vec<&Value> = events.iter().filter(|event| event["error"].is_object()).collect();
    assert_eq!((errors.len(), errors[0]), (1, events.last().unwrap()));
    assert_eq!(errors[0]["error"]["code"], "upstream_unavailable");
    assert!(!events.iter().any(|event| event == "[DONE]"));
    t.booked_calls(2).await;
    t.finish().await;
}
