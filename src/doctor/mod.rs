//! What a configuration needs of AWS, tried: one [`Check`] for each thing, with what to do where it is not as it should be.
//!
//! Nothing is changed, nothing that costs money is called unless that is asked for, and nothing takes longer than
//! `PATIENCE`: what does not answer is told as such. Checks run side by side and are told in an order that does not
//! depend on who answers first. No secret, no ARN and, unless asked for, no whole account id is in a check.

mod batch;
mod bucket;
mod identity;
mod models;
mod profiles;
mod regions;
mod role;
mod shared;
mod store;
mod teams;

use std::time::Duration;

use futures_util::future::join3;
use serde::Serialize;
use tokio_util::task::TaskTracker;

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{Config, Problems};
use crate::upstream::{Unreachable, Upstream};

/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long asking who calls may take: all else waits for the answer.
const PATIENCE_FOR_IDENTITY: Duration = Duration::from_secs(5);
/// How many checks of one group run side by side.
const AT_ONCE: usize = 32;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// It works, but not as one would wish; or it could not be seen whether it does.
    Warning,
    /// It does not work.
    Failed,
    /// Not looked at, because of the configuration or of another check.
    Skipped,
}

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Group {
    /// The settings themselves.
    Configuration,
    /// Who calls AWS, and what time it is.
    Identity,
    /// The database.
    Store,
    /// What limits and budgets are shared through.
    Shared,
    /// Whether AWS is reachable.
    Regions,
    /// Whether models can be called.
    Models,
    /// Whether the roles of teams can be taken.
    Teams,
    /// Whether files and jobs work.
    Batch,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is about.
    pub group: Group,
    /// What was looked at, such as `fast in us-east-1`.
    pub subject: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub found: String,
    /// What to do; none where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    fn new(group: Group, subject: impl Into<String>, outcome: Outcome, found: impl Into<String>) -> Self {
        Self { group, subject: subject.into(), outcome, found: found.into(), remedy: None }
    }

    fn ok(group: Group, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(group, subject, Outcome::Ok, found)
    }

    fn skipped(group: Group, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(group, subject, Outcome::Skipped, found)
    }

    fn warning(group: Group, subject: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(group, subject, Outcome::Warning, found).with(remedy)
    }

    fn failed(group: Group, subject: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(group, subject, Outcome::Failed, found).with(remedy)
    }

    fn with(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// All checks, in their order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// How many ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|check| check.outcome == outcome).count()
    }
}

/// Whether models may be called for money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invoke {
    /// No.
    Never,
    /// Once each, for as short an answer as there can be.
    Once,
}

/// How much of the account's id is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountId {
    /// Its last four digits.
    LastDigits,
    /// All of it.
    Whole,
}

/// What is wished for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Models to look at instead of the aliases of the configuration.
    pub models: Vec<String>,
    /// Whether to call them.
    pub invoke: Invoke,
    /// How the account is shown.
    pub account: AccountId,
}

/// The settings, or what is wrong with them.
pub type Loaded = Result<(Config, Catalog), Problems>;

/// Looks at everything.
pub async fn examine(loaded: &Loaded, wish: &Wish, clock: &Clock) -> Report {
    let (config, catalog) = match loaded {
        Ok((config, catalog)) => (config, catalog),
        Err(problems) => return Report { checks: faults(problems) },
    };
    let mut checks = vec![Check::ok(Group::Configuration, "settings", "nothing is wrong with them")];
    let tracker = TaskTracker::new();
    let upstream = match Upstream::connect(&config.aws, clock.clone(), &tracker).await {
        Ok(upstream) => upstream,
        Err(error) => {
            let subject = error.blamed().unwrap_or("aws").to_owned();
            checks.push(Check::failed(Group::Configuration, subject, error.message(), "Correct the setting."));
            return Report { checks };
        }
    };
    let subject = Examined { config, catalog, upstream: &upstream, wish, clock };
    let ((standing, identity), (store, teams), shared) =
        join3(identity::look(&subject), store::look(config), shared::look(config)).await;
    checks.extend(identity);
    checks.extend(store);
    checks.extend(shared);
    let (regions, models, batch) =
        join3(regions::look(&subject, &standing), models::look(&subject, &standing), batch::look(&subject, &standing))
            .await;
    checks.extend(regions);
    checks.extend(models);
    checks.extend(teams::look(&subject, &standing, &teams).await);
    checks.extend(profiles::look(&subject, &standing, &teams).await);
    checks.extend(batch);
    Report { checks }
}

/// The account that AWS takes the gateway's credentials for, if it says so soon enough.
pub async fn account(config: &Config, clock: &Clock) -> Option<String> {
    let upstream = Upstream::connect(&config.aws, clock.clone(), &TaskTracker::new()).await.ok()?;
    let region = upstream.regions().next()?;
    let told = tokio::time::timeout(PATIENCE_FOR_IDENTITY, identity::caller(region)).await.ok()?.ok()?;
    told.is_success().then(|| told.element("Account"))?
}

/// What is looked at, and how.
struct Examined<'a> {
    config: &'a Config,
    catalog: &'a Catalog,
    upstream: &'a Upstream,
    wish: &'a Wish,
    clock: &'a Clock,
}

/// Who AWS takes the gateway for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// An identity of this account.
    Known { account: String },
    /// Someone whom Bedrock alone knows, by an API key; or AWS could not be asked.
    Unknown,
    /// Nobody: there are no credentials, or none that AWS takes.
    Nobody,
}

fn faults(problems: &Problems) -> Vec<Check> {
    let fault = |problem: &crate::config::Problem| {
        let from = problem.variable.as_ref().map_or(String::new(), |variable| format!(" (from {variable})"));
        Check::failed(Group::Configuration, format!("{}{from}", problem.path), &problem.message, "Correct the setting.")
    };
    let mut checks: Vec<Check> = problems.iter().map(fault).collect();
    checks.push(Check::skipped(Group::Regions, "everything else", "until the configuration is right"));
    checks
}

/// The checks of `work`, or one that says that it took too long.
async fn within(group: Group, subject: &str, work: impl Future<Output = Vec<Check>>) -> Vec<Check> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(checks) => checks,
        Err(_) => vec![Check::failed(
            group,
            subject,
            format!("no answer within {} s", PATIENCE.as_secs()),
            "See whether a firewall or proxy drops the connection, and whether the endpoint is right.",
        )],
    }
}

/// What was in the way of an answer, and what to do about it.
fn told(unreachable: &Unreachable) -> (String, &'static str) {
    match unreachable {
        Unreachable::Name => (
            "the name of the endpoint has no address".to_owned(),
            "Check DNS: in a VPC without internet access, a VPC endpoint with private DNS, or aws.endpoints.",
        ),
        Unreachable::Tls(cause) => (
            format!("TLS failed: {cause}"),
            "Check this machine's root certificates (SSL_CERT_FILE), its clock, and proxies that open connections.",
        ),
        Unreachable::Connection(cause) => (
            format!("no connection: {cause}"),
            "Check the network: routes, security groups, firewalls, and the endpoint itself.",
        ),
        Unreachable::Timeout => (
            "no answer in time".to_owned(),
            "See whether a firewall or proxy drops the connection, and whether the endpoint is right.",
        ),
        Unreachable::Credentials(error) => {
            let causes = error.causes();
            let cause = if causes.is_empty() { error.message().to_owned() } else { causes };
            (format!("no credentials: {cause}"), identity::CREDENTIALS)
        }
    }
}
