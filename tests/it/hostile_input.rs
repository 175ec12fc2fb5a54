//! Bad input of any kind: the dialect's own 4xx that names the field, and a gateway that goes on serving.

use serde_json::{Value, json};

use crate::support::calls::{chat, turn, with};
use crate::support::log::PRIVATE;
use crate::support::reply::Reply;
use crate::support::{MODEL, TestGateway};

/// Deeper than any reader follows.
const DEPTH: usize = 200_000;

/// Expects the gateway to serve as if nothing had happened.
async fn expect_alive(t: &TestGateway) {
    assert_eq!(t.openai().chat("still there?").await.status(), 200);
    assert_eq!(t.bedrock().converse("still there?").await.status(), 200);
}

fn nested(open: &str, close: &str) -> String {
    open.repeat(DEPTH) + &close.repeat(DEPTH)
}

#[tokio::test]
async fn a_chat_body_that_is_no_request_is_a_400_of_the_dialect() {
    let t = TestGateway::start().await;
    let deep = format!(r#"{{"model":"{MODEL}","messages":{}}}"#, nested("[", "]"));
    let deep_extra =
        format!(r#"{{"model":"{MODEL}","messages":[],"x":{}1{}}}"#, r#"{"a":"#.repeat(DEPTH), "}".repeat(DEPTH));
    let bodies: [&[u8]; 15] = [
        b"",
        b" ",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"7",
        b"\"text\"",
        b"{} {}",
        b"\xff\xfe",
        b"{\"model\":\"\xff\"}",
        b"{\"model\":\"a\",\"model\":\"b\",\"messages\":[]}",
        b"{\"model\":\"\\ud800\",\"messages\":[]}",
        deep.as_bytes(),
        deep_extra.as_bytes(),
    ];
    for body in bodies {
        let reply = t.openai().send_bytes(body.to_vec()).await;
        let error = reply.openai_error();
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
        assert_eq!((reply.status(), &error["type"]), (400, &json!("invalid_request_error")), "{shown}");
        assert!(!reply.header("x-request-id").is_empty(), "{shown}");
    }
    expect_alive(&t).await;
    t.finish().await;
}

#[tokio::test]
async fn text_that_is_no_utf_8_is_a_400_on_the_native_lane_too() {
    let t = TestGateway::start().await;
    let body = b"{\"model\":\"gpt-oss-120b\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}";
    let reply = t.openai().send_bytes(body.to_vec()).await;
    let message = reply.openai_error()["message"].to_string();
    assert!(reply.status() == 400 && message.contains("not valid JSON"), "{message}");
    assert!(t.sim.calls().is_empty());
    t.finish().await;
}

#[tokio::test]
async fn a_field_that_is_wrong_is_named() {
    let t = TestGateway::start().await;
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let cases = [
        ("model", json!({"model": null})),
        ("model", json!({"model": 7})),
        ("model", json!({"model": {"a": PRIVATE}})),
        ("messages", json!({"messages": PRIVATE})),
        ("messages", json!({"messages": []})),
        ("messages[0]", json!({"messages": [PRIVATE]})),
        ("messages[0].role", json!({"messages": [{"role": "robot", "content": PRIVATE}]})),
        ("messages[0].content", user(json!(7))),
        ("messages[0].content", user(json!(null))),
        ("messages[0].content", json!({"messages": [{"role": "user", "contents": PRIVATE}]})),
        ("messages[1].content", json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "system"}]})),
        ("messages[0].content[0]", user(json!([{"type": "smell", "text": PRIVATE}]))),
        ("messages[0].content[0]", user(json!([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]))),
        (
            "messages[0].content[0]",
            user(json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}}])),
        ),
        ("temperature", json!({"temperature": "warm"})),
        ("temperature", json!({"temperature": -1})),
        ("top_p", json!({"top_p": 7})),
        ("max_tokens", json!({"max_tokens": 0})),
        ("max_tokens", json!({"max_tokens": -5})),
        ("max_tokens", json!({"max_tokens": 1.5})),
        ("max_tokens", json!({"max_tokens": 1e30})),
        ("stop", json!({"stop": {"a": 1}})),
        ("stream", json!({"stream": "yes"})),
        ("n", json!({"n": 0})),
        ("n", json!({"n": 1000})),
        ("tools", json!({"tools": {}})),
        ("tools[0]", json!({"tools": [{"type": "function"}]})),
        (
            "tools[0]",
            json!({"tools": [{"type": "function", "function": {"name": "no spaces allowed", "parameters": 7}}]}),
        ),
        ("tool_choice", json!({"tool_choice": {"type": "function", "function": {"name": "none such"}}})),
        ("response_format", json!({"response_format": {"type": "xml"}})),
        ("metadata", json!({"metadata": {"a": 1}})),
    ];
    for (field, change) in cases {
        let reply = t.openai().send(&with(chat("hi"), change.clone())).await;
        assert_eq!(reply.status(), 400, "{change}: {reply:?}");
        let error = reply.openai_error();
        assert_eq!(error["type"], "invalid_request_error", "{change}");
        let blamed = error["param"].as_str().unwrap_or_default();
        assert!(blamed.starts_with(field), "{change} blames {blamed:?}: {error}");
        assert!(!reply.text().contains(PRIVATE), "{error}");
    }
    assert!(t.sim.calls().is_empty(), "nothing of this needs Bedrock");
    expect_alive(&t).await;
    t.finish().await;
}

#[tokio::test]
async fn blank_content_is_filled_in_and_reported_or_refused_in_strict_mode() {
    let t = TestGateway::start().await;
    for content in [json!(""), json!("  \n"), json!([]), json!([{"type": "text", "text": ""}])] {
        let body = json!({"model": MODEL, "messages": [{"role": "user", "content": content}]});
        let reply = t.openai().send(&body).await;
        assert_eq!(reply.status(), 200, "{content}: {reply:?}");
        assert!(reply.header("x-gateway-translation").contains("messages[0].content"), "{content}: {reply:?}");
        let strict = Reply::to(t.openai().request().json(&body).header("x-gateway-strict", "1")).await;
        assert_eq!(
            (strict.status(), &strict.openai_error()["code"]),
            (400, &json!("unsupported_parameter")),
            "{content}"
        );
    }
    t.finish().await;
}

#[tokio::test]
async fn a_bedrock_body_that_is_no_json_object_is_a_validation_exception() {
    let t = TestGateway::start().await;
    let deep = format!(r#"{{"messages":{}}}"#, nested("[", "]"));
    let bodies: [&[u8]; 10] =
        [b"", b" ", b"{", b"[]", b"null", b"7", b"{} {}", b"\xff\xfe", b"{\"messages\":\"\xff\"}", deep.as_bytes()];
    for operation in ["converse", "converse-stream", "invoke", "invoke-with-response-stream"] {
        for body in bodies {
            let reply = t.bedrock().send(operation, body.to_vec()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
            assert_eq!((reply.status(), reply.exception().0), (400, "ValidationException"), "{operation} {shown}");
        }
    }
    expect_alive(&t).await;
    t.finish().await;
}

#[tokio::test]
async fn what_only_bedrock_can_judge_is_refused_in_its_own_words() {
    let t = TestGateway::start().await;
    let cases = [
        ("type", json!({"messages": "hello"})),
        ("conversation", json!({"messages": []})),
        ("blank", turn("   ")),
        ("role", json!({"messages": [{"role": "robot", "content": [{"text": "hi"}]}]})),
        ("temperature", with(turn("hi"), json!({"inferenceConfig": {"temperature": 7}}))),
    ];
    for (word, body) in cases {
        let reply = t.bedrock().send("converse", body.to_string()).await;
        let (name, message) = reply.exception();
        assert_eq!((reply.status(), name), (400, "ValidationException"), "{body}");
        assert!(message.to_lowercase().contains(word), "{body}: {message}");
    }
    expect_alive(&t).await;
    t.finish().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_in_both_dialects() {
    let t = TestGateway::start().await;
    let large = chat(&"x".repeat(26 * 1024 * 1024)).to_string();
    for _ in 0..3 {
        let reply = t.openai().send_bytes(large.clone()).await;
        assert_eq!((reply.status(), &reply.openai_error()["code"]), (413, &json!("request_too_large")));
        let reply = t.bedrock().send("converse", large.clone()).await;
        assert_eq!((reply.status(), reply.exception().0), (400, "ValidationException"));
        assert!(reply.exception().1.contains("max_body_mb"));
    }
    expect_alive(&t).await;
    t.finish().await;
}

#[tokio::test]
async fn a_body_under_the_limit_is_taken_however_it_is_cut() {
    let t = TestGateway::start().await;
    let text = "ab ".repeat(100_000);
    let body = chat(&text).to_string();
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        body.as_bytes().chunks(7_001).map(|piece| Ok(piece.to_vec())).collect();
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    assert_eq!(t.openai().send_bytes(chunked).await.status(), 200);
    t.finish().await;
}

/// A request on a connection of its own, every byte of path and headers as given.
fn raw_post(t: &TestGateway, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let (key, length) = (t.key(), body.len());
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

#[tokio::test]
async fn a_strange_model_id_in_the_path_is_a_4xx_of_the_dialect() {
    let t = TestGateway::start().await;
    let long = "x".repeat(3000);
    let ids = [
        "",
        "..",
        "%2e%2e",
        "..%2F..%2Fetc%2Fpasswd",
        "a%2Fb",
        "%2F",
        "a%00b",
        "%00",
        "%0d%0aset-cookie:x",
        "%20",
        "a%20b",
        "%ff%fe",
        "%zz",
        "%",
        "a%2",
        "%25",
        "a%3Fb",
        "a;b",
        "~",
        "*",
        "{model_id}",
        "%E2%80%AE",
        "arn:aws:bedrock:::",
        "arn:aws:s3:::bucket",
        "arn%3Aaws%3Abedrock%3Aus-east-1%3A000000000000%3Ainference-profile%2F..%2F..",
        &long,
    ];
    for id in ids {
        for operation in ["converse", "invoke-with-response-stream"] {
            let path = format!("/model/{id}/{operation}");
            let reply = t.raw(raw_post(&t, &path, "", &turn("hi").to_string())).await;
            let (name, message) = reply.exception();
            assert!([400, 404].contains(&reply.status()), "{id}: {reply:?}");
            assert!(["ValidationException", "ResourceNotFoundException"].contains(&name), "{id}: {reply:?}");
            assert!(message.len() < 1000 && !message.chars().any(char::is_control), "{id}: {message:?}");
        }
        // The same as a name in a body and in the path of the model list.
        let reply =
            t.raw(raw_post(&t, "/v1/chat/completions", "", &with(chat("hi"), json!({"model": id})).to_string())).await;
        assert!([400, 404].contains(&reply.status()), "{id}: {reply:?}");
        assert_eq!(reply.openai_error()["param"], "model", "{id}");
    }
    // Slashes may be as they are in an id, as many as an ARN has; what is longer is another route, which there is none of.
    let (no_model, no_route) = ("ResourceNotFoundException", "UnknownOperationException");
    for (path, name) in [
        ("/model/a/b/converse", no_model),
        ("/model/a/b/c/d/converse", no_route),
        ("/model/../../etc/passwd", no_route),
        ("/model/", no_route),
        ("/model/x/converse/", no_route),
    ] {
        let reply = t.raw(raw_post(&t, path, "", &turn("hi").to_string())).await;
        assert_eq!((reply.status(), reply.exception().0), (404, name), "{path}");
    }
    let reply = t.raw(raw_post(&t, "/model/../../etc/converse", "", &turn("hi").to_string())).await;
    assert_eq!((reply.status(), reply.exception().0), (400, "ValidationException"));
    assert!(t.sim.calls().is_empty(), "{:?}", t.sim.calls());
    expect_alive(&t).await;
    t.finish().await;
}

#[tokio::test]
async fn control_characters_in_a_models_name_are_refused_and_not_repeated() {
    let t = TestGateway::start().await;
    for model in ["a\nb", "a\u{0}b", "a\u{1b}[31m", "\u{202e}gpt", "", " ", "a b"] {
        let reply = t.openai().send(&with(chat("hi"), json!({"model": model}))).await;
        let error = reply.openai_error();
        assert!([400, 404].contains(&reply.status()), "{model:?}: {error}");
        assert_eq!(error["param"], "model", "{model:?}");
        assert!(!error["message"].as_str().unwrap().chars().any(char::is_control), "{error}");
    }
    t.finish().await;
}

#[tokio::test]
async fn an_unknown_route_and_a_wrong_method_are_told_in_the_dialect_of_the_path() {
    let t = TestGateway::start().await;
    let request = |method: &str, path: &str| {
        let request = t.request(method.parse().unwrap(), path).bearer_auth(t.key());
        Reply::to(request)
    };
    for path in ["/v1/audio/speech", "/v2/models", "/favicon.ico", "/v1/chat/completions/x", "/%00"] {
        let reply = request("GET", path).await;
        assert_eq!((reply.status(), &reply.openai_error()["code"]), (404, &json!("not_found")), "{path}");
    }
    for (method, path) in [("GET", "/v1/chat/completions"), ("DELETE", "/v1/chat/completions"), ("POST", "/v1/models")]
    {
        let reply = request(method, path).await;
        assert_eq!(
            (reply.status(), &reply.openai_error()["code"]),
            (405, &json!("method_not_allowed")),
            "{method} {path}"
        );
        assert!(!reply.header("allow").is_empty(), "{method} {path}");
    }
    let reply = request("GET", "/model/nova-lite/converse").await;
    assert_eq!((reply.status(), reply.exception().0), (405, "UnknownOperationException"));
    let reply = request("POST", "/model/nova-lite/converse-later").await;
    assert_eq!((reply.status(), reply.exception().0), (404, "UnknownOperationException"));
    // Paths that are nobody's are told by whose client it is.
    let by = |header: &'static str, path: &str| {
        Reply::to(t.request("GET".parse().unwrap(), path).bearer_auth(t.key()).header(header, "2023-06-01"))
    };
    let reply = by("amz-sdk-invocation-id", "/guardrails").await;
    assert_eq!((reply.status(), reply.exception().0), (404, "UnknownOperationException"));
    let reply = by("anthropic-version", "/v1/skills").await;
    assert_eq!((reply.status(), &reply.json()["error"]["type"]), (404, &json!("not_found_error")));
    t.finish().await;
}

#[tokio::test]
async fn a_base_url_with_too_much_or_too_little_is_told_the_path_that_was_meant() {
    let t = TestGateway::start().await;
    for (path, meant) in [
        ("/chat/completions", Some("/v1/chat/completions")),
        ("/v1/v1/messages", Some("/v1/messages")),
        ("//v1/messages", Some("/v1/messages")),
        ("/v1/chat/completions/", Some("/v1/chat/completions")),
        ("/responses", Some("/v1/responses")),
        ("/v1/audio/speech", None),
        ("/v1/messages/nothing", None),
        ("/", None),
    ] {
        let reply = Reply::to(t.request("POST".parse().unwrap(), path).bearer_auth(t.key())).await;
        let error = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        let told = error.split_once("Did you mean ").map(|(_, rest)| rest.split('?').next().unwrap().to_owned());
        assert_eq!(told.as_deref(), meant, "{path}: {error}");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_compressed_body_is_refused_by_its_header() {
    let t = TestGateway::start().await;
    for path in ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/messages"] {
        let post = |encoding: &'static str, body: Vec<u8>| {
            let request = t.request("POST".parse().unwrap(), path).bearer_auth(t.key());
            Reply::to(request.header("content-encoding", encoding).body(body))
        };
        let reply = post("gzip", vec![0x1f, 0x8b, 8, 0]).await;
        assert_eq!(reply.status(), 400, "{path}");
        assert!(reply.text().contains("compressed"), "{path}: {reply:?}");
        let reply = post("identity", b"{".to_vec()).await;
        assert!(reply.status() == 400 && !reply.text().contains("compressed"), "{path}: {reply:?}");
    }
    t.finish().await;
}

#[tokio::test]
async fn absurd_headers_are_refused_or_ignored() {
    let t = TestGateway::start().await;
    let body = chat("hi").to_string();
    let post = |headers: &str| t.raw(raw_post(&t, "/v1/chat/completions", headers, &body));
    let large = format!("x-large: {}\r\n", "x".repeat(600_000));
    let many = "x-many: 1\r\n".repeat(500);
    for headers in [&large, &many] {
        assert_eq!(post(headers).await.status(), 431);
    }
    // Ignored: what means nothing to us, and content types that official clients do not send but scripts do.
    for headers in
        ["x-request-id: \u{fc}\r\n", "accept: nonsense/\r\n", "x-gateway-strict: 0\r\n", "expect: nothing\r\n"]
    {
        assert_eq!(post(headers).await.status(), 200, "{headers}");
    }
    for value in ["yes", "2", "\u{fc}", "1,1", "true false"] {
        let reply = post(&format!("x-gateway-strict: {value}\r\n")).await;
        assert_eq!((reply.status(), &reply.openai_error()["param"]), (400, &json!("x-gateway-strict")), "{value}");
    }
    let no_key = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                  authorization: Bearer \u{fc}\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(t.raw(no_key).await.status(), 401);
    for broken in [
        "GARBAGE\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
    ] {
        assert_eq!(t.raw(broken).await.status(), 400, "{broken}");
    }
    expect_alive(&t).await;
    t.finish().await;
}

/// Left unread, a body would take the connection with it, and the request that a client's pool sends next.
#[tokio::test]
async fn a_body_that_was_not_looked_at_is_read_away_or_the_connection_is_said_to_close() {
    let t = TestGateway::start().await;
    let after = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    for length in [2, 200_000] {
        let body = "x".repeat(length);
        let two = format!("POST /v1/nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}{after}");
        let reply = t.raw(two).await;
        assert_eq!((reply.status(), reply.header("connection")), (404, ""));
        assert!(reply.text().contains("HTTP/1.1 404"), "the second request was answered as well: {reply:?}");
    }
    let endless = "POST /v1/nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\n\r\n{";
    let reply = t.raw(endless).await;
    assert_eq!((reply.status(), reply.header("connection")), (404, "close"));
    t.finish().await;
}
