//! What a simulator believes and how it behaves, told before it starts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::jobs::JobPace;

/// What a simulator believes and how it behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The one lasting access key it knows.
    pub access_key: String,
    /// The secret of that key.
    pub secret_key: String,
    /// The session token that a request signed with that key must carry; without one any is accepted.
    pub session_token: Option<String>,
    /// The bearer tokens it accepts.
    pub bearer_tokens: Vec<String>,
    /// The token that `AssumeRoleWithWebIdentity` takes; without one it takes none.
    pub web_identity_token: Option<String>,
    /// The roles there are, by ARN. While there are none, every role of the account exists and trusts the account.
    pub roles: BTreeMap<String, Role>,
    /// How long temporary credentials really last; `None`: as long as was asked for, an hour when nothing was.
    pub session_lifetime: Option<Duration>,
    /// What the key and the bearer tokens may do, an identity policy of IAM; without one, everything.
    pub policy: Option<Value>,
    /// The Region of a bearer call that names none.
    pub default_region: String,
    /// The account in the ARNs it answers.
    pub account: String,
    /// Application inference profiles: their id, and the model or profile id that each copies.
    pub application_profiles: BTreeMap<String, String>,
    /// Provisioned throughput: its id (12 of `a-z0-9`), and the model id it serves.
    pub provisioned_models: BTreeMap<String, String>,
    /// Custom models: the last part of their ARN, and the model id they were made from.
    pub custom_models: BTreeMap<String, String>,
    /// Deployments of custom models: their id, and the model id they were made from.
    pub custom_model_deployments: BTreeMap<String, String>,
    /// Imported models: their id, and the model id whose native format they speak.
    pub imported_models: BTreeMap<String, String>,
    /// Prompt routers, default and own: their id, and the models or profiles they choose from.
    pub prompt_routers: BTreeMap<String, Vec<String>>,
    /// What happens to a call that asks for a service tier its model lacks.
    pub unsupported_tier: UnsupportedTier,
    /// The models of which capacity is reserved; the tier `reserved` is served by the default one for the others.
    pub reserved_capacity: BTreeSet<String>,
    /// The buckets there are.
    pub buckets: BTreeMap<String, Bucket>,
    /// The keys of KMS by ARN, and the state of each: `Enabled`, `Disabled`, `PendingDeletion`, ...
    pub kms_keys: BTreeMap<String, String>,
    /// The pause between the events of a stream.
    pub event_delay: Duration,
    /// How batch jobs get from one state to the next.
    pub job_pace: JobPace,
    /// Whether batch jobs of the type `Converse` take tools and schemas of output, which AWS's pages disagree about.
    pub tools_in_jobs: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access_key: "AKIDSIMULATOR".to_owned(),
            secret_key: "simulator-secret-not-a-real-key".to_owned(),
            session_token: None,
            bearer_tokens: vec!["sim-bearer-token".to_owned()],
            web_identity_token: Some("sim-web-identity-token".to_owned()),
            roles: BTreeMap::new(),
            session_lifetime: None,
            policy: None,
            default_region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            application_profiles: BTreeMap::new(),
            provisioned_models: BTreeMap::new(),
            custom_models: BTreeMap::new(),
            custom_model_deployments: BTreeMap::new(),
            imported_models: BTreeMap::new(),
            prompt_routers: BTreeMap::new(),
            unsupported_tier: UnsupportedTier::Refuse,
            reserved_capacity: BTreeSet::new(),
            buckets: BTreeMap::new(),
            kms_keys: BTreeMap::new(),
            event_delay: Duration::ZERO,
            job_pace: JobPace::Automatic(Duration::from_millis(100)),
            tools_in_jobs: false,
        }
    }
}

/// What happens to a call that asks for a service tier its model lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsupportedTier {
    /// 400 `ValidationException`.
    Refuse,
    /// The default tier serves it, and the answer says so.
    ServeDefault,
}

/// A bucket of S3.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Bucket {
    /// Where it is.
    pub region: String,
    /// How objects are encrypted by default.
    pub encryption: Encryption,
    /// Its policy, if it has one.
    pub policy: Option<Value>,
    /// Whether all four blocks of public access are on; off, there is no configuration of them.
    pub blocks_public_access: bool,
    /// The account it belongs to; without one, the simulator's.
    pub owner: Option<String>,
}

impl Default for Bucket {
    /// A bucket as S3 makes it today: in us-east-1, encrypted with S3's keys, not public.
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            encryption: Encryption::Aes256,
            policy: None,
            blocks_public_access: true,
            owner: None,
        }
    }
}

/// How S3 encrypts objects.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// With S3's own keys.
    Aes256,
    /// With the key of this ARN.
    Kms(String),
}

/// A role of IAM.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Role {
    /// Who may assume it and how, as IAM writes it (`AssumeRolePolicyDocument`); without one, everybody of the account, the
    /// simulator's identity provider, and Bedrock for its batch jobs.
    pub trust_policy: Option<Value>,
    /// Its identity policies; while there are none, its sessions may do everything.
    pub policies: Vec<Value>,
    /// `MaxSessionDuration` in seconds.
    pub max_session_seconds: u64,
}

impl Default for Role {
    /// A role as IAM makes it when nobody says otherwise: an hour at most.
    fn default() -> Self {
        Self { trust_policy: None, policies: Vec::new(), max_session_seconds: 3600 }
    }
}
