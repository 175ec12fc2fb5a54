//! `[auth]`: bootstrap administrators, and issuers of tokens.

use serde::Deserialize;

use super::Problems;

/// `[auth]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// SHA-256, in hex, of whole key strings that may administer without being in the store.
    pub admin_key_sha256: Vec<String>,
    /// OIDC issuers whose tokens stand for keys.
    pub jwt: Vec<Jwt>,
}

/// `[[auth.jwt]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jwt {
    /// The issuer's URL.
    pub issuer: String,
    /// What the token must be meant for.
    pub audience: String,
    /// The claim that names the team.
    pub team_claim: String,
}

impl Default for Jwt {
    fn default() -> Self {
        Self { issuer: String::new(), audience: String::new(), team_claim: "team".into() }
    }
}

impl Auth {
    pub(super) fn validate(&self, problems: &mut Problems) {
        for (index, hash) in self.admin_key_sha256.iter().enumerate() {
            if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
                let path = format!("auth.admin_key_sha256[{index}]");
                problems.add(path, "must be 64 hex digits: the SHA-256 of the key, not the key");
            }
        }
        if !self.jwt.is_empty() {
            problems.add_unsupported("auth.jwt");
        }
    }
}
