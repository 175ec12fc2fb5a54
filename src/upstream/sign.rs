//! SigV4 for `bedrock`, written for one request shape: a body in memory, headers in a [`HeaderMap`], a query that is
//! canonical already.
//!
//! The answer is that of `aws-sigv4`: a test signs random requests with both. Its general signer is not used on the hot
//! path because it costs 6 to 9 us a call, most of it in copies of headers and in deriving the same key again; this one
//! takes 3, with a body of 1 KB and a session token. The rules are in `crate::sigv4`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::sigv4::{
    ALGORITHM, Canonical, TERMINATOR, date_time, push_hex, push_names, signing_key, write_string_to_sign,
};

/// Control plane and runtime sign with the same service name, never with `bedrock-runtime`.
const SERVICE: &str = "bedrock";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// One set of AWS credentials, ready to sign with.
pub struct Keys {
    /// Tells sets apart without comparing secrets.
    id: u64,
    access_key_id: String,
    secret: Secret,
    token: Option<HeaderValue>,
    expiry: Option<Timestamp>,
}

impl Keys {
    /// Fails when the session token cannot stand in a header.
    pub fn new(access_key_id: String, secret: Secret, token: Option<&str>, expiry: Option<Timestamp>) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut token = token.map(HeaderValue::from_str).transpose().map_err(Error::internal)?;
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        Ok(Self { id: NEXT.fetch_add(1, Ordering::Relaxed), access_key_id, secret, token, expiry })
    }

    /// Whether both are the same loaded set.
    pub fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// When AWS stops taking them; `None`: never.
    pub fn expiry(&self) -> Option<Timestamp> {
        self.expiry
    }

    /// As the SDK takes them; it need not know when they end.
    pub(super) fn to_sdk(&self) -> aws_credential_types::Credentials {
        let (id, secret, token) = self.parts();
        aws_credential_types::Credentials::new(id, secret, token.map(str::to_owned), None, "gateway")
    }

    /// Id, secret and session token.
    pub(super) fn parts(&self) -> (&str, &str, Option<&str>) {
        (&self.access_key_id, self.secret.expose(), self.token.as_ref().and_then(|token| token.to_str().ok()))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).field("expiry", &self.expiry).finish_non_exhaustive()
    }
}

/// Signs for one Region; keeps the derived key, which changes once a day and with the credentials.
pub struct Signer {
    region: String,
    derived: ArcSwapOption<Derived>,
}

struct Derived {
    keys: u64,
    day: i64,
    /// `20260102/us-east-1/bedrock/aws4_request`
    scope: String,
    mac: Hmac<Sha256>,
}

impl Signer {
    /// A signer for the Region of that name.
    pub fn new(region: impl Into<String>) -> Self {
        Self { region: region.into(), derived: ArcSwapOption::empty() }
    }

    /// Adds `x-amz-date`, the session token and `authorization` for a request of `method` with `body` to `uri`. Its path
    /// is percent-encoded already; so is its query, which is sorted, too. Every header in `headers` is signed, so `host`
    /// must be there and what proxies change must not.
    pub fn sign(
        &self,
        keys: &Keys,
        now: Timestamp,
        (method, uri): (&Method, &Uri),
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<()> {
        let derived = self.derive(keys, now)?;
        let stamp = date_time(now).ok_or_else(unwritable)?;
        headers.insert(DATE, HeaderValue::from_bytes(&stamp).map_err(Error::internal)?);
        if let Some(token) = &keys.token {
            headers.insert(TOKEN, token.clone());
        }
        let mut names: Vec<&HeaderName> = headers.keys().collect();
        names.sort_unstable_by_key(|name| name.as_str());

        let mut text = Vec::with_capacity(1024 + keys.token.as_ref().map_or(0, HeaderValue::len));
        let query = uri.query().unwrap_or_default();
        let body = Sha256::digest(body).into();
        let canonical = Canonical { method, path: uri.path(), query, names: &names, headers, body };
        let hash = canonical.hash(&mut text);
        write_string_to_sign(&mut text, &stamp, &derived.scope, &hash);
        let mut mac = derived.mac.clone();
        mac.update(&text);
        let signature = mac.finalize().into_bytes();

        text.clear();
        text.extend_from_slice(ALGORITHM.as_bytes());
        text.extend_from_slice(b" Credential=");
        text.extend_from_slice(keys.access_key_id.as_bytes());
        text.push(b'/');
        text.extend_from_slice(derived.scope.as_bytes());
        text.extend_from_slice(b", SignedHeaders=");
        push_names(&mut text, &names);
        text.extend_from_slice(b", Signature=");
        push_hex(&mut text, &signature);
        let mut value = HeaderValue::from_maybe_shared(Bytes::from(text)).map_err(Error::internal)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    fn derive(&self, keys: &Keys, now: Timestamp) -> Result<Arc<Derived>> {
        let day = now.seconds().div_euclid(86_400);
        if let Some(derived) = self.derived.load().as_ref()
            && derived.keys == keys.id
            && derived.day == day
        {
            return Ok(Arc::clone(derived));
        }
        let stamp = date_time(now).ok_or_else(unwritable)?;
        let date = String::from_utf8_lossy(&stamp[..8]);
        let key = signing_key(keys.secret.expose(), &date, &self.region, SERVICE);
        let scope = format!("{date}/{}/{SERVICE}/{TERMINATOR}", self.region);
        let mac = Hmac::new_from_slice(&key).map_err(Error::internal)?;
        let derived = Arc::new(Derived { keys: keys.id, day, scope, mac });
        self.derived.store(Some(Arc::clone(&derived)));
        Ok(derived)
    }
}

fn unwritable() -> Error {
    Error::internal("the clock shows a year that cannot be written")
}

#[cfg(test)]
mod tests {
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode, sign};
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::PlainCall;

    /// Method, address and body of a request.
    type Sent<'a> = (&'a Method, &'a Uri, &'a [u8]);

    /// What `aws-sigv4` puts into `authorization` for the same request.
    fn oracle(keys: &Keys, now: Timestamp, (method, uri, body): Sent<'_>, headers: &[(&str, &str)]) -> String {
        let (id, secret, token) = keys.parts();
        let credentials =
            aws_credential_types::Credentials::new(id, secret, token.map(str::to_owned), None, "test").into();
        let mut settings = SigningSettings::default();
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let params = aws_sigv4::sign::v4::SigningParams::builder()
            .identity(&credentials)
            .region("eu-west-1")
            .name(SERVICE)
            .time(now.into())
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let uri = format!("https://{}{uri}", headers[0].1);
        let headers = headers.iter().copied();
        let request = SignableRequest::new(method.as_str(), uri, headers, SignableBody::Bytes(body)).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let found = instructions.headers().find(|(name, _)| *name == "authorization").unwrap();
        found.1.to_owned()
    }

    fn ours(
        signer: &Signer,
        keys: &Keys,
        now: Timestamp,
        (method, uri, body): Sent<'_>,
        headers: &[(&str, &str)],
    ) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        signer.sign(keys, now, (method, uri), &mut map, body).unwrap();
        map[AUTHORIZATION].to_str().unwrap().to_owned()
    }

    fn keys(token: Option<&str>) -> Keys {
        Keys::new("AKIDEXAMPLE".into(), Secret::new("wJalrXUtnFEMI/EXAMPLEKEY"), token, None).unwrap()
    }

    proptest! {
        #[test]
        fn signatures_are_those_of_aws_sigv4(
            model in "[a-zA-Z0-9.:/_~-]{1,60}",
            metadata in "[ -~]{0,40}",
            body in proptest::collection::vec(any::<u8>(), 0..300),
            seconds in 0_i64..4_000_000_000,
            token in proptest::option::of("[A-Za-z0-9+/=]{1,80}"),
        ) {
            let keys = keys(token.as_deref());
            let now = Timestamp::from_millis(seconds * 1000 + 999);
            let segment = percent_encoding::utf8_percent_encode(&model, super::super::endpoint::SEGMENT);
            let uri = format!("/prefix/model/{segment}/converse").parse().unwrap();
            let sent = (&Method::POST, &uri, &*body);
            let headers = [
                ("host", "bedrock-runtime.eu-west-1.amazonaws.com"),
                ("content-type", "application/json"),
                ("x-amzn-bedrock-request-metadata", metadata.as_str()),
            ];
            let signer = Signer::new("eu-west-1");
            let expected = oracle(&keys, now, sent, &headers);
            prop_assert_eq!(&ours(&signer, &keys, now, sent, &headers), &expected);
            prop_assert_eq!(&ours(&signer, &keys, now, sent, &headers), &expected, "with the kept key");
        }

        #[test]
        fn so_are_those_of_other_methods_and_of_queries(
            segments in proptest::collection::vec("[ -~]{1,20}", 1..4),
            query in proptest::collection::vec(("[ -~é]{1,6}", "[ -~é]{0,12}"), 0..5),
            body in proptest::collection::vec(any::<u8>(), 0..50),
            method in proptest::sample::select(vec![Method::GET, Method::POST, Method::DELETE]),
        ) {
            let keys = keys(None);
            let now = Timestamp::from_millis(1_767_225_600_000);
            let call = PlainCall::new(method.clone(), segments.iter().map(String::as_str))
                .query(query.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let uri = call.target.parse().unwrap();
            let headers = [("host", "bedrock-runtime.eu-west-1.amazonaws.com")];
            let sent = (&method, &uri, &*body);
            prop_assert_eq!(ours(&Signer::new("eu-west-1"), &keys, now, sent, &headers), oracle(&keys, now, sent, &headers));
        }
    }

    #[test]
    fn the_kept_key_follows_the_day_and_the_credentials() {
        let signer = Signer::new("eu-west-1");
        let headers = [("host", "localhost:1234"), ("accept", "a"), ("accept", "b")];
        let midnight = Timestamp::from_millis(1_767_225_600_000);
        let before = Timestamp::from_millis(midnight.millis() - 1);
        for (keys, now) in [(keys(None), before), (keys(Some("token")), before), (keys(None), midnight)] {
            let uri = Uri::from_static("/model/m/invoke");
            let sent: Sent<'_> = (&Method::POST, &uri, b"{}");
            assert_eq!(ours(&signer, &keys, now, sent, &headers), oracle(&keys, now, sent, &headers));
        }
    }

    #[test]
    fn keys_do_not_show_their_secret() {
        let shown = format!("{:?}", keys(Some("session")));
        assert!(!shown.contains("EXAMPLE") && !shown.contains("session"), "{shown}");
    }
}
