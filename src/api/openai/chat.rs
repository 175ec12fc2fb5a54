//! `POST /v1/chat/completions`: <https://platform.openai.com/docs/api-reference/chat/create>.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::BytesMut;
use http::HeaderMap;

use super::error::{self, ErrorBody};
use super::translate::{self, Chunks, Context, Translated};
use super::{native, wire};
use crate::api::answer::annotate;
use crate::api::caller::{Body, Strictness};
use crate::api::conversation::Form;
use crate::api::sse;
use crate::converse::Event;
use crate::error::{Error, Result};
use crate::families;
use crate::gateway::{Gateway, Origin, Trail};
use crate::ids;
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
        (status = "4XX", description = "The request cannot be served as it is.", body = ErrorBody),
        (status = "5XX", description = "Bedrock or the gateway failed.", body = ErrorBody),
    ),
    security(("key" = []))
)]
pub(super) async fn create(
    State(gateway): State<Gateway>,
    caller: Caller,
    trail: Trail,
    strictness: Strictness,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response> {
    let head = native::head(&body)?;
    let model = gateway.model(head.model.clone())?;
    if native::lane(&model.resolved, &head) == native::Lane::Native {
        return native::create(&gateway, &caller, (trail, strictness), (&model, head), (&headers, body)).await;
    }
    let request = wire::parse(&body)?;

    // The parsed request owns its text; a 25 MB image need not be held twice while the model answers.
    drop(body);
    let origin = Origin {
        surface: "openai",
        operation: "chat",
        trail: trail.clone(),
        end_user: request.user.clone(),
        status: error::status,
    };
    let Translated { request, report, tool_names, form, stream, include_usage } =
        translate::request(request, &families::traits(model.resolved.model.as_deref()))?;
    strictness.judge(&report)?;
    let created = gateway.clock().now().seconds();
    let context =
        Context { id: ids::fresh("chatcmpl-"), created, model: model.name.clone(), tool_names, form, include_usage };

    if stream {
        let answer = gateway.stream(&caller, origin, &model, &request).await?;
        let chunks = Writer { chunks: Chunks::new(&context), form, trail };
        Ok(annotate(sse::response(answer.body, chunks), &answer.served, &report))
    } else {
        let answer = gateway.complete(&caller, origin, &model, &request).await?;
        let completion = translate::response(answer.body, &context);
        Ok(annotate(Json(completion).into_response(), &answer.served, &report))
    }
}

/// Writes the chunks of one answer.
struct Writer {
    chunks: Chunks,
    form: Form,
    trail: Trail,
}

impl sse::Render for Writer {
    type Item = Event;

    fn event(&mut self, mut event: Event, out: &mut BytesMut) -> Result<()> {
        self.form.event(&mut event);
        self.chunks.event(&event, out);
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.chunks.finish(out);
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        self.chunks.error(error, self.trail.id().as_str(), out);
    }
}
