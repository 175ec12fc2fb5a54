//! What must not be written: keys and credentials, whatever the operator's patterns match, and media, which are only told
//! of. Pure.

use std::borrow::Cow;

use regex::{Captures, NoExpand, Regex};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Stands for what was taken out.
const REDACTED: &str = "[redacted]";
/// Text of this length without anything but base64 in it is no language.
const MEDIA: usize = 512;
/// More numbers than that in a row are a vector.
const VECTOR: usize = 64;

/// Keys and credentials by their looks.
const SECRETS: [&str; 12] = [
    // Of a gateway.
    r"\bbgw_[A-Za-z0-9-]+_[A-Za-z0-9_-]{8,}",
    // Of AWS: ids of access keys, secrets and session tokens beside their names, API keys of Bedrock.
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r#"(?i:secret_?access_?key|session_?token)["'\\\s:=]{1,8}[A-Za-z0-9/+=]{16,}"#,
    r"\bABSK[A-Za-z0-9+/=]{16,}",
    r"\bbedrock-api-key-[A-Za-z0-9+/=_-]{16,}",
    // Of others.
    r"\bsk-[A-Za-z0-9_-]{16,}",
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",
    r"\bgithub_pat_[A-Za-z0-9_]{20,}",
    r"\bxox[abeprs]-[A-Za-z0-9-]{10,}",
    r"(?i:\bbearer)\s+[A-Za-z0-9._~+/=-]{16,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?",
];

/// Takes out what must not be written.
#[derive(Debug)]
pub(super) struct Redaction {
    secrets: Regex,
    account: Regex,
    media: Regex,
    own: Vec<Regex>,
}

impl Redaction {
    /// With these patterns beside the built-in ones.
    ///
    /// # Errors
    /// When one is no regular expression, which the check of the settings has told before.
    pub(super) fn new(patterns: &[String]) -> Result<Self> {
        let regex = |pattern: &str| Regex::new(pattern).map_err(Error::internal);
        Ok(Self {
            secrets: regex(&SECRETS.join("|"))?,
            account: regex(r"(arn:aws[a-z-]*:[a-z0-9-]*:[a-z0-9-]*:)\d{12}")?,
            media: regex(r"data:([A-Za-z0-9.+/-]+);base64,([A-Za-z0-9+/=_-]{64,})")?,
            own: patterns.iter().map(|pattern| regex(pattern)).collect::<Result<_>>()?,
        })
    }

    /// The text without it.
    pub(super) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if let Some(media) = media(text) {
            return Cow::Owned(media);
        }
        let told = |found: &Captures<'_>| format!("[{}, {} bytes]", &found[1], decoded(&found[2]));
        let mut text = self.media.replace_all(text, told);
        replace(&mut text, |text| self.secrets.replace_all(text, NoExpand(REDACTED)));
        replace(&mut text, |text| self.account.replace_all(text, "${1}[redacted]"));
        for pattern in &self.own {
            replace(&mut text, |text| pattern.replace_all(text, NoExpand(REDACTED)));
        }
        text
    }

    /// The same for every text in a value, names of members included.
    pub(super) fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(redacted) = self.text(text) {
                    *text = redacted;
                }
            }
            Value::Array(items) if items.len() > VECTOR && items.iter().all(Value::is_number) => {
                *value = Value::String(format!("[{} numbers]", items.len()));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(members) => {
                members.values_mut().for_each(|member| self.value(member));
                if members.keys().any(|name| matches!(self.text(name), Cow::Owned(_))) {
                    let renamed = std::mem::take(members).into_iter();
                    *members =
                        renamed.map(|(name, member)| (self.text(&name).into_owned(), member)).collect::<Map<_, _>>();
                }
            }
            // A card's number may be given as one.
            Value::Number(number) => {
                if let Cow::Owned(redacted) = self.text(&number.to_string()) {
                    *value = Value::String(redacted);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
}

/// Applies `change`; keeps what there is where it changes nothing.
fn replace(text: &mut Cow<'_, str>, change: impl FnOnce(&str) -> Cow<'_, str>) {
    let changed = match change(text) {
        Cow::Owned(changed) => changed,
        Cow::Borrowed(_) => return,
    };
    *text = Cow::Owned(changed);
}

/// What stands for text that is nothing but base64.
fn media(text: &str) -> Option<String> {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-\r\n".contains(&byte);
    (text.len() > MEDIA && text.bytes().all(is_base64)).then(|| format!("[base64, {} bytes]", decoded(text)))
}

/// How many bytes so much base64 stands for.
fn decoded(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redaction() -> Redaction {
        Redaction::new(&[r"(?i)kunde \d+".to_owned(), r"\b\d{4}-?\d{4}-?\d{4}-?\d{4}\b".to_owned()]).unwrap()
    }

    #[test]
    fn keys_and_credentials_are_taken_out_of_any_text() {
        let redaction = redaction();
        for secret in [
            "bgw_abc123_0123456789abcdef",
            "AKIAIOSFODNN7EXAMPLE",
            "aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY00",
            r#"\"SecretAccessKey\": \"wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY00"#,
            concat!("sk", "-ant-api03-0123456789abcdef"),
            "Authorization: Bearer 0123456789abcdef",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJub2JvZHkifQ.c2lnbmF0dXJl",
            "-----BEGIN PRIVATE KEY-----\nMIIEfake\n-----END PRIVATE KEY-----",
            "kunde 4711",
            "4111-1111-1111-1111",
        ] {
            let text = format!("before {secret} after");
            let redacted = redaction.text(&text);
            let marked = redacted.contains(REDACTED) && redacted.starts_with("before ") && redacted.ends_with(" after");
            let tail = &secret[secret.len() - 8..];
            assert!(marked && !redacted.contains(tail), "{secret}: {redacted}");
        }
        let plain = "A risk-based, task-oriented sentence about bearers of news and 0000.";
        assert!(matches!(redaction.text(plain), Cow::Borrowed(text) if text == plain));
        let arn = redaction.text("arn:aws:iam::000000000000:role/x");
        assert_eq!(arn, "arn:aws:iam::[redacted]:role/x");
    }

    #[test]
    fn media_are_told_by_type_and_size_and_vectors_by_length() {
        let data = "QUJD".repeat(400);
        let mut value = json!({
            "url": format!("data:image/png;base64,{data}"),
            "source": {"media_type": "image/png", "data": data},
            "text": format!("see ![x](data:image/png;base64,{data}) there"),
            "embedding": vec![0.5; 100],
            "short": [1, 2],
        });
        redaction().value(&mut value);
        assert_eq!(
            value,
            json!({
                "url": "[image/png, 1200 bytes]",
                "source": {"media_type": "image/png", "data": "[base64, 1200 bytes]"},
                "text": "see ![x]([image/png, 1200 bytes]) there",
                "embedding": "[100 numbers]",
                "short": [1, 2],
            })
        );
    }

    #[test]
    fn names_and_numbers_are_text_too() {
        let mut value = json!({"kunde 12": [{"card": 4_111_111_111_111_111_u64}]});
        redaction().value(&mut value);
        assert_eq!(value, json!({"[redacted]": [{"card": "[redacted]"}]}));
    }
}
