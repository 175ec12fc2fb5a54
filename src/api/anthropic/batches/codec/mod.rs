//! Messages as records of a batch: what a job takes for one, and how its answer is told. Pure.
//!
//! Claude takes the caller's own bytes, without what names the model and what asks for caching, which jobs do not do:
//! a mark changes the price and never the answer. Other models take the translation. What a job cannot do at all runs
//! through the completion path (<https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference.html>).

use http::HeaderMap;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::anthropic::error::{self, ErrorBody, ErrorObject};
use crate::api::anthropic::lane::{self, Lane};
use crate::api::anthropic::native::{self, Draft, Purpose};
use crate::api::anthropic::translate::{self, Context};
use crate::api::anthropic::wire::{self, MessagesRequest};
use crate::api::batch::job;
use crate::api::conversation::{Form, ToolNames};
use crate::api::{body, purpose};
use crate::batch::codec::{Answer, Codec, Line, Lost, Outcome, Prepared, Rendered, Target};
use crate::batch::record::{Endpoint, Form as FileForm, Invocation};
use crate::converse;
use crate::error::{Error, Result};
use crate::families;
use crate::gateway;
use crate::report::Report;
use crate::splice::Members;
use crate::upstream::Operation;

/// Records of message batches.
pub(in crate::api) const CODEC: Codec =
    Codec { endpoint: Endpoint::Messages, form: FileForm::Anthropic, prepare, render, error: shape, line };

/// Why a record runs online.
const TOOLS: &str = "tools";
const FORM: &str = "structured output";
const ELSEWHERE: &str = "content behind a URL";
const TIER: &str = "a service tier";
const OTHER_PATH: &str = "a model that jobs do not call";

/// As many bytes of a stop sequence as a note holds.
const LONGEST_NOTE: usize = 64;

fn prepare(params: &RawValue, target: &Target<'_>) -> Result<Prepared> {
    let text = params.get().as_bytes();
    let members = body::object(text)?;
    check(&members)?;
    native::refuse_impossible(&members)?;
    match lane::choose(&target.model.resolved) {
        Lane::Invoke => native_record(text, &members, target),
        Lane::Messages => Ok(Prepared::Online { why: OTHER_PATH }),
        Lane::Converse => {
            purpose::converses(target.model, "POST /v1/messages")?;
            translated_record(wire::parse(text)?, target)
        }
    }
}

/// What every record has to say, and what none may.
fn check(members: &Members<'_>) -> Result<()> {
    for member in ["max_tokens", "messages"] {
        if members.value(member).is_none_or(|value| value.get() == "null") {
            return Err(Error::invalid(member, format!("`{member}` is missing.")));
        }
    }
    match members.value("stream").map(RawValue::get) {
        None | Some("null" | "false") => Ok(()),
        Some(_) => Err(Error::invalid("stream", "The answers of a batch are not streamed: leave `stream` out.")),
    }
}

/// Claude's own body.
fn native_record(text: &[u8], members: &Members<'_>, target: &Target<'_>) -> Result<Prepared> {
    if native::offers_tools(members) && !target.native_tools {
        return Ok(Prepared::Online { why: TOOLS });
    }
    if native::asks_for_form(members) {
        return Ok(Prepared::Online { why: FORM });
    }
    if native::asks_for_tier(members)? {
        return Ok(Prepared::Online { why: TIER });
    }
    let draft = Draft::read(text, members, Purpose::Record)?;
    if !draft.remotes().is_empty() {
        return Ok(Prepared::Online { why: ELSEWHERE });
    }
    let call = draft.call(Lane::Invoke, &HeaderMap::new(), Vec::new(), &mut Report::default())?;
    Ok(Prepared::Job { invocation: Invocation::InvokeModel, input: call.body.to_vec(), note: String::new() })
}

/// The translation for a model that is not Claude.
fn translated_record(mut wire: MessagesRequest, target: &Target<'_>) -> Result<Prepared> {
    if !translate::remotes(&mut wire).is_empty() {
        return Ok(Prepared::Online { why: ELSEWHERE });
    }
    // Where the model does not hold to a form by itself, a tool stands for it in the translation.
    if wire.output_format.is_some() || wire.output_config.as_ref().is_some_and(|config| config.format.is_some()) {
        return Ok(Prepared::Online { why: FORM });
    }
    let traits = families::traits(target.model.resolved.model.as_deref());
    let request = translate::request(wire, &traits, &mut Report::default())?.request;
    let note = match &request.inference_config.stop_sequences[..] {
        [only] if only.len() <= LONGEST_NOTE => only.clone(),
        _ => String::new(),
    };
    job::converse(request, note)
}

fn render(answer: &Answer<'_>) -> Result<Rendered> {
    let output = answer.output.get().as_bytes();
    if answer.invocation == Invocation::InvokeModel {
        let usage = gateway::used(Operation::InvokeModel, output);
        return Ok(Rendered { body: output.to_vec(), usage });
    }
    let response: converse::Response = serde_json::from_slice(output).map_err(job::unreadable)?;
    let usage = Some(response.usage.clone());
    let context = Context {
        id: format!("msg_{}", answer.id),
        model: answer.model.to_owned(),
        tool_names: ToolNames::default(),
        form: Form::Plain,
        stop_sequences: Some(answer.note.to_owned()).filter(|note| !note.is_empty()).into_iter().collect(),
    };
    let mut message = translate::response(response, &context);
    message.usage.service_tier = Some("batch".to_owned());
    Ok(Rendered { body: serde_json::to_vec(&message).map_err(Error::internal)?, usage })
}

/// An error, as the result of a request.
fn shape(error: &Error, id: &str) -> (u16, Vec<u8>) {
    let (status, body) = error::status_and_body(error, &request_id(id));
    (status, serde_json::to_vec(&body).unwrap_or_default())
}

fn request_id(id: &str) -> String {
    format!("req_{id}")
}

/// <https://docs.anthropic.com/en/api/retrieving-message-batch-results>
fn line(line: &Line<'_>, out: &mut Vec<u8>) {
    put(out, &Begin { custom_id: line.id });
    // The object of the beginning goes on.
    out.pop();
    out.extend_from_slice(br#","result":"#);
    match line.outcome {
        Outcome::Answered { body, .. } if line.outcome.is_good() => {
            wrap(br#"{"type":"succeeded","message":"#, body, out);
        }
        Outcome::Answered { body, .. } => wrap(br#"{"type":"errored","error":"#, body, out),
        Outcome::Lost { why: Lost::BatchCancelled, .. } => out.extend_from_slice(br#"{"type":"canceled"}"#),
        Outcome::Lost { why: Lost::BatchExpired, .. } => out.extend_from_slice(br#"{"type":"expired"}"#),
        Outcome::Lost { why: Lost::JobFailed | Lost::NoResult, message } => {
            let error = ErrorObject { kind: "api_error", message: message.to_owned(), details: None };
            let mut body = Vec::new();
            put(&mut body, &ErrorBody { kind: "error", error, request_id: request_id(line.request) });
            wrap(br#"{"type":"errored","error":"#, &body, out);
        }
    }
    out.extend_from_slice(b"}\n");
}

#[derive(Serialize)]
struct Begin<'a> {
    custom_id: &'a str,
}

fn wrap(head: &[u8], body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(head);
    out.extend_from_slice(body);
    out.push(b'}');
}

fn put(out: &mut Vec<u8>, value: &impl Serialize) {
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests;
