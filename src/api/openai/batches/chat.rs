//! Chat completions as records: translated as online, into the records of a Converse job; where they need the model's own
//! body, into those of an InvokeModel job.

use serde_json::value::RawValue;

use super::line;
use crate::api::batch::job::{self, Obstacle};
use crate::api::body;
use crate::api::conversation::{Block, CallerTools, Form};
use crate::api::openai::translate::{self, Calling, Context, Translated};
use crate::api::openai::{native, pointed, wire};
use crate::api::purpose;
use crate::batch::codec::{Answer, Codec, Prepared, Rendered, Target};
use crate::batch::{Endpoint, Form as FileForm, Invocation};
use crate::converse::{Response, Tool};
use crate::error::{Error, Result};
use crate::families::{self, Traits};
use crate::gateway;
use crate::splice::Edits;
use crate::upstream::Operation;

/// `/v1/chat/completions`.
pub(in crate::api) const CODEC: Codec =
    Codec { endpoint: Endpoint::Chat, form: FileForm::OpenAi, prepare, render, error: line::error, line: line::line };

/// How a model is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api::openai) struct Way {
    /// Online.
    pub(in crate::api::openai) online: Online,
    /// Whether tools may go into a job, in the model's own body.
    pub(in crate::api::openai) native_tools: bool,
}

/// How a model is asked online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api::openai) enum Online {
    /// By Converse, as in a job.
    Likewise,
    /// In this dialect itself, which is the model's own: it can be told things that Converse has no room for.
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
    let way = Way { online, native_tools: target.native_tools };
    let prepared = prepare_for(body, way, &families::traits(model))?;
    Ok(match (&prepared, model) {
        (Prepared::Job { invocation: Invocation::Converse, .. }, Some(model)) if !purpose::takes_converse(model) => {
            Prepared::Online { why: "a model that Converse does not take" }
        }
        _ => prepared,
    })
}

/// The same for a model with `traits`.
pub(in crate::api::openai) fn prepare_for(body: &RawValue, way: Way, traits: &Traits) -> Result<Prepared> {
    let mut wire = wire::parse(body.get().as_bytes())?;
    job::refuse_stream(wire.stream)?;
    if pointed::is_elsewhere(&mut wire) {
        return Ok(Prepared::Online { why: "a file behind a URL" });
    }
    let has_form = wire.response_format.as_ref().is_some_and(|format| format.kind != "text");
    let (is_unsaid, is_ours) = (is_unsaid(&wire), has_tools_of_ours(&wire));
    let translated = translate::request(wire, traits)?;
    if translated.choices > 1 {
        return Ok(Prepared::Online { why: "several answers" });
    }
    let obstacles = job::obstacles(&translated.request);
    match (way.online, obstacles.as_slice()) {
        // The model would be told of it in its own words, where a job's form has none.
        (Online::Natively, _) if has_form => Ok(Prepared::Online { why: Obstacle::Form.into() }),
        (Online::Natively, []) if is_unsaid => own_words(body),
        (Online::Natively, [Obstacle::Tools]) if way.native_tools && !is_ours => own_words(body),
        (Online::Likewise, [Obstacle::Tools]) if way.native_tools && traits.anthropic => claude(translated, traits),
        _ => job::converse(translated.request, String::new()),
    }
}

/// Whether the request has a setting that changes the answer and that Converse does not have.
fn is_unsaid(request: &wire::ChatRequest) -> bool {
    let is_set = |number: Option<f64>| number.is_some_and(|number| number.abs() > 0.0);
    is_set(request.frequency_penalty)
        || is_set(request.presence_penalty)
        || request.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty())
        || request.logprobs == Some(true)
        || request.seed.is_some()
}

/// Whether it has tools that no model knows, but the gateway makes of others: custom ones, and the `functions` of 2023.
fn has_tools_of_ours(request: &wire::ChatRequest) -> bool {
    request.functions.is_some() || request.tools.iter().flatten().any(|tool| tool.kind == "custom")
}

/// The body as it came, for a model whose own it is.
fn own_words(body: &RawValue) -> Result<Prepared> {
    let members = body::object(body.get().as_bytes())?;
    let mut edits = Edits::new(body.get().as_bytes());
    edits.remove(&members, &["model", "stream", "service_tier", "performanceConfig"]);
    Ok(Prepared::Job { invocation: Invocation::InvokeModel, input: edits.apply().to_vec(), note: String::new() })
}

/// The body that Claude has of its own, unless the way back from it would have to be remembered: the note is short.
fn claude(translated: Translated, traits: &Traits) -> Result<Prepared> {
    /// What an answer may have that is not limited and whose model's maximum is not known.
    const MOST: u32 = 4096;
    let Translated { request, tools, calling, form, .. } = translated;
    let is_renamed = |tool: &Tool| matches!(tool, Tool::ToolSpec(spec) if tools.original(&spec.name) != spec.name);
    let is_plain =
        tools.custom.is_empty() && !request.tool_config.iter().flat_map(|config| &config.tools).any(is_renamed);
    let body = families::messages::body(&request, traits.max_output_tokens.unwrap_or(MOST)).filter(|_| is_plain);
    let Some(body) = body else { return Ok(Prepared::Online { why: Obstacle::Tools.into() }) };
    let note = format!("{CLAUDE}{}{}", mark(calling == Calling::Function, FUNCTION), mark(form != Form::Plain, FORM));
    let input = serde_json::to_vec(&body).map_err(Error::internal)?;
    Ok(Prepared::Job { invocation: Invocation::InvokeModel, input, note })
}

/// In the note of a record: it has Claude's own body.
const CLAUDE: &str = "claude";
/// It was asked in the words of 2023.
const FUNCTION: &str = " function";
/// The answer comes as the call of a tool of ours.
const FORM: &str = " form";

fn mark(is_so: bool, mark: &str) -> &str {
    if is_so { mark } else { "" }
}

fn render(answer: &Answer<'_>) -> Result<Rendered> {
    let text = answer.output.get();
    let response = match answer.invocation {
        Invocation::Converse => serde_json::from_str::<Response>(text).map_err(job::unreadable)?,
        Invocation::InvokeModel if answer.note.starts_with(CLAUDE) => {
            families::messages::answer(text).map_err(job::unreadable)?
        }
        Invocation::InvokeModel => {
            let usage = gateway::used(Operation::ChatCompletions, text.as_bytes());
            return Ok(Rendered { body: text.as_bytes().to_vec(), usage });
        }
    };
    let usage = response.usage.clone();
    let has = |mark: &str| answer.note.contains(mark);
    let context = Context {
        id: format!("chatcmpl-{}", answer.id),
        created: answer.at.seconds(),
        model: answer.model.to_owned(),
        tools: CallerTools::default(),
        calling: if has(FUNCTION) { Calling::Function } else { Calling::Tools },
        form: if has(FORM) { Form::Tool(Block::default()) } else { Form::Plain },
        include_usage: false,
    };
    let completion = translate::response(vec![response], &context);
    let body = serde_json::to_vec(&completion).map_err(Error::internal)?;
    Ok(Rendered { body, usage: Some(usage) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::Timestamp;

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).unwrap()
    }

    fn with(more: &Value) -> Value {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    /// The body in a job, or why there is none.
    fn native(more: &Value, online: Online) -> Result<Value, &'static str> {
        let traits = Traits { anthropic: true, ..Traits::default() };
        let way = Way { online, native_tools: true };
        match prepare_for(&raw(&with(more)), way, &traits).unwrap() {
            Prepared::Job { invocation: Invocation::InvokeModel, input, .. } => {
                Ok(serde_json::from_slice(&input).unwrap())
            }
            Prepared::Job { .. } => Err("converse"),
            Prepared::Online { why } => Err(why),
        }
    }

    fn tools() -> Value {
        let function =
            |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
        json!({"tools": [function("f")]})
    }

    #[test]
    fn what_only_the_models_own_words_say_is_said_in_them() {
        let more = json!({"seed": 7, "stream": false, "service_tier": "default", "max_tokens": 5});
        let expected = json!({"messages": [{"role": "user", "content": "hi"}], "seed": 7, "max_tokens": 5});
        assert_eq!(native(&more, Online::Natively), Ok(expected));
        assert_eq!(native(&more, Online::Likewise), Err("converse"), "what is dropped online is dropped in a job");
        assert_eq!(
            native(&json!({"response_format": {"type": "json_object"}}), Online::Natively),
            Err("structured output")
        );
        assert_eq!(native(&tools(), Online::Natively).unwrap()["tools"], tools()["tools"]);
        let custom = json!({"tools": [{"type": "custom", "custom": {"name": "c"}}]});
        assert_eq!(native(&custom, Online::Natively), Err("tools"));
    }

    #[test]
    fn tools_stay_out_of_jobs_unless_they_are_allowed() {
        for online in [Online::Natively, Online::Likewise] {
            let way = Way { online, native_tools: false };
            let prepared = prepare_for(&raw(&with(&tools())), way, &Traits::default()).unwrap();
            assert_eq!(prepared, Prepared::Online { why: "tools" });
        }
        assert_eq!(native(&tools(), Online::Likewise).unwrap()["tools"][0]["name"], "f");
        let renamed = json!({"tools": [{"type": "function", "function": {"name": "f.g"}}]});
        assert_eq!(native(&renamed, Online::Likewise), Err("tools"), "the way back would have to be remembered");
    }

    fn answered(note: &str, output: &Value) -> (Value, Option<u64>) {
        let output = raw(output);
        let answer = Answer {
            invocation: Invocation::InvokeModel,
            output: &output,
            note,
            model: "m",
            model_id: "some.model",
            id: "0f",
            at: Timestamp::from_millis(5_000),
        };
        let rendered = render(&answer).unwrap();
        let body = serde_json::from_slice(&rendered.body).unwrap();
        (body, rendered.usage.map(|usage| usage.output_tokens))
    }

    #[test]
    fn an_answer_in_the_dialect_is_passed_on_and_claudes_is_translated() {
        let own =
            json!({"id": "chatcmpl-theirs", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}});
        assert_eq!(answered("", &own), (own, Some(2)));
        let call = json!({"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}});
        let claudes = |call: &Value| json!({"content": [call], "stop_reason": "tool_use", "usage": {"input_tokens": 3, "output_tokens": 2}});
        let (told, used) = answered("claude", &claudes(&call));
        let choice = &told["choices"][0];
        assert_eq!((choice["finish_reason"].as_str(), used), (Some("tool_calls"), Some(2)));
        assert_eq!(choice["message"]["tool_calls"][0]["function"], json!({"name": "f", "arguments": "{\"a\":1}"}));
        assert_eq!((&told["id"], &told["created"]), (&json!("chatcmpl-0f"), &json!(5)));
        let (told, _) = answered("claude function", &claudes(&call));
        assert_eq!(told["choices"][0]["message"]["function_call"]["name"], "f");
        let form = json!({"type": "tool_use", "id": "t1", "name": "answer_in_json", "input": {"a": 1}});
        let (told, _) = answered("claude form", &claudes(&form));
        assert_eq!(told["choices"][0]["message"]["content"], "{\"a\":1}");
    }
}
