//! The least that AWS has to allow for a configuration to work, as policies that IAM and S3 take.
//!
//! Pure: it reads the configuration and the catalog and asks AWS nothing. What is granted is what this gateway calls, on
//! what it calls it on; a wildcard stands only where the service has no resource, where the resource's name is made by
//! AWS or a caller, or where a condition already says the same. Every document is within IAM's limit of characters.

mod batch;
mod caller;
mod document;
mod reach;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::catalog::Catalog;
use crate::config::Config;
use crate::error::Result;

pub use document::{Document, Effect, LIMIT, Principal, Statement};

/// The account that the gateway calls models in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account(Option<String>);

impl Account {
    /// Stands where the account has to be filled in. IAM refuses a policy that still has it.
    pub const PLACEHOLDER: &'static str = "${ACCOUNT}";

    /// The account of these twelve digits; `None` for a text that is something else.
    pub fn of(id: &str) -> Option<Self> {
        (id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit())).then(|| Self(Some(id.to_owned())))
    }

    /// Not known: the placeholder stands for it.
    pub const fn unknown() -> Self {
        Self(None)
    }

    /// That of `aws.role_arn`, as which calls are made, or of `batch.role_arn`, which cannot be another account's.
    pub fn configured(config: &Config) -> Option<Self> {
        let roles = [&config.aws.role_arn, &config.batch.role_arn];
        roles.into_iter().find_map(|arn| arn.split(':').nth(4).and_then(Self::of))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or(Self::PLACEHOLDER))
    }
}

/// Which models are to be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All that can be called in the configured Regions.
    Everything,
    /// Those that the configuration has another name for.
    Aliases,
    /// These, by any name that the gateway takes.
    Named(Vec<String>),
}

/// Through which inference profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profiles {
    /// The one that the gateway chooses in each Region, and those that aliases name.
    Chosen,
    /// Every one that a caller may name.
    Every,
}

/// What the policies are for, besides the configuration.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose models, jobs and invocations.
    pub account: Account,
    /// Which models.
    pub selection: Selection,
    /// Through which profiles.
    pub profiles: Profiles,
    /// The roles that teams have, by ARN.
    pub team_roles: Vec<String>,
    /// The application inference profiles that teams have, by ARN: those whose calls are made with this identity.
    pub team_profiles: Vec<String>,
    /// The guardrails that teams have, by ARN, where they are of another account.
    pub team_guardrails: Vec<String>,
    /// The key that encrypts the buckets, by ARN, if it is not S3's own.
    pub kms_key: Option<String>,
    /// The identity that the role of the gateway trusts, by ARN.
    pub base: Option<String>,
}

/// The policies by name, for who attaches them.
type Named = BTreeMap<String, Document>;

/// Everything to set up. Parts that a configuration does not need are not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policies {
    /// What to replace before use: the placeholder, and what belongs there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub replace: BTreeMap<&'static str, &'static str>,
    /// For the identity that calls AWS: `aws.role_arn` if it is set, else the one of the AWS chain.
    pub caller: Named,
    /// With `aws.role_arn`: who may take that role. The role's trust policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_trust: Option<Document>,
    /// With a role to take, of the gateway or of a team: for the identity of the AWS chain.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub base: Named,
    /// For the role that Bedrock takes to read and write the files of batch jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_role: Option<BatchRole>,
    /// The policy of each bucket, by its name.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub bucket: Named,
    /// For the identity that runs `doctor`, besides `caller`: it looks, and changes nothing.
    pub doctor: Named,
}

/// The role of `batch.role_arn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BatchRole {
    /// What it may do.
    pub permissions: Named,
    /// Who may take it: Bedrock, for this account's jobs.
    pub trust: Document,
}

const BASE_PLACEHOLDER: &str = "${BASE_IDENTITY_ARN}";

impl Policies {
    /// The policies for this configuration.
    ///
    /// # Errors
    /// `ModelNotFound` for a selected model that is not known, or is not offered in the configured Regions.
    pub fn new(config: &Config, catalog: &Catalog, request: &Request) -> Result<Self> {
        let sources = reach::Sources::new(config, catalog, &request.account);
        let mut reach = sources.reach(&request.selection, request.profiles)?;
        reach.add_team_profiles(&request.team_profiles);
        let scope = Scope { config, catalog, request };
        let has_role = !config.aws.role_arn.is_empty();
        let caller_trust = has_role.then(|| caller::trust(request.base.as_deref().unwrap_or(BASE_PLACEHOLDER)));
        let mut replace = BTreeMap::new();
        if request.account == Account::unknown() {
            replace.insert(Account::PLACEHOLDER, "the twelve digits of the AWS account");
        }
        if caller_trust.is_some() && request.base.is_none() {
            replace.insert(BASE_PLACEHOLDER, "the ARN of the role or user that the gateway runs as");
        }
        Ok(Self {
            replace,
            caller: numbered("bedrock-gateway", caller::statements(&scope, &reach)),
            caller_trust,
            base: numbered("bedrock-gateway-base", caller::base(config, &request.team_roles)),
            batch_role: batch::role(&scope, &reach),
            bucket: batch::buckets(&scope),
            doctor: numbered("bedrock-gateway-doctor", caller::doctor(&scope)),
        })
    }
}

/// What the parts are made for.
struct Scope<'a> {
    config: &'a Config,
    catalog: &'a Catalog,
    request: &'a Request,
}

impl Scope<'_> {
    fn partition(&self, region: &str) -> &str {
        partition(self.catalog, region)
    }

    /// Where the gateway keeps files: Region and bucket.
    fn buckets(&self) -> impl Iterator<Item = (&str, &str)> {
        let regions = &self.config.aws.regions;
        let buckets = self.config.batch.bucket.iter().filter(|(region, _)| regions.contains(region));
        buckets.map(|(region, bucket)| (region.as_str(), bucket.as_str()))
    }

    /// `arn:aws:s3:::bucket`.
    fn bucket_arn(&self, region: &str, bucket: &str) -> String {
        format!("arn:{}:s3:::{bucket}", self.partition(region))
    }

    /// The keys below the configured prefix.
    fn keys(&self) -> String {
        format!("{}/*", self.config.batch.prefix.trim_end_matches('/'))
    }

    /// `arn:aws:bedrock:REGION:ACCOUNT:resource`.
    fn bedrock(&self, region: &str, resource: &str) -> String {
        format!("arn:{}:bedrock:{region}:{}:{resource}", self.partition(region), self.request.account)
    }

    /// The role that Bedrock takes, if there are buckets for it to use.
    fn batch_role(&self) -> Option<&str> {
        let arn = self.config.batch.role_arn.as_str();
        (!arn.is_empty() && self.buckets().next().is_some()).then_some(arn)
    }
}

fn partition<'c>(catalog: &'c Catalog, region: &str) -> &'c str {
    catalog.region(region).map_or("aws", |region| &region.partition)
}

/// Packed, and named by number where there is more than one.
fn numbered(name: &str, statements: Vec<Statement>) -> Named {
    let documents = document::pack(statements);
    let count = documents.len();
    let name = |index: usize| if count == 1 { name.to_owned() } else { format!("{name}-{}", index + 1) };
    documents.into_iter().enumerate().map(|(index, document)| (name(index), document)).collect()
}

#[cfg(test)]
mod tests;
