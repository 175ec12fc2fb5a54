//! The files that this process writes, and what is still needed of each.
//!
//! Only the newest is written to. The oldest goes when nothing needs it; they go in order, so that what became of a call
//! is never forgotten before the call itself. All of it happens under the journal's lock; nothing here waits.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::folder::Folder;
use super::record::HEADER;
use crate::clock::Timestamp;

/// The segment that keeps an entry which waits in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tenancy) struct Mark(u64);

/// What became of an entry that was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tenancy) enum Kept {
    /// It waits in memory.
    InMemory,
    /// There was no room; it is read back from disk.
    OnDisk,
    /// There was no room, and it could not be written.
    Nowhere,
}

/// Settled entries of one segment that are nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tenancy) struct Spill {
    segment: u64,
    /// How many there are.
    pub(in crate::tenancy) entries: u64,
    /// All of them are from here on ...
    pub(super) from: u64,
    /// ... to here, where a record ends.
    pub(super) to: u64,
    /// When the oldest was settled.
    pub(super) since: Timestamp,
}

pub(super) struct Segments {
    folder: Folder,
    writer: String,
    limit: u64,
    next: u64,
    /// Oldest first.
    list: VecDeque<Segment>,
    /// Calls under way, and the segment that their beginning is in.
    open: HashMap<String, u64>,
    /// Files were made or removed since the folder was synced.
    folder_unsynced: bool,
}

struct Segment {
    number: u64,
    path: PathBuf,
    /// While it is written to, or not yet synced.
    file: Option<Arc<File>>,
    is_writable: bool,
    unsynced: bool,
    length: u64,
    /// Calls that began here and are under way.
    open: usize,
    /// Entries settled here that are in memory, on their way into the store.
    queued: usize,
    /// Entries settled here that are in memory no more.
    spilled: Option<Spill>,
}

impl Segment {
    fn is_done(&self) -> bool {
        self.open == 0 && self.queued == 0 && self.spilled.is_none()
    }

    /// The entry whose record begins at `from`, the last one, is nowhere else.
    fn spill(&mut self, from: u64, since: Timestamp) {
        let first = Spill { segment: self.number, entries: 0, from, to: self.length, since };
        let spill = self.spilled.get_or_insert(first);
        spill.entries += 1;
        spill.to = self.length;
        spill.since = spill.since.min(since);
    }
}

impl Segments {
    pub(super) fn new(folder: Folder, writer: String, limit: u64) -> Self {
        let (list, open) = (VecDeque::new(), HashMap::new());
        Self { folder, writer, limit, next: 1, list, open, folder_unsynced: true }
    }

    pub(super) fn begin(&mut self, id: &str, record: &[u8]) -> io::Result<()> {
        let (segment, _) = self.append(record)?;
        let before = self.open.insert(id.to_owned(), segment);
        self.change(segment, |segment| segment.open += 1);
        if let Some(before) = before {
            self.change(before, |segment| segment.open -= 1);
        }
        Ok(())
    }

    /// The entry is settled. `queue` puts it in memory, if there is room; what has none is found on disk again, in the
    /// order in which it came. When it cannot be written, what was written of its beginning is kept instead, until the
    /// entry is in the store.
    pub(super) fn settle(
        &mut self,
        (id, at): (&str, Timestamp),
        record: &[u8],
        queue: impl FnOnce(Option<Mark>) -> bool,
    ) -> (Kept, io::Result<()>) {
        let begun = self.open.get(id).copied();
        let (place, written) = match self.append(record) {
            Ok(place) => (Some(place), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let keeper = place.map(|(segment, _)| segment).or(begun);
        let kept = match (queue(keeper.map(Mark)), place) {
            (true, _) => Kept::InMemory,
            (false, Some(_)) => Kept::OnDisk,
            // The next start books its beginning, if it is written down.
            (false, None) => return (Kept::Nowhere, written),
        };
        if let Some(begun) = begun {
            self.open.remove(id);
            self.change(begun, |segment| segment.open -= 1);
        }
        match (kept, place) {
            (Kept::OnDisk, Some((segment, from))) => self.change(segment, |segment| segment.spill(from, at)),
            _ => keeper.into_iter().for_each(|keeper| self.change(keeper, |segment| segment.queued += 1)),
        }
        (kept, written)
    }

    pub(super) fn discard(&mut self, id: &str, record: &[u8]) -> io::Result<()> {
        let Some(begun) = self.open.get(id).copied() else { return Ok(()) };
        let written = self.append(record).map(drop);
        self.open.remove(id);
        self.change(begun, |segment| segment.open -= 1);
        written
    }

    /// The entries are in the store, or given up.
    pub(super) fn release(&mut self, marks: impl Iterator<Item = Mark>) {
        for Mark(segment) in marks {
            self.change(segment, |segment| segment.queued -= 1);
        }
        self.sweep();
    }

    /// The oldest segment that has such entries, and its file.
    pub(super) fn spilled(&self) -> Option<(Spill, PathBuf)> {
        self.list.iter().find_map(|segment| Some((segment.spilled?, segment.path.clone())))
    }

    /// When the oldest entry was settled that waits on disk alone.
    pub(super) fn spilled_since(&self) -> Option<Timestamp> {
        self.list.iter().filter_map(|segment| Some(segment.spilled?.since)).min()
    }

    /// What was spilled at the time of `read` is in the store.
    pub(super) fn recalled(&mut self, read: Spill) {
        self.change(read.segment, |segment| {
            // What came since lies behind.
            let rest = segment.spilled.filter(|now| now.entries > read.entries);
            segment.spilled = rest.map(|now| Spill { entries: now.entries - read.entries, from: read.to, ..now });
        });
        self.sweep();
    }

    /// Lets the newest segment go as well if nothing needs it: an idle gateway keeps no old entries on disk.
    pub(super) fn retire(&mut self) {
        if let Some(newest) = self.list.back_mut().filter(|newest| newest.is_done()) {
            newest.is_writable = false;
        }
        self.sweep();
    }

    /// The oldest segment, if calls under way alone keep it and all behind it.
    pub(super) fn pinned(&self) -> Option<(u64, PathBuf)> {
        let oldest = self.list.front().filter(|oldest| self.list.len() > 1 && oldest.open > 0)?;
        (oldest.queued == 0 && oldest.spilled.is_none()).then(|| (oldest.number, oldest.path.clone()))
    }

    /// Writes the beginning of a call again, unless it is over or was written again by itself.
    pub(super) fn carry(&mut self, from: u64, id: &str, record: &[u8]) -> io::Result<()> {
        if self.open.get(id) == Some(&from) {
            self.begin(id, record)?;
        }
        self.sweep();
        Ok(())
    }

    /// Files with bytes that were not synced, and whether the folder has to be.
    pub(super) fn unsynced(&mut self) -> (Vec<Arc<File>>, bool) {
        let mut files = Vec::new();
        for segment in self.list.iter_mut().filter(|segment| segment.unsynced) {
            segment.unsynced = false;
            files.extend(segment.file.clone());
            if !segment.is_writable {
                segment.file = None;
            }
        }
        (files, std::mem::take(&mut self.folder_unsynced))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Writes a record to the newest segment, as a whole or not at all: its segment and where it begins.
    fn append(&mut self, record: &[u8]) -> io::Result<(u64, u64)> {
        let size = record.len() as u64;
        let fits = |newest: &Segment| newest.is_writable && newest.length + size <= self.limit;
        if !self.list.back().is_some_and(fits) {
            self.rotate()?;
        }
        let newest = self.list.back_mut().and_then(|newest| Some((newest.file.clone()?, newest)));
        let (file, newest) = newest.ok_or_else(|| io::Error::other("no segment can be written"))?;
        if let Err(error) = (&*file).write_all(record) {
            // Half a record in the middle would be passed over; without it the file stays good.
            newest.is_writable = file.set_len(newest.length).is_ok();
            return Err(error);
        }
        let offset = newest.length;
        newest.length += size;
        newest.unsynced = true;
        Ok((newest.number, offset))
    }

    fn rotate(&mut self) -> io::Result<()> {
        let number = self.next;
        let path = self.folder.segment(&self.writer, number);
        let file = File::options().append(true).create_new(true).mode(0o600).open(&path)?;
        self.next += 1;
        if let Err(error) = (&file).write_all(HEADER) {
            // An empty segment does no harm.
            std::fs::remove_file(&path).ok();
            return Err(error);
        }
        if let Some(newest) = self.list.back_mut() {
            newest.is_writable = false;
        }
        self.list.push_back(Segment {
            number,
            path,
            file: Some(Arc::new(file)),
            is_writable: true,
            unsynced: true,
            length: HEADER.len() as u64,
            open: 0,
            queued: 0,
            spilled: None,
        });
        self.folder_unsynced = true;
        self.sweep();
        Ok(())
    }

    /// Removes what nothing needs from the oldest on.
    fn sweep(&mut self) {
        while self.list.front().is_some_and(|oldest| oldest.is_done() && !oldest.is_writable) {
            let Some(oldest) = self.list.pop_front() else { return };
            self.folder_unsynced = true;
            if let Err(error) = std::fs::remove_file(&oldest.path) {
                // Its entries have rows: reading it again adds none.
                tracing::warn!(%error, "a segment of the journal cannot be removed");
            }
        }
    }

    /// From now on the newest segment has no room.
    #[cfg(test)]
    pub(super) fn fill_the_disk(&mut self) {
        if let Some(newest) = self.list.back_mut() {
            newest.file = File::options().append(true).open("/dev/full").ok().map(Arc::new);
        }
    }

    /// A segment that is counted in is in the list.
    fn change(&mut self, number: u64, change: impl FnOnce(&mut Segment)) {
        let segment = self.list.iter_mut().find(|segment| segment.number == number);
        debug_assert!(segment.is_some(), "a segment that is needed is kept");
        if let Some(segment) = segment {
            change(segment);
        }
    }
}
