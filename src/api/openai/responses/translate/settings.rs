//! Everything of a request but items and tools: length, sampling, form of the answer, and what the answer repeats.

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::api::conversation::{self, At, Sampling, Wanted};
use crate::api::openai::responses::wire::{Format, Reasoning, Request, Response, ResponseReasoning, Status};
use crate::converse::{InferenceConfig, Object};
use crate::error::Error;
use crate::families::Traits;
use crate::families::reasoning::Ask;
use crate::report::{Action, Report};

/// Refuses what would change the answer beyond recognition if it were merely left out.
pub(super) fn refuse_impossible(wire: &Request) -> Result<(), Error> {
    if wire.model.trim().is_empty() {
        return Err(Error::invalid("model", "Name a model. GET /v1/models lists them."));
    }
    if wire.stream_options.is_some() && wire.stream != Some(true) {
        return Err(Error::invalid("stream_options", "`stream_options` needs `stream` to be true."));
    }
    let asked = [
        ("background", wire.background == Some(true)),
        ("conversation", wire.conversation.is_some()),
        ("prompt", wire.prompt.is_some()),
    ];
    if let Some((field, _)) = asked.into_iter().find(|(_, asked)| *asked) {
        return Err(impossible(field));
    }
    // Handed to the model as a field of its own, one of these would stand against what is sent for its successor.
    let moved = MOVED.into_iter().find(|(field, _)| wire.extra.get(*field).is_some_and(|value| !value.is_null()));
    if let Some((field, successor)) = moved {
        return Err(Error::unsupported(field, format!("Responses have no `{field}`: use `{successor}`.")));
    }
    Ok(())
}

/// The refusal of a field that needs what only OpenAI has: `background`, `conversation` or `prompt`.
pub fn impossible(field: &'static str) -> Error {
    let message = match field {
        "background" => "Responses are made while the caller waits: use `stream`.",
        "conversation" => "Use `previous_response_id`, or send the conversation itself.",
        _ => "Templates are kept at OpenAI: send `instructions` and `input`.",
    };
    Error::unsupported(field, message)
}

/// What chat completions call otherwise, and its name here.
const MOVED: [(&str, &str); 9] = [
    ("messages", "input"),
    ("max_tokens", "max_output_tokens"),
    ("max_completion_tokens", "max_output_tokens"),
    ("response_format", "text.format"),
    ("reasoning_effort", "reasoning.effort"),
    ("verbosity", "text.verbosity"),
    ("functions", "tools"),
    ("function_call", "tool_choice"),
    ("web_search_options", "tools"),
];

/// Notes the fields that cannot be sent, unless they say what happens anyway.
pub(super) fn drop_untranslatable(wire: &Request, report: &mut Report) -> Result<(), Error> {
    let truncation = wire.truncation.as_deref();
    if truncation.is_some_and(|truncation| !matches!(truncation, "auto" | "disabled")) {
        return Err(Error::invalid("truncation", "`truncation` has to be `auto` or `disabled`."));
    }
    let verbosity = wire.text.as_ref().and_then(|text| text.verbosity.as_deref());
    let obfuscation = wire.stream_options.as_ref().and_then(|options| options.include_obfuscation);
    let dropped = [
        ("truncation", truncation == Some("auto")),
        ("text.verbosity", verbosity.is_some_and(|verbosity| verbosity != "medium")),
        ("stream_options.include_obfuscation", obfuscation == Some(true)),
        ("top_logprobs", wire.top_logprobs.is_some_and(|count| count > 0)),
        ("prompt_cache_key", wire.prompt_cache_key.is_some()),
        ("prompt_cache_retention", wire.prompt_cache_retention.is_some()),
        ("prompt_cache_options", wire.prompt_cache_options.as_ref().is_some_and(conversation::says_more_than_marks)),
        ("context_management", wire.context_management.is_some()),
        ("moderation", wire.moderation.is_some()),
        ("background_options", wire.background_options.is_some()),
        ("client_metadata", wire.client_metadata.is_some()),
    ];
    for (field, _) in dropped.into_iter().filter(|(_, present)| *present) {
        report.add(Action::Dropped, field);
    }
    for (key, _) in wire.reasoning.iter().flat_map(|reasoning| &reasoning.extra).filter(|(_, value)| !value.is_null()) {
        report.add(Action::Dropped, format!("reasoning.{key}"));
    }
    for (i, wanted) in wire.include.iter().flatten().enumerate() {
        // What tools that OpenAI runs would have to tell; here are none. Pictures and reasoning are always told.
        let is_moot = matches!(
            wanted.as_str(),
            "reasoning.encrypted_content"
                | "message.input_image.image_url"
                | "file_search_call.results"
                | "web_search_call.results"
                | "web_search_call.action.sources"
                | "code_interpreter_call.outputs"
                | "computer_call_output.output.image_url"
        );
        if !is_moot {
            report.add(Action::Dropped, At::item("include", i));
        }
    }
    Ok(())
}

/// Length and sampling.
pub(super) fn inference(wire: &Request, traits: &Traits, report: &mut Report) -> Result<InferenceConfig, Error> {
    let asked = Sampling { temperature: wire.temperature, top_p: wire.top_p, hottest: 2.0 };
    let (temperature, top_p) = conversation::sampling(asked, traits, report)?;
    Ok(InferenceConfig {
        max_tokens: conversation::max_tokens("max_output_tokens", wire.max_output_tokens, traits, report)?,
        temperature,
        top_p,
        stop_sequences: Vec::new(),
    })
}

/// The form of the answer.
pub(super) fn wanted(format: Option<Format>) -> Result<Option<Wanted>, Error> {
    let Some(format) = format else { return Ok(None) };
    match format.kind.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Wanted::Json)),
        "json_schema" => {
            let Some(schema) = format.schema else {
                return Err(Error::invalid("text.format.schema", "The schema is missing."));
            };
            Ok(Some(Wanted::Schema { schema, name: format.name, description: format.description }))
        }
        _ => Err(Error::invalid("text.format.type", "`type` has to be one of `text`, `json_object`, `json_schema`.")),
    }
}

/// How much the model is to think.
pub(super) fn ask(reasoning: Option<&Reasoning>) -> Result<Option<Ask>, Error> {
    match reasoning.and_then(|reasoning| reasoning.effort.as_deref()) {
        None => Ok(None),
        Some("none") => Ok(Some(Ask::Off)),
        Some(effort) => effort.parse().map(|effort| Some(Ask::Effort(effort))).map_err(|_| {
            let message = "`effort` has to be one of `none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max`.";
            Error::invalid(EFFORT, message)
        }),
    }
}

/// The field that [`ask`] reads.
pub(super) const EFFORT: &str = "reasoning.effort";

/// The tier, by Bedrock's name for it. `auto` leaves it to Bedrock.
pub(super) fn service_tier(asked: Option<&str>) -> Result<Option<Value>, Error> {
    let tier = match asked {
        None | Some("auto") => return Ok(None),
        Some("default") => "default",
        Some("flex") => "flex",
        Some("priority" | "fast") => "priority",
        Some("scale" | "reserved") => "reserved",
        Some(_) => {
            let message = "`service_tier` has to be one of `auto`, `default`, `flex`, `priority`, `scale`.";
            return Err(Error::invalid("service_tier", message));
        }
    };
    Ok(Some(json!({ "type": tier })))
}

/// The model's own fields: whatever nobody here knows.
pub(super) fn additional(extra: Object) -> Object {
    extra.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

/// The response with this id before the model has said anything: all that it repeats of its request.
pub fn response(wire: &Request, id: String) -> Result<Response, Error> {
    let tools: Box<RawValue> = to_raw_value(wire.tools.as_deref().unwrap_or_default()).map_err(Error::internal)?;
    let mut text = wire.text.clone().unwrap_or_default();
    text.format.get_or_insert_with(|| Format {
        kind: "text".to_owned(),
        name: None,
        description: None,
        schema: None,
        strict: None,
    });
    text.verbosity.get_or_insert_with(|| "medium".to_owned());
    let reasoning = wire.reasoning.as_ref().map(|reasoning| ResponseReasoning {
        effort: reasoning.effort.clone(),
        summary: reasoning.summary.clone().or_else(|| reasoning.generate_summary.clone()),
    });
    Ok(Response {
        id,
        object: "response",
        created_at: 0,
        status: Status::InProgress,
        completed_at: None,
        background: false,
        error: None,
        incomplete_details: None,
        instructions: wire.instructions.clone(),
        max_output_tokens: wire.max_output_tokens,
        max_tool_calls: wire.max_tool_calls,
        metadata: wire.metadata.clone().unwrap_or_default(),
        model: wire.model.clone(),
        output: Vec::new(),
        parallel_tool_calls: wire.parallel_tool_calls.unwrap_or(true),
        previous_response_id: wire.previous_response_id.clone(),
        prompt_cache_key: wire.prompt_cache_key.clone(),
        reasoning: reasoning.unwrap_or_default(),
        safety_identifier: wire.safety_identifier.clone(),
        service_tier: wire.service_tier.clone().filter(|tier| tier != "auto").unwrap_or_else(|| "default".to_owned()),
        store: false,
        temperature: wire.temperature,
        text,
        tool_choice: wire.tool_choice.clone().unwrap_or_else(|| json!("auto")),
        tools,
        top_logprobs: wire.top_logprobs.unwrap_or(0),
        top_p: wire.top_p,
        truncation: wire.truncation.clone().unwrap_or_else(|| "disabled".to_owned()),
        usage: None,
        user: wire.user.clone(),
    })
}
