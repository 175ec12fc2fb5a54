//! What a route is called in metrics and log lines, and why a request was refused.

use std::borrow::Cow;

use http::Method;

use crate::error::{Error, Kind};

/// The pattern of the document that has what a route does: others are there for clients that write a name's slashes as they
/// are, or that are made for Azure.
fn documented(pattern: &str) -> Cow<'_, str> {
    const AZURE: &str = "/openai/deployments/{deployment}/";
    if let Some(operation) = pattern.strip_prefix(AZURE) {
        return format!("/v1/{operation}").into();
    }
    let pattern = pattern.strip_prefix("/openai").unwrap_or(pattern);
    let pattern: Cow<'_, str> = if pattern.starts_with("/responses") || pattern == "/models" {
        format!("/v1{pattern}").into()
    } else {
        pattern.into()
    };
    let has_rest = ["/{rest}", "/{last}", "/{*rest}"].iter().any(|rest| pattern.contains(rest));
    if has_rest {
        pattern.replace("/{rest}", "").replace("/{last}", "").replace("/{*rest}", "").into()
    } else {
        pattern
    }
}

/// What the first open place of a route pattern is called in the API that the route belongs to.
pub(super) fn field(pattern: &str) -> &str {
    let name = pattern.split_once('{').and_then(|(_, rest)| rest.split('}').next()).unwrap_or("path");
    let is_bedrocks = label(pattern).0 == "bedrock";
    match name {
        "model_id" => "modelId",
        "guardrail" => "guardrailIdentifier",
        "invocation" => "invocationArn",
        "job" => "jobIdentifier",
        "profile" => "inferenceProfileIdentifier",
        "model" if is_bedrocks => "modelIdentifier",
        "deployment" => "model",
        name => name,
    }
}

/// Surface and operation of a route pattern, as the metric labels name them.
pub(super) fn label(pattern: &str) -> (&'static str, &'static str) {
    match &*documented(pattern) {
        "/v1/chat/completions" => ("openai", "chat"),
        "/v1/responses" => ("openai", "responses"),
        "/v1/responses/input_tokens" => ("openai", "input_tokens"),
        "/v1/responses/{response_id}"
        | "/v1/responses/{response_id}/input_items"
        | "/v1/responses/{response_id}/cancel" => ("openai", "stored_responses"),
        "/v1/embeddings" => ("openai", "embeddings"),
        "/v1/files" | "/v1/files/{file_id}" | "/v1/files/{file_id}/content" => ("openai", "files"),
        "/v1/batches" | "/v1/batches/{batch_id}" | "/v1/batches/{batch_id}/cancel" => ("openai", "batches"),
        "/v1/images/generations" => ("openai", "images"),
        "/v1/rerank" => ("rerank", "rerank"),
        "/v1/models" | "/v1/models/{model}" => ("openai", "models"),
        "/v1/messages" => ("anthropic", "messages"),
        "/v1/messages/count_tokens" => ("anthropic", "count_tokens"),
        "/v1/messages/batches"
        | "/v1/messages/batches/{message_batch_id}"
        | "/v1/messages/batches/{message_batch_id}/cancel" => ("anthropic", "message_batches"),
        "/v1/messages/batches/{message_batch_id}/results" => ("anthropic", "message_batch_results"),
        "/model/{model_id}/converse" => ("bedrock", "converse"),
        "/model/{model_id}/converse-stream" => ("bedrock", "converse_stream"),
        "/model/{model_id}/invoke" => ("bedrock", "invoke_model"),
        "/model/{model_id}/invoke-with-response-stream" => ("bedrock", "invoke_model_with_response_stream"),
        "/model/{model_id}/count-tokens" => ("bedrock", "count_tokens"),
        "/guardrail/{guardrail}/version/{version}/apply" => ("bedrock", "apply_guardrail"),
        "/async-invoke" | "/async-invoke/{invocation}" => ("bedrock", "async_invoke"),
        "/foundation-models" | "/foundation-models/{model}" => ("bedrock", "foundation_models"),
        "/inference-profiles" | "/inference-profiles/{profile}" => ("bedrock", "inference_profiles"),
        "/model-invocation-job" | "/model-invocation-job/{job}" | "/model-invocation-job/{job}/stop" => {
            ("bedrock", "model_invocation_job")
        }
        "/model-invocation-jobs" => ("bedrock", "model_invocation_jobs"),
        "/catalog/models" => ("catalog", "models"),
        "/catalog/regions" => ("catalog", "regions"),
        "/catalog/profiles" => ("catalog", "profiles"),
        "/catalog/quotas" => ("catalog", "quotas"),
        "/admin/v1/teams" | "/admin/v1/teams/{team}" | "/admin/v1/teams/{team}/webhook/rotate" => ("admin", "teams"),
        "/admin/v1/keys" | "/admin/v1/keys/{key}" | "/admin/v1/keys/{key}/rotate" => ("admin", "keys"),
        "/admin/v1/limits" | "/admin/v1/limits/{limit}" => ("admin", "limits"),
        "/admin/v1/budgets" | "/admin/v1/budgets/{budget}" => ("admin", "budgets"),
        "/admin/v1/audit" => ("admin", "audit"),
        "/admin/v1/batches" => ("admin", "batches"),
        "/v1/usage" => ("openai", "usage"),
        "/admin/v1/upstreams" => ("admin", "upstreams"),
        "/admin/v1/usage" => ("admin", "usage"),
        _ => ("none", "none"),
    }
}

/// Whether it is known how long a request waited for others. Where files are read, written and deleted, S3 is waited for at
/// places that nobody times, and so is AWS where a batch is submitted, if its model is an ARN; all else about files and
/// batches is in the store.
pub(super) fn is_timed(pattern: &str, method: &Method) -> bool {
    match label(pattern).1 {
        "files" | "batches" | "message_batches" | "model_invocation_job" => {
            let is_read = matches!(*method, Method::GET | Method::HEAD) && !pattern.ends_with("/content");
            is_read || pattern.ends_with("/cancel") || pattern.ends_with("/stop")
        }
        "message_batch_results" => false,
        _ => true,
    }
}

/// Whether a POST to this route pattern costs money, so that it matters whether it is made twice.
pub(super) fn costs(pattern: &str) -> bool {
    matches!(
        &*documented(pattern),
        "/v1/chat/completions"
            | "/v1/responses"
            | "/v1/embeddings"
            | "/v1/batches"
            | "/v1/images/generations"
            | "/v1/rerank"
            | "/v1/messages"
            | "/v1/messages/batches"
            | "/model/{model_id}/converse"
            | "/model/{model_id}/converse-stream"
            | "/model/{model_id}/invoke"
            | "/model/{model_id}/invoke-with-response-stream"
            | "/guardrail/{guardrail}/version/{version}/apply"
            | "/async-invoke"
            | "/model-invocation-job"
    )
}

/// The value of the label `reason`, when it was the gateway that refused.
pub(super) fn refusal(error: &Error) -> Option<&'static str> {
    if let Some(reason) = error.refused_by() {
        return Some(reason);
    }
    match error.kind() {
        Kind::Unauthenticated => Some("key"),
        Kind::Forbidden => Some("scope"),
        Kind::ModelNotFound => Some("model"),
        Kind::Invalid | Kind::TooLarge | Kind::Unsupported => Some("body"),
        Kind::BudgetExhausted => Some("budget"),
        Kind::RateLimited => Some("requests_per_minute"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_route_has_a_name_of_its_own() {
        let document = crate::api::openapi();
        assert!(!document.paths.paths.is_empty());
        for path in document.paths.paths.keys() {
            assert_ne!(label(path), label("/no/such/route"), "{path} has no label in route.rs");
        }
    }

    /// Of a new route that takes POST somebody has to say whether a repeat costs.
    #[test]
    fn every_post_costs_or_is_known_not_to() {
        const FREE: [&str; 6] = ["/count", "/input_tokens", "/cancel", "/stop", "/admin/v1/", "/v1/files"];
        let document = crate::api::openapi();
        for (path, item) in document.paths.paths.iter().filter(|(_, item)| item.post.is_some()) {
            assert!(costs(path) != FREE.iter().any(|part| path.contains(part)), "{path}: {:?}", item.summary);
        }
        for pattern in ["/v1/chat/completions", "/async-invoke", "/v1/rerank"] {
            assert!(document.paths.paths.contains_key(pattern), "{pattern}");
        }
    }

    #[test]
    fn a_route_beside_the_document_does_what_the_documented_one_does() {
        for (pattern, of) in [
            ("/model/{model_id}/{rest}/converse", "/model/{model_id}/converse"),
            ("/model/{model_id}/{rest}/{last}/invoke", "/model/{model_id}/invoke"),
            ("/v1/models/{model}/{*rest}", "/v1/models/{model}"),
            ("/guardrail/{guardrail}/{rest}/version/{version}/apply", "/guardrail/{guardrail}/version/{version}/apply"),
            ("/model-invocation-job/{job}/{rest}/stop", "/model-invocation-job/{job}/stop"),
            ("/openai/v1/batches/{batch_id}", "/v1/batches/{batch_id}"),
            ("/openai/deployments/{deployment}/chat/completions", "/v1/chat/completions"),
            ("/openai/responses/{response_id}/input_items", "/v1/responses/{response_id}/input_items"),
            ("/openai/models", "/v1/models"),
        ] {
            assert_ne!(label(of), ("none", "none"), "{of}");
            assert_eq!((label(pattern), costs(pattern)), (label(of), costs(of)), "{pattern}");
        }
        assert_eq!(label("/openai/deployments/{deployment}"), ("none", "none"));
    }

    #[test]
    fn what_a_path_names_is_called_as_its_api_calls_it() {
        for (pattern, name) in [
            ("/model/{model_id}/{rest}/converse", "modelId"),
            ("/foundation-models/{model}", "modelIdentifier"),
            ("/model-invocation-job/{job}", "jobIdentifier"),
            ("/v1/models/{model}", "model"),
            ("/v1/files/{file_id}/content", "file_id"),
            ("/admin/v1/keys/{key}", "key"),
            ("", "path"),
        ] {
            assert_eq!(field(pattern), name, "{pattern}");
        }
    }

    #[test]
    fn what_waits_for_s3_is_not_timed() {
        let timed = |method: Method, pattern: &str| is_timed(pattern, &method);
        for pattern in ["/v1/files", "/v1/files/{file_id}", "/v1/batches", "/model-invocation-job/{job}"] {
            assert!(timed(Method::GET, pattern), "{pattern}");
        }
        assert!(timed(Method::POST, "/v1/batches/{batch_id}/cancel"));
        assert!(timed(Method::POST, "/model-invocation-job/{job}/stop"));
        assert!(timed(Method::POST, "/v1/chat/completions"));
        for pattern in ["/v1/files", "/v1/batches", "/v1/messages/batches", "/model-invocation-job"] {
            assert!(!timed(Method::POST, pattern), "{pattern}");
        }
        assert!(!timed(Method::DELETE, "/v1/files/{file_id}"));
        assert!(!timed(Method::GET, "/v1/files/{file_id}/content"));
        assert!(!timed(Method::GET, "/v1/messages/batches/{message_batch_id}/results"));
    }
}
