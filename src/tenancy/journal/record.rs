//! The format of a segment: a line that names it, then records, each a mark, its length, its checksum and JSON.
//!
//! A process that dies leaves at most one record that is not whole, at the end. A machine that dies may leave anything
//! that was not synced. So a record that does not check is passed over, and reading goes on at the next one that does:
//! the mark is no UTF-8 and cannot be within JSON.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::row::Row;
use crate::tenancy::ledger::Entry;

/// What every segment begins with.
pub(super) const HEADER: &[u8] = b"bedrock-gateway journal 1\n";
const MARK: [u8; 4] = *b"\xe5BGJ";
/// Mark, length of the JSON, CRC-32 of that length and the JSON; numbers little-endian.
const FRAME: usize = 12;

/// One thing that happened to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// It is about to be sent: the entry as it is to be booked if nothing more is heard of it.
    Begun(Entry),
    /// It is over.
    Settled(Entry),
    /// It was booked under another id.
    Discarded(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Payload<'a> {
    Begin(Row<'a>),
    Settled(Row<'a>),
    Discarded(Cow<'a, str>),
}

pub(super) fn begun(entry: &Entry) -> Vec<u8> {
    frame(&Payload::Begin(entry.into()))
}

pub(super) fn settled(entry: &Entry) -> Vec<u8> {
    frame(&Payload::Settled(entry.into()))
}

pub(super) fn discarded(id: &str) -> Vec<u8> {
    frame(&Payload::Discarded(id.into()))
}

fn frame(payload: &Payload<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(&MARK);
    bytes.extend_from_slice(&[0; FRAME - MARK.len()]);
    // Text and numbers into memory: nothing of it can fail. If it did, the record would be passed over.
    sonic_rs::to_writer(&mut bytes, payload).ok();
    let length = u32::try_from(bytes.len() - FRAME).unwrap_or(u32::MAX).to_le_bytes();
    let check = checksum(length, &bytes[FRAME..]).to_le_bytes();
    bytes[4..8].copy_from_slice(&length);
    bytes[8..FRAME].copy_from_slice(&check);
    bytes
}

fn checksum(length: [u8; 4], json: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(json);
    hasher.finalize()
}

/// The JSON of the record that `bytes` begin with, if it is whole and right.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let (mark, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (check, rest) = rest.split_first_chunk::<4>()?;
    let json = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    (*mark == MARK && checksum(*length, json) == u32::from_le_bytes(*check)).then_some(json)
}

/// The records of (a part of) a segment, in order.
pub(super) struct Records<'a> {
    rest: &'a [u8],
    /// Places where something that was followed by a good record could not be read.
    pub(super) damaged: u64,
    /// Bytes at the end that are no record.
    pub(super) torn: usize,
}

impl<'a> Records<'a> {
    /// Of a whole segment; `None` when it is of another kind or version.
    pub(super) fn of_segment(bytes: &'a [u8]) -> Option<Self> {
        match bytes.strip_prefix(HEADER) {
            Some(rest) => Some(Self::of_part(rest)),
            // The process died as it made the file.
            None if HEADER.starts_with(bytes) => Some(Self::of_part(&[])),
            None => None,
        }
    }

    /// From the beginning of some record on.
    pub(super) fn of_part(rest: &'a [u8]) -> Self {
        Self { rest, damaged: 0, torn: 0 }
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        while !self.rest.is_empty() {
            if let Some(json) = payload(self.rest) {
                self.rest = &self.rest[FRAME + json.len()..];
                match read(json) {
                    Some(record) => return Some(record),
                    None => self.damaged += 1,
                }
                continue;
            }
            let mut marks = memchr::memmem::find_iter(&self.rest[1..], &MARK).map(|at| at + 1);
            let Some(next) = marks.find(|at| payload(&self.rest[*at..]).is_some()) else {
                self.torn = self.rest.len();
                self.rest = &[];
                break;
            };
            self.damaged += 1;
            self.rest = &self.rest[next..];
        }
        None
    }
}

fn read(json: &[u8]) -> Option<Record> {
    match serde_json::from_slice(json).ok()? {
        Payload::Begin(row) => row.try_into().ok().map(Record::Begun),
        Payload::Settled(row) => row.try_into().ok().map(Record::Settled),
        Payload::Discarded(id) => Some(Record::Discarded(id.into_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenancy::tests::entry;

    fn three() -> Vec<u8> {
        [begun(&entry(1)), settled(&entry(2)), discarded("call_3")].concat()
    }

    fn all() -> [Record; 3] {
        [Record::Begun(entry(1)), Record::Settled(entry(2)), Record::Discarded("call_3".into())]
    }

    #[test]
    fn what_is_written_reads_back() {
        let bare = Entry { region: None, cost: None, ttft_ms: None, end_user: None, ..entry(4) };
        let odd = Entry { end_user: Some("\0 \u{fffd} \" \n \u{1f980}".into()), input_tokens: u64::MAX, ..entry(5) };
        let bytes = [HEADER, &three(), &settled(&bare), &settled(&odd)].concat();
        let mut records = Records::of_segment(&bytes).unwrap();
        assert!(records.by_ref().eq(all().into_iter().chain([Record::Settled(bare), Record::Settled(odd)])));
        assert_eq!((records.damaged, records.torn), (0, 0));
    }

    #[test]
    fn a_tail_that_is_torn_anywhere_costs_the_last_record_alone() {
        let (whole, last) = ([begun(&entry(1)), settled(&entry(2))].concat(), discarded("call_3"));
        for cut in 0..last.len() {
            let bytes = [&whole, &last[..cut]].concat();
            let mut records = Records::of_part(&bytes);
            assert!(records.by_ref().eq(all()[..2].iter().cloned()), "cut after {cut}");
            assert_eq!((records.damaged, records.torn), (0, cut));
        }
        for cut in 0..HEADER.len() {
            assert_eq!(Records::of_segment(&HEADER[..cut]).unwrap().count(), 0);
        }
        assert!(Records::of_segment(b"bedrock-gateway journal 2\n").is_none());
    }

    #[test]
    fn one_wrong_byte_costs_one_record_wherever_it_is() {
        let (first, bytes) = (begun(&entry(1)).len(), three());
        let second = first + settled(&entry(2)).len();
        for at in first..second {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x20;
            let mut records = Records::of_part(&bytes);
            assert!(records.by_ref().eq([all()[0].clone(), all()[2].clone()]), "byte {at}");
            assert_eq!((records.damaged, records.torn), (1, 0), "byte {at}");
        }
    }

    #[test]
    fn a_record_of_a_later_version_is_passed_over() {
        let unknown = {
            let json = br#"{"refunded":{"id":"call_9"}}"#;
            let length = u32::try_from(json.len()).unwrap().to_le_bytes();
            [&MARK[..], &length, &checksum(length, json).to_le_bytes(), json].concat()
        };
        let bytes = [unknown, three()].concat();
        let mut records = Records::of_part(&bytes);
        assert!(records.by_ref().eq(all()));
        assert_eq!(records.damaged, 1);
    }
}
