//! What an operation answers, before it is HTTP: a JSON body or the messages of a stream, and the tokens they cost.

use super::calls::Tokens;
use super::frames::Item;
use super::prompt_cache::Input;

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) payload: Payload,
    pub(crate) tokens: Tokens,
}

#[derive(Debug)]
pub(crate) enum Payload {
    Json(String),
    /// A document of STS or IAM.
    Xml(String),
    Events(Vec<Item>),
}

impl Reply {
    /// A JSON body that costs nothing.
    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self { headers: Vec::new(), payload: Payload::Json(body.to_string()), tokens: Tokens::default() }
    }

    /// An XML document.
    pub(crate) const fn xml(document: String) -> Self {
        Self { headers: Vec::new(), payload: Payload::Xml(document), tokens: Tokens::NONE }
    }

    /// An event stream; output tokens are counted as its messages leave.
    pub(crate) fn events(items: Vec<Item>) -> Self {
        Self { headers: Vec::new(), payload: Payload::Events(items), tokens: Tokens::default() }
    }

    /// With the tokens it cost.
    pub(crate) fn costing(self, input: &Input, output: u64) -> Self {
        Self {
            tokens: Tokens { input: input.fresh, output, cache_read: input.read, cache_write: input.written },
            ..self
        }
    }
}

/// The milliseconds that an answer claims to have taken.
pub(crate) const fn latency(output_tokens: u64) -> u64 {
    120 + 7 * output_tokens
}
