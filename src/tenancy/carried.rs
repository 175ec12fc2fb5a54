//! What a team's calls carry to AWS: a guardrail, request metadata, application inference profiles. Whether these are
//! built as AWS builds them is told here; whether they exist, only AWS knows.
//!
//! The shapes are those of Converse:
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>.

use std::collections::BTreeMap;

use super::allow_list::AllowList;
use super::team::Guardrail;
use crate::error::{Error, Result};

/// Most entries of a call's request metadata, and the longest name or value.
const MAX_METADATA: usize = 16;
const MAX_METADATA_LENGTH: usize = 256;
/// Most models that one team has a profile for.
const MAX_PROFILES: usize = 200;
const MAX_ARN: usize = 2048;

/// A guardrail as Converse takes it. Fails with [`crate::error::Kind::Invalid`], the part of `field` to blame.
pub(super) fn guardrail(field: &str, guardrail: Guardrail) -> Result<Guardrail> {
    if !is_guardrail(&guardrail.id) {
        let path = format!("{field}.id");
        let message = format!("`{path}` has to be the id of a guardrail, of small letters and digits, or its ARN.");
        return Err(Error::invalid(path, message));
    }
    let number = guardrail.version.as_bytes();
    let is_number = (1..=8).contains(&number.len()) && number[0] != b'0' && number.iter().all(u8::is_ascii_digit);
    if !is_number && guardrail.version != "DRAFT" {
        let path = format!("{field}.version");
        let message = format!("`{path}` has to be a number from 1 on, as text, or `DRAFT`.");
        return Err(Error::invalid(path, message));
    }
    Ok(guardrail)
}

fn is_guardrail(id: &str) -> bool {
    let is_id = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let resource = arn(id).filter(|arn| !arn.region.is_empty() && !arn.account.is_empty());
    let of_arn = resource.and_then(|arn| arn.resource.strip_prefix("guardrail/"));
    id.len() <= MAX_ARN && (is_id(id) || of_arn.is_some_and(is_id))
}

/// Request metadata as Converse takes it. Fails with [`crate::error::Kind::Invalid`], the entry of `field` to blame.
pub(super) fn metadata(field: &str, metadata: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    if metadata.len() > MAX_METADATA {
        return Err(Error::invalid(field, format!("`{field}` may have at most {MAX_METADATA} entries.")));
    }
    let is_taken = |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c);
    let is_good = |text: &str| text.len() <= MAX_METADATA_LENGTH && text.chars().all(is_taken);
    let told = "at most 256 letters, digits, blanks and :_@$#=/+,-.";
    if metadata.keys().any(|name| name.is_empty() || !is_good(name)) {
        return Err(Error::invalid(field, format!("A name in `{field}` is empty or is not {told}")));
    }
    if let Some((name, _)) = metadata.iter().find(|(_, value)| !is_good(value)) {
        let path = format!("{field}.{name}");
        let message = format!("`{path}` has to be {told}");
        return Err(Error::invalid(path, message));
    }
    Ok(metadata)
}

/// Application inference profiles by model. Fails with [`crate::error::Kind::Invalid`], the entry of `field` to blame.
pub(super) fn profiles(field: &str, profiles: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    if profiles.len() > MAX_PROFILES {
        return Err(Error::invalid(field, format!("`{field}` may have at most {MAX_PROFILES} entries.")));
    }
    let is_name = |name: &String| !name.ends_with('*') && AllowList::models(field, Some(vec![name.clone()])).is_ok();
    if !profiles.keys().all(is_name) {
        return Err(Error::invalid(field, format!("A name in `{field}` is not one that a model can have.")));
    }
    if let Some((model, _)) = profiles.iter().find(|(_, arn)| !is_profile(arn)) {
        let path = format!("{field}.{model}");
        let message = format!(
            "`{path}` has to be the ARN of an application inference profile: \
             arn:aws:bedrock:REGION:ACCOUNT:application-inference-profile/ID."
        );
        return Err(Error::invalid(path, message));
    }
    Ok(profiles)
}

fn is_profile(text: &str) -> bool {
    let is_id = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-:.".contains(&b));
    let resource = arn(text).filter(|arn| !arn.region.is_empty() && !arn.account.is_empty());
    let id = resource.and_then(|arn| arn.resource.strip_prefix("application-inference-profile/"));
    text.len() <= MAX_ARN && id.is_some_and(is_id)
}

struct Arn<'a> {
    region: &'a str,
    account: &'a str,
    resource: &'a str,
}

/// An ARN of Bedrock's, taken apart.
fn arn(text: &str) -> Option<Arn<'_>> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "bedrock", region, account, resource] = parts[..] else { return None };
    let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let is_partition = partition == "aws" || partition.strip_prefix("aws-").is_some_and(is_word);
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    (is_partition && is_word(region) && region.len() <= 20 && is_account).then_some(Arn { region, account, resource })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "000000000000";

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_guardrail_is_an_id_or_an_arn_and_a_number_or_draft() {
        let check = |id: &str, version: &str| {
            guardrail("guardrail", Guardrail { id: id.to_owned(), version: version.to_owned() })
                .map_err(|error| error.blamed().unwrap().to_owned())
                .map(drop)
        };
        let arn = format!("arn:aws-us-gov:bedrock:us-gov-west-1:{ACCOUNT}:guardrail/abc1");
        for (id, version) in [("gr123", "1"), ("gr123", "DRAFT"), (&arn, "99999999")] {
            assert_eq!(check(id, version), Ok(()), "{id} {version}");
        }
        for version in ["", "0", "01", "draft", "-1", "123456789", "1.0", "\u{661}"] {
            assert_eq!(check("gr123", version), Err("guardrail.version".into()), "{version}");
        }
        let other = format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/abc1");
        for id in ["", "GR", "a b", "a/b", &other, "arn:aws:bedrock:us-east-1::guardrail/a", &"a".repeat(2049)] {
            assert_eq!(check(id, "1"), Err("guardrail.id".into()), "{id}");
        }
    }

    #[test]
    fn metadata_is_what_converse_takes() {
        let blamed = |entries: &[(&str, &str)]| {
            metadata("request_metadata", map(entries)).map_err(|error| error.blamed().unwrap().to_owned())
        };
        assert!(blamed(&[("cost centre", "a:b_c@d$e#f=g/h+i,j-k.l"), ("empty", "")]).is_ok());
        assert_eq!(blamed(&[("", "x")]), Err("request_metadata".into()));
        assert_eq!(blamed(&[("caf\u{e9}", "x")]), Err("request_metadata".into()));
        assert_eq!(blamed(&[("a", "x*")]), Err("request_metadata.a".into()));
        assert_eq!(blamed(&[("a", &"x".repeat(257))]), Err("request_metadata.a".into()));
        let many: BTreeMap<_, _> = (0..17).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(metadata("m", many).unwrap_err().blamed(), Some("m"));
    }

    #[test]
    fn a_profile_is_an_application_inference_profile_and_its_account_is_not_repeated() {
        let good = format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/abc123");
        assert!(profiles("profiles", map(&[("claude-haiku-4-5", &good)])).is_ok());
        assert_eq!(profiles("profiles", map(&[("claude-*", &good)])).unwrap_err().blamed(), Some("profiles"));
        assert_eq!(profiles("profiles", map(&[("", &good)])).unwrap_err().blamed(), Some("profiles"));
        for bad in [
            String::new(),
            format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/us.amazon.nova-lite-v1:0"),
            format!("arn:aws:bedrock::{ACCOUNT}:application-inference-profile/abc"),
            format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/"),
            format!("arn:aws:iam:us-east-1:{ACCOUNT}:application-inference-profile/abc"),
            format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/a/b"),
        ] {
            let error = profiles("profiles", map(&[("nova-lite", &bad)])).unwrap_err();
            assert_eq!(error.blamed(), Some("profiles.nova-lite"), "{bad}");
            assert!(!error.message().contains(ACCOUNT), "{error}");
        }
    }
}
