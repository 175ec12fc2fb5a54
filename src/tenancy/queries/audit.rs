//! The audit log's table.

use sqlx::{Any, Transaction};

use crate::error::Result;
use crate::tenancy::admin::Act;

const AUDIT_INSERT: &str = "-- tenancy.audit_insert
INSERT INTO audit (id, at, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5, $6)";

/// Adds the line of an act, in the transaction that does it.
pub(super) async fn insert(transaction: &mut Transaction<'static, Any>, act: &Act<'_>) -> Result<()> {
    let query = sqlx::query(AUDIT_INSERT)
        .bind(act.id.as_str())
        .bind(act.at.millis())
        .bind(act.actor.to_string())
        .bind(act.action)
        .bind(act.subject)
        .bind(act.detail.to_string());
    query.execute(&mut **transaction).await?;
    Ok(())
}
