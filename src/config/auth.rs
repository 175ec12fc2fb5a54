//! `[auth]`: bootstrap administrators, issuers of tokens, and what secrets are sealed with.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{Problems, Secret};

/// `[auth]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// SHA-256, in 64 hex digits, of whole key strings (`bgw_<id>_<secret>`) that may administer without being in the store.
    /// Reloaded.
    pub admin_key_sha256: Vec<String>,
    /// Base64 of the 32 bytes under which the secrets of keys for signing, and of webhooks, are sealed in the store, as
    /// `openssl rand -base64 32` makes them. Empty: none can be made. Better set by environment than in a file.
    pub sealing_key: Secret,
    /// OIDC issuers whose tokens stand for keys. Reloaded.
    pub jwt: Vec<Jwt>,
}

/// `[[auth.jwt]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Jwt {
    /// The issuer's URL, exactly as its tokens have it in `iss`; http on a loopback address only. What tokens are signed
    /// with is discovered from there, kept, and fetched again when it changes.
    pub issuer: String,
    /// What tokens must have in `aud`.
    pub audience: String,
    /// The claim that names the team, by id or name.
    pub team_claim: String,
    /// The claim that says what the token is for: scopes, as a list or as words in one text. Empty: a token is for
    /// `inference` and `batch`.
    pub scopes_claim: String,
    /// What tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
}

/// An algorithm that tokens are signed with: <https://www.rfc-editor.org/rfc/rfc7518#section-3.1>. Those that anybody
/// who can check a token can make one with (HS256), and `none`, are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema, strum::Display)]
pub enum Algorithm {
    /// RSA, PKCS#1 v1.5, SHA-256.
    RS256,
    /// RSA, PKCS#1 v1.5, SHA-384.
    RS384,
    /// RSA, PKCS#1 v1.5, SHA-512.
    RS512,
    /// RSA, PSS, SHA-256.
    PS256,
    /// RSA, PSS, SHA-384.
    PS384,
    /// RSA, PSS, SHA-512.
    PS512,
    /// ECDSA on P-256, SHA-256.
    ES256,
    /// ECDSA on P-384, SHA-384.
    ES384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    #[strum(to_string = "EdDSA")]
    EdDsa,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            team_claim: "team".into(),
            scopes_claim: String::new(),
            algorithms: vec![Algorithm::RS256, Algorithm::ES256],
        }
    }
}

impl Auth {
    /// The 32 bytes of `sealing_key`; `None` when it is not set, or is no such key, which was told.
    pub fn sealing_bytes(&self) -> Option<[u8; 32]> {
        STANDARD.decode(self.sealing_key.expose().trim()).ok()?.try_into().ok()
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        for (index, hash) in self.admin_key_sha256.iter().enumerate() {
            if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
                let path = format!("auth.admin_key_sha256[{index}]");
                problems.add(path, "must be 64 hex digits: the SHA-256 of the key, not the key");
            }
        }
        if !self.sealing_key.expose().is_empty() && self.sealing_bytes().is_none() {
            problems.add("auth.sealing_key", "must be the base64 of 32 bytes, as `openssl rand -base64 32` makes them");
        }
        for (index, jwt) in self.jwt.iter().enumerate() {
            jwt.validate(&format!("auth.jwt[{index}]"), problems);
            let same = |other: &Jwt| (&other.issuer, &other.audience) == (&jwt.issuer, &jwt.audience);
            if self.jwt[..index].iter().any(same) {
                problems.add(format!("auth.jwt[{index}]"), "has the issuer and audience of one before it");
            }
        }
    }
}

impl Jwt {
    fn validate(&self, path: &str, problems: &mut Problems) {
        if !is_issuer(&self.issuer) {
            let message = "must be https://HOST[/PATH], without query or user; http:// on a loopback address only";
            problems.add(format!("{path}.issuer"), message);
        }
        for (key, text) in [("audience", &self.audience), ("team_claim", &self.team_claim)] {
            if text.trim().is_empty() {
                problems.add(format!("{path}.{key}"), "must not be empty");
            }
        }
        if self.algorithms.is_empty() {
            problems.add(format!("{path}.algorithms"), "must name at least one algorithm, such as \"RS256\"");
        }
    }
}

/// Whether it can be the URL of an issuer: <https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata>.
fn is_issuer(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        let is_bare = url.query().is_none() && url.fragment().is_none();
        is_bare && url.username().is_empty() && url.password().is_none() && travels_safely(&url)
    })
}

/// Whether what is fetched from there arrives as it was sent: over https, or from this machine.
pub fn travels_safely(url: &Url) -> bool {
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return false,
    };
    url.scheme() == "https" || url.scheme() == "http" && is_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_reached_over_https_or_on_this_machine() {
        for good in [
            "https://a.example",
            "https://a.example/realms/x/",
            "http://127.0.0.1:8080/x",
            "http://[::1]/",
            "http://localhost",
        ] {
            assert!(is_issuer(good), "{good}");
        }
        for bad in [
            "",
            "a.example",
            "http://a.example",
            "http://10.0.0.1",
            "https://a.example/?a=b",
            "https://u:p@a.example",
            "ftp://localhost",
        ] {
            assert!(!is_issuer(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_wrong_or_twice_is_told_and_the_sealing_key_never() {
        let jwt = Jwt { issuer: "https://a.example".into(), audience: "a".into(), ..Jwt::default() };
        let auth = Auth {
            sealing_key: Secret::new("c2hvcnQ="),
            jwt: vec![jwt.clone(), jwt.clone(), Jwt { algorithms: vec![], ..Jwt::default() }],
            ..Auth::default()
        };
        let mut problems = Problems::default();
        auth.validate(&mut problems);
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        let expected =
            ["auth.sealing_key", "auth.jwt[1]", "auth.jwt[2].issuer", "auth.jwt[2].audience", "auth.jwt[2].algorithms"];
        assert_eq!(paths, expected);
        assert!(!problems.to_string().contains("c2hvcnQ") && !format!("{auth:?}").contains("c2hvcnQ"));
        let good = Auth { sealing_key: Secret::new(STANDARD.encode([7; 32])), jwt: vec![jwt], ..Auth::default() };
        let mut problems = Problems::default();
        good.validate(&mut problems);
        assert!(problems.is_empty() && good.sealing_bytes() == Some([7; 32]), "{problems}");
    }
}
