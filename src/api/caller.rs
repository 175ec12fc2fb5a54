//! Extractors: what a handler's signature says about the request it takes.

use std::convert::Infallible;

use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Path, Query, Request};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;

use super::collected;
use super::route;
use super::sigv4::{Signed, is_signed};
use crate::error::{Error, Kind};
use crate::gateway::{Gateway, Trail};
use crate::ids::{self, RequestId};
use crate::report::Report;
use crate::tenancy::{Caller, looks_own};

/// Who is calling: who the gateway itself sends (`batch/door.rs`), who signed the request, or the key in
/// `Authorization: Bearer`, `x-api-key` or Azure's `api-key`. No key, or a bad one, is an answer of its own.
impl FromRequestParts<Gateway> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Error> {
        let trail = parts.extensions.get::<Trail>();
        let sent = parts.extensions.get::<Self>();
        let caller = match sent.or_else(|| parts.extensions.get::<Signed>().map(|Signed(caller)| caller)) {
            Some(caller) => caller.clone(),
            None => gateway.identify(presented(&parts.headers)?, trail.and_then(Trail::client)).await?,
        };
        if let Some(trail) = trail {
            trail.identified(&caller);
        }
        Ok(caller)
    }
}

/// What an AWS SDK is told that signs what is no call of Bedrock's.
const SIGNED: &str = "A signature of AWS counts on the paths of Bedrock's own API only. Send a gateway key here, as bearer token \
                      or in x-api-key.";

/// The text of the key, if there is one.
fn presented(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    match presented_key(headers) {
        None if is_signed(headers) => Err(Error::new(Kind::Unauthenticated, SIGNED)),
        presented => Ok(presented),
    }
}

/// The text of the key, whichever header it came in. Agents that are logged in elsewhere send their token of there as
/// well: of two, the one that is a gateway's counts.
fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let api_key = headers.get("x-api-key").or_else(|| headers.get("api-key"));
    let api_key = api_key.and_then(|value| value.to_str().ok()).map(str::trim);
    match (bearer, api_key) {
        (Some(bearer), Some(key)) if !looks_own(bearer) && looks_own(key) => Some(key),
        (bearer, key) => bearer.or(key),
    }
}

/// The whole body, at most `server.max_body_mb`.
pub(super) struct Body(pub(super) Bytes);

impl FromRequest<Gateway> for Body {
    type Rejection = Error;

    async fn from_request(request: Request, gateway: &Gateway) -> Result<Self, Error> {
        if let Some(encoding) = request.headers().get(CONTENT_ENCODING)
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            return Err(Error::invalid(
                "content-encoding",
                "The body is compressed, which is not taken: send it as it is.",
            ));
        }
        collected::whole(request, gateway).await.map(Self)
    }
}

/// What a path names, percent-decoded: `%2F` in an ARN is part of it, and so is a slash that the client left as it is, where
/// the route has further segments for what follows it.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Ok(Self(segments(parts, state).await?.join("/")))
    }
}

/// Both names of a path that has two, percent-decoded. The first may have slashes in it, as that of [`Segment`].
pub(super) struct Segments(pub(super) String, pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let mut segments = segments(parts, state).await?;
        let second = segments.pop().unwrap_or_default();
        Ok(Self(segments.join("/"), second))
    }
}

/// What stands in the path in the places that its route leaves open.
async fn segments<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Vec<String>, Error> {
    let read = <Path<Vec<(String, String)>> as FromRequestParts<S>>::from_request_parts(parts, state).await;
    let named = |Path(named): Path<Vec<(String, String)>>| named.into_iter().map(|(_, text)| text).collect();
    read.map(named).map_err(|_| {
        let pattern = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let field = route::field(pattern);
        Error::invalid(field, format!("`{field}` in the path is not percent-encoded UTF-8."))
    })
}

/// The parameters of the query.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let Query(parameters) = Query::<T>::try_from_uri(&parts.uri)
            .map_err(|cause| Error::invalid("query", "The query of the URL cannot be read.").source(cause))?;
        Ok(Self(parameters))
    }
}

/// Whether the caller wants a 400 where the gateway would have to change its request: `x-gateway-strict: 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Changes are reported.
    Lenient,
    /// Changes are refused.
    Strict,
}

impl Strictness {
    /// In strict mode, a translation that changed anything is a 400.
    pub(super) fn judge(self, report: &Report) -> Result<(), Error> {
        if self == Self::Lenient || report.is_empty() {
            return Ok(());
        }
        let message = format!(
            "The request cannot be sent to this model unchanged, and x-gateway-strict asks for that: {report}."
        );
        Err(Error::new(Kind::Unsupported, message))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Strictness {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        match parts.headers.get("x-gateway-strict").map(HeaderValue::as_bytes) {
            None | Some(b"" | b"0" | b"false") => Ok(Self::Lenient),
            Some(b"1" | b"true") => {
                // The gateway caps an answer where little is left of a budget.
                if let Some(trail) = parts.extensions.get::<Trail>() {
                    trail.forbid_changes();
                }
                Ok(Self::Strict)
            }
            Some(_) => Err(Error::invalid("x-gateway-strict", "The header x-gateway-strict takes 1 or 0.")),
        }
    }
}

/// The request's trail, as `access_log.rs` began it.
impl<S: Send + Sync> FromRequestParts<S> for Trail {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self::new(ids::fresh("req_").into())))
    }
}

/// The caller's own id if it is one that can stand in a header and a log line, else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> RequestId {
    let own = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    match own {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) => id.into(),
        _ => ids::fresh("req_").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn the_key_is_found_in_any_header_and_any_spelling_of_bearer() {
        assert_eq!(presented_key(&headers("authorization", "Bearer bgw_a_b")), Some("bgw_a_b"));
        assert_eq!(presented_key(&headers("authorization", "bearer  bgw_a_b ")), Some("bgw_a_b"));
        assert_eq!(presented_key(&headers("x-api-key", "bgw_a_b")), Some("bgw_a_b"));
        assert_eq!(presented_key(&headers("api-key", "bgw_a_b")), Some("bgw_a_b"));
        assert_eq!(presented_key(&headers("authorization", "Basic bgw_a_b")), None);
        let mut both = headers("authorization", "Bearer sk-of-elsewhere");
        both.insert("x-api-key", "bgw_a_b".parse().unwrap());
        assert_eq!(presented_key(&both), Some("bgw_a_b"));
        both.insert("x-api-key", "sk-of-elsewhere".parse().unwrap());
        both.insert("authorization", "Bearer bgw_a_b".parse().unwrap());
        assert_eq!(presented_key(&both), Some("bgw_a_b"));
        assert_eq!(presented_key(&HeaderMap::new()), None);
    }

    #[test]
    fn a_request_id_that_could_spoil_a_log_line_is_replaced() {
        assert_eq!(request_id(&headers("x-request-id", "abc-123")).as_str(), "abc-123");
        assert_ne!(request_id(&headers("x-request-id", "a b")).as_str(), "a b");
        assert_ne!(request_id(&headers("x-request-id", &"x".repeat(129))).as_str(), "x".repeat(129));
    }
}
