//! Prompts and answers on disk, for who asks for it: one JSON line for each request that reached a model. Off by default.
//!
//! A request is only taken note of while it passes: its pieces are kept as they are, within a bound on memory, and handed
//! to a writer when it has ended. Reading, redacting and writing are the writer's, on a thread of their own. Nobody waits
//! for it: what finds no room is counted and gone. No text is written that was not redacted whole.

mod answer;
mod file;
mod record;
mod redact;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{self, Sender};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Metrics;
use crate::clock::Timestamp;
use crate::config;
use crate::error::Result;
use file::Writer;
use record::Record;

/// Bytes of requests and answers that are kept at a time, under way or waiting to be written.
const MEMORY: usize = 128 * 1024 * 1024;
/// Requests that wait to be written.
const QUEUE: usize = 1024;

/// Takes note of requests, if anybody wants that. A cheap clone.
#[derive(Clone, Debug, Default)]
pub struct Capture(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    teams: Option<Vec<String>>,
    kept: AtomicUsize,
    sender: Sender<Record>,
    metrics: Metrics,
}

/// What is known of a request when it has ended.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When.
    pub at: Timestamp,
    /// `x-request-id`
    pub request_id: String,
    /// The team's name.
    pub team: String,
    /// The team's id.
    pub team_id: String,
    /// The key's id.
    pub key: String,
    /// As the metric label.
    pub surface: &'static str,
    /// As the metric label.
    pub operation: &'static str,
    /// Bedrock's id of the model.
    pub model: String,
    /// The AWS Region that served.
    pub region: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// How the call was booked.
    pub outcome: Option<String>,
    /// Whether the whole answer was sent.
    pub complete: bool,
    /// The answer's media type.
    pub media_type: String,
}

impl Capture {
    /// By the settings: opens the file and writes into it that capturing begins. Writes on `tracker` until `stop`, and
    /// what is there by then.
    ///
    /// # Errors
    /// When the file cannot be opened or written to, blaming `telemetry.capture.file`.
    pub fn start(
        settings: &config::Capture,
        now: Timestamp,
        metrics: &Metrics,
        (tracker, stop): (&TaskTracker, CancellationToken),
    ) -> Result<Self> {
        if !settings.is_on() {
            return Ok(Self(None));
        }
        let writer = Writer::open(settings, now, metrics.clone())?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        tracker.spawn(writer.run(receiver, tracker.clone(), stop));
        let teams = settings.teams.as_ref().map_or_else(|| "all".to_owned(), |teams| teams.join(", "));
        tracing::warn!(file = settings.file, teams, "prompts and answers are captured: this file holds what users say");
        let (teams, metrics) = (settings.teams.clone(), metrics.clone());
        Ok(Self(Some(Arc::new(Inner { teams, kept: AtomicUsize::new(0), sender, metrics }))))
    }

    /// A request came in that may be captured.
    pub fn begin(&self) -> Option<Recording> {
        let inner = self.0.as_ref()?;
        let pieces = || Pieces { inner: Arc::clone(inner), bytes: Vec::new(), is_whole: true };
        Some(Recording { request: Side(Arc::new(Mutex::new(pieces()))), answer: pieces() })
    }
}

/// A request that is taken note of.
#[derive(Debug)]
pub struct Recording {
    request: Side,
    answer: Pieces,
}

/// One direction of it. Clones are the same.
#[derive(Clone, Debug)]
pub struct Side(Arc<Mutex<Pieces>>);

impl Side {
    /// A piece of the body went by.
    pub fn push(&self, piece: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
    }
}

impl Recording {
    /// Where the pieces of the request go.
    pub fn request(&self) -> Side {
        self.request.clone()
    }

    /// A piece of the answer went by.
    pub fn answer(&mut self, piece: &[u8]) {
        self.answer.push(piece);
    }

    /// The request has ended. It is written if it is one of a team that is captured.
    pub fn end(self, facts: impl FnOnce() -> Facts) {
        let inner = Arc::clone(&self.answer.inner);
        let facts = facts();
        let is_of = |team: &String| *team == facts.team || *team == facts.team_id;
        if inner.teams.as_ref().is_some_and(|teams| !teams.iter().any(is_of)) {
            return;
        }
        let mut request = self.request.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !request.is_whole || !self.answer.is_whole {
            inner.metrics.capture_dropped("memory");
            return;
        }
        let request = request.take();
        if inner.sender.try_send(Record { facts, request, answer: self.answer }).is_err() {
            inner.metrics.capture_dropped("queue");
        }
    }
}

/// A body, as far as it went by. Copied: what passes may be part of a far larger buffer.
#[derive(Debug)]
struct Pieces {
    inner: Arc<Inner>,
    bytes: Vec<u8>,
    /// False when there was no memory for all of it: then none is kept.
    is_whole: bool,
}

impl Pieces {
    fn push(&mut self, piece: &[u8]) {
        if !self.is_whole || piece.is_empty() {
            return;
        }
        let before = self.inner.kept.fetch_add(piece.len(), Ordering::Relaxed);
        if before + piece.len() > MEMORY {
            self.inner.kept.fetch_sub(piece.len(), Ordering::Relaxed);
            self.is_whole = false;
            self.free();
        } else {
            self.bytes.extend_from_slice(piece);
        }
    }

    /// Moves them out.
    fn take(&mut self) -> Self {
        let bytes = std::mem::take(&mut self.bytes);
        Self { inner: Arc::clone(&self.inner), bytes, is_whole: self.is_whole }
    }

    fn free(&mut self) {
        self.inner.kept.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        self.bytes = Vec::new();
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_memory_is_let_go_and_makes_room_for_others() {
        let (sender, _receiver) = mpsc::channel(1);
        let metrics = Metrics::new().unwrap();
        let capture =
            Capture(Some(Arc::new(Inner { teams: None, kept: AtomicUsize::new(MEMORY - 10), sender, metrics })));
        let kept = || capture.0.as_ref().unwrap().kept.load(Ordering::Relaxed);
        let (mut long, mut short) = (capture.begin().unwrap(), capture.begin().unwrap());
        long.answer(&[0; 8]);
        long.request().push(b"");
        long.answer(&[0; 8]);
        assert_eq!((long.answer.is_whole, kept()), (false, MEMORY - 10));
        short.answer(&[0; 8]);
        short.request().push(&[0; 2]);
        assert_eq!((short.answer.is_whole, kept()), (true, MEMORY));
        drop(short);
        assert_eq!(kept(), MEMORY - 10);
    }
}
