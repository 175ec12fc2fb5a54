//! `Idempotency-Key`: a call is made once under it, in every dialect, and told to who repeats it.

use bedrock_gateway::app::App;
use bedrock_gateway::catalog::Catalog;
use bedrock_gateway::clock::Clock;
use bedrock_gateway::tenancy::{NewKey, OnDisconnect};
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::calls::{chat, message, turn, with};
use crate::support::reply::{Live, Reply};
use crate::support::{FIRST, MODEL, TEAM, TestGateway, eventually, within};

const NAME: &str = "idempotency-key";

/// A chat completion under a name.
fn named(t: &TestGateway, name: &str, body: &Value) -> RequestBuilder {
    t.openai().request().header(NAME, name).json(body)
}

fn streamed(text: &str) -> Value {
    with(chat(text), json!({"stream": true}))
}

/// One request for each dialect, whole and streamed.
fn every_kind(t: &TestGateway, name: &str, text: &str) -> Vec<RequestBuilder> {
    let message = |stream: bool| with(message(text), json!({"stream": stream}));
    let bedrock = |operation| t.bedrock().request(operation).header("content-type", "application/json");
    vec![
        t.openai().request().json(&chat(text)).header(NAME, format!("{name}-0")),
        t.openai().request().json(&streamed(text)).header(NAME, format!("{name}-1")),
        t.anthropic().request(Method::POST, "/v1/messages").json(&message(false)).header(NAME, format!("{name}-2")),
        t.anthropic().request(Method::POST, "/v1/messages").json(&message(true)).header(NAME, format!("{name}-3")),
        bedrock("converse").body(turn(text).to_string()).header(NAME, format!("{name}-4")),
        bedrock("converse-stream").body(turn(text).to_string()).header(NAME, format!("{name}-5")),
        t.openai()
            .request_to("/v1/embeddings")
            .json(&json!({"model": "titan-embed-text-v2", "input": text}))
            .header(NAME, format!("{name}-6")),
        t.openai()
            .request_to("/v1/responses")
            .json(&json!({"model": MODEL, "input": text}))
            .header(NAME, format!("{name}-7")),
    ]
}

#[tokio::test]
async fn a_repeat_gets_the_same_bytes_in_every_dialect_and_costs_nothing() {
    let t = TestGateway::start().await;
    let first = join_all(every_kind(&t, "a", "one two [[words:30]]").into_iter().map(Reply::to)).await;
    let calls = t.booked_calls(8).await.len();
    for (first, repeat) in first.iter().zip(every_kind(&t, "a", "one two [[words:30]]")) {
        assert_eq!(first.status(), 200, "{first:?}");
        assert_eq!(first.header("idempotent-replayed"), "");
        let again = Reply::to(repeat.header("x-request-id", "another")).await;
        assert_eq!((again.status(), again.bytes()), (200, first.bytes()));
        assert_eq!(again.header("idempotent-replayed"), "true");
        for name in [
            "content-type",
            "x-request-id",
            "request-id",
            "x-amzn-requestid",
            "x-gateway-region",
            "x-gateway-model",
            "x-gateway-cost-usd",
        ] {
            assert_eq!(again.header(name), first.header(name), "{name}");
        }
        assert_ne!(again.header("x-request-id"), "another");
    }
    assert_eq!(t.ledger().await.len(), calls);
    t.finish().await;
}

#[tokio::test]
async fn another_body_path_or_stream_under_the_same_name_is_a_conflict_in_the_dialect() {
    let t = TestGateway::start().await;
    assert_eq!(Reply::to(named(&t, "a", &chat("hello"))).await.status(), 200);
    let reply = Reply::to(named(&t, "a", &chat("hello!"))).await;
    assert_eq!((reply.status(), reply.header("x-should-retry"), reply.header("retry-after")), (409, "false", ""));
    let error = reply.openai_error();
    assert_eq!((&error["code"], &error["param"]), (&json!("conflict"), &json!("Idempotency-Key")));
    let request = t.anthropic().request(Method::POST, "/v1/messages").json(&message("hello")).header(NAME, "a");
    let reply = Reply::to(request).await;
    assert_eq!((reply.status(), &reply.anthropic_error()["type"]), (409, &json!("invalid_request_error")));
    let reply = Reply::to(t.bedrock().request("converse").body(turn("hello").to_string()).header(NAME, "a")).await;
    assert_eq!((reply.status(), reply.exception().0), (409, "ConflictException"));

    // A name is the key's own, even within a team; and without one every call is a call.
    let (_, other) = t.make_key(NewKey::new(TEAM, "other")).await;
    let request = t.openai().with_key(&other).request().header(NAME, "a").json(&chat("mine"));
    assert_eq!(Reply::to(request).await.header("idempotent-replayed"), "");
    assert_eq!(t.openai().chat("hello").await.status(), 200);
    assert_eq!(t.booked_calls(3).await.len(), 3);
    t.finish().await;
}

#[tokio::test]
async fn a_name_that_cannot_be_is_refused_and_one_where_nothing_costs_is_passed_over() {
    let t = TestGateway::start().await;
    for name in ["", &"x".repeat(256)] {
        let reply = Reply::to(named(&t, name, &chat("hello"))).await;
        assert_eq!((reply.status(), &reply.openai_error()["param"]), (400, &json!("Idempotency-Key")), "{name}");
    }
    let reply = Reply::to(t.request(Method::POST, "/v1/chat/completions").header(NAME, "").body("{}")).await;
    assert_eq!(reply.status(), 401, "a key comes first");
    let large = "x".repeat(t.config.server.max_body_bytes() + 1);
    assert_eq!(Reply::to(t.openai().request().header(NAME, "l").body(large)).await.status(), 413);
    let count = || t.anthropic().request(Method::POST, "/v1/messages/count_tokens").header(NAME, "c");
    for text in ["one", "one two"] {
        assert_eq!(
            Reply::to(count().json(&json!({"model": MODEL, "messages": [{"role": "user", "content": text}]})))
                .await
                .status(),
            200
        );
    }
    assert_eq!(
        Reply::to(t.request(Method::GET, "/v1/models").bearer_auth(t.key()).header(NAME, "c")).await.status(),
        200
    );
    t.finish().await;
}

#[tokio::test]
async fn a_refusal_is_repeated_and_what_passes_is_tried_again() {
    let t = TestGateway::with(|config| config.aws.max_attempts = 1).await;
    let wrong = json!({"model": MODEL, "messages": [{"role": "user", "content": 7}]});
    let first = Reply::to(named(&t, "a", &wrong)).await;
    let again = Reply::to(named(&t, "a", &wrong)).await;
    assert_eq!((first.status(), first.bytes()), (400, again.bytes()));
    assert_eq!((again.status(), again.header("idempotent-replayed")), (400, "true"));

    for fault in 0..3 {
        let region = t.sim.region("*");
        match fault {
            0 => region.throttle(1),
            1 => region.unavailable(1),
            _ => region.cut_stream_after(2),
        };
        let body = if fault == 2 { streamed("hello [[words:30]]") } else { chat("hello") };
        let name = format!("fault-{fault}");
        let failed = Reply::to(named(&t, &name, &body)).await;
        let good = Reply::to(named(&t, &name, &body)).await;
        assert_eq!((good.status(), good.header("idempotent-replayed")), (200, ""), "{failed:?}");
        assert_ne!(good.bytes(), failed.bytes());
        assert_eq!(Reply::to(named(&t, &name, &body)).await.bytes(), good.bytes());
    }
    t.finish().await;
}

#[tokio::test]
async fn who_joins_a_stream_gets_it_from_its_start_and_it_goes_on_when_the_first_has_left() {
    let t = TestGateway::tapped(|_| {}).await;
    let released = t.tap.hold_after(6);
    let body = streamed("one two three [[words:30]]");
    let mut first = Live::to(named(&t, "a", &body)).await;
    first.read_until("one").await;
    let mut second = Live::to(named(&t, "a", &body)).await;
    second.read_until("one").await;
    first.hang_up();
    let third = Live::to(named(&t, "a", &body)).await;
    assert!(t.ledger().await.is_empty(), "it is still running");
    released.cancel();
    let (second, third) = (second.rest().await, third.rest().await);
    assert!(second.text().ends_with("data: [DONE]\n\n"), "{second:?}");
    assert_eq!(second.bytes(), third.bytes());
    assert_eq!((second.header("idempotent-replayed"), t.only_call().await.outcome.as_str()), ("true", "ok"));
    assert_eq!(Reply::to(named(&t, "a", &body)).await.bytes(), second.bytes());
    assert_eq!(t.tap.count(), 1);
    t.finish().await;
}

#[tokio::test]
async fn a_call_that_everybody_left_is_cancelled_booked_and_made_anew() {
    let t = TestGateway::tapped(|_| {}).await;
    let released = t.tap.hold_after(6);
    let body = streamed("one two three [[words:30]]");
    let mut first = Live::to(named(&t, "a", &body)).await;
    let mut second = Live::to(named(&t, "a", &body)).await;
    first.read_until("one").await;
    second.read_until("one").await;
    first.hang_up();
    second.hang_up();
    assert_eq!(t.only_call().await.outcome.as_str(), "cancelled");
    released.cancel();
    let anew = Reply::to(named(&t, "a", &body)).await;
    assert_eq!((anew.status(), anew.header("idempotent-replayed")), (200, ""));
    assert_eq!(t.booked_calls(2).await[1].outcome.as_str(), "ok");
    t.finish().await;
}

#[tokio::test]
async fn a_key_that_drains_finds_the_answer_that_it_did_not_wait_for() {
    let t = TestGateway::tapped(|_| {}).await;
    let new = NewKey { on_disconnect: OnDisconnect::Drain, ..NewKey::new(TEAM, "drains") };
    let (_, key) = t.make_key(new).await;
    let released = t.tap.hold_after(6);
    let body = streamed("one two three [[words:30]]");
    let ask = || t.openai().with_key(&key).request().header(NAME, "a").json(&body);
    let mut first = Live::to(ask()).await;
    first.read_until("one").await;
    first.hang_up();
    released.cancel();
    let again = Reply::to(ask()).await;
    assert!(again.text().ends_with("data: [DONE]\n\n"), "{again:?}");
    assert_eq!((again.header("idempotent-replayed"), t.only_call().await.outcome.as_str()), ("true", "ok"));
    t.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_are_one_call() {
    let t = TestGateway::start().await;
    for body in [chat("hello [[words:20]]"), streamed("hello [[words:20]]")] {
        let name = body.get("stream").map_or("whole", |_| "stream");
        let replies = join_all((0..100).map(|_| Reply::to(named(&t, name, &body)))).await;
        assert!(replies.iter().all(|reply| reply.status() == 200 && reply.bytes() == replies[0].bytes()));
        assert_eq!(replies.iter().filter(|reply| reply.header("idempotent-replayed").is_empty()).count(), 1);
    }
    assert_eq!((t.booked_calls(2).await.len(), t.sim.calls().len()), (2, 2));
    t.finish().await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_given_once_and_not_made_twice() {
    let t = TestGateway::with(|config| config.idempotency.max_answer_kb = 1).await;
    for body in [chat("hello [[words:500]]"), streamed("hello [[words:500]]")] {
        let name = body.get("stream").map_or("whole", |_| "stream");
        let first = Reply::to(named(&t, name, &body)).await;
        assert!(first.status() == 200 && first.bytes().len() > 2_000, "{first:?}");
        let again = Reply::to(named(&t, name, &body)).await;
        assert_eq!((again.status(), again.header("x-should-retry")), (409, "false"));
        assert!(again.openai_error()["message"].as_str().unwrap().contains("idempotency.max_answer_kb"));
    }
    assert_eq!(t.booked_calls(2).await.len(), 2);
    t.finish().await;
}

#[tokio::test]
async fn another_gateway_on_the_same_store_waits_for_the_call_and_then_tells_its_answer() {
    let t = TestGateway::tapped(|_| {}).await;
    let catalog = Catalog::configured(&t.config).unwrap();
    let other = Box::pin(App::start(&t.config, catalog, Clock::clone(&t.clock), None)).await.unwrap();
    let url = format!("http://{}/v1/chat/completions", other.address);
    let http = reqwest::Client::new();
    let body = streamed("one two three [[words:30]]");
    let elsewhere = || Reply::to(http.post(&url).bearer_auth(t.key()).header(NAME, "a").json(&body));

    let released = t.tap.hold_after(6);
    let mut first = Live::to(named(&t, "a", &body)).await;
    first.read_until("one").await;
    let running = elsewhere().await;
    assert_eq!((running.status(), running.header("retry-after"), running.header("x-should-retry")), (409, "1", ""));
    released.cancel();
    let first = first.rest().await;
    let again = elsewhere().await;
    assert_eq!((again.status(), again.bytes()), (200, first.bytes()));
    assert_eq!(again.header("idempotent-replayed"), "true");
    let other_body = Reply::to(http.post(&url).bearer_auth(t.key()).header(NAME, "a").json(&chat("x"))).await;
    assert_eq!(other_body.status(), 409);
    let mut wrong = String::from(t.key());
    wrong.push('0');
    assert_eq!(Reply::to(http.post(&url).bearer_auth(wrong).header(NAME, "a").json(&body)).await.status(), 401);
    assert_eq!(t.tap.count(), 1);
    within(other.drain(std::future::ready(()))).await;
    t.finish().await;
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_the_head_leaves_its_call_to_who_joined() {
    let t = TestGateway::tapped(|_| {}).await;
    let released = t.tap.hold_after(0);
    let body = chat("hello");
    let first = named(&t, "a", &body);
    let second = named(&t, "a", &body);
    let joined = async {
        tokio::select! {
            answer = first.send() => panic!("{answer:?}"),
            () = eventually("Bedrock is asked", async || t.tap.count() == 1) => {}
        }
        // The first is gone when the second comes, or not yet: it is served either way.
        let second = Reply::to(second);
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());
        released.cancel();
        second.await
    };
    assert_eq!(joined.await.status(), 200);
    let calls = t.ledger().await;
    assert!(calls.iter().filter(|call| call.outcome.as_str() == "ok").count() == 1 && calls.len() <= 2, "{calls:?}");
    assert_eq!(calls.last().unwrap().region.as_deref(), Some(FIRST));
    t.finish().await;
}
