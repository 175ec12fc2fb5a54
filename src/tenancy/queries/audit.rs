//! The audit log's table.

use sqlx::any::AnyRow;
use sqlx::{Any, Row as _, Transaction};

use super::{Decoded, clean, readable, timestamp};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::Store;
use crate::tenancy::admin::view::ActView;
use crate::tenancy::admin::{Act, Acts, moment};

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

const AUDIT_PAGE: &str = "-- tenancy.audit_page
SELECT id, at, actor, action, subject, detail FROM audit
WHERE (at < $1 OR (at = $1 AND id < $2)) AND at >= $3 AND at < $4
AND ($5 = '' OR actor = $5) AND ($6 = '' OR action = $6) AND ($7 = '' OR subject = $7)
ORDER BY at DESC, id DESC LIMIT $8";

/// Acts that come before this moment and id, the newest first, and when each was.
pub(in crate::tenancy) async fn page_of_acts(
    store: &Store,
    which: &Acts,
    before: Option<(Timestamp, &str)>,
    rows: i64,
) -> Result<Vec<(Timestamp, ActView)>> {
    let text = |text: &Option<String>| clean(text.as_deref().unwrap_or_default());
    let (at, id) = before.map_or((i64::MAX, ""), |(at, id)| (at.millis(), id));
    let query = sqlx::query(AUDIT_PAGE)
        .bind(at)
        .bind(clean(id))
        .bind(which.from.map_or(i64::MIN, Timestamp::millis))
        .bind(which.to.map_or(i64::MAX, Timestamp::millis))
        .bind(text(&which.actor))
        .bind(text(&which.action))
        .bind(text(&which.subject))
        .bind(rows);
    let rows = query.fetch_all(store.pool()).await?;
    Ok(rows.iter().filter_map(|row| readable("line of the audit log", row, act(row))).collect())
}

fn act(row: &AnyRow) -> Decoded<(Timestamp, ActView)> {
    let at = timestamp(row, "at")?;
    let view = ActView {
        id: row.try_get("id")?,
        at: moment::tell(at),
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        detail: serde_json::from_str(&row.try_get::<String, _>("detail")?)?,
    };
    Ok((at, view))
}
