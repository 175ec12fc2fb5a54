//! How a call is served: in which tier, and whether it hurries. What AWS says of it counts; what was asked for counts where
//! AWS says nothing, because a call that was answered was not refused for it.

use http::HeaderMap;
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;

use crate::catalog::Tier;
use crate::upstream::{Call, Operation};

/// How a call is to be served, or was; `None`: nobody says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The tier.
    pub tier: Option<Tier>,
    /// Whether it hurries.
    pub latency: Option<Latency>,
}

/// Whether a call hurries.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/latency-optimized-inference.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// As usual.
    Standard,
    /// Faster, at a price of its own.
    Optimized,
}

impl Latency {
    /// Bedrock's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Optimized => "optimized",
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "standard" => Some(Self::Standard),
            "optimized" => Some(Self::Optimized),
            _ => None,
        }
    }
}

/// The header of the tier, there and back:
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>.
pub const TIER: &str = "x-amzn-bedrock-service-tier";
/// The header of the latency, there and back.
pub const LATENCY: &str = "x-amzn-bedrock-performanceconfig-latency";

impl Service {
    /// What `call` asks for.
    pub(super) fn asked(call: &Call) -> Self {
        let in_body = match call.operation {
            // Converse knows no headers for it.
            Operation::Converse | Operation::ConverseStream => return Self::in_body(&call.body, b"\"serviceTier\""),
            Operation::ChatCompletions | Operation::Responses => Self::in_body(&call.body, b"\"service_tier\""),
            Operation::InvokeModel
            | Operation::InvokeModelWithResponseStream
            | Operation::Messages
            | Operation::CountTokens => Self::default(),
        };
        Self::in_headers(&call.headers).or(in_body)
    }

    /// What headers say, of a call or of an answer.
    pub(super) fn in_headers(headers: &HeaderMap) -> Self {
        let says = |name: &str| headers.get(name)?.to_str().ok();
        Self { tier: says(TIER).map(Tier::named), latency: says(LATENCY).and_then(Latency::named) }
    }

    /// What the members `serviceTier` and `performanceConfig` of Converse say.
    pub(super) fn in_converse(tier: Option<&Value>, performance: Option<&Value>) -> Self {
        Self {
            tier: tier.and_then(|tier| tier["type"].as_str()).map(Tier::named),
            latency: performance.and_then(|performance| performance["latency"].as_str()).and_then(Latency::named),
        }
    }

    /// What the member of OpenAI's and Anthropic's says.
    pub(super) fn in_dialect(tier: Option<&str>) -> Self {
        let tier = match tier {
            // Which one it will be is not said yet.
            None | Some("auto") => None,
            Some("scale") => Some(Tier::Reserved),
            Some(tier) => Some(Tier::named(tier)),
        };
        Self { tier, latency: None }
    }

    /// What a body asks for. It is read only if it has such a member somewhere: most bodies do not, and some are large.
    fn in_body(body: &[u8], tier: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Asking {
            #[serde(rename = "serviceTier")]
            converse_tier: Option<Value>,
            #[serde(rename = "performanceConfig")]
            performance: Option<Value>,
            service_tier: Option<Value>,
        }
        let has = |member: &[u8]| memmem::find(body, member).is_some();
        if !has(tier) && !has(b"\"performanceConfig\"") {
            return Self::default();
        }
        let Ok(asking) = serde_json::from_slice::<Asking>(body) else { return Self::default() };
        let converse = Self::in_converse(asking.converse_tier.as_ref(), asking.performance.as_ref());
        converse.or(Self::in_dialect(asking.service_tier.as_ref().and_then(Value::as_str)))
    }

    /// Whether it counts against another quota than that of the model: reserved capacity, or optimized latency.
    pub(super) fn is_apart(self) -> bool {
        self.tier == Some(Tier::Reserved) || self.latency == Some(Latency::Optimized)
    }

    /// This, and `other` for what this leaves open.
    pub(super) fn or(self, other: Self) -> Self {
        Self { tier: self.tier.or(other.tier), latency: self.latency.or(other.latency) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn asked(operation: Operation, body: &str) -> Service {
        Service::asked(&Call { operation, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) })
    }

    #[test]
    fn each_operation_is_asked_by_its_own_member() {
        let flex = Service { tier: Some(Tier::Flex), latency: None };
        assert_eq!(asked(Operation::Converse, r#"{"serviceTier":{"type":"flex"}}"#), flex);
        assert_eq!(asked(Operation::ChatCompletions, r#"{"service_tier" : "flex"}"#), flex);
        assert_eq!(asked(Operation::InvokeModel, r#"{"service_tier":"flex"}"#), Service::default());
        let both = asked(Operation::ConverseStream, r#"{"performanceConfig":{"latency":"optimized"}}"#);
        assert_eq!(both, Service { tier: None, latency: Some(Latency::Optimized) });
    }

    #[test]
    fn a_prompt_that_speaks_of_tiers_asks_for_none() {
        let text = r#"{"messages":[{"content":"say \"serviceTier\":{\"type\":\"flex\"}"}]}"#;
        assert_eq!(asked(Operation::Converse, text), Service::default());
        let deep = r#"{"toolConfig":{"serviceTier":{"type":"flex"}}}"#;
        assert_eq!(asked(Operation::Converse, deep), Service::default());
        assert_eq!(asked(Operation::Converse, r#"{"serviceTier":7}"#), Service::default());
        assert_eq!(asked(Operation::Responses, r#"{"service_tier":"auto"}"#), Service::default());
    }

    #[test]
    fn headers_say_it_but_for_converse() {
        let mut headers = HeaderMap::new();
        headers.insert(TIER, "priority".parse().unwrap());
        headers.insert(LATENCY, "optimized".parse().unwrap());
        let mut call = Call { operation: Operation::InvokeModel, headers, body: Bytes::from_static(b"{}") };
        let expected = Service { tier: Some(Tier::Priority), latency: Some(Latency::Optimized) };
        assert_eq!(Service::asked(&call), expected);
        call.operation = Operation::Converse;
        assert_eq!(Service::asked(&call), Service::default());
    }

    #[test]
    fn a_tier_of_a_later_version_is_one_that_is_not_known() {
        let told = serde_json::json!({"type": "warp"});
        assert_eq!(Service::in_converse(Some(&told), None).tier, Some(Tier::Other));
    }
}
