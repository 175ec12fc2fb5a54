//! Single questions to AWS whose answer is looked at whatever it is: for `doctor`, which tells what is missing.
//!
//! Nothing here is repeated, put right or counted. Besides Bedrock's two planes it knows three services, by their query
//! and REST protocols: an SDK for a handful of look-ups would cost more to build than all of the rest. No part of an answer
//! is logged.

use std::io;
use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::Full;
use tokio::time::Instant;

use super::{AGENT, Access, MAX_REFUSAL, Outgoing, Region};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::upstream::classify::{Refusal, http_date};
use crate::upstream::endpoint::{Endpoint, Plane, named_by_environment};
use crate::upstream::mask::mask;
use crate::upstream::plain::PlainCall;
use crate::upstream::wire::Unanswered;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Bedrock's inference.
    Runtime,
    /// Bedrock's control plane.
    Control,
    /// Who somebody is.
    Sts,
    /// Roles.
    Iam,
    /// Buckets, addressed by path.
    S3,
}

/// An answer, good or not.
#[derive(Debug)]
pub struct Told {
    /// The HTTP status.
    pub status: u16,
    /// AWS's name of the error, such as `AccessDenied`; empty in a success, and where AWS names none.
    pub code: String,
    /// What AWS says of the error, ARNs and account ids taken out.
    pub message: String,
    /// AWS's clock, to the second.
    pub date: Option<Timestamp>,
    /// From the first byte sent, a connection included, to the head of the answer.
    pub took: Duration,
    /// As AWS sent them.
    pub headers: HeaderMap,
    /// The bytes AWS sent. They may hold ARNs.
    pub body: Bytes,
}

/// Why there is no answer at all.
#[derive(Debug)]
pub enum Unreachable {
    /// The name has no address.
    Name,
    /// The other side does not show the certificate that it should, or speaks no TLS.
    Tls(String),
    /// Nobody takes the connection, or it broke.
    Connection(String),
    /// Nothing came in time.
    Timeout,
    /// There are no credentials to sign with.
    Credentials(Error),
}

impl Told {
    /// Whether AWS did what was asked.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The text of the first XML element of this name; STS, IAM and S3 answer in XML.
    pub fn element(&self, name: &str) -> Option<String> {
        element(std::str::from_utf8(&self.body).ok()?, name)
    }
}

impl Service {
    const fn name(self) -> &'static str {
        match self {
            Self::Runtime | Self::Control => "bedrock",
            Self::Sts => "sts",
            Self::Iam => "iam",
            Self::S3 => "s3",
        }
    }

    /// The name by which environment and profile know it.
    const fn service_id(self) -> &'static str {
        match self {
            Self::Runtime => "Bedrock Runtime",
            Self::Control => "Bedrock",
            Self::Sts => "STS",
            Self::Iam => "IAM",
            Self::S3 => "S3",
        }
    }

    /// AWS's own host, and the Region that a request is signed for.
    /// <https://docs.aws.amazon.com/general/latest/gr/rande.html>
    fn host(self, region: &str, fips: bool) -> (String, &str) {
        let suffix = if region.starts_with("eusc-") { "amazonaws.eu" } else { "amazonaws.com" };
        let is_gov = region.starts_with("us-gov-");
        // In GovCloud the plain hosts are the FIPS ones.
        let fips = if fips && !is_gov { "-fips" } else { "" };
        let name = self.name();
        match self {
            Self::Iam if is_gov => (format!("https://iam.us-gov.{suffix}"), "us-gov-west-1"),
            Self::Iam if region.starts_with("eusc-") => (format!("https://iam.{region}.{suffix}"), region),
            Self::Iam => (format!("https://iam{fips}.{suffix}"), "us-east-1"),
            _ => (format!("https://{name}{fips}.{region}.{suffix}"), region),
        }
    }
}

impl Region {
    /// Asks once, with this identity's credentials, and tells the answer whatever it is.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask(&self, service: Service, call: &PlainCall) -> Result<Told, Unreachable> {
        let request = match service {
            Service::Runtime => self.prepared(Plane::Runtime, call).await?,
            Service::Control => self.prepared(Plane::Control, call).await?,
            Service::Sts | Service::Iam | Service::S3 => self.signed(service, call).await?,
        };
        let wire = &self.0.shared.wire;
        let begun = Instant::now();
        let (parts, body) = wire.exchange(request).await.map_err(Unreachable::of)?.into_parts();
        let took = begun.elapsed();
        // A body that breaks off still leaves the status and the headers.
        let body = wire.pieces(body).collect(MAX_REFUSAL).await.unwrap_or_default();
        let status = parts.status.as_u16();
        let date = parts.headers.get(http::header::DATE).and_then(|value| http_date(value.to_str().ok()?));
        let (code, message) = if parts.status.is_success() {
            (String::new(), String::new())
        } else {
            refusal(status, &parts.headers, &body)
        };
        Ok(Told { status, code, message, date, took, headers: parts.headers, body })
    }

    async fn prepared(&self, plane: Plane, call: &PlainCall) -> Result<Request<Full<Bytes>>, Unreachable> {
        let prepared = self.prepare(Outgoing::Plain(plane, call)).await;
        prepared.map(|(request, _)| request).map_err(|failure| Unreachable::Credentials(failure.error))
    }

    async fn signed(&self, service: Service, call: &PlainCall) -> Result<Request<Full<Bytes>>, Unreachable> {
        let (endpoint, region) = self.endpoint_of(service).map_err(Unreachable::Credentials)?;
        let made = self.sign_for(service.name(), (&endpoint, &region), call).await;
        made.map_err(Unreachable::Credentials)
    }

    fn endpoint_of(&self, service: Service) -> Result<(Endpoint, String)> {
        let shared = &self.0.shared;
        let chosen = match service {
            Service::S3 => self.0.site.overrides.s3.clone(),
            Service::Sts => shared.sts.url.clone(),
            _ => None,
        };
        let named = chosen.or_else(|| named_by_environment(&shared.sts.sdk, service.service_id()));
        let (host, region) = service.host(self.name(), shared.sts.sdk.use_fips().unwrap_or(false));
        let url = named.unwrap_or(host);
        let endpoint = Endpoint::parse(&url).ok_or_else(|| {
            Error::internal(format!("the URL for {} in the environment is no base URL", service.service_id()))
        })?;
        Ok((endpoint, region.to_owned()))
    }

    /// Signed by `aws-sigv4` itself: S3's way to sign differs, and nobody waits for this one.
    async fn sign_for(
        &self,
        service: &str,
        (endpoint, region): (&Endpoint, &str),
        call: &PlainCall,
    ) -> Result<Request<Full<Bytes>>> {
        let shared = &self.0.shared;
        let uri = endpoint.uri(&call.target)?;
        let now = shared.clock.now();
        // Of an API key, which is of Bedrock alone, none of these services knows: the gateway's own credentials speak.
        let keys = match &self.0.access {
            Access::Signature(credentials) => credentials.keys(now).await?,
            Access::Bearer(_) => shared.credentials.keys(now).await?,
        };
        let mut settings = SigningSettings::default();
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        if service == "s3" {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let identity = keys.to_sdk().into();
        let params = aws_sigv4::sign::v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(SystemTime::from(now))
            .settings(settings)
            .build()
            .map_err(Error::internal)?;
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri.clone();
        let mut headers = call.headers.clone();
        headers.insert(HOST, endpoint.host());
        if !call.body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"));
        }
        let text = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable =
            SignableRequest::new(call.method.as_str(), uri.to_string(), text, SignableBody::Bytes(&call.body));
        let signed = sign(signable.map_err(Error::internal)?, &params.into()).map_err(Error::internal)?;
        let (instructions, _) = signed.into_parts();
        for (name, value) in instructions.headers() {
            let name = HeaderName::try_from(name).map_err(Error::internal)?;
            let mut value = HeaderValue::try_from(value).map_err(Error::internal)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(USER_AGENT, AGENT);
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Name and message of an error: JSON from Bedrock, XML from the others, nothing but headers for a HEAD.
fn refusal(status: u16, headers: &HeaderMap, body: &[u8]) -> (String, String) {
    let text = std::str::from_utf8(body).unwrap_or_default();
    if let Some(code) = element(text, "Code") {
        return (code, mask(&element(text, "Message").unwrap_or_default()).into_owned());
    }
    let (code, message) = Refusal::read(status, headers, body, Timestamp::default()).told();
    (code, mask(&message).into_owned())
}

fn element(xml: &str, name: &str) -> Option<String> {
    let (_, after) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = after.split_once(&format!("</{name}>"))?;
    let plain = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    Some(plain.iter().fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain)))
}

impl Unreachable {
    fn of(unanswered: Unanswered) -> Self {
        let source = match unanswered {
            Unanswered::Timeout => return Self::Timeout,
            Unanswered::Connect(source) | Unanswered::Lost(source) => source,
        };
        obstacle(&source)
    }
}

/// What stood in the way, by the innermost cause that says so.
fn obstacle(error: &BoxError) -> Unreachable {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    let mut last = error.to_string();
    while let Some(error) = cause {
        last = error.to_string();
        if error.is::<tokio::time::error::Elapsed>() {
            return Unreachable::Timeout;
        }
        if error.is::<rustls::Error>() || last.contains("invalid peer certificate") {
            return Unreachable::Tls(last);
        }
        if last == "dns error" {
            return Unreachable::Name;
        }
        // What an I/O error wraps is not its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    Unreachable::Connection(mask(&last).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_its_host_and_the_region_it_is_signed_for() {
        for (service, region, fips, host, signed) in [
            (Service::Sts, "eu-west-1", false, "https://sts.eu-west-1.amazonaws.com", "eu-west-1"),
            (Service::Sts, "us-east-1", true, "https://sts-fips.us-east-1.amazonaws.com", "us-east-1"),
            (Service::Iam, "eu-west-1", false, "https://iam.amazonaws.com", "us-east-1"),
            (Service::Iam, "us-gov-east-1", true, "https://iam.us-gov.amazonaws.com", "us-gov-west-1"),
            (Service::S3, "us-west-2", false, "https://s3.us-west-2.amazonaws.com", "us-west-2"),
            (Service::S3, "eusc-de-east-1", false, "https://s3.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
        ] {
            assert_eq!(service.host(region, fips), (host.to_owned(), signed), "{service:?} {region}");
        }
    }

    #[test]
    fn errors_are_read_from_xml_json_and_headers_without_arns() {
        let xml = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/a may not &amp; so on</Message></Error></ErrorResponse>";
        let none = HeaderMap::new();
        assert_eq!(refusal(403, &none, xml), ("AccessDenied".into(), "User: [the gateway] may not & so on".into()));
        let json = br#"{"__type":"com.amazon#AccessDeniedException","Message":"no"}"#;
        assert_eq!(refusal(403, &none, json), ("AccessDeniedException".into(), "no".into()));
        assert_eq!(refusal(404, &none, b""), (String::new(), String::new()));
    }

    #[test]
    fn what_stood_in_the_way_is_told_apart() {
        let tls = io::Error::other(rustls::Error::InvalidCertificate(rustls::CertificateError::Expired));
        assert!(matches!(obstacle(&tls.into()), Unreachable::Tls(_)));
        let refused: BoxError = io::Error::from(io::ErrorKind::ConnectionRefused).into();
        assert!(matches!(obstacle(&refused), Unreachable::Connection(text) if text.contains("refused")));
    }
}
