//! A bucket: whether it is there, where it is, who else may see it, how it is encrypted.

use http::Method;

use super::regions::said;
use super::{Check, Group, told};
use crate::upstream::{PlainCall, Region, Service, Told, Unreachable};

/// A bucket of the configuration.
pub(super) struct Bucket<'a> {
    pub(super) region: &'a Region,
    pub(super) name: &'a str,
}

impl Bucket<'_> {
    pub(super) fn subject(&self) -> String {
        format!("bucket {} in {}", self.name, self.region.name())
    }

    async fn ask(&self, method: Method, about: Option<&str>) -> Result<Told, Unreachable> {
        let call = PlainCall::new(method, [self.name]).query(about.map(|about| (about, "")));
        self.region.ask(Service::S3, &call).await
    }
}

/// The checks of a bucket below `prefix`, and the KMS key by which it is encrypted.
pub(super) async fn look(bucket: &Bucket<'_>, prefix: &str) -> (Vec<Check>, Option<String>) {
    let head = match bucket.ask(Method::HEAD, None).await {
        Ok(head) => head,
        Err(unreachable) => {
            let (found, remedy) = told(&unreachable);
            return (vec![Check::failed(Group::Batch, bucket.subject(), format!("S3: {found}"), remedy)], None);
        }
    };
    if let Some(check) = fault(bucket, &head) {
        return (vec![check], None);
    }
    let about = |what| bucket.ask(Method::GET, Some(what));
    let (public, encryption, using) =
        futures_util::future::join3(about("publicAccessBlock"), about("encryption"), usable(bucket, prefix)).await;
    let (key, encrypted) = encryption.map_or((None, ""), |told| encrypted(&told));
    let found = format!("there{encrypted}");
    (vec![Check::ok(Group::Batch, bucket.subject(), found), public_access(bucket, public), using], key)
}

/// Whether the gateway itself may do with objects below the prefix what files and batches need, as far as that can be seen
/// without changing anything: of an upload that is not there S3 says so only to who might go on with it. Reading and
/// deleting have no such question.
async fn usable(bucket: &Bucket<'_>, prefix: &str) -> Check {
    let subject = format!("{}, files", bucket.subject());
    let prefix = prefix.trim_end_matches('/');
    let listed = format!("{prefix}/");
    let object = || [bucket.name].into_iter().chain(prefix.split('/')).chain(["files", "doctor"]);
    let no_upload = ("uploadId", "doctor");
    let list = PlainCall::new(Method::GET, [bucket.name]);
    let asked = [
        ("s3:ListBucket", list.query([("list-type", "2"), ("max-keys", "1"), ("prefix", &*listed)])),
        ("s3:PutObject", PlainCall::new(Method::PUT, object()).query([("partNumber", "1"), no_upload])),
        ("s3:AbortMultipartUpload", PlainCall::new(Method::DELETE, object()).query([no_upload])),
    ];
    let told_of = asked.map(|(action, call)| async move { (action, bucket.region.ask(Service::S3, &call).await) });
    let mut denied = Vec::new();
    for (action, answer) in futures_util::future::join_all(told_of).await {
        match answer {
            Ok(answer) if answer.is_success() || answer.code == "NoSuchUpload" => {}
            Ok(answer) if answer.status == 403 => denied.push(action),
            Ok(answer) => {
                let found = format!("could not be seen: {}", said(&answer.code, &answer.message));
                return Check::warning(Group::Batch, subject, found, "See what S3 says of it.");
            }
            Err(unreachable) => {
                let (found, remedy) = told(&unreachable);
                return Check::warning(Group::Batch, subject, found, remedy);
            }
        }
    }
    if denied.is_empty() {
        return Check::ok(Group::Batch, subject, "may be listed and written");
    }
    let found = format!("the gateway may not {} below {listed}", denied.join(", "));
    let remedy = "Grant it on the bucket: `iam-policy` prints what is needed as caller; and see what the bucket's policy denies.";
    Check::failed(Group::Batch, subject, found, remedy)
}

/// What keeps the bucket from being used.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html>
fn fault(bucket: &Bucket<'_>, head: &Told) -> Option<Check> {
    let really = head.headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
    let failed = |found: String, remedy: String| Some(Check::failed(Group::Batch, bucket.subject(), found, remedy));
    let here = &**bucket.region.name();
    if let Some(there) = really.filter(|there| *there != here) {
        return failed(
            format!("is in {there}"),
            format!("Bedrock reads and writes buckets of its own Region only: name one of {here} in batch.bucket."),
        );
    }
    match head.status {
        200..=299 => None,
        404 => failed("does not exist".to_owned(), format!("Make it in {here}, or correct batch.bucket.")),
        403 => failed(
            "may not be looked at".to_owned(),
            "Grant s3:ListBucket on it (`iam-policy` prints doctor and caller), and see that it is the account's own."
                .to_owned(),
        ),
        301 | 400 => failed("is in another Region".to_owned(), format!("Name a bucket of {here} in batch.bucket.")),
        status => failed(format!("S3 answers with {status}"), "See what S3 says of it.".to_owned()),
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetPublicAccessBlock.html>
fn public_access(bucket: &Bucket<'_>, answer: Result<Told, Unreachable>) -> Check {
    const BLOCKS: [&str; 4] = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];
    let subject = format!("{}, public access", bucket.subject());
    let grant = "Grant s3:GetBucketPublicAccessBlock (`iam-policy` prints doctor), or check it in the console.";
    let block = "Block all public access of the bucket: prompts and answers lie in it.";
    match answer {
        Err(unreachable) => Check::warning(Group::Batch, subject, told(&unreachable).0, grant),
        Ok(told) if told.is_success() => {
            let open: Vec<_> =
                BLOCKS.into_iter().filter(|name| told.element(name).as_deref() != Some("true")).collect();
            if open.is_empty() {
                Check::ok(Group::Batch, subject, "blocked")
            } else {
                Check::failed(Group::Batch, subject, format!("not blocked: {} is off", open.join(", ")), block)
            }
        }
        Ok(told) if told.status == 404 => Check::failed(Group::Batch, subject, "not blocked", block),
        Ok(told) => {
            let found = format!("could not be seen: {}", said(&told.code, &told.message));
            Check::warning(Group::Batch, subject, found, grant)
        }
    }
}

/// The key of the account's own by which objects are encrypted unless they say otherwise, and a word about it.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketEncryption.html>
fn encrypted(told: &Told) -> (Option<String>, &'static str) {
    if !told.is_success() {
        return (None, "");
    }
    match (told.element("SSEAlgorithm").as_deref(), told.element("KMSMasterKeyID")) {
        (Some("aws:kms" | "aws:kms:dsse"), Some(key)) => (Some(key), ", encrypted with a KMS key"),
        (Some("aws:kms" | "aws:kms:dsse"), None) => (None, ", encrypted with the KMS key of S3"),
        (Some(_), _) => (None, ", encrypted by S3"),
        (None, _) => (None, ""),
    }
}
