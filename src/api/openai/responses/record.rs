//! Responses as records: translated as online, into the records of a Converse job. A job cannot keep a response, nor look
//! one up: what asks for either runs online, and what says nothing of it is not kept.

use serde_json::value::RawValue;

use super::translate::{self, Asked, Context, Namespaces, RESPONSE_PREFIX, Translated, unanswered};
use super::wire::{self, Status};
use super::{nothing_said, pointed, provider, speaks_responses, state};
use crate::api::batch::job;
use crate::api::conversation::{CallerTools, Form};
use crate::api::openai::batches::line;
use crate::api::purpose;
use crate::batch::codec::{Answer, Codec, Prepared, Rendered, Target};
use crate::batch::{Endpoint, Form as FileForm};
use crate::converse;
use crate::error::{Error, Result};
use crate::families::{self, Traits};
use crate::report::Report;
use crate::splice::{Members, quoted};

/// `/v1/responses`.
pub(in crate::api) const CODEC: Codec = Codec {
    endpoint: Endpoint::Responses,
    form: FileForm::OpenAi,
    prepare,
    render,
    error: line::error,
    line: line::line,
};

/// What an answer repeats of its request. In this order, as far as there is room: what is long comes last.
const REPEATED: [&str; 15] = [
    "temperature",
    "top_p",
    "top_logprobs",
    "max_output_tokens",
    "max_tool_calls",
    "parallel_tool_calls",
    "tool_choice",
    "truncation",
    "service_tier",
    "reasoning",
    "text",
    "user",
    "safety_identifier",
    "metadata",
    "instructions",
];
/// How much of it is kept for each record of a job, in bytes: there are up to 100,000 at a time. What has no room is null
/// in the answer.
const ROOM: usize = 1024;

fn prepare(body: &RawValue, target: &Target<'_>) -> Result<Prepared> {
    let model = target.model.resolved.model.as_deref();
    if model.is_some_and(speaks_responses) {
        return Ok(Prepared::Online { why: "a model that is asked in this dialect itself" });
    }
    purpose::converses(target.model, "POST /v1/responses")?;
    prepare_for(body, provider(model), &families::traits(model))
}

/// The same for a model by `provider` with `traits`.
pub(super) fn prepare_for(body: &RawValue, provider: String, traits: &Traits) -> Result<Prepared> {
    let mut wire = wire::parse(body.get().as_bytes())?;
    job::refuse_stream(wire.stream)?;
    let mut items = state::items(wire.input.take());
    if items.is_empty() && wire.previous_response_id.is_none() {
        return Err(nothing_said());
    }
    let obstacles = [
        (wire.previous_response_id.is_some(), "previous_response_id"),
        (wire.store == Some(true), "a response to keep"),
        (items.iter().any(|(_, item)| state::is_reference(item)), "a reference to an item"),
        (pointed::is_elsewhere(&mut items), "a file behind a URL"),
    ];
    if let Some((_, why)) = obstacles.into_iter().find(|(is_there, _)| *is_there) {
        return Ok(Prepared::Online { why });
    }
    let asked = Asked { wire, items, report: Report::default(), id: String::new(), created: 0, store: false, provider };
    let Translated { request, .. } = translate::request(asked, traits)?;
    job::converse(request, note(body)?)
}

fn render(answer: &Answer<'_>) -> Result<Rendered> {
    let told: converse::Response = serde_json::from_str(answer.output.get()).map_err(job::unreadable)?;
    let usage = told.usage.clone();
    let comma = if answer.note.is_empty() { "" } else { "," };
    let repeated = format!("{{\"model\":{}{comma}{}}}", quoted(answer.model), answer.note);
    let wire = wire::parse(repeated.as_bytes())?;
    let mut response = unanswered(&wire, format!("{RESPONSE_PREFIX}{}", answer.id))?;
    response.created_at = answer.at.seconds();
    // What goes into a job has neither tools nor a form of its own.
    let provider = answer.model_id.split('.').next().unwrap_or_default().to_owned();
    let (tools, namespaces) = (CallerTools::default(), Namespaces::default());
    let context = Context { response, tools, namespaces, form: Form::Plain, provider };
    let mut response = translate::response(told, context);
    if response.status == Status::Completed {
        response.completed_at = Some(answer.at.seconds());
    }
    let body = serde_json::to_vec(&response).map_err(Error::internal)?;
    Ok(Rendered { body, usage: Some(usage) })
}

/// Members of the request that the answer repeats, as they came.
fn note(body: &RawValue) -> Result<String> {
    let members = Members::of(body).map_err(Error::internal)?;
    let mut note = String::new();
    for key in REPEATED {
        let Some(value) = members.value(key).map(RawValue::get).filter(|value| *value != "null") else { continue };
        if note.len() + key.len() + value.len() + 4 > ROOM {
            continue;
        }
        if !note.is_empty() {
            note.push(',');
        }
        note.push_str(&quoted(key));
        note.push(':');
        note.push_str(value);
    }
    Ok(note)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::batch::Invocation;
    use crate::clock::Timestamp;

    fn prepared(body: &Value) -> Result<Prepared> {
        let body = RawValue::from_string(body.to_string()).unwrap();
        prepare_for(&body, "amazon".to_owned(), &Traits::default())
    }

    /// The answer to a record of a job that says `hello`.
    fn answered(body: &Value) -> Value {
        let Prepared::Job { invocation, note, .. } = prepared(body).unwrap() else { panic!("no job: {body}") };
        assert_eq!(invocation, Invocation::Converse);
        let message = json!({"role": "assistant", "content": [{"text": "hello"}]});
        let output = json!({"output": {"message": message}, "stopReason": "end_turn",
            "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}});
        let output = RawValue::from_string(output.to_string()).unwrap();
        let answer = Answer {
            invocation,
            output: &output,
            note: &note,
            model: "nova \"lite\"",
            model_id: "amazon.nova-lite-v1:0",
            id: "00000000000000000000000000000000",
            at: Timestamp::from_millis(5_000),
        };
        serde_json::from_slice(&render(&answer).unwrap().body).unwrap()
    }

    #[test]
    fn the_answer_repeats_what_was_asked_as_that_of_a_call_does() {
        let answer = answered(&json!({"model": "m", "input": "hi", "instructions": "Say\nhello.", "temperature": 0.50,
            "max_output_tokens": 9, "metadata": {"a": "b"}, "user": "u", "tool_choice": null, "truncation": "auto",
            "service_tier": "default", "reasoning": {"effort": null, "summary": "auto"},
            "text": {"verbosity": "low"}, "input_tokens": 7, "store": false}));
        let expected = json!({"model": "nova \"lite\"", "instructions": "Say\nhello.", "temperature": 0.5,
            "max_output_tokens": 9, "metadata": {"a": "b"}, "user": "u", "tool_choice": "auto", "truncation": "auto",
            "service_tier": "default", "store": false, "created_at": 5, "completed_at": 5, "status": "completed",
            "id": "resp_00000000000000000000000000000000"});
        for (member, value) in expected.as_object().unwrap() {
            assert_eq!(answer[member], *value, "{member}");
        }
        assert_eq!((&answer["reasoning"]["summary"], &answer["text"]["verbosity"]), (&"auto".into(), &"low".into()));
        assert_eq!(answer["output"][0]["content"][0]["text"], "hello");
        assert_eq!(answer["output"][0]["id"], "msg_000000000000000000000000000000000000");
        assert_eq!(answer["usage"]["total_tokens"], 5);
    }

    #[test]
    fn what_has_no_room_is_not_repeated_and_leaves_the_rest() {
        let long = "x".repeat(ROOM);
        let answer = answered(&json!({"model": "m", "input": "hi", "instructions": long, "metadata": {"a": "b"}}));
        assert_eq!((&answer["instructions"], &answer["metadata"]["a"]), (&Value::Null, &"b".into()));
    }

    #[test]
    fn what_needs_what_is_kept_runs_online() {
        let why = |more: Value| {
            let mut body = json!({"model": "m", "input": "hi"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            match prepared(&body).unwrap() {
                Prepared::Online { why } => why,
                Prepared::Job { .. } => "job",
            }
        };
        assert_eq!(why(json!({})), "job");
        assert_eq!(why(json!({"store": false})), "job");
        assert_eq!(why(json!({"store": true})), "a response to keep");
        assert_eq!(why(json!({"previous_response_id": "resp_1"})), "previous_response_id");
        assert_eq!(why(json!({"input": [{"id": "msg_1"}]})), "a reference to an item");
        let image = json!([{"role": "user", "content": [{"type": "input_image", "image_url": "https://a/"}]}]);
        assert_eq!(why(json!({"input": image})), "a file behind a URL");
        assert_eq!(
            prepared(&json!({"model": "m", "input": "hi", "stream": true})).unwrap_err().blamed(),
            Some("stream")
        );
        assert_eq!(prepared(&json!({"model": "m"})).unwrap_err().blamed(), Some("input"));
        let waits = json!({"model": "m", "input": "hi", "background": true});
        assert_eq!(prepared(&waits).unwrap_err().blamed(), Some("background"));
    }
}
