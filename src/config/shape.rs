//! The shapes that several sections check: Region names, URLs, ARNs, networks.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::Problems;

/// Whether the text is built as Region names are (`us-east-1`, `us-gov-west-1`, `eusc-de-east-1`); whether it exists the catalog knows.
pub(super) fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    (2..=4).contains(&words.len())
        && matches!(words[0].len(), 2 | 4)
        && words.iter().all(is_word)
        && matches!(number.len(), 1 | 2)
        && number.bytes().all(|b| b.is_ascii_digit())
}

/// What to say about a text that is not built as a Region name.
pub(super) fn not_a_region(text: &str) -> String {
    format!("{text:?} is not a Region name; one looks like \"us-east-1\"")
}

/// Notes a URL that is not `http(s)://host[:port]`. The text is not repeated: it may hold a password.
pub(super) fn check_base_url(path: &str, url: &str, problems: &mut Problems) {
    let parsed = url.parse::<http::Uri>().ok();
    let is_base = parsed.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
    });
    if !is_base {
        problems.add(path, "must be http://HOST[:PORT] or https://HOST[:PORT], without path, query or user");
    }
}

/// A network such as `10.1.2.0/24`, or a single address; one of IPv4 that is written as IPv6 (`::ffff:10.1.2.0/120`) is
/// of IPv4, and any address of a network tells it. Otherwise what to say after the text.
pub fn network(text: &str) -> Result<IpNet, String> {
    let not_one = || "is not a network; one looks like \"10.1.2.0/24\" or \"fd00:1::/32\"".to_owned();
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| not_one())?.trunc(),
    };
    let IpNet::V6(wide) = network else { return Ok(network) };
    let mapped = wide.addr().to_ipv4_mapped().zip(wide.prefix_len().checked_sub(96));
    Ok(mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4))
}

/// What to say about a text that is not the ARN of a role. The text is not repeated: it may hold an account id.
pub const NOT_A_ROLE_ARN: &str = "is not the ARN of a role; one looks like arn:aws:iam::123456789012:role/NAME";

/// The partition of an IAM role's ARN, such as `aws` or `aws-us-gov`; `None` for a text that is not built as one.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns>
pub fn role_partition(arn: &str) -> Option<&str> {
    // IAM's own bounds of a role's name with its path; no longer text is worth sending.
    const LONGEST: usize = 64 + 512;
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (arn, partition, service, region, account, role) = (next(), next(), next(), next(), next(), next());
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let name = role.strip_prefix("role/").unwrap_or_default();
    let is_name = (1..=LONGEST).contains(&name.len())
        && !name.ends_with('/')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@-_/".contains(&b));
    let is_partition = partition.strip_prefix("aws").is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('-').is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
    });
    let is_role = (arn, service, region) == ("arn", "iam", "") && is_partition && is_account && is_name;
    is_role.then_some(partition)
}

/// Notes a text that is neither empty nor the ARN of an IAM role.
pub(super) fn check_role_arn(path: &str, arn: &str, problems: &mut Problems) {
    if !arn.is_empty() && role_partition(arn).is_none() {
        problems.add(path, NOT_A_ROLE_ARN);
    }
}

/// The URL without its password and query, for `Debug`.
pub(super) fn masked(url: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, ""), |(base, _)| (base, "?.."));
    let masked = base.split_once("://").and_then(|(scheme, rest)| {
        let (user, host) = rest.rsplit_once('@')?;
        let (name, _) = user.split_once(':')?;
        Some(format!("{scheme}://{name}:..@{host}"))
    });
    format!("{}{query}", masked.as_deref().unwrap_or(base))
}

/// Whether it can be the name of a bucket: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>.
pub(super) fn is_bucket(name: &str) -> bool {
    let is_end = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && is_end(bytes.first())
        && is_end(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(b))
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_told_by_their_build() {
        for name in ["abc", "my-bucket.2", &"x".repeat(63)] {
            assert!(is_bucket(name), "{name}");
        }
        for name in ["", "ab", "My-bucket", "-abc", "abc-", "a..b", "a/b", "s3://abc", &"x".repeat(64)] {
            assert!(!is_bucket(name), "{name}");
        }
    }

    #[test]
    fn roles_are_told_by_their_arn_in_every_partition() {
        for (arn, partition) in [
            ("arn:aws:iam::000000000000:role/a", "aws"),
            ("arn:aws-us-gov:iam::000000000000:role/service-role/a.b+c=d,e@f_g", "aws-us-gov"),
            ("arn:aws-iso-b:iam::000000000000:role/a", "aws-iso-b"),
        ] {
            assert_eq!(role_partition(arn), Some(partition), "{arn}");
        }
        for wrong in [
            "",
            "role/a",
            "arn:aws:iam::000000000000:user/a",
            "arn:aws:iam::000000000000:role/",
            "arn:aws:iam::000000000000:role/a/",
            "arn:aws:iam::000000000000:role/a b",
            "arn:aws:iam::00000000000:role/a",
            "arn:aws:iam:us-east-1:000000000000:role/a",
            "arn:aws:sts::000000000000:assumed-role/a/b",
            "arn:gcp:iam::000000000000:role/a",
            "arn:awsome:iam::000000000000:role/a",
            &format!("arn:aws:iam::000000000000:role/{}", "x".repeat(577)),
        ] {
            assert_eq!(role_partition(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn region_names_are_told_by_their_build() {
        for name in ["us-east-1", "us-gov-west-1", "eusc-de-east-1", "ap-southeast-7", "mx-central-1"] {
            assert!(is_region(name), "{name}");
        }
        for name in ["", "us-east", "US-EAST-1", "us_east_1", "us-east-1a", "useast-1", "eu--1", "us-east-1 "] {
            assert!(!is_region(name), "{name}");
        }
    }

    #[test]
    fn a_masked_url_shows_neither_password_nor_query() {
        assert_eq!(masked("postgres://gw:s3@cr:et@db/x?password=p"), "postgres://gw:..@db/x?..");
        assert_eq!(masked("sqlite://gateway.db"), "sqlite://gateway.db");
        assert_eq!(masked("postgres://gw@db/x"), "postgres://gw@db/x");
    }
}
