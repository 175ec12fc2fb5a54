//! HTTP in, HTTP out: the only folder that names `axum` besides `app.rs` and the simulator.
//!
//! One folder per surface. This file has all routes, the order of the middleware, and the OpenAPI document; a route is
//! registered together with its documentation, so neither exists without the other.

mod access_entry;
mod access_log;
mod admin;
mod answer;
pub mod anthropic;
pub mod batch;
mod bedrock;
mod body;
mod caller;
mod captured;
mod catalog;
mod client;
mod collected;
pub mod conversation;
mod document;
mod fan_out;
pub mod formats;
#[cfg(test)]
mod golden;
mod guardrail;
mod idempotency;
mod models;
mod native_headers;
pub mod openai;
pub mod ops;
mod page;
mod problem;
mod purpose;
mod received;
mod remote;
mod rerank;
mod root;
mod route;
mod sigv4;
pub mod slow;
mod sse;
mod standing;
mod surface;
#[cfg(test)]
mod tests;
mod token_count;
mod unread;
pub mod usage;

use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use http::{HeaderValue, Method, Uri};
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::client::Proxies;
use self::root::Scheme;
use crate::config::Server;
use crate::error::{Error, Kind};
use crate::gateway::Gateway;

/// The OpenAPI document's head.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "bedrock-gateway",
        description = "One REST endpoint in front of AWS Bedrock. Use the official OpenAI or Anthropic client or any AWS SDK: \
                       change the base URL and the key."
    ),
    tags(
        (name = "OpenAI", description = "For the `openai` clients; base URL `/v1`."),
        (name = "Anthropic", description = "For the `anthropic` clients; base URL `/`."),
        (name = "Rerank", description = "For clients of Cohere's or Jina's rerank; base URL `/v1`."),
        (name = "Bedrock runtime", description = "For the AWS SDKs' `bedrock-runtime` clients; endpoint `/`."),
        (name = "Bedrock control plane", description = "For the AWS SDKs' `bedrock` clients; endpoint `/`."),
        (name = "Catalog", description = "Which model can be called where, by which id, at what price; lists of JSON."),
        (name = "Usage", description = "What the calls of a key's own team used and cost."),
        (name = "Administration", description = "For keys with the scope `admin`.")
    )
)]
struct Document;

/// All routes of the client port, in their middleware.
pub fn router(gateway: &Gateway, server: &Server) -> Router {
    let (routes, document) = documented().split_for_parts();
    // Not in the document, whose paths have no such thing: names with a slash that a client did not encode, and the paths of
    // Azure's clients.
    let routes = routes.merge(models::unencoded()).merge(bedrock::unencoded()).merge(openai::azure::router());
    framed(routes.merge(page::router(gateway, server, document)), gateway, server)
}

/// Routes in the middleware of the client port.
pub fn framed(routes: Router<Gateway>, gateway: &Gateway, server: &Server) -> Router {
    // The last layer is the outermost.
    routes
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(Extension(Scheme::of(server)))
        .layer(from_fn_with_state(gateway.clone(), sigv4::check))
        .layer(DefaultBodyLimit::max(server.max_body_bytes()))
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(from_fn_with_state((gateway.clone(), Proxies::new(server)), access_log::observe))
        .layer(from_fn(unread::drain))
        // Around the log, which writes the answers that are errors: a page may read these, too.
        .layer(option_layer(cors(&server.cors_origins)))
        .with_state(gateway.clone())
}

/// The OpenAPI document, as `bedrock-gateway openapi` prints it.
pub fn openapi() -> OpenApi {
    documented().into_openapi()
}

fn documented() -> OpenApiRouter<Gateway> {
    let mut document = Document::openapi();
    document::declare_keys(&mut document);
    let mut all = OpenApiRouter::with_openapi(document)
        .merge(openai::router())
        .merge(anthropic::router())
        .merge(models::router())
        .merge(rerank::router())
        .merge(bedrock::router())
        .merge(catalog::router())
        .merge(usage::router())
        .merge(admin::router());
    document::complete(all.get_openapi_mut());
    all
}

/// Browsers of these origins may call; none by default, `*` when it is written out.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let cors = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        // `*` would not cover `Authorization`: <https://fetch.spec.whatwg.org/#cors-non-wildcard-request-header-name>.
        .allow_headers(AllowHeaders::mirror_request())
        // The most that browsers remember: without it they ask before every second call.
        .max_age(Duration::from_hours(2))
        // Without cookies `*` is every header: <https://fetch.spec.whatwg.org/#http-new-header-syntax>.
        .expose_headers(tower_http::cors::Any);
    Some(cors)
}

async fn no_route(method: Method, uri: Uri) -> Response {
    let advice = nearest(uri.path()).map_or_else(String::new, |path| {
        format!(" Did you mean {path}? The base URL of Anthropic's and AWS's clients has no path, that of OpenAI's ends in /v1.")
    });
    Error::new(Kind::NotFound, format!("There is no route {method} {}.{advice}", uri.path())).into_response()
}

/// The path that was meant, where it differs by how clients put it behind a base URL: without `/v1`, or with one too many,
/// or with slashes of both.
fn nearest(path: &str) -> Option<String> {
    const FIRST: [&str; 9] =
        ["chat", "responses", "embeddings", "images", "models", "files", "batches", "rerank", "messages"];
    let mut segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let versions = segments.iter().take_while(|segment| **segment == "v1").count();
    segments.drain(..versions);
    let is_one = segments.first().is_some_and(|first| FIRST.contains(first));
    let meant = format!("/v1/{}", segments.join("/"));
    (is_one && meant != path).then_some(meant)
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    Error::new(Kind::MethodNotAllowed, format!("The route {} does not take {method}.", uri.path())).into_response()
}

/// A panic is a fault of ours: the caller gets a 500 in its dialect. What it says may hold what the caller sent; what of
/// it goes to the log decides `telemetry::panics`.
fn after_panic(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    access_log::panicked().into_response()
}
