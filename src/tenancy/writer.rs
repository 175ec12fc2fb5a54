//! The writer of the ledger: one task that takes entries from the queue and writes them in groups.
//!
//! A group is what came within a fifth of a second, or 500 entries. When the store fails, the group stays and is tried
//! again, each time after a longer pause; entries wait in the queue meanwhile. Last uses of keys travel along.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::directory::{Directory, TOUCHES, Touch};
use super::ledger::{Entry, GROUP_ENTRIES, Progress, Recorder};
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

/// The two ends of a queue of `capacity` entries.
pub(super) fn new(store: Store, clock: Clock, directory: Arc<Directory>, capacity: usize) -> (Recorder, Writer) {
    let (sender, queue) = mpsc::channel(capacity);
    let progress = Arc::new(Progress::new());
    let recorder = Recorder::new(sender, Arc::clone(&progress));
    let writer = Writer {
        store,
        clock,
        directory,
        progress,
        queue,
        group: Vec::new(),
        touches: Vec::new(),
        next_touch: Timestamp::default(),
        failures: 0,
    };
    (recorder, writer)
}

/// The end of the queue that the store sees.
pub(super) struct Writer {
    store: Store,
    clock: Clock,
    directory: Arc<Directory>,
    progress: Arc<Progress>,
    queue: mpsc::Receiver<Entry>,
    /// Taken from the queue and not yet written.
    group: Vec<Entry>,
    touches: Vec<Touch>,
    next_touch: Timestamp,
    /// Writes that failed in a row.
    failures: u32,
}

impl Writer {
    /// Writes until `stop`, then what is left, within a limit.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while let Some(()) = stop.run_until_cancelled(self.collect()).await {
            self.collect_touches();
            if let Some(pause) = self.write().await {
                stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
            if self.queue.is_closed() && self.queue.is_empty() && self.group.is_empty() {
                break; // Nobody is left who could record anything.
            }
        }
        self.finish().await;
    }

    /// Returns with a group that is worth writing, or after a while without entries. Loses none when dropped.
    async fn collect(&mut self) {
        if self.group.is_empty() {
            let wait = tokio::time::timeout(TOUCH_INTERVAL, self.queue.recv_many(&mut self.group, GROUP_ENTRIES)).await;
            if wait.is_err() {
                return;
            }
            if self.group.len() + self.queue.len() < GROUP_ENTRIES {
                let _ = tokio::time::timeout(GROUP_WINDOW, self.progress.urgent.notified()).await;
            }
        }
        self.fill();
    }

    /// Fills the group from what is in the queue already.
    fn fill(&mut self) {
        while self.group.len() < GROUP_ENTRIES
            && let Ok(entry) = self.queue.try_recv()
        {
            self.group.push(entry);
        }
        self.progress.writing(self.group.first().map(|entry| entry.at));
    }

    fn collect_touches(&mut self) {
        let now = self.clock.now();
        if self.touches.is_empty() && now >= self.next_touch {
            self.touches = self.directory.touches();
            if self.touches.len() < TOUCHES {
                self.next_touch = now.plus(TOUCH_INTERVAL);
            }
        }
    }

    /// Writes the group. When the store fails, keeps it and says how long to leave the store alone.
    async fn write(&mut self) -> Option<Duration> {
        if self.group.is_empty() && self.touches.is_empty() {
            return None;
        }
        let write = queries::write_group(&self.store, &self.group, &self.touches);
        let timed_out = |_| Err(Error::new(Kind::Timeout, "The store did not answer in time."));
        let written: Result<()> = tokio::time::timeout(WRITE_TIMEOUT, write).await.unwrap_or_else(timed_out);
        if let Err(error) = written {
            self.failures += 1;
            if self.failures == 1 {
                let causes = error.causes();
                tracing::warn!(%error, causes, "the ledger cannot be written; entries wait in memory");
            }
            return Some((FIRST_PAUSE * (1 << self.failures.min(7)) / 2).min(LAST_PAUSE));
        }
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "the ledger can be written again");
            self.failures = 0;
        }
        self.touches.clear();
        self.clear_group();
        None
    }

    fn clear_group(&mut self) {
        let entries = self.group.len() as u64;
        self.group.clear();
        self.progress.writing(None);
        self.progress.done.send_modify(|done| *done += entries);
    }

    /// Writes what is left, within [`STOP_LIMIT`]; what then is left is lost, and says so.
    async fn finish(mut self) {
        self.queue.close();
        let deadline = Instant::now() + STOP_LIMIT;
        let all = async {
            loop {
                self.fill();
                self.next_touch = Timestamp::default();
                self.collect_touches();
                if self.group.is_empty() && self.touches.is_empty() {
                    return;
                }
                if let Some(pause) = self.write().await {
                    tokio::time::sleep(pause).await;
                }
            }
        };
        let _ = tokio::time::timeout_at(deadline, all).await;
        loop {
            self.fill();
            if self.group.is_empty() {
                return;
            }
            self.progress.lose(self.group.len() as u64);
            self.clear_group();
        }
    }
}
