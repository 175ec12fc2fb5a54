//! Which dialect a request speaks: what its errors look like, and what its client calls the request's id.

use axum::response::Response;
use http::{HeaderMap, HeaderName};

use super::problem::Problem;
use super::{anthropic, bedrock, openai};
use crate::ids::RequestId;

/// A dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// OpenAI's, and everything that is nobody's.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// That of AWS.
    Bedrock,
}

/// The first segments of the paths of AWS's own APIs.
const BEDROCK: [&str; 8] = [
    "model",
    "guardrail",
    "async-invoke",
    "foundation-models",
    "inference-profiles",
    "model-invocation-job",
    "model-invocation-jobs",
    "guardrail-checks",
];

/// The second segments of the paths under `/v1` that are OpenAI's, whoever asks.
const OPENAI: [&str; 8] = ["chat", "responses", "embeddings", "images", "files", "batches", "rerank", "usage"];
/// The first segments of the paths of the gateway's own APIs.
const OURS: [&str; 5] = ["", "admin", "catalog", "docs", "openapi.json"];
/// The first segment of the paths of Azure's clients, which speak OpenAI's dialect.
const AZURE: &str = "openai";
/// The header with which an AWS SDK numbers its calls, whatever they are.
const AWS_SDK: &str = "amz-sdk-invocation-id";

impl Surface {
    /// The dialect of a request, whether or not there is such a route: told by the path, and where that does not tell it, or
    /// two dialects have the same one, by the headers that every client of Anthropic's and every SDK of AWS's sends.
    pub(super) fn of(path: &str, headers: &HeaderMap) -> Self {
        let mut segments = path.trim_start_matches('/').split('/');
        match (segments.next(), segments.next()) {
            (Some("v1"), Some("messages")) => Self::Anthropic,
            (Some("v1"), Some(second)) if OPENAI.contains(&second) => Self::OpenAi,
            (Some(first), _) if BEDROCK.contains(&first) => Self::Bedrock,
            (Some(first), _) if first == AZURE || OURS.contains(&first) => Self::OpenAi,
            _ if headers.contains_key(anthropic::VERSION) => Self::Anthropic,
            (Some("v1"), _) => Self::OpenAi,
            _ if headers.contains_key(AWS_SDK) => Self::Bedrock,
            _ => Self::OpenAi,
        }
    }

    /// A failed request as this dialect tells it.
    pub(super) fn shape(self, problem: &Problem, id: &RequestId) -> Response {
        match self {
            Self::OpenAi => openai::shape(problem, id),
            Self::Anthropic => anthropic::shape(problem, id),
            Self::Bedrock => bedrock::shape(problem),
        }
    }

    /// The header in which this dialect's clients look for the request's id, if it is not `x-request-id`.
    pub(super) fn id_header(self) -> Option<HeaderName> {
        match self {
            Self::OpenAi => None,
            Self::Anthropic => Some(HeaderName::from_static("request-id")),
            Self::Bedrock => Some(HeaderName::from_static("x-amzn-requestid")),
        }
    }

    /// Its name in metrics and log lines, where the route alone does not tell it.
    pub(super) fn rename(self, label: &'static str) -> &'static str {
        match (self, label) {
            (Self::Anthropic, "openai") => "anthropic",
            _ => label,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_the_dialect_and_a_header_where_two_share_a_path() {
        let plain = HeaderMap::new();
        let anthropic = HeaderMap::from_iter([(anthropic::VERSION, "2023-06-01".parse().unwrap())]);
        let of = |path: &str| (Surface::of(path, &plain), Surface::of(path, &anthropic));
        assert_eq!(of("/v1/messages"), (Surface::Anthropic, Surface::Anthropic));
        assert_eq!(of("/v1/messages/nothing/here"), (Surface::Anthropic, Surface::Anthropic));
        assert_eq!(of("/v1/models/claude-haiku-4-5"), (Surface::OpenAi, Surface::Anthropic));
        assert_eq!(of("/v1/messages-like"), (Surface::OpenAi, Surface::Anthropic));
        assert_eq!(of("/v1/chat/completions"), (Surface::OpenAi, Surface::OpenAi));
        assert_eq!(of("/model/x/converse"), (Surface::Bedrock, Surface::Bedrock));
        assert_eq!(of("/admin/v1/keys"), (Surface::OpenAi, Surface::OpenAi));
        assert_eq!(of("/v1/files"), (Surface::OpenAi, Surface::OpenAi));
        assert_eq!(of("/openai/deployments/x/chat/completions"), (Surface::OpenAi, Surface::OpenAi));
        assert_eq!(of("/v1/skills"), (Surface::OpenAi, Surface::Anthropic));
        assert_eq!(of("/models"), (Surface::OpenAi, Surface::Anthropic));
        let sdk = HeaderMap::from_iter([(http::HeaderName::from_static(AWS_SDK), "x".parse().unwrap())]);
        assert_eq!(Surface::of("/guardrails", &sdk), Surface::Bedrock);
        for not_its_own in ["/v1/chat/completions", "/v1/models", "/v1/x", "/admin/v1/keys", "/docs", "/"] {
            assert_eq!(Surface::of(not_its_own, &sdk), Surface::OpenAi, "{not_its_own}");
        }
        assert_eq!(Surface::of("/guardrails", &plain), Surface::OpenAi);
    }
}
