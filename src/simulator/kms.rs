//! KMS: `DescribeKey` for the keys of the settings, in JSON 1.1.

use serde_json::{Value, json};

use super::errors::Failure;
use super::operations::Context;
use super::reply::Reply;
use super::validate::shape;

/// Answers `DescribeKey`.
pub(crate) fn describe(context: &Context<'_>) -> Result<Reply, Failure> {
    let body: Value = serde_json::from_slice(context.body)
        .map_err(|_| Failure::serialization("Could not parse the request body as JSON."))?;
    // Refusals name members with a small letter in front.
    let lowered =
        |name: &String| name.chars().take(1).flat_map(char::to_lowercase).chain(name.chars().skip(1)).collect();
    let members = body.as_object().into_iter().flatten().map(|(name, value)| (lowered(name), value.clone()));
    shape::check("kms#DescribeKeyRequest", &Value::Object(members.collect()))?;
    let arn = arn(context);
    let missing = || Failure::new(400, "NotFoundException", format!("Key '{arn}' does not exist"));
    let here = arn.split(':').nth(3) == Some(context.region);
    let state = context.simulator.inner.account.key_state(&arn).filter(|_| here).ok_or_else(missing)?;
    Ok(Reply::json(&json!({"KeyMetadata": {
        "AWSAccountId": context.account(), "KeyId": arn.rsplit('/').next(), "Arn": arn, "CreationDate": 1_735_689_600,
        "Enabled": state == "Enabled", "Description": "", "KeyUsage": "ENCRYPT_DECRYPT", "KeyState": state, "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER", "KeySpec": "SYMMETRIC_DEFAULT", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"], "MultiRegion": false,
    }})))
}

/// The ARN of the key that a body means, by its id or ARN.
pub(crate) fn arn(context: &Context<'_>) -> String {
    let body: Value = serde_json::from_slice(context.body).unwrap_or_default();
    let id = body["KeyId"].as_str().unwrap_or_default();
    if id.starts_with("arn:") {
        return id.to_owned();
    }
    format!("arn:{}:kms:{}:{}:key/{id}", context.partition(), context.region, context.account())
}
