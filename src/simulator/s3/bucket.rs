//! What a check of a bucket asks S3: `HeadBucket` and the reads of a bucket's settings.

use serde_json::Value;

use super::super::errors::Failure;
use super::super::form::Xml;
use super::super::settings::{Bucket, Encryption};
use super::NAMESPACE;
use super::answer::Answer;
use super::request::Ask;

/// Answers what is asked about a bucket.
pub(super) fn tell(ask: Ask, bucket: &Bucket) -> Result<Answer, Failure> {
    let document = |name: &str, inside: Xml| Ok(Answer::xml(Xml::default().element(name, NAMESPACE, inside)));
    let policy =
        || bucket.policy.as_ref().ok_or_else(|| missing("NoSuchBucketPolicy", "The bucket policy does not exist"));
    match ask {
        Ask::Location => {
            let region = if bucket.region == "us-east-1" { "" } else { &bucket.region };
            Ok(Answer::xml(Xml::default().leaf("LocationConstraint", NAMESPACE, region)))
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
        Ask::Policy => Ok(Answer::json(policy()?.to_string())),
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
        _ => {
            let answer = Answer::empty(200).with("content-type", "application/xml");
            Ok(answer.with("x-amz-bucket-region", &*bucket.region).with("x-amz-access-point-alias", "false"))
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
