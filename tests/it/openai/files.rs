//! Files over the wire: in as a form, kept in the simulated S3, out by ranges; and nothing left of what did not become one.

use std::fmt::Write as _;
use std::time::Duration;

use bedrock_gateway::batch::files::{Files, NewFile};
use bedrock_gateway::batch::record::Origin;
use bedrock_gateway::config::Config;
use bedrock_gateway::simulator::Bucket;
use bedrock_gateway::tenancy::Caller;
use bedrock_gateway::upstream::Upstream;
use bytes::Bytes;
use futures_util::stream;
use reqwest::{Body, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::support::reply::Reply;
use crate::support::{FIRST, TestGateway, eventually};

const BUCKET: &str = "files-east";
const LINE: &str = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"claude-haiku-4-5","messages":[]}}"#;
const MIB: usize = 1024 * 1024;

async fn gateway() -> TestGateway {
    with(|_| {}).await
}

async fn with(change: impl FnOnce(&mut Config)) -> TestGateway {
    let change = |config: &mut Config| {
        config.batch.bucket = [(FIRST.to_owned(), BUCKET.to_owned())].into();
        change(config);
    };
    TestGateway::with_simulated(change, |settings| {
        settings.buckets.insert(BUCKET.to_owned(), Bucket::default());
    })
    .await
}

/// A part of a form: its name, what follows that in its head, and its value.
type Part<'a> = (&'a str, &'a str, &'a str);

const PURPOSE: Part<'_> = ("purpose", "", "batch");

fn named(name: &str) -> String {
    format!("; filename=\"{name}\"")
}

fn form(parts: &[Part<'_>]) -> String {
    let mut text = String::new();
    for (name, more, value) in parts {
        write!(text, "--X\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n{value}\r\n").unwrap();
    }
    text + "--X--\r\n"
}

fn request(t: &TestGateway, body: impl Into<Body>) -> RequestBuilder {
    let request = t.request(Method::POST, "/v1/files").bearer_auth(t.key());
    request.header("content-type", "multipart/form-data; boundary=X").body(body)
}

async fn post(t: &TestGateway, parts: &[Part<'_>]) -> Reply {
    Reply::to(request(t, form(parts))).await
}

async fn upload(t: &TestGateway, name: &str, text: &str) -> Value {
    let reply = post(t, &[PURPOSE, ("file", &named(name), text)]).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()
}

async fn ask(t: &TestGateway, method: Method, path: &str) -> Reply {
    Reply::to(t.request(method, &format!("/v1/files{path}")).bearer_auth(t.key())).await
}

async fn ids(t: &TestGateway, query: &str) -> Vec<String> {
    let list = ask(t, Method::GET, query).await.json();
    list["data"].as_array().unwrap().iter().map(|file| file["id"].as_str().unwrap().to_owned()).collect()
}

/// What is in the bucket.
async fn objects(t: &TestGateway) -> Vec<(String, u64)> {
    let upstream = Upstream::connect(&t.config.aws, t.clock.clone(), &TaskTracker::new()).await.unwrap();
    upstream.objects(FIRST).unwrap().list(BUCKET, "").await.unwrap()
}

fn calls(t: &TestGateway, operation: &str) -> usize {
    t.sim.calls().iter().filter(|call| call.operation == operation).count()
}

/// Uploads in parts that were given up, and were there.
fn aborted(t: &TestGateway) -> usize {
    t.sim.calls().iter().filter(|call| call.operation == "AbortMultipartUpload" && call.status == 204).count()
}

/// The files of the gateway, as its own background work knows them.
async fn inside(t: &TestGateway) -> (Files, Caller) {
    let tracker = TaskTracker::new();
    let upstream = Upstream::connect(&t.config.aws, t.clock.clone(), &tracker).await.unwrap();
    let files = Files::new(t.store.clone(), upstream, &t.config.batch, t.clock.clone(), tracker);
    (files, t.gateway().tenancy().authenticate(Some(t.key()), None).await.unwrap())
}

#[tokio::test]
async fn a_file_is_taken_listed_read_and_deleted() {
    let t = gateway().await;
    let first = upload(&t, "in put.jsonl", LINE).await;
    let id = first["id"].as_str().unwrap().to_owned();
    let created = t.clock.now().seconds();
    let expected = json!({
        "id": id, "object": "file", "bytes": LINE.len(), "created_at": created, "expires_at": created + 720 * 3600,
        "filename": "in put.jsonl", "purpose": "batch", "status": "processed", "status_details": null,
    });
    assert_eq!(first, expected);
    assert_eq!(ask(&t, Method::GET, &format!("/{id}")).await.json(), expected);
    t.clock.advance(Duration::from_secs(1));
    let second = upload(&t, "b.jsonl", "").await["id"].as_str().unwrap().to_owned();
    let list = ask(&t, Method::GET, "?limit=1").await.json();
    assert_eq!(
        (&list["data"][0]["id"], &list["has_more"], &list["last_id"]),
        (&json!(second), &json!(true), &json!(second))
    );
    assert_eq!(ids(&t, &format!("?after={second}&purpose=batch")).await, [&*id]);
    assert_eq!(ids(&t, "?order=asc").await, [&*id, &*second]);
    assert_eq!(ids(&t, "?purpose=batch_output").await, Vec::<String>::new());
    for (query, param) in [("?limit=0", "limit"), ("?order=up", "order"), ("?after=file-x", "after")] {
        let refused = ask(&t, Method::GET, query).await;
        assert_eq!((refused.status(), &refused.openai_error()["param"]), (400, &json!(param)));
    }
    let named = t.request(Method::POST, "/v1/files").bearer_auth(t.key()).header("idempotency-key", "once");
    let refused = Reply::to(named.header("content-type", "multipart/form-data; boundary=x").body("--x--")).await;
    assert_eq!((refused.status(), &refused.openai_error()["param"]), (400, &json!("Idempotency-Key")), "{refused:?}");
    let content = ask(&t, Method::GET, &format!("/{id}/content")).await;
    assert_eq!(
        (content.status(), content.text(), content.header("content-length")),
        (200, LINE, &*LINE.len().to_string())
    );
    assert!(content.header("content-disposition").starts_with("attachment; filename=\"in put.jsonl\""));
    assert_eq!(ask(&t, Method::GET, &format!("/{second}/content")).await.text(), "");
    assert_eq!(objects(&t).await.len(), 2);
    for id in [&id, &second] {
        let gone = ask(&t, Method::DELETE, &format!("/{id}")).await.json();
        assert_eq!(gone, json!({"id": id, "object": "file", "deleted": true}));
        for path in [format!("/{id}"), format!("/{id}/content")] {
            assert_eq!(ask(&t, Method::GET, &path).await.status(), 404);
        }
        assert_eq!(ask(&t, Method::DELETE, &format!("/{id}")).await.status(), 404);
    }
    assert_eq!(objects(&t).await, []);
    t.finish().await;
}

#[tokio::test]
async fn the_parts_of_a_form_come_in_any_order_and_a_bad_one_is_named() {
    let t = gateway().await;
    let file = named("a.jsonl");
    let file: Part<'_> = ("file", &file, LINE);
    let (anchor, seconds) = ("expires_after[anchor]", "expires_after[seconds]");
    let taken =
        post(&t, &[("unknown", "", "x"), file, (seconds, "", "3600"), PURPOSE, (anchor, "", "created_at")]).await;
    assert_eq!(taken.json()["expires_at"], json!(t.clock.now().seconds() + 3600), "{taken:?}");
    let long = "x".repeat(5000);
    for (parts, param) in [
        (vec![file], "purpose"),
        (vec![PURPOSE], "file"),
        (vec![("purpose", "", "fine-tune"), file], "purpose"),
        (vec![file, ("purpose", "", "assistants")], "purpose"),
        (vec![file, ("purpose", "", long.as_str())], "purpose"),
        (vec![file, file, PURPOSE], "file"),
        (vec![PURPOSE, file, (seconds, "", "3600")], "expires_after.anchor"),
        (vec![PURPOSE, file, (anchor, "", "created_at")], "expires_after.seconds"),
        (vec![PURPOSE, (anchor, "", "last_active_at"), file], "expires_after.anchor"),
        (vec![PURPOSE, file, (anchor, "", "created_at"), (seconds, "", "3599")], "expires_after.seconds"),
        (vec![PURPOSE, file, (anchor, "", "created_at"), (seconds, "", "2592001")], "expires_after.seconds"),
    ] {
        let refused = post(&t, &parts).await;
        assert_eq!((refused.status(), &refused.openai_error()["param"]), (400, &json!(param)), "{refused:?}");
    }
    for (kind, body) in [
        ("application/json", "{}".to_owned()),
        ("multipart/form-data", form(&[PURPOSE, file])),
        ("multipart/form-data; boundary=Y", form(&[PURPOSE, file])),
        ("multipart/form-data; boundary=X", form(&[PURPOSE, file]).replace("--X--\r\n", "")),
    ] {
        let request = t.request(Method::POST, "/v1/files").bearer_auth(t.key()).header("content-type", kind).body(body);
        let refused = Reply::to(request).await;
        assert_eq!(refused.status(), 400, "{kind}: {refused:?}");
        refused.openai_error();
    }
    assert_eq!(objects(&t).await.len(), 1, "nothing is left of what was refused");
    assert_eq!(ids(&t, "").await.len(), 1);
    t.finish().await;
}

#[tokio::test]
async fn a_file_is_read_by_ranges() {
    let t = gateway().await;
    let id = upload(&t, "a.jsonl", "0123456789").await["id"].as_str().unwrap().to_owned();
    let read = async |range: &str, tag: &str| {
        let request = t.request(Method::GET, &format!("/v1/files/{id}/content")).bearer_auth(t.key());
        let request = request.header("range", range);
        Reply::to(if tag.is_empty() { request } else { request.header("if-range", tag) }).await
    };
    for (range, status, text, told) in [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=0-1,4-5", 200, "0123456789", ""),
        ("lines=1", 200, "0123456789", ""),
    ] {
        let reply = read(range, "").await;
        assert_eq!((reply.status(), reply.text(), reply.header("content-range")), (status, text, told), "{range}");
        assert_eq!(reply.header("accept-ranges"), "bytes");
    }
    let beyond = read("bytes=10-", "").await;
    assert_eq!((beyond.status(), beyond.header("content-range")), (416, "bytes */10"));
    beyond.openai_error();
    let tag = read("bytes=0-0", "").await.header("etag").to_owned();
    assert_eq!(read("bytes=0-0", &tag).await.status(), 206);
    assert_eq!(read("bytes=0-0", "\"other\"").await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn a_large_file_goes_in_by_parts_and_comes_out_whole_though_connections_break() {
    let t = gateway().await;
    let line = format!("{LINE}\n");
    let text = line.repeat(20 * MIB / line.len());
    let id = upload(&t, "large.jsonl", &text).await["id"].as_str().unwrap().to_owned();
    assert_eq!((calls(&t, "CreateMultipartUpload"), calls(&t, "UploadPart")), (1, 3));
    assert_eq!(calls(&t, "CompleteMultipartUpload"), 1);
    let s3 = t.sim.region(FIRST).s3();
    s3.cut_body_after(2, 5 * MIB as u64 + 3);
    let content = ask(&t, Method::GET, &format!("/{id}/content")).await;
    assert!(content.text() == text, "{} bytes of {}", content.bytes().len(), text.len());
    assert_eq!(calls(&t, "GetObject"), 3);
    s3.on("UploadPart").throttle(2);
    s3.on("CompleteMultipartUpload").internal_error(1);
    s3.on("CreateMultipartUpload").reset_connection(1);
    upload(&t, "again.jsonl", &text).await;
    assert_eq!(t.sim.waiting_faults(), 0);
    t.finish().await;
}

#[tokio::test]
async fn an_upload_that_breaks_or_is_too_large_leaves_nothing() {
    let t = with(|config| config.batch.max_file_mb = 12).await;
    let head = form(&[PURPOSE, ("file", &named("a.jsonl"), "")]).replace("\r\n--X--\r\n", "");
    let piece = Bytes::from(vec![b'a'; MIB]);
    let pieces = (0..10).map(move |_| Ok(piece.clone()));
    let broken = std::iter::once(Ok(Bytes::from(head))).chain(pieces).chain([Err(std::io::Error::other("gone"))]);
    let sent = request(&t, Body::wrap_stream(stream::iter(broken))).send().await;
    assert!(sent.is_err() || sent.is_ok_and(|reply| reply.status() == 400));
    eventually("the parts are aborted", async || aborted(&t) == 1).await;

    let refused = post(&t, &[PURPOSE, ("file", &named("a.jsonl"), &"a".repeat(12 * MIB + 1))]).await;
    assert_eq!((refused.status(), &refused.openai_error()["param"]), (413, &json!("file")));
    assert!(refused.text().contains("batch.max_file_mb"));
    eventually("the parts are aborted", async || aborted(&t) == 2).await;
    let length = post(&t, &[PURPOSE, ("file", &named("a.jsonl"), &"a".repeat(14 * MIB))]).await;
    assert_eq!(length.status(), 413);
    assert_eq!(calls(&t, "CreateMultipartUpload"), 2, "its length alone said that it is too large");
    assert_eq!((objects(&t).await, ids(&t, "").await), (vec![], vec![]));
    t.finish().await;
}

#[tokio::test]
async fn a_team_keeps_no_more_than_it_may() {
    let t = with(|config| config.batch.team_storage_mb = 1).await;
    let most = "a".repeat(MIB - 10);
    let id = upload(&t, "a.jsonl", &most).await["id"].as_str().unwrap().to_owned();
    for text in ["0123456789a", &most] {
        let refused = post(&t, &[PURPOSE, ("file", &named("b.jsonl"), text)]).await;
        assert_eq!(refused.status(), 413, "{refused:?}");
        assert!(refused.text().contains("batch.team_storage_mb"), "{refused:?}");
    }
    upload(&t, "b.jsonl", "0123456789").await;
    assert_eq!(ask(&t, Method::DELETE, &format!("/{id}")).await.status(), 200);
    upload(&t, "c.jsonl", &most[..MIB - 20]).await;
    assert_eq!(objects(&t).await.len(), 2);
    t.finish().await;
}

#[tokio::test]
async fn what_the_gateway_may_not_do_is_told_in_a_way_that_helps() {
    let t = gateway().await;
    let s3 = t.sim.region(FIRST).s3();
    s3.deny("s3:PutObject");
    let refused = post(&t, &[PURPOSE, ("file", &named("a.jsonl"), LINE)]).await;
    let message = refused.openai_error()["message"].as_str().unwrap().to_owned();
    assert_eq!(refused.status(), 503, "{refused:?}");
    assert!(message.contains("`s3:PutObject`") && message.contains("batch.bucket.us-east-1"), "{message}");
    assert!(!message.contains("arn:") && !message.contains("000000000000"), "{message}");
    s3.allow("s3:PutObject");
    let id = upload(&t, "a.jsonl", LINE).await["id"].as_str().unwrap().to_owned();
    s3.deny("s3:GetObject");
    let refused = ask(&t, Method::GET, &format!("/{id}/content")).await;
    assert!(refused.status() == 503 && refused.text().contains("`s3:GetObject`"), "{refused:?}");
    s3.allow("s3:GetObject").deny("DeleteObjects");
    assert_eq!(ask(&t, Method::DELETE, &format!("/{id}")).await.status(), 200, "it is deleted later");
    assert_eq!(ask(&t, Method::GET, &format!("/{id}")).await.status(), 404);
    assert_eq!(objects(&t).await.len(), 1);
    s3.allow("DeleteObjects");
    assert_eq!(inside(&t).await.0.sweep().await.unwrap(), 1);
    assert_eq!(objects(&t).await, []);
    t.finish().await;
}

#[tokio::test]
async fn without_a_bucket_there_are_no_files() {
    let t = TestGateway::start().await;
    let refused = ask(&t, Method::GET, "").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.text().contains("batch.bucket"), "{refused:?}");
    t.finish().await;
}

#[tokio::test]
async fn files_end_with_their_time_and_uploads_with_whoever_made_them() {
    let t = gateway().await;
    let (files, caller) = inside(&t).await;
    let after = ("expires_after[anchor]", "", "created_at");
    let short = [PURPOSE, ("file", &*named("a.jsonl"), LINE), after, ("expires_after[seconds]", "", "7200")];
    let id = post(&t, &short).await.json()["id"].as_str().unwrap().to_owned();
    let kept = upload(&t, "b.jsonl", LINE).await["id"].as_str().unwrap().to_owned();

    let mut alive = files.begin(&caller, Origin::Upload).await.unwrap();
    let mut dead = files.begin(&caller, Origin::Upload).await.unwrap();
    dead.write(&vec![b'a'; 9 * MIB]).await.unwrap();
    // As one whose process was killed.
    std::mem::forget(dead);
    for _ in 0..3 {
        t.clock.advance(Duration::from_mins(30));
        alive.write(b"{}\n").await.unwrap();
    }
    assert_eq!(files.sweep().await.unwrap(), 1, "the upload that nobody goes on with");
    assert_eq!(
        aborted(&t),
        1,
        "{:?}",
        t.sim.calls().iter().filter(|call| call.operation.contains("Abort")).collect::<Vec<_>>()
    );
    let new = NewFile { filename: "c".into(), purpose: "batch".into(), expires_after: None, origin: Origin::Upload };
    alive.finish(new).await.unwrap();

    assert_eq!(ask(&t, Method::GET, &format!("/{id}")).await.status(), 200);
    t.clock.advance(Duration::from_mins(30));
    assert_eq!(ask(&t, Method::GET, &format!("/{id}/content")).await.status(), 404);
    assert_eq!(files.sweep().await.unwrap(), 1);
    assert_eq!(files.sweep().await.unwrap(), 0);
    assert_eq!((objects(&t).await.len(), ask(&t, Method::GET, &format!("/{kept}")).await.status()), (2, 200));
    t.clock.advance(Duration::from_hours(720));
    assert_eq!((files.sweep().await.unwrap(), objects(&t).await), (2, vec![]));
    t.finish().await;
}
