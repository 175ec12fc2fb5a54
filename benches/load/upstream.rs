//! The loopback Bedrock: answers that were encoded once, sent as fast or as slowly as the driver asks.
//!
//! It checks no signature and reads no request: what it costs must stay small beside what is measured. How its streams
//! are paced is set over HTTP (`STREAM_PATH`), because the driver's requests reach it through the proxy under test,
//! which may change or drop anything else.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use http::{Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{Result, loopback};

/// `POST` here with a `Pace` sets how the streams that start from now on are sent, and lets held ones end.
pub(crate) const STREAM_PATH: &str = "/_bench/stream";

/// How a stream's frames are sent: one HTTP chunk each, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pace {
    /// Text deltas in one stream; four more frames surround them.
    pub(crate) deltas: usize,
    /// When the next frame follows.
    pub(crate) gap: Gap,
}

/// When a frame follows the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Gap {
    /// At once, after the one before it was written to the socket.
    Flush,
    /// After so many milliseconds.
    Milliseconds(u64),
    /// After the first delta, not before the next `Pace` is set.
    Hold,
}

impl Pace {
    /// Frames in one stream: messageStart, the deltas, contentBlockStop, messageStop, metadata.
    pub(crate) fn frames(self) -> usize {
        self.deltas + 4
    }
}

type Body = Either<Full<Bytes>, StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>>;

struct Upstream {
    converse: Bytes,
    invoke: Bytes,
    /// Of Converse.
    frames: Frames,
    /// Of InvokeModel, as Claude has them.
    chunks: Frames,
    pace: Mutex<Pace>,
    /// Changes with every `Pace`; a held stream waits for that.
    released: watch::Sender<u64>,
}

/// The frames of a stream, encoded once.
#[derive(Clone)]
struct Frames {
    start: Bytes,
    delta: Bytes,
    end: [Bytes; 3],
}

/// Answers until standard input ends.
pub(crate) async fn run() -> Result<()> {
    let text = "A model would have written about this much in a short answer of one paragraph. ".repeat(9);
    let usage = json!({"inputTokens": 250, "outputTokens": 180, "totalTokens": 430});
    let upstream = Arc::new(Upstream {
        converse: to_bytes(&json!({
            "metrics": {"latencyMs": 712},
            "output": {"message": {"content": [{"text": text}], "role": "assistant"}},
            "stopReason": "end_turn",
            "usage": usage,
        })),
        invoke: to_bytes(&json!({
            "id": "msg_bdrk_01", "type": "message", "role": "assistant", "model": "claude",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 250, "output_tokens": 180},
        })),
        frames: Frames {
            start: frame("messageStart", &json!({"p": "abcdefgh", "role": "assistant"}))?,
            delta: frame(
                "contentBlockDelta",
                &json!({"contentBlockIndex": 0, "delta": {"text": " twenty characters.."}, "p": "abcdefghijklmn"}),
            )?,
            end: [
                frame("contentBlockStop", &json!({"contentBlockIndex": 0, "p": "abcd"}))?,
                frame("messageStop", &json!({"p": "abcdefghijkl", "stopReason": "end_turn"}))?,
                frame("metadata", &json!({"metrics": {"latencyMs": 712}, "p": "abcdef", "usage": usage}))?,
            ],
        },
        chunks: Frames {
            start: chunk(&json!({"type": "message_start", "message": {
                "id": "msg_bdrk_01", "type": "message", "role": "assistant", "model": "claude", "content": [],
                "usage": {"input_tokens": 250, "output_tokens": 1},
            }}))?,
            delta: chunk(&json!({
                "type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " twenty characters.."},
            }))?,
            end: [
                chunk(&json!({"type": "content_block_stop", "index": 0}))?,
                chunk(&json!({
                    "type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 180},
                }))?,
                chunk(&json!({"type": "message_stop", "amazon-bedrock-invocationMetrics": {
                    "inputTokenCount": 250, "outputTokenCount": 180, "invocationLatency": 712, "firstByteLatency": 90,
                }}))?,
            ],
        },
        pace: Mutex::new(Pace { deltas: 20, gap: Gap::Flush }),
        released: watch::Sender::new(0),
    });
    loopback::serve(move |request| {
        let upstream = Arc::clone(&upstream);
        async move { upstream.answer(request).await }
    })
    .await
}

impl Upstream {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let Ok(body) = request.into_body().collect().await else {
            return plain(StatusCode::BAD_REQUEST, Bytes::new());
        };
        match path.rsplit('/').next() {
            Some("converse") => plain(StatusCode::OK, self.converse.clone()),
            Some("invoke") => plain(StatusCode::OK, self.invoke.clone()),
            Some("converse-stream") => self.stream(&self.frames),
            Some("invoke-with-response-stream") => self.stream(&self.chunks),
            _ if path == STREAM_PATH => self.set_pace(&body.to_bytes()),
            _ => plain(StatusCode::NOT_FOUND, Bytes::from_static(b"{\"message\":\"no such operation\"}")),
        }
    }

    fn set_pace(&self, body: &[u8]) -> Response<Body> {
        let Ok(pace) = serde_json::from_slice(body) else {
            return plain(StatusCode::BAD_REQUEST, Bytes::new());
        };
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = pace;
        self.released.send_modify(|generation| *generation += 1);
        plain(StatusCode::OK, Bytes::from_static(b"{}"))
    }

    fn stream(&self, frames: &Frames) -> Response<Body> {
        let pace = *self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let mut released = self.released.subscribe();
        released.mark_unchanged();
        let frames = frames.clone();
        let body = unfold((0, released), move |(position, mut released)| {
            let next = frames.at(position, pace);
            async move {
                let next = next?;
                match pace.gap {
                    // Not ready once is what makes hyper write what it has.
                    Gap::Flush => tokio::task::yield_now().await,
                    Gap::Milliseconds(_) if position == 0 => {}
                    Gap::Milliseconds(gap) => tokio::time::sleep(Duration::from_millis(gap)).await,
                    Gap::Hold if position == 2 => drop(released.changed().await),
                    Gap::Hold => {}
                }
                Some((Ok(Frame::data(next)), (position + 1, released)))
            }
        });
        let mut response = Response::new(Either::Right(StreamBody::new(body.boxed())));
        let kind = header::HeaderValue::from_static("application/vnd.amazon.eventstream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

impl Frames {
    fn at(&self, position: usize, pace: Pace) -> Option<Bytes> {
        match position {
            0 => Some(self.start.clone()),
            _ if position <= pace.deltas => Some(self.delta.clone()),
            _ => self.end.get(position - pace.deltas - 1).cloned(),
        }
    }
}

fn plain(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn to_bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// A frame with an event of the model's own, padded as AWS does.
fn chunk(event: &Value) -> Result<Bytes> {
    frame("chunk", &json!({"bytes": STANDARD.encode(event.to_string()), "p": "abcdefghijklmn"}))
}

fn frame(event: &'static str, payload: &Value) -> Result<Bytes> {
    let message = Message::new(to_bytes(payload))
        .add_header(Header::new(":event-type", HeaderValue::String(event.into())))
        .add_header(Header::new(":content-type", HeaderValue::String("application/json".into())))
        .add_header(Header::new(":message-type", HeaderValue::String("event".into())));
    let mut encoded = Vec::new();
    write_message_to(&message, &mut encoded)?;
    Ok(encoded.into())
}
