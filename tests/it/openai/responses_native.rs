//! `/v1/responses` of models that speak it on Bedrock: the body travels as it came, and the gateway keeps the state.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bedrock_gateway::tenancy::ledger::UsageSource;
use bedrock_gateway::tenancy::{NewKey, NewTeam};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::support::calls::with;
use crate::support::reply::Reply;
use crate::support::site::Site;
use crate::support::{FIRST, MODEL, SECOND, TestGateway};

const NATIVE: &str = "gpt-5.6-sol";
/// Has responses, and no other way to be asked.
const ALONE: &str = "gpt-5.4";
/// By another maker.
const GROK: &str = "grok-4.6";

fn ask(text: &str) -> Value {
    json!({"model": NATIVE, "input": text})
}

fn weather() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    json!([{"type": "function", "name": "get_weather", "parameters": parameters}])
}

async fn send_as(t: &TestGateway, key: &str, body: &Value) -> Reply {
    Reply::to(t.request(Method::POST, "/v1/responses").bearer_auth(key).json(body)).await
}

async fn send(t: &TestGateway, body: &Value) -> Reply {
    send_as(t, t.key(), body).await
}

/// The answer to bytes.
async fn send_bytes(t: &TestGateway, body: String) -> Reply {
    let request = t.request(Method::POST, "/v1/responses").bearer_auth(t.key());
    Reply::to(request.header("content-type", "application/json").body(body)).await
}

/// The response to a good request.
async fn create(t: &TestGateway, body: &Value) -> Value {
    let reply = send(t, body).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()
}

/// The last event of a good stream.
async fn streamed(t: &TestGateway, body: &Value) -> Value {
    send(t, &with(body.clone(), json!({"stream": true}))).await.events().pop().unwrap()
}

fn text(response: &Value) -> String {
    let items = response["output"].as_array().unwrap().iter().filter(|item| item["type"] == "message");
    items.map(|item| item["content"][0]["text"].as_str().unwrap()).collect()
}

fn item<'r>(response: &'r Value, kind: &str) -> &'r Value {
    let mut items = response["output"].as_array().unwrap().iter();
    items.find(|item| item["type"] == kind).unwrap_or_else(|| panic!("no {kind} in {response}"))
}

/// What Bedrock was sent, oldest first.
fn sent(t: &TestGateway) -> Vec<Value> {
    t.tap.exchanges().iter().map(|exchange| serde_json::from_slice(&exchange.request).unwrap()).collect()
}

/// The kinds of the items that Bedrock was sent.
fn kinds(sent: &Value) -> Vec<&str> {
    sent["input"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap_or("message")).collect()
}

/// Takes the table of responses away.
async fn lose_store(t: &TestGateway) {
    let mut store = sqlx::SqliteConnection::connect(&t.config.store.url).await.unwrap();
    sqlx::query("ALTER TABLE responses RENAME TO lost").execute(&mut store).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn body_and_answer_travel_byte_for_byte_when_nothing_is_to_be_kept() {
    let t = TestGateway::tapped(|_| {}).await;
    let body = format!(r#"{{"model":"{NATIVE}", "input" : "caf\u00e9", "max_output_tokens":60,"store":false}}"#);
    let reply = send_bytes(&t, body.clone()).await;
    assert_eq!((reply.status(), reply.region(), reply.header("x-gateway-translation")), (200, FIRST, ""), "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/json");
    let passed = t.tap.only_exchange();
    let expected = r#"{ "input" : "caf\u00e9", "max_output_tokens":60,"store":false,"model":"us.openai.gpt-5.6-sol"}"#;
    assert_eq!((passed.path.as_str(), &passed.request[..]), ("/openai/v1/responses", expected.as_bytes()));
    assert_eq!(reply.bytes(), &passed.response);

    let reply = send_bytes(&t, body.replacen('{', "{\"stream\":true,", 1)).await;
    assert_eq!(reply.bytes(), &t.tap.exchanges()[1].response);
    let [whole, streamed] = <[_; 2]>::try_from(t.booked_calls(2).await).unwrap();
    assert_eq!((whole.usage_source, &*whole.operation, whole.streamed), (UsageSource::Final, "responses", false));
    assert_eq!((streamed.usage_source, streamed.output_tokens), (UsageSource::Final, whole.output_tokens));
    assert!(whole.cost.unwrap().0 > 0);
    t.finish().await;
}

#[tokio::test]
async fn what_is_kept_differs_from_the_answer_of_bedrock_only_in_its_state() {
    for model in [NATIVE, ALONE, GROK] {
        let t = TestGateway::tapped(|_| {}).await;
        let reply = send(&t, &with(ask("keep me"), json!({"model": model}))).await;
        assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, ""), "{reply:?}");
        let passed = t.tap.only_exchange();
        let of_bedrock = String::from_utf8(passed.response).unwrap();
        assert!(of_bedrock.contains("\"store\":false"));
        assert_eq!(reply.text(), of_bedrock.replace("\"store\":false", "\"store\":true"));
        let sent = sent(&t).remove(0);
        assert_eq!((&sent["store"], &sent["include"]), (&json!(false), &json!(["reasoning.encrypted_content"])));

        let answered = reply.json();
        let path = format!("/v1/responses/{}", answered["id"].as_str().unwrap());
        assert_eq!(t.get(&path).await.json(), answered);
        let listed = t.get(&format!("{path}/input_items")).await.json();
        assert_eq!(listed["data"][0]["content"], json!([{"type": "input_text", "text": "keep me"}]));
        t.finish().await;
    }
}

#[tokio::test]
async fn a_stream_is_kept_before_its_last_event_and_differs_only_in_its_state() {
    let t = TestGateway::tapped(|_| {}).await;
    let reply = send(&t, &with(ask("a story [[words:20]]"), json!({"stream": true}))).await;
    let of_bedrock = String::from_utf8(t.tap.only_exchange().response).unwrap();
    assert_eq!(of_bedrock.matches("\"store\":false").count(), 3);
    assert_eq!(reply.text(), of_bedrock.replace("\"store\":false", "\"store\":true"));
    let events = reply.events();
    let response = &events.last().unwrap()["response"];
    let found = t.get(&format!("/v1/responses/{}", response["id"].as_str().unwrap())).await;
    assert_eq!(found.json(), *response);
    let call = t.only_call().await;
    assert_eq!(
        (call.usage_source, json!(call.output_tokens)),
        (UsageSource::Final, response["usage"]["output_tokens"].clone())
    );

    let cut = with(ask("much [[words:99]]"), json!({"max_output_tokens": 16, "reasoning": {"effort": "none"}}));
    let last = streamed(&t, &cut).await;
    assert_eq!((&last["type"], &last["response"]["store"]), (&json!("response.incomplete"), &json!(true)));
    let second = create(&t, &with(ask("go on"), json!({"previous_response_id": last["response"]["id"]}))).await;
    assert_eq!(second["previous_response_id"], last["response"]["id"]);
    t.finish().await;
}

#[tokio::test]
async fn a_tool_is_answered_by_going_on_from_the_response_in_any_region() {
    for stream in [false, true] {
        let t = TestGateway::tapped(|_| {}).await;
        let body = with(ask("What is the weather? [[tool]]"), json!({"tools": weather(), "instructions": "Be kind."}));
        let first = if stream { streamed(&t, &body).await["response"].clone() } else { create(&t, &body).await };
        let call = item(&first, "function_call");
        // What AWS stores lives in one Region: the gateway's own state does not.
        t.sim.region(FIRST).throttle(1);
        let answer = json!([{"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}]);
        let body = json!({"model": NATIVE, "tools": weather(), "previous_response_id": first["id"], "input": answer});
        let reply = send(&t, &with(body, json!({"stream": stream}))).await;
        assert_eq!(
            (reply.status(), reply.region(), reply.header("x-gateway-translation")),
            (200, SECOND, ""),
            "{reply:?}"
        );
        let second = if stream { reply.events().pop().unwrap()["response"].clone() } else { reply.json() };
        assert!(text(&second).contains("sunny"), "{second}");
        assert_eq!((&second["previous_response_id"], &second["store"]), (&first["id"], &json!(true)));
        let sent = sent(&t).pop().unwrap();
        assert_eq!((sent.get("previous_response_id"), sent.get("instructions")), (None, None));
        assert_eq!(kinds(&sent), ["message", "reasoning", "message", "function_call", "function_call_output"]);
        assert!(sent["input"][1]["encrypted_content"].is_string());

        let third = create(&t, &with(ask("And now?"), json!({"previous_response_id": second["id"]}))).await;
        assert!(text(&third).contains("And now?"));
        t.finish().await;
    }
}

#[tokio::test]
async fn encrypted_reasoning_is_sent_back_by_a_client_that_keeps_everything_itself() {
    let t = TestGateway::tapped(|_| {}).await;
    let settings = json!({"store": false, "include": ["reasoning.encrypted_content"], "tools": weather()});
    let question = json!({"role": "user", "content": "Think. [[tool]]"});
    let first = create(&t, &with(settings.clone(), json!({"model": GROK, "input": [question]}))).await;
    let mut input = vec![question];
    input.extend(first["output"].as_array().unwrap().iter().cloned());
    let call = item(&first, "function_call")["call_id"].clone();
    input.push(json!({"type": "function_call_output", "call_id": call, "output": "foggy"}));
    let reply = send(&t, &with(settings, json!({"model": GROK, "input": input}))).await;
    assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, ""), "{reply:?}");
    assert!(text(&reply.json()).contains("foggy"));
    assert_eq!(sent(&t)[1]["input"], json!(input));
    t.finish().await;
}

#[tokio::test]
async fn a_request_that_keeps_nothing_needs_no_store_and_one_that_would_is_answered_all_the_same() {
    let t = TestGateway::tapped(|_| {}).await;
    let kept = create(&t, &ask("before")).await;
    lose_store(&t).await;
    let none = with(ask("no state"), json!({"store": false}));
    assert_eq!(create(&t, &none).await["store"], false);
    assert_eq!(streamed(&t, &none).await["response"]["store"], false);

    assert_eq!(create(&t, &ask("keep me")).await["store"], false);
    let reply = send(&t, &with(ask("keep me"), json!({"stream": true}))).await;
    let events = reply.events();
    let stores: Vec<&Value> = events.iter().filter_map(|event| event.get("response")?.get("store")).collect();
    assert_eq!(stores, [true, true, false]);
    let reply = send(&t, &with(ask("go on"), json!({"previous_response_id": kept["id"]}))).await;
    assert_eq!((reply.status(), &reply.openai_error()["code"]), (500, &json!("internal_error")));
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
async fn items_are_referred_to_by_the_ids_that_bedrock_gave_them() {
    let t = TestGateway::tapped(|_| {}).await;
    let first = create(&t, &with(ask("What is the weather? [[tool]]"), json!({"tools": weather()}))).await;
    let path = format!("/v1/responses/{}/input_items", first["id"].as_str().unwrap());
    let question = t.get(&path).await.json()["data"][0]["id"].clone();
    let call = item(&first, "function_call");
    let input = json!([
        {"type": "item_reference", "id": question},
        {"type": "item_reference", "id": item(&first, "reasoning")["id"]},
        {"id": call["id"]},
        {"type": "function_call_output", "call_id": call["call_id"], "output": "foggy"},
    ]);
    let second = create(&t, &json!({"model": NATIVE, "tools": weather(), "input": input, "store": false})).await;
    assert!(text(&second).contains("foggy"), "{second}");
    let sent = sent(&t).pop().unwrap();
    assert_eq!((&sent["input"][1], &sent["input"][2]), (item(&first, "reasoning"), call));

    // A translated model reads them, too.
    let input = json!([{"type": "item_reference", "id": question}]);
    assert!(text(&create(&t, &json!({"model": MODEL, "input": input})).await).contains("What is the weather?"));

    let unknown = json!([{"role": "user", "content": "x"}, {"type": "item_reference", "id": "msg_nobody"}]);
    let reply = send(&t, &json!({"model": NATIVE, "input": unknown})).await;
    assert_eq!((reply.status(), &reply.openai_error()["param"]), (400, &json!("input[1].id")));
    t.finish().await;
}

#[tokio::test]
async fn another_team_sees_nothing_of_it() {
    let t = TestGateway::start().await;
    let ours = create(&t, &ask("ours")).await;
    t.make_team(NewTeam::new("others")).await;
    let (_, key) = t.make_key(NewKey::new("others", "k")).await;
    let path = format!("/v1/responses/{}", ours["id"].as_str().unwrap());
    assert_eq!(Reply::to(t.request(Method::GET, &path).bearer_auth(&key)).await.status(), 404);
    let reply = send_as(&t, &key, &with(ask("go on"), json!({"previous_response_id": ours["id"]}))).await;
    let error = reply.openai_error();
    assert_eq!((reply.status(), &error["code"]), (400, &json!("previous_response_not_found")));
    let reference = json!([{"type": "item_reference", "id": item(&ours, "message")["id"]}]);
    let reply = send_as(&t, &key, &json!({"model": NATIVE, "input": reference})).await;
    assert_eq!((reply.status(), &reply.openai_error()["param"]), (400, &json!("input[0].id")));
    assert_eq!(t.sim.calls().len(), 1);
    t.finish().await;
}

#[tokio::test]
async fn a_conversation_changes_models_and_says_what_is_lost() {
    let t = TestGateway::tapped(|_| {}).await;
    let body = with(ask("Think. [[tool]]"), json!({"tools": weather()}));
    let thinking = json!({"max_output_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 1024}});
    let of = |response: &Value, model: &str| {
        let call = &item(response, "function_call")["call_id"];
        let answer = json!([{"type": "function_call_output", "call_id": call, "output": "sunny"}]);
        json!({"model": model, "tools": weather(), "previous_response_id": response["id"], "input": answer})
    };
    let claude = with(with(body.clone(), thinking), json!({"model": MODEL}));
    let grok = with(body.clone(), json!({"model": GROK}));
    for (first, model) in [(&body, MODEL), (&claude, NATIVE), (&grok, NATIVE)] {
        let second = of(&create(&t, first).await, model);
        let reply = send(&t, &second).await;
        let dropped = "dropped:previous_response_id";
        assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, dropped), "{first} {reply:?}");
        assert!(text(&reply.json()).contains("sunny"));
        let strict = t.request(Method::POST, "/v1/responses").bearer_auth(t.key()).header("x-gateway-strict", "1");
        assert_eq!(Reply::to(strict.json(&second)).await.status(), 400);
    }
    // And there and back: what was not lost on the way is read again.
    let first = create(&t, &body).await;
    let second = create(&t, &of(&first, MODEL)).await;
    let reply = send(&t, &with(ask("Again"), json!({"previous_response_id": second["id"]}))).await;
    assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, ""), "{reply:?}");
    assert!(kinds(&sent(&t).pop().unwrap()).contains(&"reasoning"));

    // By a client that sends everything itself.
    let first = create(&t, &claude).await;
    let mut input = vec![json!({"role": "user", "content": "Think. [[tool]]"})];
    input.extend(first["output"].as_array().unwrap().iter().cloned());
    input.extend(of(&first, NATIVE)["input"].as_array().unwrap().iter().cloned());
    let reply = send(&t, &json!({"model": NATIVE, "tools": weather(), "input": input, "store": false})).await;
    assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, "dropped:input[1]"), "{reply:?}");
    t.finish().await;
}

#[tokio::test]
async fn what_stands_elsewhere_is_fetched_and_stays_in_the_conversation() {
    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg==";
    let pdf = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF".to_vec();
    let site = Site::start([("/a.png", STANDARD.decode(PNG).unwrap()), ("/a.pdf", pdf)]).await;
    let t = TestGateway::tapped(|config| site.allow(config)).await;
    let content = json!([
        {"type": "input_image", "image_url": site.url("/a.png")},
        {"type": "input_file", "file_url": site.url("/a.pdf")},
        {"type": "input_text", "text": "What is this?"},
    ]);
    let body = json!({"model": NATIVE, "input": [{"role": "user", "content": content}]});
    let reply = send(&t, &body).await;
    let report = "fetched:input[0].content[0].image_url,fetched:input[0].content[1].file_url";
    assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, report), "{reply:?}");
    create(&t, &with(ask("Again"), json!({"previous_response_id": reply.json()["id"]}))).await;
    for sent in sent(&t) {
        let parts = &sent["input"][0]["content"];
        assert_eq!(parts[0]["image_url"], format!("data:image/png;base64,{PNG}"));
        assert_eq!((&parts[1]["filename"], parts[1].get("file_url")), (&json!("a.pdf"), None));
    }
    // What a translated model was shown, this one can see as well.
    let content = json!([{"type": "input_image", "image_url": site.url("/a.png")}]);
    let first = create(&t, &json!({"model": MODEL, "input": [{"role": "user", "content": content}]})).await;
    create(&t, &with(ask("And this?"), json!({"previous_response_id": first["id"]}))).await;

    let content = json!([{"type": "input_image", "image_url": site.url("/none.png")}]);
    let reply = send(&t, &json!({"model": NATIVE, "input": [{"role": "user", "content": content}]})).await;
    let error = reply.openai_error();
    assert_eq!((reply.status(), &error["param"]), (400, &json!("input[0].content[0].image_url")));
    t.finish().await;
}

#[tokio::test]
async fn another_region_answers_before_the_first_event_and_none_after_it() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).throttle(1);
    let reply = send(&t, &with(ask("over there"), json!({"stream": true}))).await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, SECOND, "2"));
    assert_eq!(reply.events().last().unwrap()["type"], "response.completed");
    t.finish().await;
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_and_a_failed_response_that_is_not_kept() {
    for (exception, code, outcome) in [
        (Some("throttlingException"), "rate_limit_exceeded", "upstream_throttled"),
        (None, "upstream_unavailable", "upstream_unavailable"),
    ] {
        let t = TestGateway::start().await;
        let body = with(ask("too long [[words:30]]"), json!({"stream": true}));
        match exception {
            // The reasoning is whole by then, the message is not.
            Some(exception) => t.sim.region(FIRST).stream_exception(exception, 8),
            None => t.sim.region(FIRST).cut_stream_after(8),
        };
        let reply = send(&t, &body).await;
        let events = reply.events();
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number, "{events:?}");
        }
        let [.., error, failed] = &events[..] else { panic!("{events:?}") };
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)));
        let response = &failed["response"];
        assert_eq!((&failed["type"], &response["status"]), (&json!("response.failed"), &json!("failed")));
        assert_eq!((&response["store"], &response["error"]["message"]), (&json!(false), &error["message"]));
        assert_eq!(
            (response["output"].as_array().unwrap().len(), &response["output"][0]["type"]),
            (1, &json!("reasoning"))
        );
        let call = t.only_call().await;
        assert_eq!((call.outcome.as_str(), call.usage_source, call.attempts), (outcome, UsageSource::Partial, 1));
        let id = response["id"].as_str().unwrap();
        assert_eq!(t.get(&format!("/v1/responses/{id}")).await.status(), 404);
        t.finish().await;
    }
}

#[tokio::test]
async fn tokens_from_the_cache_are_booked_as_bedrock_counts_them() {
    let t = TestGateway::start().await;
    let long = with(ask("hi"), json!({"instructions": "word ".repeat(2000)}));
    let first = create(&t, &long).await["usage"].clone();
    let second = streamed(&t, &long).await["response"]["usage"].clone();
    let [written, read] = <[_; 2]>::try_from(t.booked_calls(2).await).unwrap();
    assert_eq!(json!(written.cache_write_tokens), first["input_tokens_details"]["cache_write_tokens"]);
    assert_eq!(json!(read.cache_read_tokens), second["input_tokens_details"]["cached_tokens"]);
    assert!(written.cache_write_tokens > 1000 && read.cache_read_tokens > 1000);
    assert_eq!(json!(read.input_tokens + read.cache_read_tokens + read.cache_write_tokens), second["input_tokens"]);
    // The books at the end compare every count with the simulator's.
    t.finish().await;
}

/// What a client runs itself, of every type there is.
fn own_tools() -> Value {
    let grammar = json!({"type": "grammar", "syntax": "lark", "definition": "start: /.+/s"});
    json!([
        {"type": "custom", "name": "patch", "description": "Patches files.", "format": grammar},
        {"type": "namespace", "name": "mcp__sky__", "description": "The sky.", "tools": weather()},
        {"type": "tool_search", "execution": "client", "description": "Finds tools.",
         "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}},
    ])
}

#[tokio::test]
async fn what_a_client_runs_itself_goes_to_openais_models_as_it_is() {
    for model in [NATIVE, ALONE] {
        let t = TestGateway::tapped(|_| {}).await;
        let ask = json!({"model": model, "tools": own_tools(), "input": "Help me [[tools:3]]", "reasoning": {"effort": "none"}});
        let reply = send(&t, &ask).await;
        assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, ""), "{model}: {reply:?}");
        let first = reply.json();
        assert_eq!(item(&first, "custom_tool_call")["name"], "patch");
        let call = item(&first, "function_call");
        assert_eq!((&call["namespace"], &call["name"]), (&json!("mcp__sky__"), &json!("get_weather")));
        let search = item(&first, "tool_search_call").clone();

        let moon =
            json!({"type": "function", "name": "moon_phase", "parameters": {"type": "object", "properties": {}}});
        let answers = json!([
            {"type": "custom_tool_call_output", "call_id": item(&first, "custom_tool_call")["call_id"], "output": "patched"},
            {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"},
            {"type": "tool_search_output", "call_id": search["call_id"], "execution": "client", "status": "completed",
             "tools": [moon]},
            {"role": "user", "content": "Now moon_phase"},
        ]);
        let gone_on = with(ask.clone(), json!({"input": answers, "previous_response_id": first["id"]}));
        let second = create(&t, &gone_on).await;
        assert_eq!(item(&second, "function_call")["name"], "moon_phase", "{model}");
        let all = [ask["input"].clone(), json!(first["output"]), answers];
        let mut sent_back = vec![json!({"role": "user", "content": all[0]})];
        sent_back.extend(all[1..].iter().flat_map(|items| items.as_array().unwrap().clone()));
        let second = create(&t, &with(ask, json!({"input": sent_back, "store": false}))).await;
        assert_eq!(item(&second, "function_call")["name"], "moon_phase", "{model}");
        assert!(t.tap.exchanges().iter().all(|exchange| exchange.path == "/openai/v1/responses"));
        assert!(sent(&t).iter().all(|sent| sent["tools"] == own_tools()));
        t.finish().await;
    }
}

#[tokio::test]
async fn custom_tools_of_other_makers_models_are_translated_where_that_can_be() {
    let t = TestGateway::start().await;
    let fields = json!({"tools": [{"type": "custom", "name": "patch"}], "input": "Patch it [[tool]]"});
    let response = create(&t, &with(fields.clone(), json!({"model": GROK}))).await;
    assert_eq!(item(&response, "custom_tool_call")["name"], "patch");
    let operations: Vec<_> = t.sim.calls().iter().map(|call| call.operation).collect();
    assert_eq!(operations, ["Converse"]);
    // What a server would run is refused of all, by its name.
    let hosted = json!({"model": ALONE, "tools": [{"type": "computer"}], "input": "x"});
    let reply = send(&t, &hosted).await;
    let error = reply.openai_error();
    assert_eq!((reply.status(), &error["code"]), (400, &json!("upstream_rejected")), "{reply:?}");
    assert_eq!(error["param"], "tools[0].type", "{reply:?}");
    t.finish().await;
}

#[tokio::test]
async fn a_group_whose_name_bedrock_keeps_for_itself_is_translated_where_that_can_be() {
    let t = TestGateway::start().await;
    let tools = json!([{"type": "namespace", "name": "functions", "tools": weather()}]);
    let fields = json!({"tools": tools, "input": "Weather? [[tool]]"});
    let response = create(&t, &with(fields.clone(), json!({"model": NATIVE}))).await;
    assert_eq!(item(&response, "function_call")["namespace"], "functions");
    let reply = send(&t, &with(fields, json!({"model": ALONE}))).await;
    assert_eq!((reply.status(), &reply.openai_error()["param"]), (400, &json!("tools")), "{reply:?}");
    let operations: Vec<_> = t.sim.calls().iter().map(|call| call.operation).collect();
    assert_eq!(operations, ["Converse", "Responses"]);
    t.finish().await;
}

#[tokio::test]
async fn what_a_search_for_tools_found_is_offered_to_a_model_that_cannot_search() {
    let t = TestGateway::start().await;
    let first = create(&t, &json!({"model": NATIVE, "tools": own_tools(), "input": "Use tool_search"})).await;
    let search = item(&first, "tool_search_call").clone();
    let found = json!([{"type": "namespace", "name": "mcp__moon__", "tools": [
        {"type": "function", "name": "phase", "defer_loading": true, "parameters": {"type": "object", "properties": {}}}]}]);
    let items = json!([
        {"type": "tool_search_output", "call_id": search["call_id"], "execution": "client", "status": "completed",
         "tools": found},
        {"role": "user", "content": "The phase? [[tool]]"},
    ]);
    let asked = json!({"model": MODEL, "tools": [{"type": "tool_search", "execution": "client"}]});
    let gone_on = with(asked.clone(), json!({"input": items, "previous_response_id": first["id"]}));
    let mut sent_back = vec![json!({"role": "user", "content": "Use tool_search"}), search];
    sent_back.extend(items.as_array().unwrap().clone());
    for body in [gone_on, with(asked, json!({ "input": sent_back }))] {
        let reply = send(&t, &body).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        let call = item(&reply.json(), "function_call").clone();
        assert_eq!((&call["namespace"], &call["name"]), (&json!("mcp__moon__"), &json!("phase")));
        let report = reply.header("x-gateway-translation");
        assert!(report.contains("merged:input[") && report.contains("dropped:tools[0]"), "{report}");
    }
    let bad = json!({"model": MODEL, "input": [{"type": "tool_search_output", "tools": "x"}]});
    assert_eq!(send(&t, &bad).await.openai_error()["param"], "input[0].tools");
    t.finish().await;
}

#[tokio::test]
async fn what_an_agent_offers_beside_its_own_tools_is_left_out_on_both_lanes() {
    let t = TestGateway::start().await;
    let mut tools = weather();
    tools.as_array_mut().unwrap().push(json!({"type": "web_search", "external_web_access": false}));
    let fields = json!({"tools": tools, "input": "Weather? [[tool]]", "client_metadata": {"session": "s"}});
    for (model, report) in [
        (NATIVE, "dropped:client_metadata,dropped:tools[1]"),
        (ALONE, "dropped:client_metadata,dropped:tools[1]"),
        (MODEL, "dropped:client_metadata,dropped:tools[1]"),
    ] {
        let body = with(fields.clone(), json!({"model": model}));
        let reply = send(&t, &body).await;
        assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, report), "{model}: {reply:?}");
        assert_eq!(item(&reply.json(), "function_call")["name"], "get_weather");
        let strict = t.request(Method::POST, "/v1/responses").bearer_auth(t.key()).header("x-gateway-strict", "1");
        assert_eq!(Reply::to(strict.json(&body)).await.status(), 400, "{model}");
    }
    t.finish().await;
}

#[tokio::test]
async fn tools_in_namespaces_are_called_with_both_names_and_answered() {
    let t = TestGateway::start().await;
    let tools = json!([{"type": "namespace", "name": "mcp__sky__", "description": "The sky.", "tools": weather()}]);
    for model in [MODEL, NATIVE] {
        let body = json!({"model": model, "tools": tools, "input": "Weather? [[tool]]"});
        let first = create(&t, &body).await;
        let call = item(&first, "function_call");
        assert_eq!((&call["namespace"], &call["name"]), (&json!("mcp__sky__"), &json!("get_weather")), "{model}");
        let last = streamed(&t, &body).await;
        let call = item(&last["response"], "function_call").clone();
        assert_eq!((&call["namespace"], &call["name"]), (&json!("mcp__sky__"), &json!("get_weather")), "{model}");
        let output = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"});
        let sent_back = json!({"model": model, "tools": tools,
            "input": [{"role": "user", "content": "Weather?"}, call, output]});
        assert!(text(&create(&t, &sent_back).await).contains("sunny"), "{model}");
        let gone_on = json!({"model": model, "tools": tools, "input": [output],
            "previous_response_id": last["response"]["id"]});
        assert!(text(&create(&t, &gone_on).await).contains("sunny"), "{model}");
    }
    t.finish().await;
}

#[tokio::test]
async fn bad_input_is_refused_here_or_by_the_model_with_its_reason() {
    let t = TestGateway::start().await;
    let twice = format!(r#"{{"model":"{NATIVE}","input":"x","mod\u0065l":"other"}}"#);
    let reply = send_bytes(&t, twice).await;
    assert_eq!((reply.status(), &reply.openai_error()["param"]), (400, &json!("model")));
    for (fields, param) in [
        (json!({"background": true}), "background"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"prompt": {"id": "p"}}), "prompt"),
        (json!({"input": 7}), "input"),
        (json!({"store": "yes"}), "store"),
        (json!({"previous_response_id": "resp_unknown"}), "previous_response_id"),
        (json!({"input": [{"type": "item_reference"}]}), "input[0].id"),
    ] {
        let reply = send(&t, &with(ask("hi"), fields.clone())).await;
        assert_eq!((reply.status(), &reply.openai_error()["param"]), (400, &json!(param)), "{fields}");
    }
    assert!(t.sim.calls().is_empty());
    let reply = send(&t, &with(ask("hi"), json!({"tools": [{"type": "web_search"}], "stream": true}))).await;
    let error = reply.openai_error();
    assert_eq!((reply.status(), &error["code"]), (400, &json!("upstream_rejected")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("web_search"), "{error}");
    t.finish().await;
}
