//! `iam-policy`: the least that AWS has to allow, as JSON on standard output.

use clap::Args;

use super::{ConfigFile, Failure, print, warn};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::doctor;
use crate::error::Error;
use crate::policy::{Account, Policies, Profiles, Request, Selection};

/// A role has no more managed policies than this, unless AWS raised the quota.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const ATTACHED: usize = 10;

/// Print the least that AWS has to allow, as IAM policies.
///
/// JSON with one policy document per name: `caller` for the identity that calls AWS, `caller_trust` and `base` where a role
/// is taken, `batch_role`, `bucket`, and `doctor` for who runs that command.
#[derive(Debug, Args)]
pub(super) struct IamPolicy {
    #[command(flatten)]
    config: ConfigFile,
    /// The AWS account. Without it: that of the configured roles, else that of the AWS credentials that are there, else
    /// `${ACCOUNT}`, to be replaced.
    #[arg(long, value_name = "ID", value_parser = account)]
    account: Option<Account>,
    /// Only these models, by any name that the gateway takes.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    models: Vec<String>,
    /// Only the models of the configuration's aliases.
    #[arg(long, conflicts_with = "models")]
    aliases_only: bool,
    /// Also every inference profile that a caller may name, not only the one that the gateway chooses in each Region.
    #[arg(long)]
    every_profile: bool,
    /// Roles of teams that the gateway takes, by ARN.
    #[arg(long, value_name = "ARNS", value_delimiter = ',', value_parser = role)]
    team_roles: Vec<String>,
    /// Application inference profiles that teams have, by ARN: those of teams without a role of their own.
    #[arg(long, value_name = "ARNS", value_delimiter = ',', value_parser = team_profile)]
    team_profiles: Vec<String>,
    /// Guardrails that teams have in other accounts, by ARN; those of the account are allowed anyway.
    #[arg(long, value_name = "ARNS", value_delimiter = ',', value_parser = guardrail)]
    team_guardrails: Vec<String>,
    /// The KMS key that encrypts the buckets, by ARN, if it is not S3's own.
    #[arg(long, value_name = "ARN", value_parser = key)]
    kms_key: Option<String>,
    /// The identity that takes the gateway's role, by ARN; else `${BASE_IDENTITY_ARN}` has to be replaced.
    #[arg(long, value_name = "ARN", value_parser = identity)]
    base_identity: Option<String>,
}

impl IamPolicy {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (config, catalog) = self.config.load()?;
        let account = match self.account.or_else(|| Account::configured(&config)) {
            Some(account) => account,
            None => asked(&config).await.unwrap_or(Account::unknown()),
        };
        let request = Request {
            account,
            selection: match (self.aliases_only, self.models) {
                (true, _) => Selection::Aliases,
                (false, names) if names.is_empty() => Selection::Everything,
                (false, names) => Selection::Named(names),
            },
            profiles: if self.every_profile { Profiles::Every } else { Profiles::Chosen },
            team_roles: self.team_roles,
            team_profiles: self.team_profiles,
            team_guardrails: self.team_guardrails,
            kms_key: self.kms_key,
            base: self.base_identity,
        };
        let policies = Policies::new(&config, &catalog, &request)?;
        for (placeholder, meaning) in &policies.replace {
            warn(&format_args!("replace {placeholder}: {meaning}"));
        }
        if policies.caller.len() > ATTACHED {
            warn(&format_args!(
                "{} policies for the caller, but a role takes {ATTACHED} unless AWS raises the quota; allow fewer models by \
                 --models or --aliases-only, or configure fewer Regions",
                policies.caller.len()
            ));
        }
        print(&serde_json::to_string_pretty(&policies).map_err(Error::internal)?)
    }
}

/// The account of the credentials that are there, if there are any.
async fn asked(config: &Config) -> Option<Account> {
    Account::of(&Box::pin(doctor::account(config, &Clock::system())).await?)
}

fn account(text: &str) -> Result<Account, &'static str> {
    Account::of(text).ok_or("an account has twelve digits")
}

fn role(arn: &str) -> Result<String, String> {
    config::role_partition(arn).map(|_| arn.to_owned()).ok_or_else(|| config::NOT_A_ROLE_ARN.to_owned())
}

fn team_profile(arn: &str) -> Result<String, &'static str> {
    in_bedrock(arn, "application-inference-profile").ok_or(
        "is not the ARN of an application inference profile; one looks like \
         arn:aws:bedrock:REGION:123456789012:application-inference-profile/ID",
    )
}

fn guardrail(arn: &str) -> Result<String, &'static str> {
    in_bedrock(arn, "guardrail")
        .ok_or("is not the ARN of a guardrail; one looks like arn:aws:bedrock:REGION:123456789012:guardrail/ID")
}

/// The ARN, if it is one of this kind of resource.
fn in_bedrock(arn: &str, kind: &str) -> Option<String> {
    let is_one =
        parts(arn).is_some_and(|(service, region, of)| service == "bedrock" && !region.is_empty() && of == kind);
    is_one.then(|| arn.to_owned())
}

/// What is no key would be a policy that IAM refuses, or one that allows nothing.
fn key(arn: &str) -> Result<String, &'static str> {
    let is_key =
        parts(arn).is_some_and(|(service, region, kind)| service == "kms" && !region.is_empty() && kind == "key");
    is_key
        .then(|| arn.to_owned())
        .ok_or("is not the ARN of a key; one looks like arn:aws:kms:REGION:123456789012:key/ID")
}

/// Whom a trust policy may name: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>
fn identity(arn: &str) -> Result<String, &'static str> {
    let is_identity = parts(arn).is_some_and(|(service, region, kind)| {
        region.is_empty()
            && matches!((service, kind), ("iam", "role" | "user" | "root") | ("sts", "assumed-role" | "federated-user"))
    });
    is_identity
        .then(|| arn.to_owned())
        .ok_or("is not the ARN of a role, user or account; one looks like arn:aws:iam::123456789012:role/NAME")
}

/// Service, Region and kind of what an ARN of an account names. Nothing that is a pattern, or ends early.
fn parts(arn: &str) -> Option<(&str, &str, &str)> {
    let is_plain = arn.bytes().all(|b| b.is_ascii_graphic() && !b"*?$\"\\".contains(&b));
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (begin, partition, service, region, account, resource) = (next(), next(), next(), next(), next(), next());
    let (kind, name) = resource.split_once('/').unwrap_or((resource, ""));
    let is_whole = begin == "arn" && partition.starts_with("aws") && Account::of(account).is_some();
    (is_plain && is_whole && (kind == "root" || !name.is_empty())).then_some((service, region, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_that_a_policy_cannot_have_is_refused() {
        let profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1";
        assert_eq!(team_profile(profile).as_deref(), Ok(profile));
        for bad in ["", "a1", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/*"] {
            assert!(team_profile(bad).is_err() && guardrail(bad).is_err(), "{bad}");
        }
        assert!(guardrail(profile).is_err());
        for good in [
            "arn:aws:kms:us-east-1:123456789012:key/1234abcd",
            "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-1",
        ] {
            assert_eq!(key(good).as_deref(), Ok(good));
        }
        for good in [
            "arn:aws:iam::123456789012:role/path/pod",
            "arn:aws-us-gov:iam::123456789012:user/me",
            "arn:aws:iam::123456789012:root",
            "arn:aws:sts::123456789012:assumed-role/pod/session",
        ] {
            assert_eq!(identity(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "x",
            "*",
            "arn:aws:iam::123456789012:role/*",
            "arn:aws:iam::12:role/x",
            "arn:aws:iam::123456789012:role/",
        ] {
            assert!((key(bad).is_err(), identity(bad).is_err(), role(bad).is_err()) == (true, true, true), "{bad}");
        }
        assert!(key("arn:aws:kms:us-east-1:123456789012:alias/x").is_err());
        assert!(role("arn:aws:iam::123456789012:user/x").is_err());
    }
}
