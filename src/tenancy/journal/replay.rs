//! Books what dead processes left: what they had settled, and what they had begun.
//!
//! One segment is in memory at a time, and the calls that were under way at one moment.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::folder::{Claim, Folder};
use super::record::{Record, Records};
use super::{Journal, OnReplayed, blocking};
use crate::error::{Error, Kind, Result};
use crate::store::Store;
use crate::tenancy::ledger::{Entry, GROUP_ENTRIES};
use crate::tenancy::queries;

/// A write that takes longer has failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Replay {
    journal: Arc<Journal>,
    store: Store,
    on_replayed: OnReplayed,
}

/// What was found of one process.
#[derive(Default)]
pub(super) struct Found {
    /// Begun, and not settled so far.
    pub(super) open: HashMap<String, Entry>,
    /// To be written.
    pub(super) group: Vec<Entry>,
    settled: u64,
    interrupted: u64,
    /// Segments with something that could not be read.
    damaged: Vec<PathBuf>,
}

impl Replay {
    pub(super) fn new(journal: Arc<Journal>, store: Store, on_replayed: OnReplayed) -> Self {
        Self { journal, store, on_replayed }
    }

    /// Looks once. What cannot be written to the store, or read, stays for the next look.
    pub(super) async fn run(&self) {
        let folder = self.journal.folder.clone();
        let dead = match blocking(move || folder.dead()).await {
            Ok(dead) => dead,
            Err(error) => return tracing::error!(%error, "the journal's folder cannot be read"),
        };
        let mut is_done = true;
        for claim in dead {
            if let Err(error) = self.replay(claim).await {
                let causes = error.causes();
                tracing::error!(%error, causes, "what another process left in the journal cannot be booked yet");
                is_done = false;
            }
        }
        if is_done {
            self.journal.replaying.store(i64::MAX, Ordering::Relaxed);
        }
    }

    /// Books what one dead process left, and removes it.
    async fn replay(&self, claim: Claim) -> Result<()> {
        let (folder, writer) = (self.journal.folder.clone(), claim.writer.clone());
        let name = writer.clone();
        let segments = blocking(move || folder.segments(&name)).await.map_err(Error::internal)?;
        let mut found = Found::default();
        for path in &segments {
            let file = path.clone();
            let (records, is_damaged) = blocking(move || read(&file)).await.map_err(Error::internal)?;
            if is_damaged {
                found.damaged.push(path.clone());
            }
            for record in records {
                found.take(record);
                if found.group.len() >= GROUP_ENTRIES {
                    self.write(&mut found).await?;
                }
            }
        }
        found.interrupted = found.open.len() as u64;
        for (_, entry) in std::mem::take(&mut found.open) {
            found.group.push(entry);
            if found.group.len() >= GROUP_ENTRIES {
                self.write(&mut found).await?;
            }
        }
        self.write(&mut found).await?;
        let Found { settled, interrupted, damaged, .. } = found;
        let damages = damaged.len() as u64;
        blocking(move || remove(&claim, &segments, &damaged)).await.map_err(Error::internal)?;
        self.journal.metrics.journal_damaged(damages);
        self.journal.is_dead(writer);
        if settled + interrupted > 0 {
            tracing::warn!(settled, interrupted, "booked what a gateway that died had left in the journal");
        }
        Ok(())
    }

    async fn write(&self, found: &mut Found) -> Result<()> {
        if found.group.is_empty() {
            return Ok(());
        }
        let oldest = found.group.iter().map(|entry| entry.at.millis()).min();
        self.journal.replaying.fetch_min(oldest.unwrap_or(i64::MAX), Ordering::Relaxed);
        let write = queries::write_group(&self.store, &found.group, &[]);
        let timed_out = |_| Err(Error::new(Kind::Timeout, "The store did not answer in time."));
        tokio::time::timeout(WRITE_TIMEOUT, write).await.unwrap_or_else(timed_out)?;
        found.group.drain(..).for_each(|entry| (self.on_replayed)(&entry));
        Ok(())
    }
}

impl Found {
    pub(super) fn take(&mut self, record: Record) {
        match record {
            Record::Begun(entry) => drop(self.open.insert(entry.id.clone(), entry)),
            Record::Settled(entry) => {
                self.open.remove(&entry.id);
                self.settled += 1;
                self.group.push(entry);
            }
            Record::Discarded(id) => drop(self.open.remove(&id)),
        }
    }
}

/// The records of a segment, and whether some could not be read. What was torn off at its end is expected.
pub(super) fn read(path: &Path) -> io::Result<(Vec<Record>, bool)> {
    let bytes = std::fs::read(path)?;
    let file = path.file_name().unwrap_or_default().display();
    let Some(mut records) = Records::of_segment(&bytes) else {
        tracing::error!(%file, "a segment of the journal is of another version, or none");
        return Ok((Vec::new(), true));
    };
    let all = records.by_ref().collect();
    if records.torn > 0 {
        tracing::info!(%file, bytes = records.torn, "the end of a segment of the journal was not written as a whole");
    }
    if records.damaged > 0 {
        tracing::error!(%file, places = records.damaged, "a segment of the journal is damaged; what could be read was booked");
    }
    Ok((all, records.damaged > 0))
}

fn remove(claim: &Claim, segments: &[PathBuf], damaged: &[PathBuf]) -> io::Result<()> {
    // In order: what became of a call goes after its beginning.
    for path in segments {
        if damaged.contains(path) {
            Folder::set_aside(path)?;
        } else {
            std::fs::remove_file(path)?;
        }
    }
    claim.forget();
    Ok(())
}
