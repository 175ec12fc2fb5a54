//! The body of an event stream: one frame at a time, each flushed before the next, with the fault of the call worked in. When
//! the body is dropped before its end, the client hung up, and the call is recorded as cut.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use serde_json::json;
use tokio::time::Sleep;

use super::calls::{Outcome, Recording};
use super::errors::{self, Failure, Surface};
use super::faults::Fault;
use super::frames::{self, Item};

/// Frames on their way to a client.
pub(crate) struct Frames {
    items: std::vec::IntoIter<Item>,
    sent: usize,
    fault: Option<Fault>,
    delay: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    /// The last poll gave a frame: give the connection a chance to flush it.
    rests: bool,
    over: bool,
    surface: Surface,
    recording: Recording,
}

impl Frames {
    pub(crate) fn new(
        items: Vec<Item>,
        fault: Option<Fault>,
        delay: Duration,
        surface: Surface,
        recording: Recording,
    ) -> Self {
        Self {
            items: items.into_iter(),
            sent: 0,
            fault,
            delay,
            sleep: None,
            rests: false,
            over: false,
            surface,
            recording,
        }
    }

    /// What the fault does at this point; nothing when it is not its turn.
    fn fault_now(&mut self) -> Option<Step> {
        let after = match self.fault.as_ref()? {
            Fault::CutStream { after }
            | Fault::StallStream { after, .. }
            | Fault::StreamException { after, .. }
            | Fault::CorruptFrame { after } => *after,
            Fault::Reject(_)
            | Fault::ResetConnection
            | Fault::LoseAnswer
            | Fault::SlowFirstByte(_)
            | Fault::CutBody { .. } => return None,
        };
        if self.sent < after && self.items.len() > 0 {
            return None;
        }
        match self.fault.take()? {
            Fault::CutStream { .. } => Some(Step::Break),
            Fault::StallStream { pause, .. } => Some(Step::Wait(pause)),
            Fault::StreamException { name, message, .. } => {
                self.recording.note(|call| call.exception = Some(name.clone()));
                Some(Step::Last(self.exception(&name, message)))
            }
            Fault::CorruptFrame { .. } => self.items.next().map(|item| {
                let mut frame = BytesMut::from(&item.frame()[..]);
                if let Some(last) = frame.last_mut() {
                    *last ^= 0xff;
                }
                Step::Last(frame.freeze())
            }),
            Fault::Reject(_)
            | Fault::ResetConnection
            | Fault::LoseAnswer
            | Fault::SlowFirstByte(_)
            | Fault::CutBody { .. } => None,
        }
    }

    fn exception(&self, name: &str, message: String) -> Bytes {
        let failure = Failure::new(errors::known(name).0, name.to_owned(), message);
        let body = failure.body_for(self.surface);
        match self.surface {
            Surface::Aws | Surface::Sts | Surface::Iam | Surface::S3 | Surface::Kms => frames::exception(name, &body),
            Surface::OpenAi => Item::server_sent(None, body.to_string(), 0).frame(),
            Surface::Responses => {
                let error = json!({
                    "type": "error", "sequence_number": self.sent, "code": failure.name, "message": failure.message, "param": null,
                });
                Item::server_sent(Some("error".to_owned()), error.to_string(), 0).frame()
            }
            Surface::Anthropic => Item::server_sent(Some("error".to_owned()), body.to_string(), 0).frame(),
        }
    }

    fn step(&mut self) -> Step {
        if let Some(step) = self.fault_now() {
            return step;
        }
        let Some(item) = self.items.next() else { return Step::End };
        self.sent += 1;
        self.recording.note(|call| call.tokens.output = item.output_tokens);
        if self.items.len() == 0 && self.fault.is_none() {
            self.recording.end(Outcome::Completed);
        }
        Step::Frame(item.frame())
    }
}

enum Step {
    Frame(Bytes),
    /// A frame after which nothing comes, though more was promised.
    Last(Bytes),
    Wait(Duration),
    Break,
    End,
}

impl Stream for Frames {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if std::mem::take(&mut self.rests) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if let Some(sleep) = &mut self.sleep {
                std::task::ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            match self.step() {
                Step::Frame(frame) => {
                    self.rests = true;
                    if !self.delay.is_zero() {
                        self.sleep = Some(Box::pin(tokio::time::sleep(self.delay)));
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Step::Last(frame) => {
                    self.over = true;
                    self.recording.end(Outcome::Cut);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Step::Wait(pause) => self.sleep = Some(Box::pin(tokio::time::sleep(pause))),
                Step::Break => {
                    self.over = true;
                    self.recording.end(Outcome::Cut);
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
                Step::End => {
                    self.over = true;
                    self.recording.end(Outcome::Completed);
                    return Poll::Ready(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::StreamExt;

    use super::*;
    use crate::simulator::calls::Calls;

    async fn run(fault: Option<Fault>) -> (Vec<bool>, Outcome, u64) {
        let calls = Arc::new(Calls::default());
        let items = (1..=4).map(|index| Item::event("contentBlockDelta", json!({}), 0, index)).collect();
        let recording = Recording::start(Arc::clone(&calls), String::new());
        let frames: Vec<_> = Frames::new(items, fault, Duration::ZERO, Surface::Aws, recording).collect().await;
        let call = &calls.list()[0];
        (frames.iter().map(Result::is_ok).collect(), call.outcome, call.tokens.output)
    }

    #[tokio::test]
    async fn streams_end_as_their_fault_says() {
        assert_eq!(run(None).await, (vec![true; 4], Outcome::Completed, 4));
        assert_eq!(run(Some(Fault::CutStream { after: 2 })).await, (vec![true, true, false], Outcome::Cut, 2));
        assert_eq!(run(Some(Fault::CutStream { after: 0 })).await, (vec![false], Outcome::Cut, 0));
        let exception =
            Fault::StreamException { name: "throttlingException".to_owned(), message: String::new(), after: 1 };
        assert_eq!(run(Some(exception)).await, (vec![true, true], Outcome::Cut, 1));
    }

    #[tokio::test]
    async fn a_body_that_is_dropped_is_a_call_that_was_cut() {
        let calls = Arc::new(Calls::default());
        let items = (1..=4).map(|index| Item::event("contentBlockDelta", json!({}), 0, index)).collect();
        let mut frames =
            Frames::new(items, None, Duration::ZERO, Surface::Aws, Recording::start(Arc::clone(&calls), String::new()));
        assert!(frames.next().await.is_some());
        drop(frames);
        assert_eq!((calls.list()[0].outcome, calls.list()[0].tokens.output), (Outcome::Cut, 1));
    }
}
