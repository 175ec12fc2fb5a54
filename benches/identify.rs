//! What it costs to know who calls, once it is known: a key, a token of an issuer, a signature over a body of 1 KB. Each is
//! polled once and has to be there: none waits for anything.
//!
//! `cargo bench --bench identify`

#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bedrock_gateway::app::{App, Local};
use bedrock_gateway::catalog::Catalog;
use bedrock_gateway::clock::Clock;
use bedrock_gateway::config::{Config, Jwt, Secret};
use bedrock_gateway::gateway::Gateway;
use bedrock_gateway::sigv4::{self, Canonical};
use bedrock_gateway::simulator::Settings;
use bedrock_gateway::store::Store;
use bedrock_gateway::tenancy::admin::{self, Actor};
use bedrock_gateway::tenancy::{NewKey, NewTeam, Scoped, Sealer};
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

/// A gateway with a key and a token that it takes.
struct Ready {
    gateway: Gateway,
    key: String,
    token: String,
    _kept: (App, Local, tempfile::TempDir),
}

/// Publishes one key, and signs a token with it.
async fn issue(config: &mut Config, clock: &Clock) -> String {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (x, y) = (encoded(&pair.der_bytes()[1..33]), encoded(&pair.der_bytes()[33..]));
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": y}]});
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let configuration = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")});
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(|| async move { Json(configuration) }))
        .route("/keys", get(|| async move { Json(keys) }));
    TaskTracker::new().spawn(async move { axum::serve(listener, router).await.unwrap() });
    config.auth.jwt.push(Jwt { issuer: issuer.clone(), audience: "gw".into(), ..Jwt::default() });
    let end = clock.now().seconds() + 86_400;
    // As long as those of large issuers are.
    let claims = json!({"iss": issuer, "aud": "gw", "sub": "a", "team": "t", "exp": end, "more": "x".repeat(500)});
    let header = Header { kid: Some("a".into()), ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_der(&pair.serialize_der())).unwrap()
}

async fn ready() -> Ready {
    let folder = tempfile::tempdir().unwrap();
    let (mut config, clock) = (Config::default(), Clock::system());
    config.server.listen = (Ipv4Addr::LOCALHOST, 0).into();
    config.server.ops_listen = (Ipv4Addr::LOCALHOST, 0).into();
    config.store.url = format!("sqlite://{}", folder.path().join("bench.db").display());
    config.auth.sealing_key = Secret::new(STANDARD.encode([7; 32]));
    config.aws.catalog_refresh_minutes = 0;
    let local = Local::start(&mut config, Settings::default()).await.unwrap();
    let token = issue(&mut config, &clock).await;
    let store = Store::open(&config.store.url).await.unwrap();
    admin::create_team(&store, &clock, Actor::CommandLine, NewTeam::new("t")).await.unwrap();
    let new = NewKey { sigv4: Sealer::configured(&config.auth), ..NewKey::new("t", "k") };
    let (_, key) = admin::create_key(&store, &clock, Actor::CommandLine, new).await.unwrap();
    let catalog = Catalog::configured(&config).unwrap();
    let app = Box::pin(App::start(&config, catalog, clock, None)).await.unwrap();
    let gateway = app.gateway().clone();
    Ready { gateway, key: key.expose().to_owned(), token, _kept: (app, local, folder) }
}

fn identify(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let ready = runtime.block_on(ready());
    let Ready { gateway, key, token, .. } = &ready;
    let mut group = c.benchmark_group("identify");
    for (name, text) in [("key", key), ("token", token)] {
        runtime.block_on(gateway.identify(Some(text), None)).unwrap();
        group.bench_function(name, |b| {
            b.iter(|| gateway.identify(Some(black_box(text)), None).now_or_never().unwrap().unwrap());
        });
    }

    let parts: Vec<&str> = key.splitn(3, '_').collect();
    let (id, secret) = (parts[1], parts[2]);
    let stamp = sigv4::date_time(gateway.clock().now()).unwrap();
    let day = std::str::from_utf8(&stamp[..8]).unwrap();
    let scope = Scoped { day, region: "eu-west-1", service: "bedrock" };
    let whole = format!("{day}/eu-west-1/bedrock/aws4_request");
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("amz-sdk-invocation-id", "8b4f0b2c-8c53-4a5e-9c0e-2d0f2f6a1d11"),
        ("amz-sdk-request", "attempt=1; max=3"),
        ("content-type", "application/json"),
        ("host", "gateway.internal:8080"),
        ("x-amz-date", "20260102T030405Z"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let names = ["amz-sdk-invocation-id", "amz-sdk-request", "content-type", "host", "x-amz-date"];
    let body = vec![b'x'; 1000];
    let text = |buffer: &mut Vec<u8>| {
        let canonical = Canonical {
            method: &Method::POST,
            path: "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse",
            query: "",
            names: &names,
            headers: &headers,
            body: Sha256::digest(black_box(&body)).into(),
        };
        let hash = canonical.hash(buffer);
        sigv4::write_string_to_sign(buffer, &stamp, &whole, &hash);
    };
    let mut buffer = Vec::new();
    text(&mut buffer);
    let signature = sigv4::keyed_hash(&sigv4::signing_key(secret, day, "eu-west-1", "bedrock"), &buffer);
    group.bench_function("signature_1kb", |b| {
        b.iter(|| {
            let claimed = gateway.claimed(id, scope, None).now_or_never().unwrap().unwrap();
            let mut buffer = Vec::with_capacity(1024);
            text(&mut buffer);
            gateway.tenancy().signed(claimed, &buffer, &signature).unwrap()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = identify
}
criterion_main!(benches);
