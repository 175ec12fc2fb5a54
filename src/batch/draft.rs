//! A shard while its records are gathered.

use std::sync::Arc;

use super::layout::{self, IndexLine, ShardKeys};
use super::planner::Limits;
use super::record::{Invocation, Kind, Shard, ShardState};
use super::source::Load;
use super::writers::{Growing, Piece, Place, Then};
use crate::clock::Timestamp;
use crate::money::MicroUsd;

/// Reasons that a shard of records which run online tells, at most.
const REASONS: usize = 4;

/// A shard under way.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) number: u32,
    pub(super) kind: Kind,
    /// How many records it is to have.
    pub(super) target: u64,
    pub(super) load: Load,
    /// Of its input.
    pub(super) bytes: u64,
    invocation: Invocation,
    place: Arc<Place>,
    call_id: String,
    keys: ShardKeys,
    input: Growing,
    index: Growing,
    /// Of its input, from 1.
    file: u32,
    file_records: u64,
    /// Where its first records are, as many as it has to have.
    first: Vec<Spot>,
    /// Why its records are run online.
    reasons: Vec<String>,
}

/// What a draft is of.
pub(super) struct Outline<'a> {
    pub(super) keys: ShardKeys,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) target: u64,
    pub(super) invocation: Invocation,
    pub(super) place: &'a Place,
    pub(super) call_id: &'a str,
}

/// What a shard is called by, when it is finished.
pub(super) struct Title<'a> {
    pub(super) batch: &'a str,
    pub(super) model: &'a str,
    pub(super) model_id: &'a str,
    pub(super) attempt: u32,
    pub(super) worst: MicroUsd,
    pub(super) at: Timestamp,
}

/// A record for a draft.
pub(super) struct Entry<'a> {
    /// What the model is asked.
    pub(super) content: &'a [u8],
    /// Where it is in the source, and what it is called.
    pub(super) index: IndexLine<'a>,
    pub(super) load: Load,
    pub(super) spot: Spot,
}

/// Where a record's line is in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) offset: u64,
    pub(super) length: u64,
    /// The line's number: what is called by it keeps its name.
    pub(super) number: u64,
}

impl Draft {
    pub(super) fn new(outline: Outline<'_>) -> Self {
        let keys = outline.keys;
        let place = Arc::new(outline.place.clone());
        Self {
            number: outline.number,
            kind: outline.kind,
            target: outline.target,
            load: Load::default(),
            bytes: 0,
            invocation: outline.invocation,
            call_id: outline.call_id.to_owned(),
            input: Growing::new(&place, &keys.input(1)),
            index: Growing::new(&place, &keys.index()),
            place,
            keys,
            file: 1,
            file_records: 0,
            first: Vec::new(),
            reasons: Vec::new(),
        }
    }

    /// Takes a record, within the limits of one file.
    pub(super) fn push(&mut self, entry: &Entry<'_>, limits: Option<&Limits>, out: &mut Vec<Piece>) {
        if let Some(limits) = limits {
            let length = entry.content.len() as u64 + layout::INPUT_FRAME;
            let is_full =
                self.file_records == limits.max_file_records || self.input.length() + length > limits.max_file_bytes;
            if is_full && self.file_records > 0 {
                self.file += 1;
                self.file_records = 0;
                let next = Growing::new(&self.place, &self.keys.input(self.file));
                std::mem::replace(&mut self.input, next).end(Then::Finish, out);
            }
            if (self.first.len() as u64) < limits.min {
                self.first.push(entry.spot);
            }
        }
        let (kind, place) = (self.kind, self.load.records);
        let before = self.input.length();
        self.input.append(|bytes| layout::push_input(kind, place, entry.content, bytes), out);
        self.bytes += self.input.length() - before;
        self.index.append(|bytes| layout::push_index(&entry.index, bytes), out);
        self.file_records += 1;
        self.load = self.load.and(entry.load);
    }

    /// Notes why a record of it runs online.
    pub(super) fn because(&mut self, why: &str) {
        if self.reasons.len() < REASONS && !self.reasons.iter().any(|known| known == why) {
            self.reasons.push(why.to_owned());
        }
    }

    /// Lets go of it; its records are where it says. Only what has fewer than AWS's minimum knows of all.
    pub(super) fn discard(self, out: &mut Vec<Piece>) -> Vec<Spot> {
        self.input.end(Then::Discard, out);
        self.index.end(Then::Discard, out);
        self.first
    }

    /// Ends it.
    pub(super) fn finish(self, title: &Title<'_>, out: &mut Vec<Piece>) -> Shard {
        self.input.end(Then::Finish, out);
        self.index.end(Then::Finish, out);
        Shard {
            batch: title.batch.to_owned(),
            number: self.number,
            kind: self.kind,
            model: title.model.to_owned(),
            model_id: title.model_id.to_owned(),
            call_id: self.call_id,
            region: self.place.region.clone(),
            bucket: self.place.bucket.clone(),
            invocation: self.invocation,
            attempt: title.attempt,
            records: self.load.records,
            bytes: self.bytes,
            worst: title.worst,
            state: ShardState::Queued,
            job_state: None,
            job_arn: None,
            why_online: (!self.reasons.is_empty()).then(|| self.reasons.join("; ")),
            reason: None,
            done: 0,
            failed: 0,
            cancelled: 0,
            expired: 0,
            output: Vec::new(),
            errors: Vec::new(),
            queued_at: title.at,
            submitted_at: None,
            ended_at: None,
        }
    }
}
