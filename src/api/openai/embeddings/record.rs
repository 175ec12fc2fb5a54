//! Embeddings as records: the model's own body, as in a call. A record is one of a job where the model takes its inputs in
//! one call; the others make their calls online.

use serde_json::value::RawValue;

use super::{Format, Wish, append, unreadable, write};
use crate::api::openai::batches::line;
use crate::batch::codec::{Answer, Codec, Prepared, Rendered, Target};
use crate::batch::{Endpoint, Form, Invocation};
use crate::converse::Usage;
use crate::error::{Error, Result};
use crate::families::embedding::Embedding;

/// `/v1/embeddings`.
pub(in crate::api) const CODEC: Codec =
    Codec { endpoint: Endpoint::Embeddings, form: Form::OpenAi, prepare, render, error: line::error, line: line::line };

fn prepare(body: &RawValue, target: &Target<'_>) -> Result<Prepared> {
    let mut wish = Wish::read(body.get().as_bytes())?;
    let (family, _) = wish.fit(target.model)?;
    let mut parts = wish.parts(family)?;
    let (Some(part), true) = (parts.pop(), parts.is_empty()) else {
        return Ok(Prepared::Online { why: "several inputs" });
    };
    let note = note(wish.format, wish.inputs.list.len());
    Ok(Prepared::Job { invocation: Invocation::InvokeModel, input: part.body, note })
}

fn render(answer: &Answer<'_>) -> Result<Rendered> {
    let lost = || Error::internal("a record of embeddings without its model or its note");
    let family = Embedding::of_id(answer.model_id).ok_or_else(lost)?;
    let (format, count) = read_note(answer.note).ok_or_else(lost)?;
    let vectors = family.read(answer.output.get().as_bytes()).map_err(unreadable)?;
    let told = vectors.input_tokens;
    let mut data = Vec::with_capacity(count);
    append(vectors, format, &mut data)?;
    let body = write(data, count, (answer.model, told.unwrap_or_default()))?;
    let usage = told.map(|tokens| Usage { input_tokens: tokens, total_tokens: tokens, ..Usage::default() });
    Ok(Rendered { body, usage })
}

/// How the numbers are to be written, and how many vectors there are to be.
fn note(format: Format, count: usize) -> String {
    let format = match format {
        Format::Float => 'f',
        Format::Base64 => 'b',
    };
    format!("{format}{count}")
}

fn read_note(note: &str) -> Option<(Format, usize)> {
    let format = match note.get(..1)? {
        "f" => Format::Float,
        "b" => Format::Base64,
        _ => return None,
    };
    Some((format, note[1..].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::catalog::Catalog;
    use crate::clock::Timestamp;
    use crate::gateway::Asked;

    fn asked(model: &str) -> Asked {
        Asked { name: model.to_owned(), resolved: Catalog::embedded(&[]).unwrap().resolve(model).unwrap() }
    }

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).unwrap()
    }

    fn prepared(model: &str, body: &Value) -> Result<Prepared> {
        prepare(&raw(body), &Target { model: &asked(model), native_tools: false, invocation: None })
    }

    #[test]
    fn one_input_is_the_models_own_body_and_its_answer_has_the_vector() {
        let body =
            json!({"model": "titan-embed-text-v2", "input": "hi", "dimensions": 256, "encoding_format": "base64"});
        let Prepared::Job { invocation, input, note } = prepared("titan-embed-text-v2", &body).unwrap() else {
            panic!("no job")
        };
        assert_eq!(invocation, Invocation::InvokeModel);
        let input: Value = serde_json::from_slice(&input).unwrap();
        assert_eq!(input, json!({"inputText": "hi", "dimensions": 256}));
        let output = raw(&json!({"embedding": [1.0, -2.5], "inputTextTokenCount": 7}));
        let answer = Answer {
            invocation,
            output: &output,
            note: &note,
            model: "titan-embed-text-v2",
            model_id: "amazon.titan-embed-text-v2:0",
            id: "0",
            at: Timestamp::default(),
        };
        let rendered = render(&answer).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&rendered.body).unwrap(),
            json!({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": "AACAPwAAIMA="}],
                "model": "titan-embed-text-v2", "usage": {"prompt_tokens": 7, "total_tokens": 7}})
        );
        assert_eq!(rendered.usage.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((7, 0)));
        let none = raw(&json!({"embedding": null}));
        assert!(render(&Answer { output: &none, ..answer }).is_err());
    }

    #[test]
    fn as_many_inputs_as_the_model_takes_at_once_are_one_record() {
        let two = |model: &str| prepared(model, &json!({"model": model, "input": ["a", "b"]})).unwrap();
        assert_eq!(two("titan-embed-text-v2"), Prepared::Online { why: "several inputs" });
        assert!(matches!(two("cohere.embed-v4:0"), Prepared::Job { note, .. } if note == "f2"));
    }

    #[test]
    fn what_a_call_would_refuse_is_refused() {
        let refused = |model: &str, body: Value| prepared(model, &body).unwrap_err().blamed().unwrap().to_owned();
        assert_eq!(refused("titan-embed-text-v2", json!({"model": "m", "input": [1, 2]})), "input");
        assert_eq!(refused("titan-embed-text-v2", json!({"model": "m", "input": "a", "dimensions": 7})), "dimensions");
        assert_eq!(refused("nova-lite", json!({"model": "m", "input": "a"})), "model");
    }
}
