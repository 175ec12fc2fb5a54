//! `POST /v1/messages`: <https://platform.claude.com/docs/en/api/messages>.

use axum::extract::State;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use serde_json::value::RawValue;

use super::error::{self, ErrorBody};
use super::lane::{self, Lane};
use super::native::{self, Draft, Purpose};
use super::translate::{self, Context, Events, Translated};
use super::wire::{self, MessagesRequest};
use crate::api::answer::{annotate, json, of_json};
use crate::api::caller::{Body, Strictness};
use crate::api::conversation::auto_cache;
use crate::api::{body, native_headers, purpose, remote, sse};
use crate::converse::Event;
use crate::error::{Error, Result};
use crate::families;
use crate::gateway::{Asked, Gateway, Origin, Trail};
use crate::ids;
use crate::report::Report;
use crate::splice::Members;
use crate::tenancy::Caller;

/// Create a message
///
/// Claude gets the body as it came, apart from what names model, stream, version and betas; every other model gets a
/// translation. With `stream` the answer is server-sent events. What was changed is named in `x-gateway-translation`;
/// with `x-gateway-strict: 1` it is a 400 instead.
#[utoipa::path(
    post,
    path = "/v1/messages",
    tag = "Anthropic",
    params(
        ("anthropic-version" = Option<String>, Header, description = "The version of the API; any is taken."),
        ("anthropic-beta" = Option<String>, Header, description = "Betas; those that Bedrock does not have are left out."),
    ),
    request_body = MessagesRequest,
    responses(
        (status = 200, description = "The message; server-sent events when `stream` is true.", body = wire::Message),
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
    Body(text): Body,
) -> Result<Response> {
    let members = body::object(&text)?;
    let (model, lane) = trail.wait_for(model(&gateway, &caller, &members)).await?;
    native::refuse_impossible(&members)?;
    let purpose = if streams(&members)? { Purpose::Stream } else { Purpose::Whole };
    let exchange = Exchange { gateway, caller, trail, strictness, operation: "messages", model };
    if lane == Lane::Converse {
        purpose::hosting_converses(&exchange.model)?;
        let mut report = Report::default();
        native::leave_betas_out(&members, &headers, &mut report)?;
        let wire = wire::parse(&text)?;
        // The parsed request owns its text; a 25 MB image need not be held twice while the model answers.
        drop(members);
        drop(text);
        return exchange.translated(wire, purpose, &headers, report).await;
    }
    exchange.native(&text, &members, (lane, purpose), &headers).await
}

/// The model that a body names, and the way to it.
pub(super) async fn model(gateway: &Gateway, caller: &Caller, members: &Members<'_>) -> Result<(Asked, Lane)> {
    let Some(name) = members.value("model") else {
        return Err(Error::invalid("model", "`model` is missing."));
    };
    let name: String =
        serde_json::from_str(name.get()).map_err(|_| Error::invalid("model", "`model` has to be a string."))?;
    let model = gateway.model(caller, name).await?;
    let lane = lane::choose_for(caller, &model.resolved);
    Ok((model, lane))
}

/// Whether a body asks for an answer in pieces.
fn streams(members: &Members<'_>) -> Result<bool> {
    let stream = members.value("stream").map_or("null", RawValue::get);
    let stream: Option<bool> =
        serde_json::from_str(stream).map_err(|_| Error::invalid("stream", "`stream` has to be true or false."))?;
    Ok(stream.unwrap_or(false))
}

/// A request under way.
pub(super) struct Exchange {
    pub(super) gateway: Gateway,
    pub(super) caller: Caller,
    pub(super) trail: Trail,
    pub(super) strictness: Strictness,
    pub(super) operation: &'static str,
    pub(super) model: Asked,
}

impl Exchange {
    pub(super) fn origin(&self, end_user: Option<String>) -> Origin {
        Origin {
            surface: "anthropic",
            operation: self.operation,
            trail: self.trail.clone(),
            end_user,
            status: error::status,
        }
    }

    /// A translation, there and back.
    async fn translated(
        self,
        wire: MessagesRequest,
        purpose: Purpose,
        headers: &HeaderMap,
        mut report: Report,
    ) -> Result<Response> {
        let wire = self.trail.wait_for(fetch(&self.gateway, wire, &mut report)).await?;
        if wire.max_tokens.is_none() {
            return Err(Error::invalid("max_tokens", "`max_tokens` is missing."));
        }
        let origin = self.origin(wire.metadata.as_ref().and_then(|metadata| metadata.user_id.clone()));
        let traits = families::traits(self.model.resolved.model.as_deref());
        let Translated { mut request, form, tool_names } = translate::request(wire, &traits, &mut report)?;
        native_headers::apply(headers, &mut request)?;
        self.strictness.judge(&report)?;
        auto_cache(&self.model.resolved, &traits, &mut request);
        let context = Context {
            id: ids::fresh("msg_"),
            model: self.model.name.clone(),
            tool_names,
            form,
            stop_sequences: request.inference_config.stop_sequences.clone(),
        };
        if purpose == Purpose::Stream {
            let answer = self.gateway.stream(&self.caller, origin, &self.model, &request).await?;
            let writer = Writer { events: Events::new(context), trail: self.trail };
            return Ok(annotate(sse::response(answer.body, writer), &answer.served, &report));
        }
        let answer = self.gateway.complete(&self.caller, origin, &self.model, &request).await?;
        let message = translate::response(answer.body, &context);
        Ok(annotate(json(&message)?, &answer.served, &report))
    }

    /// Claude's own bytes, there and back.
    async fn native(
        self,
        text: &Bytes,
        members: &Members<'_>,
        (lane, purpose): (Lane, Purpose),
        headers: &HeaderMap,
    ) -> Result<Response> {
        let mut report = Report::default();
        let draft = Draft::read(text, members, purpose)?;
        let fetched = self.trail.wait_for(remote::fetch_all(self.gateway.fetcher(), draft.remotes())).await?;
        let call = draft.call(lane, headers, fetched, &mut report)?;
        self.strictness.judge(&report)?;
        let origin = self.origin(native::end_user(members));
        if purpose == Purpose::Stream {
            let answer = self.gateway.forward_stream(&self.caller, origin, &self.model, call).await?;
            let (_, frames) = answer.body;
            let writer = native::Writer::new(lane, self.trail);
            return Ok(annotate(sse::response(native::unbroken(frames), writer), &answer.served, &report));
        }
        let answer = self.gateway.forward(&self.caller, origin, &self.model, call).await?;
        Ok(annotate(of_json(answer.body.body), &answer.served, &report))
    }
}

/// The request with everything in it that it points to.
pub(super) async fn fetch(
    gateway: &Gateway,
    mut wire: MessagesRequest,
    report: &mut Report,
) -> Result<MessagesRequest> {
    let remotes = translate::remotes(&mut wire);
    if !remotes.is_empty() {
        let fetched = remote::fetch_all(gateway.fetcher(), remotes).await?;
        translate::inline(&mut wire, fetched, report);
    }
    Ok(wire)
}

/// Writes the events of one translated answer.
struct Writer {
    events: Events,
    trail: Trail,
}

impl sse::Render for Writer {
    type Item = Event;

    const ALIVE: &'static [u8] = native::PING;

    fn event(&mut self, event: Event, out: &mut BytesMut) -> Result<()> {
        self.events.event(event, out);
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.events.finish(out);
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        error::event(error, self.trail.id().as_str(), out);
    }
}
