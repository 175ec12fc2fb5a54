//! Reasoning on its way to the client and back. What a model signed or encrypted has to come back to it byte for byte, so
//! all of it travels in `encrypted_content`, whatever becomes of the readable text beside it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::converse::{ReasoningContent, ReasoningText};

/// What `encrypted_content` holds: base64 of this as JSON. Opaque to clients; another version may write another.
#[derive(Debug, Serialize, Deserialize)]
struct Sealed {
    /// Who made the model that thought this: no other takes it.
    by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted: Option<String>,
}

/// The `encrypted_content` of what a model by `provider` thought.
pub(super) fn seal(thought: &ReasoningContent, provider: &str) -> String {
    let mut sealed = Sealed { by: provider.to_owned(), text: None, signature: None, redacted: None };
    match thought {
        ReasoningContent::ReasoningText(readable) => {
            sealed.text = Some(readable.text.clone());
            sealed.signature.clone_from(&readable.signature);
        }
        ReasoningContent::RedactedContent(redacted) => sealed.redacted = Some(redacted.clone()),
    }
    // Strings always serialise.
    STANDARD.encode(serde_json::to_vec(&sealed).unwrap_or_default())
}

/// What [`seal`] sealed, if it was thought by a model of the same `provider`: nobody else knows the signature. None for
/// what this gateway did not seal.
pub(super) fn open(encrypted: &str, provider: &str) -> Option<ReasoningContent> {
    let sealed: Sealed = serde_json::from_slice(&STANDARD.decode(encrypted).ok()?).ok()?;
    if sealed.by != provider {
        return None;
    }
    match sealed {
        Sealed { redacted: Some(redacted), .. } => Some(ReasoningContent::RedactedContent(redacted)),
        Sealed { text: Some(text), signature, .. } => {
            Some(ReasoningContent::ReasoningText(ReasoningText { text, signature }))
        }
        Sealed { text: None, .. } => None,
    }
}

/// Whether `seal` made this, for a model of any maker.
pub fn is_sealed(encrypted: &str) -> bool {
    STANDARD.decode(encrypted).is_ok_and(|json| serde_json::from_slice::<Sealed>(&json).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_comes_back_to_its_maker_unchanged_and_to_nobody_else() {
        let signed = ReasoningContent::ReasoningText(ReasoningText {
            text: "hm\u{0} é".into(),
            signature: Some("s+/=".into()),
        });
        let redacted = ReasoningContent::RedactedContent("AAE=".into());
        for thought in [signed, redacted] {
            let sealed = seal(&thought, "anthropic");
            assert_eq!(open(&sealed, "anthropic"), Some(thought));
            assert_eq!(open(&sealed, "amazon"), None);
            assert!(is_sealed(&sealed));
        }
    }

    #[test]
    fn what_somebody_else_sealed_is_not_opened() {
        for foreign in ["", "gAAAAABo", "e30=", "!", "eyJieSI6ImEifQ=="] {
            assert_eq!(open(foreign, "a"), None);
        }
        for foreign in ["", "gAAAAABo", "e30=", "!"] {
            assert!(!is_sealed(foreign), "{foreign}");
        }
    }
}
