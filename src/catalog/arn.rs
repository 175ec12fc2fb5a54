//! ARNs that stand for something to call.
//!
//! An ARN is called as it is given, in its own Region. It holds an account id, so it is never repeated in a message.

use crate::error::{Error, Result};

/// The parts of an ARN that matter here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arn<'a> {
    pub(super) partition: &'a str,
    pub(super) region: &'a str,
    pub(super) resource: Resource<'a>,
}

/// What an ARN stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resource<'a> {
    /// A foundation model or a system profile, by its id.
    Known(&'a str),
    /// Something that hides its model, by the type of resource.
    Opaque(&'static str),
}

/// The type of a team's own inference profile.
pub(super) const APPLICATION_PROFILE: &str = "application-inference-profile";

/// Whether what hides its model may send a call on to another Region.
pub(super) fn is_sent_on(kind: &str) -> bool {
    matches!(kind, APPLICATION_PROFILE | "prompt-router" | "default-prompt-router" | "prompt")
}

/// The types of resource that hide their model, as
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html> lists them for `modelId`.
const OPAQUE: [&str; 8] = [
    APPLICATION_PROFILE,
    "provisioned-model",
    "custom-model",
    "custom-model-deployment",
    "imported-model",
    "prompt-router",
    "default-prompt-router",
    "prompt",
];

/// Reads an ARN; `None` when the name is not one at all.
pub(super) fn parse(name: &str) -> Option<Result<Arn<'_>>> {
    name.starts_with("arn:").then(|| {
        read(name).ok_or_else(|| {
            let message = "The model is not an ARN that Bedrock can be called with. It looks like \
                           arn:aws:bedrock:REGION:ACCOUNT:inference-profile/ID.";
            Error::invalid("model", message)
        })
    })
}

fn read(name: &str) -> Option<Arn<'_>> {
    let parts: Vec<&str> = name.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, resource] = parts[..] else { return None };
    let (kind, id) = resource.split_once('/')?;
    let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:/".contains(&b));
    let has_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    if !partition.starts_with("aws") || region.is_empty() || id.is_empty() || !is_plain(name) {
        return None;
    }
    let resource = match (service, kind) {
        ("bedrock", "foundation-model") if account.is_empty() => Resource::Known(id),
        ("bedrock", "inference-profile") if has_account => Resource::Known(id),
        ("bedrock", kind) if has_account => Resource::Opaque(OPAQUE.into_iter().find(|known| *known == kind)?),
        ("sagemaker", "endpoint") if has_account => Resource::Opaque("sagemaker-endpoint"),
        _ => return None,
    };
    Some(Arn { partition, region, resource })
}

/// The Region, if it names one, and the model of a foundation model's ARN, as `GetInferenceProfile` lists destinations.
pub(super) fn destination(arn: &str) -> Option<(Option<&str>, &str)> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "bedrock", region, _, resource] = parts[..] else { return None };
    let model = resource.strip_prefix("foundation-model/")?;
    Some(((!region.is_empty()).then_some(region), model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_arn_is_not_judged_and_a_broken_one_is_refused() {
        assert!(parse("nova-lite").is_none());
        for name in [
            "arn:",
            "arn:aws:bedrock:us-east-1:000000000000:inference-profile",
            "arn:aws:bedrock:us-east-1:000000000000:inference-profile/",
            "arn:aws:bedrock:us-east-1:000000000000:guardrail/abc",
            "arn:aws:bedrock:us-east-1::application-inference-profile/abc",
            "arn:aws:bedrock:us-east-1:000000000000:foundation-model/amazon.nova-lite-v1:0",
            "arn:aws:bedrock::000000000000:custom-model/abc",
            "arn:aws:s3:us-east-1:000000000000:custom-model/abc",
            "arn:aws:bedrock:us-east-1:000000000000:custom-model/a%2Fb",
        ] {
            let error = parse(name).unwrap().unwrap_err();
            assert_eq!(error.blamed(), Some("model"), "{name}");
            assert!(!error.message().contains("000000000000"));
        }
    }

    #[test]
    fn the_resource_may_have_colons_and_slashes() {
        let arn = parse("arn:aws:bedrock:us-west-2:000000000000:custom-model/amazon.nova-lite-v1:0:300k/abc");
        assert_eq!(
            arn.unwrap().unwrap(),
            Arn { partition: "aws", region: "us-west-2", resource: Resource::Opaque("custom-model") }
        );
    }
}
