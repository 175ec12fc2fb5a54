//! `/v1/responses`: whole and streamed, with tools and reasoning, gone on from and replayed, kept and forgotten.

use std::time::Duration;

use bedrock_gateway::tenancy::ledger::UsageSource;
use bedrock_gateway::tenancy::{NewKey, NewTeam};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::calls::with;
use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL, MODEL_ID, TEAM, TestGateway};

/// The body of a response to one text.
fn ask(text: &str) -> Value {
    json!({"model": MODEL, "input": text})
}

fn weather() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    });
    json!([{"type": "function", "name": "get_weather", "parameters": parameters}])
}

/// What makes the model think, in its own words.
fn thinking() -> Value {
    json!({"max_output_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 1024}})
}

fn request(t: &TestGateway, body: &Value) -> RequestBuilder {
    t.request(Method::POST, "/v1/responses").bearer_auth(t.key()).json(body)
}

async fn send(t: &TestGateway, body: &Value) -> Reply {
    Reply::to(request(t, body)).await
}

/// The response to a good request.
async fn create(t: &TestGateway, body: &Value) -> Value {
    let reply = send(t, body).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()
}

async fn delete(t: &TestGateway, path: &str) -> Reply {
    Reply::to(t.request(Method::DELETE, path).bearer_auth(t.key())).await
}

/// The events of a stream; each has its name, and its number.
fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.header("content-type"), "text/event-stream; charset=utf-8", "{reply:?}");
    let event = |(number, event): (usize, &str)| {
        let (name, data) = event.split_once('\n').unwrap_or_else(|| panic!("{event:?}"));
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        assert_eq!(data["sequence_number"], number);
        data
    };
    assert!(reply.text().ends_with("\n\n"), "{reply:?}");
    reply.text().split_terminator("\n\n").filter(|event| !event.starts_with(':')).enumerate().map(event).collect()
}

/// The whole text of a response.
fn text(response: &Value) -> String {
    let items = response["output"].as_array().unwrap().iter().filter(|item| item["type"] == "message");
    let parts = items.flat_map(|item| item["content"].as_array().unwrap());
    parts.map(|part| part["text"].as_str().unwrap()).collect()
}

/// The items of a kind in a response.
fn items<'r>(response: &'r Value, kind: &str) -> Vec<&'r Value> {
    response["output"].as_array().unwrap().iter().filter(|item| item["type"] == kind).collect()
}

#[tokio::test]
async fn a_response_says_what_the_model_said_and_what_was_asked() {
    let t = TestGateway::start().await;
    let body =
        with(ask("hello there"), json!({"instructions": "Be kind.", "metadata": {"a": "b"}, "temperature": 0.5}));
    let reply = send(&t, &body).await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, FIRST, "1"));
    assert_eq!((reply.header("x-gateway-model"), reply.header("x-gateway-translation")), (MODEL_ID, ""));
    assert!(reply.header("x-gateway-cost-usd").parse::<f64>().unwrap() > 0.0);

    let response = reply.json();
    assert!(response["id"].as_str().unwrap().starts_with("resp_"));
    assert_eq!(
        (&response["object"], &response["status"], &response["model"]),
        (&json!("response"), &json!("completed"), &json!(MODEL))
    );
    assert!(text(&response).contains("hello there"), "{response}");
    assert_eq!((&response["instructions"], &response["temperature"]), (&json!("Be kind."), &json!(0.5)));
    assert_eq!((&response["metadata"], &response["store"]), (&json!({"a": "b"}), &json!(true)));
    assert_eq!(response["tools"], json!([]), "what is kept as text is written as what it is");
    let now = t.clock.now().seconds();
    assert_eq!((&response["created_at"], &response["completed_at"]), (&json!(now), &json!(now)));
    t.finish().await;
}

#[tokio::test]
async fn a_response_is_booked_once_with_the_tokens_that_the_caller_was_told() {
    let t = TestGateway::start().await;
    let reply = send(&t, &with(ask("count me"), json!({"safety_identifier": "someone"}))).await;
    let usage = reply.json()["usage"].clone();
    let call = t.only_call().await;
    assert_eq!(
        (json!(call.input_tokens), json!(call.output_tokens)),
        (usage["input_tokens"].clone(), usage["output_tokens"].clone())
    );
    assert_eq!(usage["total_tokens"], json!(call.input_tokens + call.output_tokens));
    assert_eq!((&*call.surface, &*call.operation, &*call.model), ("openai", "responses", MODEL_ID));
    assert_eq!((call.status, call.usage_source, call.end_user.as_deref()), (200, UsageSource::Final, Some("someone")));
    let labels = [("surface", "openai"), ("operation", "responses"), ("team", TEAM), ("status", "200")];
    assert_eq!(t.metrics().count("gateway_requests_total", &labels), 1);
    t.finish().await;
}

#[tokio::test]
async fn a_stream_tells_every_item_from_its_beginning_to_its_end() {
    let t = TestGateway::start().await;
    let reply = send(&t, &with(ask("a story [[words:40]]"), json!({"stream": true}))).await;
    let events = events(&reply);
    let mut kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let response = &events.last().unwrap()["response"];
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(text(response), deltas);
    assert!(deltas.split_whitespace().count() >= 40);
    let call = t.only_call().await;
    assert_eq!((call.usage_source, call.streamed), (UsageSource::Final, true));
    assert_eq!(response["usage"]["output_tokens"], call.output_tokens);
    t.finish().await;
}

#[tokio::test]
async fn an_answer_cut_short_is_incomplete_and_says_why() {
    let t = TestGateway::start().await;
    let body = with(ask("much [[words:200]]"), json!({"max_output_tokens": 5}));
    let response = create(&t, &body).await;
    assert_eq!(
        (&response["status"], &response["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    assert_eq!((&response["output"][0]["status"], &response["completed_at"]), (&json!("incomplete"), &Value::Null));
    let streamed = events(&send(&t, &with(body, json!({"stream": true}))).await);
    assert_eq!(streamed.last().unwrap()["type"], "response.incomplete");
    let filtered = create(&t, &ask("bad [[stop:content_filtered]]")).await;
    assert_eq!(filtered["incomplete_details"]["reason"], "content_filter");
    t.finish().await;
}

#[tokio::test]
async fn a_tool_is_called_and_answered_by_going_on_from_the_response() {
    let t = TestGateway::start().await;
    let first = create(&t, &with(ask("What is the weather? [[tool]]"), json!({"tools": weather()}))).await;
    let call = items(&first, "function_call")[0].clone();
    assert_eq!((&call["name"], &call["status"]), (&json!("get_weather"), &json!("completed")));
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["city"].is_string() && arguments["days"].is_i64(), "{arguments}");

    let answer = json!([{"type": "function_call_output", "call_id": call["call_id"], "output": "sunny, 21 degrees"}]);
    let body = json!({"model": MODEL, "tools": weather(), "previous_response_id": first["id"], "input": answer});
    let second = create(&t, &body).await;
    assert!(text(&second).contains("sunny, 21 degrees"), "{second}");
    assert_eq!(second["previous_response_id"], first["id"]);

    let body = json!({"model": MODEL, "previous_response_id": second["id"], "input": "And now?"});
    assert!(text(&create(&t, &body).await).contains("And now?"));
    t.finish().await;
}

#[tokio::test]
async fn a_streamed_response_can_be_gone_on_from_as_soon_as_it_is_complete() {
    let t = TestGateway::tapped(|_| {}).await;
    let body = with(ask("remember the word kiwi"), json!({"stream": true}));
    let first = events(&send(&t, &body).await).pop().unwrap()["response"].clone();
    assert_eq!(first["store"], true);
    create(&t, &json!({"model": MODEL, "previous_response_id": first["id"], "input": "Which word?"})).await;
    let sent: Value = serde_json::from_slice(&t.tap.exchanges()[1].request).unwrap();
    let roles: Vec<&Value> = sent["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(sent["messages"][0]["content"][0]["text"], "remember the word kiwi");
    assert_eq!(sent["messages"][1]["content"][0]["text"], text(&first));
    t.finish().await;
}

#[tokio::test]
async fn instructions_count_for_one_response_only() {
    let t = TestGateway::tapped(|_| {}).await;
    let first = create(&t, &with(ask("one"), json!({"instructions": "First."}))).await;
    let body = json!({"model": MODEL, "previous_response_id": first["id"], "instructions": "Second.", "input": "two"});
    create(&t, &body).await;
    let sent: Value = serde_json::from_slice(&t.tap.exchanges()[1].request).unwrap();
    assert_eq!(sent["system"], json!([{"text": "Second."}]));
    t.finish().await;
}

#[tokio::test]
async fn signed_reasoning_comes_back_to_the_model_from_the_store_and_from_the_client() {
    let t = TestGateway::tapped(|_| {}).await;
    let body = with(with(ask("Think. [[tool]]"), thinking()), json!({"tools": weather()}));
    let first = create(&t, &body).await;
    let thought = items(&first, "reasoning")[0].clone();
    assert!(!thought["summary"][0]["text"].as_str().unwrap().is_empty(), "{thought}");
    assert!(thought["encrypted_content"].is_string(), "{thought}");
    let call = items(&first, "function_call")[0];
    let answer = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"});

    // The simulator refuses a signature that is not its own, and a tool call without the thought before it.
    let settings = with(thinking(), json!({"model": MODEL, "tools": weather()}));
    let from_store = with(settings.clone(), json!({"previous_response_id": first["id"], "input": [answer]}));
    let mut replayed = vec![json!({"role": "user", "content": "Think. [[tool]]"})];
    replayed.extend(first["output"].as_array().unwrap().iter().cloned());
    replayed.push(answer);
    let from_client = with(settings, json!({"store": false, "input": replayed}));
    for body in [from_store, from_client] {
        assert!(text(&create(&t, &body).await).contains("sunny"));
    }
    let exchanges = t.tap.exchanges();
    let sent: Vec<Value> =
        exchanges[1..].iter().map(|exchange| serde_json::from_slice(&exchange.request).unwrap()).collect();
    assert_eq!(sent[0]["messages"], sent[1]["messages"]);
    t.finish().await;
}

#[tokio::test]
async fn streamed_reasoning_is_whole_and_as_good_for_a_later_turn() {
    let t = TestGateway::start().await;
    let body = with(with(ask("Think. [[tool]]"), thinking()), json!({"tools": weather(), "stream": true}));
    let events = events(&send(&t, &body).await);
    let first = &events.last().unwrap()["response"];
    let summary: String = events
        .iter()
        .filter(|event| event["type"] == "response.reasoning_summary_text.delta")
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    assert_eq!(items(first, "reasoning")[0]["summary"][0]["text"], summary);
    let call = items(first, "function_call")[0];
    let answer = json!([{"type": "function_call_output", "call_id": call["call_id"], "output": "rainy"}]);
    let body = json!({"model": MODEL, "tools": weather(), "previous_response_id": first["id"], "input": answer});
    assert!(text(&create(&t, &with(body, thinking())).await).contains("rainy"));
    t.finish().await;
}

#[tokio::test]
async fn items_are_referred_to_instead_of_sent_again() {
    let t = TestGateway::start().await;
    let first = create(&t, &with(ask("What is the weather? [[tool]]"), json!({"tools": weather()}))).await;
    let call = items(&first, "function_call")[0];
    let path = format!("/v1/responses/{}/input_items", first["id"].as_str().unwrap());
    let question = t.get(&path).await.json()["data"][0]["id"].clone();
    let input = json!([
        {"type": "item_reference", "id": question},
        {"id": call["id"]},
        {"type": "function_call_output", "call_id": call["call_id"], "output": "foggy"},
    ]);
    let second = create(&t, &json!({"model": MODEL, "tools": weather(), "input": input})).await;
    assert!(text(&second).contains("foggy"), "{second}");
    // What was referred to is part of what was kept.
    let body = json!({"model": MODEL, "tools": weather(), "previous_response_id": second["id"], "input": "Again?"});
    assert!(text(&create(&t, &body).await).contains("Again?"));

    let unknown =
        json!({"model": MODEL, "input": [{"role": "user", "content": "x"}, {"type": "item_reference", "id": "msg_1"}]});
    let reply = send(&t, &unknown).await;
    assert_eq!((reply.status(), &reply.openai_error()["param"]), (400, &json!("input[1].id")));
    t.finish().await;
}

#[tokio::test]
async fn a_response_is_looked_up_as_it_was_answered_and_deleted() {
    let t = TestGateway::start().await;
    for stream in [false, true] {
        let body = with(ask("keep me"), json!({"stream": stream, "tools": weather(), "user": "u"}));
        let reply = send(&t, &body).await;
        let answered = if stream { events(&reply).pop().unwrap()["response"].clone() } else { reply.json() };
        let path = format!("/v1/responses/{}", answered["id"].as_str().unwrap());
        let found = t.get(&path).await;
        assert_eq!((found.status(), &found.json()), (200, &answered));
        let names = |response: &Value| response.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found.json()), names(&answered));

        let gone = delete(&t, &path).await;
        assert_eq!(gone.json(), json!({"id": answered["id"], "object": "response", "deleted": true}));
        for reply in [t.get(&path).await, delete(&t, &path).await, t.get(&format!("{path}/input_items")).await] {
            assert_eq!((reply.status(), &reply.openai_error()["type"]), (404, &json!("invalid_request_error")));
        }
        let body = json!({"model": MODEL, "previous_response_id": answered["id"], "input": "x"});
        assert_eq!(send(&t, &body).await.status(), 400);
    }
    t.finish().await;
}

#[tokio::test]
async fn the_input_of_a_response_is_listed_with_ids_in_pages() {
    let t = TestGateway::start().await;
    let input = json!([
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"type": "message", "id": "msg_mine", "role": "user", "content": [{"type": "input_text", "text": "three"}]},
    ]);
    let response = create(&t, &json!({"model": MODEL, "input": input})).await;
    let path = format!("/v1/responses/{}/input_items", response["id"].as_str().unwrap());
    let page = t.get(&format!("{path}?order=asc&limit=2&include[]=message.input_image.image_url")).await.json();
    assert_eq!((&page["object"], &page["has_more"]), (&json!("list"), &json!(true)));
    let content = |item: &Value| item["content"][0].clone();
    assert_eq!(content(&page["data"][0]), json!({"type": "input_text", "text": "one"}));
    assert_eq!(content(&page["data"][1]), json!({"type": "output_text", "text": "two"}));
    let last = page["last_id"].as_str().unwrap();
    let rest = t.get(&format!("{path}?order=asc&after={last}")).await.json();
    assert_eq!((&rest["data"][0]["id"], &rest["has_more"]), (&json!("msg_mine"), &json!(false)));
    let newest = t.get(&path).await.json();
    assert_eq!((newest["data"].as_array().unwrap().len(), &newest["first_id"]), (3, &json!("msg_mine")));
    for (parameters, param) in [("limit=0", "limit"), ("order=up", "order"), ("after=nobody", "after")] {
        let reply = t.get(&format!("{path}?{parameters}")).await;
        assert_eq!((reply.status(), &reply.openai_error()["param"]), (400, &json!(param)));
    }
    t.finish().await;
}

#[tokio::test]
async fn what_is_not_to_be_stored_is_not() {
    let t = TestGateway::start().await;
    let response = create(&t, &with(ask("forget me"), json!({"store": false}))).await;
    assert_eq!(response["store"], false);
    let id = response["id"].as_str().unwrap();
    assert_eq!(t.get(&format!("/v1/responses/{id}")).await.status(), 404);
    let reply = send(&t, &json!({"model": MODEL, "previous_response_id": id, "input": "x"})).await;
    let error = reply.openai_error();
    assert_eq!(
        (reply.status(), &error["code"], &error["param"]),
        (400, &json!("previous_response_not_found"), &json!("previous_response_id"))
    );
    assert!(error["message"].as_str().unwrap().contains(id));
    t.finish().await;
}

#[tokio::test]
async fn a_gateway_that_keeps_nothing_says_so() {
    let t = TestGateway::with(|config| config.responses.store = false).await;
    let silent = send(&t, &ask("hi")).await;
    assert_eq!((&silent.json()["store"], silent.header("x-gateway-translation")), (&json!(false), ""));
    let asked = send(&t, &with(ask("hi"), json!({"store": true}))).await;
    assert_eq!((&asked.json()["store"], asked.header("x-gateway-translation")), (&json!(false), "dropped:store"));
    t.finish().await;
}

#[tokio::test]
async fn another_team_sees_nothing_of_it() {
    let t = TestGateway::start().await;
    let response = create(&t, &ask("ours")).await;
    let item = response["output"][0]["id"].clone();
    t.make_team(NewTeam::new("others")).await;
    let (_, key) = t.make_key(NewKey::new("others", "k")).await;
    let path = format!("/v1/responses/{}", response["id"].as_str().unwrap());
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::GET, format!("{path}/input_items")),
        (Method::POST, format!("{path}/cancel")),
    ] {
        let reply = Reply::to(t.request(method, &path).bearer_auth(&key)).await;
        assert_eq!(reply.status(), 404, "{path}");
    }
    let going_on = json!({"model": MODEL, "previous_response_id": response["id"], "input": "x"});
    let referring = json!({"model": MODEL, "input": [{"type": "item_reference", "id": item}]});
    for body in [going_on, referring] {
        let reply = Reply::to(t.request(Method::POST, "/v1/responses").bearer_auth(&key).json(&body)).await;
        assert_eq!(reply.status(), 400, "{reply:?}");
    }
    assert_eq!(t.get(&path).await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn a_response_is_gone_when_its_time_is_over() {
    let t = TestGateway::with(|config| config.responses.retention_hours = 2).await;
    let response = create(&t, &ask("for a while")).await;
    let path = format!("/v1/responses/{}", response["id"].as_str().unwrap());
    t.clock.advance(Duration::from_mins(119));
    assert_eq!(t.get(&path).await.status(), 200);
    t.clock.advance(Duration::from_mins(1));
    assert_eq!(t.get(&path).await.status(), 404);
    let body = json!({"model": MODEL, "previous_response_id": response["id"], "input": "x"});
    assert_eq!(send(&t, &body).await.openai_error()["code"], "previous_response_not_found");
    t.finish().await;
}

#[tokio::test]
async fn what_only_the_background_could_do_is_refused() {
    let t = TestGateway::start().await;
    let response = create(&t, &ask("hi")).await;
    let path = format!("/v1/responses/{}", response["id"].as_str().unwrap());
    let cancel = Reply::to(t.request(Method::POST, &format!("{path}/cancel")).bearer_auth(t.key())).await;
    assert_eq!(cancel.status(), 400);
    let again = t.get(&format!("{path}?stream=true")).await;
    assert_eq!((again.status(), &again.openai_error()["param"]), (400, &json!("stream")));
    let background = send(&t, &with(ask("hi"), json!({"background": true}))).await;
    assert_eq!((background.status(), &background.openai_error()["param"]), (400, &json!("background")));
    t.finish().await;
}

#[tokio::test]
async fn an_exception_within_a_stream_is_an_error_and_a_failed_response_and_is_not_kept() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).stream_exception("throttlingException", 3);
    let events = events(&send(&t, &with(ask("too fast [[words:30]]"), json!({"stream": true}))).await);
    let [.., error, failed] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("rate_limit_exceeded")));
    assert_eq!((&error["message"], &error["code"]), (&error["error"]["message"], &error["error"]["code"]));
    let response = &failed["response"];
    assert_eq!((&failed["type"], &response["status"]), (&json!("response.failed"), &json!("failed")));
    assert_eq!((&response["error"]["code"], &response["store"]), (&json!("rate_limit_exceeded"), &json!(false)));
    assert_eq!(response["output"][0]["status"], "incomplete");
    let call = t.only_call().await;
    assert_eq!((call.outcome.as_str(), call.usage_source), ("upstream_throttled", UsageSource::Partial));
    let id = response["id"].as_str().unwrap();
    assert_eq!(t.get(&format!("/v1/responses/{id}")).await.status(), 404);
    t.finish().await;
}

#[tokio::test]
async fn an_error_before_the_first_event_is_a_plain_answer() {
    let t = TestGateway::start().await;
    t.sim.region("*").reject(1, "ValidationException", 400, "The model refuses.");
    let reply = send(&t, &with(ask("no"), json!({"stream": true}))).await;
    assert_eq!((reply.status(), &reply.openai_error()["message"]), (400, &json!("The model refuses.")));
    t.finish().await;
}

#[tokio::test]
async fn what_the_translation_changes_is_reported_and_refused_in_strict_mode() {
    let t = TestGateway::start().await;
    let body = with(ask("hi"), json!({"temperature": 1.7, "prompt_cache_key": "k"}));
    let reply = send(&t, &body).await;
    assert_eq!(
        (reply.status(), reply.header("x-gateway-translation")),
        (200, "dropped:prompt_cache_key,clamped:temperature")
    );
    let strict = Reply::to(request(&t, &body).header("x-gateway-strict", "1")).await;
    assert_eq!((strict.status(), &strict.openai_error()["code"]), (400, &json!("unsupported_parameter")));
    t.finish().await;
}

#[tokio::test]
async fn a_schema_is_held_to_and_a_custom_tool_gets_its_text() {
    let t = TestGateway::start().await;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "name": "place", "schema": schema, "strict": true});
    let response = create(&t, &with(ask("Where?"), json!({"text": {"format": format}}))).await;
    let place: Value = serde_json::from_str(&text(&response)).unwrap();
    assert!(place["city"].is_string(), "{place}");

    let tools = json!([{"type": "custom", "name": "patch", "description": "Patches."}]);
    for stream in [false, true] {
        let body = with(ask("Patch it [[tool]]"), json!({"tools": tools, "stream": stream}));
        let reply = send(&t, &body).await;
        let response = if stream { events(&reply).pop().unwrap()["response"].clone() } else { reply.json() };
        let call = items(&response, "custom_tool_call")[0];
        assert!(call["input"].as_str().is_some_and(|text| !text.is_empty() && !text.contains('{')), "{call}");
        let answer = json!([{"type": "custom_tool_call_output", "call_id": call["call_id"], "output": "patched"}]);
        let body = json!({"model": MODEL, "tools": tools, "previous_response_id": response["id"], "input": answer});
        assert!(text(&create(&t, &body).await).contains("patched"));
    }
    t.finish().await;
}

#[tokio::test]
async fn a_key_without_the_scope_reads_nothing() {
    let t = TestGateway::start().await;
    let response = create(&t, &ask("ours")).await;
    let scopes = vec![bedrock_gateway::tenancy::Scope::Batch];
    let (_, key) = t.make_key(NewKey { scopes, ..NewKey::new(TEAM, "batch") }).await;
    let path = format!("/v1/responses/{}", response["id"].as_str().unwrap());
    for (method, path) in [(Method::GET, &*path), (Method::DELETE, &*path), (Method::POST, "/v1/responses")] {
        let request = t.request(method, path).bearer_auth(&key).json(&ask("x"));
        assert_eq!(Reply::to(request).await.status(), 403);
    }
    t.finish().await;
}

#[tokio::test]
async fn input_is_counted_as_the_response_to_it_would_be() {
    let t = TestGateway::start().await;
    let first = create(&t, &with(ask("one, two, three"), json!({"instructions": "Count."}))).await;
    let body = json!({"model": MODEL, "previous_response_id": first["id"], "input": "and four", "tools": weather()});
    let count =
        |body: &Value| Reply::to(t.request(Method::POST, "/v1/responses/input_tokens").bearer_auth(t.key()).json(body));
    let counted = count(&body).await;
    assert_eq!((counted.status(), counted.header("x-gateway-cost-usd")), (200, "0.000000"));
    let counted = counted.json();
    assert_eq!(counted["object"], "response.input_tokens");
    assert_eq!(counted["input_tokens"], create(&t, &body).await["usage"]["input_tokens"]);
    let calls = t.booked_calls(3).await;
    assert_eq!((&*calls[1].operation, calls[1].input_tokens), ("input_tokens", 0));

    let refused = count(&json!({"model": "nova-lite", "input": "x"})).await;
    let error = refused.openai_error();
    assert_eq!((refused.status(), &error["param"]), (400, &json!("model")));
    t.finish().await;
}

#[tokio::test]
async fn a_file_reaches_the_model_and_stays_in_the_conversation() {
    let t = TestGateway::tapped(|_| {}).await;
    let file = json!({"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGVsbG8="});
    let input = json!([{"role": "user", "content": [file, {"type": "input_text", "text": "Sum up."}]}]);
    let first = create(&t, &json!({"model": MODEL, "input": input})).await;
    create(&t, &json!({"model": MODEL, "previous_response_id": first["id"], "input": "Again."})).await;
    for exchange in t.tap.exchanges() {
        let sent: Value = serde_json::from_slice(&exchange.request).unwrap();
        let document = &sent["messages"][0]["content"][0]["document"];
        assert_eq!(*document, json!({"format": "txt", "name": "document-1", "source": {"bytes": "aGVsbG8="}}));
    }
    t.finish().await;
}

#[tokio::test]
async fn what_stands_within_the_network_is_not_fetched() {
    let t = TestGateway::start().await;
    for (kind, field) in [("input_image", "image_url"), ("input_file", "file_url")] {
        let part = json!({"type": kind, field: format!("http://{}/v1/models", t.address())});
        let reply = send(&t, &json!({"model": MODEL, "input": [{"role": "user", "content": [part]}]})).await;
        let error = reply.openai_error();
        assert_eq!((reply.status(), &error["param"]), (400, &json!(format!("input[0].content[0].{field}"))));
    }
    assert!(t.sim.calls().is_empty());
    t.finish().await;
}
