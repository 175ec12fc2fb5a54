//! What batches leave in S3 goes when its time is over: inputs, indices and AWS's output, which are in no file.
//!
//! Result objects are parts of files and go with those; what is over for as long as anything is kept has none any more.

use std::time::Duration;

use crate::batch::batches::Batches;
use crate::batch::queries::{self, Stale};
use crate::clock::Timestamp;
use crate::error::Result;

/// Batches that are cleared at one look.
const AT_ONCE: u32 = 20;
/// How much longer than its files a batch's other objects are kept.
const GRACE: Duration = Duration::from_hours(1);
/// Objects that may be part of a file.
const RESULTS: [&str; 3] = ["/result.jsonl", "/errors.jsonl", "/refused.jsonl"];

impl Batches {
    /// Clears what is due. Whoever does it as well does no harm.
    pub(super) async fn purge(&self) -> Result<()> {
        let kept = Duration::from_hours(self.settings().retention_hours) + GRACE;
        let before = self.now().millis() - i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
        for stale in queries::stale(self.store(), Timestamp::from_millis(before), AT_ONCE).await? {
            self.clear(&stale).await?;
            queries::purged(self.store(), &stale.id, self.now()).await?;
        }
        Ok(())
    }

    async fn clear(&self, stale: &Stale) -> Result<()> {
        let prefix = self.keys(&stale.id).all();
        for (region, bucket) in &self.settings().bucket {
            let Some(objects) = self.gateway().upstream().objects(region) else { continue };
            let listed = objects.list(bucket, &prefix).await.map_err(|failure| failure.error)?;
            let is_result = |key: &str| RESULTS.iter().any(|end| key.ends_with(end));
            let keys: Vec<String> =
                listed.into_iter().map(|(key, _)| key).filter(|key| stale.is_old || !is_result(key)).collect();
            objects.delete(bucket, &keys).await.map_err(|failure| failure.error)?;
        }
        Ok(())
    }
}
