//! `POST /v1/chat/completions`: <https://platform.openai.com/docs/api-reference/chat/create>.

use axum::extract::State;
use axum::response::Response;
use bytes::BytesMut;
use http::HeaderMap;

use super::choices::Calls;
use super::error::{self, ErrorBody};
use super::translate::{self, Chunks, Context, Translated};
use super::{native, pointed, wire};
use crate::api::answer::{annotate, json};
use crate::api::caller::{Body, Strictness};
use crate::api::conversation::{Form, auto_cache};
use crate::api::{native_headers, purpose, sse};
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
    security(("key" = ["inference"]))
)]
pub(super) async fn create(
    State(gateway): State<Gateway>,
    caller: Caller,
    trail: Trail,
    strictness: Strictness,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response> {
    if native::may_take(&body, &gateway.catalog()) {
        let head = native::head(&body)?;
        let model = trail.wait_for(gateway.model(&caller, head.model.clone())).await?;
        if native::lane(&model.resolved, &head) == native::Lane::Native {
            let create = native::create(&gateway, &caller, (trail, strictness), (&model, head), (&headers, body));
            return Box::pin(create).await;
        }
    }
    let mut request = wire::parse(&body)?;
    // The parsed request owns its text; a 25 MB image need not be held twice while the model answers.
    drop(body);
    let model = trail.wait_for(gateway.model(&caller, request.model.clone())).await?;
    purpose::converses(&model, "POST /v1/chat/completions")?;
    let origin = Origin {
        surface: "openai",
        operation: "chat",
        trail: trail.clone(),
        end_user: request.user.clone(),
        status: error::status,
    };
    trail.wait_for(pointed::fetch(gateway.fetcher(), &mut request)).await?;
    let traits = families::traits(model.resolved.model.as_deref());
    let Translated { mut request, report, tools, calling, form, choices, stream, include_usage } =
        translate::request(request, &traits)?;
    native_headers::apply(&headers, &mut request)?;
    strictness.judge(&report)?;
    auto_cache(&model.resolved, &traits, &mut request);
    let created = gateway.clock().now().seconds();
    let context = Context {
        id: ids::fresh("chatcmpl-"),
        created,
        model: model.name.clone(),
        tools,
        calling,
        form,
        include_usage,
    };

    let more = choices - 1;
    let calls = Calls { gateway: &gateway, caller: &caller, origin, model: &model, request: &request, more };
    if stream {
        let (events, served) = calls.stream().await?;
        let writer = Writer {
            first: Choice::new(&context, 0),
            others: (1..choices).map(|index| Choice::new(&context, index)).collect(),
            trail,
        };
        Ok(annotate(sse::response(events, writer), &served, &report))
    } else {
        let (answers, served) = calls.complete().await?;
        let completion = translate::response(answers, &context);
        Ok(annotate(json(&completion)?, &served, &report))
    }
}

/// Writes the chunks of all choices.
struct Writer {
    first: Choice,
    others: Vec<Choice>,
    trail: Trail,
}

/// Writes the chunks of one choice.
struct Choice {
    chunks: Chunks,
    form: Form,
}

impl Choice {
    fn new(context: &Context, index: usize) -> Self {
        Self { chunks: Chunks::new(context, index), form: context.form }
    }
}

impl sse::Render for Writer {
    type Item = (usize, Event);

    fn event(&mut self, (number, mut event): Self::Item, out: &mut BytesMut) -> Result<()> {
        let choice = number.checked_sub(1).and_then(|index| self.others.get_mut(index)).unwrap_or(&mut self.first);
        if let Some(before) = choice.form.event(&mut event) {
            choice.chunks.event(&before, out);
        }
        choice.chunks.event(&event, out);
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) {
        for other in &mut self.others {
            self.first.chunks.absorb(&mut other.chunks);
        }
        self.first.chunks.finish(out);
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        self.first.chunks.error(error, self.trail.id().as_str(), out);
    }
}
