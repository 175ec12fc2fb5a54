//! Assuming a role at STS: the session's name and tags, and what a refusal says about the credentials beneath.
//!
//! A session is named after its team, so that `CloudTrail` and the bill show whose a call was, and tagged with it, so that
//! policies can tell teams apart. The tags are not transitive: nothing is assumed from such a session.

use std::fmt;

use aws_credential_types::Credentials as Loaded;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_sts::config::IdentityCache;
use aws_sdk_sts::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::types::Tag;
use aws_types::SdkConfig;

use super::classify::http_date;
use super::credentials::Credentials;
use super::sign::Keys;
use super::time::AwsClock;
use crate::clock::Timestamp;

/// What STS says of credentials that have expired, were revoked or never were:
/// <https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>.
const REFUSED: [&str; 4] =
    ["ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"];
/// What it says when the time of the signature may be to blame.
const CLOCK: [&str; 4] =
    ["InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"];
/// The longest name of a session.
const NAME: usize = 64;
/// The longest value of a tag.
const TAG: usize = 256;

/// What a role is assumed as.
#[derive(Clone, Debug)]
pub(super) struct Session {
    name: String,
    tags: Vec<(&'static str, String)>,
}

impl Session {
    /// The gateway itself.
    pub(super) fn own() -> Self {
        Self { name: "bedrock-gateway".into(), tags: Vec::new() }
    }

    /// A team, by the id that never changes and the name that people know.
    pub(super) fn of_team(id: &str, name: &str) -> Self {
        Self { name: session_name(id, name), tags: vec![("team", tag_value(name)), ("team-id", tag_value(id))] }
    }
}

/// Where STS is, and how it is called.
#[derive(Clone)]
pub(super) struct Sts {
    pub(super) sdk: SdkConfig,
    /// From the configuration: goes before what the environment names.
    pub(super) url: Option<String>,
    pub(super) clock: AwsClock,
}

/// Credentials of a role, assumed with other credentials.
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) session: Session,
    /// Who assumes it.
    pub(super) base: Credentials,
    pub(super) sts: Sts,
}

impl Role {
    /// A new session. STS is asked once more when it refused `base` and there may be better ones, or our clock was wrong.
    async fn assume(&self) -> Result<Loaded, CredentialsError> {
        let mut repeated = false;
        loop {
            let at = self.sts.clock.now();
            let keys = self.base.keys(at).await.map_err(CredentialsError::provider_error)?;
            let refusal = match self.ask(&keys).await {
                Ok(credentials) => return Ok(credentials),
                Err(refusal) => refusal,
            };
            if repeated || !self.correct(&refusal, &keys, at) {
                return Err(self.told(refusal));
            }
            repeated = true;
        }
    }

    /// What STS said, in its own words: the SDK's would be those of a debugger.
    fn told(&self, refusal: SdkError<AssumeRoleError>) -> CredentialsError {
        match (refusal.code(), refusal.message()) {
            (Some(code), Some(message)) => {
                CredentialsError::provider_error(format!("{code}: {}", message.replace(&self.arn, "the role")))
            }
            _ => CredentialsError::provider_error(refusal),
        }
    }

    /// Whether the refusal had a cause that is now put right.
    fn correct(&self, refusal: &SdkError<AssumeRoleError>, keys: &Keys, signed_at: Timestamp) -> bool {
        let code = refusal.code().unwrap_or_default();
        if REFUSED.contains(&code) {
            return self.base.refused(keys, code);
        }
        let date = refusal.raw_response().and_then(|response| response.headers().get("date")).and_then(http_date);
        CLOCK.contains(&code) && date.is_some_and(|server| self.sts.clock.adopt(server, signed_at))
    }

    async fn ask(&self, keys: &Keys) -> Result<Loaded, SdkError<AssumeRoleError>> {
        let mut config = aws_sdk_sts::config::Builder::from(&self.sts.sdk)
            .credentials_provider(keys.to_sdk())
            .identity_cache(IdentityCache::no_cache());
        if let Some(url) = &self.sts.url {
            config = config.endpoint_url(url);
        }
        let tags = self.session.tags.iter().map(|(key, value)| Tag::builder().key(*key).value(value).build());
        let tags: Vec<Tag> = tags.collect::<Result<_, BuildError>>().map_err(SdkError::construction_failure)?;
        let call = aws_sdk_sts::Client::from_conf(config.build())
            .assume_role()
            .role_arn(&self.arn)
            .role_session_name(&self.session.name)
            .set_tags((!tags.is_empty()).then_some(tags));
        let answer = Box::pin(call.send()).await?;
        let missing = || SdkError::construction_failure("STS answered without credentials");
        let given = answer.credentials.ok_or_else(missing)?;
        let expiry = given.expiration.try_into().map_err(SdkError::construction_failure)?;
        Ok(Loaded::new(given.access_key_id, given.secret_access_key, Some(given.session_token), Some(expiry), "role"))
    }
}

impl ProvideCredentials for Role {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Role").field("session", &self.session).finish_non_exhaustive()
    }
}

/// As much of the team's name as there is room for beside its whole id, in the characters of a session's name,
/// `[\w+=,.@-]{2,64}`: <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>.
fn session_name(id: &str, name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) { c } else { '-' };
    let id: String = id.chars().map(safe).take(NAME).collect();
    let room = NAME.saturating_sub(id.len() + 1);
    let mut session: String = name.chars().map(safe).take(room).collect();
    if !session.is_empty() {
        session.push('.');
    }
    session.push_str(&id);
    session
}

/// The text in the characters of a tag's value: letters, digits, blanks and `_.:/=+-@`, and not AWS's own prefix.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html>
fn tag_value(text: &str) -> String {
    let safe = |c: char| if is_letter(c) || c.is_ascii_digit() || " _.:/=+-@".contains(c) { c } else { '_' };
    let value: String = text.chars().map(safe).take(TAG).collect();
    let is_reserved = value.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
    if is_reserved { value.replacen(':', "_", 1) } else { value }
}

/// Whether it is a letter of one of the scripts whose blocks hold nothing else. That is narrower than AWS's rule, which
/// goes by Unicode's categories: one character that AWS refuses would keep a team from its role.
fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic()
        || matches!(c, 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ɏ' | 'А'..='я' | 'ぁ'..='ゖ' | 'ァ'..='ヺ' | '一'..='鿋' | '가'..='힣')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_after_its_team_within_the_rules_of_sts() {
        let id = "team_0190a0b0c0d0e0f00190a0b0c0d0e0f0";
        for (name, expected) in [
            ("data-science", format!("data-science.{id}")),
            ("Data & Analytics (équipe 7)", format!("Data---Analytics---quipe-7.{id}")),
            (&"x".repeat(64), format!("{}.{id}", "x".repeat(26))),
            ("", id.to_owned()),
        ] {
            let session = session_name(id, name);
            assert_eq!(session, expected);
            assert!((2..=64).contains(&session.len()));
        }
        assert_eq!(session_name(&"y".repeat(80), "name").len(), 64);
    }

    #[test]
    fn tags_keep_to_the_characters_that_aws_takes() {
        for (name, tag) in [
            ("Data & Analytics", "Data _ Analytics"),
            ("équipe 7 – 研究", "équipe 7 _ 研究"),
            ("a/b:c=d+e-f@g_h.i", "a/b:c=d+e-f@g_h.i"),
            ("AWS:team", "AWS_team"),
            ("aws", "aws"),
            ("ⓐ × ͅ (\"x\")", "_ _ _ __x__"),
        ] {
            assert_eq!(tag_value(name), tag);
        }
    }
}
