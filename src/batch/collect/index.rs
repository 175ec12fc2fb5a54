//! The index of a shard in memory: where its records are in the source, and what they are called there.

use bytes::Bytes;
use futures_util::Stream;

use crate::batch::layout::IndexLine;
use crate::batch::lines::LineReader;
use crate::error::{Error, Result};

/// The most bytes of a line of an index: an id and a note, each escaped.
const MAX_LINE: usize = 64 << 10;

/// A shard's index: some forty bytes and the names, for each record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    rows: Vec<Row>,
    /// Ids and notes, one after the other.
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    offset: u64,
    length: u64,
    id: usize,
    note: usize,
    end: usize,
}

/// A record of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indexed<'a> {
    /// Where its line is in the source.
    pub offset: u64,
    /// How long its line is there.
    pub length: u64,
    /// `custom_id` or `recordId`.
    pub id: &'a str,
    /// What rendering its answer needs.
    pub note: &'a str,
}

impl Index {
    /// Reads the object of a shard's index.
    ///
    /// # Errors
    /// As the stream does; and when it holds something else.
    pub async fn read(source: impl Stream<Item = Result<Bytes>> + Unpin) -> Result<Self> {
        let mut index = Self::default();
        let mut lines = LineReader::within(source, MAX_LINE, 0);
        while let Some(line) = lines.next().await? {
            let row = line.bytes.and_then(|bytes| serde_json::from_slice::<IndexLine<'_>>(bytes).ok());
            let row = row.ok_or_else(|| Error::internal(format!("line {} of an index cannot be read", line.number)))?;
            index.push(&row);
        }
        Ok(index)
    }

    /// Adds a record behind the others.
    pub fn push(&mut self, IndexLine(offset, length, id, note): &IndexLine<'_>) {
        let at = self.text.len();
        self.text.push_str(id);
        let middle = self.text.len();
        self.text.push_str(note);
        self.rows.push(Row { offset: *offset, length: *length, id: at, note: middle, end: self.text.len() });
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The record at this place of the shard.
    pub fn at(&self, place: usize) -> Option<Indexed<'_>> {
        let row = self.rows.get(place)?;
        let (id, note) = (self.text.get(row.id..row.note)?, self.text.get(row.note..row.end)?);
        Some(Indexed { offset: row.offset, length: row.length, id, note })
    }
}
