//! What files and batch jobs need: buckets, and the role that Bedrock takes.

use futures_util::{StreamExt as _, stream};

use super::bucket::{self, Bucket};
use super::{AT_ONCE, Check, Examined, Group, Standing, role, within};

/// Buckets in the order of the configured Regions, then the role.
pub(super) async fn look(examined: &Examined<'_>, standing: &Standing) -> Vec<Check> {
    let batch = &examined.config.batch;
    if batch.bucket.is_empty() {
        return vec![Check::skipped(
            Group::Batch,
            "buckets",
            "batch.bucket names none: no batches, no asynchronous invocations",
        )];
    }
    let mut checks: Vec<Check> = batch
        .bucket
        .keys()
        .filter(|region| examined.upstream.region(region).is_none())
        .map(|region| {
            let found = "the Region is not in aws.regions, so the bucket is not used";
            Check::warning(
                Group::Batch,
                format!("bucket in {region}"),
                found,
                "Add the Region, or take the bucket out.",
            )
        })
        .collect();
    let named = examined.upstream.regions().filter_map(|region| Some((region, batch.bucket.get(&**region.name())?)));
    let buckets: Vec<_> = named.map(|(region, name)| Bucket { region, name }).collect();
    if *standing == Standing::Nobody {
        let skip = |bucket: &Bucket<'_>| Check::skipped(Group::Batch, bucket.subject(), "needs credentials");
        checks.extend(buckets.iter().map(skip));
        return checks;
    }
    let looks: Vec<_> = buckets
        .iter()
        .map(|bucket| async move {
            let (told, key) = tokio::time::timeout(super::PATIENCE, bucket::look(bucket)).await.unwrap_or_else(|_| {
                let remedy = "Check the network, and aws.endpoints for S3.";
                (vec![Check::failed(Group::Batch, bucket.subject(), "no answer in time", remedy)], None)
            });
            (told, key.map(|key| (bucket.name, key)))
        })
        .collect();
    let found: Vec<_> = stream::iter(looks).buffered(AT_ONCE).collect().await;
    let mut keys = Vec::new();
    for (told, key) in found {
        checks.extend(told);
        keys.extend(key);
    }
    checks.extend(within(Group::Batch, "role", role::look(examined, standing, &buckets, &keys)).await);
    checks
}
