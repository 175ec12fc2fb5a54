//! The requests: one conversation, written for the gateway as OpenAI or Anthropic has it and for the floor as Bedrock
//! has it.

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::{Value, json};

/// Takes Converse in-Region, so neither side needs an inference profile.
const MODEL: &str = "amazon.nova-lite-v1%3A0";
/// The same model by the short id that an OpenAI client would use.
const SHORT_ID: &str = "nova-lite";
/// A model that takes Anthropic's own body; it can be called by its profile only.
const CLAUDE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1%3A0";
/// The same model by the short id that an Anthropic client would use.
const CLAUDE_SHORT_ID: &str = "claude-haiku-4-5";

const SYSTEM: &str = "You are the assistant of a web shop. Answer in one short paragraph and never promise a date.";

/// One POST.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) body: Bytes,
}

/// What the two sides are asked.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) floor: Call,
    pub(crate) gateway: Call,
}

/// `POST /v1/chat/completions` to the gateway, Converse to the floor; about `size` bytes of body.
pub(crate) fn chat(size: usize) -> Pair {
    Pair { floor: converse("converse", size), gateway: completion(size, false) }
}

/// The same, streamed.
pub(crate) fn chat_stream(size: usize) -> Pair {
    Pair { floor: converse("converse-stream", size), gateway: completion(size, true) }
}

/// Converse to both.
pub(crate) fn native(operation: &str, size: usize) -> Pair {
    let call = converse(operation, size);
    Pair { floor: call.clone(), gateway: call }
}

/// `InvokeModel` with Anthropic's body to both.
pub(crate) fn invoke(size: usize) -> Pair {
    let call = Call { path: format!("/model/{CLAUDE}/invoke"), body: anthropic(size).to_string().into() };
    Pair { floor: call.clone(), gateway: call }
}

/// `POST /v1/messages` to the gateway, `InvokeModel` to the floor.
pub(crate) fn messages(size: usize) -> Pair {
    Pair { gateway: message(size, false), ..invoke(size) }
}

/// The same, streamed.
pub(crate) fn messages_stream(size: usize) -> Pair {
    let path = format!("/model/{CLAUDE}/invoke-with-response-stream");
    Pair { floor: Call { path, body: anthropic(size).to_string().into() }, gateway: message(size, true) }
}

fn message(size: usize, stream: bool) -> Call {
    let mut body = anthropic(size);
    if let Some(members) = body.as_object_mut() {
        members.remove("anthropic_version");
        members.insert("model".into(), CLAUDE_SHORT_ID.into());
        members.insert("stream".into(), stream.into());
    }
    Call { path: "/v1/messages".into(), body: body.to_string().into() }
}

fn anthropic(size: usize) -> Value {
    let messages: Vec<Value> = (turns(size).into_iter())
        .map(|(role, text)| json!({"role": role, "content": [{"type": "text", "text": text}]}))
        .collect();
    json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 512, "temperature": 0.7,
        "system": SYSTEM, "messages": messages,
    })
}

fn converse(operation: &str, size: usize) -> Call {
    let messages: Vec<Value> =
        turns(size).into_iter().map(|(role, text)| json!({"role": role, "content": [{"text": text}]})).collect();
    let body = json!({
        "messages": messages, "system": [{"text": SYSTEM}],
        "inferenceConfig": {"maxTokens": 512, "temperature": 0.7},
    });
    Call { path: format!("/model/{MODEL}/{operation}"), body: body.to_string().into() }
}

fn completion(size: usize, stream: bool) -> Call {
    let system = json!({"role": "system", "content": SYSTEM});
    let turns = turns(size).into_iter().map(|(role, text)| json!({"role": role, "content": text}));
    let messages: Vec<Value> = std::iter::once(system).chain(turns).collect();
    let mut body = json!({"model": SHORT_ID, "messages": messages, "max_tokens": 512, "temperature": 0.7});
    if stream {
        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
    }
    Call { path: "/v1/chat/completions".into(), body: body.to_string().into() }
}

/// A conversation of about `size` bytes that begins and ends with the user: prose with the quotes, line breaks and
/// letters beyond ASCII that real text has, so that no parser gets off lightly.
fn turns(size: usize) -> Vec<(&'static str, String)> {
    const TURN: usize = 700;
    // The rest is JSON: escapes, the frame of each turn, the system prompt, the settings.
    let prose = (size * 5 / 6).saturating_sub(200).max(TURN);
    let turns = (prose / TURN) | 1;
    (0..turns)
        .map(|turn| {
            let role = if turn % 2 == 0 { "user" } else { "assistant" };
            let mut text = String::new();
            let mut line = 0;
            while text.len() < prose / turns {
                let _ = write!(
                    text,
                    "Line {line} of turn {turn}: \"Größe 42\" is in stock, isn't it?\n\t- naïve café №{turn}\n"
                );
                line += 1;
            }
            (role, text)
        })
        .collect()
}
