//! The role that Bedrock takes for a job: whether it lets Bedrock, and whether it may do what the job needs.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/batch-iam-sr.html>

use axum::http::HeaderMap;
use serde_json::Value;

use super::lines::InputFile;
use super::{Job, record};
use crate::simulator::policy::{self, Decision, Request};
use crate::simulator::settings::{Bucket, Encryption};
use crate::simulator::{Role, Simulator, permission};

/// Whether the role of this ARN exists and trusts Bedrock for the jobs of an account in a Region.
pub(crate) fn trusts(simulator: &Simulator, arn: &str, job: &str) -> bool {
    let Some(role) = simulator.role(arn) else { return false };
    let Some(trust) = role.trust_policy else { return true };
    let principals = vec![("Service", "bedrock.amazonaws.com".to_owned())];
    let request = Request { action: "sts:AssumeRole", resource: arn, principals, ..Request::default() }
        .knowing("aws:SourceAccount", &simulator.settings().account)
        .knowing("aws:SourceArn", job);
    policy::decide([&trust], &request) == Decision::Allowed
}

/// What the role lacks for a job on these files, in AWS's words.
pub(crate) fn check(simulator: &Simulator, job: &Job, files: &[InputFile]) -> Result<(), String> {
    let role = simulator.role(&job.role).ok_or_else(|| format!("The role {} does not exist.", job.role))?;
    let rights = Rights { simulator, job, role };
    rights.input(files)?;
    rights.output()?;
    let headers = HeaderMap::new();
    let context = record::context(simulator, &job.region, &headers, b"");
    let target = context.resolve(&job.model_id).map_err(|failure| failure.message)?;
    if rights.role.policies.is_empty() {
        return Ok(());
    }
    match permission::missing_for_profile(&context, &rights.role.policies, &target) {
        Some(resource) => {
            Err(format!("Could not validate InvokeModel permissions of the role {} on resource: {resource}", job.role))
        }
        None => Ok(()),
    }
}

struct Rights<'a> {
    simulator: &'a Simulator,
    job: &'a Job,
    role: Role,
}

impl Rights<'_> {
    fn input(&self, files: &[InputFile]) -> Result<(), String> {
        let place = &self.job.input;
        let bucket = self.bucket(
            &place.bucket,
            self.job.request["inputDataConfig"]["s3InputDataConfig"]["s3BucketOwner"].as_str(),
        )?;
        let arn = self.bucket_arn(&place.bucket);
        let told = |action: &str, key: &str| {
            format!(
                "Could not validate {action} permissions to access Amazon S3 bucket: {} at key: {key}",
                place.bucket
            )
        };
        if !self.may("s3:ListBucket", &arn, &bucket) {
            return Err(told("ListBucket", &place.key));
        }
        for file in files {
            if !self.may("s3:GetObject", &format!("{arn}/{}", file.key), &bucket) {
                return Err(told("GetObject", &file.key));
            }
        }
        self.key(&bucket, None, "kms:Decrypt")
    }

    fn output(&self) -> Result<(), String> {
        let (place, config) = (&self.job.output, &self.job.request["outputDataConfig"]["s3OutputDataConfig"]);
        let bucket = self.bucket(&place.bucket, config["s3BucketOwner"].as_str())?;
        let key = format!("{}manifest.json.out", self.job.output_folder());
        if !self.may("s3:PutObject", &format!("{}/{key}", self.bucket_arn(&place.bucket)), &bucket) {
            return Err(format!(
                "Could not validate PutObject permissions to access Amazon S3 bucket: {} at key: {key}",
                place.bucket
            ));
        }
        self.key(&bucket, config["s3EncryptionKeyId"].as_str(), "kms:GenerateDataKey")
    }

    /// The bucket, when it belongs to whom the job says, or to the account when it says nothing.
    fn bucket(&self, name: &str, owner: Option<&str>) -> Result<Bucket, String> {
        let bucket = self.simulator.inner.account.bucket(name);
        let bucket = bucket.ok_or_else(|| format!("The Amazon S3 bucket {name} does not exist."))?;
        let account = &self.simulator.settings().account;
        if bucket.owner.as_ref().unwrap_or(account) != owner.unwrap_or(account) {
            return Err(format!("Could not validate the owner of the Amazon S3 bucket: {name}. Access Denied"));
        }
        Ok(bucket)
    }

    fn bucket_arn(&self, name: &str) -> String {
        format!("arn:{}:s3:::{name}", self.job.partition())
    }

    fn may(&self, action: &str, resource: &str, bucket: &Bucket) -> bool {
        let account = &self.simulator.settings().account;
        let owner = bucket.owner.as_ref().unwrap_or(account);
        let request = self.request(action, resource).knowing("aws:ResourceAccount", owner);
        let of_bucket = bucket.policy.as_ref().map(|policy| policy::decide([policy], &request));
        let own = self.own(&request);
        match (own, of_bucket) {
            (Decision::ExplicitDeny, _) | (_, Some(Decision::ExplicitDeny)) => false,
            // In another account both have to allow it.
            (own, of_bucket) if owner != account => own == Decision::Allowed && of_bucket == Some(Decision::Allowed),
            (own, of_bucket) => own == Decision::Allowed || of_bucket == Some(Decision::Allowed),
        }
    }

    fn own(&self, request: &Request<'_>) -> Decision {
        let policies: &[Value] = &self.role.policies;
        if policies.is_empty() { Decision::Allowed } else { policy::decide(policies, request) }
    }

    fn request<'a>(&self, action: &'a str, resource: &'a str) -> Request<'a> {
        let account = &self.simulator.settings().account;
        let principals = vec![("AWS", self.job.role.clone()), ("AWS", account.clone())];
        Request { action, resource, principals, ..Request::default() }
            .knowing("aws:RequestedRegion", &self.job.region)
            .knowing("aws:PrincipalArn", &self.job.role)
            .knowing("aws:PrincipalAccount", account)
            .knowing("aws:SourceAccount", account)
            .knowing("aws:SourceArn", &self.job.arn)
            .knowing("aws:SecureTransport", "true")
    }

    /// Whether the key of a bucket, or the one that was asked for, can be used through S3.
    fn key(&self, bucket: &Bucket, asked: Option<&str>, action: &str) -> Result<(), String> {
        let key = match (asked, &bucket.encryption) {
            (Some(key), _) => key,
            (None, Encryption::Kms(key)) => key,
            (None, Encryption::Aes256) => return Ok(()),
        };
        let through = format!("s3.{}.amazonaws.com", self.job.region);
        let request = self.request(action, key).knowing("kms:ViaService", &through);
        let allowed = self.own(&request) == Decision::Allowed;
        if !allowed || self.simulator.inner.account.key_state(key).is_some_and(|state| state != "Enabled") {
            return Err(format!(
                "Could not validate {} permissions of the role {} on the key: {key}",
                &action[4..],
                self.job.role
            ));
        }
        Ok(())
    }
}
