//! What a whole answer says of itself beside its content: what it used, how it was served, and by which model where that
//! was left to a router.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::service::Service;
use crate::converse::{self, CacheDetail, Usage};
use crate::upstream::Operation;

/// What an answer says of itself.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Statement {
    /// What it used, if it says.
    pub(super) usage: Option<Usage>,
    /// How it was served.
    pub(super) service: Service,
    /// The model that a prompt router chose, by its id or ARN.
    pub(super) chosen: Option<String>,
}

impl Statement {
    /// What a whole answer says.
    pub(super) fn of(operation: Operation, headers: &HeaderMap, body: &[u8]) -> Self {
        match operation {
            Operation::Converse | Operation::ConverseStream => Self::of_converse(body),
            // AWS counts for nothing.
            Operation::CountTokens => Self { usage: Some(Usage::default()), ..Self::default() },
            _ => Self::of_native(headers, body),
        }
    }

    /// What a canonical answer says.
    pub(super) fn of_response(response: &converse::Response) -> Self {
        let router = response.trace.as_ref().and_then(|trace| trace.get("promptRouter"));
        Self {
            usage: Some(response.usage.clone()),
            service: Service::in_converse(response.service_tier.as_ref(), response.performance_config.as_ref()),
            chosen: router.and_then(|router| router["invokedModelId"].as_str()).map(str::to_owned),
        }
    }

    /// What an answer of Converse says, or the last event of its stream.
    pub(super) fn of_converse(json: &[u8]) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Converse<'a> {
            usage: Usage,
            service_tier: Option<Value>,
            performance_config: Option<Value>,
            /// That of a guardrail is long, and of no interest.
            #[serde(borrow)]
            trace: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Trace {
            prompt_router: Option<Router>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Router {
            invoked_model_id: Option<String>,
        }
        let Ok(told) = serde_json::from_slice::<Converse<'_>>(json) else { return Self::default() };
        let trace = told.trace.filter(|trace| trace.get().contains("\"promptRouter\""));
        let trace: Option<Trace> = trace.and_then(|trace| serde_json::from_str(trace.get()).ok());
        Self {
            usage: Some(told.usage),
            service: Service::in_converse(told.service_tier.as_ref(), told.performance_config.as_ref()),
            chosen: trace.and_then(|trace| trace.prompt_router?.invoked_model_id),
        }
    }

    /// What an answer in the model's own words says, and the headers that Bedrock sends with it, which come first.
    fn of_native(headers: &HeaderMap, body: &[u8]) -> Self {
        let told = serde_json::from_slice::<Native>(body).unwrap_or_default();
        let service = Service::in_headers(headers).or(told.service());
        Self { usage: invoke_usage(headers, told.usage), service, chosen: None }
    }
}

/// What the models' own bodies say of themselves.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Native {
    pub(super) usage: Option<NativeUsage>,
    /// OpenAI's.
    service_tier: Option<Value>,
}

impl Native {
    /// How it was served.
    pub(super) fn service(&self) -> Service {
        let own = Service::in_dialect(self.service_tier.as_ref().and_then(Value::as_str));
        own.or(self.usage.as_ref().map(NativeUsage::service).unwrap_or_default())
    }
}

/// The usage of a whole native answer: Bedrock's own count in the headers, else what the body says.
fn invoke_usage(headers: &HeaderMap, told: Option<NativeUsage>) -> Option<Usage> {
    let count = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let told = || told.map(Usage::from);
    let Some(input) = count("x-amzn-bedrock-input-token-count") else { return told() };
    let written = count("x-amzn-bedrock-cache-write-input-token-count").unwrap_or(0);
    Some(total(Usage {
        input_tokens: input,
        output_tokens: count("x-amzn-bedrock-output-token-count").unwrap_or(0),
        cache_read_input_tokens: count("x-amzn-bedrock-cache-read-input-token-count").unwrap_or(0),
        cache_write_input_tokens: written,
        // No header tells how long it lives there, and an hour costs more than five minutes.
        cache_details: if written > 0 { told().map(|told| told.cache_details).unwrap_or_default() } else { Vec::new() },
        ..Usage::default()
    }))
}

/// With the total of its classes.
pub(super) fn total(mut usage: Usage) -> Usage {
    usage.total_tokens = usage.prompt_tokens() + usage.output_tokens;
    usage
}

/// Usage as the models' own bodies tell it: Anthropic's names, or OpenAI's, whose count of the prompt includes what came
/// from the cache and what was written to it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct NativeUsage {
    #[serde(alias = "prompt_tokens", alias = "inputTokens")]
    input_tokens: Option<u64>,
    #[serde(alias = "completion_tokens", alias = "outputTokens")]
    output_tokens: Option<u64>,
    /// Anthropic's, of the tier.
    service_tier: Option<Value>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    #[serde(alias = "prompt_tokens_details")]
    input_tokens_details: Option<InputDetails>,
}

/// Anthropic's cache writes by lifetime.
#[derive(Default, Deserialize)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

impl CacheCreation {
    fn details(self) -> Vec<CacheDetail> {
        let written = [("5m", self.ephemeral_5m_input_tokens), ("1h", self.ephemeral_1h_input_tokens)];
        let detail = |(ttl, tokens): (&str, Option<u64>)| {
            Some(CacheDetail { ttl: ttl.to_owned(), input_tokens: tokens.filter(|tokens| *tokens > 0)? })
        };
        written.into_iter().filter_map(detail).collect()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: u64,
    /// Told by models that charge for it: GPT-5.6 and later.
    cache_write_tokens: u64,
}

impl NativeUsage {
    /// What Anthropic's answers say of their tier.
    pub(super) fn service(&self) -> Service {
        Service::in_dialect(self.service_tier.as_ref().and_then(Value::as_str))
    }

    /// These counts, and those told before for what these leave out.
    pub(super) fn after(self, before: Option<Usage>) -> Usage {
        let before = before.unwrap_or_default();
        let InputDetails { cached_tokens, cache_write_tokens } = self.input_tokens_details.unwrap_or_default();
        let not_fresh = cached_tokens.saturating_add(cache_write_tokens);
        let cache_read = self.cache_read_input_tokens.unwrap_or(before.cache_read_input_tokens);
        let cache_write = self.cache_creation_input_tokens.unwrap_or(before.cache_write_input_tokens);
        total(Usage {
            input_tokens: self.input_tokens.map_or(before.input_tokens, |input| input.saturating_sub(not_fresh)),
            output_tokens: self.output_tokens.unwrap_or(before.output_tokens),
            cache_read_input_tokens: cache_read.max(cached_tokens),
            cache_write_input_tokens: cache_write.max(cache_write_tokens),
            cache_details: self.cache_creation.map_or(before.cache_details, CacheCreation::details),
            ..Usage::default()
        })
    }
}

impl From<NativeUsage> for Usage {
    fn from(native: NativeUsage) -> Self {
        native.after(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Tier;
    use crate::gateway::service::Latency;

    fn native(headers: &HeaderMap, body: &str) -> Statement {
        Statement::of(Operation::InvokeModel, headers, body.as_bytes())
    }

    #[test]
    fn a_whole_native_answer_is_read_from_headers_first_and_its_body_second() {
        let mut headers = HeaderMap::new();
        let body = r#"{"usage":{"prompt_tokens":3,"completion_tokens":4},"service_tier":"flex"}"#;
        let told = native(&headers, body);
        assert_eq!(told.usage.map(|usage| usage.total_tokens), Some(7));
        assert_eq!(told.service.tier, Some(Tier::Flex));
        headers.insert("x-amzn-bedrock-input-token-count", 5.into());
        headers.insert("x-amzn-bedrock-service-tier", "default".parse().unwrap());
        headers.insert("x-amzn-bedrock-performanceconfig-latency", "optimized".parse().unwrap());
        let told = native(&headers, body);
        assert_eq!(told.usage.map(|usage| usage.total_tokens), Some(5));
        assert_eq!(told.service, Service { tier: Some(Tier::Standard), latency: Some(Latency::Optimized) });
        assert_eq!(native(&HeaderMap::new(), "not json"), Statement::default());
    }

    #[test]
    fn anthropics_usage_tells_the_tier_where_no_header_does() {
        let body = r#"{"usage":{"input_tokens":1,"output_tokens":1,"service_tier":"priority"}}"#;
        assert_eq!(native(&HeaderMap::new(), body).service.tier, Some(Tier::Priority));
    }

    #[test]
    fn an_answer_of_converse_tells_tier_latency_and_what_a_router_chose() {
        let body = r#"{"usage":{"inputTokens":1},"serviceTier":{"type":"flex"},"performanceConfig":{"latency":"optimized"},
            "trace":{"promptRouter":{"invokedModelId":"a.b"}}}"#;
        let told = Statement::of(Operation::Converse, &HeaderMap::new(), body.as_bytes());
        assert_eq!(told.service, Service { tier: Some(Tier::Flex), latency: Some(Latency::Optimized) });
        assert_eq!(told.chosen.as_deref(), Some("a.b"));
        let strange = br#"{"usage":{"inputTokens":1},"serviceTier":[],"performanceConfig":7,"trace":"promptRouter"}"#;
        let told = Statement::of_converse(strange);
        assert_eq!((told.service, told.chosen), (Service::default(), None));
        assert!(told.usage.is_some());
    }
}
