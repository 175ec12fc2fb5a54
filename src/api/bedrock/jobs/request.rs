//! What `CreateModelInvocationJob` is asked with, held to AWS's own rules: what passes here is what AWS would take, but
//! for the places where files lie, which are the gateway's. Pure.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelInvocationJob.html>

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::bedrock::control::check_one_of;
use crate::api::body;
use crate::batch::record::Invocation;
use crate::error::{Error, Result};

/// Where uploaded files are, and where results will be.
pub(super) const FILES: &str = "s3://bedrock-gateway/files/";
/// How long a job may take, in hours: if nothing is said, and at least, and at most.
const LEAST_HOURS: u64 = 24;
const MOST_HOURS: u64 = 168;
const MOST_TAGS: usize = 200;

/// A job to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ModelInvocationJobRequest)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct CreateJob {
    /// 1 to 63 letters, digits, `+`, `-` or `.`
    job_name: String,
    /// Taken, as AWS's clients send one, and replaced by the gateway's own.
    role_arn: String,
    /// The same token names the same job.
    client_request_token: Option<String>,
    /// Any name of a model.
    model_id: String,
    /// Where the records are.
    input_data_config: InputConfig,
    /// Where the result is to be.
    output_data_config: OutputConfig,
    /// `InvokeModel`, also if nothing is said, or `Converse`.
    model_invocation_type: Option<String>,
    /// 24 to 168; 24 if nothing is said.
    timeout_duration_in_hours: Option<u64>,
    /// At most 200.
    #[serde(default)]
    tags: Option<Vec<Tag>>,
    /// Cannot be chosen here.
    #[schema(value_type = Option<serde_json::Value>)]
    vpc_config: Option<serde_json::Value>,
}

/// Where the records are.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ModelInvocationJobInput)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct InputConfig {
    s3_input_data_config: S3Input,
}

/// A file of records.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ModelInvocationJobS3Input)]
#[expect(clippy::struct_field_names, reason = "the names are AWS's")]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct S3Input {
    /// `s3://bedrock-gateway/files/<id>` of a file that was uploaded to `/v1/files`.
    s3_uri: String,
    /// `JSONL`.
    s3_input_format: Option<String>,
    /// Cannot be chosen here.
    s3_bucket_owner: Option<String>,
}

/// Where the result is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ModelInvocationJobOutput)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct OutputConfig {
    s3_output_data_config: S3Output,
}

/// A place for the result.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ModelInvocationJobS3Output)]
#[expect(clippy::struct_field_names, reason = "the names are AWS's")]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct S3Output {
    /// `s3://bedrock-gateway/files/`
    s3_uri: String,
    /// Cannot be chosen here.
    s3_encryption_key_id: Option<String>,
    /// Cannot be chosen here.
    s3_bucket_owner: Option<String>,
}

/// A tag.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ModelInvocationJobTag)]
#[serde(expecting = "an object")]
struct Tag {
    key: String,
    value: String,
}

/// A job that AWS would take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) token: Option<String>,
    pub(super) model: String,
    /// The id of the file of records.
    pub(super) file: String,
    pub(super) invocation: Invocation,
    pub(super) timeout: Duration,
    pub(super) tags: BTreeMap<String, String>,
}

/// Reads a body.
///
/// # Errors
/// `Invalid` or `Unsupported` with the member to blame.
pub(super) fn read(text: &[u8]) -> Result<Wanted> {
    let job: CreateJob = body::read(text)?;
    let (input, output) = (&job.input_data_config.s3_input_data_config, &job.output_data_config.s3_output_data_config);
    refuse_choices(&job, input, output)?;
    check("jobName", &job.job_name, JOB_NAME, is_job_name)?;
    check("roleArn", &job.role_arn, ROLE_ARN, is_role)?;
    if let Some(token) = &job.client_request_token {
        check("clientRequestToken", token, TOKEN, is_token)?;
    }
    check("modelId", &job.model_id, "Member must have length between 1 and 2048", |id| (1..=2048).contains(&id.len()))?;
    check_one_of("modelInvocationType", job.model_invocation_type.as_deref(), &["InvokeModel", "Converse"])?;
    check_one_of("inputDataConfig.s3InputDataConfig.s3InputFormat", input.s3_input_format.as_deref(), &["JSONL"])?;
    let file = input_file(&input.s3_uri)?;
    check_output(&output.s3_uri)?;
    let hours = job.timeout_duration_in_hours.unwrap_or(LEAST_HOURS);
    if !(LEAST_HOURS..=MOST_HOURS).contains(&hours) {
        let rule = format!("Member must have value between {LEAST_HOURS} and {MOST_HOURS}");
        return Err(broken("timeoutDurationInHours", &hours.to_string(), &rule));
    }
    let is_converse = job.model_invocation_type.as_deref() == Some("Converse");
    Ok(Wanted {
        file,
        invocation: if is_converse { Invocation::Converse } else { Invocation::InvokeModel },
        timeout: Duration::from_hours(hours),
        tags: tags(job.tags.unwrap_or_default())?,
        name: job.job_name,
        token: job.client_request_token,
        model: job.model_id,
    })
}

/// Where and how files are kept, and from which network, is the operator's to say.
fn refuse_choices(job: &CreateJob, input: &S3Input, output: &S3Output) -> Result<()> {
    let choices = [
        ("vpcConfig", job.vpc_config.is_some()),
        ("inputDataConfig.s3InputDataConfig.s3BucketOwner", input.s3_bucket_owner.is_some()),
        ("outputDataConfig.s3OutputDataConfig.s3BucketOwner", output.s3_bucket_owner.is_some()),
        ("outputDataConfig.s3OutputDataConfig.s3EncryptionKeyId", output.s3_encryption_key_id.is_some()),
    ];
    match choices.into_iter().find(|(_, is_made)| *is_made) {
        Some((field, _)) => {
            let message =
                format!("{field} cannot be chosen: jobs run with the bucket and the role of this gateway's operator.");
            Err(Error::unsupported(field, message))
        }
        None => Ok(()),
    }
}

fn input_file(uri: &str) -> Result<String> {
    let is_id = |id: &&str| {
        (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    uri.strip_prefix(FILES).filter(is_id).map(str::to_owned).ok_or_else(|| {
        let field = "inputDataConfig.s3InputDataConfig.s3Uri";
        let message = format!(
            "{field} has to be {FILES}<id>, with the id of a file that was uploaded to /v1/files; this gateway reads from no \
             bucket of its callers'."
        );
        Error::invalid(field, message)
    })
}

fn check_output(uri: &str) -> Result<()> {
    if uri.trim_end_matches('/') == FILES.trim_end_matches('/') {
        return Ok(());
    }
    let field = "outputDataConfig.s3OutputDataConfig.s3Uri";
    let message = format!(
        "{field} has to be {FILES}: the result becomes a file of its own, to be read at /v1/files/<id>/content; this gateway \
         writes to no bucket of its callers'."
    );
    Err(Error::invalid(field, message))
}

fn tags(tags: Vec<Tag>) -> Result<BTreeMap<String, String>> {
    if tags.len() > MOST_TAGS {
        let rule = format!("Member must have length less than or equal to {MOST_TAGS}");
        return Err(broken("tags", &tags.len().to_string(), &rule));
    }
    let mut map = BTreeMap::new();
    for (i, Tag { key, value }) in tags.into_iter().enumerate() {
        check(&format!("tags.{}.member.key", i + 1), &key, TAG, |key| {
            (1..=128).contains(&key.chars().count()) && is_tag(key)
        })?;
        check(&format!("tags.{}.member.value", i + 1), &value, TAG, |value| {
            value.chars().count() <= 256 && is_tag(value)
        })?;
        if map.insert(key, value).is_some() {
            return Err(Error::invalid(
                "tags",
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
    }
    Ok(map)
}

const JOB_NAME: &str = r"Member must satisfy regular expression pattern: [a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63} and have at most 63 characters";
const ROLE_ARN: &str = "Member must satisfy regular expression pattern: arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+";
const TOKEN: &str = "Member must satisfy regular expression pattern: [a-zA-Z0-9]{1,256}(-*[a-zA-Z0-9]){0,256} and have at most 256 characters";
const TAG: &str = r"Member must satisfy regular expression pattern: [a-zA-Z0-9\s._:/=+@-]* and have at most 128 characters, or 256 as a value";

/// Whether a job may be called so, or a part of such a name be looked for.
pub(super) fn is_job_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_role(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else { return false };
    let is_partition = partition == "aws" || partition.strip_prefix("aws-").is_some_and(|rest| !rest.is_empty());
    let is_account = account.is_empty() || (account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()));
    arn.len() <= 2048
        && is_partition
        && is_account
        && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty())
}

fn is_token(token: &str) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric();
    let bytes = token.as_bytes();
    (1..=256).contains(&bytes.len())
        && bytes.first().is_some_and(is_plain)
        && bytes.last().is_some_and(is_plain)
        && bytes.iter().all(|byte| is_plain(byte) || *byte == b'-')
}

fn is_tag(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "._:/=+@-".contains(c))
}

/// Holds a value to a rule of AWS's.
pub(super) fn check(member: &str, value: &str, rule: &str, holds: impl Fn(&str) -> bool) -> Result<()> {
    if holds(value) { Ok(()) } else { Err(broken(member, value, rule)) }
}

fn broken(member: &str, value: &str, rule: &str) -> Error {
    let shown: String = value.chars().take(128).collect();
    let message =
        format!("1 validation error detected: Value '{shown}' at '{member}' failed to satisfy constraint: {rule}");
    Error::invalid(member, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn body() -> Value {
        json!({
            "jobName": "a-1+b.c",
            "roleArn": "arn:aws:iam::000000000000:role/any",
            "modelId": "nova-lite",
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bedrock-gateway/files/file-1", "s3InputFormat": "JSONL"}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bedrock-gateway/files/"}},
        })
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut body = body();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[key] = value;
        body
    }

    fn read_value(body: &Value) -> Result<Wanted> {
        read(body.to_string().as_bytes())
    }

    #[test]
    fn what_is_not_said_is_as_at_aws() {
        let wanted = read_value(&body()).unwrap();
        let expected = Wanted {
            name: "a-1+b.c".into(),
            token: None,
            model: "nova-lite".into(),
            file: "file-1".into(),
            invocation: Invocation::InvokeModel,
            timeout: Duration::from_hours(24),
            tags: BTreeMap::new(),
        };
        assert_eq!(wanted, expected);
        let mut body = body();
        body["modelInvocationType"] = json!("Converse");
        body["timeoutDurationInHours"] = json!(168);
        body["clientRequestToken"] = json!("a--b");
        body["tags"] = json!([{"key": "k", "value": ""}]);
        let wanted = read_value(&body).unwrap();
        assert_eq!((wanted.invocation, wanted.timeout.as_secs() / 3600), (Invocation::Converse, 168));
        assert_eq!((wanted.token.as_deref(), wanted.tags.len()), (Some("a--b"), 1));
    }

    #[test]
    fn what_aws_would_refuse_is_refused_and_named() {
        let input = "/inputDataConfig/s3InputDataConfig";
        let output = "/outputDataConfig/s3OutputDataConfig";
        let (in_field, out_field) = ("inputDataConfig.s3InputDataConfig", "outputDataConfig.s3OutputDataConfig");
        let tag = |key: &str, value: &str| json!([{"key": key, "value": value}]);
        for (body, field) in [
            (with("/jobName", json!("")), "jobName".to_owned()),
            (with("/jobName", json!("a_b")), "jobName".into()),
            (with("/jobName", json!("-a")), "jobName".into()),
            (with("/jobName", json!("a".repeat(64))), "jobName".into()),
            (with("/jobName", json!(7)), "jobName".into()),
            (with("/roleArn", json!("role/x")), "roleArn".into()),
            (with("/roleArn", json!("arn:aws:iam::12:role/x")), "roleArn".into()),
            (with("/clientRequestToken", json!("a-")), "clientRequestToken".into()),
            (with("/modelId", json!("")), "modelId".into()),
            (with("/modelInvocationType", json!("Chat")), "modelInvocationType".into()),
            (with("/timeoutDurationInHours", json!(23)), "timeoutDurationInHours".into()),
            (with("/timeoutDurationInHours", json!(169)), "timeoutDurationInHours".into()),
            (with("/timeoutDurationInHours", json!("24")), "timeoutDurationInHours".into()),
            (with("/vpcConfig", json!({})), "vpcConfig".into()),
            (with("/tags", tag("", "v")), "tags.1.member.key".into()),
            (with("/tags", tag("k", "é")), "tags.1.member.value".into()),
            (with("/tags", json!([{"key": "k", "value": ""}, {"key": "k", "value": ""}])), "tags".into()),
            (with("/tags", json!([{"key": "k"}])), "tags[0].value".into()),
            (with(&format!("{input}/s3Uri"), json!("s3://mine/in.jsonl")), format!("{in_field}.s3Uri")),
            (with(&format!("{input}/s3Uri"), json!("s3://bedrock-gateway/files/")), format!("{in_field}.s3Uri")),
            (with(&format!("{input}/s3Uri"), json!("s3://bedrock-gateway/files/a/b")), format!("{in_field}.s3Uri")),
            (with(&format!("{input}/s3InputFormat"), json!("CSV")), format!("{in_field}.s3InputFormat")),
            (with(&format!("{input}/s3BucketOwner"), json!("000000000000")), format!("{in_field}.s3BucketOwner")),
            (with(&format!("{output}/s3Uri"), json!("s3://mine/out/")), format!("{out_field}.s3Uri")),
            (with(&format!("{output}/s3EncryptionKeyId"), json!("alias/x")), format!("{out_field}.s3EncryptionKeyId")),
            (with("/inputDataConfig", json!({})), "inputDataConfig.s3InputDataConfig".into()),
        ] {
            let error = read_value(&body).unwrap_err();
            assert_eq!(error.blamed(), Some(&*field), "{body}: {error}");
        }
        assert_eq!(read(b"{}").unwrap_err().blamed(), Some("jobName"));
    }
}
