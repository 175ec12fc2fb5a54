//! A native stream on its way to the client: the events are Bedrock's own and pass byte for byte, but for the state of the
//! response in those that carry one.

use std::future::ready;
use std::task::{Context, Poll, ready as ready_or_wait};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::state::Keeping;
use super::super::translate::{failure, tell_error};
use super::answer::{Keeper, State};
use crate::api::openai::error::status_and_body;
use crate::api::sse;
use crate::error::{Error, Result};
use crate::gateway::{FrameStream, Trail};
use crate::splice::{Edits, Members};
use crate::upstream::{Frame, FrameKind};

/// What a frame is to the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It tells how the response is, which goes on.
    Begun,
    /// An item of it is whole.
    ItemDone,
    /// It is over, and can be gone on from.
    Done,
    /// It is over, and nothing can be gone on from.
    Failed,
    /// Anything else.
    Other,
}

impl Step {
    fn of(frame: &Frame) -> Self {
        let FrameKind::Event(name) = &frame.kind else { return Self::Other };
        match name.as_str() {
            "response.created" | "response.in_progress" | "response.queued" => Self::Begun,
            "response.output_item.done" => Self::ItemDone,
            "response.completed" | "response.incomplete" => Self::Done,
            "response.failed" | "response.cancelled" => Self::Failed,
            _ => Self::Other,
        }
    }
}

/// The frames up to the end of the response. How the connection ends behind it is nobody's concern.
pub(super) fn to_its_end(frames: FrameStream) -> impl Stream<Item = Result<Frame>> + Send + Unpin {
    frames.scan(false, |is_over, item| {
        let item = match item {
            Err(_) if *is_over => None,
            item => Some(item),
        };
        *is_over |= matches!(&item, Some(Ok(frame)) if matches!(Step::of(frame), Step::Done | Step::Failed));
        ready(item)
    })
}

/// Writes the server-sent events of one native answer, and keeps it before the last one is written: who reads that one
/// may go on from it.
pub(super) struct Writer {
    trail: Trail,
    state: State,
    keeper: Option<Keeper>,
    /// For the end of a stream that breaks: the last event that told of the response, the events of items that are whole,
    /// and the last event of all.
    begun: Bytes,
    items: Vec<Bytes>,
    last: Bytes,
    ending: Ending,
}

enum Ending {
    /// The answer goes on.
    Ahead,
    /// All is written but the last event.
    Keeping { keeping: Keeping<bool>, last: Frame },
    /// All is written.
    Over,
}

impl Writer {
    /// For a response in this state, as long as the keeper does not say otherwise.
    pub(super) fn new(trail: Trail, state: State, keeper: Option<Keeper>) -> Self {
        let (begun, items, last) = (Bytes::new(), Vec::new(), Bytes::new());
        Self { trail, state, keeper, begun, items, last, ending: Ending::Ahead }
    }

    /// Appends an event that carries the response.
    fn tell(&self, frame: &Frame, out: &mut BytesMut) {
        let (FrameKind::Event(name), Some(event)) = (&frame.kind, self.state.put_right_event(&frame.payload)) else {
            out.extend_from_slice(&frame.raw);
            return;
        };
        write(name.as_str(), &event, out);
    }

    /// The response as far as it came, failed.
    fn failed(&self, error: &Error, message: String) -> Option<Box<RawValue>> {
        #[derive(Deserialize)]
        struct Done<'a> {
            #[serde(borrow)]
            item: &'a RawValue,
        }
        let event = Members::read(&self.begun).ok()?;
        let response = event.value("response")?;
        let members = Members::of(response).ok()?;
        let items = self.items.iter().filter_map(|event| serde_json::from_slice::<Done<'_>>(event).ok());
        let output: Vec<&str> = items.map(|done| done.item.get()).collect();
        let failure = serde_json::to_string(&failure(error.kind(), message)).ok()?;
        let mut edits = Edits::new(response.get().as_bytes());
        for (key, value) in
            [("status", "\"failed\"".to_owned()), ("error", failure), ("output", format!("[{}]", output.join(",")))]
        {
            match members.value(key) {
                Some(old) => edits.replace(old, value),
                None => edits.add(key, &value),
            }
        }
        self.state.edit(&members, &mut edits);
        RawValue::from_string(String::from_utf8(edits.apply().into()).ok()?).ok()
    }

    /// The number of the next event.
    fn next_number(&self) -> u64 {
        #[derive(Deserialize)]
        struct Numbered {
            sequence_number: u64,
        }
        serde_json::from_slice::<Numbered>(&self.last).map_or(0, |last| last.sequence_number + 1)
    }
}

impl sse::Render for Writer {
    type Item = Frame;

    fn event(&mut self, frame: Frame, out: &mut BytesMut) -> Result<()> {
        if !matches!(self.ending, Ending::Ahead) {
            // Nothing of the response can follow its end.
            return Ok(());
        }
        if let Some(failure) = frame.failure() {
            return Err(failure.error);
        }
        self.last = frame.payload.clone();
        match Step::of(&frame) {
            Step::Begun => {
                self.begun = frame.payload.clone();
                self.tell(&frame, out);
            }
            Step::Done if self.keeper.is_some() => {
                if let Some(keeper) = self.keeper.take() {
                    self.ending = Ending::Keeping { keeping: keeper.keep(response(&frame.payload)), last: frame };
                }
            }
            Step::Done | Step::Failed => {
                self.state.store = false;
                self.tell(&frame, out);
                self.ending = Ending::Over;
            }
            Step::ItemDone => {
                // A copy: the frame is a piece of what was read with it.
                self.items.push(Bytes::copy_from_slice(&frame.payload));
                out.extend_from_slice(&frame.raw);
            }
            Step::Other => out.extend_from_slice(&frame.raw),
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut BytesMut) {
        // The last frame was the end.
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<()> {
        if let Ending::Keeping { keeping, .. } = &mut self.ending {
            self.state.store = ready_or_wait!(keeping.as_mut().poll(cx));
        }
        if let Ending::Keeping { last, .. } = std::mem::replace(&mut self.ending, Ending::Over) {
            self.tell(&last, out);
        }
        Poll::Ready(())
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        #[derive(Serialize)]
        struct Failed<'a> {
            #[serde(rename = "type")]
            kind: &'static str,
            response: &'a RawValue,
            sequence_number: u64,
        }
        self.state.store = false;
        let said = status_and_body(error, self.trail.id().as_str()).1.error;
        let mut sequence_number = self.next_number();
        tell_error(&said, &mut sequence_number, out);
        let Some(response) = self.failed(error, said.message) else { return };
        let kind = "response.failed";
        if let Ok(event) = serde_json::to_vec(&Failed { kind, response: &response, sequence_number }) {
            write(kind, &event, out);
        }
    }
}

/// The response that an event carries; nothing, if it carries none.
fn response(event: &[u8]) -> &[u8] {
    #[derive(Deserialize)]
    struct Carrying<'a> {
        #[serde(borrow)]
        response: &'a RawValue,
    }
    serde_json::from_slice::<Carrying<'_>>(event).map_or(&[], |carrying| carrying.response.get().as_bytes())
}

/// Appends an event.
fn write(name: &str, event: &[u8], out: &mut BytesMut) {
    out.reserve(event.len() + name.len() + 24);
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    for line in event.split(|byte| *byte == b'\n') {
        out.put_slice(b"\ndata: ");
        out.put_slice(line);
    }
    out.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use serde_json::{Value, json};

    use super::*;
    use crate::api::sse::Render as _;
    use crate::clock::Clock;
    use crate::config;
    use crate::ids::RequestId;
    use crate::responses::Responses;
    use crate::store::testing::{self, TestStore};

    fn frame(name: &'static str, status: &str) -> Frame {
        let response = json!({"id": "resp_1", "status": status, "store": false, "output": [{"id": "msg_1"}]});
        let payload = json!({"type": name, "sequence_number": 0, "response": response}).to_string();
        let raw = format!("event: {name}\ndata: {payload}\n\n").into();
        Frame { raw, kind: FrameKind::Event(name.into()), payload: payload.into() }
    }

    fn responses(store: &TestStore) -> Responses {
        Responses::new((**store).clone(), Clock::system(), &config::Responses::default(), 1000)
    }

    /// What is written of these events, and of the end of the stream, for a response that is to be kept.
    async fn written(responses: &Responses, frames: Vec<Frame>) -> Vec<Value> {
        let keeper = Keeper {
            responses: responses.clone(),
            team: "team".into(),
            previous: None,
            model: "m".into(),
            input: Vec::new(),
        };
        let state = State { store: true, previous: None };
        let mut writer = Writer::new(Trail::new(RequestId::from("req_1")), state, Some(keeper));
        let mut out = BytesMut::new();
        for frame in frames {
            writer.event(frame, &mut out).unwrap();
        }
        poll_fn(|cx| writer.poll_finish(cx, &mut out)).await;
        let text = String::from_utf8(out.to_vec()).unwrap();
        let data = |event: &str| serde_json::from_str(event.split_once("\ndata: ").unwrap().1).unwrap();
        text.split_terminator("\n\n").map(data).collect()
    }

    #[tokio::test]
    async fn a_response_that_failed_is_forwarded_and_not_kept() {
        let store = testing::sqlite().await;
        let responses = responses(&store);
        for (name, status) in [("response.failed", "failed"), ("response.cancelled", "cancelled")] {
            let events = written(&responses, vec![frame("response.created", "in_progress"), frame(name, status)]).await;
            let told: Vec<_> = events.iter().map(|event| (&event["type"], &event["response"]["store"])).collect();
            assert_eq!(told, [(&json!("response.created"), &json!(true)), (&json!(name), &json!(false))]);
        }
        assert_eq!(responses.find(&"team".into(), "resp_1").await.unwrap(), None);
    }

    #[tokio::test]
    async fn nothing_follows_the_end_of_a_response_and_it_is_kept_by_then() {
        let store = testing::sqlite().await;
        let responses = responses(&store);
        let failure = Frame { kind: FrameKind::Exception("throttlingException".into()), ..frame("error", "failed") };
        let events = written(&responses, vec![frame("response.completed", "completed"), failure]).await;
        assert_eq!((events.len(), &events[0]["response"]["store"]), (1, &json!(true)));
        let kept = responses.find(&"team".into(), "resp_1").await.unwrap().unwrap();
        assert_eq!((&*kept.input, &*kept.output), ("[]", r#"[{"id":"msg_1"}]"#));
        assert_eq!(responses.owner(&"team".into(), "msg_1").await.unwrap().as_deref(), Some("resp_1"));
    }

    #[test]
    fn an_event_of_several_lines_stays_one() {
        let mut out = BytesMut::new();
        write("a", b"{\n\"b\":1}", &mut out);
        assert_eq!(&out[..], b"event: a\ndata: {\ndata: \"b\":1}\n\n");
    }
}
