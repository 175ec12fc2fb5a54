//! `/v1/responses`: <https://platform.openai.com/docs/api-reference/responses>. On models that speak it on Bedrock as it
//! is, on any other that Converse takes by translation; what is kept of a response is for its team alone.

mod count;
#[cfg(test)]
mod golden_tests;
mod native;
mod pointed;
pub(super) mod record;
mod state;
mod stored;
pub mod translate;
pub mod wire;

pub(in crate::api) use native::speaks_responses;

use std::task::{Context as TaskContext, Poll, ready};

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::BytesMut;
use http::HeaderMap;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::state::{Keeper, Keeping};
use self::translate::{Asked, Events, RESPONSE_PREFIX, Translated};
use self::wire::Status;
use super::error::{self, ErrorBody};
use crate::api::answer::annotate;
use crate::api::caller::{Body, Strictness};
use crate::api::conversation::auto_cache;
use crate::api::{native_headers, purpose, sse};
use crate::catalog::Model;
use crate::clock::Clock;
use crate::converse::Event;
use crate::error::{Error, Result};
use crate::families;
use crate::gateway::{Asked as AskedModel, Gateway, Origin, Trail};
use crate::ids;
use crate::report::{Action, Report};
use crate::tenancy::Caller;

/// The routes of responses.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(count::count))
        .routes(routes!(stored::retrieve, stored::delete))
        .routes(routes!(stored::input_items))
        .routes(routes!(stored::cancel))
}

/// The routes under the paths of Azure's clients.
pub(super) fn azure() -> Router<Gateway> {
    Router::new()
        .route("/openai/responses", post(create))
        .route("/openai/responses/{response_id}", get(stored::retrieve).delete(stored::delete))
        .route("/openai/responses/{response_id}/input_items", get(stored::input_items))
}

/// Create a response
///
/// A model that speaks responses on Bedrock gets the request as it is; any other that Converse takes, by translation. With `stream` the answer is server-sent events, the last of which is
/// `response.completed`, `response.incomplete` or `response.failed`. A response is kept for a later
/// `previous_response_id` unless `store` is false. What the translation changed is named in `x-gateway-translation`; with
/// `x-gateway-strict: 1` it is a 400 instead.
#[utoipa::path(
    post,
    path = "/v1/responses",
    operation_id = "create_response",
    tag = "OpenAI",
    request_body = wire::Request,
    responses(
        (status = 200, description = "The response; server-sent events when `stream` is true.", body = wire::Response),
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
    caller.require(trail.scope())?;
    if native::may_take(&body, &gateway.catalog()) {
        let head = native::head(&body)?;
        let model = trail.wait_for(gateway.model(&caller, head.model.clone())).await?;
        if native::lane(&caller, &model.resolved, &head) == native::Lane::Native {
            return native::create(&gateway, &caller, (trail, strictness), (&model, head), (&headers, body)).await;
        }
    }
    let wire = wire::parse(&body)?;

    // The parsed request owns its text; a 25 MB image need not be held twice while the model answers.
    drop(body);
    let model = trail.wait_for(gateway.model(&caller, wire.model.clone())).await?;
    purpose::converses(&model, "POST /v1/responses")?;
    let stream = wire.stream.unwrap_or(false);
    let origin = origin("responses", &trail, end_user(&wire));
    let (asked, keeper) = gather((&gateway, &trail), &caller, wire, &model).await?;
    let traits = families::traits(model.resolved.model.as_deref());
    let Translated { mut request, report, context } = translate::request(asked, &traits)?;
    native_headers::apply(&headers, &mut request)?;
    strictness.judge(&report)?;
    auto_cache(&model.resolved, &traits, &mut request);

    if stream {
        let answer = gateway.stream(&caller, origin, &model, &request).await?;
        let writer = Writer {
            events: Events::new(context),
            trail,
            clock: gateway.clock().clone(),
            keeper,
            ending: Ending::Ahead,
        };
        Ok(annotate(sse::response(answer.body, writer), &answer.served, &report))
    } else {
        let answer = gateway.complete(&caller, origin, &model, &request).await?;
        let mut response = translate::response(answer.body, context);
        if response.status == Status::Completed {
            response.completed_at = Some(gateway.clock().now().seconds());
        }
        if let Some(keeping) = keep(keeper, &mut response) {
            state::settle(&mut response, keeping.await);
        }
        Ok(annotate(Json(response).into_response(), &answer.served, &report))
    }
}

/// Where a request came from.
fn origin(operation: &'static str, trail: &Trail, end_user: Option<String>) -> Origin {
    Origin { surface: "openai", operation, trail: trail.clone(), end_user, status: error::status }
}

/// Who the caller says its own user is.
fn end_user(wire: &wire::Request) -> Option<String> {
    wire.user.clone().or_else(|| wire.safety_identifier.clone())
}

/// Puts everything together that a request points to: the conversation it goes on from, the items it refers to. A
/// request that points to nothing and is not to be kept costs the store nothing.
async fn gather(
    (gateway, trail): (&Gateway, &Trail),
    caller: &Caller,
    mut wire: wire::Request,
    model: &AskedModel,
) -> Result<(Asked, Option<Keeper>)> {
    let (responses, team) = (gateway.responses(), &caller.team.id);
    let mut report = Report::default();
    if wire.store == Some(true) && !responses.keeps() {
        report.add(Action::Dropped, "store");
    }
    let store = wire.store != Some(false) && responses.keeps();
    let id = ids::fresh(RESPONSE_PREFIX);
    let previous = wire.previous_response_id.clone();

    let mut own = state::items(wire.input.take());
    if own.is_empty() && previous.is_none() {
        return Err(nothing_said());
    }
    state::resolve(&mut own, responses, team).await?;
    trail.wait_for(pointed::fetch(gateway.fetcher(), &mut own)).await?;
    let keeper = if store { Some(Keeper::new(responses, team, previous.clone(), (&id, &mut own))?) } else { None };
    let mut items = match &previous {
        Some(previous) => state::history(responses, team, previous).await?,
        None => Vec::new(),
    };
    items.append(&mut own);
    let created = gateway.clock().now().seconds();
    let provider = provider(model.resolved.model.as_deref());
    Ok((Asked { wire, items, report, id, created, store, provider }, keeper))
}

fn nothing_said() -> Error {
    Error::invalid("input", "`input` is missing: say something, or go on from a response.")
}

/// Who made the model: what its id begins with.
fn provider(model: Option<&Model>) -> String {
    model.and_then(|model| model.id.split('.').next()).unwrap_or_default().to_owned()
}

/// Begins to keep `response`, if it is to be kept: one that failed is nothing to go on from.
fn keep(keeper: Option<Keeper>, response: &mut wire::Response) -> Option<Keeping> {
    let keeper = keeper.filter(|_| response.status != Status::Failed);
    response.store = keeper.is_some();
    keeper.map(|keeper| keeper.keep(response))
}

/// Writes the events of one answer, and keeps it before the last one is written: who reads that one may go on from it.
struct Writer {
    events: Events,
    trail: Trail,
    clock: Clock,
    keeper: Option<Keeper>,
    ending: Ending,
}

enum Ending {
    /// The answer goes on.
    Ahead,
    /// All is said but the last event.
    Keeping(Keeping),
}

impl sse::Render for Writer {
    type Item = Event;

    fn event(&mut self, event: Event, out: &mut BytesMut) -> Result<()> {
        self.events.event(event, out);
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.events.complete(out);
    }

    fn poll_finish(&mut self, cx: &mut TaskContext<'_>, out: &mut BytesMut) -> Poll<()> {
        if let Ending::Ahead = self.ending {
            let response = self.events.conclude(self.clock.now().seconds(), out);
            if let Some(keeping) = keep(self.keeper.take(), response) {
                self.ending = Ending::Keeping(keeping);
            }
        }
        if let Ending::Keeping(keeping) = &mut self.ending {
            let kept = ready!(keeping.as_mut().poll(cx));
            state::settle(self.events.response(), kept);
        }
        self.finish(out);
        Poll::Ready(())
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        self.events.error(error, self.trail.id().as_str(), out);
    }
}
