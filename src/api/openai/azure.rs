//! The paths of Azure's clients (`AzureOpenAI` of the `openai` packages, <https://learn.microsoft.com/azure/ai-foundry/openai/reference>):
//! the surface's own handlers under other paths, none of them in the document. A deployment is a model, by any name; the
//! query, which names a version of Azure's API, is not looked at. The invariant: what a path of Azure's does, a path of
//! the document does, too (`route.rs::documented`).

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use http::HeaderMap;

use super::{chat, embeddings, images, responses};
use crate::api::body as json;
use crate::api::caller::{Body, Segment, Strictness};
use crate::api::models;
use crate::error::Result;
use crate::gateway::{Gateway, Trail};
use crate::splice::{Edits, quoted};
use crate::tenancy::Caller;

/// The routes: all of the surface under `/openai/v1`, as Azure has them since its API has no versions by date; before
/// that, what is asked of a deployment, responses and the list of models.
pub(in crate::api) fn router() -> Router<Gateway> {
    let (all, _) = super::router().merge(models::router()).split_for_parts();
    Router::new()
        .nest("/openai", all.merge(models::unencoded()))
        .route("/openai/deployments/{deployment}/chat/completions", post(chat))
        .route("/openai/deployments/{deployment}/embeddings", post(embeddings))
        .route("/openai/deployments/{deployment}/images/generations", post(images))
        .route("/openai/models", get(models::list))
        .merge(responses::azure())
}

/// What all that is asked of a deployment takes, in the order of the surface's own handlers.
type Asked = (State<Gateway>, Caller, Trail, Strictness, HeaderMap);

async fn chat(asked: Asked, Segment(deployment): Segment, Body(body): Body) -> Result<Response> {
    let (state, caller, trail, strictness, headers) = asked;
    chat::create(state, caller, trail, strictness, headers, Body(of(&deployment, body)?)).await
}

async fn embeddings(asked: Asked, Segment(deployment): Segment, Body(body): Body) -> Result<Response> {
    let (state, caller, trail, strictness, headers) = asked;
    embeddings::create(state, caller, trail, strictness, headers, Body(of(&deployment, body)?)).await
}

async fn images(asked: Asked, Segment(deployment): Segment, Body(body): Body) -> Result<Response> {
    let (state, caller, trail, strictness, headers) = asked;
    images::create(state, caller, trail, strictness, headers, Body(of(&deployment, body)?)).await
}

/// The body with the deployment as its model: the path says which, whatever the body says.
fn of(deployment: &str, body: Bytes) -> Result<Bytes> {
    let model = quoted(deployment);
    let members = json::object(&body)?;
    let told = members.value("model");
    if told.is_some_and(|told| told.get() == model) {
        return Ok(body);
    }
    let mut edits = Edits::new(&body);
    match told {
        Some(told) => edits.replace(told, &*model),
        None => edits.add("model", &model),
    }
    Ok(edits.apply())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_the_model_whatever_the_body_says() {
        let sent = |body: &'static str| of("team/fast", Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(sent(r#"{"messages":[]}"#), r#"{"messages":[],"model":"team/fast"}"#);
        assert_eq!(sent(r#"{"model":"gpt-4o","messages":[]}"#), r#"{"model":"team/fast","messages":[]}"#);
        assert_eq!(sent(r#"{ "model": "team/fast" }"#), r#"{ "model": "team/fast" }"#);
        assert_eq!(sent("{}"), r#"{"model":"team/fast"}"#);
        assert!(of("m", Bytes::from_static(b"[]")).is_err());
    }
}
