//! Who calls S3: a signature in the header or, of a presigned URL, in the query; and how the body is signed. "Authenticating
//! Requests (AWS Signature Version 4)" of S3's API reference.

use std::collections::BTreeMap;

use axum::http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::super::auth::{self, Caller};
use super::super::errors::Failure;
use super::super::sigv4::{Authorization, Rules, Signed, SigningKey};
use super::super::{Simulator, catalog};

/// How far the clocks may be apart.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);
/// The longest life of a presigned URL, in seconds.
const LONGEST: i64 = 604_800;
const PRESIGNED: [&str; 6] =
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires"];

/// How a body is signed.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// With its SHA-256, in hex.
    Hashed(String),
    Unsigned,
    /// `aws-chunked`; with a signature for each chunk, if it is signed.
    Chunked {
        signer: Option<Signer>,
        trailer: bool,
    },
}

/// What signs chunk after chunk, each over the signature before it.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    pub(super) key: SigningKey,
    pub(super) previous: String,
}

/// Where a signature stands, and what it says.
struct Claim<'a> {
    authorization: Authorization<'a>,
    amz_date: &'a str,
    token: Option<&'a str>,
    /// What stands for the body.
    hash: &'a str,
    /// The seconds that a presigned URL lives.
    expires: Option<i64>,
}

/// Who calls, and how the body is signed. `fixed` is the listener's own Region, if it has one.
pub(super) fn caller(simulator: &Simulator, fixed: Option<&str>, parts: &Parts) -> Result<(Caller, Payload), Failure> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let query = parameters(parts.uri.query().unwrap_or_default());
    let claim = match (text("authorization"), query.contains_key("X-Amz-Algorithm")) {
        (Some(_), true) => {
            let message = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
                           parameter or the Authorization header should be specified";
            return Err(Failure::new(400, "InvalidArgument", message));
        }
        (Some(header), false) => in_header(header, &text)?,
        (None, _) => in_query(&query, &text)?,
    };
    let (authorization, now) = (&claim.authorization, simulator.now());
    let (secret, standing) = auth::secret(simulator, authorization.access_key, claim.token).map_err(|failure| {
        let known = simulator.settings().access_key == authorization.access_key
            || simulator.sessions_kept().find(authorization.access_key, now).is_some();
        if known { invalid_token() } else { failure }
    })?;
    fresh(&claim, now)?;
    scoped(&claim, fixed)?;
    all_is_signed(parts, authorization)?;
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    let request = Signed { method, uri, headers, hash: claim.hash, rules: Rules::S3 };
    if !auth::same(&authorization.expected(&request, claim.amz_date, &secret), authorization.signature) {
        return Err(auth::mismatch());
    }
    let identity = auth::identity(simulator.settings(), standing, claim.token)?;
    let signer =
        || Signer { key: authorization.key(claim.amz_date, &secret), previous: authorization.signature.to_owned() };
    let payload = payload(claim.hash, signer)?;
    Ok((Caller { region: authorization.region.to_owned(), identity }, payload))
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), percent_decode_str(value).decode_utf8_lossy().into_owned())).collect()
}

fn in_header<'a>(header: &'a str, text: &impl Fn(&str) -> Option<&'a str>) -> Result<Claim<'a>, Failure> {
    if !header.starts_with("AWS4-HMAC-SHA256") {
        return Err(Failure::new(400, "InvalidArgument", "Unsupported Authorization Type"));
    }
    let authorization = Authorization::parse(header).map_err(|message| auth::incomplete(&message))?;
    let amz_date = text("x-amz-date").ok_or_else(|| {
        Failure::new(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    })?;
    let hash = text("x-amz-content-sha256").ok_or_else(|| {
        Failure::new(400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    })?;
    Ok(Claim { authorization, amz_date, token: text("x-amz-security-token"), hash, expires: None })
}

fn in_query<'a>(
    query: &'a BTreeMap<String, String>,
    text: &impl Fn(&str) -> Option<&'a str>,
) -> Result<Claim<'a>, Failure> {
    let wrong = |message: &str| Failure::new(400, "AuthorizationQueryParametersError", message);
    let field = |name: &str| query.get(name).map(String::as_str);
    let [Some("AWS4-HMAC-SHA256"), Some(credential), Some(signature), Some(amz_date), Some(headers), Some(expires)] =
        PRESIGNED.map(field)
    else {
        return Err(wrong(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, \
             X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        ));
    };
    let authorization = Authorization::of(credential, headers, signature).map_err(|message| wrong(&message))?;
    let expires = match expires.parse::<i64>() {
        Err(_) => return Err(wrong("X-Amz-Expires should be a number")),
        Ok(..0) => return Err(wrong("X-Amz-Expires must be non-negative")),
        Ok(seconds) if seconds > LONGEST => {
            return Err(wrong("X-Amz-Expires must be less than a week (in seconds) that is 604800"));
        }
        Ok(seconds) => seconds,
    };
    let hash = field("X-Amz-Content-Sha256").or_else(|| text("x-amz-content-sha256")).unwrap_or("UNSIGNED-PAYLOAD");
    Ok(Claim { authorization, amz_date, token: field("X-Amz-Security-Token"), hash, expires: Some(expires) })
}

fn fresh(claim: &Claim<'_>, now: Timestamp) -> Result<(), Failure> {
    let age = now.duration_since(auth::signed_at(claim.amz_date)?);
    if !claim.amz_date.starts_with(claim.authorization.date) {
        let date = claim.authorization.date;
        let message = format!(
            "Invalid credential date \"{date}\". This date is not the same as X-Amz-Date: \"{}\".",
            &claim.amz_date[..8]
        );
        return Err(malformed(&message, claim.expires.is_some()));
    }
    match claim.expires {
        None if age.abs() > WINDOW => {
            let message = "The difference between the request time and the current time is too large.";
            Err(Failure::new(403, "RequestTimeTooSkewed", message))
        }
        Some(_) if age < -WINDOW => Err(Failure::new(403, "AccessDenied", "Request is not yet valid")),
        Some(seconds) if age > SignedDuration::from_secs(seconds) => {
            Err(Failure::new(403, "AccessDenied", "Request has expired"))
        }
        _ => Ok(()),
    }
}

fn scoped(claim: &Claim<'_>, fixed: Option<&str>) -> Result<(), Failure> {
    let region = claim.authorization.region;
    let expected = match fixed {
        Some(fixed) if fixed != region => fixed,
        None if catalog::partition(region).is_none() => "us-east-1",
        _ => return Ok(()),
    };
    let message = format!("the region '{region}' is wrong; expecting '{expected}'");
    let failure = malformed(&message, claim.expires.is_some());
    Err(failure.with(json!({"Region": expected}).as_object().cloned().map(Box::new)).of_bucket_in(expected))
}

fn malformed(message: &str, is_presigned: bool) -> Failure {
    if is_presigned {
        return Failure::new(
            400,
            "AuthorizationQueryParametersError",
            format!("Error parsing the X-Amz-Credential parameter; {message}"),
        );
    }
    Failure::new(400, "AuthorizationHeaderMalformed", format!("The authorization header is malformed; {message}"))
}

/// Host and every `x-amz-` header must be signed.
fn all_is_signed(parts: &Parts, authorization: &Authorization<'_>) -> Result<(), Failure> {
    let is_signed = |name: &str| authorization.signed_headers.contains(&name);
    let names = parts.headers.keys().map(axum::http::HeaderName::as_str);
    let unsigned = names.filter(|name| (*name == "host" || name.starts_with("x-amz-")) && !is_signed(name));
    // The hash of the body is signed as such.
    let unsigned: Vec<&str> = unsigned.filter(|name| *name != "x-amz-content-sha256").collect();
    if unsigned.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(403, "AccessDenied", "There were headers present in the request which were not signed");
    Err(failure.with(json!({"HeadersNotSigned": unsigned.join(", ")}).as_object().cloned().map(Box::new)))
}

fn payload(hash: &str, signer: impl FnOnce() -> Signer) -> Result<Payload, Failure> {
    let chunked = |signer, trailer| Ok(Payload::Chunked { signer, trailer });
    match hash {
        "UNSIGNED-PAYLOAD" => Ok(Payload::Unsigned),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => chunked(None, true),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => chunked(Some(signer()), false),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => chunked(Some(signer()), true),
        _ if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(Payload::Hashed(hash.to_ascii_lowercase()))
        }
        _ => {
            let message = "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                           STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, or a valid sha256 value.";
            Err(Failure::new(400, "InvalidArgument", message))
        }
    }
}

fn invalid_token() -> Failure {
    Failure::new(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
}
