//! The frames of a streamed answer, whichever way they come: AWS's binary event stream is split, read and made in
//! `binary.rs`, the server-sent events of the runtime's OpenAI and Anthropic paths are split in `sse.rs`. A frame keeps the
//! very bytes that came, so that the Bedrock surface forwards them untouched.

mod binary;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::Incoming;

pub use binary::{Splitter, encode, event, exception};

use super::classify::Failure;
use super::sse;
use super::wire::Pieces;

/// AWS's own limit is 16 MB of payload and 128 KB of headers.
pub(super) const MAX_FRAME: usize = 16 * 1024 * 1024 + 128 * 1024;

/// One unit of an event stream.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The whole frame as it came; of a binary one both checksums are verified.
    pub raw: Bytes,
    /// What it is.
    pub kind: FrameKind,
    /// Its content, JSON for every operation served here.
    pub payload: Bytes,
}

/// What a frame is: by its `:message-type`, or the `event:` of a server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// An event by its `:event-type`, such as `contentBlockDelta`; a server-sent one by its name, `data` if it has none, or
    /// `done` for OpenAI's `[DONE]`.
    Event(Name),
    /// An exception of the service by its `:exception-type`, such as `throttlingException`. Ends the stream.
    Exception(Name),
    /// An error below the service. Ends the stream.
    Error {
        /// `:error-code`
        code: Name,
        /// `:error-message`
        message: Name,
    },
}

/// A text inside a frame, not copied.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Name(Bytes);

impl Name {
    pub(super) fn new(text: Bytes) -> Self {
        Self(text)
    }

    /// The text; empty where it is not UTF-8.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
impl From<&'static str> for Name {
    fn from(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Frame {
    /// What went wrong, if this frame says that something did: classified like an answer with an error status.
    pub fn failure(&self) -> Option<Failure> {
        match &self.kind {
            FrameKind::Event(_) => None,
            FrameKind::Exception(name) => Some(Failure::from_stream(name.as_str(), &self.payload)),
            FrameKind::Error { code, message } => Some(Failure::from_exception(0, code.as_str(), message.as_str())),
        }
    }
}

/// Why bytes are no event stream.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(super) &'static str);

/// How the bytes of a stream are cut into frames.
enum Cut {
    /// AWS's binary frames.
    Binary(Splitter),
    /// Server-sent events.
    Sse(sse::Splitter),
}

impl Cut {
    fn push(&mut self, piece: Bytes) {
        match self {
            Self::Binary(splitter) => splitter.push(piece),
            Self::Sse(splitter) => splitter.push(&piece),
        }
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, Malformed> {
        match self {
            Self::Binary(splitter) => splitter.next_frame(),
            Self::Sse(splitter) => splitter.next_frame(),
        }
    }

    fn is_within_frame(&self) -> bool {
        match self {
            Self::Binary(splitter) => splitter.is_within_frame(),
            Self::Sse(splitter) => splitter.is_within_frame(),
        }
    }
}

/// The frames of an open stream. Dropping it closes the connection, which is how a call is cancelled at AWS.
///
/// A broken frame, a stream that ends inside a frame and silence longer than the idle timeout are failures; after one
/// the stream is over. Exceptions are frames like any other: see [`Frame::failure`].
pub struct Frames {
    pieces: Option<Pieces<Incoming>>,
    cut: Cut,
    peeked: Option<Frame>,
}

impl Frames {
    /// Of AWS's binary event stream.
    pub(super) fn binary(pieces: Pieces<Incoming>) -> Self {
        Self { pieces: Some(pieces), cut: Cut::Binary(Splitter::default()), peeked: None }
    }

    /// Of server-sent events.
    pub(super) fn sse(pieces: Pieces<Incoming>) -> Self {
        Self { pieces: Some(pieces), cut: Cut::Sse(sse::Splitter::default()), peeked: None }
    }

    /// Gives back a frame that was only looked at: it is the next to come.
    pub(super) fn put_back(&mut self, frame: Frame) {
        self.peeked = Some(frame);
    }

    fn end(&mut self, failure: Option<Failure>) -> Poll<Option<Result<Frame, Failure>>> {
        self.pieces = None;
        Poll::Ready(failure.map(Err))
    }
}

impl Stream for Frames {
    type Item = Result<Frame, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(frame) = self.peeked.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        loop {
            match self.cut.next_frame() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) => {}
                Err(malformed) => return self.end(Some(Failure::cut(malformed))),
            }
            let Some(pieces) = &mut self.pieces else { return Poll::Ready(None) };
            match ready!(pieces.poll(cx)) {
                Some(Ok(piece)) => self.cut.push(piece),
                Some(Err(broken)) => return self.end(Some(broken.into())),
                None if self.cut.is_within_frame() => {
                    return self.end(Some(Failure::cut(Malformed("the stream ended inside a frame"))));
                }
                None => return self.end(None),
            }
        }
    }
}
