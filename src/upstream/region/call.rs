//! What is sent to a model and what comes back, whichever Region it is: the operations of the runtime and where they are.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// An operation of the runtime on a model.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `POST /model/{id}/converse`
    Converse,
    /// `POST /model/{id}/converse-stream`
    ConverseStream,
    /// `POST /model/{id}/invoke`
    InvokeModel,
    /// `POST /model/{id}/invoke-with-response-stream`
    InvokeModelWithResponseStream,
    /// `POST /model/{id}/count-tokens`; free of charge
    CountTokens,
    /// `POST /anthropic/v1/messages`; streams server-sent events if its body says `stream`
    Messages,
    /// `POST /openai/v1/chat/completions`; likewise
    ChatCompletions,
    /// `POST /openai/v1/responses`; likewise
    Responses,
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The last segment of a path that names the model.
    OfModel(&'static str),
    /// A path of its own: the body names the model.
    Fixed(&'static str),
}

impl Operation {
    pub(super) const fn place(self) -> Place {
        match self {
            Self::Converse => Place::OfModel("converse"),
            Self::ConverseStream => Place::OfModel("converse-stream"),
            Self::InvokeModel => Place::OfModel("invoke"),
            Self::InvokeModelWithResponseStream => Place::OfModel("invoke-with-response-stream"),
            Self::CountTokens => Place::OfModel("count-tokens"),
            Self::Messages => Place::Fixed("/anthropic/v1/messages"),
            Self::ChatCompletions => Place::Fixed("/openai/v1/chat/completions"),
            Self::Responses => Place::Fixed("/openai/v1/responses"),
        }
    }

    /// Whether a streamed answer comes as server-sent events.
    pub(super) const fn streams_sse(self) -> bool {
        matches!(self.place(), Place::Fixed(_))
    }
}

/// What is sent, whichever candidate it is sent to.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which operation.
    pub operation: Operation,
    /// Sent and signed: `accept`, `x-amzn-bedrock-*`. `content-type` is JSON where it is missing. Not `host`, not
    /// `authorization`, nothing hop by hop.
    pub headers: HeaderMap,
    /// The JSON, as it goes to AWS; without `model` where the operation names the model in the body: each candidate adds
    /// its own.
    pub body: Bytes,
}

/// The whole answer of a unary operation.
#[derive(Clone, Debug)]
pub struct Reply {
    /// A success.
    pub status: StatusCode,
    /// As AWS sent them.
    pub headers: HeaderMap,
    /// The bytes AWS sent.
    pub body: Bytes,
}
