//! Scheme and host by which a request came: what links that a client follows with its key have to begin with.
//!
//! A caller that writes another host into its request gets links to there; nobody else sees them.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Uri};

use crate::config::Server;

/// What the listener itself speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// As configured.
    pub(super) fn of(server: &Server) -> Self {
        if server.tls_cert.is_empty() { Self::Http } else { Self::Https }
    }
}

/// `https://host:port`; empty where the request names no host: links then are relative to it.
pub(super) struct Root(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Root {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let host = parts.headers.get(HOST).and_then(authority).or_else(|| parts.uri.authority().cloned());
        let Some(host) = host else { return Ok(Self(String::new())) };
        // Who ends TLS before the gateway says so.
        let told = parts.headers.get("x-forwarded-proto").map(HeaderValue::as_bytes);
        let scheme = match (told, parts.extensions.get::<Scheme>()) {
            (Some(b"http"), _) => "http",
            (Some(b"https"), _) | (_, Some(Scheme::Https)) => "https",
            _ => by_uri(&parts.uri),
        };
        // A user and password are no part of where it came to.
        let place = host.as_str().rsplit('@').next().unwrap_or_default();
        Ok(Self(format!("{scheme}://{place}")))
    }
}

fn authority(value: &HeaderValue) -> Option<Authority> {
    Authority::try_from(value.as_bytes()).ok()
}

/// HTTP/2 says it of every request.
fn by_uri(uri: &Uri) -> &'static str {
    if uri.scheme_str() == Some("https") { "https" } else { "http" }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    async fn root(host: Option<&str>, proto: Option<&str>, scheme: Scheme) -> String {
        let mut request = Request::builder().uri("/v1/messages/batches").extension(scheme);
        for (name, value) in [("host", host), ("x-forwarded-proto", proto)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let Ok(Root(root)) = Root::from_request_parts(&mut parts, &()).await;
        root
    }

    #[tokio::test]
    async fn a_link_begins_with_the_host_that_was_asked() {
        assert_eq!(root(Some("gw.example:8080"), None, Scheme::Http).await, "http://gw.example:8080");
        assert_eq!(root(Some("[::1]:80"), None, Scheme::Https).await, "https://[::1]:80");
        assert_eq!(root(Some("gw.example"), Some("https"), Scheme::Http).await, "https://gw.example");
        assert_eq!(root(Some("gw.example"), Some("gopher"), Scheme::Http).await, "http://gw.example");
        assert_eq!(root(Some("me:secret@gw.example"), None, Scheme::Http).await, "http://gw.example");
        assert_eq!(root(Some("a b"), None, Scheme::Http).await, "");
        assert_eq!(root(None, Some("https"), Scheme::Http).await, "");
    }
}
