//! Where the objects of a batch are, and what the lines in them look like. Pure.
//!
//! Under `<prefix>/batches/<batch id>/` each shard has a folder of its number: `input/records.jsonl`, which AWS reads (and
//! `input/records-0002.jsonl`, ..., where AWS's limit on a file is lower than that on a job), `index.jsonl`, AWS's
//! `output/`, and `result.jsonl` and `errors.jsonl`, which are parts of the batch's files. Invariant: whoever does a step
//! again writes the same keys.

use std::borrow::Cow;
use std::io::Write as _;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::record::Kind;

/// What every `recordId` begins with; eleven digits follow.
const NAME: &[u8] = b"bgw";
const DIGITS: usize = 11;
/// How long what precedes the place is in a line of an input.
const BEFORE_PLACE: usize = br#"{"recordId":"bgw"#.len();
const OUTPUT: &str = ".jsonl.out";
const MANIFEST: &str = "manifest.json.out";

/// Keys of a batch's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchKeys(String);

impl BatchKeys {
    /// Of this batch, under the configured prefix.
    pub fn new(prefix: &str, batch: &str) -> Self {
        Self(format!("{}/batches/{batch}", prefix.trim_end_matches('/')))
    }

    /// What all of them begin with.
    pub fn all(&self) -> String {
        format!("{}/", self.0)
    }

    /// The lines of records that are in no shard, because they could not be prepared.
    pub fn refused(&self) -> String {
        format!("{}/refused.jsonl", self.0)
    }

    /// Those of a shard.
    pub fn shard(&self, number: u32) -> ShardKeys {
        ShardKeys(format!("{}/{number}", self.0))
    }
}

/// Keys of a shard's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardKeys(String);

impl ShardKeys {
    /// The folder of its input: what a job is given.
    pub fn inputs(&self) -> String {
        format!("{}/input/", self.0)
    }

    /// A file of its input, from 1.
    pub fn input(&self, file: u32) -> String {
        match file {
            0 | 1 => format!("{}/input/records.jsonl", self.0),
            more => format!("{}/input/records-{more:04}.jsonl", self.0),
        }
    }

    /// Where its records are in the source, and what they are called there.
    pub fn index(&self) -> String {
        format!("{}/index.jsonl", self.0)
    }

    /// The folder that AWS writes to.
    pub fn outputs(&self) -> String {
        format!("{}/output/", self.0)
    }

    /// Its part of the output.
    pub fn result(&self) -> String {
        format!("{}/result.jsonl", self.0)
    }

    /// Its part of the errors.
    pub fn errors(&self) -> String {
        format!("{}/errors.jsonl", self.0)
    }
}

/// Of the keys in a shard's `input/`, those of its input, in order.
pub fn inputs(listed: Vec<(String, u64)>) -> Vec<(String, u64)> {
    let mut inputs: Vec<_> = listed.into_iter().filter(|(key, _)| is_json_lines(key)).collect();
    // The first has no number.
    inputs.sort_by(|(one, _), (other, _)| (one.len(), one).cmp(&(other.len(), other)));
    inputs
}

fn is_json_lines(key: &str) -> bool {
    key.strip_suffix(".jsonl").is_some()
}

/// What AWS left in a shard's `output/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Objects of lines, with their lengths.
    pub lines: Vec<(String, u64)>,
    /// The object that tells the job's totals.
    pub manifest: Option<String>,
}

impl Outputs {
    /// Among the keys in a shard's `output/`. Each attempt of AWS's at a job has a folder.
    pub fn among(listed: Vec<(String, u64)>) -> Self {
        let mut outputs = Self::default();
        for (key, bytes) in listed {
            if key.ends_with(MANIFEST) {
                outputs.manifest = Some(key);
            } else if key.ends_with(OUTPUT) {
                outputs.lines.push((key, bytes));
            }
        }
        outputs
    }
}

/// Appends a line of a shard's input: the record at `place` of the shard, which is what AWS or the completion path takes.
pub(super) fn push_input(kind: Kind, place: u64, content: &[u8], out: &mut Vec<u8>) {
    let member: &[u8] = match kind {
        Kind::Job => br#"","modelInput":"#,
        Kind::Online => br#"","body":"#,
    };
    out.reserve(BEFORE_PLACE + DIGITS + member.len() + content.len() + 2);
    out.extend_from_slice(br#"{"recordId":"bgw"#);
    // Writing to memory does not fail.
    let _ = write!(out, "{place:0DIGITS$}");
    out.extend_from_slice(member);
    out.extend_from_slice(content);
    out.extend_from_slice(b"}\n");
}

/// How many bytes [`push_input`] adds to what it is given, at most.
pub(super) const INPUT_FRAME: u64 = (BEFORE_PLACE + DIGITS + br#"","modelInput":"#.len() + 2) as u64;

/// The place that a `recordId` names, as it is written in JSON.
pub fn place_of(record_id: &[u8]) -> Option<u64> {
    let digits = record_id.strip_prefix(b"\"")?.strip_suffix(b"\"")?.strip_prefix(NAME)?;
    if digits.len() != DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The place and the content of a line of a shard's input.
pub fn record(line: &[u8]) -> Option<(u64, &[u8])> {
    let mut members = crate::scan::members(line);
    let (b"recordId", id) = members.next()? else { return None };
    let (b"body" | b"modelInput", content) = members.next()? else { return None };
    Some((place_of(id)?, content))
}

/// A line of a shard's index.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct IndexLine<'a>(
    /// Where the record's line is in the source.
    pub u64,
    /// How long it is there.
    pub u64,
    /// `custom_id` or `recordId`.
    #[serde(borrow)]
    pub Cow<'a, str>,
    /// What rendering its answer needs.
    #[serde(borrow)]
    pub Cow<'a, str>,
);

/// Appends a line of a shard's index.
pub(super) fn push_index(line: &IndexLine<'_>, out: &mut Vec<u8>) {
    let IndexLine(offset, length, id, note) = line;
    let _ = write!(out, "[{offset},{length},");
    push_string(id, out);
    out.push(b',');
    push_string(note, out);
    out.extend_from_slice(b"]\n");
}

fn push_string(text: &str, out: &mut Vec<u8>) {
    // Writing a string to memory does not fail.
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok());
}

/// The id of a record that ids in its answer are made of: thirty-two hex digits, by the batch and where its line begins.
pub fn request_id(batch: &str, offset: u64) -> String {
    let mut hasher = Sha256::new();
    hasher.update(batch.as_bytes());
    hasher.update([0]);
    hasher.update(offset.to_be_bytes());
    let digest = hasher.finalize();
    let mut id = String::with_capacity(32);
    for byte in &digest[..16] {
        for nibble in [byte >> 4, byte & 15] {
            id.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_from_the_line_it_was_written_to() {
        let mut out = Vec::new();
        push_input(Kind::Job, 42, br#"{"a":1}"#, &mut out);
        assert_eq!(out, b"{\"recordId\":\"bgw00000000042\",\"modelInput\":{\"a\":1}}\n");
        assert!(out.len() as u64 <= INPUT_FRAME + 7);
        assert_eq!(record(&out), Some((42, &br#"{"a":1}"#[..])));
        let mut online = Vec::new();
        push_input(Kind::Online, 99_999_999_999, b"{}", &mut online);
        assert_eq!(record(online.trim_ascii_end()), Some((99_999_999_999, &b"{}"[..])));
        for other in
            ["\"bgw0000000001\"", "\"bgw000000000001\"", "\"BGW00000000001\"", "\"bgw+0000000001\"", "1", "\"\""]
        {
            assert_eq!(place_of(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn an_index_line_keeps_ids_and_notes_whatever_is_in_them() {
        let line = IndexLine(3, 25 << 20, Cow::Borrowed("a\"\\\n\u{0}é"), Cow::Borrowed(""));
        let mut out = Vec::new();
        push_index(&line, &mut out);
        assert_eq!(memchr::memchr_iter(b'\n', &out).count(), 1);
        assert_eq!(serde_json::from_slice::<IndexLine<'_>>(&out).unwrap(), line);
    }

    #[test]
    fn inputs_come_in_the_order_they_were_written_and_outputs_are_told_apart() {
        let keys = BatchKeys::new("gw/", "batch_1");
        let shard = keys.shard(3);
        let files: Vec<_> = (1..4).map(|file| (shard.input(file), 1)).collect();
        assert_eq!(files[0].0, "gw/batches/batch_1/3/input/records.jsonl");
        let mut listed = files.clone();
        listed.sort();
        assert_ne!(listed, files);
        assert_eq!(inputs(listed), files);
        assert!(files.iter().all(|(key, _)| key.starts_with(&shard.inputs()) && key.starts_with(&keys.all())));
        let outputs = Outputs::among(vec![
            (format!("{}abc/manifest.json.out", shard.outputs()), 9),
            (format!("{}abc/records.jsonl.out", shard.outputs()), 5),
            (format!("{}abc/other", shard.outputs()), 5),
        ]);
        assert_eq!((outputs.lines.len(), outputs.manifest.is_some()), (1, true));
    }

    #[test]
    fn a_request_id_is_always_the_same_and_of_one_record_only() {
        let id = request_id("batch_1", 5);
        assert_eq!((id.len(), &id), (32, &request_id("batch_1", 5)));
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(id, request_id("batch_1", 6));
        assert_ne!(id, request_id("batch_2", 5));
    }
}
