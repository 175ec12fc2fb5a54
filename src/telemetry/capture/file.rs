//! The file that captured requests are appended to, and the task that writes it.
//!
//! It is looked at before each write: one that was moved or removed is begun anew at its old place, so that rotating it
//! needs no signal. A failure loses the lines that it is about, and is counted; the next ones are tried all the same.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::record::Record;
use super::redact::Redaction;
use crate::clock::Timestamp;
use crate::config;
use crate::error::{Error, Result};
use crate::telemetry::Metrics;

/// Lines that are written together at most.
const GROUP: usize = 64;
/// A file that cannot be written is told of this often.
const COMPLAIN: Duration = Duration::from_mins(5);

/// Writes captured requests.
pub(super) struct Writer {
    sink: Sink,
    redaction: Redaction,
    max_record: usize,
    metrics: Metrics,
    complained: Option<Instant>,
}

impl Writer {
    pub(super) fn open(settings: &config::Capture, now: Timestamp, metrics: Metrics) -> Result<Self> {
        let redaction = Redaction::new(&settings.redact)?;
        let time = jiff::Timestamp::from_millisecond(now.millis()).unwrap_or_default().to_string();
        let version = env!("CARGO_PKG_VERSION");
        let begun = json!({"event": "begun", "time": time, "version": version, "teams": settings.teams});
        let mut sink = Sink::new(PathBuf::from(&settings.file), settings.max_file_mb.saturating_mul(1024 * 1024));
        // That it can be written, too, is known only when it was.
        sink.append(format!("{begun}\n").as_bytes()).map_err(|error| {
            Error::invalid("telemetry.capture.file", format!("{} cannot be written: {error}", settings.file))
        })?;
        let max_record = usize::try_from(settings.max_record_kb.saturating_mul(1024)).unwrap_or(usize::MAX);
        Ok(Self { sink, redaction, max_record, metrics, complained: None })
    }

    /// Writes what comes until `stop`, and then what is left.
    pub(super) async fn run(self, mut records: Receiver<Record>, tracker: TaskTracker, stop: CancellationToken) {
        let mut writer = self;
        let mut is_stopping = false;
        loop {
            let mut group = Vec::new();
            let count = tokio::select! {
                biased;
                count = records.recv_many(&mut group, GROUP) => count,
                () = stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    records.close();
                    continue;
                }
            };
            if count == 0 {
                return;
            }
            let written = tracker.spawn_blocking(move || {
                writer.write(&group);
                writer
            });
            match written.await {
                Ok(back) => writer = back,
                Err(error) => {
                    tracing::error!(%error, "nothing is captured any more");
                    return;
                }
            }
        }
    }

    fn write(&mut self, group: &[Record]) {
        for record in group {
            let line = record.line(&self.redaction, self.max_record);
            match self.sink.append(&line) {
                Ok(()) => self.complained = None,
                Err(error) => {
                    self.metrics.capture_dropped("write");
                    if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
                        self.complained = Some(Instant::now());
                        let file = self.sink.path.display();
                        tracing::error!(%file, %error, "captured requests cannot be written");
                    }
                }
            }
        }
    }
}

/// A file that is appended to.
struct Sink {
    path: PathBuf,
    max: u64,
    open: Option<Open>,
}

struct Open {
    file: File,
    /// Device and number: which file it is, whatever its name is by now.
    id: (u64, u64),
    size: u64,
    /// Whether the last write stopped in the middle of a line.
    is_torn: bool,
}

impl Sink {
    fn new(path: PathBuf, max: u64) -> Self {
        Self { path, max, open: None }
    }

    /// Appends a line.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| !is_at(&self.path, open.id)) {
            self.open = None;
        }
        if self.open.as_ref().is_some_and(|open| open.size > 0 && open.size + line.len() as u64 > self.max) {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            std::fs::rename(&self.path, older)?;
            self.open = None;
        }
        let open = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(Open::at(&self.path)?),
        };
        open.append(line)
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let metadata = file.metadata()?;
        Ok(Self { file, id: (metadata.dev(), metadata.ino()), size: metadata.len(), is_torn: false })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.write_all(b"\n")?;
            self.is_torn = false;
        }
        self.is_torn = true;
        self.file.write_all(line)?;
        self.is_torn = false;
        self.size += line.len() as u64;
        Ok(())
    }
}

/// Whether that file is still the one at `path`.
fn is_at(path: &Path, id: (u64, u64)) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_that_is_moved_away_is_begun_anew_and_one_that_is_full_too() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("prompts.jsonl"), folder.path().join("moved"));
        let mut sink = Sink::new(path.clone(), 10);
        sink.append(b"one\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        sink.append(b"two\n").unwrap();
        sink.append(b"three\n").unwrap();
        assert_eq!((read(&moved), read(&path)), ("one\n".into(), "two\nthree\n".into()));
        sink.append(b"four\n").unwrap();
        assert_eq!(
            (read(&folder.path().join("prompts.jsonl.1")), read(&path)),
            ("two\nthree\n".into(), "four\n".into())
        );
        let mode = std::fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }

    #[test]
    fn a_disk_that_is_full_is_told_at_the_start_by_the_name_of_the_setting() {
        let settings = |file: &str| config::Capture { file: file.into(), ..config::Capture::default() };
        for file in ["/dev/full", "/no/such/folder/prompts.jsonl", "/"] {
            let opened = Writer::open(&settings(file), Timestamp::default(), Metrics::new().unwrap());
            let error = opened.err().unwrap();
            assert_eq!(error.blamed(), Some("telemetry.capture.file"));
            assert!(error.message().starts_with(&format!("{file} cannot be written: ")), "{error}");
        }
    }
}
