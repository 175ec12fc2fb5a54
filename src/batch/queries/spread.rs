//! How the shards of a batch are spread, added up by the database: a batch may have thousands.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{count, word};
use crate::batch::record::{Kind, ShardState};
use crate::error::Result;
use crate::store::Store;

/// Shards of a batch that have Region, kind and state in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Where.
    pub region: String,
    /// Bedrock's id of the model.
    pub model_id: String,
    /// How they run.
    pub kind: Kind,
    /// How far they are.
    pub state: ShardState,
    /// How many.
    pub shards: u64,
    /// Their records.
    pub records: u64,
    /// Of those, how many have an answer or an error.
    pub done: u64,
}

const SPREAD: &str = "-- batch_shard.spread
SELECT region, model_id, kind, state, COUNT(*) AS shards, CAST(SUM(records) AS BIGINT) AS records,
    CAST(SUM(done) AS BIGINT) AS done
FROM batch_shards WHERE batch_id = $1 GROUP BY region, model_id, kind, state ORDER BY region, model_id, kind, state";

/// How the shards of a batch are spread, by Region, model, kind and state.
pub(in crate::batch) async fn spread(store: &Store, batch: &str) -> Result<Vec<Spread>> {
    let rows = sqlx::query(SPREAD).bind(super::clean(batch)).fetch_all(store.pool()).await?;
    rows.iter().map(group).collect()
}

fn group(row: &AnyRow) -> Result<Spread> {
    Ok(Spread {
        region: row.try_get("region")?,
        model_id: row.try_get("model_id")?,
        kind: word(row, "kind")?,
        state: word(row, "state")?,
        shards: count(row, "shards")?,
        records: count(row, "records")?,
        done: count(row, "done")?,
    })
}
