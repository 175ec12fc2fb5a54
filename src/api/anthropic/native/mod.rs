//! Claude's own bytes: what the caller sent goes to the model as it is, but for the few members that mean something else
//! on Bedrock, or nothing.
//!
//! The invariant: a member that is not named here is sent byte for byte, and what is changed that a caller could notice
//! is in the report, or refused with the member's name.

mod betas;
mod inside;
mod stream;

use http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub(super) use inside::NO_FILES;
pub(super) use stream::{PING, Writer, unbroken};

use self::inside::{Found, Media};
use super::VERSION;
use super::lane::Lane;
use crate::api::conversation;
use crate::api::native_headers::{agree, bedrocks};
use crate::api::remote::{Payload, Remote};
use crate::error::{Error, Result};
use crate::gateway::TIER;
use crate::report::{Action, Report};
use crate::splice::{Edits, Members, quoted};
use crate::upstream::{Call, Operation};

/// The version of the API that `InvokeModel` speaks
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html>).
const ON_BEDROCK: &str = "bedrock-2023-05-31";
/// The only version of the API that the runtime's own messages path speaks; newer clients ask for newer ones.
const ON_MESSAGES: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Tools that Anthropic runs itself, by the beginning of their types. Bedrock does not have them.
const RUN_BY_ANTHROPIC: [&str; 5] = ["web_search_", "web_fetch_", "code_execution_", "mcp_toolset", "advisor_"];

/// Members that ask for something that only Anthropic's own service does, and without which the answer would be
/// another one.
const REFUSED: [(&str, &str); 3] = [
    ("container", "Bedrock has no containers: leave `container` out."),
    ("mcp_servers", "Bedrock connects to no MCP servers: offer their tools in `tools` instead."),
    ("thread", "Bedrock keeps no conversations: send the whole of it without `thread`."),
];

/// Members of Anthropic's own bookkeeping, and of its own service's speed: Bedrock refuses a body that has them, and the
/// answer is the same without.
pub(super) const DROPPED: [&str; 5] = ["diagnostics", "fallbacks", "speed", "user_profile_id", "workspace_id"];

/// Members that mean something to the lane and not to the model.
pub(super) const OF_THE_LANE: [&str; 7] =
    ["model", "stream", "anthropic_version", betas::MEMBER, "service_tier", "inference_geo", "output_format"];

/// What a native request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A whole answer.
    Whole,
    /// An answer in pieces.
    Stream,
    /// The count of its tokens.
    Count,
    /// A record of a batch job, where nothing is cached.
    Record,
}

/// A native request that was looked at and not yet put together.
pub(super) struct Draft<'a> {
    text: &'a [u8],
    members: &'a Members<'a>,
    found: Found<'a>,
    purpose: Purpose,
}

impl<'a> Draft<'a> {
    /// Looks at the body `text`, whose `members` they are.
    pub(super) fn read(text: &'a [u8], members: &'a Members<'a>, purpose: Purpose) -> Result<Self> {
        Ok(Self { text, members, found: inside::look(members)?, purpose })
    }

    /// What the request points to, to be fetched.
    pub(super) fn remotes(&self) -> Vec<Remote> {
        let remote =
            |remote: &inside::Remote<'_>| Remote { path: remote.at.dot("url").into(), url: remote.url.clone() };
        self.found.remote.iter().map(remote).collect()
    }

    /// The call that carries it by `lane`; `fetched` is what [`Draft::remotes`] stand for, in their order.
    pub(super) fn call(
        self,
        lane: Lane,
        headers: &HeaderMap,
        fetched: Vec<Payload>,
        report: &mut Report,
    ) -> Result<Call> {
        let mut edits = Edits::new(self.text);
        let mut call_headers = bedrocks(headers);
        let betas = betas::collect(headers, self.members.value(betas::MEMBER).map(RawValue::get), report)?;
        for (source, payload) in self.found.remote.iter().zip(fetched) {
            edits.replace(source.source, inlined(source, payload)?);
            report.add(Action::Fetched, source.at);
        }
        let mut gone = OF_THE_LANE.to_vec();
        if self.purpose == Purpose::Record {
            gone.push(inside::MARK);
            for mark in inside::marks(self.members) {
                edits.cut(mark, inside::MARK);
            }
        }
        // What goes as a whole loses nothing of itself.
        let scoped = self.found.scoped.iter().filter(|_| self.purpose != Purpose::Record);
        for (control, at) in scoped {
            if let Some(unscoped) = without_scope(control) {
                edits.replace(control, unscoped);
                report.add(Action::Dropped, at.dot("scope"));
            }
        }
        for member in DROPPED {
            if self.members.value(member).is_some() {
                gone.push(member);
                if is_set(self.members, member) {
                    report.add(Action::Dropped, member);
                }
            }
        }
        edits.remove(self.members, &gone);
        self.rename_format(&mut edits, report);
        if let Some(tier) = tier(self.members)? {
            agree(&mut call_headers, TIER, tier)?;
        }
        let operation = match (lane, self.purpose) {
            (Lane::Messages, Purpose::Whole | Purpose::Stream) => {
                call_headers.insert(VERSION, ON_MESSAGES);
                if let Some(value) = betas::header(&betas) {
                    call_headers.insert(betas::HEADER, value);
                }
                if self.purpose == Purpose::Stream {
                    edits.add("stream", "true");
                }
                Operation::Messages
            }
            (_, purpose) => {
                edits.add("anthropic_version", &quoted(ON_BEDROCK));
                if !betas.is_empty() {
                    edits.add(betas::MEMBER, &betas::json(&betas));
                }
                if purpose == Purpose::Count && self.members.value("max_tokens").is_none() {
                    edits.add("max_tokens", &self.least_max_tokens().to_string());
                }
                if purpose == Purpose::Stream {
                    Operation::InvokeModelWithResponseStream
                } else {
                    Operation::InvokeModel
                }
            }
        };
        Ok(Call { operation, headers: call_headers, body: edits.apply() })
    }

    /// The form of the answer by its older name, which Bedrock does not know.
    fn rename_format(&self, edits: &mut Edits<'_>, report: &mut Report) {
        let says = |value: &&RawValue| value.get() != "null";
        let Some(format) = self.members.value("output_format").filter(says) else { return };
        let whole = format!("{{\"format\":{}}}", format.get());
        match self.members.value("output_config") {
            None => edits.add("output_config", &whole),
            Some(config) if !says(&config) => edits.replace(config, whole),
            Some(config) => {
                let Some(config_with) = with_format(config, format) else {
                    report.add(Action::Dropped, "output_format");
                    return;
                };
                edits.replace(config, config_with);
            }
        }
        report.add(Action::Renamed, "output_format");
    }

    /// What a body that only is to be counted has to have: more than it lets the model think.
    fn least_max_tokens(&self) -> u64 {
        #[derive(serde::Deserialize)]
        struct Thinking {
            budget_tokens: Option<u64>,
        }
        let thinking = self.members.value("thinking").and_then(read::<Thinking>);
        thinking.and_then(|thinking| thinking.budget_tokens).unwrap_or(0).saturating_add(1)
    }
}

/// Refuses what only Anthropic's own service does, whatever the model.
pub(super) fn refuse_impossible(members: &Members<'_>) -> Result<()> {
    for (member, message) in REFUSED {
        if is_set(members, member) {
            return Err(Error::unsupported(member, message));
        }
    }
    refuse_tools(members)?;
    refuse_geography(members)
}

/// Whether [`refuse_impossible`] looks at this member.
pub(super) fn is_refused(member: &str) -> bool {
    REFUSED.iter().any(|(name, _)| *name == member)
}

/// Reports the betas that a model other than Claude has to do without.
pub(super) fn leave_betas_out(members: &Members<'_>, headers: &HeaderMap, report: &mut Report) -> Result<()> {
    let betas = betas::collect(headers, members.value(betas::MEMBER).map(RawValue::get), report)?;
    if !betas.is_empty() {
        report.add(Action::Filtered, betas::HEADER);
    }
    Ok(())
}

/// The betas of Bedrock's that the headers ask for; those that it does not have are in the report.
pub(super) fn betas_of(headers: &HeaderMap, report: &mut Report) -> Result<Vec<String>> {
    betas::collect(headers, None, report)
}

/// The user that the caller names: `metadata.user_id`.
pub(super) fn end_user(members: &Members<'_>) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        user_id: Option<String>,
    }
    members.value("metadata").and_then(read::<Metadata>).and_then(|metadata| metadata.user_id)
}

/// Whether a tier is asked for that a job is not: one but the usual.
pub(super) fn asks_for_tier(members: &Members<'_>) -> Result<bool> {
    Ok(tier(members)?.is_some_and(|tier| tier != "default"))
}

/// Whether tools are offered.
pub(super) fn offers_tools(members: &Members<'_>) -> bool {
    is_set(members, "tools")
}

/// Whether the answer is to have a form: `output_config.format`, or its older name.
pub(super) fn asks_for_form(members: &Members<'_>) -> bool {
    #[derive(serde::Deserialize)]
    struct Config<'a> {
        #[serde(borrow)]
        format: Option<&'a RawValue>,
    }
    let config = members.value("output_config");
    let config = config.and_then(|config| serde_json::from_str::<Config<'_>>(config.get()).ok());
    is_set(members, "output_format") || config.is_some_and(|config| config.format.is_some())
}

/// Whether a member is there and says something.
fn is_set(members: &Members<'_>, member: &str) -> bool {
    members.value(member).is_some_and(|value| !matches!(value.get(), "null" | "[]" | "{}" | "\"standard\""))
}

/// A member of the type expected; what is of another is Claude's to refuse.
fn read<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

fn refuse_tools(members: &Members<'_>) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Tool {
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    let tools: Vec<Tool> = members.value("tools").and_then(read).unwrap_or_default();
    for (i, tool) in tools.iter().enumerate() {
        if tool.kind.as_deref().is_some_and(is_run_by_anthropic) {
            return Err(server_tool(i));
        }
    }
    Ok(())
}

/// Whether a tool of this type is one that Anthropic runs itself.
pub(super) fn is_run_by_anthropic(kind: &str) -> bool {
    RUN_BY_ANTHROPIC.iter().any(|prefix| kind.starts_with(prefix))
}

/// The refusal of the tool at place `i`.
pub(super) fn server_tool(i: usize) -> Error {
    let message = "Bedrock does not run this tool: offer one of your own that does the same.";
    Error::unsupported(format!("tools[{i}].type"), message)
}

/// Where a request may be answered is what its key and its alias say. A wish for everywhere is fulfilled by anything.
fn refuse_geography(members: &Members<'_>) -> Result<()> {
    let wish: Option<String> = members.value("inference_geo").and_then(read);
    if !is_set(members, "inference_geo") || wish.as_deref() == Some("global") {
        return Ok(());
    }
    let message = "Where a model is called follows from its name here: leave `inference_geo` out and name an inference \
                   profile, such as `us.anthropic...`.";
    Err(Error::unsupported("inference_geo", message))
}

/// The tier to ask for: Anthropic's names, and Bedrock's own. `auto` leaves it to Bedrock.
fn tier(members: &Members<'_>) -> Result<Option<&'static str>> {
    let Some(value) = members.value("service_tier").filter(|value| value.get() != "null") else { return Ok(None) };
    service_tier(&read::<String>(value).unwrap_or_default())
}

/// Bedrock's tier for the caller's; `None` leaves it to Bedrock.
pub(super) fn service_tier(asked: &str) -> Result<Option<&'static str>> {
    match asked {
        "auto" => Ok(None),
        "standard_only" | "default" => Ok(Some("default")),
        "priority" => Ok(Some("priority")),
        "flex" => Ok(Some("flex")),
        "reserved" => Ok(Some("reserved")),
        _ => {
            let message = "`service_tier` has to be one of `auto`, `standard_only`, `priority`, `flex`, `reserved`.";
            Err(Error::invalid("service_tier", message))
        }
    }
}

/// A source with the content in it.
fn inlined(remote: &inside::Remote<'_>, payload: Payload) -> Result<String> {
    let (media_type, data) = match remote.media {
        Media::Image => {
            let image = conversation::image(payload.base64, remote.at.dot("url"))?;
            let crate::converse::MediaSource::Bytes(data) = image.source else {
                return Err(Error::internal("a picture without bytes"));
            };
            (format!("image/{}", image.format), data)
        }
        // Every PDF begins with "%PDF-".
        Media::Document if payload.base64.starts_with("JVBERi") => ("application/pdf".to_owned(), payload.base64),
        Media::Document => {
            return Err(Error::invalid(remote.at.dot("url"), "What is found at the URL is not a PDF."));
        }
    };
    // Base64 needs no escapes.
    Ok(format!(r#"{{"type":"base64","media_type":"{media_type}","data":"{data}"}}"#))
}

/// The configuration of the output with this `format`; `None` when it has one already.
fn with_format(config: &RawValue, format: &RawValue) -> Option<String> {
    let members = Members::of(config).ok()?;
    let mut edits = Edits::new(config.get().as_bytes());
    match members.value("format") {
        None => edits.add("format", format.get()),
        Some(none) if none.get() == "null" => edits.replace(none, format.get()),
        Some(_) => return None,
    }
    String::from_utf8(edits.apply().to_vec()).ok()
}

/// A cache control without its scope; `None` when it has none after all.
fn without_scope(control: &RawValue) -> Option<String> {
    let members = Members::of(control).ok()?;
    members.value("scope")?;
    let mut edits = Edits::new(control.get().as_bytes());
    edits.remove(&members, &["scope"]);
    String::from_utf8(edits.apply().to_vec()).ok()
}

#[cfg(test)]
mod tests;
