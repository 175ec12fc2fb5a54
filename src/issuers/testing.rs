//! An issuer for tests: a server with a discovery document and keys that a test changes, and tokens signed with them.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _};
use serde_json::{Value, json};

use crate::fetch::testing::{Answer, Site, status};

/// A key pair with a name.
pub(crate) struct Pair {
    pub(crate) kid: &'static str,
    algorithm: Algorithm,
    encoding: EncodingKey,
    /// What is published of it.
    pub(crate) jwk: Value,
}

impl Pair {
    pub(crate) fn es256(kid: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        // 0x04, x, y
        let point = pair.der_bytes().to_vec();
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": encoded(&point[1..33]), "y": encoded(&point[33..])});
        let encoding = EncodingKey::from_ec_der(&pair.serialize_der());
        Self { kid, algorithm: Algorithm::ES256, encoding, jwk }
    }

    pub(crate) fn ed25519(kid: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": URL_SAFE_NO_PAD.encode(pair.der_bytes())});
        let encoding = EncodingKey::from_ed_der(&pair.serialize_der());
        Self { kid, algorithm: Algorithm::EdDSA, encoding, jwk }
    }

    pub(crate) fn rs256(kid: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let pkcs8 = pair.serialize_der();
        // PKCS#8 of RSA is a head of 26 bytes around what the library takes: <https://www.rfc-editor.org/rfc/rfc5208#section-5>.
        let encoding = EncodingKey::from_rsa_der(&pkcs8[26..]);
        let mut jwk =
            serde_json::to_value(jsonwebtoken::jwk::Jwk::from_encoding_key(&encoding, Algorithm::RS256).unwrap())
                .unwrap();
        jwk["kid"] = kid.into();
        Self { kid, algorithm: Algorithm::RS256, encoding, jwk }
    }

    /// A token of these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.encoding).unwrap()
    }
}

/// A server that publishes keys.
pub(crate) struct Provider {
    pub(crate) site: Site,
    published: Arc<Mutex<Option<Value>>>,
}

impl Provider {
    /// Publishes `keys` under the path `/realm`.
    pub(crate) async fn start(keys: &[&Pair]) -> Self {
        let published = Arc::new(Mutex::new(Some(set(keys))));
        let keys = Arc::clone(&published);
        let site = Site::start(move |path, port| {
            let keys = keys.lock().unwrap().clone();
            async move { answer(&path, port, keys) }
        })
        .await;
        Self { site, published }
    }

    pub(crate) fn issuer(&self) -> String {
        self.site.url("/realm")
    }

    /// Publishes these from now on, and no others.
    pub(crate) fn publish(&self, keys: &[&Pair]) {
        *self.published.lock().unwrap() = Some(set(keys));
    }

    /// Answers 500 from now on.
    pub(crate) fn fail(&self) {
        *self.published.lock().unwrap() = None;
    }

    /// How often the keys were asked for.
    pub(crate) fn looks(&self) -> usize {
        self.site.asked().iter().filter(|head| head.starts_with("GET /realm/keys")).count()
    }
}

fn set(keys: &[&Pair]) -> Value {
    json!({"keys": keys.iter().map(|pair| pair.jwk.clone()).collect::<Vec<_>>()})
}

fn answer(path: &str, port: u16, keys: Option<Value>) -> Answer {
    let Some(keys) = keys else { return status(500, "x: y") };
    let body = match path {
        "/realm/.well-known/openid-configuration" => {
            let issuer = format!("https://localhost:{port}/realm");
            json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")})
        }
        "/realm/keys" => keys,
        _ => return status(404, "x: y"),
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\ncontent-type: application/json\r\n\r\n", body.len());
    Answer::Whole([head, body].concat().into_bytes())
}
