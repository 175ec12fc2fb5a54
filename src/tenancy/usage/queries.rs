//! Every statement on the sums by day, and those that add the ledger up, in one dialect that SQLite and Postgres share.
//!
//! A function here is one statement or one transaction and decides nothing.

use std::sync::LazyLock;

use sqlx::any::AnyRow;
use sqlx::{Any, Row as _, Transaction};

use super::Row;
use super::question::{DAY, Dimension, Group, Question, RolledUp, TEXTS};
use super::retention::{Sum, Sums};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::TeamId;
use crate::money::MicroUsd;
use crate::store::Store;
use crate::tenancy::Subject;

/// Calls added up, in the ledger and in the sums by day; `$1` to `$10` say by what. The condition on who is put in for
/// `:who`, so that it finds its index.
const REPORT: &str = "-- usage.report
SELECT g.team, g.api_key, g.model, g.region, g.tier, g.surface, g.operation, g.outcome, g.end_user, g.day,
teams.name AS team_name, keys.name AS key_name, g.requests, g.unpriced, g.input_tokens, g.output_tokens,
g.cache_read_tokens, g.cache_write_tokens, g.cost
FROM (
    SELECT team, api_key, model, region, tier, surface, operation, outcome, end_user, day,
    CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(unpriced) AS BIGINT) AS unpriced,
    CAST(SUM(input_tokens) AS BIGINT) AS input_tokens, CAST(SUM(output_tokens) AS BIGINT) AS output_tokens,
    CAST(SUM(cache_read_tokens) AS BIGINT) AS cache_read_tokens,
    CAST(SUM(cache_write_tokens) AS BIGINT) AS cache_write_tokens, CAST(SUM(cost) AS BIGINT) AS cost
    FROM (
        SELECT CASE WHEN $1 = 1 THEN team_id ELSE '' END AS team, CASE WHEN $2 = 1 THEN key_id ELSE '' END AS api_key,
        CASE WHEN $3 = 1 THEN model ELSE '' END AS model,
        CASE WHEN $4 = 1 THEN COALESCE(region, '') ELSE '' END AS region,
        CASE WHEN $5 = 1 THEN tier ELSE '' END AS tier, CASE WHEN $6 = 1 THEN surface ELSE '' END AS surface,
        CASE WHEN $7 = 1 THEN operation ELSE '' END AS operation,
        CASE WHEN $8 = 1 THEN outcome ELSE '' END AS outcome,
        CASE WHEN $9 = 1 THEN COALESCE(end_user, '') ELSE '' END AS end_user,
        CASE WHEN $10 = 1 THEN at / 86400000 ELSE 0 END AS day,
        1 AS requests, CASE WHEN cost_micro_usd IS NULL THEN 1 ELSE 0 END AS unpriced,
        input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_micro_usd AS cost
        FROM ledger
        WHERE :who AND at >= $11 AND at < $12 AND ($17 = '' OR model = $17) AND ($18 = '' OR region = $18)
        UNION ALL
        SELECT CASE WHEN $1 = 1 THEN team_id ELSE '' END, CASE WHEN $2 = 1 THEN key_id ELSE '' END,
        CASE WHEN $3 = 1 THEN model ELSE '' END, CASE WHEN $4 = 1 THEN region ELSE '' END,
        CASE WHEN $5 = 1 THEN tier ELSE '' END, CASE WHEN $6 = 1 THEN surface ELSE '' END,
        CASE WHEN $7 = 1 THEN operation ELSE '' END, CASE WHEN $8 = 1 THEN outcome ELSE '' END,
        '', CASE WHEN $10 = 1 THEN day ELSE 0 END,
        requests, unpriced, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_micro_usd
        FROM usage_daily
        WHERE :who AND day >= $13 AND day < $14 AND ($17 = '' OR model = $17) AND ($18 = '' OR region = $18)
    ) calls
    GROUP BY team, api_key, model, region, tier, surface, operation, outcome, end_user, day
) g
LEFT JOIN teams ON teams.id = g.team
LEFT JOIN keys ON keys.id = g.api_key
WHERE $19 = 0 OR (g.team, g.api_key, g.model, g.region, g.day, g.tier, g.surface, g.operation, g.outcome, g.end_user)
    > ($20, $21, $22, $23, $29, $24, $25, $26, $27, $28)
ORDER BY g.team, g.api_key, g.model, g.region, g.day, g.tier, g.surface, g.operation, g.outcome, g.end_user
LIMIT $30";

/// [`REPORT`] of everybody, of a team, and of a key.
static REPORTS: LazyLock<[String; 3]> = LazyLock::new(|| {
    let who = [
        "($15 = '' OR team_id = $15) AND ($16 = '' OR key_id = $16)",
        "team_id = $15 AND ($16 = '' OR key_id = $16)",
        "key_id = $16 AND ($15 = '' OR team_id = $15)",
    ];
    who.map(|who| REPORT.replace(":who", who))
});

/// The rows of a page, and one more if there are more.
pub(super) async fn report(store: &Store, question: &Question) -> Result<Vec<Row>> {
    let [everybody, of_team, of_key] = &*REPORTS;
    let sql: &'static str = match (&question.filter.key, &question.filter.team) {
        (Some(_), _) => of_key,
        (None, Some(_)) => of_team,
        (None, None) => everybody,
    };
    let mut query = sqlx::query(sql);
    for dimension in TEXTS.into_iter().chain([Dimension::Day]) {
        query = query.bind(i64::from(question.by.contains(&dimension)));
    }
    let (first_day, end_day) = question.whole_days();
    query = query.bind(question.from.millis()).bind(question.until.millis()).bind(first_day).bind(end_day);
    let filter = &question.filter;
    let team = filter.team.as_ref().map_or("", |team| team.as_str());
    let key = filter.key.as_ref().map_or("", |key| key.as_str());
    for text in [team, key, filter.model.as_deref().unwrap_or(""), filter.region.as_deref().unwrap_or("")] {
        query = query.bind(clean(text));
    }
    query = query.bind(i64::from(question.after.is_some()));
    let after = question.after.clone().unwrap_or_default();
    for text in &after.texts {
        query = query.bind(clean(text));
    }
    query = query.bind(after.day).bind(i64::from(question.limit) + 1);
    let rows = query.fetch_all(store.pool()).await?;
    Ok(rows.iter().map(row).collect::<Result<_, sqlx::Error>>()?)
}

fn row(row: &AnyRow) -> Result<Row, sqlx::Error> {
    let mut texts: [String; 9] = Default::default();
    for (index, text) in texts.iter_mut().enumerate() {
        *text = row.try_get(index)?;
    }
    let number = |column: &str| row.try_get::<i64, _>(column).map(|number| u64::try_from(number).unwrap_or_default());
    Ok(Row {
        group: Group { texts, day: row.try_get("day")? },
        team_name: row.try_get("team_name")?,
        key_name: row.try_get("key_name")?,
        requests: number("requests")?,
        input_tokens: number("input_tokens")?,
        output_tokens: number("output_tokens")?,
        cache_read_tokens: number("cache_read_tokens")?,
        cache_write_tokens: number("cache_write_tokens")?,
        cost: row.try_get::<Option<i64>, _>("cost")?.map(MicroUsd),
        unpriced: number("unpriced")?,
    })
}

const ROLLED_UP: &str = "-- usage.rolled_up
SELECT CAST(MAX(CASE WHEN day = $3 THEN 1 ELSE 0 END) AS BIGINT) AS first_cut,
CAST(MAX(CASE WHEN day = $4 THEN 1 ELSE 0 END) AS BIGINT) AS last_cut, MAX(day) AS latest
FROM usage_daily WHERE day >= $1 AND day < $2";

/// Which of the days that a question reaches into are kept in sums.
pub(super) async fn rolled_up(store: &Store, question: &Question) -> Result<RolledUp> {
    let (touched, whole) = (question.touched_days(), question.whole_days());
    // Where it begins or ends at midnight, it cuts no day.
    let first = if touched.0 < whole.0 { touched.0 } else { -1 };
    let last = if whole.1 < touched.1 { whole.1 } else { -1 };
    let query = sqlx::query(ROLLED_UP).bind(touched.0).bind(touched.1).bind(first).bind(last);
    let row = query.fetch_one(store.pool()).await?;
    let is = |column: &str| row.try_get::<Option<i64>, _>(column).map(|flag| flag == Some(1));
    Ok(RolledUp { first: is("first_cut")?, last: is("last_cut")?, latest: row.try_get("latest")? })
}

const TEAM: &str = "-- usage.team
SELECT id FROM teams WHERE id = $1 OR name = $1 ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1";

/// The team with this id, or else this name.
pub(super) async fn find_team(store: &Store, id_or_name: &str) -> Result<Option<TeamId>> {
    let row = sqlx::query(TEAM).bind(clean(id_or_name)).fetch_optional(store.pool()).await?;
    Ok(row.map(|row| row.try_get::<String, _>("id")).transpose()?.map(TeamId::from))
}

const SPENT_BY_TEAM: &str = "-- usage.spent_by_team
SELECT CAST(SUM(cost_micro_usd) AS BIGINT) AS spent FROM (
    SELECT cost_micro_usd FROM ledger WHERE team_id = $3 AND at >= $1
    UNION ALL SELECT cost_micro_usd FROM usage_daily WHERE team_id = $3 AND day >= $2
) calls";

const SPENT_BY_KEY: &str = "-- usage.spent_by_key
SELECT CAST(SUM(cost_micro_usd) AS BIGINT) AS spent FROM (
    SELECT cost_micro_usd FROM ledger WHERE key_id = $3 AND at >= $1
    UNION ALL SELECT cost_micro_usd FROM usage_daily WHERE key_id = $3 AND day >= $2
) calls";

const SPENT_BY_EVERYONE: &str = "-- usage.spent_by_everyone
SELECT CAST(SUM(cost_micro_usd) AS BIGINT) AS spent FROM (
    SELECT cost_micro_usd FROM ledger WHERE at >= $1
    UNION ALL SELECT cost_micro_usd FROM usage_daily WHERE day >= $2
) calls";

/// The costs since then, in sum.
pub(super) async fn spent(store: &Store, subject: &Subject, since: Timestamp) -> Result<MicroUsd> {
    let (sql, id) = match subject {
        Subject::Everyone => (SPENT_BY_EVERYONE, None),
        Subject::Team(team) => (SPENT_BY_TEAM, Some(team.as_str())),
        Subject::Key(key) => (SPENT_BY_KEY, Some(key.as_str())),
    };
    let mut query = sqlx::query(sql).bind(since.millis()).bind(since.millis().div_euclid(DAY));
    if let Some(id) = id {
        query = query.bind(clean(id));
    }
    let row = query.fetch_one(store.pool()).await?;
    Ok(MicroUsd(row.try_get::<Option<i64>, _>("spent")?.unwrap_or_default()))
}

const TAKE: &str = "-- usage.take
DELETE FROM ledger WHERE id IN (SELECT id FROM ledger WHERE at < $1 ORDER BY at, id LIMIT $2)
RETURNING at, team_id, key_id, model, region, tier, surface, operation, outcome, input_tokens, output_tokens,
cache_read_tokens, cache_write_tokens, cost_micro_usd";

const ADD: &str = "-- usage.add
INSERT INTO usage_daily (id, day, team_id, key_id, model, region, tier, surface, operation, outcome, requests, unpriced,
input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_micro_usd)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
ON CONFLICT (id) DO UPDATE SET requests = usage_daily.requests + excluded.requests,
unpriced = usage_daily.unpriced + excluded.unpriced, input_tokens = usage_daily.input_tokens + excluded.input_tokens,
output_tokens = usage_daily.output_tokens + excluded.output_tokens,
cache_read_tokens = usage_daily.cache_read_tokens + excluded.cache_read_tokens,
cache_write_tokens = usage_daily.cache_write_tokens + excluded.cache_write_tokens,
cost_micro_usd = CASE WHEN usage_daily.cost_micro_usd IS NULL THEN excluded.cost_micro_usd
WHEN excluded.cost_micro_usd IS NULL THEN usage_daily.cost_micro_usd
ELSE usage_daily.cost_micro_usd + excluded.cost_micro_usd END";

/// Takes the `limit` oldest rows that were settled before `border` out of the ledger and adds them to the sums of their
/// days, all or nothing; says how many there were. What is added is what was deleted and came back, so it does not matter
/// who else does the same, or writes to the ledger meanwhile.
pub(super) async fn roll_up(store: &Store, border: Timestamp, limit: u32) -> Result<u64> {
    let mut transaction = store.begin().await?;
    let query = sqlx::query(TAKE).bind(border.millis()).bind(i64::from(limit));
    let rows = query.fetch_all(&mut *transaction).await?;
    let mut sums = Sums::default();
    for row in &rows {
        take(row, &mut sums)?;
    }
    for (group, sum) in sums.into_ordered() {
        add(&mut transaction, &group, &sum).await?;
    }
    transaction.commit().await?;
    Ok(rows.len() as u64)
}

fn take(row: &AnyRow, sums: &mut Sums) -> Result<(), sqlx::Error> {
    let mut texts: [String; 8] = Default::default();
    let columns = ["team_id", "key_id", "model", "region", "tier", "surface", "operation", "outcome"];
    for (text, column) in texts.iter_mut().zip(columns) {
        *text = row.try_get::<Option<String>, _>(column)?.unwrap_or_default();
    }
    let cost: Option<i64> = row.try_get("cost_micro_usd")?;
    let tokens = [
        row.try_get("input_tokens")?,
        row.try_get("output_tokens")?,
        row.try_get("cache_read_tokens")?,
        row.try_get("cache_write_tokens")?,
    ];
    let at = Timestamp::from_millis(row.try_get("at")?);
    sums.add(at, texts, Sum { requests: 1, unpriced: i64::from(cost.is_none()), tokens, cost });
    Ok(())
}

async fn add(
    transaction: &mut Transaction<'static, Any>,
    (id, day, texts): &(String, i64, [String; 8]),
    sum: &Sum,
) -> Result<()> {
    let mut query = sqlx::query(ADD).bind(id.as_str()).bind(*day);
    for text in texts {
        query = query.bind(text.as_str());
    }
    query = query.bind(sum.requests).bind(sum.unpriced);
    for tokens in sum.tokens {
        query = query.bind(tokens);
    }
    query.bind(sum.cost).execute(&mut **transaction).await?;
    Ok(())
}

const AUDIT_PURGE: &str = "-- usage.audit_purge
DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT $2)";

/// Takes the `limit` oldest lines before `border` out of the audit log; says how many there were.
pub(super) async fn purge_audit(store: &Store, border: Timestamp, limit: u32) -> Result<u64> {
    let query = sqlx::query(AUDIT_PURGE).bind(border.millis()).bind(i64::from(limit));
    Ok(query.execute(store.pool()).await?.rows_affected())
}

/// Text as both databases take it: Postgres refuses NUL.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
