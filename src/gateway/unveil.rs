//! Application inference profiles: the ARN hides the model, AWS tells it once, and it is remembered for an hour.
//!
//! What is not known of an ARN has consequences (no price, no translation for its family, no way through a fence), so it
//! is asked for before the call. A refusal is remembered for a minute, and the ARN is then called as it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::Gateway;
use crate::catalog::Resolved;
use crate::clock::Timestamp;
use crate::tenancy::Caller;
use crate::upstream::PlainCall;

/// A profile's routing may be changed, but not often.
const KEPT: Duration = Duration::from_hours(1);
/// Until AWS is asked again after it refused.
const REFUSED: Duration = Duration::from_mins(1);
/// AWS is waited for no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// ARNs come from callers, who may make some up.
const CAPACITY: usize = 1024;

/// What AWS told of application inference profiles, by whose role was used and by ARN.
#[derive(Default)]
pub(super) struct Profiles(Mutex<HashMap<Box<str>, Arc<Entry>>>);

struct Entry {
    asked_at: Timestamp,
    /// The ARNs of its models; `None`: AWS did not tell.
    models: OnceCell<Option<Vec<String>>>,
}

impl Entry {
    fn is_fresh(&self, now: Timestamp) -> bool {
        let kept = match self.models.get() {
            Some(None) => REFUSED,
            Some(Some(_)) | None => KEPT,
        };
        now.since(self.asked_at) < kept
    }
}

impl Profiles {
    fn entry(&self, key: &str, now: Timestamp) -> Arc<Entry> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(key).filter(|entry| entry.is_fresh(now)) {
            return Arc::clone(entry);
        }
        if entries.len() >= CAPACITY {
            entries.retain(|_, entry| entry.is_fresh(now));
        }
        let entry = Arc::new(Entry { asked_at: now, models: OnceCell::new() });
        // Beyond the capacity AWS is asked each time: who makes ARNs up slows nobody else's down.
        if entries.len() < CAPACITY {
            entries.insert(key.into(), Arc::clone(&entry));
        }
        entry
    }
}

/// The part of `GetInferenceProfile`'s answer that tells where it leads.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_GetInferenceProfile.html>
#[derive(Deserialize)]
struct Told {
    models: Vec<ToldModel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldModel {
    model_arn: String,
}

impl Gateway {
    /// What is behind the ARN of an application inference profile; `hidden` itself when AWS does not tell.
    pub(super) async fn unveil(&self, caller: &Caller, hidden: Resolved) -> Resolved {
        let Some((region, arn)) = hidden.hidden_profile() else { return hidden };
        // For who may not call there AWS is not asked.
        if !caller.allows_region(region) || !self.regions().contains(region) {
            return hidden;
        }
        // Who calls with a role of its own sees another account.
        let owner = caller.team.role.as_ref().map_or("", |_| caller.team.id.as_str());
        let entry = self.0.profiles.entry(&[owner, " ", arn].concat(), self.clock().now());
        let models = entry.models.get_or_init(|| self.ask_for_models(caller, region, arn)).await;
        let told =
            models.as_ref().and_then(|models| self.catalog().unveiled(&hidden, models.iter().map(String::as_str)));
        told.unwrap_or(hidden)
    }

    async fn ask_for_models(&self, caller: &Caller, region: &str, arn: &str) -> Option<Vec<String>> {
        let call = PlainCall::new(Method::GET, ["inference-profiles", arn]);
        let asked = tokio::time::timeout(PATIENCE, self.regions_as(caller).region(region)?.control(&call)).await;
        let told = match asked {
            Ok(Ok(reply)) => serde_json::from_slice::<Told>(&reply.body).map_err(|error| error.to_string()),
            Ok(Err(failure)) => Err(failure.error.to_string()),
            Err(_) => Err("AWS took too long to answer".to_owned()),
        };
        match told {
            Ok(told) => Some(told.models.into_iter().map(|model| model.model_arn).collect()),
            Err(cause) => {
                tracing::warn!(
                    region,
                    cause,
                    "GetInferenceProfile did not tell the model of an application inference profile; it is called as it is, without a price"
                );
                None
            }
        }
    }
}
