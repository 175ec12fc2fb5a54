//! Application inference profiles: the ARN hides the model, AWS tells it once, and it is remembered for an hour.
//!
//! What is not known of an ARN has consequences (no price, no translation for its family, no way through a fence), so it
//! is asked for before the call. A refusal is remembered for a minute at most, and the ARN is then called as it is.
//! What was told before stands while AWS cannot answer: where a profile leads is said when it is made, and for good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::Gateway;
use crate::catalog::Resolved;
use crate::clock::Timestamp;
use crate::tenancy::{Caller, Scope};
use crate::upstream::{Failure, PlainCall, Reason, Region, Reply};

/// A profile's routing may be changed, but not often.
const KEPT: Duration = Duration::from_hours(1);
/// Until AWS is asked again after it refused, or did not answer in time.
const REFUSED: Duration = Duration::from_mins(1);
/// Until AWS is asked again after it could not answer: for so long no fenced caller gets through.
const FAILED: Duration = Duration::from_secs(5);
/// Before AWS is asked the second and last time when it was throttling or broke off.
const PAUSE: Duration = Duration::from_millis(300);
/// AWS is waited for no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// ARNs come from callers, who may make some up.
const CAPACITY: usize = 1024;

/// What AWS told of application inference profiles, by whose role was used and by ARN.
#[derive(Default)]
pub(super) struct Profiles(Mutex<HashMap<Box<str>, Arc<Entry>>>);

struct Entry {
    asked_at: Timestamp,
    answer: OnceCell<Answer>,
    /// What AWS told an hour ago: stands while it cannot be asked.
    before: Option<Vec<String>>,
}

/// What came of a question.
#[derive(Debug)]
struct Answer {
    /// The ARNs of its models; `None`: AWS did not tell.
    models: Option<Vec<String>>,
    /// How long that holds, from the question on.
    kept: Duration,
}

impl Entry {
    fn is_refused(&self) -> bool {
        self.answer.get().is_some_and(|answer| answer.models.is_none())
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.asked_at) < self.answer.get().map_or(KEPT, |answer| answer.kept)
    }

    fn models(&self) -> Option<&Vec<String>> {
        self.answer.get().and_then(|answer| answer.models.as_ref())
    }
}

impl Profiles {
    fn entry(&self, key: &str, now: Timestamp) -> Arc<Entry> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = match entries.get(key) {
            Some(entry) if entry.is_fresh(now) => return Arc::clone(entry),
            stale => stale,
        };
        let before = stale.and_then(|entry| entry.models()).cloned();
        if entries.len() >= CAPACITY {
            entries.retain(|_, entry| entry.is_fresh(now));
        }
        if entries.len() >= CAPACITY {
            // Who makes ARNs up crowds out other refusals, and nobody's real profile.
            let refused = entries.iter().filter(|(_, entry)| entry.is_refused());
            if let Some(oldest) = refused.min_by_key(|(_, entry)| entry.asked_at).map(|(key, _)| key.clone()) {
                entries.remove(&oldest);
            }
        }
        let entry = Arc::new(Entry { asked_at: now, answer: OnceCell::new(), before });
        // Where all are real, AWS is asked each time for one more.
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
        let may_call = caller.require(Scope::Inference).is_ok() && caller.allows_region(region);
        if !may_call || !self.regions().contains(region) {
            return hidden;
        }
        // Who calls with a role of its own sees another account.
        let owner = caller.team.role.as_ref().map_or("", |_| caller.team.id.as_str());
        let entry = self.0.profiles.entry(&[owner, " ", arn].concat(), self.clock().now());
        entry.answer.get_or_init(|| self.ask_for_models(caller, region, arn, entry.before.as_ref())).await;
        let told = entry.models();
        let told = told.and_then(|models| self.catalog().unveiled(&hidden, models.iter().map(String::as_str)));
        told.unwrap_or(hidden)
    }

    async fn ask_for_models(&self, caller: &Caller, region: &str, arn: &str, before: Option<&Vec<String>>) -> Answer {
        let call = PlainCall::new(Method::GET, ["inference-profiles", arn]);
        let asked = match self.regions_as(caller).region(region) {
            Some(region) => tokio::time::timeout(PATIENCE, ask_twice(region, &call)).await,
            None => return Answer { models: None, kept: REFUSED },
        };
        let (cause, kept) = match asked {
            Ok(Ok(reply)) => match serde_json::from_slice::<Told>(&reply.body) {
                Ok(Told { models }) => {
                    let models = models.into_iter().map(|model| model.model_arn).collect();
                    return Answer { models: Some(models), kept: KEPT };
                }
                Err(error) => (error.to_string(), REFUSED),
            },
            Ok(Err(failure)) if may_pass(failure.reason) => (failure.error.to_string(), FAILED),
            Ok(Err(failure)) => (failure.error.to_string(), REFUSED),
            Err(_) => ("AWS took too long to answer".to_owned(), REFUSED),
        };
        tracing::warn!(
            region,
            cause,
            is_known = before.is_some(),
            "GetInferenceProfile did not tell the model of an application inference profile; it is called as what it was \
             when it was told last, else as it is, without a price"
        );
        Answer { models: before.cloned(), kept }
    }
}

async fn ask_twice(region: &Region, call: &PlainCall) -> Result<Reply, Failure> {
    match region.control(call).await {
        Err(failure) if may_pass(failure.reason) => {
            tokio::time::sleep(PAUSE).await;
            region.control(call).await
        }
        answer => answer,
    }
}

/// Whether AWS could not answer, rather than would not.
fn may_pass(reason: Reason) -> bool {
    matches!(reason, Reason::Throttled | Reason::Unavailable | Reason::Connection | Reason::Timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn told(profiles: &Profiles, key: &str, models: Option<Vec<String>>) -> Arc<Entry> {
        let entry = profiles.entry(key, NOW);
        let kept = if models.is_some() { KEPT } else { REFUSED };
        entry.answer.set(Answer { models, kept }).unwrap();
        entry
    }

    #[test]
    fn made_up_arns_crowd_out_one_another_and_not_what_aws_told() {
        let profiles = Profiles::default();
        let real = told(&profiles, "real", Some(vec!["model".into()]));
        for number in 0..2 * CAPACITY {
            told(&profiles, &number.to_string(), None);
        }
        assert!(Arc::ptr_eq(&real, &profiles.entry("real", NOW)));
        let late = told(&profiles, "late", Some(vec!["model".into()]));
        assert!(Arc::ptr_eq(&late, &profiles.entry("late", NOW)), "AWS is asked once, however many were made up");
        assert_eq!(profiles.0.lock().unwrap().len(), CAPACITY);
    }

    #[test]
    fn a_refusal_is_kept_for_a_minute_and_what_aws_told_for_an_hour() {
        let profiles = Profiles::default();
        let (refused, real) = (told(&profiles, "refused", None), told(&profiles, "real", Some(Vec::new())));
        let is_kept =
            |entry: &Arc<Entry>, key: &str, after: Duration| Arc::ptr_eq(entry, &profiles.entry(key, NOW.plus(after)));
        assert!(
            is_kept(&refused, "refused", Duration::from_secs(59)) && is_kept(&real, "real", Duration::from_secs(3599))
        );
        assert!(!is_kept(&refused, "refused", REFUSED) && !is_kept(&real, "real", KEPT));
    }
}
