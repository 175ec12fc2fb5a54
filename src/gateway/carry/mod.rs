//! What a team's calls carry besides what their caller wrote: the team's guardrail and request metadata. Both win over
//! the caller's, by header where the body is the model's, else by a member of Converse's body; what a caller could notice
//! is reported.
//!
//! Invariant: no call that makes a model answer goes to AWS without its team's guardrail. What cannot carry one is
//! refused. Strictness does not keep this away: it is the administrator's rule, not a translation.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Asked;
use crate::catalog::Place;
use crate::error::{Error, Kind, Result};
use crate::report::{Action, Report};
use crate::splice::{Edits, Members};
use crate::tenancy::{Guardrail, Team};
use crate::upstream::{Call, Operation};

/// The headers of InvokeModel, and of the runtime's chat completions:
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>,
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions.html>.
const IDENTIFIER: &str = "x-amzn-bedrock-guardrailidentifier";
const VERSION: &str = "x-amzn-bedrock-guardrailversion";
const METADATA_HEADER: &str = "x-amzn-bedrock-request-metadata";
/// What a native body says of the guardrail of its headers: which parts of the input it judges, and how a stream.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/guardrails-tagging.html>
const NATIVE_CONFIG: &str = "amazon-bedrock-guardrailConfig";
/// Members of Converse's body, and the names of these things in a report whichever way they travel.
const GUARDRAIL: &str = "guardrailConfig";
const METADATA: &str = "requestMetadata";
const MODEL: &str = "model";
/// As many pairs of metadata as Bedrock takes.
const MAX_PAIRS: usize = 16;

/// What the calls of a team carry.
#[derive(Clone, Copy)]
struct Carried<'t> {
    guardrail: Option<&'t Guardrail>,
    metadata: &'t BTreeMap<String, String>,
}

/// Puts what `team`'s calls carry into a call, and into `changes` what its caller could notice.
///
/// # Errors
/// `Forbidden` on the paths that take no guardrail when the team has one; `Invalid`, the member or header named, when what
/// the caller said in its place cannot be read.
pub(super) fn put(team: &Team, call: &mut Call, changes: &mut Report) -> Result<()> {
    Carried { guardrail: team.guardrail.as_ref(), metadata: &team.request_metadata }.put(call, changes)
}

impl Carried<'_> {
    fn put(self, call: &mut Call, changes: &mut Report) -> Result<()> {
        if self.guardrail.is_none() && self.metadata.is_empty() {
            return Ok(());
        }
        match call.operation {
            // Nothing is answered, so there is nothing to guard, and it takes neither.
            Operation::CountTokens => Ok(()),
            Operation::Converse | Operation::ConverseStream => self.put_into_body(call, changes),
            Operation::Messages | Operation::Responses if self.guardrail.is_some() => {
                Err(unguarded("this API of the model"))
            }
            Operation::InvokeModel
            | Operation::InvokeModelWithResponseStream
            | Operation::ChatCompletions
            | Operation::Messages
            | Operation::Responses => self.put_into_headers(call, changes),
        }
    }

    fn put_into_body(self, call: &mut Call, changes: &mut Report) -> Result<()> {
        let body = Members::read(&call.body).map_err(no_json)?;
        let mut edits = Edits::new(&call.body);
        // Every member of such a name goes: of one that is given twice nobody knows which counts.
        let mut replaced = Vec::new();
        if let Some(guardrail) = self.guardrail {
            let asked = read::<Config>(&body, GUARDRAIL)?;
            edits.add(GUARDRAIL, &guarded(guardrail, asked, changes).to_string());
            replaced.push(GUARDRAIL);
            remove_guardrail(&mut call.headers);
        }
        if !self.metadata.is_empty() {
            let asked = read::<BTreeMap<String, String>>(&body, METADATA)?.unwrap_or_default();
            edits.add(METADATA, &json!(merged(asked, self.metadata, changes)).to_string());
            replaced.push(METADATA);
        }
        edits.remove(&body, &replaced);
        call.body = edits.apply();
        Ok(())
    }

    fn put_into_headers(self, call: &mut Call, changes: &mut Report) -> Result<()> {
        if let Some(guardrail) = self.guardrail {
            leave_tags_alone(call, changes)?;
            let asked = |name: &str| call.headers.get(name).map(|value| value.to_str().unwrap_or_default());
            note_guardrail(guardrail, (asked(IDENTIFIER), asked(VERSION)), changes);
            remove_guardrail(&mut call.headers);
            call.headers.insert(IDENTIFIER, header(&guardrail.id)?);
            call.headers.insert(VERSION, header(&guardrail.version)?);
        }
        if !self.metadata.is_empty() {
            let asked = metadata_of(&call.headers)?;
            let merged = merged(asked, self.metadata, changes);
            call.headers.insert(METADATA_HEADER, header(&json!(merged).to_string())?);
        }
        Ok(())
    }
}

/// Refuses what cannot carry a guardrail, in the words that name it, where the team has one.
pub(super) fn refuse_unguarded(team: &Team, what: &str) -> Result<()> {
    if team.guardrail.is_some() { Err(unguarded(what)) } else { Ok(()) }
}

fn unguarded(what: &str) -> Error {
    let message = format!(
        "The calls of this key's team are made with a guardrail, and Bedrock takes none on {what}: use another model or API."
    );
    Error::new(Kind::Forbidden, message).param(MODEL).reason(MODEL)
}

/// Leaves the places where the team's guardrail is: one that is named by its ARN is of one Region, and exists nowhere else.
///
/// # Errors
/// `Forbidden` when none is left.
pub(super) fn keep_guarded(team: &Team, places: &mut Vec<Arc<Place>>) -> Result<()> {
    let Some(region) = team.guardrail.as_ref().and_then(|guardrail| region(&guardrail.id)) else { return Ok(()) };
    places.retain(|place| *place.region == *region);
    if places.is_empty() {
        let message = format!(
            "The guardrail that the calls of this key's team are made with is in {region}, and the model cannot be called \
             from there."
        );
        return Err(Error::new(Kind::Forbidden, message).param(MODEL).reason("region"));
    }
    Ok(())
}

/// The Region of an ARN.
fn region(id: &str) -> Option<&str> {
    id.strip_prefix("arn:")?.split(':').nth(2)
}

/// Notes that a model is not called by the name that was asked for, but by a profile of the team.
pub(super) fn note_profile(team: &Team, model: &Asked, places: &[Arc<Place>], changes: &mut Report) {
    let is_own = |place: &Arc<Place>| team.profiles.values().any(|arn| **arn == *place.id && *arn != model.name);
    if !team.profiles.is_empty() && places.iter().any(is_own) {
        changes.add(Action::Renamed, MODEL);
    }
}

/// What a caller said of a guardrail in Converse's body.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    guardrail_identifier: Option<String>,
    guardrail_version: Option<String>,
    /// Whether the answer tells what the guardrail found: the caller's to say.
    trace: Option<Value>,
    /// Asynchronously, text would reach the client before it is judged.
    stream_processing_mode: Option<Value>,
}

/// The member that names the team's guardrail, with what is still the caller's to say.
fn guarded(guardrail: &Guardrail, asked: Option<Config>, changes: &mut Report) -> Value {
    let mut config = json!({"guardrailIdentifier": guardrail.id, "guardrailVersion": guardrail.version});
    let Some(asked) = asked else {
        changes.add(Action::Inserted, GUARDRAIL);
        return config;
    };
    note_guardrail(guardrail, (asked.guardrail_identifier.as_deref(), asked.guardrail_version.as_deref()), changes);
    if asked.stream_processing_mode.is_some_and(|mode| mode != "sync") {
        changes.add(Action::Filtered, "guardrailConfig.streamProcessingMode");
    }
    if let Some(trace) = asked.trace {
        config["trace"] = trace;
    }
    config
}

/// Notes what becomes of the guardrail that the caller named by id and version, if it did.
fn note_guardrail(own: &Guardrail, asked: (Option<&str>, Option<&str>), changes: &mut Report) {
    if asked == (Some(&own.id), Some(&own.version)) {
        return;
    }
    if asked != (None, None) {
        changes.add(Action::Dropped, GUARDRAIL);
    }
    changes.add(Action::Inserted, GUARDRAIL);
}

fn remove_guardrail(headers: &mut HeaderMap) {
    headers.remove(IDENTIFIER);
    headers.remove(VERSION);
}

/// Of what a native body says of its guardrail leaves which parts are tagged, as Converse leaves its blocks of content to
/// guard. That a stream is judged after it was sent is not the caller's to say.
fn leave_tags_alone(call: &mut Call, changes: &mut Report) -> Result<()> {
    const SUFFIX: &str = "tagSuffix";
    let body = Members::read(&call.body).map_err(no_json)?;
    let Some(config) = read::<serde_json::Map<String, Value>>(&body, NATIVE_CONFIG)? else { return Ok(()) };
    let mut edits = Edits::new(&call.body);
    edits.remove(&body, &[NATIVE_CONFIG]);
    if let Some(suffix) = config.get(SUFFIX) {
        edits.add(NATIVE_CONFIG, &json!({SUFFIX: suffix}).to_string());
    }
    if config.keys().any(|key| key != SUFFIX) {
        changes.add(Action::Filtered, NATIVE_CONFIG);
    }
    call.body = edits.apply();
    Ok(())
}

/// The pairs of the caller's header, which is a JSON object.
fn metadata_of(headers: &HeaderMap) -> Result<BTreeMap<String, String>> {
    let mut values = headers.get_all(METADATA_HEADER).iter();
    let Some(value) = values.next() else { return Ok(BTreeMap::new()) };
    let pairs = if values.next().is_none() { serde_json::from_slice(value.as_bytes()).ok() } else { None };
    pairs.ok_or_else(|| {
        let message = format!("The header `{METADATA_HEADER}` has to be one JSON object whose values are strings.");
        Error::invalid(METADATA_HEADER, message)
    })
}

/// The team's pairs, and the caller's for which there is a name and room left.
fn merged(
    asked: BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
    changes: &mut Report,
) -> BTreeMap<String, String> {
    let mut pairs = own.clone();
    if asked.is_empty() {
        changes.add(Action::Inserted, METADATA);
        return pairs;
    }
    let mut is_filtered = false;
    for (name, value) in asked {
        match pairs.get(&name) {
            Some(said) => is_filtered |= *said != value,
            None if pairs.len() == MAX_PAIRS => is_filtered = true,
            None => drop(pairs.insert(name, value)),
        }
    }
    changes.add(Action::Merged, METADATA);
    if is_filtered {
        changes.add(Action::Filtered, METADATA);
    }
    pairs
}

/// What the caller said under `name`; `None` where it said nothing.
fn read<'b, T: Deserialize<'b>>(body: &Members<'b>, name: &'static str) -> Result<Option<T>> {
    let Some(value) = body.value(name) else { return Ok(None) };
    serde_json::from_str(value.get())
        .map_err(|cause| Error::invalid(name, format!("`{name}` has a wrong type or value.")).source(cause))
}

fn header(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(Error::internal)
}

fn no_json(cause: serde_json::Error) -> Error {
    Error::invalid("body", "The body is no JSON object.").source(cause)
}

#[cfg(test)]
mod tests;
