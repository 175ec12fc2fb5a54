//! The headers that are Bedrock's own, and travel with a call whose body is the model's: guardrail, trace, latency, tier,
//! metadata. <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>

use http::{HeaderMap, HeaderName};

/// Whether it is one of them.
pub(super) fn is_bedrocks(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-amzn-bedrock-")
}

/// Those of a caller's `headers` that belong to the call, repeats included.
pub(super) fn bedrocks(headers: &HeaderMap) -> HeaderMap {
    let own = headers.iter().filter(|(name, _)| is_bedrocks(name));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}
