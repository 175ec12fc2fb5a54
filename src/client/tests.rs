//! A client before a server that breaks off, refuses, or is no gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::fetch::testing::{Answer, Site, Trap};

fn client(site: &Site) -> Client {
    let ca = site.settings().extra_ca;
    Client::new(&site.url(""), Secret::new("bgw_fake_key"), Some(Path::new(&ca))).unwrap()
}

fn raw(head: &str, body: &str) -> Answer {
    Answer::Whole(format!("HTTP/1.1 {head}\r\n\r\n{body}").into_bytes())
}

fn json_answer(head: &str, body: &Value) -> Answer {
    let body = body.to_string();
    raw(&format!("{head}\r\ncontent-type: application/json\r\ncontent-length: {}", body.len()), &body)
}

/// Answers one after the other, the last one for good.
async fn in_turn(answers: Vec<fn() -> Answer>) -> Site {
    let next = Arc::new(AtomicUsize::new(0));
    Site::start(move |_, _| {
        let answer = answers[next.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1)];
        async move { answer() }
    })
    .await
}

/// What arrives of a file from the byte `from` on, and how the download ended.
async fn downloaded(site: &Site, from: u64) -> (String, Result<(), Unfinished>) {
    let mut bytes = Vec::new();
    let mut take = |piece: Piece<'_>| {
        if let Piece::Bytes(new) = piece {
            bytes.extend_from_slice(new);
        }
        Ok(())
    };
    let ended = client(site).download("file-1", from, &mut take).await;
    (String::from_utf8(bytes).unwrap(), ended)
}

#[tokio::test]
async fn a_download_goes_on_where_the_connection_broke() {
    let site = in_turn(vec![
        || raw("200 OK\r\ncontent-length: 10", "0123"),
        || raw("503 Busy\r\ncontent-length: 0", ""),
        || raw("206 Partial Content\r\ncontent-length: 6\r\ncontent-range: bytes 4-9/10", "45"),
        || raw("206 Partial Content\r\ncontent-length: 4\r\ncontent-range: bytes 6-9/10", "6789"),
    ])
    .await;
    let (text, ended) = downloaded(&site, 0).await;
    assert_eq!((&*text, ended.is_ok()), ("0123456789", true));
    let ranges: Vec<_> = site
        .asked()
        .iter()
        .map(|head| head.lines().find_map(|line| line.strip_prefix("range: ")).unwrap_or("-").to_owned())
        .collect();
    assert_eq!(ranges, ["-", "bytes=4-", "bytes=4-", "bytes=6-"]);
    assert!(site.asked()[0].starts_with("GET /v1/files/file%2D1/content "), "{:?}", site.asked());
}

#[tokio::test]
async fn what_is_there_already_is_not_fetched_again() {
    let site = in_turn(vec![|| raw("416 No\r\ncontent-range: bytes */10\r\ncontent-length: 0", "")]).await;
    let (text, ended) = downloaded(&site, 10).await;
    assert_eq!((&*text, ended.is_ok()), ("", true), "it is whole");
    let (_, ended) = downloaded(&site, 11).await;
    assert!(ended.is_err(), "it is another file");
    // Who does not know ranges.
    let site = in_turn(vec![|| raw("200 OK\r\ncontent-length: 10", "0123456789")]).await;
    let (text, ended) = downloaded(&site, 7).await;
    assert_eq!((&*text, ended.is_ok()), ("789", true));
    let wrong = || raw("206 Partial Content\r\ncontent-length: 2\r\ncontent-range: bytes 8-9/10", "89");
    let (text, ended) = downloaded(&in_turn(vec![wrong]).await, 7).await;
    assert_eq!((&*text, ended.is_err()), ("", true));
}

#[tokio::test]
async fn a_file_that_cannot_be_put_away_ends_the_download() {
    let site = in_turn(vec![|| raw("200 OK\r\ncontent-length: 10", "0123456789")]).await;
    let mut full = |_: Piece<'_>| Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
    let ended = client(&site).download("file-1", 0, &mut full).await;
    assert!(matches!(ended, Err(Unfinished::Unkept(_))), "{ended:?}");
    assert_eq!(site.asked().len(), 1);
}

#[tokio::test]
async fn a_file_is_sent_as_a_form_and_told_of_while_it_leaves() {
    let site = in_turn(vec![|| json_answer("200 OK", &json!({"id": "file-1"}))]).await;
    let file = tempfile::NamedTempFile::with_suffix(".jsonl").unwrap();
    let content = "x".repeat(600_000);
    std::fs::write(file.path(), &content).unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let uploaded = client(&site)
        .upload(file.path(), move |bytes| {
            counted.fetch_add(bytes, Ordering::Relaxed);
        })
        .await
        .unwrap();
    assert_eq!((uploaded, sent.load(Ordering::Relaxed)), (json!({"id": "file-1"}), content.len()));
    let (head, body) = (site.asked().remove(0), String::from_utf8(site.bodies().remove(0)).unwrap());
    assert!(head.starts_with("POST /v1/files ") && head.contains("authorization: Bearer bgw_fake_key"), "{head}");
    let name = file.path().file_name().unwrap().to_str().unwrap();
    assert!(body.contains("name=\"purpose\"\r\n\r\nbatch\r\n") && body.contains(name) && body.contains(&content));

    for path in ["/nonexistent/a.jsonl", "/"] {
        let error = client(&site).upload(Path::new(path), |_| {}).await.unwrap_err();
        assert_eq!(error.blamed(), Some("FILE"), "{path}");
    }
    assert_eq!(site.asked().len(), 1);
}

#[tokio::test]
async fn what_the_gateway_says_is_told_and_what_is_no_gateway_is_told_as_such() {
    for (answer, told) in [
        (
            (|| json_answer("401 Unauthorized", &json!({"error": {"message": "No such key."}}))) as fn() -> Answer,
            "No such key.",
        ),
        (|| raw("404 Not Found\r\ncontent-length: 6", "<html>"), "is no gateway: it answered 404"),
        (|| raw("302 Found\r\nlocation: https://elsewhere.example/\r\ncontent-length: 0", ""), "it answered 302"),
        (|| raw("200 OK\r\ncontent-length: 6", "<html>"), "what it answers is no JSON"),
        (|| json_answer("200 OK", &json!({"id": "x"})), "its list is none"),
    ] {
        let site = in_turn(vec![answer]).await;
        let error = client(&site).batches(None, 1).await.unwrap_err();
        assert!(error.message().contains(told), "{error}");
        assert!(!error.message().contains("bgw_fake_key") && !is_passing(&error), "{error}");
        assert_eq!(site.asked().len(), 1, "asking again helps nothing");
    }
    let port = Trap::set().await.port();
    let nobody = Client::new(&format!("http://127.0.0.1:{port}/v1"), Secret::new("bgw_fake_key"), None).unwrap();
    let error = nobody.batch("batch_1").await.unwrap_err();
    assert!(error.message().contains("No gateway can be reached") && is_passing(&error), "{error}");
}

#[tokio::test]
async fn a_batch_that_is_asked_for_twice_is_asked_for_under_one_name() {
    let site =
        in_turn(vec![|| raw("503 Busy\r\ncontent-length: 0", ""), || json_answer("200 OK", &json!({"id": "batch_1"}))])
            .await;
    let new = NewBatch {
        file: "file-1".into(),
        endpoint: "/v1/embeddings".into(),
        window: "24h".into(),
        metadata: vec![("a".into(), "b".into())],
        webhook_url: None,
    };
    assert_eq!(client(&site).submit(&new).await.unwrap()["id"], "batch_1");
    let names: Vec<_> = site
        .asked()
        .iter()
        .map(|head| head.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap().to_owned())
        .collect();
    assert!(names.len() == 2 && names[0] == names[1], "{names:?}");
    let body: Value = serde_json::from_slice(&site.bodies()[0]).unwrap();
    let expected = json!({"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h",
        "metadata": {"a": "b"}});
    assert_eq!(body, expected);
}

#[test]
fn a_url_may_end_as_the_sdks_want_it() {
    for text in ["https://g.example", "https://g.example/", "https://g.example/v1", "https://g.example/v1/"] {
        assert_eq!(base(text).unwrap().as_str(), "https://g.example/", "{text}");
    }
    assert_eq!(base("http://localhost:8080/gateway/v1").unwrap().as_str(), "http://localhost:8080/gateway/");
    for text in
        ["", "localhost:8080", "g.example", "ftp://g.example", "https://", "https://a:b@g.example", "http://g?x"]
    {
        assert_eq!(base(text).unwrap_err().blamed(), Some("--url"), "{text}");
    }
}

#[test]
fn an_id_leads_nowhere_else() {
    assert_eq!(segment("batch_0a"), "batch_0a");
    assert_eq!(segment("../files?x=1&y#"), "%2E%2E%2Ffiles%3Fx%3D1%26y%23");
}

#[test]
fn what_passes_is_waited_for_and_a_spent_budget_is_not() {
    for (status, code, passing) in [
        (429, Some("insufficient_quota"), false),
        (429, Some("rate_limit_exceeded"), true),
        (503, None, true),
        (400, None, false),
        (401, Some("invalid_api_key"), false),
        (404, None, false),
    ] {
        assert_eq!(is_passing(&Error::new(kind_of(status, code), "x")), passing, "{status}");
    }
    let error = Error::new(Kind::RateLimited, "x").retry_after(Duration::from_secs(7));
    assert_eq!(pause(1, &error), Duration::from_secs(7));
    assert!(pause(99, &Error::new(Kind::Unavailable, "x")) <= Duration::from_secs(32));
}

#[test]
fn a_key_that_no_header_can_hold_is_refused_and_no_debug_shows_one() {
    for key in ["", "a b", "a\nb", "\u{e9}"] {
        assert!(Client::new("https://g.example", Secret::new(key), None).is_err());
    }
    let client = Client::new("https://g.example", Secret::new("bgw_fake_secret"), None).unwrap();
    assert!(!format!("{client:?}").contains("secret"));
}
