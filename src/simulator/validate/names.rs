//! The patterns of the control plane's shapes: names, ARNs and addresses of batch jobs. Each is matched as a whole.

use super::patterns::{is_arn, is_plain};

const MODEL: &str = "(arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:(([0-9]{12}:custom-model/[a-z0-9-]{1,63}[.]{1}[a-z0-9-:]{1,63}/[a-z0-9]{12}$)|\
(:foundation-model/([a-z0-9-]{1,63}[.]{1}[a-z0-9-]{1,63}([.]?[a-z0-9-]{1,63})([:][a-z0-9-]{1,63}){0,2})|(([0-9a-zA-Z][_-]?)+)$)|\
([0-9]{12}:(inference-profile|application-inference-profile)/[a-zA-Z0-9-:.]+$)))|\
([a-z0-9-]{1,63}[.]{1}[a-z0-9-]{1,63}([.]?[a-z0-9-]{1,63})([:][a-z0-9-]{1,63}){0,2})|(([0-9a-zA-Z][_-]?)+)";
const KEY: &str = "(arn:aws(-[^:]+)?:kms:[a-zA-Z0-9-]*:[0-9]{12}:((key/[a-zA-Z0-9-]{36})|(alias/[a-zA-Z0-9-_/]+)))|\
([a-zA-Z0-9-]{36})|(alias/[a-zA-Z0-9-_/]+)";
const JOB: &str = "((arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:model-invocation-job/)?[a-z0-9]{12})";
const URI: &str = "s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](?:/[-!_*'().a-z0-9A-Z]+(?:/[-!_*'().a-z0-9A-Z]+)*)?/?";

/// Whether all of `text` matches one of the patterns that the shapes have.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        MODEL => is_model(text),
        KEY => is_key(text),
        JOB => is_job(text),
        URI => is_uri(text),
        "[-0-9a-zA-Z]+" => is_made_of(text, b"-"),
        r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}" => begins_plain(text) && is_made_of(text, b"+-."),
        "[a-zA-Z0-9]{1,256}(-*[a-zA-Z0-9]){0,256}" => {
            begins_plain(text) && is_made_of(text, b"-") && !text.ends_with('-')
        }
        "arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+" => is_role(text),
        _ => true,
    }
}

/// Letters, digits and some `others`; at least one.
fn is_made_of(text: &str, others: &[u8]) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

fn begins_plain(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

fn is_lower(text: &str, others: &[u8]) -> bool {
    is_made_of(text, others) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_model(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("arn:") else { return is_bare_model(text) || is_words(text) };
    let parts: Vec<&str> = rest.splitn(5, ':').collect();
    let [partition, "bedrock", region, account, resource] = parts[..] else { return false };
    let owned = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let fits = match resource.split_once('/') {
        Some(("foundation-model", id)) => account.is_empty() && (is_bare_model(id) || is_words(id)),
        Some(("custom-model", id)) => {
            let is_made_from = |base: &str| base.contains('.') && is_lower(base, b"-.:");
            owned && id.split_once('/').is_some_and(|(base, id)| is_made_from(base) && id.len() == 12 && is_plain(id))
        }
        Some(("inference-profile" | "application-inference-profile", id)) => owned && is_made_of(id, b"-:."),
        _ => false,
    };
    partition.starts_with("aws") && (1..=20).contains(&region.len()) && is_lower(region, b"-") && fits
}

/// `provider.name`, a profile's prefix before it, versions behind colons.
fn is_bare_model(text: &str) -> bool {
    let mut versions = text.split(':');
    let name: Vec<&str> = versions.next().unwrap_or_default().split('.').collect();
    (2..=3).contains(&name.len())
        && name.iter().chain(&versions.collect::<Vec<_>>()).all(|part| is_lower(part, b"-"))
        && text.matches(':').count() <= 2
}

fn is_words(text: &str) -> bool {
    let joined = |pair: &[u8]| pair.iter().all(|byte| b"_-".contains(byte));
    begins_plain(text) && is_made_of(text, b"_-") && !text.as_bytes().windows(2).any(joined)
}

fn is_key(text: &str) -> bool {
    let is_alias = |text: &str| text.strip_prefix("alias/").is_some_and(|name| is_made_of(name, b"-_/"));
    let is_id = |text: &str| text.len() == 36 && is_made_of(text, b"-");
    is_alias(text)
        || is_id(text)
        || is_arn(text, "kms", |resource| is_alias(resource) || resource.strip_prefix("key/").is_some_and(is_id))
}

fn is_job(text: &str) -> bool {
    let is_id = |id: &str| id.len() == 12 && is_plain(id);
    is_id(text) || is_arn(text, "bedrock", |resource| resource.strip_prefix("model-invocation-job/").is_some_and(is_id))
}

fn is_role(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else { return false };
    let owner = account.is_empty() || (account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()));
    partition.starts_with("aws") && owner && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty())
}

/// Unlike the runtime's: what a key may be is told, and a folder may end with a slash.
fn is_uri(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("s3://") else { return false };
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let key = key.strip_suffix('/').unwrap_or(key);
    let ends = [bucket.bytes().next(), bucket.bytes().last()];
    (3..=63).contains(&bucket.len())
        && is_lower(bucket, b"-.")
        && ends.into_iter().flatten().all(|byte| byte.is_ascii_alphanumeric())
        && (key.is_empty() || key.split('/').all(|part| is_made_of(part, b"-!_*'().")))
        && !rest.ends_with("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_match_as_the_service_model_says() {
        for (pattern, good, bad) in [
            (
                MODEL,
                &[
                    "us.anthropic.claude-haiku-4-5-20251001-v1:0",
                    "amazon.nova-lite-v1:0",
                    "deepseek.v3.2",
                    "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
                    "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/abc",
                ][..],
                &[
                    "",
                    "a..b",
                    "us.a.b.c",
                    "arn:aws:bedrock:us-east-1:000000000000:provisioned-model/abcdefghijkl",
                    "a b",
                ][..],
            ),
            (
                URI,
                &["s3://files", "s3://files/", "s3://files/a/b.jsonl", "s3://files/a/"],
                &["s3://f", "s3://files//a", "s3://files/a b", "s3://files/dt=1/", "s3://files/a//", "S3://files/a"],
            ),
            (
                JOB,
                &["abcdefghij12", "arn:aws:bedrock:us-east-1:000000000000:model-invocation-job/abcdefghij12"],
                &["", "abc", "ABCDEFGHIJ12", "arn:aws:bedrock:us-east-1:000000000000:async-invoke/abcdefghij12"],
            ),
            (r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}", &["a", "a-b.c+d"], &["", "-a", "a_b", "a b"]),
            ("[a-zA-Z0-9]{1,256}(-*[a-zA-Z0-9]){0,256}", &["a", "a--b"], &["a-", "-a", "a.b"]),
            (
                "arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+",
                &["arn:aws:iam::000000000000:role/a/b"],
                &["arn:aws:iam::000000000000:user/a", "arn:aws:iam::0:role/a", "role/a"],
            ),
            (
                KEY,
                &["alias/a", "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555"],
                &["a", "key/a"],
            ),
        ] {
            for text in good {
                assert!(matches(pattern, text), "{text} does not match {pattern}");
            }
            for text in bad {
                assert!(!matches(pattern, text), "{text} matches {pattern}");
            }
        }
    }
}
