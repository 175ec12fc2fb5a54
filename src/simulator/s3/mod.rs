//! What a check of a bucket asks S3: `HeadBucket` and the reads of a bucket's settings, path-style or by host, with S3's answers for
//! buckets that are missing, somewhere else or somebody else's. No objects.

mod checksums;
mod files;
pub(crate) mod objects;
mod uploads;

use axum::http::request::Parts;
use serde_json::Value;

use super::account::Account;
use super::errors::{Failure, XML_HEAD};
use super::form::Xml;
use super::operations::Context;
use super::reply::{Payload, Reply};
use super::settings::{Bucket, Encryption};

const NAMESPACE: &str = " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

/// A call about a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    bucket: String,
    ask: Ask,
    /// `x-amz-expected-bucket-owner`.
    owner: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Head,
    Location,
    Encryption,
    Policy,
    PolicyStatus,
    PublicAccessBlock,
    /// What is not simulated.
    Other,
}

impl Request {
    /// What a request signed for S3 asks.
    pub(crate) fn read(parts: &Parts, account: &Account) -> Self {
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let host = parts.uri.authority().map(axum::http::uri::Authority::as_str).or_else(|| text("host"));
        let by_host = host.and_then(|host| account.bucket_of_host(host));
        let path = parts.uri.path().trim_start_matches('/');
        let (bucket, key) = match &by_host {
            Some(bucket) => (bucket.as_str(), path),
            None => path.split_once('/').unwrap_or((path, "")),
        };
        let asked: Vec<&str> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .map(|pair| pair.split('=').next().unwrap_or_default())
            .filter(|name| *name != "x-id" && !name.is_empty())
            .collect();
        let ask = match (parts.method.as_str(), key, &asked[..]) {
            ("HEAD", "", []) => Ask::Head,
            ("GET", "", ["location"]) => Ask::Location,
            ("GET", "", ["encryption"]) => Ask::Encryption,
            ("GET", "", ["policy"]) => Ask::Policy,
            ("GET", "", ["policyStatus"]) => Ask::PolicyStatus,
            ("GET", "", ["publicAccessBlock"]) => Ask::PublicAccessBlock,
            _ => Ask::Other,
        };
        Self { bucket: bucket.to_owned(), ask, owner: text("x-amz-expected-bucket-owner").map(str::to_owned) }
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self.ask {
            Ask::Head => "HeadBucket",
            Ask::Location => "GetBucketLocation",
            Ask::Encryption => "GetBucketEncryption",
            Ask::Policy => "GetBucketPolicy",
            Ask::PolicyStatus => "GetBucketPolicyStatus",
            Ask::PublicAccessBlock => "GetPublicAccessBlock",
            Ask::Other => "S3",
        }
    }

    /// The IAM action that it needs.
    pub(crate) const fn permission(&self) -> &'static str {
        match self.ask {
            Ask::Head | Ask::Other => "s3:ListBucket",
            Ask::Location => "s3:GetBucketLocation",
            Ask::Encryption => "s3:GetEncryptionConfiguration",
            Ask::Policy => "s3:GetBucketPolicy",
            Ask::PolicyStatus => "s3:GetBucketPolicyStatus",
            Ask::PublicAccessBlock => "s3:GetBucketPublicAccessBlock",
        }
    }

    pub(crate) fn arn(&self, context: &Context<'_>) -> String {
        format!("arn:{}:s3:::{}", context.partition(), self.bucket)
    }

    /// Answers the call.
    pub(crate) fn answer(&self, context: &Context<'_>) -> Result<Reply, Failure> {
        if self.ask == Ask::Other {
            return Err(Failure::new(
                501,
                "NotImplemented",
                "A header you provided implies functionality that is not implemented.",
            ));
        }
        let bucket = context.simulator.inner.account.bucket(&self.bucket);
        let bucket = bucket.ok_or_else(|| missing("NoSuchBucket", "The specified bucket does not exist"))?;
        // us-east-1 tells where any bucket is.
        let is_elsewhere =
            bucket.region != context.region && !(self.ask == Ask::Location && context.region == "us-east-1");
        if is_elsewhere {
            let message = "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all \
                           future requests to this endpoint.";
            return Err(Failure::new(301, "PermanentRedirect", message).of_bucket_in(&bucket.region));
        }
        let owner = bucket.owner.as_deref().unwrap_or(context.account());
        if owner != context.account() || self.owner.as_deref().is_some_and(|expected| expected != owner) {
            return Err(Failure::new(403, "AccessDenied", "Access Denied").of_bucket_in(&bucket.region));
        }
        self.tell(&bucket)
    }

    fn tell(&self, bucket: &Bucket) -> Result<Reply, Failure> {
        let document = |name: &str, inside: Xml| {
            Ok(Reply::xml(format!("{XML_HEAD}{}", Xml::default().element(name, NAMESPACE, inside).document())))
        };
        let policy =
            || bucket.policy.as_ref().ok_or_else(|| missing("NoSuchBucketPolicy", "The bucket policy does not exist"));
        match self.ask {
            Ask::Location => {
                let region = if bucket.region == "us-east-1" { "" } else { &bucket.region };
                Ok(Reply::xml(format!("{XML_HEAD}<LocationConstraint{NAMESPACE}>{region}</LocationConstraint>")))
            }
            Ask::Encryption => {
                let by_default = match &bucket.encryption {
                    Encryption::Aes256 => Xml::default().text("SSEAlgorithm", "AES256"),
                    Encryption::Kms(key) => Xml::default().text("SSEAlgorithm", "aws:kms").text("KMSMasterKeyID", key),
                };
                let rule = Xml::default()
                    .element("ApplyServerSideEncryptionByDefault", "", by_default)
                    .text("BucketKeyEnabled", "false");
                document("ServerSideEncryptionConfiguration", Xml::default().element("Rule", "", rule))
            }
            Ask::Policy => {
                let payload = Payload::Json(policy()?.to_string());
                Ok(Reply { payload, ..Reply::empty(Vec::new()) })
            }
            Ask::PolicyStatus => {
                let is_public = is_public(policy()?);
                document("PolicyStatus", Xml::default().text("IsPublic", if is_public { "true" } else { "false" }))
            }
            Ask::PublicAccessBlock => {
                if !bucket.blocks_public_access {
                    return Err(missing(
                        "NoSuchPublicAccessBlockConfiguration",
                        "The public access block configuration was not found",
                    ));
                }
                let names = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];
                let inside = names.into_iter().fold(Xml::default(), |xml, name| xml.text(name, "true"));
                document("PublicAccessBlockConfiguration", inside)
            }
            Ask::Head | Ask::Other => {
                let region = ("x-amz-bucket-region", bucket.region.clone());
                Ok(Reply::empty(vec![region, ("x-amz-access-point-alias", "false".to_owned())]))
            }
        }
    }
}

fn missing(code: &'static str, message: &str) -> Failure {
    Failure::new(404, code, message)
}

/// Whether a statement without conditions allows everybody something.
fn is_public(policy: &Value) -> bool {
    let statements = match &policy["Statement"] {
        Value::Array(statements) => statements.as_slice(),
        one => std::slice::from_ref(one),
    };
    statements.iter().any(|statement| {
        let principal = &statement["Principal"];
        let anybody = principal == "*" || principal["AWS"] == "*";
        statement["Effect"] == "Allow" && anybody && statement["Condition"].is_null()
    })
}
