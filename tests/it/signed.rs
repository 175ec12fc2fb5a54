//! Callers that sign as AWS's SDKs do: the SDK for Rust over plain http, and requests signed by hand with AWS's own signer.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, SystemTime};

use aws_sdk_bedrockruntime::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{ContentBlock, ConversationRole, ConverseStreamOutput, Message};
use aws_sdk_bedrockruntime::{Client, Config as SdkConfig};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bedrock_gateway::config::{Auth, Secret};
use bedrock_gateway::tenancy::admin::{self, Actor};
use bedrock_gateway::tenancy::{NewKey, Scope, Sealer};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::support::reply::Reply;
use crate::support::{MODEL, TEAM, TestGateway, calls, eventually};

fn settings() -> Auth {
    Auth { sealing_key: Secret::new(STANDARD.encode([7; 32])), ..Auth::default() }
}

async fn gateway() -> TestGateway {
    TestGateway::with(|config| config.auth = settings()).await
}

fn signing(name: &str) -> NewKey {
    NewKey { sigv4: Sealer::configured(&settings()), ..NewKey::new(TEAM, name) }
}

/// Id and secret in the text of a key.
fn pair(text: &str) -> (&str, &str) {
    let parts: Vec<&str> = text.splitn(3, '_').collect();
    (parts[1], parts[2])
}

fn client(t: &TestGateway, id: &str, secret: &str) -> Client {
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("ap-northeast-1"))
        .endpoint_url(format!("http://{}", t.address()))
        .credentials_provider(Credentials::new(id, secret, Some("any session token".into()), None, "test"))
        .retry_config(aws_sdk_bedrockruntime::config::retry::RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

fn say(text: &str) -> Message {
    Message::builder().role(ConversationRole::User).content(ContentBlock::Text(text.into())).build().unwrap()
}

/// The exception's name and message.
fn told<E: ProvideErrorMetadata + std::fmt::Debug, R: std::fmt::Debug>(error: &SdkError<E, R>) -> (String, String) {
    let meta = error.as_service_error().unwrap_or_else(|| panic!("{error:?}"));
    (meta.code().unwrap_or_default().to_owned(), meta.message().unwrap_or_default().to_owned())
}

async fn refusal(t: &TestGateway, id: &str, secret: &str) -> (String, String) {
    let error = client(t, id, secret).converse().model_id(MODEL).messages(say("hi")).send().await.unwrap_err();
    told(&error)
}

#[tokio::test]
async fn the_sdk_for_rust_calls_unmodified_over_plain_http() {
    let t = gateway().await;
    let (key, text) = t.make_key(signing("sdk")).await;
    let (id, secret) = pair(&text);
    assert_eq!(id, key.id.as_str());
    let client = client(&t, id, secret);

    let reply = client.converse().model_id(MODEL).messages(say("Say hello")).send().await.unwrap();
    assert!(reply.usage().unwrap().total_tokens() > 0);
    let arn = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0";
    client.converse().model_id(arn).messages(say("hi")).send().await.unwrap();

    let mut stream = client.converse_stream().model_id(MODEL).messages(say("hi")).send().await.unwrap().stream;
    let mut stopped = false;
    while let Some(event) = stream.recv().await.unwrap() {
        stopped |= matches!(event, ConverseStreamOutput::MessageStop(_));
    }
    assert!(stopped);

    let body = Blob::new(calls::anthropic("hi").to_string());
    let reply = client.invoke_model().model_id(MODEL).body(body.clone()).send().await.unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(reply.body().as_ref()).unwrap()["content"].is_array());
    let mut stream = client.invoke_model_with_response_stream().model_id(MODEL).body(body).send().await.unwrap().body;
    while stream.recv().await.unwrap().is_some() {}

    let error = client.converse().model_id("no-such-model").messages(say("hi")).send().await.unwrap_err();
    assert_eq!(told(&error).0, "ResourceNotFoundException");
    assert!(t.booked_calls(5).await.iter().all(|call| call.key == key.id));
    // The same key is shown as before, too.
    assert_eq!(t.openai().with_key(&text).models().await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn who_signs_with_anything_else_is_refused_in_the_words_of_aws() {
    let t = gateway().await;
    let (_, text) = t.make_key(signing("sdk")).await;
    let (id, secret) = pair(&text);
    let wrong = refusal(&t, id, &secret[1..]).await;
    assert!(wrong.0 == "InvalidSignatureException" && wrong.1.contains("does not match"), "{wrong:?}");
    let unknown = refusal(&t, "AKIDEXAMPLE", secret).await;
    assert!(
        unknown.0 == "UnrecognizedClientException" && unknown.1.contains("AWS_BEARER_TOKEN_BEDROCK"),
        "{unknown:?}"
    );
    let unknown = refusal(&t, "0123456789abcdef0123", secret).await;
    assert_eq!(unknown.0, "UnrecognizedClientException");
    let bearer = t.key().to_owned();
    let (id, secret) = pair(&bearer);
    let plain = refusal(&t, id, secret).await;
    assert!(plain.0 == "UnrecognizedClientException" && plain.1.contains("sigv4"), "{plain:?}");
    let batch = NewKey { scopes: vec![Scope::Batch], ..signing("batch") };
    let (_, text) = t.make_key(batch).await;
    let (id, secret) = pair(&text);
    assert_eq!(refusal(&t, id, secret).await.0, "AccessDeniedException");
    assert!(t.sim.calls().is_empty());
    t.finish().await;
}

#[tokio::test]
async fn a_signature_ends_with_its_key_and_with_its_time() {
    let t = gateway().await;
    let end = t.clock.now().plus(Duration::from_mins(10));
    let (_, expiring) = t.make_key(NewKey { expires_at: Some(end), ..signing("expiring") }).await;
    let (revoked, text) = t.make_key(signing("revoked")).await;
    let (id, secret) = pair(&text);
    let signing_client = client(&t, id, secret);
    signing_client.converse().model_id("nova-lite").messages(say("hi")).send().await.unwrap();
    admin::revoke_key(&t.store, &t.clock, Actor::CommandLine, &revoked.id).await.unwrap();
    eventually("the key is refused", async || {
        let reply = signing_client.converse().model_id("no-such-model").messages(say("hi")).send().await;
        told(&reply.unwrap_err()).1.contains("revoked")
    })
    .await;
    assert!(!refusal(&t, id, &secret[1..]).await.1.contains("revoked"), "only its owner is told");

    t.clock.advance(Duration::from_mins(11));
    let (id, secret) = pair(&expiring);
    assert!(refusal(&t, id, secret).await.1.contains("has expired"));
    t.clock.advance(Duration::from_mins(5));
    let (name, message) = refusal(&t, id, secret).await;
    assert!(name == "InvalidSignatureException" && message.starts_with("Signature expired: "), "{message}");
    t.finish().await;
}

#[tokio::test]
async fn an_administrator_makes_a_pair_where_there_is_a_sealing_key() {
    for (auth, status) in [(settings(), 201), (Auth::default(), 400)] {
        let t = TestGateway::with(|config| config.auth = auth).await;
        let (_, admin) = t.make_key(NewKey { scopes: vec![Scope::Admin], ..NewKey::new(TEAM, "admin") }).await;
        let body = json!({"team": TEAM, "name": "by api", "sigv4": true});
        let request = t.request(reqwest::Method::POST, "/admin/v1/keys").bearer_auth(&admin).json(&body);
        let reply = Reply::to(request).await;
        assert_eq!(reply.status(), status, "{reply:?}");
        if status == 201 {
            let told = reply.json();
            let (id, secret) = (told["id"].as_str().unwrap(), told["secret_access_key"].as_str().unwrap());
            assert_eq!((told["key"].as_str().unwrap(), &told["sigv4"]), (&*format!("bgw_{id}_{secret}"), &json!(true)));
            client(&t, id, secret).converse().model_id(MODEL).messages(say("hi")).send().await.unwrap();
        } else {
            let error = reply.openai_error();
            assert_eq!(error["param"], "sigv4");
            assert!(error["message"].as_str().unwrap().contains("auth.sealing_key"), "{error}");
        }
        t.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_command_line_prints_the_pair_and_the_key_alone_on_the_last_line() {
    let t = gateway().await;
    let file = t.folder().join("gateway.toml");
    std::fs::write(&file, format!("[store]\nurl = \"{}\"\n", t.config.store.url)).unwrap();
    let create = |sealing_key: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
        let arguments = ["keys", "create", "--team", TEAM, "--name", "cli", "--sigv4", "--config"];
        command.args(arguments).arg(&file).env_clear();
        command.env("BEDROCK_GATEWAY__AUTH__SEALING_KEY", sealing_key);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (made, told) = create("");
    assert!(!made && told.contains("auth.sealing_key"), "{told}");
    let (made, told) = create(settings().sealing_key.expose());
    assert!(made, "{told}");
    let (id, secret) = pair(told.lines().last().unwrap());
    assert!(told.contains(&format!("AWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY={secret}\n")), "{told}");
    client(&t, id, secret).converse().model_id(MODEL).messages(say("hi")).send().await.unwrap();
    t.finish().await;
}

#[tokio::test]
async fn signatures_count_on_the_paths_of_bedrock_alone() {
    let t = gateway().await;
    let signature =
        "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0";
    let request = t.request(reqwest::Method::GET, "/v1/models").header("authorization", signature);
    let reply = Reply::to(request).await;
    assert_eq!(reply.status(), 401);
    assert!(reply.openai_error()["message"].as_str().unwrap().contains("Bedrock"), "{reply:?}");
    t.finish().await;
}

/// A request that was signed by AWS's own signer, before it is written.
#[derive(Clone, Debug)]
struct Sent {
    method: &'static str,
    target: String,
    /// The signed ones and `authorization`.
    headers: Vec<(String, String)>,
    body: String,
}

impl Sent {
    fn signed(
        t: &TestGateway,
        text: &str,
        (method, target, body): (&'static str, String, String),
        extra: &[(String, String)],
    ) -> Self {
        let (id, secret) = pair(text);
        let mut headers = vec![("host".to_owned(), t.address().to_string())];
        headers.extend(extra.iter().cloned());
        let credentials = Credentials::new(id, secret, None, None, "test").into();
        let params = aws_sigv4::sign::v4::SigningParams::builder()
            .identity(&credentials)
            .region("eu-west-1")
            .name("bedrock")
            .time(SystemTime::from(t.clock.now()))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let uri = format!("http://{}{target}", t.address());
        let borrowed = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request = SignableRequest::new(method, uri, borrowed, SignableBody::Bytes(body.as_bytes())).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        headers.extend(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())));
        Self { method, target, headers, body }
    }

    async fn exception(&self, t: &TestGateway) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nconnection: close\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        write!(head, "content-length: {}\r\n\r\n{}", self.body.len(), self.body).unwrap();
        let reply = t.raw(head).await;
        if reply.status() == 200 { String::new() } else { reply.exception().0.to_owned() }
    }

    fn header(&mut self, name: &str) -> &mut String {
        &mut self.headers.iter_mut().find(|(known, _)| known == name).unwrap().1
    }

    /// Each with one signed part changed, and what was changed.
    fn changes(&self) -> Vec<(&'static str, Self)> {
        let change = |what: &'static str, change: &dyn Fn(&mut Self)| {
            let mut sent = self.clone();
            change(&mut sent);
            (what, sent)
        };
        let flip = |text: &mut String| {
            let last = text.pop().unwrap();
            text.push(if last == 'a' { 'b' } else { 'a' });
        };
        vec![
            change("method", &|sent| sent.method = if sent.method == "GET" { "POST" } else { "GET" }),
            change("path", &|sent| sent.target = sent.target.replacen("/converse", "/invoke", 1)),
            change("query", &|sent| sent.target.push_str(if sent.target.contains('?') { "&z=1" } else { "?z=1" })),
            change("body", &|sent| sent.body.push(' ')),
            change("host", &|sent| *sent.header("host") = "elsewhere.example".into()),
            change("header", &|sent| flip(sent.header("x-amzn-bedrock-test"))),
            change("another header", &|sent| sent.headers.push(("x-amzn-bedrock-trace".into(), "ENABLED".into()))),
            change("repeated header", &|sent| sent.headers.push(("x-amzn-bedrock-test".into(), "a".into()))),
            change("date", &|sent| {
                let date = sent.header("x-amz-date");
                let seconds: u32 = date[13..15].parse().unwrap();
                date.replace_range(13..15, &format!("{:02}", (seconds + 1) % 60));
            }),
            change("region", &|sent| {
                let header = sent.header("authorization");
                *header = header.replace("/eu-west-1/", "/eu-west-2/");
            }),
            change("signature", &|sent| {
                let header = sent.header("authorization");
                let last = header.pop().unwrap();
                header.push(if last == '0' { '1' } else { '0' });
            }),
        ]
    }
}

#[tokio::test]
async fn what_awss_signer_signed_is_believed_and_no_signed_part_of_it_can_be_changed() {
    let t = gateway().await;
    let (_, text) = t.make_key(signing("signer")).await;
    let mut runner = TestRunner::deterministic();
    let requests = (
        // In a path as SDKs send it, and in a query.
        "m[a-zA-Z0-9.:/_~ -]{0,30}",
        proptest::collection::vec(("[a-zA-Z ~-]{1,6}", "[ -~é]{0,12}"), 0..4),
        "[!-~]( {0,3}[!-~]){0,20}",
        "\\PC{0,200}",
        any::<bool>(),
    );
    for round in 0..40 {
        let (model, query, header, content, is_get) = requests.new_tree(&mut runner).unwrap().current();
        let encode = |text: &str| percent_encoding::utf8_percent_encode(text, &ENCODED).to_string();
        let mut target = format!("/model/{}/converse", encode(&model));
        for (index, (name, value)) in query.iter().enumerate() {
            write!(target, "{}{}={}", if index == 0 { '?' } else { '&' }, encode(name), encode(value)).unwrap();
        }
        let extra =
            [("x-amzn-bedrock-test".to_owned(), header), ("content-type".to_owned(), "application/json".to_owned())];
        let body = calls::turn(&content).to_string();
        let method = if is_get { "GET" } else { "POST" };
        let sent = Sent::signed(&t, &text, (method, target, body), &extra);
        // There is no such model, and nothing to GET.
        let expected = ["ResourceNotFoundException", "ValidationException", "UnknownOperationException"];
        let told = sent.exception(&t).await;
        assert!(expected.contains(&&*told), "{told}: {sent:?}");
        if round % 4 == 0 {
            for (what, changed) in sent.changes() {
                // Who guesses is slowed down: twenty in a minute.
                t.clock.advance(Duration::from_secs(4));
                assert_eq!(changed.exception(&t).await, "InvalidSignatureException", "{what}: {changed:?}");
            }
        }
    }
    t.finish().await;
}

const ENCODED: percent_encoding::AsciiSet =
    percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_hashed() {
    let t = TestGateway::with(|config| {
        config.auth = settings();
        config.server.max_body_mb = 1;
    })
    .await;
    let (_, text) = t.make_key(signing("large")).await;
    let body = calls::turn(&"x".repeat(1024 * 1024)).to_string();
    let sent = Sent::signed(&t, &text, ("POST", format!("/model/{MODEL}/converse"), body), &[]);
    assert_eq!(sent.exception(&t).await, "ValidationException");
    t.finish().await;
}
