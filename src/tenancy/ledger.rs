//! The ledger: one entry per call, recorded without waiting and written behind by `writer.rs`; what a crash or a full
//! queue would lose is in the journal.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::journal::{Journal, Kept, Mark};
use super::queries;
use crate::clock::Timestamp;
use crate::error::{Kind, Result};
use crate::ids::{KeyId, RequestId, TeamId};
use crate::money::MicroUsd;
use crate::store::Store;

/// Entries that wait in memory while the store is away: some 50 MB.
pub const QUEUE_ENTRIES: usize = 100_000;
/// Entries that are worth writing at once, and the most that one transaction holds.
pub(super) const GROUP_ENTRIES: usize = 500;

/// One call, settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Unique; an entry that is delivered again under the same id makes no second row. See [`Entry::fresh_id`].
    pub id: String,
    /// The request it belongs to.
    pub request_id: RequestId,
    /// When the call was settled.
    pub at: Timestamp,
    /// Who pays.
    pub team: TeamId,
    /// The credential.
    pub key: KeyId,
    /// `openai`, `anthropic`, `bedrock`.
    pub surface: Cow<'static, str>,
    /// For example `chat`, `converse_stream`.
    pub operation: Cow<'static, str>,
    /// Bedrock's id of the model.
    pub model: String,
    /// The Region that answered; none when none did.
    pub region: Option<String>,
    /// Tokens read at the full price.
    pub input_tokens: u64,
    /// Tokens written by the model.
    pub output_tokens: u64,
    /// Tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Tokens written to the cache.
    pub cache_write_tokens: u64,
    /// What it cost; none when the price is not known.
    pub cost: Option<MicroUsd>,
    /// The service tier, by Bedrock's name: `default`, `flex`, `priority`, `reserved`; `other` for one that was not known.
    pub tier: Cow<'static, str>,
    /// Milliseconds from request to settlement.
    pub latency_ms: u64,
    /// Milliseconds from request to the first token.
    pub ttft_ms: Option<u64>,
    /// How many candidates were tried.
    pub attempts: u32,
    /// The HTTP status that the caller got: 200 for a stream, however it ended; 499 when it left before there was one;
    /// 0 when the gateway died before it knew.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// How far the token counts can be trusted.
    pub usage_source: UsageSource,
    /// Whether the answer was a stream.
    pub streamed: bool,
    /// Whom the caller says it called for.
    pub end_user: Option<String>,
}

impl Entry {
    /// A new id for an entry.
    pub fn fresh_id() -> String {
        crate::ids::fresh("call_")
    }
}

/// How a call ended: `ok`, `cancelled`, `interrupted`, or the kind of its error in snake case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome(Cow<'static, str>);

impl Outcome {
    /// The caller got its whole answer.
    pub const OK: Self = Self(Cow::Borrowed("ok"));
    /// The caller left before the end.
    pub const CANCELLED: Self = Self(Cow::Borrowed("cancelled"));
    /// The gateway died while the call was under way, or in the moment before it was sent.
    pub const INTERRUPTED: Self = Self(Cow::Borrowed("interrupted"));

    /// It failed.
    pub fn failed(kind: Kind) -> Self {
        Self(Cow::Borrowed(kind.into()))
    }

    /// The text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Outcome {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

/// How far token counts can be trusted. Only `final` ones are claimed to equal AWS's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum UsageSource {
    /// Told by AWS at the end of the answer.
    Final,
    /// What was seen of a stream that was cut.
    Partial,
    /// Made from the bytes that went by.
    Estimated,
}

/// How far the writer is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Entries that are recorded and not yet in the store: in memory, or in the journal alone.
    pub queued: u64,
    /// Entries lost since the start: the queue was full, or the process ended without a store, and there is no journal
    /// or it could not be written.
    pub lost: u64,
    /// How long ago the oldest entry was settled that is not in the store, wherever it waits: in the group that is being
    /// written, or in the journal.
    pub lag: Duration,
}

/// The oldest `limit` entries settled at `since` or later, in order.
pub async fn list(store: &Store, since: Timestamp, limit: u32) -> Result<Vec<Entry>> {
    queries::list_entries(store, since, limit).await
}

/// What recorder and writer tell each other besides the entries.
#[derive(Debug)]
pub(super) struct Progress {
    /// Entries that were put in the queue.
    accepted: AtomicU64,
    lost: AtomicU64,
    /// Entries that left it: written, or given up at the end.
    pub(super) done: watch::Sender<u64>,
    /// Somebody wants the queue written now.
    pub(super) urgent: Notify,
    /// When the oldest entry in the writer's hands was settled; [`NONE`] when it has none.
    oldest: AtomicI64,
}

const NONE: i64 = i64::MAX;

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            accepted: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            done: watch::Sender::new(0),
            urgent: Notify::new(),
            oldest: AtomicI64::new(NONE),
        }
    }

    /// The writer has ended: nothing is waited for any more.
    pub(super) fn end(&self) {
        self.done.send_modify(|done| *done = self.accepted.load(Ordering::Acquire));
    }

    pub(super) fn writing(&self, oldest: Option<Timestamp>) {
        self.oldest.store(oldest.map_or(NONE, Timestamp::millis), Ordering::Relaxed);
    }

    /// Entries are lost and somebody has to know; logged at the first and then at each thousandth.
    pub(super) fn lose(&self, entries: u64) {
        let before = self.lost.fetch_add(entries, Ordering::Relaxed);
        if entries > 0 && (before == 0 || before / 1000 != (before + entries) / 1000) {
            tracing::error!(lost = before + entries, "ledger entries are lost: the store has been away for too long");
        }
    }
}

/// An entry in the queue, and what keeps it on disk meanwhile.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) entry: Entry,
    pub(super) mark: Option<Mark>,
}

/// The end of the queue that calls see.
#[derive(Debug)]
pub(super) struct Recorder {
    queue: mpsc::Sender<Waiting>,
    progress: Arc<Progress>,
    journal: Option<Arc<Journal>>,
}

impl Recorder {
    pub(super) fn new(queue: mpsc::Sender<Waiting>, progress: Arc<Progress>, journal: Option<Arc<Journal>>) -> Self {
        Self { queue, progress, journal }
    }

    pub(super) fn journal(&self) -> Option<&Journal> {
        self.journal.as_deref()
    }

    pub(super) fn record(&self, entry: Entry) {
        let queue = |entry, mark| self.queue.try_send(Waiting { entry, mark }).is_ok();
        let kept = match &self.journal {
            Some(journal) => journal.settle(entry, queue),
            None if queue(entry, None) => Kept::InMemory,
            None => Kept::Nowhere,
        };
        match kept {
            Kept::Nowhere => return self.progress.lose(1),
            // The writer has ended: the next start reads it.
            Kept::OnDisk if self.queue.is_closed() => return,
            Kept::InMemory | Kept::OnDisk => {}
        }
        self.progress.accepted.fetch_add(1, Ordering::Release);
        if self.queue.max_capacity() - self.queue.capacity() >= GROUP_ENTRIES {
            self.progress.urgent.notify_one();
        }
    }

    pub(super) fn state(&self, now: Timestamp) -> State {
        let done = *self.progress.done.borrow();
        let writing = self.progress.oldest.load(Ordering::Relaxed);
        let spilled = self.journal.as_ref().and_then(|journal| journal.oldest());
        let oldest = spilled.into_iter().fold(Timestamp::from_millis(writing), Timestamp::min);
        State {
            queued: self.progress.accepted.load(Ordering::Acquire).saturating_sub(done),
            lost: self.progress.lost.load(Ordering::Relaxed),
            lag: now.since(oldest),
        }
    }

    pub(super) async fn flush(&self) {
        let target = self.progress.accepted.load(Ordering::Acquire);
        let mut done = self.progress.done.subscribe();
        self.progress.urgent.notify_one();
        // The sender is ours too, so only the count ends this; the writer counts what it gives up as done. Entries come
        // out of order from the journal, so all of them have to be out of it.
        let is_over =
            |done: &u64| *done >= target && !self.journal.as_ref().is_some_and(|journal| journal.has_spilled());
        let over = async {
            let _ = done.wait_for(is_over).await;
        };
        tokio::select! {
            () = over => {}
            () = self.queue.closed() => {
                let _ = self.progress.done.subscribe().wait_for(|done| *done >= target).await;
            }
        }
    }
}
