//! The role of `batch.role_arn`: whether Bedrock may take it, and what it may do then.

use bytes::Bytes;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use super::bucket::Bucket;
use super::regions::said;
use super::{Check, Examined, Group, Standing, told};
use crate::upstream::{PlainCall, Region, Service, Told, Unreachable};

const TRUST: &str = "Give the role the trust policy that `iam-policy` prints as batch_role.trust.";
const LOOK: &str = "Grant iam:GetRole and iam:SimulatePrincipalPolicy on the role (`iam-policy` prints doctor), or compare the role with \
                    what `iam-policy` prints as batch_role.";

/// The checks of the role; `keys` are those of buckets, by their names.
pub(super) async fn look(
    examined: &Examined<'_>,
    standing: &Standing,
    buckets: &[Bucket<'_>],
    keys: &[(&str, String)],
) -> Vec<Check> {
    let arn = examined.config.batch.role_arn.as_str();
    let Some(first) = buckets.first() else { return Vec::new() };
    if arn.is_empty() {
        return vec![Check::skipped(Group::Batch, "role", "batch.role_arn is not set: no batch jobs")];
    }
    let mut checks = vec![trust(standing, first.region, buckets, arn).await];
    let name = arn.rsplit('/').next().unwrap_or_default();
    for bucket in buckets {
        let key = keys.iter().find(|(of, _)| *of == bucket.name).map(|(_, key)| key.as_str());
        checks.push(permissions(examined, bucket, (arn, name), key).await);
    }
    checks
}

/// A call of IAM's query protocol.
async fn iam(region: &Region, fields: &[(&str, &str)]) -> Result<Told, Unreachable> {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = [("Version", "2010-05-08")];
    let pairs = fields.iter().chain(&pairs).map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    let body = Bytes::from(pairs.collect::<Vec<_>>().join("&"));
    region.ask(Service::Iam, &PlainCall::new(Method::POST, [""]).body(body)).await
}

async fn trust(standing: &Standing, region: &Region, buckets: &[Bucket<'_>], arn: &str) -> Check {
    const SUBJECT: &str = "role, trust";
    if let Standing::Known { account } = standing
        && arn.split(':').nth(4) != Some(account)
    {
        let found = "the role of batch.role_arn is another account's";
        return Check::failed(
            Group::Batch,
            SUBJECT,
            found,
            "Name a role of the account that the gateway calls: it has to be handed over.",
        );
    }
    let name = arn.rsplit('/').next().unwrap_or_default();
    let told = match iam(region, &[("Action", "GetRole"), ("RoleName", name)]).await {
        Ok(told) => told,
        Err(unreachable) => {
            return Check::warning(
                Group::Batch,
                SUBJECT,
                format!("could not be checked: IAM: {}", self::told(&unreachable).0),
                LOOK,
            );
        }
    };
    match (told.is_success(), told.code.as_str()) {
        (false, "NoSuchEntity") => Check::failed(
            Group::Batch,
            SUBJECT,
            format!("the role {name} does not exist"),
            "Make it with what `iam-policy` prints as batch_role.",
        ),
        (false, code) => {
            Check::warning(Group::Batch, SUBJECT, format!("could not be checked: {}", said(code, &told.message)), LOOK)
        }
        (true, _) => {
            let document = told.element("AssumeRolePolicyDocument").unwrap_or_default();
            let text = percent_decode_str(&document).decode_utf8_lossy();
            let document = serde_json::from_str(&text).unwrap_or(Value::Null);
            let regions: Vec<&str> = buckets.iter().map(|bucket| &**bucket.region.name()).collect();
            judge(&document, &regions, arn)
        }
    }
}

/// Whether Bedrock may take the role for this account's jobs, and nobody else's.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/batch-iam-sr.html>
fn judge(document: &Value, regions: &[&str], arn: &str) -> Check {
    const SUBJECT: &str = "role, trust";
    const BEDROCK: &str = "bedrock.amazonaws.com";
    let statements = many(&document["Statement"]);
    let of_bedrock: Vec<&Value> = statements
        .into_iter()
        .filter(|one| one["Effect"] == "Allow" && texts(&one["Principal"]["Service"]).contains(&BEDROCK))
        .filter(|one| texts(&one["Action"]).iter().any(|action| ["sts:AssumeRole", "sts:*", "*"].contains(action)))
        .collect();
    if of_bedrock.is_empty() {
        return Check::failed(Group::Batch, SUBJECT, format!("does not trust {BEDROCK}"), TRUST);
    }
    let account = arn.split(':').nth(4).unwrap_or_default();
    let accounts = |one: &Value| values(&one["Condition"], "aws:SourceAccount");
    let is_own = |one: &&Value| accounts(one).iter().any(|value| value == account);
    if of_bedrock.iter().any(|one| accounts(one).is_empty()) {
        let found = format!("trusts {BEDROCK} for any account's jobs");
        return Check::warning(Group::Batch, SUBJECT, found, TRUST);
    }
    if !of_bedrock.iter().any(is_own) {
        return Check::failed(
            Group::Batch,
            SUBJECT,
            "trusts Bedrock for another account's jobs only (aws:SourceAccount)",
            TRUST,
        );
    }
    let sources = |one: &&Value| values(&one["Condition"], "aws:SourceArn");
    let missing: Vec<&str> = regions
        .iter()
        .copied()
        .filter(|region| {
            let job = format!(":bedrock:{region}:");
            let any_region = ":bedrock:*:";
            let permits = |one: &&Value| {
                let arns = sources(one);
                arns.is_empty() || arns.iter().any(|arn| arn.contains(&job) || arn.contains(any_region) || arn == "*")
            };
            !of_bedrock.iter().filter(|one| is_own(one)).any(permits)
        })
        .collect();
    if !missing.is_empty() {
        let found = format!("trusts Bedrock, but not for jobs in {} (aws:SourceArn)", missing.join(", "));
        return Check::failed(Group::Batch, SUBJECT, found, TRUST);
    }
    Check::ok(Group::Batch, SUBJECT, "trusts Bedrock for this account's jobs")
}

fn many(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

fn texts(value: &Value) -> Vec<&str> {
    many(value).into_iter().filter_map(Value::as_str).collect()
}

/// The values of a condition key, whatever its operator. Keys compare without case.
fn values(condition: &Value, key: &str) -> Vec<String> {
    let keys = condition
        .as_object()
        .into_iter()
        .flat_map(|operators| operators.values())
        .filter_map(Value::as_object)
        .flatten();
    let of_key = keys.filter(|(name, _)| name.eq_ignore_ascii_case(key));
    of_key.flat_map(|(_, values)| texts(values).into_iter().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// What the role may do with a bucket, by IAM's own simulation.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>
async fn permissions(
    examined: &Examined<'_>,
    bucket: &Bucket<'_>,
    (arn, name): (&str, &str),
    key: Option<&str>,
) -> Check {
    let subject = format!("role, {}", bucket.subject());
    let partition = arn.split(':').nth(1).unwrap_or("aws");
    let account = arn.split(':').nth(4).unwrap_or_default();
    let bucket_arn = format!("arn:{partition}:s3:::{}", bucket.name);
    let object = format!("{bucket_arn}/{}/a", examined.config.batch.prefix.trim_end_matches('/'));
    let mut asked = vec![(&["s3:GetObject", "s3:PutObject"][..], object), (&["s3:ListBucket"][..], bucket_arn)];
    // Of a key that is named by an alias or an id, IAM cannot judge.
    if let Some(key) = key.filter(|key| key.starts_with("arn:")) {
        asked.push((&["kms:Decrypt", "kms:GenerateDataKey"], key.to_owned()));
    }
    let mut denied = Vec::new();
    for (actions, resource) in &asked {
        match simulate(bucket.region, arn, (actions, resource), account).await {
            Ok(found) => denied.extend(found),
            Err(found) => {
                return Check::warning(Group::Batch, subject, format!("could not be checked: {found}"), LOOK);
            }
        }
    }
    if denied.is_empty() {
        return Check::ok(Group::Batch, subject, "may read and write it");
    }
    let key = if denied.iter().any(|action| action.starts_with("kms:")) { " with --kms-key ARN" } else { "" };
    let remedy =
        format!("Give the role {name} the permissions that `iam-policy`{key} prints as batch_role.permissions.");
    Check::failed(Group::Batch, subject, format!("may not {}", denied.join(", ")), remedy)
}

/// Which of the actions the role may not take.
async fn simulate(
    region: &Region,
    arn: &str,
    (actions, resource): (&[&str], &str),
    account: &str,
) -> Result<Vec<String>, String> {
    let through = format!("s3.{}.amazonaws.com", region.name());
    let context = [("aws:ResourceAccount", account), ("kms:ViaService", &through)];
    let mut fields = vec![
        ("Action".to_owned(), "SimulatePrincipalPolicy".to_owned()),
        ("PolicySourceArn".to_owned(), arn.to_owned()),
        ("ResourceArns.member.1".to_owned(), resource.to_owned()),
    ];
    for (index, action) in actions.iter().enumerate() {
        fields.push((format!("ActionNames.member.{}", index + 1), (*action).to_owned()));
    }
    for (index, (key, value)) in context.iter().enumerate() {
        let entry = format!("ContextEntries.member.{}", index + 1);
        fields.push((format!("{entry}.ContextKeyName"), (*key).to_owned()));
        fields.push((format!("{entry}.ContextKeyType"), "string".to_owned()));
        fields.push((format!("{entry}.ContextKeyValues.member.1"), (*value).to_owned()));
    }
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let told = iam(region, &fields).await.map_err(|unreachable| format!("IAM: {}", told(&unreachable).0))?;
    if !told.is_success() {
        return Err(said(&told.code, &told.message));
    }
    let text = String::from_utf8_lossy(&told.body).into_owned();
    let decisions: Vec<(String, bool)> = text
        .split("<EvalActionName>")
        .skip(1)
        .filter_map(|part| {
            let (action, rest) = part.split_once("</EvalActionName>")?;
            let (_, decision) = rest.split_once("<EvalDecision>")?;
            Some((action.to_owned(), decision.starts_with("allowed<")))
        })
        .collect();
    if decisions.len() != actions.len() {
        return Err("IAM's simulation could not be read".to_owned());
    }
    Ok(decisions.into_iter().filter(|(_, allowed)| !allowed).map(|(action, _)| action).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::Outcome;

    const ROLE: &str = "arn:aws:iam::000000000000:role/batch";

    /// What is found of a trust policy whose one statement has this principal and these conditions.
    fn judged(principal: &str, conditions: &Value) -> Check {
        let statement = json!({"Effect": "Allow", "Principal": {"Service": principal}, "Action": "sts:AssumeRole", "Condition": conditions});
        judge(&json!({"Statement": [statement]}), &["us-east-1", "eu-west-1"], ROLE)
    }

    #[test]
    fn a_role_trusts_bedrock_for_this_account_s_jobs_in_each_region_or_is_told() {
        const BEDROCK: &str = "bedrock.amazonaws.com";
        let own = json!("000000000000");
        let jobs = |regions: &[&str]| -> Vec<String> {
            regions
                .iter()
                .map(|region| format!("arn:aws:bedrock:{region}:000000000000:model-invocation-job/*"))
                .collect()
        };
        for (principal, conditions, outcome, part) in [
            ("ec2.amazonaws.com", json!({}), Outcome::Failed, "does not trust bedrock.amazonaws.com"),
            (BEDROCK, json!({}), Outcome::Warning, "any account's jobs"),
            (
                BEDROCK,
                json!({"StringEquals": {"aws:SourceAccount": "111111111111"}}),
                Outcome::Failed,
                "another account's",
            ),
            (BEDROCK, json!({"StringEquals": {"aws:sourceaccount": [own]}}), Outcome::Ok, "this account's jobs"),
            (
                BEDROCK,
                json!({"StringEquals": {"aws:SourceAccount": own}, "ArnLike": {"aws:SourceArn": jobs(&["us-east-1"])}}),
                Outcome::Failed,
                "not for jobs in eu-west-1",
            ),
            (
                BEDROCK,
                json!({"StringEquals": {"aws:SourceAccount": own}, "ArnLike": {"aws:SourceArn": jobs(&["us-east-1", "eu-west-1"])}}),
                Outcome::Ok,
                "this account's jobs",
            ),
        ] {
            let check = judged(principal, &conditions);
            assert_eq!(check.outcome, outcome, "{conditions}");
            assert!(check.found.contains(part), "{}", check.found);
            assert_eq!(check.remedy.is_none(), outcome == Outcome::Ok);
        }
        assert_eq!(judge(&Value::Null, &["us-east-1"], ROLE).outcome, Outcome::Failed);
    }
}
