//! Clients that take their time, and that come in numbers: every wait has an end, and is told where it can be.

use std::time::Duration;

use bedrock_gateway::config::Config;
use bedrock_gateway::simulator::Bucket;
use bedrock_gateway::tenancy::ledger::UsageSource;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::calls::{chat, turn, with};
use crate::support::scrape::Scrape;
use crate::support::{FIRST, TestGateway, eventually, within};

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

/// An upload of which `body` is shown.
fn upload(t: &TestGateway, path: &str, body: &str) -> String {
    request(t, path, body, 1_000_000).replace("application/json", "multipart/form-data; boundary=X")
}

/// A gateway that takes files.
async fn with_files(change: impl FnOnce(&mut Config)) -> TestGateway {
    let change = |config: &mut Config| {
        config.batch.bucket = [(FIRST.to_owned(), "files-east".to_owned())].into();
        "arn:aws:iam::000000000000:role/bedrock-batch".clone_into(&mut config.batch.role_arn);
        change(config);
    };
    TestGateway::with_simulated(change, |settings| {
        settings.buckets.insert("files-east".to_owned(), Bucket::default());
    })
    .await
}

/// The beginning of an upload.
const FORM: &str = "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{\"custom";

#[tokio::test]
async fn uploads_that_stop_coming_are_a_408_too_and_leave_nothing_behind() {
    let t = with_files(|config| config.server.body_timeout_s = 1).await;
    let uploads = [
        (upload(&t, "/v1/files", FORM), "request_timeout"),
        (upload(&t, "/v1/files", "--X\r\nContent-Disp"), "request_timeout"),
        (request(&t, "/v1/messages/batches", "{\"requests\": [{\"custom", 1_000_000), "invalid_request_error"),
    ];
    for (upload, says) in uploads {
        let mut stream = TcpStream::connect(t.address()).await.unwrap();
        stream.write_all(upload.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        let is_told = answer.contains(says) && answer.contains("Nothing more of the request body came for 1 seconds.");
        assert!(answer.starts_with("HTTP/1.1 408 ") && is_told, "{answer}");
    }
    assert_eq!(t.get("/v1/files").await.json()["data"], json!([]));
    t.finish().await;
}

#[tokio::test]
async fn a_body_that_only_trickles_is_a_408() {
    let t = with_files(|config| {
        config.server.body_timeout_s = 1;
        config.server.body_min_rate = 1024 * 1024;
    })
    .await;
    for begun in [request(&t, "/v1/chat/completions", "{\"model\": \"", 1_000_000), upload(&t, "/v1/files", FORM)] {
        let mut stream = TcpStream::connect(t.address()).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let (mut reading, mut writing) = stream.split();
        let mut answer = Vec::new();
        let trickle = async {
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            loop {
                pace.tick().await;
                if writing.write_all(b"x").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let told = async {
            while !String::from_utf8_lossy(&answer).contains("came with less than 1048576 bytes a second") {
                let read = within(reading.read_buf(&mut answer)).await.unwrap();
                assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
            }
        };
        tokio::select! {
            () = told => {}
            () = trickle => {}
        }
        assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    }
    t.finish().await;
}

#[tokio::test]
async fn bodies_that_take_too_much_together_are_refused_and_not_kept_waiting() {
    let t = TestGateway::with(|config| {
        config.server.max_body_mb = 1;
        config.server.max_buffered_mb = 1;
    })
    .await;
    let memory = t.gateway().memory().clone();
    let large = chat(&"word ".repeat(140_000)).to_string();
    let mut first = TcpStream::connect(t.address()).await.unwrap();
    let (shown, hidden) = large.split_at(large.len() - 9);
    first.write_all(request(&t, "/v1/chat/completions", shown, large.len()).as_bytes()).await.unwrap();
    eventually("most of it is there", async || memory.taken() >= shown.len()).await;
    let scrape = Scrape::parse(t.ops("/metrics").await.text());
    assert_eq!(scrape.count("gateway_request_bodies_bytes", &[]), memory.taken() as u64);
    assert_eq!(scrape.count("gateway_request_bodies_limit_bytes", &[]), 1 << 20);

    let turn = turn(&"word ".repeat(140_000)).to_string();
    for (path, body, status, says) in [
        ("/v1/chat/completions", &large, 503, "\"code\":\"unavailable\""),
        ("/v1/messages", &large, 529, "overloaded_error"),
        ("/model/claude-haiku-4-5/converse", &turn, 503, "ServiceUnavailableException"),
    ] {
        let begun = request(&t, path, &body[..400_000], body.len());
        let mut stream = TcpStream::connect(t.address()).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        let is_told = answer.contains(says) && answer.contains("server.max_buffered_mb");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && is_told, "{answer}");
        assert!(answer.contains("retry-after: 2\r\n"), "{answer}");
    }
    assert_eq!(t.openai().chat("hello").await.status(), 200, "there is room for a short one");
    assert_eq!(t.metrics().count("gateway_rejected_total", &[("reason", "memory")]), 3);

    first.write_all(hidden.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    within(first.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    eventually("it is given back", async || memory.taken() == 0).await;

    let mut gone = TcpStream::connect(t.address()).await.unwrap();
    gone.write_all(request(&t, "/v1/chat/completions", shown, large.len()).as_bytes()).await.unwrap();
    eventually("it is there", async || memory.taken() >= shown.len()).await;
    drop(gone);
    eventually("who leaves gives it back", async || memory.taken() == 0).await;

    t.reload(|config| config.server.max_buffered_mb = 64).await;
    let reply = t.openai().send(&serde_json::from_str(&large).unwrap()).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    drop(first);
    t.finish().await;
}

#[tokio::test]
async fn a_body_counts_until_its_answer_begins() {
    let t = TestGateway::tapped(|_| {}).await;
    let memory = t.gateway().memory().clone();
    let released = t.tap.hold_after(0);
    let mut body = chat("slowly [[words:30]]");
    body["stream"] = json!(true);
    let openai = t.openai();
    let mut waiting = Box::pin(openai.open(&body));
    tokio::select! {
        _ = &mut waiting => panic!("nothing has come"),
        () = eventually("Bedrock is at work", async || t.tap.count() == 1) => {}
    }
    assert!(memory.taken() >= body.to_string().len());
    released.cancel();
    let mut live = waiting.await;
    live.read_until("You").await;
    assert_eq!(memory.taken(), 0, "an open stream holds nothing");
    drop(live.rest().await);
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
async fn a_stream_of_http_2_that_its_client_does_not_take_is_cut_and_booked_and_its_connection_goes_on() {
    let t = TestGateway::with(|config| config.server.send_timeout_s = 1).await;
    let stream = TcpStream::connect(t.address()).await.unwrap();
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let builder = builder.initial_stream_window_size(2000);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(connection);
    let ask = |text: &str, is_streamed: bool| {
        let body = with(chat(text), json!({"stream": is_streamed, "max_tokens": 64_000})).to_string();
        http::Request::post("http://localhost/v1/chat/completions")
            .header("authorization", format!("Bearer {}", t.key()))
            .header("content-type", "application/json")
            .body(Full::new(bytes::Bytes::from(body)))
            .unwrap()
    };
    let held = within(sender.send_request(ask("say [[words:20000]]", true))).await.unwrap();
    assert_eq!(held.status(), 200);
    let call = t.only_call().await;
    assert_eq!((call.outcome.as_str(), call.usage_source), ("cancelled", UsageSource::Partial), "{call:?}");
    assert!(within(held.into_body().collect()).await.is_err(), "it was reset");

    let answer = within(sender.send_request(ask("hello", false))).await.unwrap();
    assert_eq!(answer.status(), 200);
    within(answer.into_body().collect()).await.unwrap();
    drop(sender);
    tasks.close();
    within(tasks.wait()).await;
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
