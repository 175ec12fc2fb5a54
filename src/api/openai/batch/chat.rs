//! Chat completions as records: translated as online, into the records of a Converse job.

use serde_json::value::RawValue;

use super::line;
use crate::api::batch::job;
use crate::api::conversation::{CallerTools, Form};
use crate::api::openai::translate::{self, Calling, Context, Translated};
use crate::api::openai::{native, pointed, wire};
use crate::api::purpose;
use crate::batch::codec::{Answer, Codec, Prepared, Rendered, Target};
use crate::batch::{Endpoint, Form as FileForm};
use crate::converse::Response;
use crate::error::{Error, Result};
use crate::families::{self, Traits};

/// `/v1/chat/completions`.
pub(in crate::api) const CODEC: Codec =
    Codec { endpoint: Endpoint::Chat, form: FileForm::OpenAi, prepare, render, error: line::error, line: line::line };

/// How the model is asked online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api::openai) enum Online {
    /// By Converse, as in a job.
    Likewise,
    /// In the dialect itself, so that it is told things which a job's form has no room for.
    Natively,
}

fn prepare(body: &RawValue, target: &Target<'_>) -> Result<Prepared> {
    let model = target.model.resolved.model.as_deref();
    let online = match model {
        Some(model) if native::speaks_chat(model) => Online::Natively,
        _ => Online::Likewise,
    };
    if online == Online::Likewise {
        purpose::converses(target.model, "POST /v1/chat/completions")?;
    }
    let prepared = prepare_for(body, online, &families::traits(model))?;
    Ok(match (prepared, model) {
        (Prepared::Job { .. }, Some(model)) if !purpose::takes_converse(model) => OTHER_LANE,
        (prepared, _) => prepared,
    })
}

/// The model is asked in another way than by Converse.
const OTHER_LANE: Prepared = Prepared::Online { why: "a model that Converse does not take" };

/// The same for a model with `traits`.
pub(in crate::api::openai) fn prepare_for(body: &RawValue, online: Online, traits: &Traits) -> Result<Prepared> {
    let mut request = wire::parse(body.get().as_bytes())?;
    job::refuse_stream(request.stream)?;
    if pointed::is_elsewhere(&mut request) {
        return Ok(Prepared::Online { why: "a file behind a URL" });
    }
    let is_unsaid = online == Online::Natively && is_unsaid(&request);
    let Translated { request, choices, .. } = translate::request(request, traits)?;
    if choices > 1 {
        return Ok(Prepared::Online { why: "several answers" });
    }
    if is_unsaid {
        return Ok(Prepared::Online { why: "a setting that Converse does not have" });
    }
    job::converse(request, String::new())
}

/// Whether the request has a setting that changes the answer and that Converse does not have.
fn is_unsaid(request: &wire::ChatRequest) -> bool {
    let is_set = |number: Option<f64>| number.is_some_and(|number| number.abs() > 0.0);
    is_set(request.frequency_penalty)
        || is_set(request.presence_penalty)
        || request.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty())
        || request.logprobs == Some(true)
        || request.seed.is_some()
        || request.response_format.as_ref().is_some_and(|format| format.kind != "text")
}

fn render(answer: &Answer<'_>) -> Result<Rendered> {
    let response: Response = serde_json::from_str(answer.output.get()).map_err(job::unreadable)?;
    let usage = response.usage.clone();
    // What goes into a job has neither tools nor a form of its own.
    let context = Context {
        id: format!("chatcmpl-{}", answer.id),
        created: answer.at.seconds(),
        model: answer.model.to_owned(),
        tools: CallerTools::default(),
        calling: Calling::default(),
        form: Form::Plain,
        include_usage: false,
    };
    let completion = translate::response(vec![response], &context);
    let body = serde_json::to_vec(&completion).map_err(Error::internal)?;
    Ok(Rendered { body, usage: Some(usage) })
}
