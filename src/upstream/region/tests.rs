//! The wire lane against a server that answers from a script.

use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::SdkConfig;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::upstream::assume::Sts;
use crate::upstream::credentials::{Credentials, Owner};
use crate::upstream::frames::{self, FrameKind};
use crate::upstream::objects::Patience;
use crate::upstream::testing::{Provider, Server, answer, header};
use crate::upstream::time::AwsClock;
use crate::upstream::wire::Wire;
use crate::upstream::{Reason, Upstream};

const MODEL: &str = "us.amazon.nova-lite-v1:0";
const NOON: Timestamp = Timestamp::from_millis(784_123_200_000); // Sun, 06 Nov 1994 12:00:00 GMT

/// The head of a stream without its end: the connection stays open.
fn open_stream(pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for piece in pieces {
        bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

async fn region(url: &str) -> Region {
    region_at(url, Clock::manual(NOON)).await
}

async fn region_at(url: &str, clock: Clock) -> Region {
    let provider = SharedCredentialsProvider::new(Provider::default());
    let (tracker, clock) = (TaskTracker::new(), AwsClock::new(clock));
    let credentials = Credentials::new(provider, Owner::Gateway, clock.clone(), tracker.clone());
    let shared = Shared {
        wire: Arc::new(Wire::new(&config::Aws::default())),
        access: Access::Signature(credentials.clone()),
        credentials,
        sts: Sts { sdk: SdkConfig::builder().build(), url: None, clock: clock.clone() },
        clock,
        patience: Patience::new(&config::Aws::default()),
        tracker,
    };
    let overrides = config::Endpoints { runtime: Some(url.to_owned()), ..Default::default() };
    Region::resolve("eu-west-1", &overrides, Arc::new(shared)).await.unwrap()
}

fn call(operation: Operation) -> Call {
    let mut headers = HeaderMap::new();
    headers.insert("x-amzn-bedrock-trace", HeaderValue::from_static("ENABLED"));
    Call { operation, headers, body: Bytes::from_static(br#"{"messages":[]}"#) }
}

#[tokio::test]
async fn a_call_goes_out_signed_and_its_answer_comes_back_untouched() {
    let server = Server::answering(vec![answer(200, "x-amzn-requestid: r1\r\n", br#"{"output": {}}"#)]).await;
    let reply = region(&server.url).await.send(MODEL, &call(Operation::Converse)).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &br#"{"output": {}}"#[..]));
    assert_eq!(reply.headers["x-amzn-requestid"], "r1");
    let request = &server.requests()[0];
    assert!(request.starts_with("POST /model/us.amazon.nova-lite-v1%3A0/converse HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"messages\":[]}"), "{request}");
    let authorization = header(request, "authorization").unwrap();
    let scope = "AWS4-HMAC-SHA256 Credential=AKID1/19941106/eu-west-1/bedrock/aws4_request, ";
    let signed = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amzn-bedrock-trace, Signature=";
    assert!(authorization.starts_with(&format!("{scope}{signed}")), "{authorization}");
    assert_eq!(header(request, "content-type"), Some("application/json"));
    assert_eq!(header(request, "host"), server.url.strip_prefix("http://"));
}

#[tokio::test]
async fn a_refusal_is_a_failure_with_its_meaning() {
    let headers = "x-amzn-errortype: ThrottlingException:http://x/\r\nretry-after: 3\r\n";
    let server = Server::answering(vec![answer(429, headers, br#"{"message":"Too many requests"}"#)]).await;
    let failure = region(&server.url).await.send(MODEL, &call(Operation::InvokeModel)).await.unwrap_err();
    assert_eq!((failure.reason, failure.sent), (Reason::Throttled, false));
    assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
    assert_eq!(failure.error.message(), "Too many requests");
}

#[tokio::test]
async fn credentials_that_expired_or_were_revoked_are_loaded_again_and_the_call_repeated_once() {
    let refused = |name: &str| answer(403, &format!("x-amzn-errortype: {name}\r\n"), b"{}");
    let (expired, revoked) = (refused("ExpiredTokenException"), refused("UnrecognizedClientException"));
    let script = vec![expired, answer(200, "", b"{}"), revoked.clone(), revoked.clone(), revoked];
    let server = Server::answering(script).await;
    let clock = Clock::manual(NOON);
    let region = region_at(&server.url, clock.clone()).await;
    assert!(region.send(MODEL, &call(Operation::Converse)).await.is_ok());
    clock.advance(Duration::from_secs(1));
    let failure = region.send(MODEL, &call(Operation::Converse)).await.unwrap_err();
    assert_eq!(failure.reason, Reason::Credentials);
    let failure = region.send(MODEL, &call(Operation::Converse)).await.unwrap_err();
    assert_eq!(failure.reason, Reason::Credentials, "and not loaded at once once more");
    let ids = server.requests().into_iter().map(|request| {
        let authorization = header(&request, "authorization").unwrap();
        authorization.split(['=', '/']).nth(1).unwrap().to_owned()
    });
    assert_eq!(ids.collect::<Vec<_>>(), ["AKID1", "AKID2", "AKID2", "AKID3", "AKID3"]);
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_from_the_servers_date() {
    let headers = "x-amzn-errortype: InvalidSignatureException\r\ndate: Sun, 06 Nov 1994 13:00:00 GMT\r\n";
    let script = vec![answer(403, headers, b"{}"), answer(200, "", b"{}"), answer(403, headers, b"{}")];
    let server = Server::answering(script).await;
    let region = region(&server.url).await;
    assert!(region.send(MODEL, &call(Operation::Converse)).await.is_ok());
    assert_eq!(region.send(MODEL, &call(Operation::Converse)).await.unwrap_err().reason, Reason::Credentials);
    let requests = server.requests();
    let dates: Vec<_> = requests.iter().map(|request| header(request, "x-amz-date").unwrap()).collect();
    assert_eq!(dates, ["19941106T120000Z", "19941106T130000Z", "19941106T130000Z"]);
}

#[tokio::test]
async fn a_stream_opens_with_its_first_frame_and_ends_cut_when_the_connection_does() {
    let (start, delta) = (frames::event("messageStart", "{}"), frames::event("contentBlockDelta", r#"{"a":1}"#));
    let mut script = open_stream(&[&start[..10], &start[10..], &delta, &delta[..20]]);
    script.extend_from_slice(b"close\r");
    let server = Server::answering(vec![script]).await;
    let (_, mut stream) = region(&server.url).await.open(MODEL, &call(Operation::ConverseStream)).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().raw, start);
    let second = stream.next().await.unwrap().unwrap();
    assert_eq!(second.raw, delta);
    assert!(matches!(second.kind, FrameKind::Event(name) if name.as_str() == "contentBlockDelta"));
    assert_eq!(stream.next().await.unwrap().unwrap_err().reason, Reason::Cut);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn an_exception_as_the_first_frame_is_a_failure() {
    let exception = frames::exception("ServiceUnavailableException", "no capacity");
    let server = Server::answering(vec![open_stream(&[&exception]), answer(200, "", b"")]).await;
    let region = region(&server.url).await;
    let failure = region.open(MODEL, &call(Operation::ConverseStream)).await.err().unwrap();
    assert_eq!((failure.reason, failure.error.message()), (Reason::Unavailable, "no capacity"));
    let failure = region.open(MODEL, &call(Operation::ConverseStream)).await.err().unwrap();
    assert_eq!(failure.reason, Reason::Cut, "a stream without a frame");
}

#[tokio::test]
async fn dropping_a_stream_closes_its_connection() {
    let server = Server::answering(vec![open_stream(&[&frames::event("messageStart", "{}")])]).await;
    let opened = region(&server.url).await.open(MODEL, &call(Operation::InvokeModelWithResponseStream)).await.unwrap();
    drop(opened);
    server.client_left.notified().await;
}

#[tokio::test]
async fn a_connection_that_fails_says_whether_the_request_had_gone_out() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let failure = region(&format!("http://{closed}")).await.send(MODEL, &call(Operation::Converse)).await.unwrap_err();
    assert_eq!((failure.reason, failure.sent), (Reason::Connection, false));

    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\n{}".to_vec();
    let server = Server::answering(vec![Vec::new(), short]).await;
    let region = region(&server.url).await;
    let failure = region.send(MODEL, &call(Operation::Converse)).await.unwrap_err();
    assert_eq!((failure.reason, failure.sent), (Reason::Connection, true), "{failure:?}");
    let failure = region.send(MODEL, &call(Operation::Converse)).await.unwrap_err();
    assert_eq!((failure.reason, failure.sent), (Reason::Cut, true), "{failure:?}");
}

#[tokio::test]
async fn a_bearer_key_is_sent_instead_of_a_signature() {
    let server = Server::answering(vec![answer(200, "", b"{}")]).await;
    let overrides = config::Endpoints { runtime: Some(server.url.clone()), ..Default::default() };
    let aws = config::Aws {
        regions: vec!["us-west-2".into(), "us-east-1".into()],
        endpoints: [("us-east-1".to_owned(), overrides)].into(),
        bearer_token: Some(config::Secret::new("key")),
        ..Default::default()
    };
    let upstream = Upstream::connect(&aws, Clock::manual(NOON), &TaskTracker::new()).await.unwrap();
    let names: Vec<&str> = upstream.regions().map(|region| region.name().as_ref()).collect();
    assert_eq!(names, ["us-west-2", "us-east-1"]);
    upstream.region("us-east-1").unwrap().send(MODEL, &call(Operation::Converse)).await.unwrap();
    let request = &server.requests()[0];
    assert_eq!(header(request, "authorization"), Some("Bearer key"));
    assert_eq!(header(request, "x-amz-date"), None);
}
