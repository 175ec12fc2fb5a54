//! The patterns of the services' own models, as Java's engine reads them: each is matched as a whole, `\w`, `\d` and `\s` are ASCII.

use std::sync::OnceLock;

use regex::Regex;
use serde::Deserialize;

/// A pattern, compiled when it is first needed.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub(super) struct Pattern {
    text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self { text, compiled: OnceLock::new() }
    }
}

impl Pattern {
    /// As the model writes it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether all of `text` matches. Nothing matches a pattern that is not understood, of which a test finds none.
    pub(super) fn matches(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| Regex::new(&format!("^(?:{})$", translated(&self.text))).ok());
        compiled.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// The same in the syntax of `regex`. Its tables of Unicode's categories are not compiled in: letters and numbers are those of
/// its `\w`, which has a few marks more.
fn translated(pattern: &str) -> String {
    pattern
        .replace("\\w", "0-9A-Za-z_")
        .replace("\\d", "0-9")
        .replace("\\s", " \\t\\n\\r\\x0B\\x0C")
        .replace("\\p{L}", "\\w")
        .replace("\\p{Z}", " \\u00A0\\u2028\\u2029")
        .replace("\\p{N}", "\\d")
}

#[cfg(test)]
mod tests {
    use super::super::shape;

    #[test]
    fn names_and_addresses_match_as_the_service_models_say() {
        for (name, good, bad) in [
            (
                "bedrock#ModelId",
                &[
                    "us.anthropic.claude-haiku-4-5-20251001-v1:0",
                    "deepseek.v3.2",
                    "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
                    "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/abc",
                ][..],
                &[
                    "",
                    "a..b",
                    "us.a.b.c",
                    "a b",
                    "arn:aws:bedrock:us-east-1:000000000000:provisioned-model/abcdefghijkl",
                ][..],
            ),
            (
                "bedrock#S3Uri",
                &["s3://files", "s3://files/", "s3://files/a/b.jsonl", "s3://files/a/"],
                &["s3://f", "s3://files//a", "s3://files/a b", "s3://files/dt=1/", "s3://files/a//", "S3://files/a"],
            ),
            ("bedrock#ModelInvocationJobName", &["a", "a-b.c+d"], &["", "-a", "a_b", "a b"]),
            ("sts#roleSessionNameType", &["a@b", ""], &["ä", "a b"]),
            ("sts#tagKeyType", &["ä ü", "a/b"], &["a*", ""]),
        ] {
            let pattern = shape::named(name).unwrap().pattern.as_ref().unwrap();
            for text in good {
                assert!(pattern.matches(text), "{text} does not match {}", pattern.text());
            }
            for text in bad {
                assert!(!pattern.matches(text), "{text} matches {}", pattern.text());
            }
        }
    }
}
