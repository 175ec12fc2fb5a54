//! Teams: who pays.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use strum::VariantNames as _;
use utoipa::ToSchema;

use super::allow_list::AllowList;
use super::budget::UnknownPrice;
use super::carried;
use super::webhook::{NewWebhook, Webhook};
use crate::catalog::Geography;
use crate::clock::Timestamp;
use crate::config;
use crate::error::{Error, Result};
use crate::ids::TeamId;

/// A team, as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// Its id.
    pub id: TeamId,
    /// Its name, unique among teams.
    pub name: String,
    /// The models that its keys may use at most.
    pub models: AllowList,
    /// The Regions that its calls may go to.
    pub regions: AllowList,
    /// The geography that its calls may not leave; `None`: anywhere.
    pub geography: Option<Geography>,
    /// The AWS role that its calls are made with; `None`: the gateway's own identity.
    pub role: Option<RoleArn>,
    /// The guardrail that every call on a model carries; `None`: whatever the caller asks for.
    pub guardrail: Option<Guardrail>,
    /// What every call on a model tells AWS's invocation log.
    pub request_metadata: BTreeMap<String, String>,
    /// The application inference profile that a model is called through, by ARN, so that its cost shows on the AWS bill.
    pub profiles: BTreeMap<String, String>,
    /// What becomes of calls whose price is not known, where a budget would have to pay for them.
    pub unknown_price: UnknownPrice,
    /// Who is told of its batches; `None`: nobody.
    pub webhook: Option<Webhook>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when all its keys are refused, if they are.
    pub revoked_at: Option<Timestamp>,
    /// The version of tenancy that its last change made.
    pub version: i64,
}

/// A guardrail of Amazon Bedrock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct Guardrail {
    /// Its id or ARN.
    pub id: String,
    /// A number, or `DRAFT`.
    pub version: String,
}

/// What it takes to make a team.
#[derive(Clone, Debug, Default)]
pub struct NewTeam {
    /// 1 to 64 printable characters, unique among teams.
    pub name: String,
    /// Allowed models; `None`: every model.
    pub models: Option<Vec<String>>,
    /// Allowed Regions; `None`: every Region.
    pub regions: Option<Vec<String>>,
    /// A geography that calls may not leave, such as `eu`; `None`: anywhere.
    pub geography: Option<String>,
    /// The ARN of an IAM role that calls are made with; `None`: the gateway's own identity.
    pub role_arn: Option<String>,
    /// The guardrail that every call on a model carries; `None`: whatever the caller asks for.
    pub guardrail: Option<Guardrail>,
    /// What every call tells AWS's invocation log: at most 16 entries, as Converse takes them.
    pub request_metadata: BTreeMap<String, String>,
    /// ARNs of application inference profiles, by model.
    pub profiles: BTreeMap<String, String>,
    /// `refuse` (`None`) or `allow_unpriced`.
    pub unknown_price: Option<String>,
    /// Who is told of its batches; `None`: nobody.
    pub webhook: Option<NewWebhook>,
}

/// The ARN of an IAM role. `Debug` does not show it: it names an account.
#[derive(Clone, PartialEq, Eq)]
pub struct RoleArn(Box<str>);

impl RoleArn {
    /// Takes a text that is built as AWS builds the ARNs of roles; fails with [`crate::error::Kind::Invalid`].
    pub(super) fn parse(field: &str, arn: &str) -> Result<Self> {
        if config::role_partition(arn).is_none() {
            return Err(Error::invalid(field, format!("`{field}` {}.", config::NOT_A_ROLE_ARN)));
        }
        Ok(Self(arn.into()))
    }

    /// The whole ARN, for AWS and for administrators.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoleArn(..)")
    }
}

impl NewTeam {
    /// A team that may use every model in every Region.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The team, or which field keeps it from being one.
    pub(super) fn check(self, id: TeamId, now: Timestamp) -> Result<Team> {
        check_name(&self.name)?;
        let webhook = self.webhook.map(|new| new.kept(&id, None)).transpose()?;
        Ok(Team {
            id,
            name: self.name,
            models: AllowList::models("models", self.models)?,
            regions: AllowList::regions("regions", self.regions)?,
            geography: self.geography.map(|name| Geography::parse("geography", &name)).transpose()?,
            role: self.role_arn.map(|arn| RoleArn::parse("role_arn", &arn)).transpose()?,
            guardrail: self.guardrail.map(|new| carried::guardrail("guardrail", new)).transpose()?,
            request_metadata: carried::metadata("request_metadata", self.request_metadata)?,
            profiles: carried::profiles("profiles", self.profiles)?,
            unknown_price: self.unknown_price.map(|text| unknown_price(&text)).transpose()?.unwrap_or_default(),
            webhook,
            created_at: now,
            revoked_at: None,
            version: 0,
        })
    }
}

/// `refuse` or `allow_unpriced`. Fails with [`crate::error::Kind::Invalid`].
pub(super) fn unknown_price(text: &str) -> Result<UnknownPrice> {
    let told = UnknownPrice::VARIANTS.join("` or `");
    text.parse().map_err(|_| Error::invalid("unknown_price", format!("`unknown_price` has to be `{told}`.")))
}

/// Names of teams and keys: shown in tables, logs and metric labels, so nothing invisible and nothing long.
pub(super) fn check_name(name: &str) -> Result<()> {
    let length = name.chars().count();
    let visible = !name.chars().any(|c| c.is_control() || is_invisible(c));
    if (1..=64).contains(&length) && visible && name.trim() == name {
        return Ok(());
    }
    Err(Error::invalid("name", "`name` must be 1 to 64 printable characters, without blanks at its ends."))
}

/// Characters that change how the rest reads without showing themselves: zero-width and bidirectional marks, line
/// separators, the byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_and_geography_are_told_by_their_build_and_the_role_does_not_show() {
        let check = |new: NewTeam| new.check(TeamId::from("team_1"), Timestamp::default());
        let new = |geography: &str, role: &str| NewTeam {
            geography: Some(geography.into()),
            role_arn: Some(role.into()),
            ..NewTeam::new("a")
        };
        let role = "arn:aws:iam::000000000000:role/tenant";
        let team = check(new("us-gov", role)).unwrap();
        assert_eq!((team.geography, team.role.as_ref().unwrap().as_str()), (Some(Geography::UsGov), role));
        assert!(!format!("{team:?}").contains("tenant"));
        for (new, blamed) in [
            (new("europe", role), "geography"),
            (new("", role), "geography"),
            (new("eu", ""), "role_arn"),
            (new("eu", "arn:aws:iam::000000000000:user/tenant"), "role_arn"),
        ] {
            let error = check(new).unwrap_err();
            assert_eq!(error.blamed(), Some(blamed));
            assert!(!error.message().contains("000000000000"), "{error}");
        }
    }

    #[test]
    fn a_name_is_short_and_visible() {
        for good in ["a", "Data & Analytics", "équipe 7", &"x".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", " ", " a", "a\n", "a\u{0}b", "a\u{202e}b", &"x".repeat(65)] {
            assert_eq!(check_name(bad).unwrap_err().blamed(), Some("name"), "{bad:?}");
        }
    }
}
