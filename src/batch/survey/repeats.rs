//! Which ids come twice, however many there are: a hash of each, kept in memory in a run of bounded size, and in a
//! temporary file once there is more than one run.
//!
//! The hash has 128 bits of SHA-256: two ids with the same are the same id. Invariant: memory does not grow with the number
//! of ids, but for a window on each run while they are merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use sha2::{Digest as _, Sha256};

/// Ids of a run: 12 MiB.
const RUN: usize = 1 << 19;
/// Bytes of an entry in the file.
const ENTRY: usize = 24;
/// Entries of a run that are in memory while runs are merged.
const WINDOW: usize = 2048;

/// An id that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Repeat {
    /// Where it comes again.
    pub(super) line: u64,
    /// Where it came first.
    pub(super) first: u64,
}

/// The hash of an id, and its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    hash: u128,
    line: u64,
}

/// All ids so far.
#[derive(Debug)]
pub(super) struct Repeats {
    run: Vec<Entry>,
    /// The most entries of `run`.
    most: usize,
    spilled: Option<File>,
    /// The entries of each run in the file.
    runs: Vec<usize>,
}

impl Repeats {
    pub(super) fn new() -> Self {
        Self::with_runs_of(RUN)
    }

    fn with_runs_of(most: usize) -> Self {
        Self { run: Vec::new(), most, spilled: None, runs: Vec::new() }
    }

    /// Notes the id of a line. Fails when the temporary file does.
    pub(super) fn note(&mut self, id: &str, line: u64) -> io::Result<()> {
        if self.run.len() == self.most {
            self.spill()?;
        }
        let digest = Sha256::digest(id.as_bytes());
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        self.run.push(Entry { hash: u128::from_be_bytes(hash), line });
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        let file = match &mut self.spilled {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        let mut bytes = Vec::with_capacity(WINDOW * ENTRY);
        for window in self.run.chunks(WINDOW) {
            bytes.clear();
            for entry in window {
                bytes.extend_from_slice(&entry.hash.to_be_bytes());
                bytes.extend_from_slice(&entry.line.to_be_bytes());
            }
            file.write_all(&bytes)?;
        }
        self.runs.push(self.run.len());
        self.run.clear();
        Ok(())
    }

    /// The first `most` lines that repeat an id, in order, and how many there are. Fails when the temporary file does.
    pub(super) fn finish(mut self, most: usize) -> io::Result<(Vec<Repeat>, u64)> {
        let mut found = Found { most, lines: BinaryHeap::new(), count: 0, last: None };
        if self.spilled.is_none() {
            self.run.sort_unstable();
            self.run.iter().for_each(|entry| found.see(*entry));
            return Ok(found.told());
        }
        self.spill()?;
        self.run = Vec::new();
        let Some(file) = self.spilled else { return Ok(found.told()) };
        let mut merge = Merge::new(file, &self.runs)?;
        while let Some(entry) = merge.next()? {
            found.see(entry);
        }
        Ok(found.told())
    }
}

/// Repeats among entries that come in order.
struct Found {
    most: usize,
    /// The lowest lines; the highest of them on top.
    lines: BinaryHeap<Repeat>,
    count: u64,
    last: Option<Entry>,
}

impl Found {
    fn see(&mut self, entry: Entry) {
        match self.last {
            Some(last) if last.hash == entry.hash => {
                self.count += 1;
                self.lines.push(Repeat { line: entry.line, first: last.line });
                if self.lines.len() > self.most {
                    self.lines.pop();
                }
            }
            _ => self.last = Some(entry),
        }
    }

    fn told(self) -> (Vec<Repeat>, u64) {
        (self.lines.into_sorted_vec(), self.count)
    }
}

/// Sorted runs in one file, read as one.
struct Merge {
    file: File,
    runs: Vec<Run>,
    /// The next entry of each run.
    next: BinaryHeap<Reverse<(Entry, usize)>>,
}

/// What of a run is not yet merged.
struct Run {
    /// Where the rest of it is in the file.
    at: u64,
    left: usize,
    window: std::vec::IntoIter<Entry>,
}

impl Merge {
    fn new(file: File, lengths: &[usize]) -> io::Result<Self> {
        let mut at = 0;
        let mut merge = Self { file, runs: Vec::with_capacity(lengths.len()), next: BinaryHeap::new() };
        for (index, left) in lengths.iter().copied().enumerate() {
            merge.runs.push(Run { at, left, window: Vec::new().into_iter() });
            at += (left * ENTRY) as u64;
            merge.draw(index)?;
        }
        Ok(merge)
    }

    fn next(&mut self) -> io::Result<Option<Entry>> {
        let Some(Reverse((entry, index))) = self.next.pop() else { return Ok(None) };
        self.draw(index)?;
        Ok(Some(entry))
    }

    /// Takes the next entry of a run among the next of all.
    fn draw(&mut self, index: usize) -> io::Result<()> {
        let Some(run) = self.runs.get_mut(index) else { return Ok(()) };
        if run.window.len() == 0 && run.left > 0 {
            let count = run.left.min(WINDOW);
            let mut bytes = vec![0; count * ENTRY];
            self.file.seek(SeekFrom::Start(run.at))?;
            self.file.read_exact(&mut bytes)?;
            let (entries, _) = bytes.as_chunks::<ENTRY>();
            run.window = entries.iter().map(entry).collect::<Vec<_>>().into_iter();
            run.at += bytes.len() as u64;
            run.left -= count;
        }
        if let Some(entry) = run.window.next() {
            self.next.push(Reverse((entry, index)));
        }
        Ok(())
    }
}

fn entry(bytes: &[u8; ENTRY]) -> Entry {
    let (mut hash, mut line) = ([0; 16], [0; 8]);
    hash.copy_from_slice(&bytes[..16]);
    line.copy_from_slice(&bytes[16..]);
    Entry { hash: u128::from_be_bytes(hash), line: u64::from_be_bytes(line) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_repeat_is_found_whether_ids_are_spilled_or_not(
            ids in proptest::collection::vec(0_u16..60, 0..200),
            run in 1_usize..80,
            most in 0_usize..20,
        ) {
            let mut repeats = Repeats::with_runs_of(run);
            let (mut firsts, mut expected) = (HashMap::new(), Vec::new());
            for (line, id) in (1..).zip(&ids) {
                repeats.note(&id.to_string(), line).unwrap();
                match firsts.get(id) {
                    Some(first) => expected.push(Repeat { line, first: *first }),
                    None => drop(firsts.insert(id, line)),
                }
            }
            let count = expected.len() as u64;
            expected.truncate(most);
            prop_assert_eq!(repeats.finish(most).unwrap(), (expected, count));
        }
    }
}
