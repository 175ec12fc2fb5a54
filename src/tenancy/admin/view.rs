//! What administrators are shown of teams, keys, limits, budgets and acts: the one JSON of each, for HTTP and the command
//! line. No secret is in any of it, nor what could be tried against one.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::moment::tell;
use crate::catalog::Geography;
use crate::clock::Timestamp;
use crate::money::MicroUsd;
use crate::tenancy::admission::Account;
use crate::tenancy::budget::Budget;
use crate::tenancy::key::Key;
use crate::tenancy::limit::{Limit, Subject};
use crate::tenancy::queries::Names;
use crate::tenancy::team::{Guardrail, RoleArn, Team};
use crate::tenancy::webhook::Webhook;

/// A team.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Team)]
pub struct TeamView {
    /// Its id, which never changes.
    #[schema(example = "team_019a6e2f7c1d7b3f8d2e4a5b6c7d8e9f")]
    pub id: String,
    /// Its name, unique among teams.
    #[schema(example = "search")]
    pub name: String,
    /// The models that its keys may use at most; null: every model.
    #[schema(example = json!(["claude-*", "nova-lite"]))]
    pub models: Option<Vec<String>>,
    /// The Regions that its calls may go to; null: every Region of the gateway.
    #[schema(example = json!(["eu-central-1", "eu-west-1"]))]
    pub regions: Option<Vec<String>>,
    /// The geography that its calls may not leave; null: anywhere.
    #[schema(example = "eu")]
    pub geography: Option<String>,
    /// The AWS role that its calls are made with; null: the gateway's own identity.
    pub role_arn: Option<String>,
    /// The guardrail that every call on a model carries; null: whatever the caller asks for.
    pub guardrail: Option<Guardrail>,
    /// What every call on a model tells AWS's invocation log.
    #[schema(example = json!({"cost_centre": "4711"}))]
    pub request_metadata: BTreeMap<String, String>,
    /// The application inference profile that a model is called through, by ARN.
    pub profiles: BTreeMap<String, String>,
    /// What becomes of calls whose price is not known, where a budget would have to pay for them: `refuse` or
    /// `allow_unpriced`.
    #[schema(example = "refuse")]
    pub unknown_price: String,
    /// Where messages about its batches go; null: nowhere.
    #[schema(example = "https://example.com/hooks/batches")]
    pub webhook_url: Option<String>,
    /// Until when those are signed with the secret before the last rotation as well; null: there is none.
    pub webhook_previous_until: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// Since when all its keys are refused; null: they are not.
    pub revoked_at: Option<String>,
    /// Changes with every change: what `If-Match` takes.
    pub version: i64,
}

impl TeamView {
    /// What is shown of `team`.
    pub fn of(team: &Team) -> Self {
        Self {
            id: team.id.to_string(),
            name: team.name.clone(),
            models: team.models.entries().map(<[String]>::to_vec),
            regions: team.regions.entries().map(<[String]>::to_vec),
            geography: team.geography.map(Geography::name).map(str::to_owned),
            role_arn: team.role.as_ref().map(RoleArn::as_str).map(str::to_owned),
            guardrail: team.guardrail.clone(),
            request_metadata: team.request_metadata.clone(),
            profiles: team.profiles.clone(),
            unknown_price: team.unknown_price.to_string(),
            webhook_url: team.webhook.as_ref().map(|webhook| webhook.url.clone()),
            webhook_previous_until: team.webhook.as_ref().and_then(Webhook::previous_until).map(tell),
            created_at: tell(team.created_at),
            revoked_at: team.revoked_at.map(tell),
            version: team.version,
        }
    }
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyView {
    /// Its id: what stands between the first two underscores of the key.
    #[schema(example = "5d1c0f2a9b3e4d6f8a7b")]
    pub id: String,
    /// The id of its team.
    pub team: String,
    /// The name of its team.
    pub team_name: Option<String>,
    /// What people call it.
    #[schema(example = "ci")]
    pub name: String,
    /// What it may be used for: `inference`, `batch`, `admin`, `metrics`.
    #[schema(example = json!(["inference", "batch"]))]
    pub scopes: Vec<String>,
    /// The models it may use, within its team's; null: its team's.
    pub models: Option<Vec<String>>,
    /// The Regions its calls may go to, within its team's; null: its team's.
    pub regions: Option<Vec<String>>,
    /// The networks that calls have to come from; null: anywhere.
    #[schema(example = json!(["10.0.0.0/8"]))]
    pub networks: Option<Vec<String>>,
    /// What becomes of a call whose client leaves: `cancel` or `drain`.
    #[schema(example = "cancel")]
    pub on_disconnect: String,
    /// Whether it also signs as an AWS access key pair.
    pub sigv4: bool,
    /// When it was made.
    pub created_at: String,
    /// From when on it is refused; null: never.
    pub expires_at: Option<String>,
    /// Until when the secret before the last rotation counts as well; null: there is none.
    pub previous_until: Option<String>,
    /// Since when it is refused, for good; null: it is not.
    pub revoked_at: Option<String>,
    /// When it was last used, give or take a minute.
    pub last_use: Option<String>,
    /// Changes with every change: what `If-Match` takes.
    pub version: i64,
}

impl KeyView {
    /// What is shown of `key`, whose team is called so.
    pub fn of(key: &Key, team_name: Option<&str>) -> Self {
        Self {
            id: key.id.to_string(),
            team: key.team.to_string(),
            team_name: team_name.map(str::to_owned),
            name: key.name.clone(),
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
            models: key.models.entries().map(<[String]>::to_vec),
            regions: key.regions.entries().map(<[String]>::to_vec),
            networks: key.networks.as_ref().map(|all| all.iter().map(ToString::to_string).collect()),
            on_disconnect: key.on_disconnect.to_string(),
            sigv4: key.sealed.is_some(),
            created_at: tell(key.created_at),
            expires_at: key.expires_at.map(tell),
            previous_until: key.previous.as_ref().map(|previous| tell(previous.until)),
            revoked_at: key.revoked_at.map(tell),
            last_use: key.last_use.map(tell),
            version: key.version,
        }
    }
}

/// A limit. What is null is not limited.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Limit)]
pub struct LimitView {
    /// Its id; a subject's limit on a model keeps it.
    #[schema(example = "limit_019a6e2f7c1d7b3f8d2e4a5b6c7d8e9f")]
    pub id: String,
    /// The id of the team whose calls it counts, all keys taken together; null with a key, and for everyone.
    pub team: Option<String>,
    /// The name of that team.
    pub team_name: Option<String>,
    /// The id of the key whose calls it counts.
    pub key: Option<String>,
    /// The name of that key.
    pub key_name: Option<String>,
    /// The model whose calls it counts, or the beginning of names and `*`, whose models are counted together; null: every
    /// model.
    #[schema(example = "claude-*")]
    pub model: Option<String>,
    /// Calls that may begin in a minute.
    #[schema(example = 600)]
    pub requests_per_minute: Option<u64>,
    /// Tokens read and written in a minute; those read from a prompt cache do not count.
    #[schema(example = 200_000)]
    pub tokens_per_minute: Option<u64>,
    /// Calls that may be open at the same time.
    #[schema(example = 50)]
    pub concurrent_requests: Option<u32>,
    /// When it was set for the first time.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
    /// Since when it counts no more.
    pub removed_at: Option<String>,
    /// Changes with every change: what `If-Match` takes.
    pub version: i64,
}

impl LimitView {
    pub(super) fn of(limit: &Limit, names: &Names) -> Self {
        let (team, key) = of_whom(&limit.subject);
        Self {
            id: limit.id.to_string(),
            team,
            team_name: names.team.clone(),
            key,
            key_name: names.key.clone(),
            model: limit.model.clone(),
            requests_per_minute: limit.requests_per_minute,
            tokens_per_minute: limit.tokens_per_minute,
            concurrent_requests: limit.concurrent_requests,
            created_at: tell(limit.created_at),
            updated_at: tell(limit.updated_at),
            removed_at: limit.removed_at.map(tell),
            version: limit.version,
        }
    }
}

/// A budget.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Budget)]
pub struct BudgetView {
    /// Its id; a subject's budget of a period keeps it.
    #[schema(example = "budget_019a6e2f7c1d7b3f8d2e4a5b6c7d8e9f")]
    pub id: String,
    /// The id of the team whose calls it pays for; null with a key.
    pub team: Option<String>,
    /// The name of that team.
    pub team_name: Option<String>,
    /// The id of the key whose calls it pays for.
    pub key: Option<String>,
    /// The name of that key.
    pub key_name: Option<String>,
    /// How long it lasts before it begins anew: `day`, `week` (from Monday), `month` or `total`, in UTC.
    #[schema(example = "month")]
    pub period: String,
    /// What may be spent in that time, in US dollars with six decimals.
    #[schema(example = "12.500000")]
    pub limit_usd: String,
    /// What was spent of it in the present period, by the ledger, which is written within a second; calls whose price is
    /// not known have cost nothing.
    #[schema(example = "3.141593")]
    pub spent_usd: Option<String>,
    /// What is left of it; below zero where calls cost more than was held for them, or the budget was made smaller.
    #[schema(example = "9.358407")]
    pub remaining_usd: Option<String>,
    /// What open calls and batches may cost yet, as the process that answers was told last: of all replicas where they share
    /// a store for budgets, else its own; null where it paid for nothing since that process began.
    #[schema(example = "0.271828")]
    pub held_usd: Option<String>,
    /// When the present period began; null: for good.
    pub starts_at: Option<String>,
    /// When it begins anew; null: never.
    pub ends_at: Option<String>,
    /// When it was set for the first time.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
    /// Since when it counts no more.
    pub removed_at: Option<String>,
    /// Changes with every change: what `If-Match` takes.
    pub version: i64,
}

impl BudgetView {
    pub(super) fn of(budget: &Budget, names: &Names, now: Timestamp) -> Self {
        let (team, key) = of_whom(&budget.subject);
        let window = budget.period.window(now);
        Self {
            id: budget.id.to_string(),
            team,
            team_name: names.team.clone(),
            key,
            key_name: names.key.clone(),
            period: budget.period.to_string(),
            limit_usd: budget.limit.to_string(),
            spent_usd: None,
            remaining_usd: None,
            held_usd: None,
            starts_at: window.end.map(|_| tell(window.start)),
            ends_at: window.end.map(tell),
            created_at: tell(budget.created_at),
            updated_at: tell(budget.updated_at),
            removed_at: budget.removed_at.map(tell),
            version: budget.version,
        }
    }
}

impl BudgetView {
    /// With what was spent of it in its present period.
    pub(super) fn with_spent(self, budget: &Budget, spent: MicroUsd) -> Self {
        let remaining = MicroUsd(budget.limit.0.saturating_sub(spent.0));
        Self { spent_usd: Some(spent.to_string()), remaining_usd: Some(remaining.to_string()), ..self }
    }

    /// With what is held of it now, as far as `accounts` know.
    #[must_use]
    pub fn with_held(self, accounts: &[Account]) -> Self {
        let account = accounts.iter().find(|account| account.budget.id.as_str() == self.id);
        Self { held_usd: account.map(|account| account.balance.held.to_string()), ..self }
    }
}

/// The team or the key of a subject, by id.
fn of_whom(subject: &Subject) -> (Option<String>, Option<String>) {
    match subject {
        Subject::Everyone => (None, None),
        Subject::Team(id) => (Some(id.to_string()), None),
        Subject::Key(id) => (None, Some(id.to_string())),
    }
}

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Act)]
pub struct ActView {
    /// Its id.
    pub id: String,
    /// When.
    pub at: String,
    /// Who: `command_line`, `gateway`, or `key:` or `bootstrap:` and the id of the key.
    #[schema(example = "command_line")]
    pub actor: String,
    /// What, such as `team.create`, `key.revoke`, `limit.set`.
    #[schema(example = "key.update")]
    pub action: String,
    /// The id of the team, key, limit or budget that it was done to.
    pub subject: String,
    /// What was made, or each setting that changed with what it was (`from`) and became (`to`).
    #[schema(example = json!({"name": {"from": "ci", "to": "nightly"}}))]
    pub detail: Value,
}
