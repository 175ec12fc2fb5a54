//! S3 as it answers on a bad day, from a script. What a well S3 does is tested against the simulator.

use aws_credential_types::provider::SharedCredentialsProvider;
use futures_util::TryStreamExt as _;

use super::*;
use crate::clock::Clock;
use crate::upstream::credentials::Owner;
use crate::upstream::testing::{Provider, Server, answer, header};

const NOON: Timestamp = Timestamp::from_millis(784_123_200_000); // Sun, 06 Nov 1994 12:00:00 GMT

fn objects(url: &str) -> Objects {
    let provider = SharedCredentialsProvider::new(Provider::default());
    let (tracker, clock) = (TaskTracker::new(), AwsClock::new(Clock::manual(NOON)));
    let credentials = Credentials::new(provider, Owner::Gateway, clock.clone(), tracker.clone());
    let patience = Patience::new(&config::Aws::default());
    let sdk = SdkConfig::builder().build();
    Objects::new(&"eu-west-1".into(), Means { sdk: &sdk, url: Some(url), credentials, clock, patience, tracker })
}

fn refusal(status: u16, code: &str, headers: &str) -> Vec<u8> {
    let body =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>No.</Message></Error>");
    answer(status, &format!("content-type: application/xml\r\n{headers}"), body.as_bytes())
}

/// The head of an answer that promises more than it has.
fn cut(status: u16, headers: &str, promised: usize, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {promised}\r\nconnection: close\r\n{headers}\r\n{body}");
    head.into_bytes()
}

async fn text(reading: Reading) -> String {
    let pieces: Vec<Bytes> = reading.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

#[tokio::test]
async fn reading_goes_on_where_the_connection_broke_and_in_the_same_version() {
    let script = vec![
        cut(200, "etag: \"v1\"\r\n", 10, "0123"),
        cut(206, "etag: \"v1\"\r\ncontent-range: bytes 4-9/10\r\n", 6, "45"),
        answer(206, "etag: \"v1\"\r\ncontent-range: bytes 6-9/10\r\n", b"6789"),
    ];
    let server = Server::answering(script).await;
    let reading = objects(&server.url).read("files", "a/b.jsonl", None).await.unwrap();
    assert_eq!(reading.length, 10);
    assert_eq!(text(reading).await, "0123456789");
    let requests = server.requests();
    assert!(requests[0].starts_with("GET /files/a/b.jsonl"), "{}", requests[0]);
    let asked: Vec<_> =
        requests.iter().map(|request| (header(request, "range"), header(request, "if-match"))).collect();
    assert_eq!(asked[0], (None, None));
    assert_eq!(asked[1], (Some("bytes=4-9"), Some("\"v1\"")));
    assert_eq!(asked[2], (Some("bytes=6-9"), Some("\"v1\"")));
}

#[tokio::test]
async fn a_range_is_asked_for_and_an_empty_one_is_not() {
    let server = Server::answering(vec![answer(206, "etag: \"v1\"\r\ncontent-range: bytes 2-4/10\r\n", b"234")]).await;
    let objects = objects(&server.url);
    let empty = objects.read("files", "a", Some(3..3)).await.unwrap();
    assert_eq!((empty.length, text(empty).await), (0, String::new()));
    assert_eq!(text(objects.read("files", "a", Some(2..5)).await.unwrap()).await, "234");
    assert_eq!(header(&server.requests()[0], "range"), Some("bytes=2-4"));
}

#[tokio::test]
async fn what_passes_is_waited_for_and_what_does_not_is_told_at_once() {
    let script = vec![
        refusal(503, "SlowDown", ""),
        refusal(500, "InternalError", ""),
        Vec::new(),
        answer(200, "etag: \"v1\"\r\n", b""),
        refusal(403, "AccessDenied", ""),
        refusal(301, "PermanentRedirect", "x-amz-bucket-region: us-west-2\r\n"),
        refusal(404, "NoSuchBucket", ""),
    ];
    let server = Server::answering(script).await;
    let objects = objects(&server.url);
    let put = async || objects.put("files", "a", Bytes::from_static(b"text")).await;
    put().await.unwrap();
    assert_eq!(server.requests().len(), 4);
    let denied = put().await.unwrap_err();
    assert_eq!(denied.reason, Reason::Denied);
    assert!(denied.error.message().contains("`s3:PutObject`"), "{}", denied.error);
    let elsewhere = put().await.unwrap_err();
    assert!(elsewhere.error.message().contains("is in us-west-2"), "{}", elsewhere.error);
    let missing = put().await.unwrap_err();
    assert!(missing.error.message().contains("batch.bucket.eu-west-1"), "{}", missing.error);
    assert_eq!(server.requests().len(), 7);
}

#[tokio::test]
async fn keys_that_have_expired_are_replaced_and_a_wrong_clock_is_put_right() {
    let script = vec![
        refusal(400, "ExpiredToken", ""),
        refusal(403, "RequestTimeTooSkewed", "date: Sun, 06 Nov 1994 13:00:00 GMT\r\n"),
        answer(200, "etag: \"v1\"\r\n", b""),
    ];
    let server = Server::answering(script).await;
    objects(&server.url).put("files", "a", Bytes::from_static(b"text")).await.unwrap();
    let requests = server.requests();
    let signed = |request: &String| header(request, "authorization").unwrap().to_owned();
    assert!(signed(&requests[0]).contains("Credential=AKID1/"), "{}", signed(&requests[0]));
    assert!(signed(&requests[1]).contains("Credential=AKID2/"), "{}", signed(&requests[1]));
    let times: Vec<_> = requests.iter().map(|request| header(request, "x-amz-date").unwrap()).collect();
    assert_eq!(times, ["19941106T120000Z", "19941106T120000Z", "19941106T130000Z"]);
}

#[tokio::test]
async fn an_object_that_is_not_there_is_told_from_one_that_may_not_be_read() {
    const NONE: &[u8] = b"<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>files</Name><KeyCount>0</KeyCount></ListBucketResult>";
    const OTHER: &[u8] = b"<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Contents><Key>a2</Key><Size>3</Size></Contents></ListBucketResult>";
    const THERE: &[u8] = b"<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Contents><Key>a</Key><Size>3</Size></Contents></ListBucketResult>";
    for (list, reason) in [(NONE, Reason::Missing), (OTHER, Reason::Missing), (THERE, Reason::Denied)] {
        let script = vec![refusal(403, "AccessDenied", ""), answer(200, "content-type: application/xml\r\n", list)];
        let server = Server::answering(script).await;
        let failure = objects(&server.url).read("files", "a", None).await.map(|_| ()).unwrap_err();
        assert_eq!(failure.reason, reason);
    }
}

#[tokio::test]
async fn objects_that_s3_did_not_delete_are_asked_for_again() {
    const SOME: &[u8] = b"<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Error><Key>b</Key><Code>InternalError</Code><Message>Again.</Message></Error><Error><Key>c</Key><Code>NoSuchKey</Code></Error></DeleteResult>";
    const NONE: &[u8] = b"<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></DeleteResult>";
    let xml = "content-type: application/xml\r\n";
    let server = Server::answering(vec![answer(200, xml, SOME), answer(200, xml, NONE)]).await;
    objects(&server.url).delete("files", &["a".into(), "b".into(), "c".into()]).await.unwrap();
    let again = &server.requests()[1];
    assert!(again.contains("<Key>b</Key>") && !again.contains("<Key>a</Key>"), "{again}");
}
