//! `[aws]`: which Regions, how to reach them, and how long to wait.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decode::key_text;
use super::{Problems, shape};

/// `[aws]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Aws {
    /// Regions to call, in order of preference. Reloaded.
    pub regions: Vec<String>,
    /// Which of several candidates of a call is tried first. Reloaded.
    pub order: Order,
    /// The ARN of a role to assume for every call; empty: the credentials of the AWS chain as they are.
    pub role_arn: String,
    /// Minutes between two looks at which models and inference profiles AWS has in each Region, the first at the start: 1 to
    /// 1440; 0: never, and what is compiled in holds.
    pub catalog_refresh_minutes: u64,
    /// Attempts of one call over all candidates, the first included: 1 to 10. Reloaded.
    pub max_attempts: u32,
    /// Milliseconds to wait for a connection: 50 to 60000. Reloaded.
    pub connect_timeout_ms: u64,
    /// Seconds from sending a request to the head of its answer: 1 to 3600. Reloaded.
    pub first_byte_timeout_s: u64,
    /// Seconds between two pieces of an answer: 1 to 3600. Reloaded.
    pub idle_timeout_s: u64,
    /// Seconds for all attempts of one call and the pauses between them, up to the whole answer or a stream's first
    /// event: 1 to 3600. Reloaded.
    pub call_timeout_s: u64,
    /// Milliseconds without an answer after which another candidate is asked as well: 1 to 600000; 0: never. The first
    /// that answers is taken; AWS may charge for the other, too. Reloaded.
    pub hedge_after_ms: u64,
    /// What the account really has, by Region and model, where it differs from the catalog. Reloaded.
    pub quotas: BTreeMap<String, BTreeMap<String, Quota>>,
    /// Other hosts than AWS's own, by Region: VPC endpoints, the simulator, tests. Reloaded.
    pub endpoints: BTreeMap<String, Endpoints>,
    /// An Amazon Bedrock API key, sent instead of a SigV4 signature. From `AWS_BEARER_TOKEN_BEDROCK` only.
    #[serde(skip)]
    pub bearer_token: Option<Secret>,
    /// Access key id and secret instead of the AWS chain: for the simulator, which no environment knows of.
    #[serde(skip)]
    pub credentials: Option<(String, Secret)>,
}

impl Default for Aws {
    fn default() -> Self {
        Self {
            regions: vec!["us-east-1".into(), "us-west-2".into()],
            order: Order::Preference,
            role_arn: String::new(),
            catalog_refresh_minutes: 60,
            max_attempts: 4,
            connect_timeout_ms: 2_000,
            first_byte_timeout_s: 300,
            idle_timeout_s: 300,
            call_timeout_s: 600,
            hedge_after_ms: 0,
            quotas: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            bearer_token: None,
            credentials: None,
        }
    }
}

impl Aws {
    /// The time between two looks at what AWS has; `None`: never.
    pub fn catalog_refresh(&self) -> Option<Duration> {
        (self.catalog_refresh_minutes > 0).then(|| Duration::from_mins(self.catalog_refresh_minutes))
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        if self.regions.is_empty() {
            problems.add("aws.regions", "names no Region");
        }
        for (index, region) in self.regions.iter().enumerate() {
            if !shape::is_region(region) {
                problems.add(format!("aws.regions[{index}]"), shape::not_a_region(region));
            } else if self.regions[..index].contains(region) {
                problems.add(format!("aws.regions[{index}]"), format!("\"{region}\" is given twice"));
            }
        }
        shape::check_role_arn("aws.role_arn", &self.role_arn, problems);
        problems.add_unless_within("aws.catalog_refresh_minutes", self.catalog_refresh_minutes, 0, 1440);
        problems.add_unless_within("aws.max_attempts", self.max_attempts.into(), 1, 10);
        problems.add_unless_within("aws.connect_timeout_ms", self.connect_timeout_ms, 50, 60_000);
        problems.add_unless_within("aws.first_byte_timeout_s", self.first_byte_timeout_s, 1, 3600);
        problems.add_unless_within("aws.idle_timeout_s", self.idle_timeout_s, 1, 3600);
        problems.add_unless_within("aws.call_timeout_s", self.call_timeout_s, 1, 3600);
        problems.add_unless_within("aws.hedge_after_ms", self.hedge_after_ms, 0, 600_000);
        self.validate_quotas(problems);
        for (region, endpoints) in &self.endpoints {
            let path = format!("aws.endpoints.{}", key_text(region));
            if !shape::is_region(region) {
                problems.add(&path, shape::not_a_region(region));
            }
            let Endpoints { runtime, control, s3, sts } = endpoints;
            for (key, url) in [("runtime", runtime), ("control", control), ("s3", s3), ("sts", sts)] {
                if let Some(url) = url {
                    shape::check_base_url(&format!("{path}.{key}"), url, problems);
                }
            }
        }
    }
}

impl Aws {
    /// Whether the names in it stand for anything is for the catalog to say.
    fn validate_quotas(&self, problems: &mut Problems) {
        for (region, quotas) in &self.quotas {
            if !shape::is_region(region) {
                problems.add(format!("aws.quotas.{}", key_text(region)), shape::not_a_region(region));
                continue;
            }
            for (name, Quota { tokens_per_minute, requests_per_minute }) in quotas {
                let path = format!("aws.quotas.{region}.{}", key_text(name));
                if tokens_per_minute.is_none() && requests_per_minute.is_none() {
                    problems.add(&path, "says nothing: set tokens_per_minute, requests_per_minute or both");
                }
                let most = 1_000_000_000_000;
                for (key, value) in
                    [("tokens_per_minute", tokens_per_minute), ("requests_per_minute", requests_per_minute)]
                {
                    if let Some(value) = value {
                        problems.add_unless_within(&format!("{path}.{key}"), *value, 1, most);
                    }
                }
            }
        }
    }
}

/// Which of several candidates is tried first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The one in the Region that `aws.regions` names first, by the id that leads to the fewest Regions.
    #[default]
    Preference,
    /// The cheapest; among equals, as preferred. A price that is not known is the dearest.
    Price,
}

/// The account's quota for one model in one Region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Tokens per minute that the account has for the model, however it is called, or for one inference profile, which
    /// goes first: 1 to 1000000000000. None: the catalog's.
    pub tokens_per_minute: Option<u64>,
    /// Requests per minute, likewise: 1 to 1000000000000. None: the catalog's.
    pub requests_per_minute: Option<u64>,
}

/// Other hosts than AWS's own for one Region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Endpoints {
    /// Base URL of `bedrock-runtime`: `http(s)://HOST[:PORT]`. None: AWS's own.
    pub runtime: Option<String>,
    /// Base URL of `bedrock`, the control plane.
    pub control: Option<String>,
    /// Base URL of S3, for files and batches.
    pub s3: Option<String>,
    /// Base URL of STS. Roles are assumed at that of the first Region in `aws.regions`.
    pub sts: Option<String>,
}

/// Text that never shows in a log or an error.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
