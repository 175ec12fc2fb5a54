//! The gateway's own time of a request is what is left without the waits for AWS and for the client, whoever is slow.
//!
//! Each test makes somebody take a known time and looks at the access line of the request: its own time is at most its
//! duration without that, or at least that, however busy the machine is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bedrock_gateway::api;
use bytes::Bytes;
use futures_util::stream;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::calls::{chat, message};
use crate::support::reply::Reply;
use crate::support::{TestGateway, eventually, log, within};

/// How long somebody takes.
const SLOW: Duration = Duration::from_millis(200);

/// What a request took and what of that was the gateway's own, in milliseconds.
struct Times {
    whole: f64,
    own: f64,
}

impl Times {
    /// Of the request with this id, once it is over.
    async fn of(id: &str) -> Self {
        eventually("the line is written", async || !log::access_lines(id).is_empty()).await;
        let line = &log::access_lines(id)[0];
        let number = |name: &str| line[name].as_f64().unwrap_or_else(|| panic!("{name}: {line}"));
        Self { whole: number("duration_ms"), own: number("overhead_ms") }
    }

    /// Fails unless somebody else's time is left out. Half of it may pass before the gateway begins to wait.
    fn leave_out(&self, slow: Duration) {
        let (slow, left) = (slow.as_secs_f64() * 1e3, self.whole - self.own);
        assert!(self.whole >= slow && left >= slow / 2.0, "{} ms, of them {} ms its own", self.whole, self.own);
    }
}

/// Somebody takes their time.
async fn pass(slow: Duration) {
    let begun = Instant::now();
    eventually("time has passed", async || begun.elapsed() >= slow).await;
}

#[tokio::test]
async fn what_bedrock_takes_is_not_the_gateways_time() {
    let t = TestGateway::start().await;
    t.sim.region("*").slow_first_byte(2, SLOW);
    let whole = t.openai().chat("hello").await;
    let streamed = t.bedrock().converse_stream("hello").await.rest().await;
    t.sim.region("*").stall_stream_after(4, SLOW);
    let stalled = t.anthropic().stream(message("hello [[words:30]]")).await.rest().await;
    for reply in [&whole, &streamed, &stalled] {
        assert_eq!(reply.status(), 200, "{reply:?}");
        Times::of(reply.header("x-request-id")).await.leave_out(SLOW);
    }
    let labels = [("surface", "openai"), ("operation", "chat")];
    let metrics = t.metrics();
    let (own, all) = ("gateway_overhead_seconds_sum", "gateway_request_duration_seconds_sum");
    assert!(metrics.sum(own, &labels) <= metrics.sum(all, &labels) - SLOW.as_secs_f64() / 2.0);
    assert_eq!(metrics.count("gateway_overhead_seconds_count", &labels), 1);
    t.finish().await;
}

#[tokio::test]
async fn pauses_between_attempts_are_not_the_gateways_time() {
    let t = TestGateway::with(|config| config.aws.regions.truncate(1)).await;
    t.sim.region("*").throttle_for(1, 1);
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), reply.attempts()), (200, "2"));
    Times::of(reply.header("x-request-id")).await.leave_out(Duration::from_secs(1));
    t.finish().await;
}

#[tokio::test]
async fn what_a_client_takes_to_send_its_request_is_not_the_gateways_time() {
    let t = TestGateway::start().await;
    let body = chat("hello").to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nx-request-id: slow-sender\r\n\
         content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        t.key(),
        body.len()
    );
    let mut socket = TcpStream::connect(t.address()).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    eventually("the request is there", async || t.metrics().count("gateway_requests_in_flight", &[]) == 1).await;
    pass(SLOW).await;
    socket.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(socket.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Times::of("slow-sender").await.leave_out(SLOW);
    t.finish().await;
}

/// More than sockets hold.
async fn endless() -> Body {
    let pieces = (0..256).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 64 * 1024])));
    Body::from_stream(stream::iter(pieces))
}

#[tokio::test]
async fn what_a_client_takes_to_read_its_answer_is_not_the_gateways_time() {
    let t = TestGateway::start().await;
    let routes = Router::new().route("/v1/chat/completions", get(endless));
    let routes = api::framed(routes, t.gateway(), &t.config.server);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let serving = async { axum::serve(listener, routes).with_graceful_shutdown(stopped).await.unwrap() };
    let reading = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut socket = socket.connect(address).await.unwrap();
        let head =
            "GET /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-request-id: slow-reader\r\nconnection: close\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        socket.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        pass(SLOW).await;
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() > 256 * 64 * 1024);
        stop.cancel();
    };
    within(async { tokio::join!(serving, reading) }).await;
    Times::of("slow-reader").await.leave_out(SLOW);
    t.finish().await;
}

#[tokio::test]
async fn what_the_store_takes_is_the_gateways_time() {
    let t = TestGateway::start().await;
    let mut writer = sqlx::SqliteConnection::connect(&t.config.store.url).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut writer).await.unwrap();
    let named = t.openai().request().header("idempotency-key", "a").header("x-request-id", "slow-store");
    let call = Reply::to(named.json(&chat("hello")));
    let hold = async {
        eventually("the request is there", async || t.metrics().count("gateway_requests_in_flight", &[]) == 1).await;
        pass(SLOW).await;
        writer.close().await.unwrap();
    };
    let (reply, ()) = tokio::join!(call, hold);
    assert_eq!(reply.status(), 200, "{reply:?}");
    let times = Times::of("slow-store").await;
    assert!(times.own >= SLOW.as_secs_f64() * 1e3 / 2.0, "{} ms, of them {} ms its own", times.whole, times.own);
    t.finish().await;
}

#[tokio::test]
async fn who_joins_a_call_waits_for_it_as_for_bedrock() {
    let t = TestGateway::tapped(|_| {}).await;
    let released = t.tap.hold_after(0);
    let named = |id: &str| t.openai().request().header("idempotency-key", "b").header("x-request-id", id);
    let (first, second) = (named("first-asker").json(&chat("hello")), named("joiner").json(&chat("hello")));
    let join = async {
        eventually("Bedrock is asked", async || t.tap.count() == 1).await;
        Reply::to(second).await
    };
    let release = async {
        eventually("both are there", async || t.metrics().count("gateway_requests_in_flight", &[]) == 2).await;
        pass(SLOW).await;
        released.cancel();
    };
    let (first, second, ()) = tokio::join!(Reply::to(first), join, release);
    assert_eq!((first.status(), second.status()), (200, 200));
    for id in ["first-asker", "joiner"] {
        Times::of(id).await.leave_out(SLOW);
    }
    t.finish().await;
}

#[tokio::test]
async fn what_waits_for_files_elsewhere_says_nothing_of_its_own_time() {
    let t = TestGateway::start().await;
    let line = async |reply: &Reply| {
        let id = reply.header("x-request-id");
        eventually("the line is written", async || !log::access_lines(id).is_empty()).await;
        let line: Value = log::access_lines(id)[0].clone();
        assert_eq!(line["status"], json!(reply.status()));
        line.get("overhead_ms").is_some()
    };
    let upload = Reply::to(t.request(Method::POST, "/v1/files").bearer_auth(t.key())).await;
    assert!(!line(&upload).await);
    let labels = [("surface", "openai"), ("operation", "files")];
    assert_eq!(t.metrics().count("gateway_overhead_seconds_count", &labels), 0);
    let list = t.get("/v1/files").await;
    assert!(line(&list).await);
    assert_eq!(t.metrics().count("gateway_overhead_seconds_count", &labels), 1);
    t.finish().await;
}
