//! The journal: what a call will be booked as is on disk before the call is sent, and how it was booked before its
//! answer ends, so that a process that dies loses no call.
//!
//! Each process writes segments of its own in a folder that several may share (`folder.rs`, `segments.rs`, `record.rs`).
//! Records are handed to the operating system before `Journal::begin` and `Journal::settle` return, which is all it
//! takes to outlive the process; they are synced to the disk in groups, [`SYNC_WINDOW`] later, for the case that the
//! machine dies. The journal is also where entries wait that have no room in memory while the store is away. What a dead
//! process left is booked by whoever finds it (`replay.rs`), at the start and then every [`LOOK_INTERVAL`].
//!
//! Invariants: the journal never fails a call; an entry is written to the store under its own id, so it does not matter
//! how often; no segment goes before each of its entries is in the store.

mod folder;
mod record;
mod replay;
mod row;
mod segments;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use self::segments::{Kept, Mark, Spill};

use self::folder::{Claim, Folder};
use self::record::{Record, Records};
use self::replay::Replay;
use self::segments::Segments;
use super::ledger::Entry;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::store::Store;
use crate::telemetry::Metrics;

/// What is written is synced so much later.
pub const SYNC_WINDOW: Duration = Duration::from_millis(50);
/// How often a process looks for what another one left that died.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// A segment that is larger is followed by another one.
const SEGMENT_BYTES: u64 = 8 << 20;
/// From so many segments on, calls that take long do not keep old ones any more: their beginnings are written again.
const MANY_SEGMENTS: usize = 4;

/// Called with each entry that a dead process left, once it is in the store. May be called more than once for an entry,
/// and for entries that the dead process had settled itself: who listens goes by the id.
pub type OnReplayed = Arc<dyn Fn(&Entry) + Send + Sync>;

/// How a journal is kept.
#[derive(Clone)]
pub struct Setup {
    /// Where; made when missing. Processes with the same store may share it, and then book for each other.
    pub folder: PathBuf,
    /// How large a segment becomes.
    pub segment_bytes: u64,
    /// Counts what cannot be written.
    pub metrics: Metrics,
    /// Told what was replayed.
    pub on_replayed: OnReplayed,
}

impl Setup {
    /// A journal in `folder`, of which nobody is told.
    pub fn new(folder: impl Into<PathBuf>, metrics: Metrics) -> Self {
        Self { folder: folder.into(), segment_bytes: SEGMENT_BYTES, metrics, on_replayed: Arc::new(|_| ()) }
    }
}

/// The journal of this process.
pub(super) struct Journal {
    segments: Mutex<Segments>,
    folder: Folder,
    claim: Claim,
    metrics: Metrics,
    /// The last write failed.
    is_unwritable: AtomicBool,
    /// The last sync failed.
    is_unsyncable: AtomicBool,
    /// Something was written that is not synced.
    written: Notify,
    /// When the oldest entry of a dead process was settled that could not be written to the store; [`i64::MAX`]: none.
    replaying: AtomicI64,
    /// Processes that died and left nothing any more, of which nobody was told.
    dead: Mutex<Vec<String>>,
}

impl Journal {
    /// Fails with [`crate::error::Kind::Invalid`] when the folder cannot be written.
    pub(super) fn open(setup: &Setup) -> Result<Self> {
        let unusable = |error: io::Error| {
            let folder = setup.folder.display();
            let text = format!(
                "the folder `{folder}` cannot be written and locked: {error}. It has to be on a disk of this machine."
            );
            Error::invalid("store.journal", text)
        };
        let folder = Folder::make(&setup.folder).map_err(unusable)?;
        let claim = folder.enter().map_err(unusable)?;
        let segments = Segments::new(folder.clone(), claim.writer.clone(), setup.segment_bytes);
        Ok(Self {
            segments: Mutex::new(segments),
            folder,
            claim,
            metrics: setup.metrics.clone(),
            is_unwritable: AtomicBool::new(false),
            is_unsyncable: AtomicBool::new(false),
            written: Notify::new(),
            replaying: AtomicI64::new(i64::MAX),
            dead: Mutex::default(),
        })
    }

    /// What this process is called in the folder, like no other process.
    pub(super) fn writer(&self) -> &str {
        &self.claim.writer
    }

    /// The processes that are known to be dead since the last time, all they left being booked.
    pub(super) fn take_dead(&self) -> Vec<String> {
        std::mem::take(&mut *self.dead.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_dead(&self, writer: String) {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).push(writer);
    }

    /// The call is about to be sent. Called again for another attempt of the same call.
    pub(super) fn begin(&self, entry: &Entry) {
        let record = record::begun(entry);
        let written = self.lock().begin(&entry.id, &record);
        self.told(&written);
    }

    /// The call is over; `queue` says whether there is room in memory, and takes the entry if so.
    pub(super) fn settle(&self, entry: Entry, queue: impl FnOnce(Entry, Option<Mark>) -> bool) -> Kept {
        let record = record::settled(&entry);
        let (id, at) = (entry.id.clone(), entry.at);
        let (kept, written) = self.lock().settle((&id, at), &record, |mark| queue(entry, mark));
        self.told(&written);
        kept
    }

    /// The call has no entry of its own.
    pub(super) fn discard(&self, id: &str) {
        let record = record::discarded(id);
        let written = self.lock().discard(id, &record);
        self.told(&written);
    }

    /// The entries are in the store.
    pub(super) fn release(&self, marks: impl Iterator<Item = Mark>) {
        self.lock().release(marks);
    }

    /// Settled entries that are in memory no more: those of one segment.
    pub(super) async fn spilled(&self) -> Option<(Spill, Vec<Entry>)> {
        let (spill, path) = self.lock().spilled()?;
        let read = move || read_part(&path, spill.from, spill.to);
        match blocking(read).await {
            Ok((entries, is_damaged)) => {
                if is_damaged {
                    tracing::error!("a segment of the journal is damaged; what could be read is booked");
                    self.metrics.journal_damaged(1);
                }
                Some((spill, entries))
            }
            Err(error) => {
                tracing::error!(%error, "a segment of the journal cannot be read; its entries wait");
                None
            }
        }
    }

    /// What was spilled is in the store.
    pub(super) fn recalled(&self, spill: Spill) {
        self.lock().recalled(spill);
    }

    /// When the oldest entry was settled that waits here alone.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let replaying = self.replaying.load(Ordering::Relaxed);
        let replaying = (replaying != i64::MAX).then(|| Timestamp::from_millis(replaying));
        self.lock().spilled_since().into_iter().chain(replaying).min()
    }

    /// Whether settled entries wait here alone.
    pub(super) fn has_spilled(&self) -> bool {
        self.lock().spilled_since().is_some()
    }

    /// Syncs, and removes what is not needed any more: at the end of a process.
    pub(super) async fn close(self: &Arc<Self>) {
        self.lock().retire();
        self.sync().await;
    }

    async fn sync(self: &Arc<Self>) {
        let journal = Arc::clone(self);
        let synced = blocking(move || {
            let (files, folder) = journal.lock().unsynced();
            files.iter().try_for_each(|file| file.sync_data())?;
            if folder { journal.folder.sync() } else { Ok(()) }
        });
        self.tell(&self.is_unsyncable, &synced.await);
    }

    /// Writes again what began in the oldest segment and is still under way, so that the segment can go.
    fn carry(&self) -> io::Result<()> {
        let pinned = {
            let segments = self.lock();
            if segments.len() < MANY_SEGMENTS { None } else { segments.pinned() }
        };
        let Some((number, path)) = pinned else { return Ok(()) };
        let mut begun = HashMap::new();
        for record in Records::of_segment(&std::fs::read(path)?).into_iter().flatten() {
            if let Record::Begun(entry) = record {
                begun.insert(entry.id.clone(), record::begun(&entry));
            }
        }
        begun.iter().try_for_each(|(id, record)| self.lock().carry(number, id, record))
    }

    fn told(&self, written: &io::Result<()>) {
        if written.is_ok() {
            self.written.notify_one();
        }
        self.tell(&self.is_unwritable, written);
    }

    /// Counts what failed, and logs it once until it works again.
    fn tell(&self, is_failing: &AtomicBool, done: &io::Result<()>) {
        if let Err(error) = done {
            self.metrics.journal_error();
            if !is_failing.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "the journal cannot be written; calls go on, but a crash would lose them");
            }
        } else if is_failing.load(Ordering::Relaxed) && is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the journal can be written again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("claim", &self.claim).finish_non_exhaustive()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.lock().is_empty() {
            self.claim.forget();
        }
    }
}

/// Books what dead processes left, and goes on looking for it on `tracker` until `stop`, as the journal is synced.
pub(super) async fn keep(
    journal: &Arc<Journal>,
    setup: &Setup,
    store: Store,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) {
    let replay = Replay::new(Arc::clone(journal), store, Arc::clone(&setup.on_replayed));
    replay.run().await;
    tracker.spawn(stop.clone().run_until_cancelled_owned(sync(Arc::clone(journal))));
    tracker.spawn(stop.clone().run_until_cancelled_owned(look(Arc::clone(journal), replay)));
}

async fn sync(journal: Arc<Journal>) {
    loop {
        journal.written.notified().await;
        tokio::time::sleep(SYNC_WINDOW).await;
        journal.sync().await;
    }
}

async fn look(journal: Arc<Journal>, replay: Replay) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        journal.lock().retire();
        let carrying = Arc::clone(&journal);
        journal.told(&blocking(move || carrying.carry()).await);
        replay.run().await;
    }
}

/// Does what waits for the disk where it holds up nobody else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The entries that were settled in a part of a segment, which ends with a record, and whether something could not be read.
fn read_part(path: &Path, from: u64, to: u64) -> io::Result<(Vec<Entry>, bool)> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(to.saturating_sub(from)).read_to_end(&mut bytes)?;
    let settled = |record| if let Record::Settled(entry) = record { Some(entry) } else { None };
    let mut records = Records::of_part(&bytes);
    let entries = records.by_ref().filter_map(settled).collect();
    Ok((entries, records.damaged > 0 || records.torn > 0))
}
