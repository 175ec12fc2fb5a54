//! What administrators look at besides the batches themselves: how shards are spread, and whether a webhook was told.

use super::batches::Batches;
use super::queries::{self, Spread};
use super::webhook::{self, Notice};
use crate::error::Result;

impl Batches {
    /// How the shards of a batch are spread over Regions and models, and how far they are.
    pub async fn spread(&self, id: &str) -> Result<Vec<Spread>> {
        queries::spread(self.store(), id).await
    }

    /// What became of the message about the end of a batch; `None`: nobody was to be told, or it was long ago.
    pub async fn notice(&self, id: &str) -> Result<Option<Notice>> {
        webhook::notice(self.store(), id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::record::{Kind, ShardState};
    use crate::store::testing;

    #[tokio::test]
    async fn shards_are_added_up_by_where_and_how_they_are() {
        for store in testing::stores().await {
            let shard = "INSERT INTO batch_shards (batch_id, number, kind, model, model_id, call_id, region, bucket, \
                         invocation, attempt, records, bytes, worst_micro_usd, state, done, failed, cancelled, expired, \
                         queued_at) VALUES ";
            for (number, region, state, done) in
                [(0, "us-east-1", "settled", 100), (1, "us-east-1", "settled", 50), (2, "us-west-2", "queued", 0)]
            {
                let row = format!(
                    "('batch_1', {number}, 'job', 'm', 'x.m', 'x.m', '{region}', 'b', 'Converse', 1, 100, 1, 1, '{state}', \
                     {done}, 0, 0, 0, 1)"
                );
                let sql = sqlx::AssertSqlSafe(format!("{shard}{row}"));
                sqlx::query(sql).execute(store.pool()).await.unwrap();
            }
            let spread = queries::spread(&store, "batch_1").await.unwrap();
            let told: Vec<_> = spread
                .iter()
                .map(|group| (&*group.region, group.state, group.shards, group.records, group.done))
                .collect();
            let expected =
                [("us-east-1", ShardState::Settled, 2, 200, 150), ("us-west-2", ShardState::Queued, 1, 100, 0)];
            assert_eq!(told, expected);
            assert!(spread.iter().all(|group| group.kind == Kind::Job && group.model_id == "x.m"));
            assert_eq!(queries::spread(&store, "batch_2").await.unwrap(), []);
        }
    }
}
