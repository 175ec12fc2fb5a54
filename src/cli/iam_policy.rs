//! `iam-policy`: the least that AWS has to allow, as JSON on standard output.

use clap::Args;

use super::{ConfigFile, Failure, print, warn};
use crate::clock::Clock;
use crate::config::Config;
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
    #[arg(long, value_name = "ARNS", value_delimiter = ',')]
    team_roles: Vec<String>,
    /// The KMS key that encrypts the buckets, by ARN, if it is not S3's own.
    #[arg(long, value_name = "ARN")]
    kms_key: Option<String>,
    /// The identity that takes the gateway's role, by ARN; else `${BASE_IDENTITY_ARN}` has to be replaced.
    #[arg(long, value_name = "ARN")]
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
