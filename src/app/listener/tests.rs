//! The listener on the wire, in front of a service that says little.

use std::net::Ipv4Addr;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use http::Version;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::api::slow::Patience;

/// Longer than any test waits.
const LONG: Duration = Duration::from_hours(1);
const SHORT: Duration = Duration::from_millis(50);

const PATIENT: Limits = Limits { head: LONG, idle: LONG, body: Patience { wait: LONG, rate: 0 }, send: LONG };

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("took too long")
}

fn serve_with(limits: Limits, tls: Option<Tls>, service: Router) -> Listener {
    let listener = bind("server.listen", (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    Listener::serve(listener, Terms { service, limits: Arc::new(move || limits), most: 8, tls }).unwrap()
}

async fn finish(listener: Listener) {
    listener.close();
    within(listener.closed()).await;
}

fn ask(path: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(format!("http://localhost{path}")).body(Empty::new()).unwrap()
}

/// Says by which version it was asked.
fn version() -> Router {
    Router::new().route("/", get(async |request: Request| format!("{:?}", request.version())))
}

/// A certificate for the loopback address, and what believes it.
async fn certificate() -> (Tls, RootCertStore) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().self_signed(&key).unwrap();
    let tls = Tls::from_pem(certificate.pem(), key.serialize_pem()).await.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    (tls, roots)
}

/// What comes until the connection ends.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // It may be cut.
    within(stream.read_to_end(&mut all)).await.ok();
    all
}

/// A connection of HTTP/2 whose client gives each stream so much to send.
async fn with_window(address: SocketAddr, window: u32, tasks: &TaskTracker) -> http2::SendRequest<Empty<Bytes>> {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let builder = builder.initial_stream_window_size(window).initial_connection_window_size(1 << 20);
    let (sender, connection) = builder.handshake(stream).await.unwrap();
    tasks.spawn(connection);
    sender
}

#[tokio::test]
async fn a_client_gets_the_version_of_http_that_it_asks_for_under_tls() {
    let (tls, roots) = certificate().await;
    let listener = serve_with(PATIENT, Some(tls), version());
    let url: http::Uri = format!("https://{}/", listener.address).parse().unwrap();
    for (offered, agreed) in [
        (&[&b"h2"[..]][..], Some(&b"h2"[..])),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut config = ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        let mut connector = HttpsConnector::from((http, config));
        let stream = within(connector.call(url.clone())).await.unwrap();
        let MaybeHttpsStream::Https(tls) = &stream else { panic!("not encrypted") };
        assert_eq!(tls.inner().get_ref().1.alpn_protocol(), agreed, "{offered:?}");

        let tasks = TaskTracker::new();
        let (answer, spoken) = if agreed == Some(b"h2") {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tasks.spawn(connection);
            (within(sender.send_request(ask("/"))).await.unwrap(), Version::HTTP_2)
        } else {
            let (mut sender, connection) = http1::handshake(stream).await.unwrap();
            tasks.spawn(connection);
            (within(sender.send_request(ask("/"))).await.unwrap(), Version::HTTP_11)
        };
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("{spoken:?}"), "{offered:?}");
    }
    finish(listener).await;
}

#[tokio::test]
async fn who_sends_no_head_in_time_is_let_go_whatever_it_sends_instead() {
    let (tls, _) = certificate().await;
    let limits = Limits { head: SHORT, ..PATIENT };
    let (plain, secure) = (serve_with(limits, None, version()), serve_with(limits, Some(tls), version()));
    for (listener, sent) in [
        (&plain, &b""[..]),
        (&plain, b"GET / HTTP/1.1\r\nhost: localhost\r\n"),
        (&plain, b"PRI * HTTP/2.0\r\n"),
        (&secure, b""),
        (&secure, b"\x16\x03\x01"),
    ] {
        let mut stream = TcpStream::connect(listener.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        assert_eq!(rest(&mut stream).await, b"", "{:?}", String::from_utf8_lossy(sent));
    }
    let mut stream = TcpStream::connect(plain.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nHTTP/1.1") {
        assert!(within(stream.read_buf(&mut answer)).await.unwrap() > 0, "it has its time for the next");
    }
    stream.write_all(b"GET").await.unwrap();
    assert_eq!(rest(&mut stream).await, b"", "the second one is as slow");
    finish(plain).await;
    finish(secure).await;
}

#[tokio::test]
async fn a_client_of_http_2_that_takes_nothing_of_one_answer_loses_that_one_alone() {
    let ended = CancellationToken::new();
    let guard = Arc::new(std::sync::Mutex::new(Some(ended.clone().drop_guard())));
    let endless = move || {
        let guard = guard.lock().unwrap().take();
        let piece = Bytes::from(vec![b'x'; 40_000]);
        let pieces = stream::repeat_with(move || {
            let _ = &guard;
            Ok::<_, Infallible>(piece.clone())
        });
        std::future::ready(Body::from_stream(pieces))
    };
    let limits = Limits { send: SHORT, ..PATIENT };
    let listener = serve_with(limits, None, version().route("/endless", get(endless)));
    let tasks = TaskTracker::new();
    let mut sender = with_window(listener.address, 50_000, &tasks).await;
    let held = within(sender.send_request(ask("/endless"))).await.unwrap();
    within(ended.cancelled()).await;

    let error = within(held.into_body().collect()).await.unwrap_err();
    assert!(!error.is_canceled() && !error.is_closed(), "the stream was reset, not the connection: {error:?}");
    let answer = within(sender.send_request(ask("/"))).await.unwrap();
    assert_eq!(within(answer.into_body().collect()).await.unwrap().to_bytes(), "HTTP/2.0");
    drop(sender);
    finish(listener).await;
}

#[tokio::test]
async fn a_long_answer_that_is_taken_by_and_by_arrives_whole() {
    let long = Bytes::from(vec![b'x'; 300_000]);
    let body = long.clone();
    let service = Router::new().route("/long", get(move || std::future::ready(body)));
    let listener = serve_with(PATIENT, None, service);
    let tasks = TaskTracker::new();
    let mut sender = with_window(listener.address, 1000, &tasks).await;
    let answer = within(sender.send_request(ask("/long"))).await.unwrap();
    assert_eq!(answer.headers()[http::header::CONTENT_LENGTH], "300000");
    assert_eq!(within(answer.into_body().collect()).await.unwrap().to_bytes(), long);
    drop(sender);
    finish(listener).await;
}

#[tokio::test]
async fn a_connection_of_http_2_does_not_stay_for_the_end_of_an_answer_that_nobody_takes() {
    let service = Router::new().route("/", get(async || Bytes::from_static(&[b'x'; 16_000])));
    let limits = Limits { idle: SHORT, ..PATIENT };
    let listener = serve_with(limits, None, service);
    let tasks = TaskTracker::new();
    let mut sender = with_window(listener.address, 1000, &tasks).await;
    let held = within(sender.send_request(ask("/"))).await.unwrap();
    // It is told, and then cut.
    tasks.close();
    within(tasks.wait()).await;
    drop(held);
    finish(listener).await;
}
