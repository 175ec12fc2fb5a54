//! Files that are looked at now and then, to see whether they changed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often the file of the configuration is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What a file is like: where it really is, its inode, when it was modified, its length. `None` without the file. Kubernetes
/// replaces a symbolic link two folders up, and an editor the file itself; either shows.
pub(super) type Stamp = Option<(PathBuf, u64, SystemTime, u64)>;

/// What the file is like now.
pub(super) fn stamp(path: &Path) -> Stamp {
    let resolved = std::fs::canonicalize(path).ok()?;
    let metadata = std::fs::metadata(&resolved).ok()?;
    Some((resolved, metadata.ino(), metadata.modified().ok()?, metadata.len()))
}

/// The file of the configuration, and what it was like when it was last read.
#[derive(Debug)]
pub struct Watched {
    file: Option<PathBuf>,
    read: Stamp,
    /// How it was found at the last look, if that was not how it was read.
    changing: Option<Stamp>,
}

impl Watched {
    /// As it is now; look before it is read. Without a file nothing changes.
    pub fn new(file: Option<PathBuf>) -> Self {
        let read = file.as_deref().and_then(stamp);
        Self { file, read, changing: None }
    }

    /// It is about to be read again.
    pub fn reading(&mut self) {
        *self = Self::new(self.file.take());
    }

    /// Waits until it has changed, and then has stayed as it is from one look to the next: who writes it may not be done.
    /// Can be given up and begun again.
    pub async fn changed(&mut self) {
        let Some(file) = self.file.clone() else { return std::future::pending().await };
        loop {
            tokio::time::sleep(LOOK).await;
            if self.has_changed(stamp(&file)) {
                return;
            }
        }
    }

    fn has_changed(&mut self, found: Stamp) -> bool {
        if found == self.read {
            self.changing = None;
            return false;
        }
        let is_settled = self.changing.as_ref() == Some(&found);
        if is_settled {
            (self.read, self.changing) = (found, None);
        } else {
            self.changing = Some(found);
        }
        is_settled
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn write(path: &Path, text: &str, minutes: u64) {
        std::fs::write(path, text).unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_mins(minutes)).unwrap();
    }

    #[test]
    fn a_change_counts_once_it_stays_from_one_look_to_the_next() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("gateway.toml");
        write(&path, "a", 1);
        let mut watched = Watched::new(Some(path.clone()));
        let mut look = || watched.has_changed(stamp(&path));
        assert!(!look());
        write(&path, "", 2);
        assert!(!look(), "an editor has cut it, and goes on to write");
        write(&path, "ab", 2);
        assert!(!look());
        assert!(look());
        assert!(!look(), "the same is told once");
        std::fs::remove_file(&path).unwrap();
        assert!(!look());
        write(&path, "ab", 3);
        assert!(!look() && look(), "it is another file");
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_change_even_to_a_file_of_the_same_age() {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["v1", "v2"] {
            std::fs::create_dir(at(version)).unwrap();
            write(&at(version).join("gateway.toml"), version, 1);
        }
        std::os::unix::fs::symlink("v1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/gateway.toml", at("gateway.toml")).unwrap();
        let mut watched = Watched::new(Some(at("gateway.toml")));
        std::os::unix::fs::symlink("v2", at("..next")).unwrap();
        std::fs::rename(at("..next"), at("..data")).unwrap();
        let mut look = || watched.has_changed(stamp(&at("gateway.toml")));
        assert!(!look() && look() && !look());
    }
}
