//! What files and batch jobs need: buckets, the role that Bedrock takes, and the gateway's own rights.

use futures_util::{StreamExt as _, stream};
use http::Method;

use super::bucket::{self, Bucket};
use super::regions::said;
use super::{AT_ONCE, Check, Examined, Group, Standing, role, told, within};
use crate::upstream::{PlainCall, Service};

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
            let (told, key) =
                tokio::time::timeout(super::PATIENCE, bucket::look(bucket, &batch.prefix)).await.unwrap_or_else(|_| {
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
    if !batch.role_arn.is_empty() {
        let jobs: Vec<_> = buckets.iter().map(|bucket| within(Group::Batch, "jobs", jobs(bucket))).collect();
        let told: Vec<_> = stream::iter(jobs).buffered(AT_ONCE).collect().await;
        checks.extend(told.into_iter().flatten());
    }
    checks
}

/// Whether the gateway may see its jobs in the bucket's Region; making one would be one.
async fn jobs(bucket: &Bucket<'_>) -> Vec<Check> {
    let subject = format!("jobs in {}", bucket.region.name());
    let call = PlainCall::new(Method::GET, ["model-invocation-jobs"]).query([("maxResults", "1")]);
    let grant = "Grant bedrock:ListModelInvocationJobs: `iam-policy` prints what batch jobs need as caller.";
    vec![match bucket.region.ask(Service::Control, &call).await {
        Ok(told) if told.is_success() => Check::ok(Group::Batch, subject, "may be listed"),
        Ok(told) if told.status == 403 => Check::failed(Group::Batch, subject, "may not be listed", grant),
        Ok(told) => {
            let found = format!("could not be listed: {}", said(&told.code, &told.message));
            Check::warning(Group::Batch, subject, found, "See what Bedrock says of it.")
        }
        Err(unreachable) => {
            let (found, remedy) = told(&unreachable);
            Check::failed(Group::Batch, subject, found, remedy)
        }
    }]
}
