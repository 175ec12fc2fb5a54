//! What a stream is made of, in the order `messageStart`, per block (`contentBlockStart`, `contentBlockDelta`...,
//! `contentBlockStop`), `messageStop`, `metadata`. Usage comes last, after the stop reason. Text and reasoning blocks
//! usually come without a `contentBlockStart`.

use serde::Deserialize;
use serde_json::Value;

use super::{Metrics, Role, StopReason, ToolUseStart, Usage};

/// One event of a ConverseStream answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The answer begins.
    MessageStart(Role),
    /// A block begins.
    BlockStart {
        /// Which block.
        index: u32,
        /// What kind of block.
        start: BlockStart,
    },
    /// A block goes on.
    BlockDelta {
        /// Which block.
        index: u32,
        /// What it gained.
        delta: Delta,
    },
    /// A block ends.
    BlockStop {
        /// Which block.
        index: u32,
    },
    /// The answer ends.
    MessageStop {
        /// Why.
        stop_reason: StopReason,
        /// The fields asked for by `additionalModelResponseFieldPaths`.
        additional: Option<Value>,
    },
    /// The last event: what the answer used.
    Metadata {
        /// Tokens by class.
        usage: Usage,
        /// How long it took.
        metrics: Option<Metrics>,
        /// The tier that really served, `{"type": ...}`.
        service_tier: Option<Value>,
    },
    /// A kind this version does not know; to be passed over.
    Unknown,
}

/// What kind of block begins.
#[derive(Clone, Debug, PartialEq)]
pub enum BlockStart {
    /// A tool call.
    ToolUse(ToolUseStart),
    /// Any other kind, whole.
    Other(Value),
}

/// What a block gained.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// Text.
    Text(String),
    /// A piece of the JSON text of a tool's arguments.
    ToolInput(String),
    /// Readable reasoning.
    Reasoning(String),
    /// The signature of the reasoning.
    Signature(String),
    /// Encrypted reasoning: base64.
    Redacted(String),
    /// Any other kind, whole.
    Other(Value),
}

impl Event {
    /// Reads the payload of a frame whose `:event-type` is `kind`. Unknown fields, such as the padding `p`, are
    /// ignored; an unknown kind is [`Event::Unknown`].
    pub fn parse(kind: &str, payload: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            "contentBlockDelta" => {
                let wire: wire::BlockDelta = serde_json::from_slice(payload)?;
                let delta = match wire.delta.known() {
                    Some(delta) => delta,
                    None => Delta::Other(serde_json::from_slice::<wire::OtherDelta>(payload)?.delta),
                };
                Self::BlockDelta { index: wire.content_block_index, delta }
            }
            "messageStart" => Self::MessageStart(serde_json::from_slice::<wire::MessageStart>(payload)?.role),
            "contentBlockStart" => {
                let wire: wire::BlockStart = serde_json::from_slice(payload)?;
                let start = match wire.start {
                    wire::Start::ToolUse(tool) => BlockStart::ToolUse(tool),
                    wire::Start::Other(value) => BlockStart::Other(value),
                };
                Self::BlockStart { index: wire.content_block_index, start }
            }
            "contentBlockStop" => {
                Self::BlockStop { index: serde_json::from_slice::<wire::BlockStop>(payload)?.content_block_index }
            }
            "messageStop" => {
                let wire: wire::MessageStop = serde_json::from_slice(payload)?;
                Self::MessageStop { stop_reason: wire.stop_reason, additional: wire.additional_model_response_fields }
            }
            "metadata" => {
                let wire: wire::Metadata = serde_json::from_slice(payload)?;
                Self::Metadata { usage: wire.usage, metrics: wire.metrics, service_tier: wire.service_tier }
            }
            _ => Self::Unknown,
        })
    }
}

/// The payloads as they are on the wire.
mod wire {
    use super::{Delta as Canonical, Deserialize, Metrics, Role, StopReason, ToolUseStart, Usage, Value};

    #[derive(Deserialize)]
    pub(super) struct MessageStart {
        pub(super) role: Role,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct BlockStart {
        pub(super) content_block_index: u32,
        pub(super) start: Start,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) enum Start {
        ToolUse(ToolUseStart),
        #[serde(untagged)]
        Other(Value),
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct BlockDelta {
        pub(super) content_block_index: u32,
        pub(super) delta: Delta,
    }

    /// A union on the wire; read as a struct, because that needs no look-ahead on the path of every token.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Delta {
        text: Option<String>,
        tool_use: Option<ToolInput>,
        reasoning_content: Option<Reasoning>,
    }

    /// The second look at a delta that is none of the known kinds.
    #[derive(Deserialize)]
    pub(super) struct OtherDelta {
        pub(super) delta: Value,
    }

    #[derive(Deserialize)]
    struct ToolInput {
        #[serde(default)]
        input: String,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Reasoning {
        text: Option<String>,
        signature: Option<String>,
        redacted_content: Option<String>,
    }

    impl Delta {
        pub(super) fn known(self) -> Option<Canonical> {
            if let Some(text) = self.text {
                return Some(Canonical::Text(text));
            }
            if let Some(tool) = self.tool_use {
                return Some(Canonical::ToolInput(tool.input));
            }
            let reasoning = self.reasoning_content?;
            let text = reasoning.text.map(Canonical::Reasoning);
            text.or(reasoning.signature.map(Canonical::Signature))
                .or(reasoning.redacted_content.map(Canonical::Redacted))
        }
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct BlockStop {
        pub(super) content_block_index: u32,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct MessageStop {
        pub(super) stop_reason: StopReason,
        pub(super) additional_model_response_fields: Option<Value>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Metadata {
        pub(super) usage: Usage,
        pub(super) metrics: Option<Metrics>,
        pub(super) service_tier: Option<Value>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_read_whatever_padding_comes_with_it() {
        let payload = br#"{"contentBlockIndex":1,"delta":{"text":"hi"},"p":"abcdefgh"}"#;
        let event = Event::parse("contentBlockDelta", payload).unwrap();
        assert_eq!(event, Event::BlockDelta { index: 1, delta: Delta::Text("hi".into()) });
    }

    #[test]
    fn unknown_kinds_of_event_and_delta_are_kept_apart_from_errors() {
        assert_eq!(Event::parse("somethingNew", b"{}").unwrap(), Event::Unknown);
        let event = Event::parse("contentBlockDelta", br#"{"contentBlockIndex":0,"delta":{"hologram":{"x":1}}}"#);
        let delta = Delta::Other(serde_json::json!({"hologram": {"x": 1}}));
        assert_eq!(event.unwrap(), Event::BlockDelta { index: 0, delta });
        assert!(Event::parse("messageStop", b"{").is_err());
    }

    #[test]
    fn an_unknown_stop_reason_is_no_error() {
        let event = Event::parse("messageStop", br#"{"stopReason":"bored"}"#).unwrap();
        assert_eq!(event, Event::MessageStop { stop_reason: StopReason::Unknown, additional: None });
    }
}
