//! Setting and removing budgets. There is at most one for a subject and period: setting it again replaces it.

use strum::VariantNames as _;

use super::view::BudgetView;
use super::{Act, Actor, Listed, Page, Precondition, Whose, difference, shown, value_of};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::ids::{self, BudgetId};
use crate::money::MicroUsd;
use crate::store::Store;
use crate::tenancy::budget::{Budget, Period};
use crate::tenancy::limit::Subject;
use crate::tenancy::queries::{self, Change};
use crate::tenancy::usage;

/// The largest budget: a billion dollars.
const MOST: MicroUsd = MicroUsd(1_000_000_000_000_000);

/// What it takes to set a budget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetBudget {
    /// Whose calls it pays for: a team's or a key's.
    pub whose: Whose,
    /// `day`, `week`, `month` or `total`.
    pub period: String,
    /// US dollars as a decimal number: not negative, with six decimals at most.
    pub limit_usd: String,
}

impl SetBudget {
    fn read(&self) -> Result<(Period, MicroUsd)> {
        let period = period(&self.period)?;
        let told = "an amount of US dollars such as \"12.50\": from 0 to 1000000000, with at most six decimals";
        let amount = MicroUsd::parse(&self.limit_usd).filter(|amount| (MicroUsd(0)..=MOST).contains(amount));
        let amount = amount.ok_or_else(|| Error::invalid("limit_usd", format!("`limit_usd` has to be {told}.")))?;
        Ok((period, amount))
    }
}

fn period(text: &str) -> Result<Period> {
    let told = Period::VARIANTS.join("`, `");
    text.parse().map_err(|_| Error::invalid("period", format!("`period` has to be one of `{told}`.")))
}

/// Sets the budget of a subject and period. It keeps its id, whatever is set, also when it was removed in between. It
/// counts within a second or two in every process that serves from this store. Fails with [`Kind::Invalid`], the field
/// named, [`Kind::NotFound`] without such a team or key, and [`Kind::Stale`].
pub async fn set_budget(
    store: &Store,
    clock: &Clock,
    actor: Actor,
    believed: &Precondition,
    set: SetBudget,
) -> Result<BudgetView> {
    let (period, amount) = set.read()?;
    let subject = set.whose.find(store).await?;
    if subject == Subject::Everyone {
        return Err(Error::invalid("team", "Name the `team` or the `key` that the budget is for."));
    }
    let now = clock.now();
    let mut change = Change::begin(store).await?;
    let known = queries::find_budget_of(&mut change, &subject, period).await?;
    let present = known.as_ref().filter(|(budget, _)| budget.removed_at.is_none());
    believed.check(present.map(|(budget, _)| budget.version))?;
    let told = |budget: &Budget, names: &queries::Names| BudgetView::of(budget, names, now);
    if let Some((before, names)) = present.filter(|(before, _)| before.limit == amount) {
        drop(change);
        return with_spent(store, told(before, names), before, now).await;
    }
    let id = known.as_ref().map_or_else(|| BudgetId::from(ids::fresh("budget_")), |(budget, _)| budget.id.clone());
    let created_at = present.map_or(now, |(before, _)| before.created_at);
    let version = change.version;
    let budget = Budget { id, subject, period, limit: amount, created_at, updated_at: now, removed_at: None, version };
    queries::write_budget(&mut change, &budget).await?;
    let (budget, names) = queries::find_budget(&mut change, &budget.id).await?.ok_or_else(|| unknown(&budget.id))?;
    let view = told(&budget, &names);
    let detail = match present {
        Some((before, names)) => difference(&value_of(&told(before, names))?, &value_of(&view)?),
        None => value_of(&view)?,
    };
    change.commit(&Act::new(now, actor, "budget.set", budget.id.as_str(), detail)).await?;
    with_spent(store, view, &budget, now).await
}

/// Which budgets a list is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Those of this team or key.
    pub whose: Whose,
    /// Those of this period.
    pub period: Option<String>,
}

/// Budgets that count, the oldest first, as they are at `now`. Fails with [`Kind::NotFound`] without such a team or key,
/// and with [`Kind::Invalid`] for a period that is none.
pub async fn list_budgets(store: &Store, now: Timestamp, which: &Budgets, page: &Page) -> Result<Listed<BudgetView>> {
    let subject = which.whose.filter(store).await?;
    let period = which.period.as_deref().map(period).transpose()?;
    let rows = queries::page_of_budgets(store, page.after_id(), subject.as_ref(), period, page.rows()).await?;
    let listed = page.of(rows, |(budget, _)| budget.id.to_string());
    let mut data = Vec::with_capacity(listed.data.len());
    for (budget, names) in &listed.data {
        data.push(with_spent(store, BudgetView::of(budget, names, now), budget, now).await?);
    }
    Ok(Listed { data, next: listed.next })
}

/// With what the ledger says was spent in the period that `now` is in.
async fn with_spent(store: &Store, view: BudgetView, budget: &Budget, now: Timestamp) -> Result<BudgetView> {
    let since = budget.period.window(now).start;
    let spent = usage::spent(store, &budget.subject, Some(since)).await?;
    Ok(view.with_spent(budget, spent))
}

/// Removes a budget; told as it was. It counts within a second or two in every process that serves from this store. Fails
/// with [`Kind::NotFound`] for one that does not count, and with [`Kind::Stale`].
pub async fn remove_budget(
    store: &Store,
    clock: &Clock,
    actor: Actor,
    (id, believed): (&BudgetId, &Precondition),
) -> Result<BudgetView> {
    let mut change = Change::begin(store).await?;
    let found = queries::find_budget(&mut change, id).await?;
    let (mut budget, names) = found.filter(|(budget, _)| budget.removed_at.is_none()).ok_or_else(|| unknown(id))?;
    believed.check(Some(budget.version))?;
    let now = clock.now();
    (budget.removed_at, budget.updated_at, budget.version) = (Some(now), now, change.version);
    queries::write_budget(&mut change, &budget).await?;
    let view = BudgetView::of(&budget, &names, now);
    change.commit(&Act::new(now, actor, "budget.remove", id.as_str(), value_of(&view)?)).await?;
    with_spent(store, view, &budget, now).await
}

fn unknown(id: &BudgetId) -> Error {
    Error::new(Kind::NotFound, format!("There is no budget `{}`.", shown(id.as_str()))).param("id")
}
