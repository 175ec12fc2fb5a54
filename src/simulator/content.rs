//! What the models of the simulator say: always the same answer to the same prompt, in every dialect.
//!
//! The answer quotes the last user turn (`You said: ...`) or the tool results in it (`The tool said: ...`), or is a JSON
//! document when a schema is asked for. A tool is called when the choice forces one, or when the last user text names it.
//! Directives within the last user text, taken out before it is quoted:
//!
//! | directive | effect |
//! |---|---|
//! | `[[words:N]]` | N filler words follow the text, some of them not ASCII |
//! | `[[tool]]`, `[[tools:N]]` | calls the first tool; N tools in parallel, in their order |
//! | `[[stop:REASON]]` | the answer ends with this Converse stop reason (`content_filtered`, ...) |
//! | `[[redacted]]` | what the model thinks, if it does, comes redacted (Claude) |
//! | `[[blocked]]` | a guardrail, if one is configured, intervenes (see `guardrail`) |

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{schema, tokens};

const FILLER: [&str; 12] =
    ["alpha", "bravo", "charlie", "délta", "echo", "日本語", "golf", "hotel", "naïve", "juliett", "😀", "lima"];

/// A tool that the caller offers.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) schema: Value,
}

/// Which tools the model may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    #[default]
    Auto,
    Any,
    Named(String),
    Off,
}

/// A request, whatever dialect it came in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prompt {
    /// The text of the last user turn.
    pub(crate) question: String,
    /// Tool results in the last user turn, as text.
    pub(crate) tool_results: Vec<String>,
    pub(crate) images: usize,
    pub(crate) documents: usize,
    pub(crate) tools: Vec<Tool>,
    pub(crate) choice: Choice,
    pub(crate) one_call: bool,
    pub(crate) schema: Option<Value>,
    pub(crate) thinks: bool,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stop_sequences: Vec<String>,
    /// Varies the ids in the answer.
    pub(crate) seed: u64,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Block {
    Reasoning {
        text: String,
        signature: String,
    },
    /// Thinking that only the model may read.
    Redacted {
        data: String,
    },
    Text(String),
    Tool {
        id: String,
        name: String,
        input: Value,
    },
}

/// An answer, whatever dialect it leaves in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) blocks: Vec<Block>,
    /// As Converse names it.
    pub(crate) stop_reason: String,
    pub(crate) stop_sequence: Option<String>,
    pub(crate) output_tokens: u64,
}

/// The answer to `prompt`.
pub(crate) fn answer(prompt: &Prompt) -> Answer {
    let directives = Directives::read(&prompt.question);
    let mut blocks = Vec::new();
    if prompt.thinks {
        let text = format!("The user wrote {} tokens; a short answer is enough.", tokens::count(&directives.text));
        blocks.push(if directives.redacts {
            Block::Redacted { data: redacted(&text) }
        } else {
            Block::Reasoning { signature: signature(&text), text }
        });
    }
    let calls = calls(prompt, &directives);
    let mut stop_reason = if calls.is_empty() { "end_turn" } else { "tool_use" }.to_owned();
    if calls.is_empty() {
        blocks.push(Block::Text(text(prompt, &directives)));
    } else if prompt.choice == Choice::Auto {
        blocks.push(Block::Text(format!("I will call {}.", calls[0].name)));
    }
    blocks.extend(calls.iter().enumerate().map(|(index, tool)| Block::Tool {
        id: identifier("tooluse_", prompt.seed, index),
        name: tool.name.clone(),
        input: schema::sample(&tool.schema, hint(&directives.text)),
    }));
    if let Some(reason) = directives.stop {
        stop_reason = reason;
    }
    let mut answer = Answer { blocks, stop_reason, stop_sequence: None, output_tokens: 0 };
    stop_at_sequence(&mut answer, &prompt.stop_sequences);
    limit(&mut answer, prompt.max_tokens.unwrap_or(u64::MAX));
    answer
}

/// The signature of reasoning `text`; only the simulator can make it, and it knows it again.
pub(crate) fn signature(text: &str) -> String {
    BASE64_STANDARD.encode(Sha256::digest(format!("simulator reasoning: {text}")))
}

/// Redacted reasoning: opaque, but known again by [`is_redacted`].
fn redacted(text: &str) -> String {
    let nonce = signature(text);
    BASE64_STANDARD.encode(format!("{nonce}.{}", signature(&nonce)))
}

/// Whether the simulator redacted this.
pub(crate) fn is_redacted(data: &str) -> bool {
    let bytes = BASE64_STANDARD.decode(data).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.as_deref().and_then(|text| text.split_once('.')).is_some_and(|(nonce, seal)| seal == signature(nonce))
}

/// An id in the style of AWS (`tooluse_` and 22 letters) that depends on the prompt and `index`.
pub(crate) fn identifier(prefix: &str, seed: u64, index: usize) -> String {
    let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{prefix}{seed}:{index}")));
    let letters: String = hash.chars().filter(char::is_ascii_alphanumeric).take(22).collect();
    format!("{prefix}{letters}")
}

/// The pieces in which a stream sends `text`, with the tokens of each.
pub(crate) fn text_deltas(text: &str) -> Vec<(String, u64)> {
    let mut deltas: Vec<(String, u64)> = Vec::new();
    let (mut current, mut held) = (String::new(), 0_u64);
    for piece in tokens::pieces(text) {
        current.push_str(piece);
        held += 1;
        if held > deltas.len() as u64 * 3 % 5 {
            deltas.push((std::mem::take(&mut current), std::mem::take(&mut held)));
        }
    }
    if held > 0 {
        deltas.push((current, held));
    }
    deltas
}

/// The pieces in which a stream sends the JSON of a tool's input: an empty one first, then cut anywhere between characters,
/// also within escapes.
pub(crate) fn json_deltas(input: &Value) -> Vec<String> {
    let text = input.to_string();
    let mut deltas = vec![String::new()];
    let mut rest = text.chars().peekable();
    while rest.peek().is_some() {
        let length = 1 + deltas.len() * 5 % 9;
        deltas.push(rest.by_ref().take(length).collect());
    }
    deltas
}

/// What a block costs.
pub(crate) fn block_tokens(block: &Block) -> u64 {
    match block {
        Block::Reasoning { text, .. } | Block::Text(text) => tokens::count(text),
        Block::Redacted { data } => tokens::count(data),
        Block::Tool { name, input, .. } => tokens::count(name) + tokens::count(&input.to_string()),
    }
}

#[derive(Default)]
struct Directives {
    text: String,
    words: usize,
    tools: usize,
    redacts: bool,
    stop: Option<String>,
}

impl Directives {
    fn read(question: &str) -> Self {
        let mut directives = Self::default();
        let mut rest = question;
        while let Some((before, after)) = rest.split_once("[[") {
            let Some((inside, tail)) = after.split_once("]]") else { break };
            directives.text.push_str(before);
            let (name, value) = inside.split_once(':').unwrap_or((inside, ""));
            match name {
                "words" => directives.words = value.parse().unwrap_or(0).min(1_000_000),
                "tool" => directives.tools = 1,
                "tools" => directives.tools = value.parse().unwrap_or(1),
                "stop" => directives.stop = Some(value.to_owned()),
                "redacted" => directives.redacts = true,
                "blocked" => {}
                _ => directives.text.extend(["[[", inside, "]]"]),
            }
            rest = tail;
        }
        directives.text.push_str(rest);
        directives.text = directives.text.trim().to_owned();
        directives
    }
}

fn calls<'a>(prompt: &'a Prompt, directives: &Directives) -> Vec<&'a Tool> {
    let most = if prompt.one_call { 1 } else { directives.tools.max(1) };
    let first =
        |count: usize| prompt.tools.iter().cycle().take(if prompt.tools.is_empty() { 0 } else { count }).collect();
    match &prompt.choice {
        Choice::Off => Vec::new(),
        Choice::Any => first(most),
        Choice::Named(name) => prompt.tools.iter().filter(|tool| tool.name == *name).take(1).collect(),
        Choice::Auto if !prompt.tool_results.is_empty() => Vec::new(),
        Choice::Auto if directives.tools > 0 => first(most),
        Choice::Auto => prompt.tools.iter().filter(|tool| directives.text.contains(&tool.name)).take(1).collect(),
    }
}

fn text(prompt: &Prompt, directives: &Directives) -> String {
    if let Some(schema) = &prompt.schema {
        return schema::sample(schema, hint(&directives.text)).to_string();
    }
    let mut text = if prompt.tool_results.is_empty() {
        format!("You said: {}", directives.text)
    } else {
        format!("The tool said: {}", prompt.tool_results.join("; "))
    };
    if prompt.images + prompt.documents > 0 {
        let _ = write!(text, " ({} images, {} documents)", prompt.images, prompt.documents);
    }
    for word in FILLER.iter().cycle().take(directives.words) {
        text.push(' ');
        text.push_str(word);
    }
    text
}

/// What free strings of a schema are filled with: the start of the user's text.
fn hint(text: &str) -> &str {
    let end = text.char_indices().nth(40).map_or(text.len(), |(at, _)| at);
    if end == 0 { "sample" } else { &text[..end] }
}

fn stop_at_sequence(answer: &mut Answer, sequences: &[String]) {
    for (index, block) in answer.blocks.iter_mut().enumerate() {
        let Block::Text(text) = block else { continue };
        let found = sequences.iter().filter_map(|sequence| Some((text.find(sequence.as_str())?, sequence))).min();
        let Some((at, sequence)) = found else { continue };
        text.truncate(at);
        let keep = if text.is_empty() { index } else { index + 1 };
        answer.blocks.truncate(keep);
        "stop_sequence".clone_into(&mut answer.stop_reason);
        answer.stop_sequence = Some(sequence.clone());
        return;
    }
}

fn limit(answer: &mut Answer, limit: u64) {
    for index in 0..answer.blocks.len() {
        let cost = block_tokens(&answer.blocks[index]);
        let left = limit - answer.output_tokens;
        if cost <= left {
            answer.output_tokens += cost;
            continue;
        }
        let keep = match &mut answer.blocks[index] {
            Block::Text(text) | Block::Reasoning { text, .. } if left > 0 => {
                *text = tokens::truncate(text, left).0.to_owned();
                answer.output_tokens = limit;
                index + 1
            }
            _ => index,
        };
        answer.blocks.truncate(keep);
        "max_tokens".clone_into(&mut answer.stop_reason);
        answer.stop_sequence = None;
        return;
    }
    answer.output_tokens = answer.output_tokens.max(1);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(question: &str) -> Prompt {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        let tool = |name: &str| Tool { name: name.to_owned(), schema: schema.clone() };
        Prompt { question: question.to_owned(), tools: vec![tool("weather"), tool("clock")], ..Prompt::default() }
    }

    fn names(answer: &Answer) -> Vec<&str> {
        answer
            .blocks
            .iter()
            .filter_map(|block| if let Block::Tool { name, .. } = block { Some(name.as_str()) } else { None })
            .collect()
    }

    #[test]
    fn tools_are_called_when_named_forced_or_directed() {
        assert_eq!(names(&answer(&asked("hello"))), [""; 0]);
        assert_eq!(names(&answer(&asked("what clock is it"))), ["clock"]);
        assert_eq!(names(&answer(&asked("[[tools:3]] go"))), ["weather", "clock", "weather"]);
        assert_eq!(names(&answer(&Prompt { one_call: true, ..asked("[[tools:3]]") })), ["weather"]);
        assert_eq!(names(&answer(&Prompt { choice: Choice::Named("clock".to_owned()), ..asked("hi") })), ["clock"]);
        assert_eq!(names(&answer(&Prompt { tool_results: vec!["5".to_owned()], ..asked("weather") })), [""; 0]);
    }

    #[test]
    fn limits_and_stop_sequences_end_the_text() {
        let short = answer(&Prompt { max_tokens: Some(2), ..asked("hello there") });
        assert_eq!(
            (short.blocks, short.stop_reason.as_str(), short.output_tokens),
            (vec![Block::Text("You said".to_owned())], "max_tokens", 2)
        );
        let stopped = answer(&Prompt { stop_sequences: vec!["b".to_owned(), "c d".to_owned()], ..asked("a c d b") });
        assert_eq!(stopped.blocks, [Block::Text("You said: a ".to_owned())]);
        assert_eq!((stopped.stop_reason.as_str(), stopped.stop_sequence.as_deref()), ("stop_sequence", Some("c d")));
    }

    #[test]
    fn deltas_join_to_what_is_said() {
        let said = answer(&asked("hi [[words:40]]"));
        let Block::Text(text) = &said.blocks[0] else { panic!("text") };
        let deltas = text_deltas(text);
        assert_eq!(deltas.iter().map(|(text, _)| text.as_str()).collect::<String>(), *text);
        assert_eq!(deltas.iter().map(|(_, tokens)| tokens).sum::<u64>(), said.output_tokens);
        let input = json!({"quoted": "a \"b\"\n é 😀"});
        assert_eq!(json_deltas(&input).concat(), input.to_string());
    }
}
