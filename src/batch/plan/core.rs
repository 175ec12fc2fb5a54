//! Which record goes where. Pure: lines in, pieces of objects and shards out.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Group, JobPlace, Plan, Planned, Way, Worst};
use crate::batch::codec::{Line, Outcome, Prepared, Target};
use crate::batch::draft::{Draft, Entry, Outline, Spot, Title};
use crate::batch::layout::{self, IndexLine};
use crate::batch::lines::RawLine;
use crate::batch::planner::{Limits, cut};
use crate::batch::record::{Invocation, Kind, Problem};
use crate::batch::source::{self, Load, Record};
use crate::batch::writers::{Growing, Piece, Then};
use crate::config::SmallBatches;
use crate::error::{Error, Result};

/// Records of a shard that runs online: each is a unit that one process runs, and repeats only what it had under way.
pub(super) const ONLINE: u64 = 500;
const SMALL: &str = "fewer records than AWS takes as a batch job";
const LARGE: &str = "a record larger than AWS takes in a batch job";
const NOWHERE: &str = "no Region with a bucket takes batch jobs of the model";

/// Plans a batch, two groups at a time.
pub struct Planner<'a> {
    plan: &'a Plan,
    worst: &'a Worst<'a>,
    /// The groups whose records are taken now.
    now: Range<usize>,
    groups: Vec<Gathering>,
    number: u32,
    refused: Growing,
    planned: Planned,
    /// The records that were for a job which got too few, by where they are.
    fallen: Vec<Spot>,
}

/// A group under way.
#[derive(Debug, Default)]
struct Gathering {
    /// Records that may still come.
    left: u64,
    /// Bytes of them.
    bytes: u64,
    /// Records that a job could take.
    ready: u64,
    /// Jobs so far.
    jobs: usize,
    converse: Option<Draft>,
    invoke: Option<Draft>,
    online: Option<Draft>,
}

impl Gathering {
    fn of(&mut self, invocation: Invocation) -> &mut Option<Draft> {
        match invocation {
            Invocation::Converse => &mut self.converse,
            Invocation::InvokeModel => &mut self.invoke,
        }
    }
}

impl<'a> Planner<'a> {
    /// Begins to plan. For each two groups follow [`Planner::begin`], [`Planner::take`] with every line of the source,
    /// [`Planner::end_jobs`], [`Planner::take_fallen`] and [`Planner::end`]; then [`Planner::finish`].
    pub fn new(plan: &'a Plan, worst: &'a Worst<'a>) -> Self {
        Self {
            plan,
            worst,
            now: 0..0,
            groups: Vec::new(),
            number: 0,
            refused: Growing::new(&Arc::new(plan.home.clone()), &plan.keys.refused()),
            planned: Planned::default(),
            fallen: Vec::new(),
        }
    }

    /// Begins with these groups; the whole source follows.
    pub fn begin(&mut self, groups: Range<usize>) {
        let chosen = self.plan.groups.get(groups.clone()).unwrap_or_default();
        self.groups = chosen
            .iter()
            .map(|group| Gathering { left: group.load.records, bytes: group.load.bytes, ..Gathering::default() })
            .collect();
        self.now = groups;
    }

    /// A line of the source.
    ///
    /// # Errors
    /// When it is none of what was surveyed: the source is another.
    pub fn take(&mut self, line: &RawLine<'_>, out: &mut Vec<Piece>) -> Result<()> {
        if line.is_blank() {
            return Ok(());
        }
        let record = self.read(line, line.number)?;
        let index = self.group(&record)?;
        let spot = Spot { offset: line.offset, length: line.length, number: line.number };
        if let Some(gathering) = index.checked_sub(self.now.start).and_then(|index| self.groups.get_mut(index)) {
            gathering.left = gathering.left.saturating_sub(1);
            gathering.bytes = gathering.bytes.saturating_sub(record.body.len() as u64);
            self.place(index, &record, spot, out);
        }
        Ok(())
    }

    /// A line of what [`Planner::fallen`] says; others that lie between them are passed over.
    ///
    /// # Errors
    /// As [`Planner::take`].
    pub fn take_fallen(&mut self, line: &RawLine<'_>, out: &mut Vec<Piece>) -> Result<()> {
        let Ok(at) = self.fallen.binary_search_by_key(&line.offset, |spot| spot.offset) else { return Ok(()) };
        let spot = self.fallen[at];
        let record = self.read(line, spot.number)?;
        let index = self.group(&record)?;
        self.run_online(index, &record, spot, SMALL, out);
        Ok(())
    }

    /// The source is read: jobs take no more. What got too few records falls.
    pub fn end_jobs(&mut self, out: &mut Vec<Piece>) {
        for index in self.now.clone() {
            for invocation in [Invocation::Converse, Invocation::InvokeModel] {
                self.close_job(index, invocation, out);
            }
        }
        self.fallen.sort_unstable_by_key(|spot| spot.offset);
    }

    /// Where the records are that run online after all, in order.
    pub fn fallen(&self) -> Vec<Range<u64>> {
        self.fallen.iter().map(|spot| spot.offset..spot.offset + spot.length).collect()
    }

    /// Ends these groups.
    pub fn end(&mut self, out: &mut Vec<Piece>) {
        self.fallen.clear();
        for index in self.now.clone() {
            self.close_online(index, out);
            let ready = self.gathering(index).map_or(0, |gathering| gathering.ready);
            self.judge(&self.plan.groups[index], ready);
        }
    }

    /// Ends the plan.
    pub fn finish(mut self, out: &mut Vec<Piece>) -> Planned {
        if self.refused.length() > 0 {
            self.refused.end(Then::Finish, out);
        }
        self.planned.shards.sort_unstable_by_key(|shard| shard.number);
        self.planned
    }

    fn read<'l>(&self, line: &RawLine<'l>, number: u64) -> Result<Record<'l>> {
        let text = line.bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let record = text.and_then(|text| source::read(text, self.plan.codec.form, number).ok());
        record.ok_or_else(|| Error::internal(format!("line {number} of the source is not as it was surveyed")))
    }

    /// The group that the record is of.
    fn group(&self, record: &Record<'_>) -> Result<usize> {
        let found = self.plan.groups.iter().position(|group| *group.name == *record.model);
        found.ok_or_else(|| Error::internal("the source names a model that was not surveyed"))
    }

    fn gathering(&mut self, index: usize) -> Option<&mut Gathering> {
        self.groups.get_mut(index.checked_sub(self.now.start)?)
    }

    /// Finds a place for a record of a group that is under way.
    fn place(&mut self, index: usize, record: &Record<'_>, spot: Spot, out: &mut Vec<Piece>) {
        let plan = self.plan;
        let group = &plan.groups[index];
        let body: &RawValue = match serde_json::from_str(record.body) {
            Ok(body) => body,
            Err(error) => {
                let error = Error::invalid("body", format!("The record is not valid JSON: {error}."));
                return self.refuse(record, None, spot, &error, out);
            }
        };
        let target = Target { model: &group.model, native_tools: plan.native_tools, invocation: plan.invocation };
        match ((plan.codec.prepare)(body, &target), &group.way) {
            (Err(error), _) => self.refuse(record, Some(body), spot, &error, out),
            (Ok(Prepared::Online { why }), _) => self.run_online(index, record, spot, why, out),
            (Ok(Prepared::Job { .. }), Way::Online { why }) => self.run_online(index, record, spot, why, out),
            (Ok(Prepared::Job { invocation, input, note }), Way::Jobs { limits, places }) => {
                let line = IndexLine(spot.offset, spot.length, Cow::Borrowed(&*record.id), Cow::Owned(note));
                let entry = Entry { content: &input, index: line, load: Load::of(record.body), spot };
                if let Err(why) = self.add_to_job((index, invocation), &entry, (limits, places), out) {
                    self.run_online(index, record, spot, why, out);
                }
            }
        }
    }

    /// Adds a record to a job, or says why it cannot be part of one.
    fn add_to_job(
        &mut self,
        (index, invocation): (usize, Invocation),
        entry: &Entry<'_>,
        (limits, places): (&Limits, &[JobPlace]),
        out: &mut Vec<Piece>,
    ) -> Result<(), &'static str> {
        let length = entry.content.len() as u64 + layout::INPUT_FRAME;
        let Some(gathering) = self.gathering(index) else { return Err(SMALL) };
        gathering.ready += 1;
        if length > limits.max_bytes.min(limits.max_file_bytes) {
            return Err(LARGE);
        }
        if gathering.of(invocation).as_ref().is_some_and(|draft| draft.bytes + length > limits.max_bytes) {
            self.close_job(index, invocation, out);
        }
        if self.gathering(index).is_some_and(|gathering| gathering.of(invocation).is_none()) {
            self.open_job(index, invocation, (limits, places))?;
        }
        let Some(gathering) = self.gathering(index) else { return Err(SMALL) };
        let left = gathering.left;
        let Some(draft) = gathering.of(invocation) else { return Err(SMALL) };
        draft.push(entry, Some(limits), out);
        let records = draft.load.records;
        if records < draft.target {
            return Ok(());
        }
        if limits.takes_remainder(records, left) {
            draft.target = records + left;
            return Ok(());
        }
        self.close_job(index, invocation, out);
        Ok(())
    }

    fn open_job(
        &mut self,
        index: usize,
        invocation: Invocation,
        (limits, places): (&Limits, &[JobPlace]),
    ) -> Result<(), &'static str> {
        let (plan, number) = (self.plan, self.number);
        let Some(gathering) = self.gathering(index) else { return Err(SMALL) };
        // The record that opens it does not count among those that are left any more.
        let records = gathering.left + 1;
        let bytes = gathering.bytes.saturating_add(records.saturating_mul(layout::INPUT_FRAME));
        let Some(target) = cut(records, bytes, limits).sizes().next() else {
            return Err(if records < limits.min { SMALL } else { LARGE });
        };
        let Some(job) = gathering.jobs.checked_rem(places.len()).and_then(|turn| places.get(turn)) else {
            return Err(NOWHERE);
        };
        gathering.jobs += 1;
        let kind = Kind::Job;
        let (place, call_id) = (&job.place, &*job.call_id);
        let keys = plan.keys.shard(number);
        *gathering.of(invocation) =
            Some(Draft::new(Outline { keys, number, kind, target, invocation, place, call_id }));
        self.number += 1;
        Ok(())
    }

    fn close_job(&mut self, index: usize, invocation: Invocation, out: &mut Vec<Piece>) {
        let group = &self.plan.groups[index];
        let draft = self.gathering(index).and_then(|gathering| gathering.of(invocation).take());
        let (Some(draft), Way::Jobs { limits, .. }) = (draft, &group.way) else { return };
        if draft.load.records < limits.min {
            self.fallen.extend(draft.discard(out));
            return;
        }
        self.close(draft, group, out);
    }

    fn run_online(&mut self, index: usize, record: &Record<'_>, spot: Spot, why: &str, out: &mut Vec<Piece>) {
        let (plan, number) = (self.plan, self.number);
        let Some(gathering) = self.gathering(index) else { return };
        let mut opened = 0;
        let draft = gathering.online.get_or_insert_with(|| {
            opened = 1;
            let invocation = plan.invocation.unwrap_or(Invocation::Converse);
            let (kind, target, place) = (Kind::Online, ONLINE, &plan.home);
            let keys = plan.keys.shard(number);
            Draft::new(Outline { keys, number, kind, target, invocation, place, call_id: "" })
        });
        let line = IndexLine(spot.offset, spot.length, Cow::Borrowed(&*record.id), Cow::Borrowed(""));
        let entry = Entry { content: record.body.as_bytes(), index: line, load: Load::of(record.body), spot };
        draft.push(&entry, None, out);
        draft.because(why);
        let is_full = draft.load.records >= draft.target;
        self.number += opened;
        if is_full {
            self.close_online(index, out);
        }
    }

    fn close_online(&mut self, index: usize, out: &mut Vec<Piece>) {
        let draft = self.gathering(index).and_then(|gathering| gathering.online.take());
        if let Some(draft) = draft {
            self.close(draft, &self.plan.groups[index], out);
        }
    }

    fn close(&mut self, draft: Draft, group: &Group, out: &mut Vec<Piece>) {
        let worst = (self.worst)(group, draft.kind, &draft.load);
        let title = Title {
            batch: &self.plan.batch,
            model: &group.model.name,
            model_id: &group.model_id,
            attempt: 1,
            worst,
            at: self.plan.at,
        };
        self.planned.shards.push(draft.finish(&title, out));
    }

    /// A record that cannot be prepared ends at once.
    fn refuse(
        &mut self,
        record: &Record<'_>,
        input: Option<&RawValue>,
        spot: Spot,
        error: &Error,
        out: &mut Vec<Piece>,
    ) {
        let codec = &self.plan.codec;
        let request = layout::request_id(&self.plan.batch, spot.offset);
        let (status, body) = (codec.error)(error, &request);
        let outcome = Outcome::Answered { status, body: &body };
        let line = Line { id: &record.id, request: &request, outcome, input };
        self.refused.append(|bytes| (codec.line)(&line, bytes), out);
        self.planned.refused += 1;
    }

    /// Whether a group is too small, where that is refused. A remainder is not: it is AWS's limits that make it.
    fn judge(&mut self, group: &Group, ready: u64) {
        let Way::Jobs { limits, .. } = &group.way else { return };
        if self.plan.small == SmallBatches::Reject && ready > 0 && ready < limits.min {
            let message = format!(
                "{ready} records of `{}` could be a batch job, and AWS takes no fewer than {}; this gateway is set to \
                 refuse smaller batches. Add records, or send them one by one.",
                group.model.name, limits.min
            );
            self.planned.problems.push(Problem { line: None, code: "too_few_records".into(), message, param: None });
        }
    }
}
