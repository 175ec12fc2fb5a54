//! The native lane of responses: models whose Bedrock endpoint speaks OpenAI's dialect get the body as it came.
//!
//! State is the one thing that cannot be left to Bedrock: what it stores lives in one Region, and for the whole account.
//! So Bedrock is always asked to store nothing, and the gateway keeps each response for its team, under the id that
//! Bedrock gave it. What a request goes on from is put before its own input, as text; reasoning is asked for in the form
//! that can be sent again.
//!
//! The answer is forwarded as it came but for `store` and `previous_response_id`. Bedrock was told another thing than the
//! client had said, and repeats it: clients that read there whether they may go on from a response would be misled.

mod answer;
mod input;
mod stream;

use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::answer::{Keeper, State, ended_well};
use self::input::{Input, Maker};
use super::super::forward::{ToolHead, may_name, name_tier};
use super::state::References;
use super::{origin, provider, translate};
use crate::api::answer::{annotate, of_json};
use crate::api::body;
use crate::api::caller::Strictness;
use crate::api::conversation::At;
use crate::api::native_headers::bedrocks;
use crate::api::remote::fetch_all;
use crate::api::sse;
use crate::catalog::{Catalog, Model, Resolved};
use crate::error::Result;
use crate::gateway::{Asked, Gateway, Trail};
use crate::report::{Action, Report};
use crate::splice::{Edits, Members};
use crate::tenancy::Caller;
use crate::upstream::{Call, Operation};

/// Which way a model is asked for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// As it is, on the runtime's own responses.
    Native,
    /// Translated, by Converse.
    Converse,
}

/// The native lane where the catalog says that the runtime takes the model's responses, by a name of its own: AWS refuses
/// application profiles there (<https://docs.aws.amazon.com/bedrock/latest/userguide/inference-responses.html>). Tools that the model does not take
/// there, and the calls of a team with a guardrail, which AWS does not say to take there, are for the translation, if the model can be
/// asked that way.
pub(super) fn lane(caller: &Caller, model: &Resolved, head: &Head) -> Lane {
    let converses = model.model.as_ref().is_some_and(|model| model.apis.converse == Some(true));
    let is_openais = is_openais(model);
    let is_strange = |tool: &ToolHead| match tool.kind() {
        "custom" => !is_openais,
        "namespace" => !is_openais || RESERVED.contains(&tool.name()),
        _ => false,
    };
    let wants_it = head.tools.iter().flatten().any(is_strange) || caller.team.guardrail.is_some();
    let is_translated = converses && wants_it;
    if resolves_to_one(model) && model.hosting().is_none() && !is_translated { Lane::Native } else { Lane::Converse }
}

/// The names of groups of tools that Bedrock refuses, because the servers' own tools are in groups of these names, also where
/// there are none.
const RESERVED: [&str; 5] = ["browser", "functions", "image_gen", "python", "web"];

/// Whether the model is one of OpenAI's: the runtime takes all tools from them that a client runs, `custom` and `namespace`,
/// and the search for tools, too; from others only `function`.
fn is_openais(model: &Resolved) -> bool {
    provider(model.model.as_deref()) == "openai"
}

/// Whether a tool is one that OpenAI runs, and that agents do without.
fn is_extra(tool: &ToolHead, model: &Resolved) -> bool {
    translate::is_extra(tool.kind()) && !(tool.kind() == "tool_search" && is_openais(model))
}

/// Whether the native lane may be the one for `body`.
pub(super) fn may_take(body: &[u8], catalog: &Catalog) -> bool {
    may_name(body, catalog, resolves_to_one)
}

/// Whether the runtime takes the model's responses.
pub(in crate::api) fn speaks_responses(model: &Model) -> bool {
    model.apis.responses == Some(true)
}

fn resolves_to_one(model: &Resolved) -> bool {
    model.model.as_deref().is_some_and(speaks_responses)
}

/// What the gateway itself has to know of a request.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Head {
    /// By any name the gateway knows.
    pub(super) model: String,
    stream: Option<bool>,
    store: Option<bool>,
    previous_response_id: Option<String>,
    tools: Option<Vec<ToolHead>>,
    user: Option<String>,
    safety_identifier: Option<String>,
}

/// Reads what the gateway has to know, and passes over the rest.
pub(super) fn head(body: &[u8]) -> Result<Head> {
    body::read(body)
}

/// A request on its way.
struct Draft {
    /// As it goes to AWS, without its model.
    body: Bytes,
    report: Report,
    /// Keeps the response, if it is to be kept.
    keeper: Option<Keeper>,
}

/// Answers a request on the native lane.
pub(super) async fn create(
    gateway: &Gateway,
    caller: &Caller,
    (trail, strictness): (Trail, Strictness),
    (model, head): (&Asked, Head),
    (headers, body): (&HeaderMap, Bytes),
) -> Result<Response> {
    let headers = bedrocks(headers);
    let Draft { body, report, keeper } = prepare((gateway, &trail), caller, model, &head, (&headers, body)).await?;
    strictness.judge(&report)?;
    let call = Call { operation: Operation::Responses, headers, body };
    let origin = origin("responses", &trail, head.user.or(head.safety_identifier));
    let state = State { store: keeper.is_some(), previous: head.previous_response_id };
    if head.stream == Some(true) {
        let answer = gateway.forward_stream(caller, origin, model, call).await?;
        let (_, frames) = answer.body;
        let response = sse::response(stream::to_its_end(frames), stream::Writer::new(trail, state, keeper));
        Ok(annotate(response, &answer.served, &report))
    } else {
        let answer = gateway.forward(caller, origin, model, call).await?;
        let body = whole(answer.body.body, state, keeper).await;
        Ok(annotate(of_json(body), &answer.served, &report))
    }
}

/// A whole answer as the client gets it, once it is kept.
async fn whole(body: Bytes, mut state: State, keeper: Option<Keeper>) -> Bytes {
    if state.is_as_bedrock_says() {
        return body;
    }
    state.store = match keeper.filter(|_| ended_well(&body)) {
        Some(keeper) => keeper.keep(&body).await,
        None => false,
    };
    state.put_right(&body).unwrap_or(body)
}

/// Puts together what goes to AWS, and what is to be kept of it. A request that points to nothing and is not to be kept
/// costs the store nothing.
async fn prepare(
    (gateway, trail): (&Gateway, &Trail),
    caller: &Caller,
    model: &Asked,
    head: &Head,
    (headers, body): (&HeaderMap, Bytes),
) -> Result<Draft> {
    let members = body::object(&body)?;
    refuse_impossible(&members)?;
    let (responses, team) = (gateway.responses(), &caller.team.id);
    let mut report = Report::default();
    if head.store == Some(true) && !responses.keeps() {
        report.add(Action::Dropped, "store");
    }
    let is_kept = head.store != Some(false) && responses.keeps();
    let previous = head.previous_response_id.as_deref();
    let mut edits = Edits::new(&body);
    let mut removed = vec!["model"];
    removed.extend(previous.map(|_| "previous_response_id"));
    if members.value(TOLD_BY_CLIENT).is_some_and(|told| told.get() != "null") {
        removed.push(TOLD_BY_CLIENT);
        report.add(Action::Dropped, TOLD_BY_CLIENT);
    }
    edits.remove(&members, &removed);
    leave_out_extras(&members, (head, &model.resolved), &mut edits, &mut report);
    set(&members, &mut edits, "store", "false");
    name_tier(&members, &mut edits, headers)?;

    let value = members.value("input").filter(|input| input.get() != "null");
    let needs_a_look = is_kept || previous.is_some() || value.is_some_and(input::may_point_elsewhere);
    let mut kept = None;
    if needs_a_look {
        let mut input = read((gateway, trail), caller, value, &mut report).await?;
        if is_kept {
            kept = Some(input.to_keep());
        }
        input.leave_out_unreadable(&mut report);
        if let Some(previous) = previous {
            let own = provider(model.resolved.model.as_deref());
            for turn in responses.history(team, previous).await? {
                let maker = if maker(gateway, &turn.model) == own { Maker::Same } else { Maker::Other };
                input.put_after(&turn, maker, &mut report)?;
            }
        }
        if let Some(input) = input.changed() {
            set(&members, &mut edits, "input", &input);
        }
    }
    let reasons = model.resolved.model.as_ref().is_some_and(|model| model.abilities.reasoning != Some(false));
    if is_kept && reasons {
        include_reasoning(&members, &mut edits);
    }
    let keeper = kept.map(|input| Keeper {
        responses: responses.clone(),
        team: team.clone(),
        previous: head.previous_response_id.clone(),
        model: model.name.clone(),
        input,
    });
    Ok(Draft { body: edits.apply(), report, keeper })
}

/// Who makes the model that a stored response names; nothing, when there is no such model any more.
fn maker(gateway: &Gateway, model: &str) -> String {
    let resolved = gateway.catalog().resolve(model).ok();
    provider(resolved.and_then(|resolved| resolved.model).as_deref())
}

/// The request's own input, all that it points to put in its place.
async fn read<'a>(
    (gateway, trail): (&Gateway, &Trail),
    caller: &Caller,
    value: Option<&'a RawValue>,
    report: &mut Report,
) -> Result<Input<'a>> {
    let mut input = Input::read(value)?;
    let mut references = References::new(gateway.responses(), &caller.team.id);
    for (position, id) in input.references() {
        let item = references.find(At::item("input", position), id.as_deref()).await?;
        input.resolve(position, item.get());
    }
    let pointed = input.pointed();
    if !pointed.is_empty() {
        let wanted = pointed.iter().map(input::Pointed::remote).collect();
        let found = trail.wait_for(fetch_all(gateway.fetcher(), wanted)).await?;
        input.fill(pointed, found, report)?;
    }
    Ok(input)
}

/// What a client such as Codex tells of itself, to whomever it asks. AWS refuses it.
const TOLD_BY_CLIENT: &str = "client_metadata";

/// Leaves out the tools that OpenAI runs and that agents offer beside their own, whatever the model: AWS refuses a request
/// that has one. A request for nothing else is AWS's to refuse.
fn leave_out_extras(
    members: &Members<'_>,
    (head, model): (&Head, &Resolved),
    edits: &mut Edits<'_>,
    report: &mut Report,
) {
    let is_extra = |tool: &ToolHead| is_extra(tool, model);
    let heads = head.tools.as_deref().unwrap_or_default();
    if heads.iter().all(is_extra) || !heads.iter().any(is_extra) {
        return;
    }
    let Some(value) = members.value("tools") else { return };
    let Ok(tools) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else { return };
    let mut own = Vec::with_capacity(tools.len());
    for (position, (tool, head)) in tools.into_iter().zip(heads).enumerate() {
        if is_extra(head) {
            report.add(Action::Dropped, At::item("tools", position));
        } else {
            own.push(tool.get());
        }
    }
    edits.replace(value, format!("[{}]", own.join(",")));
}

/// Refuses what only OpenAI has.
fn refuse_impossible(members: &Members<'_>) -> Result<()> {
    for (field, harmless) in [("background", "false"), ("conversation", "null"), ("prompt", "null")] {
        if members.value(field).is_some_and(|value| value.get() != harmless && value.get() != "null") {
            return Err(translate::impossible(field));
        }
    }
    Ok(())
}

/// Puts `json` in the place of the member, or adds it.
fn set(members: &Members<'_>, edits: &mut Edits<'_>, key: &str, json: &str) {
    match members.value(key) {
        Some(value) => edits.replace(value, json),
        None => edits.add(key, json),
    }
}

/// Asks for reasoning in the form in which it can be sent again, as what is not stored by AWS has to be.
fn include_reasoning(members: &Members<'_>, edits: &mut Edits<'_>) {
    const ENCRYPTED: &str = "\"reasoning.encrypted_content\"";
    let asked = members.value("include").map_or("null", RawValue::get);
    if asked == "null" {
        set(members, edits, "include", &format!("[{ENCRYPTED}]"));
        return;
    }
    // What is no list is AWS's to refuse.
    let Some(rest) = asked.strip_prefix('[').filter(|_| !asked.contains(ENCRYPTED)) else { return };
    let comma = if rest.trim_start() == "]" { "" } else { "," };
    set(members, edits, "include", &format!("[{ENCRYPTED}{comma}{rest}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_for(body: &str) -> String {
        let members = Members::read(body.as_bytes()).unwrap();
        let mut edits = Edits::new(body.as_bytes());
        include_reasoning(&members, &mut edits);
        String::from_utf8(edits.apply().to_vec()).unwrap()
    }

    #[test]
    fn reasoning_is_asked_for_once_and_beside_what_else_is() {
        const BOTH: &str = r#"{"include":["reasoning.encrypted_content","x"]}"#;
        const ALONE: &str = r#"{"include":["reasoning.encrypted_content"]}"#;
        for (body, sent) in [
            ("{}", ALONE),
            (r#"{"include":null}"#, ALONE),
            (r#"{"include":[]}"#, ALONE),
            (r#"{"include":["x"]}"#, BOTH),
            (BOTH, BOTH),
            (r#"{"include":"x"}"#, r#"{"include":"x"}"#),
        ] {
            assert_eq!(asked_for(body), sent);
        }
    }

    #[test]
    fn tools_that_openai_runs_are_left_out_beside_the_clients_own_alone() {
        let catalog = Catalog::embedded(&[]).unwrap();
        let sent_to = |model: &str, body: &str| {
            let (members, head) = (Members::read(body.as_bytes()).unwrap(), head(body.as_bytes()).unwrap());
            let (mut edits, mut report) = (Edits::new(body.as_bytes()), Report::default());
            leave_out_extras(&members, (&head, &catalog.resolve(model).unwrap()), &mut edits, &mut report);
            (String::from_utf8(edits.apply().to_vec()).unwrap(), report.to_string())
        };
        let sent = |body: &str| sent_to("grok-4.6", body);
        let own = r#"{"type":"function" ,"name":"f"}"#;
        let (body, report) = sent(&format!(
            r#"{{"model":"m","tools":[{{"type":"web_search","x":1}}, {own},{{"type":"tool_search"}}, {own}]}}"#
        ));
        assert_eq!(body, format!(r#"{{"model":"m","tools":[{own},{own}]}}"#));
        assert_eq!(report, "dropped:tools[0],dropped:tools[2]");
        // Of OpenAI's own models AWS takes the search for tools.
        let (body, report) = sent_to(
            "gpt-5.4",
            &format!(r#"{{"model":"m","tools":[{{"type":"image_generation"}}, {own},{{"type":"tool_search"}}]}}"#),
        );
        assert_eq!(body, format!(r#"{{"model":"m","tools":[{own},{{"type":"tool_search"}}]}}"#));
        assert_eq!(report, "dropped:tools[0]");
        for untouched in [
            r#"{"model":"m","tools":[{"type":"web_search"}]}"#,
            r#"{"model":"m","tools":[{"type":"function"},{"type":"mcp"}]}"#,
            r#"{"model":"m","tools":[]}"#,
            r#"{"model":"m","tools":null}"#,
        ] {
            assert_eq!(sent(untouched), (untouched.to_owned(), String::new()));
        }
    }

    #[test]
    fn what_only_openai_has_is_refused_by_name() {
        let refused = |body: &str| {
            let error = refuse_impossible(&Members::read(body.as_bytes()).unwrap()).err();
            error.and_then(|error| error.blamed().map(str::to_owned))
        };
        assert_eq!(refused(r#"{"background":true}"#).as_deref(), Some("background"));
        assert_eq!(refused(r#"{"conversation":"conv_1"}"#).as_deref(), Some("conversation"));
        assert_eq!(refused(r#"{"prompt":{"id":"p"}}"#).as_deref(), Some("prompt"));
        assert_eq!(refused(r#"{"background":false,"conversation":null,"prompt":null}"#), None);
    }
}
