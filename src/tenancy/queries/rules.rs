//! The tables of limits and budgets.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Change, Decoded, clean, count, optional_timestamp, readable, timestamp};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::{BudgetId, LimitId};
use crate::money::MicroUsd;
use crate::store::Store;
use crate::tenancy::budget::{Budget, Period};
use crate::tenancy::limit::{Limit, Subject};

const LIMITS: &str = "-- tenancy.limits
SELECT id, subject_kind, subject_id, model, requests_per_minute, tokens_per_minute, concurrent_requests, created_at,
updated_at, removed_at, version
FROM limits WHERE removed_at IS NULL ORDER BY id";

/// Every limit that counts.
pub(in crate::tenancy) async fn limits(store: &Store) -> Result<Vec<Limit>> {
    let rows = sqlx::query(LIMITS).fetch_all(store.pool()).await?;
    Ok(rows.iter().filter_map(|row| readable("limit", row, limit(row))).collect())
}

/// What the subject of a limit or budget is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::tenancy) struct Names {
    pub(in crate::tenancy) team: Option<String>,
    pub(in crate::tenancy) key: Option<String>,
}

impl Names {
    fn read(row: &AnyRow) -> Decoded<Self> {
        Ok(Self { team: row.try_get("team_name")?, key: row.try_get("key_name")? })
    }
}

const LIMIT_PAGE: &str = "-- tenancy.limit_page
SELECT l.id, l.subject_kind, l.subject_id, l.model, l.requests_per_minute, l.tokens_per_minute, l.concurrent_requests,
l.created_at, l.updated_at, l.removed_at, l.version, t.name AS team_name, k.name AS key_name
FROM limits l
LEFT JOIN teams t ON l.subject_kind = 'team' AND t.id = l.subject_id
LEFT JOIN keys k ON l.subject_kind = 'key' AND k.id = l.subject_id
WHERE l.removed_at IS NULL AND l.id > $1 AND ($2 = '' OR (l.subject_kind = $2 AND l.subject_id = $3))
AND ($4 = '' OR l.model = $4)
ORDER BY l.id LIMIT $5";

/// Limits that count and whose ids come after this one, in the order of their ids; with a subject or model, its alone.
pub(in crate::tenancy) async fn page_of_limits(
    store: &Store,
    after: &str,
    subject: Option<&Subject>,
    model: &str,
    rows: i64,
) -> Result<Vec<(Limit, Names)>> {
    let (kind, id) = subject.map_or(("", ""), Subject::parts);
    let query = sqlx::query(LIMIT_PAGE).bind(clean(after)).bind(kind).bind(id).bind(clean(model)).bind(rows);
    let named = |row: &AnyRow| Decoded::Ok((limit(row)?, Names::read(row)?));
    let rows = query.fetch_all(store.pool()).await?;
    Ok(rows.iter().filter_map(|row| readable("limit", row, named(row))).collect())
}

const LIMIT_BY_ID: &str = "-- tenancy.limit_by_id
SELECT l.id, l.subject_kind, l.subject_id, l.model, l.requests_per_minute, l.tokens_per_minute, l.concurrent_requests,
l.created_at, l.updated_at, l.removed_at, l.version, t.name AS team_name, k.name AS key_name
FROM limits l
LEFT JOIN teams t ON l.subject_kind = 'team' AND t.id = l.subject_id
LEFT JOIN keys k ON l.subject_kind = 'key' AND k.id = l.subject_id
WHERE l.id = $1";

/// The limit with this id, removed or not, as it is in the change.
pub(in crate::tenancy) async fn find_limit(change: &mut Change, id: &LimitId) -> Result<Option<(Limit, Names)>> {
    let row = sqlx::query(LIMIT_BY_ID).bind(clean(id.as_str())).fetch_optional(&mut *change.transaction).await?;
    row.map(|row| Decoded::Ok((limit(&row)?, Names::read(&row)?))).transpose().map_err(Error::internal)
}

const LIMIT_BY_SUBJECT: &str = "-- tenancy.limit_by_subject
SELECT l.id, l.subject_kind, l.subject_id, l.model, l.requests_per_minute, l.tokens_per_minute, l.concurrent_requests,
l.created_at, l.updated_at, l.removed_at, l.version, t.name AS team_name, k.name AS key_name
FROM limits l
LEFT JOIN teams t ON l.subject_kind = 'team' AND t.id = l.subject_id
LEFT JOIN keys k ON l.subject_kind = 'key' AND k.id = l.subject_id
WHERE l.subject_kind = $1 AND l.subject_id = $2 AND l.model = $3";

/// The limit of this subject and model, removed or not, as it is in the change.
pub(in crate::tenancy) async fn find_limit_of(
    change: &mut Change,
    subject: &Subject,
    model: Option<&str>,
) -> Result<Option<(Limit, Names)>> {
    let (kind, id) = subject.parts();
    let query = sqlx::query(LIMIT_BY_SUBJECT).bind(kind).bind(id).bind(model.unwrap_or_default());
    let row = query.fetch_optional(&mut *change.transaction).await?;
    row.map(|row| Decoded::Ok((limit(&row)?, Names::read(&row)?))).transpose().map_err(Error::internal)
}

const LIMIT_WRITE: &str = "-- tenancy.limit_write
INSERT INTO limits (id, subject_kind, subject_id, model, requests_per_minute, tokens_per_minute, concurrent_requests,
created_at, updated_at, removed_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (id) DO UPDATE SET requests_per_minute = excluded.requests_per_minute,
tokens_per_minute = excluded.tokens_per_minute, concurrent_requests = excluded.concurrent_requests,
created_at = excluded.created_at, updated_at = excluded.updated_at, removed_at = excluded.removed_at,
version = excluded.version";

/// Adds a limit, or writes the one with its id anew.
pub(in crate::tenancy) async fn write_limit(change: &mut Change, limit: &Limit) -> Result<()> {
    let (kind, subject) = limit.subject.parts();
    let query = sqlx::query(LIMIT_WRITE)
        .bind(limit.id.as_str())
        .bind(kind)
        .bind(subject)
        .bind(limit.model.as_deref().unwrap_or_default())
        .bind(limit.requests_per_minute.map(count))
        .bind(limit.tokens_per_minute.map(count))
        .bind(limit.concurrent_requests.map(i64::from))
        .bind(limit.created_at.millis())
        .bind(limit.updated_at.millis())
        .bind(limit.removed_at.map(Timestamp::millis))
        .bind(limit.version);
    query.execute(&mut *change.transaction).await?;
    Ok(())
}

fn limit(row: &AnyRow) -> Decoded<Limit> {
    let model: String = row.try_get("model")?;
    let number = |column: &str| row.try_get::<Option<i64>, _>(column);
    Ok(Limit {
        id: LimitId::from(row.try_get::<String, _>("id")?),
        subject: subject(row)?,
        model: Some(model).filter(|model| !model.is_empty()),
        requests_per_minute: number("requests_per_minute")?.map(u64::try_from).transpose()?,
        tokens_per_minute: number("tokens_per_minute")?.map(u64::try_from).transpose()?,
        concurrent_requests: number("concurrent_requests")?.map(u32::try_from).transpose()?,
        created_at: timestamp(row, "created_at")?,
        updated_at: timestamp(row, "updated_at")?,
        removed_at: optional_timestamp(row, "removed_at")?,
        version: row.try_get("version")?,
    })
}

const BUDGETS: &str = "-- tenancy.budgets
SELECT id, subject_kind, subject_id, period, limit_micro_usd, created_at, updated_at, removed_at, version
FROM budgets WHERE removed_at IS NULL ORDER BY id";

/// Every budget that counts.
pub(in crate::tenancy) async fn budgets(store: &Store) -> Result<Vec<Budget>> {
    let rows = sqlx::query(BUDGETS).fetch_all(store.pool()).await?;
    Ok(rows.iter().filter_map(|row| readable("budget", row, budget(row))).collect())
}

const BUDGET_PAGE: &str = "-- tenancy.budget_page
SELECT b.id, b.subject_kind, b.subject_id, b.period, b.limit_micro_usd, b.created_at, b.updated_at, b.removed_at,
b.version, t.name AS team_name, k.name AS key_name
FROM budgets b
LEFT JOIN teams t ON b.subject_kind = 'team' AND t.id = b.subject_id
LEFT JOIN keys k ON b.subject_kind = 'key' AND k.id = b.subject_id
WHERE b.removed_at IS NULL AND b.id > $1 AND ($2 = '' OR (b.subject_kind = $2 AND b.subject_id = $3))
AND ($4 = '' OR b.period = $4)
ORDER BY b.id LIMIT $5";

/// Budgets that count and whose ids come after this one, in the order of their ids; with a subject or period, its alone.
pub(in crate::tenancy) async fn page_of_budgets(
    store: &Store,
    after: &str,
    subject: Option<&Subject>,
    period: Option<Period>,
    rows: i64,
) -> Result<Vec<(Budget, Names)>> {
    let (kind, id) = subject.map_or(("", ""), Subject::parts);
    let period = period.map(|period| period.to_string()).unwrap_or_default();
    let query = sqlx::query(BUDGET_PAGE).bind(clean(after)).bind(kind).bind(id).bind(period).bind(rows);
    let named = |row: &AnyRow| Decoded::Ok((budget(row)?, Names::read(row)?));
    let rows = query.fetch_all(store.pool()).await?;
    Ok(rows.iter().filter_map(|row| readable("budget", row, named(row))).collect())
}

const BUDGET_BY_ID: &str = "-- tenancy.budget_by_id
SELECT b.id, b.subject_kind, b.subject_id, b.period, b.limit_micro_usd, b.created_at, b.updated_at, b.removed_at,
b.version, t.name AS team_name, k.name AS key_name
FROM budgets b
LEFT JOIN teams t ON b.subject_kind = 'team' AND t.id = b.subject_id
LEFT JOIN keys k ON b.subject_kind = 'key' AND k.id = b.subject_id
WHERE b.id = $1";

/// The budget with this id, removed or not, as it is in the change.
pub(in crate::tenancy) async fn find_budget(change: &mut Change, id: &BudgetId) -> Result<Option<(Budget, Names)>> {
    let row = sqlx::query(BUDGET_BY_ID).bind(clean(id.as_str())).fetch_optional(&mut *change.transaction).await?;
    row.map(|row| Decoded::Ok((budget(&row)?, Names::read(&row)?))).transpose().map_err(Error::internal)
}

const BUDGET_BY_SUBJECT: &str = "-- tenancy.budget_by_subject
SELECT b.id, b.subject_kind, b.subject_id, b.period, b.limit_micro_usd, b.created_at, b.updated_at, b.removed_at,
b.version, t.name AS team_name, k.name AS key_name
FROM budgets b
LEFT JOIN teams t ON b.subject_kind = 'team' AND t.id = b.subject_id
LEFT JOIN keys k ON b.subject_kind = 'key' AND k.id = b.subject_id
WHERE b.subject_kind = $1 AND b.subject_id = $2 AND b.period = $3";

/// The budget of this subject and period, removed or not, as it is in the change.
pub(in crate::tenancy) async fn find_budget_of(
    change: &mut Change,
    subject: &Subject,
    period: Period,
) -> Result<Option<(Budget, Names)>> {
    let (kind, id) = subject.parts();
    let query = sqlx::query(BUDGET_BY_SUBJECT).bind(kind).bind(id).bind(period.to_string());
    let row = query.fetch_optional(&mut *change.transaction).await?;
    row.map(|row| Decoded::Ok((budget(&row)?, Names::read(&row)?))).transpose().map_err(Error::internal)
}

const BUDGET_WRITE: &str = "-- tenancy.budget_write
INSERT INTO budgets (id, subject_kind, subject_id, period, limit_micro_usd, created_at, updated_at, removed_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (id) DO UPDATE SET limit_micro_usd = excluded.limit_micro_usd, created_at = excluded.created_at,
updated_at = excluded.updated_at, removed_at = excluded.removed_at, version = excluded.version";

/// Adds a budget, or writes the one with its id anew.
pub(in crate::tenancy) async fn write_budget(change: &mut Change, budget: &Budget) -> Result<()> {
    let (kind, subject) = budget.subject.parts();
    let query = sqlx::query(BUDGET_WRITE)
        .bind(budget.id.as_str())
        .bind(kind)
        .bind(subject)
        .bind(budget.period.to_string())
        .bind(budget.limit.0)
        .bind(budget.created_at.millis())
        .bind(budget.updated_at.millis())
        .bind(budget.removed_at.map(Timestamp::millis))
        .bind(budget.version);
    query.execute(&mut *change.transaction).await?;
    Ok(())
}

fn budget(row: &AnyRow) -> Decoded<Budget> {
    Ok(Budget {
        id: BudgetId::from(row.try_get::<String, _>("id")?),
        subject: subject(row)?,
        period: row.try_get::<String, _>("period")?.parse()?,
        limit: MicroUsd(row.try_get("limit_micro_usd")?),
        created_at: timestamp(row, "created_at")?,
        updated_at: timestamp(row, "updated_at")?,
        removed_at: optional_timestamp(row, "removed_at")?,
        version: row.try_get("version")?,
    })
}

fn subject(row: &AnyRow) -> Decoded<Subject> {
    let (kind, id): (String, String) = (row.try_get("subject_kind")?, row.try_get("subject_id")?);
    Ok(Subject::from_parts(&kind, &id).ok_or("subject_kind is none of everyone, team, key")?)
}
