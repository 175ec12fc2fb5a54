//! Who calls, and which Region: SigV4 or a bearer token, refused in AWS's words and order.

use axum::http::HeaderMap;
use axum::http::request::Parts;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq;

use super::catalog;
use super::errors::{self, Failure, Surface};
use super::sessions::{Identity, Standing};
use super::sigv4::{Authorization, Rules, Signed, body_hash};
use super::{Settings, Simulator};

const WINDOW: SignedDuration = SignedDuration::from_mins(5);
const AMZ_DATE: &str = "%Y%m%dT%H%M%SZ";
const BAD_REGION: &str = "Credential should be scoped to a valid region. ";

/// A caller that was believed.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) region: String,
    pub(crate) identity: Identity,
}

/// Who calls a service and which Region is meant. `fixed` is the listener's own, if it has one.
pub(crate) fn caller(
    simulator: &Simulator,
    surface: Surface,
    fixed: Option<&str>,
    parts: &Parts,
    body: &[u8],
) -> Result<Caller, Failure> {
    let settings = simulator.settings();
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let api_key =
        text("x-api-key").filter(|_| parts.uri.path().starts_with("/anthropic/")).map(|key| format!("Bearer {key}"));
    let Some(authorization) = text("authorization").or(api_key.as_deref()) else {
        return Err(Failure::signature(403, "MissingAuthenticationTokenException", "Missing Authentication Token"));
    };
    // API keys are good for Bedrock alone.
    if let Some(token) = authorization.strip_prefix("Bearer ").filter(|_| surface.service() == "bedrock") {
        let known = settings.bearer_tokens.iter().any(|known| same(known, token.trim()));
        if !known {
            return Err(Failure::api_key("Authentication failed: Please make sure your API Key is valid."));
        }
        let region = unsigned_region(settings, fixed, parts);
        return Ok(Caller { region, identity: Identity::Bearer });
    }
    if !authorization.starts_with("AWS4-HMAC-SHA256") {
        return Err(incomplete(&format!(
            "Unsupported AWS 'algorithm': '{}'.",
            authorization.split(' ').next().unwrap_or_default()
        )));
    }
    signed(simulator, surface, fixed, parts, body, authorization)
}

/// The Region that a call means without a signature.
pub(crate) fn unsigned_region(settings: &Settings, fixed: Option<&str>, parts: &Parts) -> String {
    let named = || parts.headers.get("x-sim-region").and_then(|value| value.to_str().ok());
    fixed.or_else(named).unwrap_or(&settings.default_region).to_owned()
}

/// The Region that a call claims to mean, believed or not.
pub(crate) fn claimed_region(settings: &Settings, fixed: Option<&str>, parts: &Parts) -> String {
    match claimed_scope(parts).filter(|_| fixed.is_none()) {
        Some((_, region)) => region,
        None => unsigned_region(settings, fixed, parts),
    }
}

/// The service and Region that a signature claims to be for, in the header or in the query.
pub(crate) fn claimed_scope(parts: &Parts) -> Option<(String, String)> {
    let owned = |authorization: Authorization<'_>| (authorization.service.to_owned(), authorization.region.to_owned());
    if let Some(header) = parts.headers.get("authorization") {
        return Authorization::parse(header.to_str().ok()?).ok().map(owned);
    }
    let mut pairs = parts.uri.query()?.split('&');
    let credential = pairs.find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
    let credential = percent_decode_str(credential).decode_utf8().ok()?;
    Authorization::of(&credential, "", "").ok().map(owned)
}

fn signed(
    simulator: &Simulator,
    surface: Surface,
    fixed: Option<&str>,
    parts: &Parts,
    body: &[u8],
    header: &str,
) -> Result<Caller, Failure> {
    let (settings, now) = (simulator.settings(), simulator.now());
    let authorization = Authorization::parse(header).map_err(|message| incomplete(&message))?;
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let amz_date = text("x-amz-date").ok_or_else(|| {
        incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    })?;
    let token = text("x-amz-security-token");
    let (secret, standing) = secret(simulator, authorization.access_key, token)?;
    fresh(amz_date, now)?;
    if !amz_date.starts_with(authorization.date) {
        return Err(invalid(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.",
        ));
    }
    let service = surface.service();
    if authorization.service != service {
        return Err(invalid(&format!("Credential should be scoped to correct service: '{service}'. ")));
    }
    scoped(surface, fixed, authorization.region)?;
    must_be_signed(&parts.headers, &authorization)?;
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    let request = Signed { method, uri, headers, hash: &body_hash(body), rules: Rules::Usual };
    if !same(&authorization.expected(&request, amz_date, &secret), authorization.signature) {
        return Err(mismatch());
    }
    let identity = identity(settings, standing, token)?;
    Ok(Caller { region: authorization.region.to_owned(), identity })
}

/// The secret of a key, and what is known of a session's; refused when nobody has the key, or not with this token.
pub(crate) fn secret(
    simulator: &Simulator,
    access_key: &str,
    token: Option<&str>,
) -> Result<(String, Option<Standing>), Failure> {
    let settings = simulator.settings();
    let standing = simulator.sessions_kept().find(access_key, simulator.now());
    match &standing {
        Some(Standing::Good(session) | Standing::Expired(session)) => {
            if !token.is_some_and(|given| same(&session.token, given)) {
                return Err(unrecognized());
            }
            Ok((session.secret_key.clone(), standing))
        }
        None if same(&settings.access_key, access_key) => Ok((settings.secret_key.clone(), None)),
        None => Err(unrecognized()),
    }
}

/// Who signed, once the signature is found good.
pub(crate) fn identity(
    settings: &Settings,
    standing: Option<Standing>,
    token: Option<&str>,
) -> Result<Identity, Failure> {
    match (standing, &settings.session_token) {
        (Some(Standing::Good(session)), _) => Ok(Identity::Session(session)),
        (Some(Standing::Expired(_)), _) => {
            let (status, message) = errors::known("ExpiredTokenException");
            Err(Failure::signature(status, "ExpiredTokenException", message))
        }
        (None, Some(expected)) if !token.is_some_and(|given| same(expected, given)) => Err(unrecognized()),
        (None, _) => Ok(Identity::Key),
    }
}

/// IAM is one service for its partition, under the name of one Region; the others are a Region's own.
fn scoped(surface: Surface, fixed: Option<&str>, region: &str) -> Result<(), Failure> {
    let fits = match surface {
        Surface::Iam => matches!(region, "us-east-1" | "us-gov-west-1"),
        _ => fixed.is_none_or(|fixed| fixed == region) && catalog::partition(region).is_some(),
    };
    if fits { Ok(()) } else { Err(invalid(BAD_REGION)) }
}

fn unrecognized() -> Failure {
    Failure::signature(403, "UnrecognizedClientException", "The security token included in the request is invalid.")
}

/// The signature is not that of the request.
pub(crate) fn mismatch() -> Failure {
    invalid(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing \
         method. Consult the service documentation for details.",
    )
}

fn must_be_signed(headers: &HeaderMap, authorization: &Authorization<'_>) -> Result<(), Failure> {
    let sent = [
        "host",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-target",
        "x-amzn-bedrock-request-metadata",
    ];
    let unsigned =
        sent.into_iter().find(|name| headers.contains_key(*name) && !authorization.signed_headers.contains(name));
    unsigned
        .map_or(Ok(()), |name| Err(invalid(&format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."))))
}

/// The time that a request says it was signed at.
pub(crate) fn signed_at(amz_date: &str) -> Result<Timestamp, Failure> {
    let parsed =
        jiff::fmt::strtime::parse(AMZ_DATE, amz_date).and_then(|parts| parts.to_datetime()?.to_zoned(TimeZone::UTC));
    parsed.map(|zoned| zoned.timestamp()).map_err(|_| {
        incomplete(&format!(
            "Date must be in ISO-8601 'basic format'. Got '{amz_date}'. See http://en.wikipedia.org/wiki/ISO_8601"
        ))
    })
}

fn fresh(amz_date: &str, now: Timestamp) -> Result<(), Failure> {
    let signed_at = signed_at(amz_date)?;
    let write = |at: Timestamp| at.strftime(AMZ_DATE).to_string();
    let age = now.duration_since(signed_at);
    if age > WINDOW {
        let oldest = write(now.saturating_sub(WINDOW).unwrap_or(now));
        return Err(invalid(&format!(
            "Signature expired: {amz_date} is now earlier than {oldest} ({} - 5 min.)",
            write(now)
        )));
    }
    if age < -WINDOW {
        let newest = write(now.saturating_add(WINDOW).unwrap_or(now));
        return Err(invalid(&format!(
            "Signature not yet current: {amz_date} is still later than {newest} ({} + 5 min.)",
            write(now)
        )));
    }
    Ok(())
}

/// A header or query that does not say all that a signature needs.
pub(crate) fn incomplete(message: &str) -> Failure {
    Failure::signature(400, "IncompleteSignatureException", message)
}

fn invalid(message: &str) -> Failure {
    Failure::signature(403, "InvalidSignatureException", message)
}

/// Compared in constant time.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const NOW: &str = "2026-11-22T12:00:00Z";

    fn told(headers: &[(&str, &str)]) -> (String, String) {
        let mut request = Request::post("/model/m/converse");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let simulator = Simulator::new(Settings::default());
        simulator.set_clock(NOW.parse().unwrap());
        let answer = caller(&simulator, Surface::Aws, Some("us-east-1"), &parts, b"");
        answer
            .map_or_else(|failure| (failure.name.to_string(), failure.message), |caller| (String::new(), caller.region))
    }

    fn signed_with(key: &str, region: &str, service: &str, date: &str) -> (String, String) {
        let header = format!(
            "AWS4-HMAC-SHA256 Credential={key}/{}/{region}/{service}/aws4_request, SignedHeaders=host;x-amz-date, Signature=00",
            &date[..8]
        );
        told(&[("host", "h"), ("x-amz-date", date), ("authorization", &header)])
    }

    #[test]
    fn callers_are_refused_in_the_words_of_aws() {
        let on_time = "20261122T120000Z";
        for ((name, message), expected_name, expected) in [
            (told(&[]), "MissingAuthenticationTokenException", "Missing Authentication Token"),
            (told(&[("authorization", "Bearer wrong")]), "AccessDeniedException", "API Key is valid"),
            (told(&[("authorization", "AWS4-HMAC-SHA256 x")]), "IncompleteSignatureException", "'Credential'"),
            (
                signed_with("AKIDOTHER", "us-east-1", "bedrock", on_time),
                "UnrecognizedClientException",
                "security token",
            ),
            (
                signed_with("AKIDSIMULATOR", "eu-west-1", "bedrock", on_time),
                "InvalidSignatureException",
                "valid region",
            ),
            (
                signed_with("AKIDSIMULATOR", "us-east-1", "bedrock-runtime", on_time),
                "InvalidSignatureException",
                "correct service: 'bedrock'",
            ),
            (
                signed_with("AKIDSIMULATOR", "us-east-1", "bedrock", "20261122T115459Z"),
                "InvalidSignatureException",
                "Signature expired: 20261122T115459Z is now earlier than 20261122T115500Z (20261122T120000Z - 5 min.)",
            ),
            (
                signed_with("AKIDSIMULATOR", "us-east-1", "bedrock", "20261122T120501Z"),
                "InvalidSignatureException",
                "Signature not yet current",
            ),
            (
                signed_with("AKIDSIMULATOR", "us-east-1", "bedrock", on_time),
                "InvalidSignatureException",
                "does not match the signature you provided",
            ),
        ] {
            assert_eq!(name, expected_name);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_bearer_call_means_the_region_of_its_listener() {
        assert_eq!(told(&[("authorization", "Bearer sim-bearer-token")]).1, "us-east-1");
    }
}
