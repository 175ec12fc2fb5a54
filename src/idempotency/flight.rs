//! One call and those who read its answer.
//!
//! Pieces stay in memory, so that who comes later reads from the start, until they are more than what is kept of an answer.
//! From then on nobody can join, pieces go when all have read them, and the call waits for its slowest reader.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::table::Charge;
use super::{Alone, Fingerprint, Head, Refusal};
use crate::clock::Timestamp;

/// Pieces that a reader may be behind, once they are not kept.
const WINDOW: usize = 16;
/// How long the others wait for a reader that is further behind, before it is cut.
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(30) };

/// Why there is no more of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The call was dropped, or the reader was too slow.
    Broken,
    /// It was not made.
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The store is being asked whether somebody made the call before.
    Claiming,
    Running,
    /// The answer is whole and being written to the store: nobody can cancel it any more.
    Ending,
    Over,
    Lost(Lost),
}

/// A call.
pub(super) struct Flight {
    pub(super) id: String,
    fingerprint: Fingerprint,
    alone: Alone,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    room: Notify,
    deserted: CancellationToken,
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("id", &self.id).field("stage", &self.lock().stage).finish_non_exhaustive()
    }
}

struct State {
    stage: Stage,
    head: Option<Arc<Head>>,
    pieces: VecDeque<Bytes>,
    /// The number of the first piece that is still there.
    first: usize,
    bytes: usize,
    /// Whether all pieces are there.
    is_whole: bool,
    charge: Charge,
    /// The number of the piece that each reads next.
    readers: BTreeMap<u64, usize>,
    next_reader: u64,
    expires_at: Timestamp,
}

/// How a client gets into a call.
pub(super) enum Joined {
    Reader(Reader),
    Refused(Refusal),
    /// It has to look again when something changed.
    Unsure(watch::Receiver<()>),
    /// The call is as if it had never been.
    Gone,
}

impl Flight {
    pub(super) fn new(fingerprint: Fingerprint, alone: Alone, charge: Charge) -> Arc<Self> {
        let state = State {
            stage: Stage::Claiming,
            head: None,
            pieces: VecDeque::new(),
            first: 0,
            bytes: 0,
            is_whole: true,
            charge,
            readers: BTreeMap::new(),
            next_reader: 0,
            expires_at: Timestamp::from_millis(i64::MAX),
        };
        Arc::new(Self {
            id: crate::ids::fresh("run_"),
            fingerprint,
            alone,
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            room: Notify::new(),
            deserted: CancellationToken::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader from the start.
    pub(super) fn read(self: &Arc<Self>) -> Reader {
        self.add_reader(&mut self.lock())
    }

    fn add_reader(self: &Arc<Self>, state: &mut State) -> Reader {
        let number = state.next_reader;
        state.next_reader += 1;
        state.readers.insert(number, 0);
        Reader { flight: Arc::clone(self), number, changed: self.changed.subscribe() }
    }

    /// A reader from the start for a client that asks the same, if there can be one.
    pub(super) fn join(self: &Arc<Self>, fingerprint: Fingerprint, now: Timestamp) -> Joined {
        let mut state = self.lock();
        if matches!(state.stage, Stage::Lost(_)) || state.expires_at <= now || self.deserted.is_cancelled() {
            return Joined::Gone;
        }
        if fingerprint != self.fingerprint {
            return match state.stage {
                Stage::Claiming => Joined::Unsure(self.changed.subscribe()),
                _ => Joined::Refused(Refusal::OtherRequest),
            };
        }
        if !state.is_whole {
            return Joined::Refused(Refusal::TooLarge);
        }
        Joined::Reader(self.add_reader(&mut state))
    }

    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.lock().expires_at <= now
    }

    /// Ends when nobody reads any more and the call is to be cancelled therefore.
    pub(super) async fn deserted(&self) {
        self.deserted.cancelled().await;
    }

    /// The call is ours to make.
    pub(super) fn run(&self) {
        self.lock().stage = Stage::Running;
        self.changed.send_replace(());
    }

    /// The head of the answer is there.
    pub(super) fn begin(&self, head: Head) {
        self.lock().head = Some(Arc::new(head));
        self.changed.send_replace(());
    }

    /// A piece of the answer is there. Returns when the next one may come.
    pub(super) async fn push(&self, piece: Bytes, max_answer: usize) {
        if self.add(piece, max_answer) {
            return;
        }
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.has_room() {
                return;
            }
            tokio::select! {
                () = room => {}
                () = self.deserted.cancelled() => return,
                () = tokio::time::sleep(PATIENCE) => self.cut_the_slow(),
            }
        }
    }

    /// Adds a piece; whether the answer is kept as a whole.
    fn add(&self, piece: Bytes, max_answer: usize) -> bool {
        let mut state = self.lock();
        state.bytes += piece.len();
        if state.is_whole && (state.bytes > max_answer || !state.charge.add(piece.len())) {
            state.is_whole = false;
            state.charge.clear();
        }
        state.pieces.push_back(piece);
        state.drop_read();
        drop(state);
        self.changed.send_replace(());
        self.is_whole()
    }

    fn has_room(&self) -> bool {
        self.lock().pieces.len() <= WINDOW
    }

    /// Ends the reading of those who hold up others.
    fn cut_the_slow(&self) {
        let mut state = self.lock();
        let near = state.first + state.pieces.len().saturating_sub(WINDOW);
        if state.readers.values().any(|next| *next >= near) {
            state.readers.retain(|_, next| *next >= near);
            state.drop_read();
        }
        drop(state);
        self.changed.send_replace(());
        self.room.notify_waiters();
    }

    /// From now on nobody can cancel the call. Tells the whole answer, with `last` at its end, if all of it is there.
    pub(super) fn end(&self, last: Option<&Bytes>, max_answer: usize) -> Option<Vec<u8>> {
        let mut state = self.lock();
        state.stage = Stage::Ending;
        let length = state.bytes + last.map_or(0, Bytes::len);
        if !state.is_whole || length > max_answer {
            return None;
        }
        let mut whole = Vec::with_capacity(length);
        for piece in state.pieces.iter().chain(last) {
            whole.extend_from_slice(piece);
        }
        Some(whole)
    }

    /// The answer ends with `last`, and is told until then.
    pub(super) fn finish(&self, head: Option<Head>, last: Option<Bytes>, max_answer: usize, expires_at: Timestamp) {
        if let Some(piece) = last.filter(|piece| !piece.is_empty()) {
            self.add(piece, max_answer);
        }
        let mut state = self.lock();
        if let Some(head) = head {
            state.head = Some(Arc::new(head));
        }
        state.stage = Stage::Over;
        state.expires_at = expires_at;
        drop(state);
        self.changed.send_replace(());
    }

    /// There will be no more of it.
    pub(super) fn lose(&self, why: Lost) {
        self.lock().stage = Stage::Lost(why);
        self.changed.send_replace(());
    }

    /// Whether all of it is in memory.
    pub(super) fn is_whole(&self) -> bool {
        self.lock().is_whole
    }

    pub(super) fn head(&self) -> Option<Arc<Head>> {
        self.lock().head.clone()
    }
}

impl State {
    /// Where pieces are not kept, takes away those that all have read.
    fn drop_read(&mut self) {
        if self.is_whole {
            return;
        }
        let end = self.first + self.pieces.len();
        let read = self.readers.values().copied().min().unwrap_or(end).saturating_sub(self.first);
        self.pieces.drain(..read.min(self.pieces.len()));
        self.first += read;
    }
}

/// What a client reads.
pub struct Reader {
    flight: Arc<Flight>,
    number: u64,
    changed: watch::Receiver<()>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("flight", &self.flight).finish_non_exhaustive()
    }
}

impl Reader {
    /// The head of the answer, when it is there.
    pub async fn head(&mut self) -> Result<Arc<Head>, Lost> {
        loop {
            self.changed.borrow_and_update();
            {
                let state = self.flight.lock();
                if let Stage::Lost(why) = state.stage {
                    return Err(why);
                }
                if let Some(head) = &state.head {
                    return Ok(Arc::clone(head));
                }
            }
            // The sender is in the flight, which is ours, too.
            let _ = self.changed.changed().await;
        }
    }

    /// The next piece of the body, when it is there; `None` at its end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Lost>> {
        loop {
            self.changed.borrow_and_update();
            if let Poll::Ready(told) = self.look() {
                return told;
            }
            let _ = self.changed.changed().await;
        }
    }

    fn look(&self) -> Poll<Option<Result<Bytes, Lost>>> {
        let mut state = self.flight.lock();
        let Some(&next) = state.readers.get(&self.number) else { return Poll::Ready(Some(Err(Lost::Broken))) };
        if let Some(piece) = state.pieces.get(next - state.first).cloned() {
            state.readers.insert(self.number, next + 1);
            if !state.is_whole {
                state.drop_read();
                drop(state);
                self.flight.room.notify_waiters();
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        match state.stage {
            Stage::Over => Poll::Ready(None),
            Stage::Lost(why) => Poll::Ready(Some(Err(why))),
            Stage::Claiming | Stage::Running | Stage::Ending => Poll::Pending,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.flight.lock();
        state.readers.remove(&self.number);
        state.drop_read();
        let is_open = matches!(state.stage, Stage::Claiming | Stage::Running);
        if state.readers.is_empty() && is_open && self.flight.alone == Alone::Cancelled {
            self.flight.deserted.cancel();
        }
        drop(state);
        self.flight.room.notify_waiters();
    }
}
