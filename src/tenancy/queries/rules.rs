//! The tables of limits and budgets.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Decoded, optional_timestamp, readable, timestamp};
use crate::error::Result;
use crate::ids::{BudgetId, LimitId};
use crate::money::MicroUsd;
use crate::store::Store;
use crate::tenancy::budget::Budget;
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
