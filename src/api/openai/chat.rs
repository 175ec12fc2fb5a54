//! `POST /v1/chat/completions`: <https://platform.openai.com/docs/api-reference/chat/create>.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::BytesMut;

use super::translate::{self, Chunks, Translated};
use super::{error, wire};
use crate::api::answer::annotate;
use crate::api::caller::{Body, Strictness};
use crate::api::sse;
use crate::converse::Event;
use crate::error::{Error, Result};
use crate::families;
use crate::gateway::{Gateway, Origin};
use crate::ids::RequestId;
use crate::report::Report;
use crate::tenancy::Caller;

/// Create a chat completion
///
/// Any model that Bedrock's Converse takes. With `stream` the answer is server-sent events, ended by `[DONE]`.
/// What the translation changed is named in `x-gateway-translation`; with `x-gateway-strict: 1` it is a 400 instead.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "OpenAI",
    request_body = wire::ChatRequest,
    responses(
        (status = 200, description = "The completion; server-sent events of chunks when `stream` is true.", body = wire::ChatCompletion),
        (status = "4XX", description = "The request cannot be served as it is.", body = error::Envelope),
        (status = "5XX", description = "Bedrock or the gateway failed.", body = error::Envelope),
    ),
    security(("key" = []))
)]
pub(super) async fn create(
    State(gateway): State<Gateway>,
    caller: Caller,
    request_id: RequestId,
    strictness: Strictness,
    Body(body): Body,
) -> Result<Response> {
    let request = wire::parse(&body)?;
    // The parsed request owns its text; a 25 MB image need not be held twice while the model answers.
    drop(body);
    let model = gateway.catalog().resolve(&request.model)?;
    let origin = Origin { surface: "openai", operation: "chat", request_id, end_user: request.user.clone() };
    let translated = translate::request(request, &families::traits(&model))?;
    strictness.judge(&translated.report)?;
    if translated.stream {
        stream(&gateway, &caller, origin, &model, translated).await
    } else {
        complete(&gateway, &caller, origin, &model, translated).await
    }
}

async fn complete(
    gateway: &Gateway,
    caller: &Caller,
    origin: Origin,
    model: &Resolved,
    translated: Translated,
) -> Result<Response> {
    let Translated { request, report, names, .. } = translated;
    let answer = gateway.complete(caller, origin, model, &request).await?;
    let completion = translate::response(answer.body, &head(gateway, &request.model), &names);
    Ok(annotate(Json(completion).into_response(), answer.served, &report))
}

async fn stream(
    gateway: &Gateway,
    caller: &Caller,
    origin: Origin,
    model: &Resolved,
    translated: Translated,
) -> Result<Response> {
    let Translated { request, report, names, include_usage, .. } = translated;
    let answer = gateway.stream(caller, origin, model, &request).await?;
    let chunks = Chunks::new(&head(gateway, &request.model), names, include_usage);
    Ok(annotate(sse::response(answer.body, chunks), answer.served, &report))
}

impl sse::Render for Chunks {
    fn event(&mut self, event: Event, out: &mut BytesMut) {
        self.event(event, out);
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.finish(out);
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        self.error(error, out);
    }
}
