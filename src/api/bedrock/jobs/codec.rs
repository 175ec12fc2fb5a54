//! Records of AWS's own job API: they are what a job takes already, and their answers go back as AWS writes them. Pure.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html>
//!
//! The invariant: `modelInput` and `modelOutput` keep their bytes. What is refused is a location in S3: the role that
//! reads it is the gateway's, and could read what the caller may not.

use memchr::memmem;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::bedrock::{async_body, error, runtime};
use crate::batch::codec::{Answer, Codec, Line, Outcome, Prepared, Rendered, Target};
use crate::batch::record::{Endpoint, Form, Invocation};
use crate::converse::Usage;
use crate::error::{Error, Result};
use crate::gateway;
use crate::upstream::Operation;

/// Records of native jobs.
pub(in crate::api) const CODEC: Codec =
    Codec { endpoint: Endpoint::Native, form: Form::Bedrock, prepare, render, error: shape, line };

/// Members that hold what is said to a model, whatever it begins with.
const TEXTS: [&str; 4] = ["content", "inputText", "prompt", "text"];

fn prepare(input: &RawValue, target: &Target<'_>) -> Result<Prepared> {
    let text = input.get();
    runtime::check(text.as_bytes()).map_err(|_| Error::invalid("modelInput", "`modelInput` must be a JSON object."))?;
    refuse_locations(input)?;
    let invocation = target.invocation.unwrap_or(Invocation::InvokeModel);
    Ok(Prepared::Job { invocation, input: text.as_bytes().to_vec(), note: String::new() })
}

fn refuse_locations(input: &RawValue) -> Result<()> {
    if !may_locate(input.get().as_bytes()) {
        return Ok(());
    }
    let found = async_body::locations(input, "modelInput")?;
    let is_text = |field: &str| TEXTS.iter().any(|name| field.rsplit('.').next() == Some(name));
    match found.into_iter().find(|location| !is_text(&location.field)) {
        Some(location) => {
            let message = format!(
                "`{}` names a location in S3, which jobs do not read here: put the content into the record.",
                location.field
            );
            Err(Error::unsupported(location.field, message))
        }
        None => Ok(()),
    }
}

/// Whether `s3:` may stand in it, plain or with escapes. Most inputs are looked at no further.
fn may_locate(input: &[u8]) -> bool {
    const NEEDLES: [&[u8]; 5] = [b"s3:", b"S3:", br"\u007", br"\u005", br"\u003"];
    NEEDLES.iter().any(|needle| memmem::find(input, needle).is_some())
}

#[expect(clippy::unnecessary_wraps, reason = "other dialects have answers that cannot be read")]
fn render(answer: &Answer<'_>) -> Result<Rendered> {
    let body = answer.output.get().as_bytes();
    let operation = match answer.invocation {
        Invocation::Converse => Operation::Converse,
        Invocation::InvokeModel => Operation::InvokeModel,
    };
    let usage = gateway::used(operation, body).or_else(|| counted(body));
    Ok(Rendered { body: body.to_vec(), usage })
}

/// What the bodies say that have no `usage`: Titan's embeddings and Llama's. Online, Bedrock's headers tell it.
fn counted(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Counts {
        #[serde(rename = "inputTextTokenCount", alias = "prompt_token_count")]
        input: u64,
        #[serde(rename = "generation_token_count", default)]
        output: u64,
    }
    let counts: Counts = serde_json::from_slice(body).ok()?;
    let (input_tokens, output_tokens) = (counts.input, counts.output);
    Some(Usage { input_tokens, output_tokens, total_tokens: input_tokens + output_tokens, ..Usage::default() })
}

/// What a line has instead of `modelOutput`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    error_code: u16,
    error_message: &'a str,
}

fn shape(error: &Error, _: &str) -> (u16, Vec<u8>) {
    let status = error::status(error);
    (status, failure(status, error.message()))
}

fn failure(error_code: u16, error_message: &str) -> Vec<u8> {
    serde_json::to_vec(&Failure { error_code, error_message }).unwrap_or_default()
}

fn line(line: &Line<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"recordId":"#);
    let written = serde_json::to_writer(&mut *out, line.id);
    debug_assert!(written.is_ok());
    if let Some(input) = line.input {
        out.extend_from_slice(br#","modelInput":"#);
        out.extend_from_slice(input.get().as_bytes());
    }
    match line.outcome {
        Outcome::Answered { body, .. } if line.outcome.is_good() => {
            out.extend_from_slice(br#","modelOutput":"#);
            out.extend_from_slice(body);
        }
        Outcome::Answered { status, body } => {
            out.extend_from_slice(br#","error":"#);
            out.extend_from_slice(&told(status, body));
        }
        Outcome::Lost { message, .. } => {
            out.extend_from_slice(br#","error":"#);
            out.extend_from_slice(&failure(LOST, message));
        }
    }
    out.extend_from_slice(b"}\n");
}

/// The code of a record that was not run: AWS's of a model that did not answer.
const LOST: u16 = 500;

/// An error in the form of a job's: one that is, as it is; one of the runtime's, in the words of its exception.
fn told(status: u16, body: &[u8]) -> Vec<u8> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Told {
        error_code: Option<u16>,
        error_message: Option<String>,
        message: Option<String>,
    }
    let told: Told = serde_json::from_slice(body).unwrap_or_default();
    let message = told.error_message.or(told.message).unwrap_or_default();
    failure(told.error_code.unwrap_or(status), &message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::codec::Lost;
    use crate::clock::Timestamp;
    use crate::error::Kind;
    use crate::gateway::Asked;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    fn prepared(json: &str, invocation: Option<Invocation>) -> Result<Prepared> {
        let catalog = crate::catalog::Catalog::configured(&crate::config::Config::default()).unwrap();
        let model = Asked { name: "nova-lite".into(), resolved: catalog.resolve("nova-lite").unwrap() };
        prepare(&raw(json), &Target { model: &model, native_tools: false, invocation })
    }

    #[test]
    fn an_input_goes_as_it_came_by_the_type_that_was_asked_for() {
        let json = r#"{ "a" : 1.0e0, "text":"s3://is/only/said" , "tools":[{}],"c":"\u0073"}"#.to_owned();
        for (asked, invocation) in [(None, Invocation::InvokeModel), (Some(Invocation::Converse), Invocation::Converse)]
        {
            let input = json.clone().into_bytes();
            assert_eq!(prepared(&json, asked).unwrap(), Prepared::Job { invocation, input, note: String::new() });
        }
        assert_eq!(prepared("[1]", None).unwrap_err().blamed(), Some("modelInput"));
    }

    #[test]
    fn a_location_in_s3_is_refused_however_it_is_written() {
        for uri in ["s3://other/key", "S3://other/key", r"s3:\/\/other", r"\u0073\u0033://other", " s3://other"] {
            let json = format!(
                r#"{{"messages":[{{"content":[{{"video":{{"source":{{"s3Location":{{"uri":"{uri}"}}}}}}}}]}}]}}"#
            );
            let error = prepared(&json, None).unwrap_err();
            assert_eq!(error.blamed(), Some("modelInput.messages[0].content[0].video.source.s3Location.uri"), "{uri}");
        }
    }

    fn written(outcome: Outcome<'_>, input: Option<&RawValue>) -> String {
        let mut out = Vec::new();
        line(&Line { id: "a\"b", request: "0", input, outcome }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_as_aws_writes_them() {
        let input = raw(r#"{"inputText" : "x"}"#);
        let good = written(Outcome::Answered { status: 200, body: br#"{"embedding":[1.0]}"# }, Some(&input));
        let expected = r#"{"recordId":"a\"b","modelInput":{"inputText" : "x"},"modelOutput":{"embedding":[1.0]}}"#;
        assert_eq!(good, format!("{expected}\n"));
        let (status, body) = shape(&Error::new(Kind::UpstreamThrottled, "Slow down."), "0");
        let bad = written(Outcome::Answered { status, body: &body }, Some(&input));
        let expected = r#"{"recordId":"a\"b","modelInput":{"inputText" : "x"},"error":{"errorCode":429,"errorMessage":"Slow down."}}"#;
        assert_eq!(bad, format!("{expected}\n"));
        let online = written(Outcome::Answered { status: 400, body: br#"{"message":"No."}"# }, None);
        assert_eq!(online, "{\"recordId\":\"a\\\"b\",\"error\":{\"errorCode\":400,\"errorMessage\":\"No.\"}}\n");
        let lost = written(Outcome::Lost { why: Lost::JobFailed, message: "Gone." }, None);
        assert_eq!(lost, "{\"recordId\":\"a\\\"b\",\"error\":{\"errorCode\":500,\"errorMessage\":\"Gone.\"}}\n");
    }

    fn usage(invocation: Invocation, output: &str) -> Option<(u64, u64)> {
        let output = raw(output);
        let answer = Answer {
            invocation,
            output: &output,
            note: "",
            model: "m",
            model_id: "a.m",
            id: "0",
            at: Timestamp::from_millis(0),
        };
        let rendered = render(&answer).unwrap();
        assert_eq!(rendered.body, output.get().as_bytes());
        rendered.usage.map(|usage| (usage.input_tokens, usage.output_tokens))
    }

    #[test]
    fn what_an_answer_used_is_read_from_the_bodies_of_all_families() {
        let invoke = |output: &str| usage(Invocation::InvokeModel, output);
        assert_eq!(invoke(r#"{"usage":{"input_tokens":3,"output_tokens":4}}"#), Some((3, 4)));
        assert_eq!(invoke(r#"{"usage":{"inputTokens":3,"outputTokens":4}}"#), Some((3, 4)));
        assert_eq!(invoke(r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#), Some((3, 4)));
        assert_eq!(invoke(r#"{"embedding":[],"inputTextTokenCount":5}"#), Some((5, 0)));
        assert_eq!(invoke(r#"{"generation":"x","prompt_token_count":5,"generation_token_count":2}"#), Some((5, 2)));
        assert_eq!(invoke(r#"{"generation":"x"}"#), None);
        assert_eq!(usage(Invocation::Converse, r#"{"usage":{"inputTokens":3,"outputTokens":4}}"#), Some((3, 4)));
    }
}
