//! Callers that sign their requests, as AWS's clients do: a signature in the header, on the Bedrock paths.
//!
//! A signature covers the body, so it is checked in a middleware, which reads it; who signed is handed to the extractor
//! of [`Caller`]. What AWS would refuse is refused in its words. Not taken: signatures in the query, bodies that are not
//! signed (over http they could be anybody's), and the algorithm for several Regions. A security token is not looked at.

use axum::body::Body as HttpBody;
use axum::extract::{FromRequest as _, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};

use super::caller::Body;
use super::surface::Surface;
use crate::clock::Timestamp;
use crate::error::{Error, Exception, Kind, Result};
use crate::gateway::Gateway;
use crate::sigv4::{self, ALGORITHM, Canonical, TERMINATOR};
use crate::tenancy::{Caller, Scoped};

/// The name that runtime and control plane of Bedrock are signed for.
const SERVICE: &str = "bedrock";
/// How far the clocks may be apart: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
const WINDOW_MILLIS: i64 = 15 * 60 * 1000;
/// Headers that change what a request does, and so must be signed where they are; so must those that begin as Bedrock's.
const SIGNED: [&str; 4] = ["x-amz-content-sha256", "x-amz-date", "x-amz-security-token", "x-amz-target"];
const BEDROCKS: &str = "x-amzn-bedrock-";

/// Who signed the request, for the extractor.
#[derive(Clone)]
pub(super) struct Signed(pub(super) Caller);

/// Whether the request carries AWS's signature.
pub(super) fn is_signed(headers: &HeaderMap) -> bool {
    headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"AWS4-"))
}

/// Checks the signature of a request that has one, on a path of Bedrock's.
pub(super) async fn check(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let is_bedrocks = Surface::of(request.uri().path(), request.headers()) == Surface::Bedrock;
    if !is_bedrocks || !is_signed(request.headers()) {
        return next.run(request).await;
    }
    // No body is read for who could not be anybody.
    match Box::pin(believe(&gateway, request)).await {
        Ok(request) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn believe(gateway: &Gateway, request: Request) -> Result<Request> {
    let (mut parts, body) = request.into_parts();
    let header = parts.headers.get(AUTHORIZATION).cloned();
    let header = header.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let authorization = Authorization::parse(header)?;
    let stamp = text(&parts.headers, "x-amz-date").map(str::to_owned).ok_or_else(|| {
        incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    })?;
    let scope = Scoped { day: authorization.day, region: authorization.region, service: authorization.service };
    let claimed = gateway.claimed(authorization.access_key, scope).await?;
    check_time(&stamp, authorization.day, gateway.clock().now())?;
    authorization.check_scope()?;
    add_host(&mut parts);
    authorization.check_names(&parts.headers)?;

    let Body(body) = Body::from_request(Request::from_parts(parts.clone(), body), gateway).await?;
    let hash = body_hash(&parts.headers, &body)?;
    let mut buffer = Vec::with_capacity(1024);
    let query = parts.uri.query().map(sigv4::canonical_query).unwrap_or_default();
    let canonical = Canonical {
        method: &parts.method,
        path: parts.uri.path(),
        query: &query,
        names: &authorization.names,
        headers: &parts.headers,
        body: hash,
    };
    let hash = canonical.hash(&mut buffer);
    sigv4::write_string_to_sign(&mut buffer, stamp.as_bytes(), authorization.scope, &hash);
    let caller = gateway.tenancy().signed(claimed, &buffer, &authorization.signature)?;
    parts.extensions.insert(Signed(caller));
    Ok(Request::from_parts(parts, HttpBody::from(body)))
}

/// What an `Authorization` header says.
#[derive(Debug, PartialEq, Eq)]
struct Authorization<'a> {
    access_key: &'a str,
    /// From the day to the end.
    scope: &'a str,
    day: &'a str,
    region: &'a str,
    service: &'a str,
    names: Vec<&'a str>,
    signature: [u8; 32],
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Result<Self> {
        let Some(fields) = header.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' ')) else {
            return Err(incomplete("Unsupported AWS 'algorithm': AWS4-HMAC-SHA256 is what is taken."));
        };
        let field = |name: &str| {
            let mut parts = fields.split(',').map(str::trim);
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).filter(|value| !value.is_empty())
        };
        let (Some(credential), Some(names), Some(signature)) =
            (field("Credential"), field("SignedHeaders"), field("Signature"))
        else {
            let missing = ["Credential", "Signature", "SignedHeaders"].into_iter().filter(|name| field(name).is_none());
            let told: Vec<String> =
                missing.map(|name| format!("Authorization header requires '{name}' parameter.")).collect();
            return Err(incomplete(told.join(" ")));
        };
        let broken = || {
            incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.")
        };
        let (access_key, scope) = credential.split_once('/').ok_or_else(broken)?;
        let parts: Vec<&str> = scope.split('/').collect();
        let [day, region, service, TERMINATOR] = parts[..] else { return Err(broken()) };
        // One that is no hash fits no request.
        let signature = unhex(signature).ok_or_else(mismatch)?;
        Ok(Self { access_key, scope, day, region, service, names: names.split(';').collect(), signature })
    }

    /// Any Region will do: where a call goes is the gateway's to choose.
    fn check_scope(&self) -> Result<()> {
        let is_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=32).contains(&self.region.len()) || !self.region.bytes().all(is_region) {
            return Err(invalid("Credential should be scoped to a valid region. "));
        }
        if self.service != SERVICE {
            return Err(invalid(format!("Credential should be scoped to correct service: '{SERVICE}'. ")));
        }
        Ok(())
    }

    fn check_names(&self, headers: &HeaderMap) -> Result<()> {
        let is_signed = |name: &str| self.names.contains(&name);
        let sent = headers.keys().map(http::HeaderName::as_str);
        let mut needed = sent.filter(|name| SIGNED.contains(name) || name.starts_with(BEDROCKS)).chain(["host"]);
        if let Some(name) = needed.find(|name| !is_signed(name)) {
            return Err(invalid(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.")));
        }
        let is_name = |name: &&str| http::HeaderName::from_lowercase(name.as_bytes()).is_ok();
        if !self.names.iter().all(is_name) || !self.names.is_sorted() {
            return Err(invalid("The names of 'SignedHeaders' must be in lower case and in their order."));
        }
        Ok(())
    }
}

/// Over HTTP/2 the host is in the address of the request.
fn add_host(parts: &mut Parts) {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    if let Some(host) = authority.and_then(|host| HeaderValue::from_str(host).ok())
        && !parts.headers.contains_key(HOST)
    {
        parts.headers.insert(HOST, host);
    }
}

fn check_time(stamp: &str, day: &str, now: Timestamp) -> Result<()> {
    let signed_at = sigv4::parse_date_time(stamp).ok_or_else(|| {
        incomplete("Date must be in ISO-8601 'basic format'. See http://en.wikipedia.org/wiki/ISO_8601")
    })?;
    let write = |millis: i64| {
        let text = sigv4::date_time(Timestamp::from_millis(millis)).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    };
    let (now, then) = (now.millis(), signed_at.millis());
    if then < now - WINDOW_MILLIS {
        let (oldest, now) = (write(now - WINDOW_MILLIS), write(now));
        let message = format!("Signature expired: {stamp} is now earlier than {oldest} ({now} - 15 min.)");
        return Err(invalid(message));
    }
    if then > now + WINDOW_MILLIS {
        let (newest, now) = (write(now + WINDOW_MILLIS), write(now));
        let message = format!("Signature not yet current: {stamp} is still later than {newest} ({now} + 15 min.)");
        return Err(invalid(message));
    }
    if !stamp.starts_with(day) || day.len() != 8 {
        let message = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.";
        return Err(invalid(message));
    }
    Ok(())
}

/// The hash of the body, which is what a header says where there is one.
fn body_hash(headers: &HeaderMap, body: &[u8]) -> Result<[u8; 32]> {
    let hash = Sha256::digest(body).into();
    match text(headers, "x-amz-content-sha256") {
        None => Ok(hash),
        Some(told) if unhex(told) == Some(hash) => Ok(hash),
        Some("UNSIGNED-PAYLOAD") => Err(invalid("The body has to be signed: UNSIGNED-PAYLOAD is not taken.")),
        Some(_) => Err(invalid("The provided 'x-amz-content-sha256' header does not match what was computed.")),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (mut bytes, text) = ([0; 32], text.as_bytes());
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    Some(bytes)
}

fn mismatch() -> Error {
    invalid("The request signature we calculated does not match the signature you provided.")
}

fn incomplete(message: impl Into<String>) -> Error {
    refused("IncompleteSignatureException", 400, message.into())
}

fn invalid(message: impl Into<String>) -> Error {
    refused("InvalidSignatureException", 403, message.into())
}

fn refused(name: &'static str, status: u16, message: String) -> Error {
    Error::new(Kind::Unauthenticated, message).exception(Exception { name, status })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

    fn header(credential: &str, names: &str, signature: &str) -> String {
        format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}")
    }

    fn told<T: std::fmt::Debug>(result: Result<T>) -> (&'static str, String) {
        let error = result.unwrap_err();
        (error.aws().unwrap().name, error.message().to_owned())
    }

    #[test]
    fn a_header_is_read_whole_or_told_what_is_missing() {
        let good = header("k/20260102/eu-west-1/bedrock/aws4_request", "host;x-amz-date", HASH);
        let read = Authorization::parse(&good).unwrap();
        assert_eq!((read.access_key, read.day, read.region, read.service), ("k", "20260102", "eu-west-1", "bedrock"));
        assert_eq!(
            (read.scope, &read.names[..]),
            ("20260102/eu-west-1/bedrock/aws4_request", &["host", "x-amz-date"][..])
        );
        assert_eq!(Authorization::parse(&good.replace(", ", ",")).unwrap(), read);
        for (header, name, part) in [
            ("AWS4-ECDSA-P256-SHA256 Credential=k".to_owned(), "IncompleteSignatureException", "'algorithm'"),
            ("AWS4-HMAC-SHA256".to_owned(), "IncompleteSignatureException", "'algorithm'"),
            ("AWS4-HMAC-SHA256 Credential=k/a/b/c/d".to_owned(), "IncompleteSignatureException", "'Signature'"),
            (header("k/a/b", "host", HASH), "IncompleteSignatureException", "5 slash-delimited"),
            (header("k/a/b/c/d/aws4_request", "host", HASH), "IncompleteSignatureException", "5 slash-delimited"),
            (header("k/a/b/c/aws5_request", "host", HASH), "IncompleteSignatureException", "5 slash-delimited"),
            (header("k/a/b/c/aws4_request", "host", "00"), "InvalidSignatureException", "does not match"),
            (
                header("k/a/b/c/aws4_request", "host", &HASH.to_uppercase()),
                "InvalidSignatureException",
                "does not match",
            ),
        ] {
            let told = told(Authorization::parse(&header));
            assert!(told.0 == name && told.1.contains(part), "{header}: {told:?}");
        }
    }

    #[test]
    fn the_scope_is_bedrocks_in_any_region() {
        let scope = |region: &str, service: &str| {
            let header = header(&format!("k/20260102/{region}/{service}/aws4_request"), "host", HASH);
            Authorization::parse(&header).unwrap().check_scope().err().map(|error| error.message().to_owned())
        };
        assert_eq!((scope("mars-north-1", "bedrock"), scope("us-east-1", "bedrock")), (None, None));
        assert!(scope("us-east-1", "bedrock-runtime").unwrap().contains("'bedrock'"));
        assert!(scope("", "bedrock").unwrap().contains("region"));
        assert!(scope("US EAST", "bedrock").unwrap().contains("region"));
    }

    #[test]
    fn what_changes_a_request_has_to_be_signed() {
        let mut headers = HeaderMap::new();
        for name in ["host", "x-amz-date", "x-amzn-bedrock-trace", "x-amzn-trace-id", "amz-sdk-request", "user-agent"] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        let check = |names: &str| {
            let header = header("k/20260102/a/bedrock/aws4_request", names, HASH);
            Authorization::parse(&header).unwrap().check_names(&headers).err().map(|error| error.message().to_owned())
        };
        assert_eq!(check("host;x-amz-date;x-amzn-bedrock-trace"), None);
        assert!(check("host;x-amz-date").unwrap().contains("'x-amzn-bedrock-trace'"));
        assert!(check("x-amz-date;x-amzn-bedrock-trace").unwrap().contains("'host'"));
        assert!(check("host;x-amzn-bedrock-trace").unwrap().contains("'x-amz-date'"));
        assert!(check("x-amz-date;host;x-amzn-bedrock-trace").unwrap().contains("order"));
        assert!(check("Accept;host;x-amz-date;x-amzn-bedrock-trace").unwrap().contains("lower case"));
    }

    #[test]
    fn a_signature_counts_for_a_quarter_of_an_hour_either_way_and_on_its_day() {
        let now = sigv4::parse_date_time("20260102T001000Z").unwrap();
        let check = |stamp: &str, day: &str| check_time(stamp, day, now).err().map(|error| error.message().to_owned());
        assert_eq!(check("20260102T002500Z", "20260102"), None);
        assert_eq!(check("20260101T235500Z", "20260101"), None);
        let expired =
            "Signature expired: 20260101T235459Z is now earlier than 20260101T235500Z (20260102T001000Z - 15 min.)";
        assert_eq!(check("20260101T235459Z", "20260101").unwrap(), expired);
        assert!(check("20260102T002501Z", "20260102").unwrap().starts_with("Signature not yet current: "));
        assert!(check("20260102T001000Z", "20260101").unwrap().contains("Credential scope"));
        assert!(check("20260102T001000Z", "2026").unwrap().contains("Credential scope"));
        assert!(check("now", "20260102").unwrap().contains("ISO-8601"));
    }

    #[test]
    fn a_body_is_what_its_header_says() {
        let check = |told: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(told) = told {
                headers.insert("x-amz-content-sha256", told.parse().unwrap());
            }
            body_hash(&headers, b"").err().map(|error| error.message().to_owned())
        };
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!((check(None), check(Some(empty))), (None, None));
        assert!(check(Some(HASH)).unwrap().contains("does not match"));
        assert!(check(Some("UNSIGNED-PAYLOAD")).unwrap().contains("has to be signed"));
    }
}
