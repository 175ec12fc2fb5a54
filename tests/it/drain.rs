//! The end: no new calls, open answers end, what is left is told and booked.

use bedrock_gateway::tenancy::ledger::UsageSource;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::reply::Reply;
use crate::support::{TestGateway, calls, eventually, within};

#[tokio::test]
async fn open_streams_end_while_readiness_is_gone_and_new_connections_are_refused() {
    let mut t = TestGateway::tapped(|_| {}).await;
    let released = t.tap.hold_after(4);
    let mut sse = t.openai().stream("slowly [[words:30]]").await;
    sse.read_until("You").await;
    let mut frames = t.bedrock().converse_stream("slowly [[words:30]]").await;
    frames.read_until("contentBlockDelta").await;
    assert_eq!(t.ops("/readyz").await.status(), 200);

    let drained = t.drain(CancellationToken::new());
    eventually("readiness is gone", async || t.ops("/readyz").await.status() == 503).await;
    assert_eq!(t.ops("/livez").await.status(), 200);
    assert_eq!(t.ops("/metrics").await.status(), 200);
    let address = t.address();
    eventually("connections are refused", async || TcpStream::connect(address).await.is_err()).await;
    assert!(!drained.is_cancelled());

    released.cancel();
    assert_eq!(sse.rest().await.sse().last().unwrap(), "[DONE]");
    assert_eq!(frames.rest().await.frames().last().unwrap().kind(), "metadata");
    within(drained.cancelled()).await;
    for call in t.booked_calls(2).await {
        assert_eq!((call.outcome.as_str(), call.usage_source), ("ok", UsageSource::Final));
    }
    t.finish().await;
}

#[tokio::test]
async fn a_whole_answer_that_is_under_way_still_arrives() {
    let mut t = TestGateway::tapped(|_| {}).await;
    let released = t.tap.hold_after(0);
    let request = t.openai().request().json(&calls::chat("hello"));
    let mut call = Box::pin(Reply::to(request));
    tokio::select! {
        reply = &mut call => panic!("{reply:?}"),
        () = eventually("Bedrock has answered", async || !t.sim.calls().is_empty()) => {}
    }
    let drained = t.drain(CancellationToken::new());
    eventually("readiness is gone", async || t.ops("/readyz").await.status() == 503).await;
    released.cancel();
    assert_eq!(call.await.status(), 200);
    within(drained.cancelled()).await;
    t.finish().await;
}

#[tokio::test]
async fn streams_longer_than_the_drain_are_told_so_in_their_dialect_and_booked() {
    let mut t = TestGateway::tapped(|config| config.server.drain_seconds = 0).await;
    let _never = t.tap.hold_after(6);
    let mut sse = t.openai().stream("slowly [[words:30]]").await;
    sse.read_until("You").await;
    let mut frames = t.bedrock().converse_stream("slowly [[words:30]]").await;
    frames.read_until("contentBlockDelta").await;

    let drained = t.drain(CancellationToken::new());
    let events = sse.rest().await.sse();
    let error = &events.last().unwrap()["error"];
    assert_eq!(error["code"], "upstream_unavailable");
    assert!(error["message"].as_str().unwrap().contains("shutting down"), "{error}");
    let frames = frames.rest().await.frames();
    let last = frames.last().unwrap();
    assert_eq!(last.kind(), "!serviceUnavailableException");
    assert!(last.json()["message"].as_str().unwrap().contains("shutting down"));

    within(drained.cancelled()).await;
    for call in t.booked_calls(2).await {
        assert_eq!((call.outcome.as_str(), call.usage_source), ("upstream_unavailable", UsageSource::Partial));
        assert!(call.input_tokens > 0 && call.output_tokens > 0, "{call:?}");
    }
    t.finish().await;
}

#[tokio::test]
async fn calls_that_wait_for_aws_longer_than_the_drain_are_told_so_in_their_dialect_and_booked() {
    let mut t = TestGateway::tapped(|config| config.server.drain_seconds = 0).await;
    let _never = t.tap.hold_after(0);
    let chat = calls::chat("hello");
    let openai = Reply::to(t.openai().request().json(&chat));
    let turn = calls::turn("hello");
    let bedrock = Reply::to(t.bedrock().request("converse").json(&turn));
    let mut waiting = Box::pin(futures_util::future::join(openai, bedrock));
    tokio::select! {
        replies = &mut waiting => panic!("{replies:?}"),
        () = eventually("Bedrock has answered", async || t.sim.calls().len() == 2) => {}
    }
    let drained = t.drain(CancellationToken::new());
    let (openai, bedrock) = within(waiting).await;
    assert_eq!((openai.status(), bedrock.status()), (503, 503));
    assert!(openai.openai_error()["message"].as_str().unwrap().contains("shutting down"), "{openai:?}");
    assert_eq!(bedrock.exception().0, "ServiceUnavailableException");
    within(drained.cancelled()).await;
    for call in t.booked_calls(2).await {
        assert_eq!((call.outcome.as_str(), call.attempts, call.status), ("upstream_unavailable", 1, 503));
        assert!(call.input_tokens > 0, "AWS may have read it: {call:?}");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_drain_can_be_cut_short() {
    let mut t = TestGateway::tapped(|_| {}).await;
    let _never = t.tap.hold_after(4);
    let mut live = t.openai().stream("slowly [[words:30]]").await;
    live.read_until("You").await;
    let hurry = CancellationToken::new();
    let drained = t.drain(hurry.clone());
    eventually("readiness is gone", async || t.ops("/readyz").await.status() == 503).await;
    assert!(!drained.is_cancelled());
    hurry.cancel();
    assert!(live.rest().await.sse().last().unwrap()["error"].is_object());
    within(drained.cancelled()).await;
    t.finish().await;
}
