//! What AWS's messages say about the account is not for callers: ARNs and account ids are taken out. Pure.

use std::borrow::Cow;
use std::error::Error;

const ARN: &str = "arn:";
const ACCOUNT_DIGITS: usize = 12;
/// Stands for an account id where one has to stand.
const ACCOUNT: &str = "000000000000";
/// Stands for the gateway's own role, user or session.
const IDENTITY: &str = "[the gateway]";

/// `text` with each ARN replaced by the name it ends with (an IAM or STS one by `[the gateway]`), and each number of
/// twelve digits by zeros. Borrowed when there is nothing to hide.
pub fn mask(text: &str) -> Cow<'_, str> {
    if !text.contains(ARN) && !text.as_bytes().windows(ACCOUNT_DIGITS).any(|w| w.iter().all(u8::is_ascii_digit)) {
        return Cow::Borrowed(text);
    }
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(ARN) {
        let (before, arn) = rest.split_at(at);
        push_without_accounts(&mut masked, before);
        let end = arn.find(|c: char| c.is_whitespace() || "\"'`<>,;()[]{}\\".contains(c)).unwrap_or(arn.len());
        let whole = arn[..end].trim_end_matches(['.', ':', '!', '?']);
        push_without_accounts(&mut masked, name(whole));
        rest = &arn[whole.len()..];
    }
    push_without_accounts(&mut masked, rest);
    Cow::Owned(masked)
}

/// The chain of causes in one line, for the log, masked. The SDK's own way to show it prints whole HTTP answers.
pub(super) fn masked_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    mask(&text).into_owned()
}

/// `arn:partition:service:region:account:resource`: the last part of the resource.
fn name(arn: &str) -> &str {
    let mut parts = arn.splitn(6, ':').skip(2);
    if matches!(parts.next(), Some("iam" | "sts")) {
        return IDENTITY;
    }
    let resource = parts.nth(2).unwrap_or("[resource]");
    resource.rsplit_once('/').map_or(resource, |(_, last)| last)
}

fn push_without_accounts(masked: &mut String, text: &str) {
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[start..].bytes().take_while(u8::is_ascii_digit).count();
        let end = start + digits;
        if digits == ACCOUNT_DIGITS {
            masked.push_str(&rest[..start]);
            masked.push_str(ACCOUNT);
        } else {
            masked.push_str(&rest[..end]);
        }
        rest = &rest[end..];
    }
    masked.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_become_names_and_account_ids_zeros() {
        for (text, expected) in [
            ("Too many tokens, please wait.", "Too many tokens, please wait."),
            (
                "User: arn:aws:sts::123456789012:assumed-role/app/i-1 is not authorized to perform: bedrock:InvokeModel on \
                 resource: arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2:1.",
                "User: [the gateway] is not authorized to perform: bedrock:InvokeModel on resource: anthropic.claude-v2:1.",
            ),
            (
                "no profile \"arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:application-inference-profile/abc123def456\"",
                "no profile \"abc123def456\"",
            ),
            ("Account 123456789012 has 1234567890123 tokens", "Account 000000000000 has 1234567890123 tokens"),
            ("arn: and arn:aws:bedrock", "[resource]: and [resource]"),
            ("arn:aws:bedrock:us-east-1:123456789012:prompt-router/123456789012", "000000000000"),
        ] {
            assert_eq!(mask(text), expected);
        }
    }
}
