//! The patterns of the service's own model, each as a check of its own: no engine of regular expressions is needed for so few.

use super::names;

/// Whether all of `text` matches one of the patterns that the shapes have; a test holds the list complete.
pub(super) fn pattern_matches(pattern: &str, text: &str) -> bool {
    let all = |allowed: fn(u8) -> bool| text.bytes().all(allowed);
    match pattern {
        "[a-zA-Z0-9_.:-]+" => !text.is_empty() && all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte)),
        "[a-zA-Z0-9_-]+" => !text.is_empty() && all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)),
        "[0-9]{12}" => text.len() == 12 && all(|byte| byte.is_ascii_digit()),
        r"s3://[a-z0-9][\.\-a-z0-9]{1,61}[a-z0-9](/.*)?" => is_s3_uri(text),
        "[!-~]*" => all(|byte| byte.is_ascii_graphic()),
        r"[a-zA-Z_\.\-/0-9:]+" => {
            !text.is_empty() && all(|byte| byte.is_ascii_alphanumeric() || b"_.-/:".contains(&byte))
        }
        r"[a-zA-Z0-9\s._:/=+@-]*" => {
            all(|byte| byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"._:/=+@-".contains(&byte))
        }
        "arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:async-invoke/[a-z0-9]{12}" => {
            is_arn(text, "bedrock", |resource| {
                resource.strip_prefix("async-invoke/").is_some_and(|id| id.len() == 12 && is_plain(id))
            })
        }
        "arn:aws(-[^:]+)?:kms:[a-zA-Z0-9-]*:[0-9]{12}:((key/[a-zA-Z0-9-]{36})|(alias/[a-zA-Z0-9-_/]+))" => {
            is_arn(text, "kms", |resource| match resource.split_once('/') {
                Some(("key", id)) => id.len() == 36,
                Some(("alias", name)) => !name.is_empty(),
                _ => false,
            })
        }
        "(|([1-9][0-9]{0,7})|(DRAFT))" => {
            text.is_empty()
                || text == "DRAFT"
                || (text.len() <= 8 && !text.starts_with('0') && all(|byte| byte.is_ascii_digit()))
        }
        "(|([a-z0-9]+)|(arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+))" => is_guardrail(text),
        r"[a-zA-Z0-9\s:_@$#=/+,-.]{1,256}" | r"[a-zA-Z0-9\s:_@$#=/+,-.]{0,256}" => {
            all(|byte| byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b":_@$#=/+,-.".contains(&byte))
        }
        _ => names::matches(pattern, text),
    }
}

pub(super) fn is_plain(id: &str) -> bool {
    id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether `text` is an ARN of `service`, of an account and with such a resource.
pub(super) fn is_arn(text: &str, service: &str, is_resource: impl Fn(&str) -> bool) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, of, _, account, resource] = parts[..] else { return false };
    let digits = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    partition.starts_with("aws") && of == service && digits && is_resource(resource)
}

fn is_s3_uri(text: &str) -> bool {
    let bucket = text.strip_prefix("s3://").map(|rest| rest.split_once('/').map_or(rest, |(bucket, _)| bucket));
    bucket.is_some_and(|bucket| {
        let plain = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let bytes = bucket.as_bytes();
        (3..=63).contains(&bytes.len())
            && plain(bytes.first())
            && plain(bytes.last())
            && bytes.iter().all(|byte| plain(Some(byte)) || b".-".contains(byte))
    })
}

fn is_guardrail(text: &str) -> bool {
    let plain = |id: &str| id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [id] => plain(id),
        ["arn", partition, "bedrock", region, account, resource] => {
            partition.starts_with("aws")
                && (1..=20).contains(&region.len())
                && account.len() == 12
                && resource.strip_prefix("guardrail/").is_some_and(|id| !id.is_empty() && plain(id))
        }
        _ => false,
    }
}
