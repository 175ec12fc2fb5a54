//! The writer of the ledger: one task that takes entries from the queue and writes them in groups.
//!
//! A group is what came within a fifth of a second, or 500 entries. When the store fails, the group stays and is tried
//! again, each time after a longer pause; entries wait in the queue meanwhile, and when that is full in the journal, from
//! where they are read back. Last uses of keys travel along.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::directory::{Directory, Touch};
use super::journal::{Journal, Mark, Spill};
use super::ledger::{Entry, GROUP_ENTRIES, Progress, Recorder, Waiting};
use super::queries;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::store::Store;

/// How long a group may grow before it is written.
const GROUP_WINDOW: Duration = Duration::from_millis(200);
/// A write that takes longer has failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause after a failed write; each further one is twice as long, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// What the writer takes at most, once told to stop, to write what is left.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Last uses are written this often at most.
const TOUCH_INTERVAL: Duration = Duration::from_mins(1);

/// The two ends of a queue of `capacity` entries, with a journal behind it if there is one.
pub(super) fn new(
    (store, clock): (Store, Clock),
    directory: Arc<Directory>,
    capacity: usize,
    journal: Option<Arc<Journal>>,
) -> (Recorder, Writer) {
    let (sender, queue) = mpsc::channel(capacity);
    let progress = Arc::new(Progress::new());
    let recorder = Recorder::new(sender, Arc::clone(&progress), journal.clone());
    let writer = Writer {
        store,
        clock,
        directory,
        progress,
        journal,
        queue,
        taken: Vec::new(),
        group: Vec::new(),
        marks: Vec::new(),
        from_queue: 0,
        recall: None,
        touches: Vec::new(),
        next_touch: Timestamp::default(),
        failures: 0,
        stop_limit: STOP_LIMIT,
    };
    (recorder, writer)
}

/// The end of the queue that the store sees.
pub(super) struct Writer {
    store: Store,
    clock: Clock,
    directory: Arc<Directory>,
    progress: Arc<Progress>,
    journal: Option<Arc<Journal>>,
    queue: mpsc::Receiver<Waiting>,
    /// On the way from the queue into the group.
    taken: Vec<Waiting>,
    /// Not yet written.
    group: Vec<Entry>,
    /// What keeps them on disk.
    marks: Vec<Mark>,
    /// Of the group, those that came by the queue.
    from_queue: u64,
    /// What is being read back from the journal.
    recall: Option<Recall>,
    touches: Vec<Touch>,
    next_touch: Timestamp,
    /// Writes that failed in a row.
    failures: u32,
    /// How long it may take to end.
    pub(super) stop_limit: Duration,
}

/// Entries for which there was no room in the queue.
struct Recall {
    spill: Spill,
    rest: std::vec::IntoIter<Entry>,
}

impl Writer {
    /// Writes until `stop`, then what is left, within a limit.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while let Some(()) = stop.run_until_cancelled(self.collect()).await {
            self.collect_touches();
            if let Some(pause) = self.write().await {
                stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
            if self.queue.is_closed() && self.queue.is_empty() && self.group.is_empty() && self.recall.is_none() {
                break; // Nobody is left who could record anything.
            }
        }
        self.finish().await;
    }

    /// Returns with a group that is worth writing, or after a while without entries. Loses none when dropped.
    async fn collect(&mut self) {
        self.take();
        // What waits longest is in the queue: the journal took what came when that was full.
        if self.group.is_empty() && self.queue.len() < GROUP_ENTRIES {
            self.recall().await;
        }
        if self.group.is_empty() {
            let wait = tokio::time::timeout(TOUCH_INTERVAL, self.queue.recv_many(&mut self.taken, GROUP_ENTRIES)).await;
            if wait.is_err() {
                return;
            }
            self.take();
            if self.group.len() + self.queue.len() < GROUP_ENTRIES {
                let _ = tokio::time::timeout(GROUP_WINDOW, self.progress.urgent.notified()).await;
            }
        }
        self.fill();
    }

    /// What came out of the queue joins the group.
    fn take(&mut self) {
        for Waiting { entry, mark } in self.taken.drain(..) {
            self.group.push(entry);
            self.marks.extend(mark);
            self.from_queue += 1;
        }
    }

    /// Takes a group of what had no room in the queue.
    async fn recall(&mut self) {
        if self.recall.is_none()
            && let Some(journal) = &self.journal
            && let Some((spill, entries)) = journal.spilled().await
        {
            self.recall = Some(Recall { spill, rest: entries.into_iter() });
        }
        if let Some(recall) = &mut self.recall {
            self.group.extend(recall.rest.by_ref().take(GROUP_ENTRIES));
        }
    }

    /// Fills the group from what is in the queue already.
    fn fill(&mut self) {
        while self.group.len() < GROUP_ENTRIES
            && let Ok(waiting) = self.queue.try_recv()
        {
            self.taken.push(waiting);
            self.take();
        }
        self.progress.writing(self.group.first().map(|entry| entry.at));
    }

    fn collect_touches(&mut self) {
        let now = self.clock.now();
        if self.touches.is_empty() && now >= self.next_touch {
            self.touches = self.directory.touches();
            self.next_touch = now.plus(TOUCH_INTERVAL);
        }
    }

    /// Writes the group. When the store fails, keeps it and says how long to leave the store alone.
    async fn write(&mut self) -> Option<Duration> {
        if self.group.is_empty() && self.touches.is_empty() {
            self.end_group();
            return None;
        }
        let write = queries::write_group(&self.store, &self.group, &self.touches);
        let timed_out = |_| Err(Error::new(Kind::Timeout, "The store did not answer in time."));
        let written: Result<()> = tokio::time::timeout(WRITE_TIMEOUT, write).await.unwrap_or_else(timed_out);
        if let Err(error) = written {
            self.failures += 1;
            if self.failures == 1 {
                let causes = error.causes();
                let place = if self.journal.is_some() { "in memory and in the journal" } else { "in memory" };
                tracing::warn!(%error, causes, "the ledger cannot be written; entries wait {place}");
            }
            return Some((FIRST_PAUSE * (1 << self.failures.min(7)) / 2).min(LAST_PAUSE));
        }
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "the ledger can be written again");
            self.failures = 0;
        }
        self.touches.drain(..).for_each(|touch| touch.saved());
        self.end_group();
        None
    }

    /// The group is written.
    fn end_group(&mut self) {
        self.group.clear();
        self.progress.writing(None);
        let mut done = std::mem::take(&mut self.from_queue);
        if let Some(journal) = &self.journal {
            if !self.marks.is_empty() {
                journal.release(self.marks.drain(..));
            }
            if let Some(recall) = self.recall.take_if(|recall| recall.rest.as_slice().is_empty()) {
                journal.recalled(recall.spill);
                done += recall.spill.entries;
            }
        }
        if done > 0 {
            self.progress.done.send_modify(|all| *all += done);
        }
    }

    /// Writes what is left, within a limit; what then is left stays in the journal, or is lost and says so.
    async fn finish(mut self) {
        self.queue.close();
        self.take();
        let deadline = Instant::now() + self.stop_limit;
        self.next_touch = Timestamp::default();
        self.collect_touches();
        let all = async {
            loop {
                self.fill();
                if self.group.is_empty() {
                    self.recall().await;
                }
                if self.group.is_empty() && self.touches.is_empty() && self.recall.is_none() {
                    return;
                }
                if let Some(pause) = self.write().await {
                    tokio::time::sleep(pause).await;
                }
            }
        };
        let _ = tokio::time::timeout_at(deadline, all).await;
        self.give_up();
        if let Some(journal) = &self.journal {
            journal.close().await;
        }
        self.progress.end();
    }

    /// Nothing is written any more.
    fn give_up(&mut self) {
        let (mut left, mut kept) = (0, 0);
        loop {
            self.fill();
            left += self.from_queue;
            // Their marks stay: the next start finds them.
            kept += self.marks.drain(..).count() as u64;
            if self.group.is_empty() {
                break;
            }
            self.group.clear();
            self.progress.writing(None);
            self.progress.done.send_modify(|done| *done += std::mem::take(&mut self.from_queue));
        }
        self.progress.lose(left - kept);
        if kept > 0 {
            tracing::warn!(
                entries = kept,
                "the ledger could not be written; entries stay in the journal for the next start"
            );
        }
    }
}
