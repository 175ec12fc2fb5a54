//! The folder that processes share: who writes which files, and who of them is dead.
//!
//! A process that writes holds a lock on `WRITER.lock` for as long as it lives; its segments are `WRITER-NUMBER.journal`.
//! Whoever gets that lock later may read and remove them.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::ids;

const LOCK: &str = "lock";
const SEGMENT: &str = "journal";
/// What a segment is called once it is read, if something in it could not be.
const DAMAGED: &str = "damaged";

#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

/// The files of a writer are this process's to write, or to read and remove.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) writer: String,
    lock: PathBuf,
    /// The lock lasts as long as this is open.
    _file: File,
}

impl Claim {
    /// The writer has no segments any more, and will have none.
    pub(super) fn forget(&self) {
        fs::remove_file(&self.lock).ok();
    }
}

impl Folder {
    /// Makes the folder, for its owner alone, when it is missing.
    pub(super) fn make(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self(path.to_owned()))
    }

    pub(super) fn segment(&self, writer: &str, number: u64) -> PathBuf {
        self.0.join(format!("{writer}-{number:08}.{SEGMENT}"))
    }

    /// A new writer's claim.
    pub(super) fn enter(&self) -> io::Result<Claim> {
        loop {
            let writer = ids::fresh("");
            let lock = self.0.join(format!("{writer}.{LOCK}"));
            let file = File::options().write(true).create_new(true).mode(0o600).open(&lock)?;
            // Another process may have taken the file for that of a dead writer before it was locked.
            let is_ours = match file.try_lock() {
                Ok(()) => {
                    fs::metadata(&lock).is_ok_and(|there| file.metadata().is_ok_and(|own| own.ino() == there.ino()))
                }
                Err(TryLockError::WouldBlock) => false,
                Err(TryLockError::Error(error)) => return Err(error),
            };
            if is_ours {
                return Ok(Claim { writer, lock, _file: file });
            }
        }
    }

    /// The claims of writers that are dead.
    pub(super) fn dead(&self) -> io::Result<Vec<Claim>> {
        let mut writers = BTreeSet::new();
        for file in fs::read_dir(&self.0)? {
            let path = file?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(LOCK) => writers.insert(stem.to_owned()),
                Some(SEGMENT) => writers.insert(stem.rsplit_once('-').map_or(stem, |(writer, _)| writer).to_owned()),
                _ => false,
            };
        }
        let mut claims = Vec::new();
        for writer in writers {
            claims.extend(self.claim(writer)?);
        }
        Ok(claims)
    }

    fn claim(&self, writer: String) -> io::Result<Option<Claim>> {
        let lock = self.0.join(format!("{writer}.{LOCK}"));
        let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&lock)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Claim { writer, lock, _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The segments of a writer, in order.
    pub(super) fn segments(&self, writer: &str) -> io::Result<Vec<PathBuf>> {
        let prefix = format!("{writer}-");
        let mut paths = Vec::new();
        for file in fs::read_dir(&self.0)? {
            let path = file?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(&prefix) && path.extension().is_some_and(|extension| extension == SEGMENT) {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Puts a segment aside for people to look at: it is not read again.
    pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
        let aside = path.with_extension(DAMAGED);
        fs::rename(path, &aside)?;
        Ok(aside)
    }

    /// What was made and removed lasts.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}
