//! One record: a line of the input, run through the simulator's own models, and its line of the output.

use std::borrow::Cow;
use std::cell::RefCell;

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Job;
use crate::simulator::calls::Tokens;
use crate::simulator::converse::{self, Delivery};
use crate::simulator::errors::Failure;
use crate::simulator::operations::{Context, Lane};
use crate::simulator::reply::Payload;
use crate::simulator::sessions::Identity;
use crate::simulator::{Simulator, invoke};

/// A line of the input. Further members are nobody's business.
#[derive(Debug, Deserialize)]
pub(crate) struct Record<'a> {
    #[serde(borrow, rename = "recordId")]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "modelInput")]
    input: &'a RawValue,
}

impl<'a> Record<'a> {
    /// What AWS looks at before a job runs: a JSON object with a `modelInput` that is one; not what a model would say to it.
    pub(crate) fn read(line: &'a [u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if record.input.get().starts_with('{') { Ok(record) } else { Err("modelInput is not a JSON object".to_owned()) }
    }

    /// Its `recordId`; without one, the one that AWS gives it by its place from 0.
    pub(crate) fn id(&self, index: u64) -> String {
        self.id.as_deref().map_or_else(|| format!("CALL{index:07}"), str::to_owned)
    }

    pub(crate) fn input(&self) -> &'a str {
        self.input.get()
    }
}

/// What became of a record.
#[derive(Debug)]
pub(crate) struct Answered {
    /// `modelOutput`, or the status and message of an error.
    pub(crate) output: Result<String, (u16, String)>,
    pub(crate) tokens: Tokens,
}

impl Answered {
    /// The line of the output, with its line break.
    pub(crate) fn line(&self, id: &str, input: &str) -> Vec<u8> {
        let id = Value::from(id);
        let line = match &self.output {
            Ok(output) => format!("{{\"modelInput\":{input},\"modelOutput\":{output},\"recordId\":{id}}}\n"),
            Err((code, message)) => {
                let error = json!({"errorCode": code, "errorMessage": message});
                format!("{{\"modelInput\":{input},\"error\":{error},\"recordId\":{id}}}\n")
            }
        };
        line.into_bytes()
    }
}

/// Runs a record.
pub(crate) fn answer(simulator: &Simulator, job: &Job, input: &str) -> Answered {
    match invoked(simulator, job, input) {
        Ok((output, tokens)) => Answered { output: Ok(output), tokens },
        Err(failure) => Answered { output: Err((failure.status, failure.message)), tokens: Tokens::default() },
    }
}

fn invoked(simulator: &Simulator, job: &Job, input: &str) -> Result<(String, Tokens), Failure> {
    let headers = HeaderMap::new();
    let context = context(simulator, &job.region, &headers, input.as_bytes());
    let reply = if job.converses {
        refuse_unsupported(simulator, input)?;
        converse::answer(&context, &job.model_id, context.body, Delivery::Whole)?
    } else {
        invoke::answer(&context, &job.model_id, context.body, Delivery::Whole)?
    };
    match reply.payload {
        Payload::Json(text) => Ok((text, reply.tokens)),
        _ => Err(Failure::validation("The model's answer is not JSON.")),
    }
}

/// The models as a job calls them.
pub(crate) fn context<'a>(
    simulator: &'a Simulator,
    region: &'a str,
    headers: &'a HeaderMap,
    body: &'a [u8],
) -> Context<'a> {
    Context {
        simulator,
        region,
        headers,
        query: "",
        request_id: "",
        identity: &Identity::Nobody,
        body,
        prefixes: RefCell::default(),
        catalog: simulator.offered(),
        lane: Lane::Batch,
    }
}

/// "Batch inference doesn't support tool calling or structured output", says the overview page; another page disagrees.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference.html>
fn refuse_unsupported(simulator: &Simulator, input: &str) -> Result<(), Failure> {
    if simulator.settings().tools_in_jobs {
        return Ok(());
    }
    let refused = [("toolConfig", "Tool calling"), ("outputConfig", "Structured output")];
    if !refused.iter().any(|(member, _)| memchr::memmem::find(input.as_bytes(), member.as_bytes()).is_some()) {
        return Ok(());
    }
    let body: Value = serde_json::from_str(input).unwrap_or_default();
    match refused.into_iter().find(|(member, _)| !body[member].is_null()) {
        Some((member, what)) => Err(Failure::validation(format!(
            "{what} isn't supported in batch inference. Remove {member} and try again."
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_object_with_an_input_and_perhaps_an_id() {
        let record = Record::read(br#"{"modelInput": {"a": 1}, "extra": true}"#).unwrap();
        assert_eq!((record.id(4).as_str(), record.input()), ("CALL0000004", r#"{"a": 1}"#));
        assert_eq!(Record::read(br#"{"recordId": "r\"1", "modelInput": {}}"#).unwrap().id(0), "r\"1");
        for line in [
            &b""[..],
            b"[]",
            b"{}",
            br#"{"modelInput": 1}"#,
            br#"{"recordId": 1, "modelInput": {}}"#,
            b"\xef\xbb\xbf{}",
            b"{\"modelInput\": {\"a\": \"\xff\"}}",
        ] {
            assert!(Record::read(line).is_err(), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn the_line_of_a_result_echoes_the_input_as_it_was() {
        let error = Answered { output: Err((400, "no \"model\"".to_owned())), tokens: Tokens::default() };
        let line: Value = serde_json::from_slice(&error.line("r1", r#"{"a":  1}"#)).unwrap();
        assert_eq!(
            line,
            json!({"recordId": "r1", "modelInput": {"a": 1}, "error": {"errorCode": 400, "errorMessage": "no \"model\""}})
        );
        let good = Answered { output: Ok("{\"b\":2}".to_owned()), tokens: Tokens::default() };
        let line: Value = serde_json::from_slice(&good.line("r1", "{}")).unwrap();
        assert_eq!(line, json!({"recordId": "r1", "modelInput": {}, "modelOutput": {"b": 2}}));
    }
}
