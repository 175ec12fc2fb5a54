//! What the OpenAPI document says of every route alike: both headers that a key may come in, names that are unique, and
//! bodies that work, for the page at `/docs` to try them.
//!
//! Routes declare themselves where they are handled; here nothing is added that is true of one of them alone but its
//! example.

use serde_json::{Value, json};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi, RefOr, Server};

use super::route;

/// The scheme that routes name, and the other header that takes the same key.
const SCHEMES: [&str; 2] = ["key", "x-api-key"];

/// The model of the examples: by its short id it is found in any Region that has it.
const MODEL: &str = "claude-haiku-4-5";

/// Declares what a key may be sent as.
pub(super) fn declare_keys(document: &mut OpenApi) {
    let bearer = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(
        "A gateway key: `bgw_<id>_<secret>`. What is named of an operation are the scopes of which the key needs one.",
    ));
    let header = ApiKeyValue::with_description("x-api-key", "The same key, as Anthropic's clients send it.");
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(SCHEMES[0], SecurityScheme::Http(bearer.build()));
    components.add_security_scheme(SCHEMES[1], SecurityScheme::ApiKey(ApiKey::Header(header)));
}

/// Completes the document of all routes.
pub(super) fn complete(document: &mut OpenApi) {
    // Relative to where the document came from: what is tried calls this gateway, by whichever name it is reached.
    document.servers = Some(vec![Server::new("/")]);
    for (pattern, item) in &mut document.paths.paths {
        for operation in operations(item) {
            offer_both_headers(operation);
            name(pattern, operation);
            for parameter in operation.parameters.iter_mut().flatten() {
                show_model(parameter);
            }
        }
        let with_body = item.post.as_mut().or(item.put.as_mut());
        if let Some(operation) = with_body
            && let Some(body) = example(pattern)
            && let Some(RefOr::T(request)) = &mut operation.request_body
            && let Some(RefOr::T(content)) = request.content.get_mut("application/json")
        {
            content.example = Some(body);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// Where the bearer key is asked for, the other header will do.
fn offer_both_headers(operation: &mut Operation) {
    let Some(ways) = &mut operation.security else { return };
    let others: Vec<_> = ways.iter().filter_map(by_header).collect();
    ways.extend(others);
}

fn by_header(way: &SecurityRequirement) -> Option<SecurityRequirement> {
    let scopes = serde_json::to_value(way).ok()?.get(SCHEMES[0])?.clone();
    let scopes: Vec<String> = serde_json::from_value(scopes).ok()?;
    Some(SecurityRequirement::new(SCHEMES[1], scopes))
}

/// Handlers of several folders are called alike; ids of operations have to be unique.
fn name(pattern: &str, operation: &mut Operation) {
    if let Some(id) = &mut operation.operation_id
        && ["create", "get", "list"].contains(&id.as_str())
    {
        let (surface, what) = route::label(pattern);
        *id = format!("{id}_{surface}_{what}");
    }
}

fn show_model(parameter: &mut RefOr<Parameter>) {
    if let RefOr::T(found) = parameter
        && found.parameter_in == ParameterIn::Path
        && ["model", "model_id"].contains(&found.name.as_str())
    {
        *found = ParameterBuilder::from(std::mem::take(found)).example(Some(json!(MODEL))).build();
    }
}

/// A body that the route takes as it is; of administration after the one for the team. `None` where it would have to name
/// what somebody made before.
fn example(pattern: &str) -> Option<Value> {
    let chat = json!([{"role": "user", "content": "Say hello."}]);
    let turns = json!([{"role": "user", "content": [{"text": "Say hello."}]}]);
    let claude = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": chat});
    let record = json!({"custom_id": "first", "params": {"model": MODEL, "max_tokens": 100, "messages": chat}});
    let documents = ["Oslo is the capital of Norway.", "Bergen lies at the coast."];
    Some(match pattern {
        "/v1/chat/completions" => json!({"model": MODEL, "messages": chat, "stream": false}),
        "/v1/responses" | "/v1/responses/input_tokens" => json!({"model": MODEL, "input": "Say hello."}),
        "/v1/embeddings" => json!({"model": "titan-embed-text-v2", "input": ["one", "two"], "dimensions": 256}),
        "/v1/images/generations" => json!({"model": "sd3-5-large", "prompt": "A lighthouse in the morning"}),
        "/v1/rerank" => json!({"model": "rerank-v3-5", "query": "What is the capital?", "documents": documents}),
        "/v1/messages" => json!({"model": MODEL, "max_tokens": 100, "messages": chat, "stream": false}),
        "/v1/messages/count_tokens" => json!({"model": MODEL, "messages": chat}),
        "/v1/messages/batches" => json!({"requests": [record]}),
        "/model/{model_id}/converse" | "/model/{model_id}/converse-stream" => json!({"messages": turns}),
        "/model/{model_id}/invoke" | "/model/{model_id}/invoke-with-response-stream" => claude,
        "/model/{model_id}/count-tokens" => json!({"input": {"converse": {"messages": turns}}}),
        "/admin/v1/teams" => json!({"name": "search", "models": ["claude-*", "nova-lite"]}),
        "/admin/v1/keys" => json!({"team": "search", "name": "web app", "scopes": ["inference"]}),
        "/admin/v1/limits" => json!({"team": "search", "requests_per_minute": 600}),
        "/admin/v1/budgets" => json!({"team": "search", "period": "month", "limit_usd": "2500.00"}),
        _ => return None,
    })
}
