//! Clients that take their time, and that come in numbers: every wait has an end, and is told where it can be.

use std::time::Duration;

use bedrock_gateway::tenancy::ledger::UsageSource;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::calls::chat;
use crate::support::{TestGateway, eventually, within};

/// A request with this body, of which `shown` bytes are announced.
fn request(t: &TestGateway, path: &str, body: &str, announced: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {announced}\r\n\r\n{body}",
        t.key()
    )
}

/// Everything that comes until the connection ends.
async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    within(stream.read_to_end(&mut all)).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn a_body_that_stops_coming_is_a_408_of_its_dialect() {
    let t = TestGateway::with(|config| config.server.body_timeout_s = 1).await;
    for (path, says) in [
        ("/v1/chat/completions", "request_timeout"),
        ("/v1/messages", "invalid_request_error"),
        ("/model/claude-haiku-4-5/converse", "RequestTimeoutException"),
    ] {
        let mut stream = TcpStream::connect(t.address()).await.unwrap();
        stream.write_all(request(&t, path, "{\"messages\"", 1000).as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains(says), "{answer}");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_connection_that_nothing_is_asked_by_is_closed() {
    let t = TestGateway::with(|config| config.server.keep_alive_s = 1).await;
    let mut stream = TcpStream::connect(t.address()).await.unwrap();
    let body = chat("hello").to_string();
    for _ in 0..2 {
        stream.write_all(request(&t, "/v1/chat/completions", &body, body.len()).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            within(stream.read_buf(&mut answer)).await.unwrap();
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }
    assert_eq!(rest(&mut stream).await, "", "it ends without a word");
    t.finish().await;
}

#[tokio::test]
async fn a_stream_that_its_client_does_not_take_is_cut_and_booked() {
    let t = TestGateway::with(|config| config.server.send_timeout_s = 1).await;
    let mut body = chat("say [[words:400000]]");
    body["stream"] = json!(true);
    body["max_tokens"] = json!(64_000);
    let body = body.to_string();
    let mut stream = TcpStream::connect(t.address()).await.unwrap();
    stream.write_all(request(&t, "/v1/chat/completions", &body, body.len()).as_bytes()).await.unwrap();
    let call = t.only_call().await;
    assert_eq!((call.outcome.as_str(), call.usage_source), ("cancelled", UsageSource::Partial), "{call:?}");
    drop(stream);
    t.finish().await;
}

#[tokio::test]
async fn no_more_clients_are_let_in_than_there_is_room_for_and_the_next_when_one_goes() {
    let t = TestGateway::with(|config| config.server.max_connections = 2).await;
    let mut first = TcpStream::connect(t.address()).await.unwrap();
    let second = TcpStream::connect(t.address()).await.unwrap();
    let body = chat("hello").to_string();
    let ask = request(&t, "/v1/chat/completions", &body, body.len());
    first.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    within(first.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let mut third = TcpStream::connect(t.address()).await.unwrap();
    third.write_all(ask.as_bytes()).await.unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(300), third.read_exact(&mut answer)).await;
    assert!(waits.is_err(), "it is not served");
    drop(second);
    within(third.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop((first, third));
    t.finish().await;
}

#[tokio::test]
async fn http_2_by_prior_knowledge_serves_many_at_once_and_says_goodbye() {
    let mut t = TestGateway::with(|config| config.server.notice_seconds = 1).await;
    let stream = TcpStream::connect(t.address()).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let key = t.key().to_owned();
    let call = || {
        let (mut sender, key) = (sender.clone(), key.clone());
        let request = http::Request::post("http://localhost/v1/chat/completions")
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Full::new(bytes::Bytes::from(chat("hello").to_string())))
            .unwrap();
        async move {
            let answer = sender.send_request(request).await?;
            let (status, version) = (answer.status(), answer.version());
            answer.into_body().collect().await?;
            Ok::<_, hyper::Error>((status.as_u16(), version))
        }
    };
    let calls = futures_util::future::join_all((0..20).map(|_| call()));
    let mut connection = Box::pin(connection);
    let answers = tokio::select! {
        answers = calls => answers,
        ended = &mut connection => panic!("{ended:?}"),
    };
    for answer in answers {
        assert_eq!(answer.unwrap(), (200, http::Version::HTTP_2));
    }
    let drained = t.drain(CancellationToken::new());
    // It is told to go, and not cut.
    within(&mut connection).await.unwrap();
    within(drained.cancelled()).await;
    t.finish().await;
}

#[tokio::test]
async fn calls_are_served_during_the_notice_and_told_to_come_by_another_connection() {
    let mut t = TestGateway::with(|config| config.server.notice_seconds = 2).await;
    assert_eq!(t.openai().chat("hello").await.header("connection"), "");
    let drained = t.drain(CancellationToken::new());
    eventually("readiness is gone", async || t.ops("/readyz").await.status() == 503).await;
    for _ in 0..3 {
        let reply = t.openai().chat("hello").await;
        assert_eq!((reply.status(), reply.header("connection")), (200, "close"), "{reply:?}");
    }
    assert!(!drained.is_cancelled());
    within(drained.cancelled()).await;
    assert!(TcpStream::connect(t.address()).await.is_err());
    t.finish().await;
}

#[tokio::test]
async fn a_second_signal_ends_the_notice_as_well() {
    let mut t = TestGateway::with(|config| config.server.notice_seconds = 300).await;
    let hurry = CancellationToken::new();
    let drained = t.drain(hurry.clone());
    eventually("readiness is gone", async || t.ops("/readyz").await.status() == 503).await;
    hurry.cancel();
    within(drained.cancelled()).await;
    t.finish().await;
}
