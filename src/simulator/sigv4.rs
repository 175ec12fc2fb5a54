//! Signature Version 4, checked from the request alone, by the rules of AWS's "Create a signed request".

use std::borrow::Cow;
use std::fmt::Write as _;

use axum::http::{HeaderMap, Method, Uri};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

/// What an `Authorization: AWS4-HMAC-SHA256` header says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Authorization<'a> {
    pub(crate) access_key: &'a str,
    pub(crate) date: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    pub(crate) signed_headers: Vec<&'a str>,
    pub(crate) signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Reads the header; the error names what is missing, in AWS's words.
    pub(crate) fn parse(header: &'a str) -> Result<Self, String> {
        let fields = header.strip_prefix("AWS4-HMAC-SHA256").unwrap_or(header);
        let field = |name: &str| {
            let mut parts = fields.split(',').map(str::trim);
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).filter(|value| !value.is_empty())
        };
        let (Some(credential), Some(signature), Some(signed_headers)) =
            (field("Credential"), field("Signature"), field("SignedHeaders"))
        else {
            let missing = ["Credential", "Signature", "SignedHeaders"].into_iter().filter(|name| field(name).is_none());
            let told: Vec<String> =
                missing.map(|name| format!("Authorization header requires '{name}' parameter.")).collect();
            return Err(told.join(" "));
        };
        Self::of(credential, signed_headers, signature)
    }

    /// Of the parts that a header or a query tells; the error names what is wrong.
    pub(crate) fn of(credential: &'a str, signed_headers: &'a str, signature: &'a str) -> Result<Self, String> {
        let parts: Vec<&str> = credential.split('/').collect();
        let [access_key, date, region, service, "aws4_request"] = parts[..] else {
            return Err(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'"
            ));
        };
        Ok(Self { access_key, date, region, service, signed_headers: signed_headers.split(';').collect(), signature })
    }

    /// The signature that `secret` gives this request, in hex.
    pub(crate) fn expected(&self, request: &Signed<'_>, amz_date: &str, secret: &str) -> String {
        let canonical = request.canonical(&self.signed_headers);
        let hash = hex(&Sha256::digest(canonical));
        self.key(amz_date, secret).sign("AWS4-HMAC-SHA256", &[&hash])
    }

    /// What signs in this scope at that time.
    pub(crate) fn key(&self, amz_date: &str, secret: &str) -> SigningKey {
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [self.date, self.region, self.service, "aws4_request"] {
            key = keyed_hash(&key, part);
        }
        let scope = format!("{}/{}/{}/aws4_request", self.date, self.region, self.service);
        SigningKey { key, scope, amz_date: amz_date.to_owned() }
    }
}

/// A key derived for one day, Region and service, with what its signatures say of themselves.
#[derive(Clone, Debug)]
pub(crate) struct SigningKey {
    key: Vec<u8>,
    scope: String,
    amz_date: String,
}

impl SigningKey {
    /// The signature of these lines under an algorithm's name, in hex.
    pub(crate) fn sign(&self, algorithm: &str, lines: &[&str]) -> String {
        let text = format!("{algorithm}\n{}\n{}\n{}", self.amz_date, self.scope, lines.join("\n"));
        hex(&keyed_hash(&self.key, &text))
    }
}

/// The parts of a request that are signed.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    /// The hash of the body, or what stands for it.
    pub(crate) hash: &'a str,
    pub(crate) rules: Rules,
}

/// What the services differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// The path is encoded a second time.
    Usual,
    /// The path and the query are signed as AWS encodes them, however they were sent, without a signature in the query.
    S3,
}

impl Signed<'_> {
    fn canonical(&self, signed_headers: &[&str]) -> String {
        let path = self.uri.path();
        let path =
            if self.rules == Rules::S3 { encode(&decode(path), b"-._~/") } else { encode(path.as_bytes(), b"-._~/") };
        let mut text = format!("{}\n{path}\n{}\n", self.method, canonical_query(self.uri.query(), self.rules));
        for name in signed_headers {
            let values: Vec<String> = self
                .headers
                .get_all(*name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            let _ = writeln!(text, "{name}:{}", values.join(","));
        }
        let _ = write!(text, "\n{}\n{}", signed_headers.join(";"), self.hash);
        text
    }
}

/// The hash of a body as it is signed.
pub(crate) fn body_hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// Percent-encodes every byte but letters, digits and those in `kept`.
fn encode(bytes: &[u8], kept: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || kept.contains(byte) {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn decode(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

fn canonical_query(query: Option<&str>, rules: Rules) -> String {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<String> = match rules {
        Rules::Usual => {
            pairs.map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") }).collect()
        }
        Rules::S3 => pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(|(name, _)| *name != "X-Amz-Signature")
            .map(|(name, value)| [name, value].map(|part| encode(&decode(part), b"-._~")).join("="))
            .collect(),
    };
    pairs.sort();
    pairs.join("&")
}

fn keyed_hash(key: &[u8], text: &str) -> Vec<u8> {
    // A key of any length is good for HMAC, so that the empty answer cannot happen.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| mac.chain_update(text.as_bytes()).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn signature(uri: &str, service_headers: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in service_headers {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let names: Vec<&str> = headers.keys().map(axum::http::HeaderName::as_str).collect();
        let mut names = names;
        names.sort_unstable();
        let authorization = Authorization {
            access_key: "AKIDEXAMPLE",
            date: "20150830",
            region: "us-east-1",
            service: "service",
            signed_headers: names,
            signature: "",
        };
        let uri: Uri = uri.parse().unwrap();
        let request =
            Signed { method: &Method::GET, uri: &uri, headers: &headers, hash: &body_hash(b""), rules: Rules::Usual };
        authorization.expected(&request, "20150830T123600Z", SECRET)
    }

    /// `get-vanilla` and `get-vanilla-query-order-key-case` of AWS's Signature Version 4 test suite.
    #[test]
    fn signatures_equal_the_published_vectors() {
        let headers = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        assert_eq!(signature("/", &headers), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
        assert_eq!(
            signature("/?Param2=value2&Param1=value1", &headers),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
        );
    }

    #[test]
    fn an_encoded_path_is_encoded_again() {
        assert_eq!(encode(b"/model/a%3A0/converse", b"-._~/"), "/model/a%253A0/converse");
    }

    #[test]
    fn what_s3_is_asked_is_signed_as_aws_encodes_it() {
        let sent = "uploads&prefix=a/b%20c&X-Amz-Signature=00&partNumber=1";
        assert_eq!(canonical_query(Some(sent), Rules::S3), "partNumber=1&prefix=a%2Fb%20c&uploads=");
        assert_eq!(encode(&decode("/files/a(b)%2Fc"), b"-._~/"), "/files/a%28b%29/c");
    }

    #[test]
    fn a_header_without_its_parts_is_told_which_are_missing() {
        let told = Authorization::parse("AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request").unwrap_err();
        assert!(told.contains("'Signature'") && told.contains("'SignedHeaders'") && !told.contains("'Credential'"));
        assert!(Authorization::parse("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=h, Signature=s").is_err());
    }
}
