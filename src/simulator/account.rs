//! What the account has beside models: roles, a policy, buckets and keys. Settings say what it begins with; tests change it, in
//! process or under `/_sim/`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::handler::Door;
use super::settings::{Bucket, Role, Settings};
use super::{JobQuota, Quota, Simulator};

/// The account of one simulator.
#[derive(Debug)]
pub(crate) struct Account {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    roles: BTreeMap<String, Role>,
    policy: Option<Value>,
    buckets: BTreeMap<String, Bucket>,
    kms_keys: BTreeMap<String, String>,
}

impl Account {
    pub(crate) fn new(settings: &Settings) -> Self {
        let kept = Kept {
            roles: settings.roles.clone(),
            policy: settings.policy.clone(),
            buckets: settings.buckets.clone(),
            kms_keys: settings.kms_keys.clone(),
        };
        Self { kept: Mutex::new(kept) }
    }

    /// A role, or `None`; the error says that any role of the account exists.
    pub(crate) fn role(&self, arn: &str) -> Result<Option<Role>, AnyRole> {
        let kept = self.lock();
        if kept.roles.is_empty() { Err(AnyRole) } else { Ok(kept.roles.get(arn).cloned()) }
    }

    /// The ARN of the role of a name, which is the last part of it.
    pub(crate) fn role_arn(&self, name: &str) -> Option<String> {
        self.lock().roles.keys().find(|arn| arn.rsplit('/').next() == Some(name)).cloned()
    }

    pub(crate) fn policy(&self) -> Option<Value> {
        self.lock().policy.clone()
    }

    pub(crate) fn bucket(&self, name: &str) -> Option<Bucket> {
        self.lock().buckets.get(name).cloned()
    }

    /// The bucket that a host name begins with.
    pub(crate) fn bucket_of_host(&self, host: &str) -> Option<String> {
        let kept = self.lock();
        let mut names = kept.buckets.keys();
        names.find(|name| host.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'))).cloned()
    }

    pub(crate) fn key_state(&self, arn: &str) -> Option<String> {
        self.lock().kms_keys.get(arn).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No role was told of: every one exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnyRole;

impl Simulator {
    /// What the lasting key and the bearer tokens may do from now on; `None`: everything.
    pub fn set_policy(&self, policy: Option<Value>) {
        self.inner.account.lock().policy = policy;
    }

    /// Makes or changes a role. Once there is one, no other exists but those that were made.
    pub fn set_role(&self, arn: &str, role: Role) {
        self.inner.account.lock().roles.insert(arn.to_owned(), role);
    }

    /// Makes or changes a bucket.
    pub fn set_bucket(&self, name: &str, bucket: Bucket) {
        self.inner.account.lock().buckets.insert(name.to_owned(), bucket);
    }

    /// Makes a key of KMS, or changes its state (`Enabled`, `Disabled`, `PendingDeletion`, ...).
    pub fn set_kms_key(&self, arn: &str, state: &str) {
        self.inner.account.lock().kms_keys.insert(arn.to_owned(), state.to_owned());
    }
}

/// `POST /_sim/roles`, `/_sim/policy`, `/_sim/buckets`, `/_sim/kms-keys`, `/_sim/quotas`.
pub(crate) fn routes() -> Router<Door> {
    Router::new()
        .route("/_sim/roles", post(add_role))
        .route("/_sim/policy", post(change_policy))
        .route("/_sim/buckets", post(add_bucket))
        .route("/_sim/kms-keys", post(add_key))
        .route("/_sim/quotas", post(add_quota).get(list_quotas).delete(clear_quotas))
        .route("/_sim/sessions", axum::routing::get(list_sessions))
}

type Answer = (StatusCode, Json<Value>);

fn read<T: DeserializeOwned>(body: &[u8], place: impl FnOnce(T)) -> Answer {
    match serde_json::from_slice(body) {
        Ok(order) => {
            place(order);
            (StatusCode::CREATED, Json(json!({})))
        }
        Err(error) => refused(&error.to_string()),
    }
}

fn refused(message: &str) -> Answer {
    (StatusCode::BAD_REQUEST, Json(json!({"message": message})))
}

#[derive(Deserialize)]
struct Named<K, T> {
    #[serde(flatten)]
    key: K,
    #[serde(flatten)]
    value: T,
}

#[derive(Deserialize)]
struct Arn {
    arn: String,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
struct KeyState {
    state: String,
}

#[derive(Deserialize)]
struct Place {
    region: String,
    id: String,
}

async fn add_role(State(door): State<Door>, body: Bytes) -> Answer {
    read(&body, |order: Named<Arn, Role>| door.simulator.set_role(&order.key.arn, order.value))
}

async fn change_policy(State(door): State<Door>, body: Bytes) -> Answer {
    read(&body, |policy: Option<Value>| door.simulator.set_policy(policy))
}

async fn add_bucket(State(door): State<Door>, body: Bytes) -> Answer {
    let mut unknown = None;
    let answer = read(&body, |order: Named<Name, Bucket>| {
        if super::is_region(&order.value.region) {
            door.simulator.set_bucket(&order.key.name, order.value);
        } else {
            unknown = Some(order.value.region);
        }
    });
    unknown.map_or(answer, |region| refused(&format!("AWS has no Region \"{region}\"")))
}

async fn add_key(State(door): State<Door>, body: Bytes) -> Answer {
    read(&body, |order: Named<Arn, KeyState>| door.simulator.set_kms_key(&order.key.arn, &order.value.state))
}

#[derive(Deserialize)]
struct Limits {
    /// Of batch jobs; without it the quota is of calls.
    jobs: Option<JobQuota>,
    #[serde(flatten)]
    calls: Quota,
}

async fn add_quota(State(door): State<Door>, body: Bytes) -> Answer {
    read(&body, |order: Named<Place, Limits>| {
        let (Place { region, id }, limits) = (order.key, order.value);
        match limits.jobs {
            Some(jobs) => door.simulator.set_job_quota(&region, &id, jobs),
            None => door.simulator.set_quota(&region, &id, limits.calls),
        }
    })
}

async fn list_quotas(State(door): State<Door>) -> Json<Value> {
    Json(json!({"quotas": door.simulator.quotas(), "jobs": door.simulator.job_quotas()}))
}

async fn clear_quotas(State(door): State<Door>) -> StatusCode {
    door.simulator.clear_quotas();
    door.simulator.clear_job_quotas();
    StatusCode::NO_CONTENT
}

async fn list_sessions(State(door): State<Door>) -> Json<Value> {
    Json(json!({"sessions": door.simulator.sessions()}))
}
