//! Who calls, and which Region: SigV4 or a bearer token, refused in AWS's words and order.

use axum::http::HeaderMap;
use axum::http::request::Parts;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq;

use super::Settings;
use super::catalog;
use super::errors::Failure;
use super::sigv4::{Authorization, Signed};

const WINDOW: SignedDuration = SignedDuration::from_mins(5);
const AMZ_DATE: &str = "%Y%m%dT%H%M%SZ";
const BAD_REGION: &str = "Credential should be scoped to a valid region. ";

/// The Region that the caller means. `fixed` is the listener's own, if it has one.
pub(crate) fn region(
    settings: &Settings,
    fixed: Option<&str>,
    now: Timestamp,
    parts: &Parts,
    body: &[u8],
) -> Result<String, Failure> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let api_key =
        text("x-api-key").filter(|_| parts.uri.path().starts_with("/anthropic/")).map(|key| format!("Bearer {key}"));
    let Some(authorization) = text("authorization").or(api_key.as_deref()) else {
        return Err(Failure::signature(403, "MissingAuthenticationTokenException", "Missing Authentication Token"));
    };
    if let Some(token) = authorization.strip_prefix("Bearer ") {
        let known = settings.bearer_tokens.iter().any(|known| same(known, token.trim()));
        if !known {
            return Err(Failure::api_key("Authentication failed: Please make sure your API Key is valid."));
        }
        return Ok(fixed.or_else(|| text("x-sim-region")).unwrap_or(&settings.default_region).to_owned());
    }
    if !authorization.starts_with("AWS4-HMAC-SHA256") {
        return Err(incomplete(&format!(
            "Unsupported AWS 'algorithm': '{}'.",
            authorization.split(' ').next().unwrap_or_default()
        )));
    }
    signed(settings, fixed, now, parts, body, authorization)
}

fn signed(
    settings: &Settings,
    fixed: Option<&str>,
    now: Timestamp,
    parts: &Parts,
    body: &[u8],
    header: &str,
) -> Result<String, Failure> {
    let authorization = Authorization::parse(header).map_err(|message| incomplete(&message))?;
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let amz_date = text("x-amz-date").ok_or_else(|| {
        incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    })?;
    if !same(&settings.access_key, authorization.access_key) {
        return Err(Failure::signature(
            403,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ));
    }
    fresh(amz_date, now)?;
    if !amz_date.starts_with(authorization.date) {
        return Err(invalid(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.",
        ));
    }
    if authorization.service != "bedrock" {
        return Err(invalid("Credential should be scoped to correct service: 'bedrock'. "));
    }
    if fixed.is_some_and(|fixed| fixed != authorization.region) || catalog::partition(authorization.region).is_none() {
        return Err(invalid(BAD_REGION));
    }
    must_be_signed(&parts.headers, &authorization)?;
    let request = Signed { method: &parts.method, uri: &parts.uri, headers: &parts.headers, body };
    if !same(&authorization.expected(&request, amz_date, &settings.secret_key), authorization.signature) {
        return Err(invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing \
             method. Consult the service documentation for details.",
        ));
    }
    match (&settings.session_token, text("x-amz-security-token")) {
        (Some(expected), given) if !given.is_some_and(|given| same(expected, given)) => Err(Failure::signature(
            403,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )),
        _ => Ok(authorization.region.to_owned()),
    }
}

fn must_be_signed(headers: &HeaderMap, authorization: &Authorization<'_>) -> Result<(), Failure> {
    let sent = ["host", "x-amz-date", "x-amz-security-token", "x-amzn-bedrock-request-metadata"];
    let unsigned =
        sent.into_iter().find(|name| headers.contains_key(*name) && !authorization.signed_headers.contains(name));
    unsigned
        .map_or(Ok(()), |name| Err(invalid(&format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."))))
}

fn fresh(amz_date: &str, now: Timestamp) -> Result<(), Failure> {
    let parsed =
        jiff::fmt::strtime::parse(AMZ_DATE, amz_date).and_then(|parts| parts.to_datetime()?.to_zoned(TimeZone::UTC));
    let Ok(signed_at) = parsed.map(|zoned| zoned.timestamp()) else {
        return Err(incomplete(&format!(
            "Date must be in ISO-8601 'basic format'. Got '{amz_date}'. See http://en.wikipedia.org/wiki/ISO_8601"
        )));
    };
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

fn incomplete(message: &str) -> Failure {
    Failure::signature(400, "IncompleteSignatureException", message)
}

fn invalid(message: &str) -> Failure {
    Failure::signature(403, "InvalidSignatureException", message)
}

fn same(one: &str, other: &str) -> bool {
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
        let answer = region(&Settings::default(), Some("us-east-1"), NOW.parse().unwrap(), &parts, b"");
        answer.map_or_else(|failure| (failure.name.to_string(), failure.message), |region| (String::new(), region))
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
