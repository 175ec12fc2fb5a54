//! Clients that leave before their answer ends, and keys whose calls go on.

use bedrock_gateway::simulator::{Call, Outcome};
use bedrock_gateway::tenancy::ledger::{Entry, UsageSource};
use bedrock_gateway::tenancy::{NewKey, OnDisconnect};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::calls::{anthropic, chat, message, turn, with};
use crate::support::reply::{Live, Reply};
use crate::support::{TEAM, TestGateway, eventually, within};

async fn draining_key(t: &TestGateway) -> String {
    let new = NewKey { on_disconnect: OnDisconnect::Drain, ..NewKey::new(TEAM, "draining") };
    t.make_key(new).await.1
}

/// Streams of every surface and lane, each read so far that there is something of the answer.
async fn streams(t: &TestGateway, key: &str) -> Vec<Live> {
    let text = "slowly [[words:30]]";
    let mut chat = t.openai().with_key(key).stream(text).await;
    chat.read_until("You").await;
    let mut message = t.anthropic().with_key(key).stream(message(text)).await;
    message.read_until("content_block_delta").await;
    let mut converse = t.bedrock().with_key(key).open("converse-stream", turn(text).to_string()).await;
    converse.read_until("contentBlockDelta").await;
    let body = anthropic(text).to_string();
    let mut invoke = t.bedrock().with_key(key).open("invoke-with-response-stream", body).await;
    invoke.read_until(":event-type").await;
    vec![chat, message, converse, invoke]
}

/// Fails unless it is booked with what Bedrock counted for a whole answer.
fn assert_as_counted(entry: &Entry, calls: &[Call]) {
    assert_eq!((entry.outcome.as_str(), entry.usage_source), ("cancelled", UsageSource::Final), "{entry:?}");
    let is_it = |call: &&Call| {
        call.outcome == Outcome::Completed
            && (call.tokens.input, call.tokens.output) == (entry.input_tokens, entry.output_tokens)
    };
    assert!(calls.iter().any(|call| is_it(&call)) && entry.cost.is_some_and(|cost| cost.0 > 0), "{entry:?} {calls:?}");
}

#[tokio::test]
async fn streams_whose_clients_leave_are_read_to_their_end_and_booked_as_bedrock_counts_them() {
    let t = TestGateway::tapped(|_| {}).await;
    let released = t.tap.hold_after(5);
    let key = draining_key(&t).await;
    let live = streams(&t, &key).await;
    let count = live.len();
    live.into_iter().for_each(Live::hang_up);
    eventually("the clients have left", async || t.metrics().count("gateway_requests_in_flight", &[]) == 0).await;
    assert_eq!(t.metrics().count("gateway_streams_open", &[]), count as u64, "they have not ended");
    let caller = t.gateway().tenancy().authenticate(Some(&key), None).await.unwrap();
    assert_eq!(caller.in_flight(), u32::try_from(count).unwrap(), "what they may use is held until they end");
    assert!(t.ledger().await.is_empty());

    released.cancel();
    let calls = t.booked_calls(count).await;
    eventually("Bedrock has seen them end", async || t.sim.calls().len() == count).await;
    for call in &calls {
        assert_as_counted(call, &t.sim.calls());
        assert!((call.status, call.streamed) == (200, true), "the head was sent: {call:?}");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_the_first_event_pays_for_the_whole_answer() {
    let t = TestGateway::tapped(|_| {}).await;
    let released = t.tap.hold_after(0);
    let key = draining_key(&t).await;
    let waiting = [
        t.openai().with_key(&key).request().json(&with(chat("one [[words:9]]"), json!({"stream": true}))),
        t.openai().with_key(&key).request().json(&chat("two [[words:9]]")),
        t.bedrock().with_key(&key).request("converse").json(&turn("three [[words:9]]")),
        t.bedrock().with_key(&key).request("invoke").json(&anthropic("four [[words:9]]")),
    ];
    let count = waiting.len();
    let replies = futures_util::future::join_all(waiting.map(Reply::to));
    tokio::select! {
        replies = replies => panic!("{replies:?}"),
        () = eventually("Bedrock is at work", async || t.tap.count() == count) => {}
    }
    eventually("the clients have left", async || t.metrics().count("gateway_requests_in_flight", &[]) == 0).await;
    assert!(t.ledger().await.is_empty());
    released.cancel();
    let calls = t.booked_calls(count).await;
    eventually("Bedrock has seen them end", async || t.sim.calls().len() == count).await;
    for call in &calls {
        assert_as_counted(call, &t.sim.calls());
        assert_eq!(call.status, 499, "{call:?}");
    }
    assert_eq!(calls.iter().filter(|call| call.streamed).count(), 1);
    t.finish().await;
}

#[tokio::test]
async fn a_key_that_cancels_pays_for_what_was_seen() {
    let t = TestGateway::tapped(|_| {}).await;
    let _never = t.tap.hold_after(5);
    let key = t.make_key(NewKey::new(TEAM, "cancelling")).await.1;
    let live = streams(&t, &key).await;
    let count = live.len();
    live.into_iter().for_each(Live::hang_up);
    for call in t.booked_calls(count).await {
        assert_eq!((call.outcome.as_str(), call.usage_source), ("cancelled", UsageSource::Partial), "{call:?}");
    }
    t.finish().await;
}

#[tokio::test]
async fn the_shutdown_waits_for_calls_that_go_on() {
    let mut t = TestGateway::tapped(|_| {}).await;
    let released = t.tap.hold_after(5);
    let key = draining_key(&t).await;
    let live = streams(&t, &key).await;
    let count = live.len();
    live.into_iter().for_each(Live::hang_up);
    eventually("the clients have left", async || t.metrics().count("gateway_requests_in_flight", &[]) == 0).await;
    let drained = t.drain(CancellationToken::new());
    eventually("readiness is gone", async || t.ops("/readyz").await.status() == 503).await;
    assert!(!drained.is_cancelled() && t.ledger().await.is_empty());
    released.cancel();
    within(drained.cancelled()).await;
    for call in t.booked_calls(count).await {
        assert_eq!((call.outcome.as_str(), call.usage_source), ("cancelled", UsageSource::Final), "{call:?}");
    }
    t.finish().await;
}

#[tokio::test]
async fn calls_that_go_on_for_longer_than_the_drain_are_cut_and_booked() {
    let mut t = TestGateway::tapped(|config| config.server.drain_seconds = 0).await;
    let _never = t.tap.hold_after(5);
    let key = draining_key(&t).await;
    let live = streams(&t, &key).await;
    let count = live.len();
    live.into_iter().for_each(Live::hang_up);
    eventually("the clients have left", async || t.metrics().count("gateway_requests_in_flight", &[]) == 0).await;
    let drained = t.drain(CancellationToken::new());
    within(drained.cancelled()).await;
    for call in t.booked_calls(count).await {
        assert_eq!((call.outcome.as_str(), call.usage_source), ("upstream_unavailable", UsageSource::Partial));
        assert!(call.input_tokens > 0, "{call:?}");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_stream_that_says_nothing_more_is_not_read_for_ever() {
    let t = TestGateway::tapped(|config| config.aws.idle_timeout_s = 1).await;
    let _never = t.tap.hold_after(5);
    let key = draining_key(&t).await;
    let mut live = t.openai().with_key(&key).stream("slowly [[words:30]]").await;
    live.read_until("You").await;
    live.hang_up();
    let call = t.only_call().await;
    assert_eq!((call.outcome.as_str(), call.usage_source), ("timeout", UsageSource::Partial), "{call:?}");
    t.finish().await;
}
