//! The bytes of objects: files in a directory of the simulator's own, written once, shared by every object that is made of
//! them, and gone with the last one. The directory goes with the simulator.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use md5::{Digest as _, Md5};

/// Where the files are. Made when the first is written.
#[derive(Debug, Default)]
pub(crate) struct Folder(Mutex<Option<PathBuf>>);

impl Folder {
    fn path(&self) -> io::Result<PathBuf> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &*kept {
            return Ok(path.clone());
        }
        let path = std::env::temp_dir().join(format!("simulated-s3-{}", uuid::Uuid::new_v4().simple()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(kept.insert(path).clone())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(path) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            fs::remove_dir_all(path).ok();
        }
    }
}

/// A file that is removed when nothing needs it.
#[derive(Debug)]
struct Stored {
    path: PathBuf,
    _folder: Arc<Folder>,
}

impl Drop for Stored {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

/// A stretch of a file.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    file: Arc<Stored>,
    offset: u64,
    /// In bytes.
    pub(crate) length: u64,
}

/// The stretches that a range of the bytes of `pieces` is made of.
pub(crate) fn cut(pieces: &[Piece], range: &Range<u64>) -> Vec<Piece> {
    let mut start = 0;
    let mut found = Vec::new();
    for piece in pieces {
        let end = start + piece.length;
        let (from, to) = (range.start.clamp(start, end), range.end.clamp(start, end));
        if from < to {
            found.push(Piece {
                file: Arc::clone(&piece.file),
                offset: piece.offset + (from - start),
                length: to - from,
            });
        }
        start = end;
    }
    found
}

/// A file being written, and the MD5 of what was written so far.
pub(crate) struct Draft {
    file: File,
    stored: Stored,
    length: u64,
    md5: Md5,
}

impl Draft {
    pub(crate) fn begin(folder: &Arc<Folder>) -> io::Result<Self> {
        let path = folder.path()?.join(uuid::Uuid::new_v4().simple().to_string());
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        let stored = Stored { path, _folder: Arc::clone(folder) };
        Ok(Self { file, stored, length: 0, md5: Md5::new() })
    }

    /// What was written, and its MD5.
    pub(crate) fn end(self) -> (Piece, [u8; 16]) {
        (Piece { file: Arc::new(self.stored), offset: 0, length: self.length }, self.md5.finalize().into())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.md5.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Draft")
            .field("stored", &self.stored)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Reads pieces one after the other. What is overwritten or deleted meanwhile is read to its end.
#[derive(Debug)]
pub(crate) struct Reader {
    pieces: std::vec::IntoIter<Piece>,
    open: Option<(File, Piece)>,
}

impl Reader {
    pub(crate) fn new(pieces: Vec<Piece>) -> Self {
        Self { pieces: pieces.into_iter(), open: None }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let Some((file, piece)) = &mut self.open else {
                let Some(next) = self.pieces.next() else { return Ok(0) };
                let mut file = File::open(&next.file.path)?;
                file.seek(SeekFrom::Start(next.offset))?;
                self.open = Some((file, next));
                continue;
            };
            if piece.length == 0 {
                self.open = None;
                continue;
            }
            let most = usize::try_from(piece.length).unwrap_or(usize::MAX).min(buffer.len());
            let read = file.read(&mut buffer[..most])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            piece.length -= read as u64;
            return Ok(read);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(folder: &Arc<Folder>, text: &str) -> Piece {
        let mut draft = Draft::begin(folder).unwrap();
        draft.write_all(text.as_bytes()).unwrap();
        draft.end().0
    }

    fn text(pieces: Vec<Piece>) -> String {
        let mut text = String::new();
        Reader::new(pieces).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn pieces_are_read_as_one_and_cut_anywhere() {
        let folder = Arc::default();
        let pieces = ["abc", "", "def", "g"].map(|text| piece(&folder, text)).to_vec();
        assert_eq!(text(pieces.clone()), "abcdefg");
        for (range, expected) in [(0..7, "abcdefg"), (2..4, "cd"), (3..3, ""), (5..100, "fg"), (6..7, "g")] {
            let part = cut(&pieces, &range);
            assert_eq!(text(part.clone()), expected);
            assert_eq!(text(cut(&part, &(1..2))), expected.get(1..2).unwrap_or_default());
        }
    }

    #[test]
    fn a_file_goes_with_its_last_piece_and_the_directory_with_the_last_of_all() {
        let folder: Arc<Folder> = Arc::default();
        let (one, other) = (piece(&folder, "one"), piece(&folder, "other"));
        let place = folder.path().unwrap();
        let copy = one.clone();
        drop(one);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 2);
        drop(copy);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
        drop(folder);
        assert_eq!(text(vec![other.clone()]), "other");
        drop(other);
        assert!(!place.exists());
    }

    #[test]
    fn an_abandoned_draft_leaves_nothing() {
        let folder: Arc<Folder> = Arc::default();
        let mut draft = Draft::begin(&folder).unwrap();
        draft.write_all(b"half").unwrap();
        drop(draft);
        assert_eq!(fs::read_dir(folder.path().unwrap()).unwrap().count(), 0);
    }
}
