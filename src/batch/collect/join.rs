//! Answers and their records, put together. Pure: lines of a job's output in any order in, lines of result files out.
//!
//! Invariant: when [`Join::finish`] returns, each record of the index has exactly one line, or is to be tried again.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::index::{Index, Indexed};
use crate::batch::codec::{Answer, Codec, Line, Lost, Outcome};
use crate::batch::layout;
use crate::batch::lines::RawLine;
use crate::batch::record::{Endpoint, Shard};
use crate::batch::writers::{Growing, Piece, Then};
use crate::clock::Timestamp;
use crate::converse::{CacheDetail, Usage};
use crate::error::{Error, Exception, Kind};
use crate::scan::members;
use crate::upstream::mask;

/// Why records of a shard may have no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// In a word.
    pub why: Lost,
    /// In a sentence, for the owner.
    pub message: String,
}

/// Whether records that failed for a passing reason, or have no line, are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// They are.
    Tried,
    /// They end: it was their last attempt, or there is no time for another.
    Never,
}

/// What answers are put together for.
#[derive(Clone, Debug)]
pub struct Joining {
    /// The shard.
    pub shard: Shard,
    /// What its records are.
    pub codec: Codec,
    /// What becomes of passing errors.
    pub again: Again,
    /// What is said of records without a line, where they are not tried again.
    pub ending: Ending,
    /// When the job ended.
    pub at: Timestamp,
}

/// How the records ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records with a line, good or not.
    pub done: u64,
    /// Of those, errors.
    pub failed: u64,
    /// Of those, the ones that a cancellation kept from running.
    pub cancelled: u64,
    /// Of those, the ones that the end of the window kept from running.
    pub expired: u64,
    /// What all answers say that they used.
    pub usage: Usage,
    /// Answers that do not say it.
    pub untold: u64,
    /// Places of the records that are to be tried again, in order.
    pub again: Vec<usize>,
    /// Lines that are of no record of the shard.
    pub unknown: u64,
    /// Lines of records that had ended already.
    pub repeated: u64,
    /// Lines that cannot be read.
    pub unreadable: u64,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// No line of it has come.
    Open,
    /// It failed for a passing reason.
    Passing,
    /// It has its line.
    Ended,
}

/// Puts answers and records together.
pub struct Join<'a> {
    what: &'a Joining,
    index: &'a Index,
    slots: Vec<Slot>,
    result: Growing,
    errors: Growing,
    tally: Tally,
}

impl<'a> Join<'a> {
    /// For the records of `index`. `result` and `errors` are where their lines go.
    pub(super) fn new(what: &'a Joining, index: &'a Index, result: Growing, errors: Growing) -> Self {
        let slots = vec![Slot::Open; index.len()];
        Self { what, index, slots, result, errors, tally: Tally::default() }
    }

    /// A line of an output.
    pub fn take(&mut self, line: &RawLine<'_>, out: &mut Vec<Piece>) {
        if line.is_blank() {
            return;
        }
        let Some(found) = line.bytes.and_then(Found::in_line) else {
            self.tally.unreadable += 1;
            return;
        };
        let place = layout::place_of(found.id).and_then(|place| usize::try_from(place).ok());
        let known = place.and_then(|place| Some((place, self.index.at(place)?, *self.slots.get(place)?)));
        let Some((place, record, slot)) = known else {
            self.tally.unknown += 1;
            return;
        };
        if slot == Slot::Ended {
            self.tally.repeated += 1;
            return;
        }
        let next = match found.what {
            What::Answer(output) => self.answer(record, output, found.input, out),
            What::Error(error) => self.fail(record, slot, error, found.input, out),
        };
        match next {
            Some(next) => self.slots[place] = next,
            None => self.tally.unreadable += 1,
        }
    }

    /// All lines have come: ends the records that have none.
    pub fn finish(mut self, out: &mut Vec<Piece>) -> Tally {
        for place in 0..self.slots.len() {
            let Some(record) = self.index.at(place) else { continue };
            match (self.slots[place], self.what.again) {
                (Slot::Ended, _) => {}
                (Slot::Passing, _) | (Slot::Open, Again::Tried) => self.tally.again.push(place),
                (Slot::Open, Again::Never) => self.lose(record, out),
            }
        }
        for object in [self.result, self.errors] {
            if object.length() > 0 {
                object.end(Then::Finish, out);
            }
        }
        self.tally
    }

    /// Writes the answer of a record. `None`: it cannot be read.
    fn answer(&mut self, record: Indexed<'a>, output: &[u8], input: &[u8], out: &mut Vec<Piece>) -> Option<Slot> {
        let output: &RawValue = serde_json::from_slice(output).ok()?;
        let Joining { shard, codec, at, .. } = self.what;
        let id = layout::request_id(&shard.batch, record.offset);
        let answer = Answer {
            invocation: shard.invocation,
            output,
            note: record.note,
            model: &shard.model,
            model_id: &shard.model_id,
            id: &id,
            at: *at,
        };
        let (status, body) = match (codec.render)(&answer) {
            Ok(rendered) => {
                match &rendered.usage {
                    Some(usage) => add(&mut self.tally.usage, usage),
                    None => self.tally.untold += 1,
                }
                (200, rendered.body)
            }
            Err(error) => {
                self.tally.untold += 1;
                (codec.error)(&error, &id)
            }
        };
        self.write(record, &id, Outcome::Answered { status, body: &body }, input, out);
        Some(Slot::Ended)
    }

    /// Writes the error of a record, if it is not tried again. `None`: it cannot be read.
    fn fail(
        &mut self,
        record: Indexed<'a>,
        slot: Slot,
        error: &[u8],
        input: &[u8],
        out: &mut Vec<Piece>,
    ) -> Option<Slot> {
        let error: JobError = serde_json::from_slice(error).ok()?;
        if self.what.again == Again::Tried && error.passes() {
            self.tally.repeated += u64::from(slot == Slot::Passing);
            return Some(Slot::Passing);
        }
        let id = layout::request_id(&self.what.shard.batch, record.offset);
        let (status, body) = (self.what.codec.error)(&error.into_error(), &id);
        self.write(record, &id, Outcome::Answered { status, body: &body }, input, out);
        Some(Slot::Ended)
    }

    fn lose(&mut self, record: Indexed<'a>, out: &mut Vec<Piece>) {
        let Ending { why, message } = &self.what.ending;
        match why {
            Lost::BatchCancelled => self.tally.cancelled += 1,
            Lost::BatchExpired => self.tally.expired += 1,
            Lost::JobFailed | Lost::NoResult => {}
        }
        let id = layout::request_id(&self.what.shard.batch, record.offset);
        self.write(record, &id, Outcome::Lost { why: *why, message }, b"", out);
    }

    fn write(&mut self, record: Indexed<'a>, id: &str, outcome: Outcome<'_>, input: &[u8], out: &mut Vec<Piece>) {
        let codec = &self.what.codec;
        // Only these lines repeat what was asked; it is long, and not looked at for others.
        let input = match codec.endpoint {
            Endpoint::Native => serde_json::from_slice::<&RawValue>(input).ok(),
            _ => None,
        };
        let line = Line { id: record.id, request: id, outcome, input };
        let is_good = outcome.is_good();
        let object = if is_good || has_one_file(codec.endpoint) { &mut self.result } else { &mut self.errors };
        object.append(|bytes| (codec.line)(&line, bytes), out);
        self.tally.done += 1;
        self.tally.failed += u64::from(!is_good);
    }
}

/// Whether the surface of this endpoint has answers and errors in one file.
pub fn has_one_file(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::Native | Endpoint::Messages)
}

/// The parts of a line of a job's output.
struct Found<'a> {
    id: &'a [u8],
    input: &'a [u8],
    what: What<'a>,
}

enum What<'a> {
    Answer(&'a [u8]),
    Error(&'a [u8]),
}

impl<'a> Found<'a> {
    fn in_line(line: &'a [u8]) -> Option<Self> {
        let (mut id, mut input, mut answer, mut error) = (None, &b""[..], None, None);
        for (name, value) in members(line) {
            match name {
                b"recordId" => id = Some(value),
                b"modelInput" => input = value,
                b"modelOutput" if value != b"null" => answer = Some(value),
                b"error" if value != b"null" => error = Some(value),
                _ => {}
            }
        }
        let what = answer.map(What::Answer).or(error.map(What::Error))?;
        Some(Self { id: id?, input, what })
    }
}

/// What a line has instead of an answer:
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html>
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobError {
    error_code: u16,
    #[serde(default)]
    error_message: String,
}

impl JobError {
    /// Whether asking again may help.
    fn passes(&self) -> bool {
        matches!(self.error_code, 408 | 424 | 429 | 500 | 503)
    }

    /// The error, as the same call would have failed with.
    fn into_error(self) -> Error {
        let (kind, name) = match self.error_code {
            403 => (Kind::UpstreamRejected, "AccessDeniedException"),
            404 => (Kind::UpstreamRejected, "ResourceNotFoundException"),
            408 => (Kind::Timeout, "ModelTimeoutException"),
            424 => (Kind::UpstreamUnavailable, "ModelErrorException"),
            429 => (Kind::UpstreamThrottled, "ThrottlingException"),
            503 => (Kind::UpstreamUnavailable, "ServiceUnavailableException"),
            500.. => (Kind::UpstreamUnavailable, "InternalServerException"),
            _ => (Kind::UpstreamRejected, "ValidationException"),
        };
        let message = if self.error_message.is_empty() { "AWS says no more." } else { &self.error_message };
        let exception = Exception { name, status: self.error_code };
        Error::new(kind, mask(message).into_owned()).exception(exception)
    }
}

fn add(sum: &mut Usage, usage: &Usage) {
    sum.input_tokens += usage.input_tokens;
    sum.output_tokens += usage.output_tokens;
    sum.total_tokens += usage.total_tokens;
    sum.cache_read_input_tokens += usage.cache_read_input_tokens;
    sum.cache_write_input_tokens += usage.cache_write_input_tokens;
    for CacheDetail { ttl, input_tokens } in &usage.cache_details {
        match sum.cache_details.iter_mut().find(|detail| detail.ttl == *ttl) {
            Some(detail) => detail.input_tokens += input_tokens,
            None => sum.cache_details.push(CacheDetail { ttl: ttl.clone(), input_tokens: *input_tokens }),
        }
    }
}
