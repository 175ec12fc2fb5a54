//! An issuer of tokens: its discovery document and its keys over plain http, and tokens that it signed.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bedrock_gateway::config::{Config, Jwt};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The audience that its tokens are for.
pub(crate) const AUDIENCE: &str = "bedrock-gateway";

/// Serves until it is stopped.
pub(crate) struct Issuer {
    url: String,
    current: Mutex<Pair>,
    published: Arc<Mutex<Vec<Value>>>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

struct Pair {
    kid: String,
    encoding: EncodingKey,
}

fn pair(kid: &str) -> (Pair, Value) {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    // 0x04, x, y
    let point = pair.der_bytes();
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (x, y) = (encoded(&point[1..33]), encoded(&point[33..]));
    let jwk = json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y});
    (Pair { kid: kid.to_owned(), encoding: EncodingKey::from_ec_der(&pair.serialize_der()) }, jwk)
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let (current, jwk) = pair("first");
        let published = Arc::new(Mutex::new(vec![jwk]));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let configuration = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(|| async move { Json(configuration) }))
            .route("/keys", get(keys))
            .with_state(Arc::clone(&published));
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let stopped = stop.clone().cancelled_owned();
        tracker.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap() });
        Self { url, current: Mutex::new(current), published, stop, tracker }
    }

    /// Has a gateway take its tokens.
    pub(crate) fn configure(&self, config: &mut Config) {
        let scopes_claim = "scope".to_owned();
        let jwt = Jwt { issuer: self.url.clone(), audience: AUDIENCE.into(), scopes_claim, ..Jwt::default() };
        config.auth.jwt.push(jwt);
    }

    /// Signs with another key from now on, and publishes that one alone.
    pub(crate) fn rotate(&self) {
        let (current, jwk) = pair("second");
        *self.current.lock().unwrap() = current;
        *self.published.lock().unwrap() = vec![jwk];
    }

    /// Publishes nothing that can be read.
    pub(crate) fn fail(&self) {
        self.published.lock().unwrap().clear();
    }

    /// A token for `sub` of the team, at `now` in seconds and for ten minutes.
    pub(crate) fn token(&self, sub: &str, team: &str, scope: &str, now: i64) -> String {
        let claims = json!({
            "iss": self.url, "aud": [AUDIENCE, "other"], "sub": sub, "team": team, "scope": scope,
            "iat": now, "nbf": now, "exp": now + 600,
        });
        let pair = self.current.lock().unwrap();
        let header = Header { kid: Some(pair.kid.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &pair.encoding).unwrap()
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        super::within(self.tracker.wait()).await;
    }
}

async fn keys(State(published): State<Arc<Mutex<Vec<Value>>>>) -> Result<Json<Value>, StatusCode> {
    let keys = published.lock().unwrap().clone();
    if keys.is_empty() { Err(StatusCode::SERVICE_UNAVAILABLE) } else { Ok(Json(json!({ "keys": keys }))) }
}
