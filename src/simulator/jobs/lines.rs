//! The lines of a job's files, one file after the other, never more than one in memory.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result};

use crate::simulator::Simulator;
use crate::simulator::s3::files::Reader;

/// A line that is longer is no record.
const LONGEST: u64 = 64 << 20;

/// A file of a job's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputFile {
    pub(crate) key: String,
    /// Below the input's address; of a single file its name.
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// Where a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Of the current file, from 1.
    Line(u64),
    /// The current file has no more.
    FileEnd,
    End,
}

#[derive(Debug)]
pub(crate) struct Lines {
    bucket: String,
    files: VecDeque<InputFile>,
    reader: Option<BufReader<Reader>>,
    number: u64,
}

impl Lines {
    pub(crate) fn new(bucket: &str, files: Vec<InputFile>) -> Self {
        Self { bucket: bucket.to_owned(), files: files.into(), reader: None, number: 0 }
    }

    /// The file whose lines are read.
    pub(crate) fn file(&self) -> Option<&InputFile> {
        self.files.front()
    }

    /// Reads the next line into `line`, without its line break.
    pub(crate) fn next(&mut self, simulator: &Simulator, line: &mut Vec<u8>) -> Result<Next> {
        line.clear();
        let Some(file) = self.files.front() else { return Ok(Next::End) };
        let reader = if let Some(reader) = &mut self.reader {
            reader
        } else {
            let object = simulator.objects().open(&self.bucket, &file.key);
            let (object, _) = object.ok_or_else(|| Error::new(ErrorKind::NotFound, "the object is gone"))?;
            self.reader.insert(BufReader::with_capacity(64 << 10, object))
        };
        if reader.take(LONGEST).read_until(b'\n', line)? == 0 {
            self.files.pop_front();
            self.reader = None;
            self.number = 0;
            return Ok(Next::FileEnd);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        self.number += 1;
        Ok(Next::Line(self.number))
    }
}
