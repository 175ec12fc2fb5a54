//! Setting and removing limits. There is at most one for a subject and model: setting it again replaces it.

use super::view::LimitView;
use super::{Act, Actor, Listed, Page, Precondition, Whose, difference, shown, value_of};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::ids::{self, LimitId};
use crate::store::Store;
use crate::tenancy::allow_list::AllowList;
use crate::tenancy::limit::{Limit, Subject};
use crate::tenancy::queries::{self, Change};

/// The most that a limit may allow in a minute: more than any account of AWS's.
const MOST: u64 = 1_000_000_000_000;
/// The most calls that a limit may allow at the same time.
const MOST_AT_ONCE: u32 = 1_000_000;

/// What it takes to set a limit. What it does not name is not limited, also if it was before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetLimit {
    /// Whose calls it counts; nobody's in particular: everyone's, on one model.
    pub whose: Whose,
    /// The model whose calls it counts, by any of its names, or the beginning of names and `*`; `None`: every model.
    pub model: Option<String>,
    /// Calls that may begin in a minute, at least one.
    pub requests_per_minute: Option<u64>,
    /// Tokens in a minute, at least one.
    pub tokens_per_minute: Option<u64>,
    /// Calls that may be open at the same time, at least one.
    pub concurrent_requests: Option<u32>,
}

impl SetLimit {
    fn check(&self) -> Result<()> {
        if self.whose == Whose::default() && self.model.is_none() {
            let message = "Name a `team` or a `key`, or a `model` that everyone's calls are counted on.";
            return Err(Error::invalid("team", message));
        }
        if let Some(model) = &self.model {
            AllowList::models("model", Some(vec![model.clone()])).map_err(|_| {
                let message = "`model` has to be the name of a model, or the beginning of names and `*`.";
                Error::invalid("model", message)
            })?;
        }
        let concurrent = self.concurrent_requests.map(u64::from);
        let amounts = [
            ("requests_per_minute", self.requests_per_minute, MOST),
            ("tokens_per_minute", self.tokens_per_minute, MOST),
            ("concurrent_requests", concurrent, u64::from(MOST_AT_ONCE)),
        ];
        if amounts.iter().all(|(_, amount, _)| amount.is_none()) {
            let message = "Say what is limited: `requests_per_minute`, `tokens_per_minute` or `concurrent_requests`.";
            return Err(Error::invalid("requests_per_minute", message));
        }
        for (field, amount, most) in amounts {
            if amount.is_some_and(|amount| !(1..=most).contains(&amount)) {
                let message = format!("`{field}` has to be a whole number from 1 to {most}; left out, it is no limit.");
                return Err(Error::invalid(field, message));
            }
        }
        Ok(())
    }

    /// Whether the limit of this subject and model allows as much already.
    fn is_as(&self, limit: &Limit) -> bool {
        self.requests_per_minute == limit.requests_per_minute
            && self.tokens_per_minute == limit.tokens_per_minute
            && self.concurrent_requests == limit.concurrent_requests
    }

    fn limit(&self, id: LimitId, subject: Subject, now: Timestamp) -> Limit {
        Limit {
            id,
            subject,
            model: self.model.clone(),
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrent_requests: self.concurrent_requests,
            created_at: now,
            updated_at: now,
            removed_at: None,
            version: 0,
        }
    }
}

/// Sets the limit of a subject and model. It keeps its id, whatever is set, also when it was removed in between. It counts
/// within a second or two in every process that serves from this store. Fails with [`Kind::Invalid`], the field named,
/// [`Kind::NotFound`] without such a team or key, and [`Kind::Stale`].
pub async fn set_limit(
    store: &Store,
    clock: &Clock,
    actor: Actor,
    believed: &Precondition,
    set: SetLimit,
) -> Result<LimitView> {
    set.check()?;
    let subject = set.whose.find(store).await?;
    let now = clock.now();
    let mut change = Change::begin(store).await?;
    let known = queries::find_limit_of(&mut change, &subject, set.model.as_deref()).await?;
    let present = known.as_ref().filter(|(limit, _)| limit.removed_at.is_none());
    believed.check(present.map(|(limit, _)| limit.version))?;
    if let Some((before, names)) = present.filter(|(before, _)| set.is_as(before)) {
        return Ok(LimitView::of(before, names));
    }
    let id = known.as_ref().map_or_else(|| LimitId::from(ids::fresh("limit_")), |(limit, _)| limit.id.clone());
    let created_at = present.map_or(now, |(before, _)| before.created_at);
    let mut limit = Limit { created_at, ..set.limit(id, subject, now) };
    limit.version = change.version;
    queries::write_limit(&mut change, &limit).await?;
    let (limit, names) = queries::find_limit(&mut change, &limit.id).await?.ok_or_else(|| unknown(&limit.id))?;
    let view = LimitView::of(&limit, &names);
    let detail = match present {
        Some((before, names)) => difference(&value_of(&LimitView::of(before, names))?, &value_of(&view)?),
        None => value_of(&view)?,
    };
    change.commit(&Act::new(now, actor, "limit.set", limit.id.as_str(), detail)).await?;
    Ok(view)
}

/// Which limits a list is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Those of this team or key.
    pub whose: Whose,
    /// Those on exactly this model, or beginning of names and `*`.
    pub model: Option<String>,
}

/// Limits that count, the oldest first. Fails with [`Kind::NotFound`] without such a team or key.
pub async fn list_limits(store: &Store, which: &Limits, page: &Page) -> Result<Listed<LimitView>> {
    let subject = which.whose.filter(store).await?;
    let model = which.model.as_deref().unwrap_or_default();
    let rows = queries::page_of_limits(store, page.after_id(), subject.as_ref(), model, page.rows()).await?;
    let listed = page.of(rows, |(limit, _)| limit.id.to_string());
    Ok(listed.map(|(limit, names)| LimitView::of(&limit, &names)))
}

/// Removes a limit; told as it was. It counts within a second or two in every process that serves from this store. Fails
/// with [`Kind::NotFound`] for one that does not count, and with [`Kind::Stale`].
pub async fn remove_limit(
    store: &Store,
    clock: &Clock,
    actor: Actor,
    (id, believed): (&LimitId, &Precondition),
) -> Result<LimitView> {
    let mut change = Change::begin(store).await?;
    let found = queries::find_limit(&mut change, id).await?;
    let (mut limit, names) = found.filter(|(limit, _)| limit.removed_at.is_none()).ok_or_else(|| unknown(id))?;
    believed.check(Some(limit.version))?;
    let now = clock.now();
    (limit.removed_at, limit.updated_at, limit.version) = (Some(now), now, change.version);
    queries::write_limit(&mut change, &limit).await?;
    let view = LimitView::of(&limit, &names);
    change.commit(&Act::new(now, actor, "limit.remove", id.as_str(), value_of(&view)?)).await?;
    Ok(view)
}

fn unknown(id: &LimitId) -> Error {
    Error::new(Kind::NotFound, format!("There is no limit `{}`.", shown(id.as_str()))).param("id")
}
