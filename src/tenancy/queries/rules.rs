//! The tables of limits and budgets.

use std::sync::LazyLock;

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Changed, Decoded, Mark, by_id, changed, optional_timestamp, readable, timestamp};
use crate::error::Result;
use crate::ids::{BudgetId, LimitId};
use crate::money::MicroUsd;
use crate::store::Store;
use crate::tenancy::budget::Budget;
use crate::tenancy::limit::{Limit, Subject};

static LIMITS_OF: LazyLock<by_id::Sizes> = LazyLock::new(|| {
    by_id::sizes(
        "-- tenancy.limits_of
SELECT id, subject_kind, subject_id, model, requests_per_minute, tokens_per_minute, concurrent_requests, created_at,
updated_at, removed_at, version
FROM limits WHERE removed_at IS NULL AND subject_kind IN ('everyone', 'team', 'key') AND subject_id IN",
    )
});

/// The limits of these subjects that count.
pub(in crate::tenancy) async fn limits_of(store: &Store, subjects: &[Subject]) -> Result<Vec<Limit>> {
    let ids: Vec<&str> = subjects.iter().map(|subject| subject.parts().1).collect();
    let rows = by_id::fetch(store, &LIMITS_OF, &ids).await?;
    let rows = rows.iter().filter_map(|row| readable("limit", row, limit(row)));
    // A team and a key may have the same id.
    Ok(rows.filter(|limit| subjects.contains(&limit.subject)).collect())
}

const LIMITS_SINCE: &str = "-- tenancy.limits_since
SELECT id, subject_kind, subject_id, model, requests_per_minute, tokens_per_minute, concurrent_requests, created_at,
updated_at, removed_at, version
FROM limits WHERE version >= $1 AND (version > $1 OR id > $2) ORDER BY version, id LIMIT $3";

/// The next limits that changed after `mark`, removed ones too, in the order of their changes; a page of
/// [`super::PAGE`] at most.
pub(in crate::tenancy) async fn limits_since(store: &Store, mark: &Mark) -> Result<Vec<Changed<Limit>>> {
    let rows = mark.bind(sqlx::query(LIMITS_SINCE)).fetch_all(store.pool()).await?;
    rows.iter().map(|row| changed("limit", row, limit(row))).collect()
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

static BUDGETS_OF: LazyLock<by_id::Sizes> = LazyLock::new(|| {
    by_id::sizes(
        "-- tenancy.budgets_of
SELECT id, subject_kind, subject_id, period, limit_micro_usd, created_at, updated_at, removed_at, version
FROM budgets WHERE removed_at IS NULL AND subject_kind IN ('everyone', 'team', 'key') AND subject_id IN",
    )
});

/// The budgets of these subjects that count.
pub(in crate::tenancy) async fn budgets_of(store: &Store, subjects: &[Subject]) -> Result<Vec<Budget>> {
    let ids: Vec<&str> = subjects.iter().map(|subject| subject.parts().1).collect();
    let rows = by_id::fetch(store, &BUDGETS_OF, &ids).await?;
    let rows = rows.iter().filter_map(|row| readable("budget", row, budget(row)));
    // A team and a key may have the same id.
    Ok(rows.filter(|budget| subjects.contains(&budget.subject)).collect())
}

const BUDGETS_SINCE: &str = "-- tenancy.budgets_since
SELECT id, subject_kind, subject_id, period, limit_micro_usd, created_at, updated_at, removed_at, version
FROM budgets WHERE version >= $1 AND (version > $1 OR id > $2) ORDER BY version, id LIMIT $3";

/// The next budgets that changed after `mark`, removed ones too, in the order of their changes; a page of
/// [`super::PAGE`] at most.
pub(in crate::tenancy) async fn budgets_since(store: &Store, mark: &Mark) -> Result<Vec<Changed<Budget>>> {
    let rows = mark.bind(sqlx::query(BUDGETS_SINCE)).fetch_all(store.pool()).await?;
    rows.iter().map(|row| changed("budget", row, budget(row))).collect()
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
