//! The guardrail of a call, where a caller names it as Bedrock's own APIs have it named: by headers.

use http::HeaderMap;

use crate::converse::GuardrailConfig;
use crate::error::{Error, Result};

/// The header that names it.
pub(super) const IDENTIFIER: &str = "x-amzn-bedrock-guardrailidentifier";

/// The guardrail that the headers of Bedrock's own APIs name; one that is named by half is `Kind::Invalid`
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions.html>).
pub(super) fn of(headers: &HeaderMap) -> Result<Option<GuardrailConfig>> {
    let header = |name: &str| Some(headers.get(name)?.to_str().unwrap_or_default().to_owned());
    let (id, version) = (IDENTIFIER, "x-amzn-bedrock-guardrailversion");
    match (header(id), header(version)) {
        (None, None) => Ok(None),
        (Some(guardrail_identifier), Some(guardrail_version)) => Ok(Some(GuardrailConfig {
            guardrail_identifier,
            guardrail_version,
            trace: header("x-amzn-bedrock-trace").map(|trace| trace.to_ascii_lowercase()),
            stream_processing_mode: None,
        })),
        (Some(_), None) => Err(Error::invalid(version, "A guardrail needs its version as well.")),
        (None, Some(_)) => Err(Error::invalid(id, "A guardrail's version needs its identifier as well.")),
    }
}
