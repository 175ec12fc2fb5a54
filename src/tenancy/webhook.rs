//! A team's webhook: where messages about its batches go, and the secret that they are signed with, by Standard Webhooks
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//!
//! The gateway makes the secret, shows it once, and keeps it sealed; it is opened for one signature at a time and leaves
//! this module as nothing else. After a rotation messages carry the signatures of both secrets for a while, so that a
//! receiver misses none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use sqlx::AnyConnection;
use url::Url;

use super::queries;
use super::sealed::Sealer;
use super::team::Team;
use crate::clock::Timestamp;
use crate::config::Secret;
use crate::error::{Error, Kind, Result};
use crate::ids::TeamId;

/// How the text of a secret begins.
const PREFIX: &str = "whsec_";
/// Bytes of a secret; the specification asks for 24 to 64.
const SECRET_BYTES: usize = 32;
/// The longest URL.
const MAX_URL: usize = 2048;

/// Where messages go, and what they are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The receiver.
    pub url: String,
    /// The secret, sealed for its team.
    pub(super) sealed: String,
    /// The one before, while it counts.
    pub(super) previous: Option<Previous>,
}

/// The secret before the last rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) sealed: String,
    pub(super) until: Timestamp,
}

impl Webhook {
    /// Until when messages are signed with the secret before as well.
    pub fn previous_until(&self) -> Option<Timestamp> {
        self.previous.as_ref().map(|previous| previous.until)
    }

    /// The header `webhook-signature` of a message to `team`: one signature, or two after a rotation. `None` when the
    /// secret was sealed under another `auth.sealing_key`.
    pub fn sign(&self, team: &TeamId, sealer: &Sealer, message: &Message<'_>) -> Option<String> {
        let current = sealer.open(&bound(team), &self.sealed)?;
        let mut signatures = signature(&current, message)?;
        let before = self.previous.as_ref().filter(|previous| previous.until > message.at);
        if let Some(before) = before.and_then(|previous| sealer.open(&bound(team), &previous.sealed)) {
            signatures = format!("{signatures} {}", signature(&before, message)?);
        }
        Some(signatures)
    }

    /// With another secret; the one until now counts until `until` as well.
    pub(super) fn rotated(&self, team: &TeamId, new: &NewSecret, until: Timestamp) -> Result<Self> {
        let previous = Some(Previous { sealed: self.sealed.clone(), until });
        Ok(Self { url: self.url.clone(), sealed: new.sealed_for(team)?, previous })
    }
}

/// Where messages about the batches of `team` go now, if anywhere: asked within a transaction of who ends a batch.
pub async fn webhook_url(connection: &mut AnyConnection, team: &TeamId) -> Result<Option<String>> {
    queries::webhook_url(connection, team).await
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The header `webhook-id`.
    pub id: &'a str,
    /// The header `webhook-timestamp`, which has its seconds.
    pub at: Timestamp,
    /// The body.
    pub body: &'a str,
}

/// A secret that was just made, and what it is to be sealed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSecret {
    secret: Secret,
    sealer: Sealer,
}

impl NewSecret {
    /// Makes one.
    ///
    /// # Errors
    /// [`Kind::Unsupported`], naming `auth.sealing_key`, without a sealer.
    pub fn make(sealer: Option<&Sealer>) -> Result<Self> {
        let sealer = sealer.cloned().ok_or_else(|| {
            let message = "A webhook needs the setting auth.sealing_key, under which its secret is kept: the base64 of 32 \
                           bytes, as `openssl rand -base64 32` makes them, the same for every process.";
            Error::new(Kind::Unsupported, message).param("webhook_url")
        })?;
        let mut bytes = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(Error::internal)?;
        Ok(Self { secret: Secret::new(format!("{PREFIX}{}", STANDARD.encode(bytes))), sealer })
    }

    /// The text to show, this once, if this became the secret of `team`.
    pub fn shown_for(&self, team: &Team) -> Option<&str> {
        let kept = self.sealer.open(&bound(&team.id), &team.webhook.as_ref()?.sealed)?;
        (kept == self.secret).then(|| self.secret.expose())
    }

    fn sealed_for(&self, team: &TeamId) -> Result<String> {
        self.sealer.seal(&bound(team), self.secret.expose())
    }
}

/// A URL for a team's webhook, and the secret for a team that has none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWebhook {
    /// Whether it may be called is for who takes it in to check.
    pub url: String,
    /// Kept only where there was no webhook before.
    pub secret: NewSecret,
}

impl NewWebhook {
    /// The webhook of `team`, which had `before`.
    pub(super) fn kept(self, team: &TeamId, before: Option<&Webhook>) -> Result<Webhook> {
        let url = check_url("webhook_url", self.url)?;
        Ok(match before {
            Some(before) => Webhook { url, ..before.clone() },
            None => Webhook { url, sealed: self.secret.sealed_for(team)?, previous: None },
        })
    }
}

/// A URL that can be kept. Fails with [`Kind::Invalid`].
fn check_url(field: &str, url: String) -> Result<String> {
    if url.len() > MAX_URL || url.chars().any(char::is_control) || Url::parse(&url).is_err() {
        let told = format!("`{field}` has to be a URL such as https://example.com/hook, at most {MAX_URL} bytes long.");
        return Err(Error::invalid(field, told));
    }
    Ok(url)
}

/// What a team's secret is bound to, apart from the ids of keys.
fn bound(team: &TeamId) -> String {
    format!("webhook:{team}")
}

/// `v1,` and the base64 of the HMAC over id, second and body.
fn signature(secret: &Secret, message: &Message<'_>) -> Option<String> {
    let key = STANDARD.decode(secret.expose().strip_prefix(PREFIX)?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{}.{}.", message.id, message.at.seconds()).as_bytes());
    mac.update(message.body.as_bytes());
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn sealer(byte: u8) -> Sealer {
        let sealing_key = Secret::new(STANDARD.encode([byte; 32]));
        Sealer::configured(&config::Auth { sealing_key, ..config::Auth::default() }).unwrap()
    }

    fn message(at: i64) -> Message<'static> {
        let body = r#"{"test": 2432232314}"#;
        Message { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", at: Timestamp::from_millis(at), body }
    }

    /// The example that the libraries of Standard Webhooks are tested with.
    #[test]
    fn a_signature_is_that_of_the_specifications_example() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed = signature(&secret, &message(1_614_265_330_999)).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn after_a_rotation_both_secrets_sign_until_the_first_is_over() {
        let (team, sealer) = (TeamId::from("team_1"), sealer(1));
        let new = || NewSecret::make(Some(&sealer)).unwrap();
        let (first, second) = (new(), new());
        let made = NewWebhook { url: "https://example.com/".into(), secret: first.clone() }.kept(&team, None).unwrap();
        let alone = |secret: &NewSecret, at| signature(&secret.secret, &message(at)).unwrap();
        assert_eq!(made.sign(&team, &sealer, &message(0)).unwrap(), alone(&first, 0));
        let rotated = made.rotated(&team, &second, Timestamp::from_millis(5_000)).unwrap();
        let both = format!("{} {}", alone(&second, 4_000), alone(&first, 4_000));
        assert_eq!(rotated.sign(&team, &sealer, &message(4_000)).unwrap(), both);
        assert_eq!(rotated.sign(&team, &sealer, &message(5_000)).unwrap(), alone(&second, 5_000));
        let moved = NewWebhook { url: "https://example.net/".into(), secret: new() }.kept(&team, Some(&made)).unwrap();
        assert_eq!(moved.sign(&team, &sealer, &message(0)), made.sign(&team, &sealer, &message(0)));
    }

    #[test]
    fn a_secret_opens_for_its_own_team_under_its_own_setting_and_shows_in_no_debug() {
        let (team, sealer) = (TeamId::from("team_1"), sealer(1));
        let new = NewWebhook { url: "https://example.com/".into(), secret: NewSecret::make(Some(&sealer)).unwrap() };
        let text = new.secret.secret.expose().to_owned();
        assert!(!format!("{new:?}").contains(&text));
        let made = new.kept(&team, None).unwrap();
        assert!(made.sign(&TeamId::from("team_2"), &sealer, &message(0)).is_none());
        assert!(made.sign(&team, &super::tests::sealer(2), &message(0)).is_none());
        assert!(!format!("{made:?}").contains(&text[PREFIX.len()..]));
        assert!(NewSecret::make(None).unwrap_err().message().contains("auth.sealing_key"));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for bad in ["", "example.com/hook", "https://", "https://example.com/\n", "https://example.com/\0"] {
            assert_eq!(check_url("webhook_url", bad.into()).unwrap_err().blamed(), Some("webhook_url"), "{bad:?}");
        }
        assert!(check_url("webhook_url", format!("https://example.com/{}", "a".repeat(MAX_URL))).is_err());
    }
}
