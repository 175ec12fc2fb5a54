//! S3 and the key part of KMS, over the router. What an SDK asks of S3 is in `tests/clients/simulator_fidelity.py`.

use std::collections::BTreeMap;

use serde_json::json;

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::probe::{Keys, element, signed, signed_response};
use super::sigv4::{Authorization, Rules, Signed, SigningKey, body_hash};
use super::{Bucket, Encryption, Settings, Simulator};

const KEY: &str = "arn:aws:kms:eu-west-1:000000000000:key/11111111-2222-3333-4444-555555555555";

fn simulator() -> Simulator {
    let files = Bucket {
        region: "eu-west-1".to_owned(),
        encryption: Encryption::Kms(KEY.to_owned()),
        policy: Some(
            json!({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}]}),
        ),
        blocks_public_access: false,
        owner: None,
    };
    let foreign = Bucket { owner: Some("111111111111".to_owned()), ..Bucket::default() };
    let buckets = BTreeMap::from([
        ("files".to_owned(), files),
        ("plain".to_owned(), Bucket::default()),
        ("foreign".to_owned(), foreign),
    ]);
    let kms_keys = BTreeMap::from([(KEY.to_owned(), "Disabled".to_owned())]);
    Simulator::new(Settings { buckets, kms_keys, ..Settings::default() })
}

async fn get(simulator: &Simulator, region: &str, path: &str) -> (u16, String) {
    signed(simulator, &Keys::of(simulator), ("s3", region), ("GET", path, b""), &[]).await
}

#[tokio::test]
async fn a_head_tells_where_a_bucket_is_or_why_not() {
    let simulator = simulator();
    let keys = Keys::of(&simulator);
    for (region, path, status, told) in [
        ("eu-west-1", "/files", 200, Some("eu-west-1")),
        ("us-east-1", "/files", 301, Some("eu-west-1")),
        ("us-east-1", "/foreign", 403, Some("us-east-1")),
        ("us-east-1", "/nothing", 404, None),
    ] {
        let response = signed_response(&simulator, &keys, ("s3", region), ("HEAD", path, b""), &[]).await;
        let here = response.headers().get("x-amz-bucket-region").map(|value| value.to_str().unwrap());
        assert_eq!((response.status().as_u16(), here), (status, told), "{path}");
    }
    assert_eq!(simulator.calls()[0].operation, "HeadBucket");
}

#[tokio::test]
async fn the_settings_of_a_bucket_are_told() {
    let simulator = simulator();
    let (_, xml) = get(&simulator, "eu-west-1", "/files?encryption").await;
    assert_eq!((element(&xml, "SSEAlgorithm"), element(&xml, "KMSMasterKeyID")), ("aws:kms", KEY));
    assert_eq!(element(&get(&simulator, "us-east-1", "/plain?encryption").await.1, "SSEAlgorithm"), "AES256");
    assert!(get(&simulator, "us-east-1", "/files?location").await.1.contains(">eu-west-1</LocationConstraint>"));
    assert!(get(&simulator, "us-east-1", "/plain?location").await.1.contains("></LocationConstraint>"));
    assert_eq!(element(&get(&simulator, "eu-west-1", "/files?policyStatus").await.1, "IsPublic"), "true");
    assert!(get(&simulator, "eu-west-1", "/files?policy").await.1.starts_with("{\"Statement\""));
    assert_eq!(element(&get(&simulator, "us-east-1", "/plain?publicAccessBlock").await.1, "BlockPublicPolicy"), "true");
    for (region, path, status, code) in [
        ("us-east-1", "/plain?policy", 404, "NoSuchBucketPolicy"),
        ("eu-west-1", "/files?publicAccessBlock", 404, "NoSuchPublicAccessBlockConfiguration"),
        ("us-east-1", "/files?encryption", 301, "PermanentRedirect"),
        ("us-east-1", "/nothing?encryption", 404, "NoSuchBucket"),
        ("us-east-1", "/plain/object", 404, "NoSuchKey"),
        ("us-east-1", "/plain/object?acl", 501, "NotImplemented"),
    ] {
        let (got, xml) = get(&simulator, region, path).await;
        assert_eq!((got, element(&xml, "Code")), (status, code), "{path}");
    }
}

#[tokio::test]
async fn s3_refuses_callers_in_its_own_words() {
    let simulator = simulator();
    let keys = Keys::of(&simulator);
    let ask =
        async |keys: &Keys| signed(&simulator, keys, ("s3", "us-east-1"), ("GET", "/plain?policy", b""), &[]).await;
    let (status, xml) = ask(&Keys { access_key: "AKIDOTHER".to_owned(), ..keys.clone() }).await;
    assert_eq!((status, element(&xml, "Code")), (403, "InvalidAccessKeyId"));
    let (status, xml) = ask(&Keys { secret_key: "wrong".to_owned(), ..keys.clone() }).await;
    assert_eq!((status, element(&xml, "Code")), (403, "SignatureDoesNotMatch"));
    simulator.set_policy(Some(
        json!({"Statement": {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::plain"}}),
    ));
    assert_eq!(element(&ask(&keys).await.1, "Code"), "AccessDenied");
}

#[tokio::test]
async fn a_key_is_described_by_id_and_arn_where_it_is() {
    let simulator = simulator();
    let keys = Keys::of(&simulator);
    let target = [("x-amz-target", "TrentService.DescribeKey")];
    let ask = async |region: &str, key: &str| {
        let body = json!({"KeyId": key}).to_string();
        signed(&simulator, &keys, ("kms", region), ("POST", "/", body.as_bytes()), &target).await
    };
    for key in [KEY, KEY.rsplit('/').next().unwrap()] {
        let (status, text) = ask("eu-west-1", key).await;
        assert!(status == 200 && text.contains("\"KeyState\":\"Disabled\""), "{text}");
    }
    let (status, text) = ask("us-east-1", KEY).await;
    assert!(status == 400 && text.contains("NotFoundException"), "{text}");
}

async fn put(simulator: &Simulator, path: &str, body: &[u8], headers: &[(&'static str, &str)]) -> (u16, String) {
    let length = body.len().to_string();
    let headers: Vec<_> = headers.iter().copied().chain([("content-length", length.as_str())]).collect();
    signed(simulator, &Keys::of(simulator), ("s3", "us-east-1"), ("PUT", path, body), &headers).await
}

async fn send(simulator: &Simulator, request: Request<Body>) -> (u16, String) {
    let response = simulator.router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// A request signed with the lasting key over `hash` instead of its body, and what signs on from there.
fn signed_over(
    simulator: &Simulator,
    path: &str,
    hash: &str,
    headers: &[(&str, &str)],
) -> (Request<()>, SigningKey, String) {
    let date = simulator.now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let usual = [("host", "sim"), ("x-amz-date", date.as_str()), ("x-amz-content-sha256", hash)];
    let mut names: Vec<&str> = Vec::new();
    let mut request = Request::put(path);
    for (name, value) in usual.iter().chain(headers) {
        request = request.header(*name, *value);
        names.push(name);
    }
    names.sort_unstable();
    let mut request = request.body(()).unwrap();
    let credential = format!("AKIDSIMULATOR/{}/us-east-1/s3/aws4_request", &date[..8]);
    let names = names.join(";");
    let authorization = Authorization::of(&credential, &names, "").unwrap();
    let (method, uri) = (request.method(), request.uri());
    let parts = Signed { method, uri, headers: request.headers(), hash, rules: Rules::S3 };
    let secret = &simulator.settings().secret_key;
    let signature = authorization.expected(&parts, &date, secret);
    let header = format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}");
    let key = authorization.key(&date, secret);
    request.headers_mut().insert("authorization", header.parse().unwrap());
    (request, key, signature)
}

/// A body in signed chunks, with a signed trailer.
fn chunked(key: &SigningKey, seed: &str, chunks: &[&[u8]], trailer: &str) -> Vec<u8> {
    let (mut body, mut previous) = (Vec::new(), seed.to_owned());
    for chunk in chunks.iter().chain([&&b""[..]]) {
        previous = key.sign("AWS4-HMAC-SHA256-PAYLOAD", &[&previous, &body_hash(b""), &body_hash(chunk)]);
        body.extend_from_slice(format!("{:x};chunk-signature={previous}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        if !chunk.is_empty() {
            body.extend_from_slice(b"\r\n");
        }
    }
    let signature = key.sign("AWS4-HMAC-SHA256-TRAILER", &[&previous, &body_hash(format!("{trailer}\n").as_bytes())]);
    body.extend_from_slice(format!("{trailer}\r\nx-amz-trailer-signature:{signature}\r\n\r\n").as_bytes());
    body
}

#[tokio::test]
async fn chunks_and_their_trailer_are_held_to_their_signatures() {
    let simulator = simulator();
    let (first, rest) = ([b'a'; 8192], b"123456789");
    let hash = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
    let headers = [("x-amz-decoded-content-length", "8201"), ("x-amz-trailer", "x-amz-checksum-crc32")];
    let whole = [&first[..], rest].concat();
    let crc = crc32fast::hash(&whole).to_be_bytes();
    let good =
        format!("x-amz-checksum-crc32:{}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, crc));
    let bad = "x-amz-checksum-crc32:AAAAAA==".to_owned();
    for (change, trailer, status, code) in [
        ("", &good, 200, ""),
        ("chunk", &good, 403, "SignatureDoesNotMatch"),
        ("trailer", &good, 403, "SignatureDoesNotMatch"),
        ("end", &good, 400, "IncompleteBody"),
        ("", &bad, 400, "BadDigest"),
    ] {
        let (request, key, seed) = signed_over(&simulator, "/plain/k", hash, &headers);
        let mut body = chunked(&key, &seed, &[&first, rest], trailer);
        match change {
            "chunk" => body[200] = b'b',
            "trailer" => {
                let at = body.len() - 5;
                body[at] ^= 1;
            }
            "end" => body.truncate(8000),
            _ => {}
        }
        let (got, xml) = send(&simulator, request.map(|()| Body::from(body))).await;
        assert_eq!((got, element(&xml, "Code")), (status, code), "{change} {trailer} {xml}");
        let stored = simulator.objects().list("plain", "k");
        assert_eq!(stored, if status == 200 { vec![("k".to_owned(), 8201)] } else { Vec::new() });
        simulator.objects().delete("plain", "k");
    }
}

#[tokio::test]
async fn a_body_is_what_the_headers_say_or_nothing_is_kept() {
    let simulator = simulator();
    for (headers, body, status, code) in [
        (&[][..], &b"hello"[..], 200, ""),
        (&[("content-md5", "XUFAKrxLKna5cZ2REBfFkg==")], b"hello", 200, ""),
        (&[("content-md5", "XUFAKrxLKna5cZ2REBfFkg==")], b"other", 400, "BadDigest"),
        (&[("x-amz-checksum-crc32", "NhCmhg==")], b"hello", 200, ""),
        (&[("x-amz-checksum-crc32", "NhCmhg==")], b"other", 400, "BadDigest"),
        (&[("x-amz-checksum-crc64nvme", "M3eFcAZSQlc=")], b"hello", 200, ""),
        (&[("x-amz-meta-a", "b")], b"hello", 200, ""),
        (&[("x-amz-storage-class", "SHOEBOX")], b"hello", 400, "InvalidStorageClass"),
        (
            &[("x-amz-server-side-encryption", "aws:kms"), ("x-amz-server-side-encryption-aws-kms-key-id", KEY)],
            b"",
            400,
            "KMS.DisabledException",
        ),
    ] {
        let (got, xml) = put(&simulator, "/plain/k", body, headers).await;
        assert_eq!((got, element(&xml, "Code")), (status, code), "{headers:?} {xml}");
        assert_eq!(simulator.objects().delete("plain", "k"), status == 200);
    }
    let (request, ..) = signed_over(&simulator, "/plain/k", &body_hash(b"hello"), &[("content-length", "5")]);
    let (status, xml) = send(&simulator, request.map(|()| Body::from("other"))).await;
    assert_eq!((status, element(&xml, "Code")), (400, "XAmzContentSHA256Mismatch"));
    let (request, ..) = signed_over(&simulator, "/plain/k", "UNSIGNED-PAYLOAD", &[]);
    let (status, xml) = send(&simulator, request.map(|()| Body::from("other"))).await;
    assert_eq!((status, element(&xml, "Code")), (411, "MissingContentLength"));
    let (mut request, ..) = signed_over(&simulator, "/plain/k", "UNSIGNED-PAYLOAD", &[("content-length", "5")]);
    request.headers_mut().insert("x-amz-meta-a", "b".parse().unwrap());
    let (status, xml) = send(&simulator, request.map(|()| Body::from("hello"))).await;
    assert_eq!((status, element(&xml, "HeadersNotSigned")), (403, "x-amz-meta-a"));
}

#[tokio::test]
async fn a_presigned_url_is_good_until_it_expires() {
    let simulator = simulator();
    simulator.set_clock("2026-11-22T12:00:00Z".parse().unwrap());
    assert_eq!(put(&simulator, "/plain/k", b"hello", &[]).await.0, 200);
    let date = "20261122T120000Z";
    let credential = "AKIDSIMULATOR/20261122/us-east-1/s3/aws4_request";
    let encoded = credential.replace('/', "%2F");
    let unsigned = format!(
        "/plain/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={encoded}&X-Amz-Date={date}&X-Amz-Expires=60&X-Amz-SignedHeaders=host"
    );
    let request = Request::get(&unsigned).header("host", "sim").body(()).unwrap();
    let parts = Signed {
        method: request.method(),
        uri: request.uri(),
        headers: request.headers(),
        hash: "UNSIGNED-PAYLOAD",
        rules: Rules::S3,
    };
    let authorization = Authorization::of(credential, "host", "").unwrap();
    let signature = authorization.expected(&parts, date, &simulator.settings().secret_key);
    let ask =
        async |url: &str| send(&simulator, Request::get(url).header("host", "sim").body(Body::empty()).unwrap()).await;
    let url = format!("{unsigned}&X-Amz-Signature={signature}");
    assert_eq!(ask(&url).await, (200, "hello".to_owned()));
    assert_eq!(element(&ask(&url.replace("/k", "/j")).await.1, "Code"), "SignatureDoesNotMatch");
    assert_eq!(element(&ask(&unsigned).await.1, "Code"), "AuthorizationQueryParametersError");
    simulator.advance_clock(Duration::from_secs(61));
    let (status, xml) = ask(&url).await;
    assert_eq!((status, element(&xml, "Message")), (403, "Request has expired"));
}

#[tokio::test]
async fn a_bucket_elsewhere_is_told_of_and_its_policy_can_deny() {
    let simulator = simulator();
    let keys = Keys::of(&simulator);
    let ask = async |region: &str, path: &str| {
        let response = signed_response(&simulator, &keys, ("s3", region), ("GET", path, b""), &[]).await;
        let told = response.headers().get("x-amz-bucket-region").map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, told, element(&String::from_utf8_lossy(&body), "Code").to_owned())
    };
    let redirect = (301, Some("eu-west-1".to_owned()), "PermanentRedirect".to_owned());
    assert_eq!(ask("us-east-1", "/files/k").await, redirect);
    assert_eq!(ask("us-east-1", "/foreign/k").await.2, "AccessDenied");
    simulator.set_bucket("plain", Bucket {
        policy: Some(json!({"Statement": {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::plain/closed/*"}})),
        ..Bucket::default()
    });
    for key in ["closed/a", "open/a"] {
        assert_eq!(put(&simulator, &format!("/plain/{key}"), b"x", &[]).await.0, 200);
    }
    assert_eq!(ask("us-east-1", "/plain/open/a").await.0, 200);
    assert_eq!(ask("us-east-1", "/plain/closed/a").await.2, "AccessDenied");
}

#[tokio::test]
async fn faults_of_s3_leave_bedrock_alone_and_cut_bodies() {
    let simulator = simulator();
    let s3 = simulator.region("us-east-1").s3();
    assert_eq!(put(&simulator, "/plain/k", &[b'x'; 1000], &[]).await.0, 200);
    s3.on("GetObject").throttle(1).cut_body_after(1, 100);
    s3.deny("s3:DeleteObject");
    assert_eq!(put(&simulator, "/plain/k2", b"x", &[]).await.0, 200);
    assert_eq!(get(&simulator, "us-east-1", "/plain/k").await.0, 503);
    let keys = Keys::of(&simulator);
    let response = signed_response(&simulator, &keys, ("s3", "us-east-1"), ("GET", "/plain/k", b""), &[]).await;
    assert_eq!(response.headers()["content-length"], "1000");
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), 100);
    assert!(body.frame().await.unwrap().is_err());
    drop(body);
    assert_eq!(get(&simulator, "us-east-1", "/plain/k").await.1.len(), 1000);
    let delete = async || signed(&simulator, &keys, ("s3", "us-east-1"), ("DELETE", "/plain/k", b""), &[]).await;
    assert_eq!(element(&delete().await.1, "Code"), "AccessDenied");
    s3.allow("s3:DeleteObject").outage_with_503();
    assert_eq!(element(&delete().await.1, "Code"), "ServiceUnavailable");
    assert_eq!(super::probe::send(&simulator, "GET", "/foundation-models", &json!(null)).await.0, 200);
    s3.end_outage();
    assert_eq!(delete().await.0, 204);
    let seen: Vec<_> = simulator.calls().into_iter().map(|call| (call.operation, call.subject, call.status)).collect();
    assert_eq!(seen.last().unwrap(), &("DeleteObject", "plain/k".to_owned(), 204));
    let outcomes: Vec<_> = simulator.calls().into_iter().map(|call| call.outcome).collect();
    assert!(outcomes.contains(&super::Outcome::Cut));
}
