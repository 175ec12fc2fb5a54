//! What a job answered, read once and written into result files, whatever its size and order.
//!
//! In memory are the shard's index and one line at a time. Collecting again writes the same objects with the same keys. The
//! records that are to be tried again become one more shard, made of what is in S3 already.

mod index;
mod join;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;

pub use self::index::{Index, Indexed};
pub use self::join::{Again, Ending, Join, Joining, Tally, has_one_file};

use super::draft::{Draft, Entry, Outline, Spot, Title};
use super::layout::{self, BatchKeys, IndexLine, Outputs, ShardKeys};
use super::lines::{LineReader, MAX_LINE};
use super::plan::{Source, coalesce};
use super::planner::Limits;
use super::record::{Form, Kind, Segment, Shard};
use super::source::{self, Load};
use super::writers::{Growing, Piece, Place, Writers, objects, told};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::money::MicroUsd;
use crate::upstream::{Objects, Upstream};

/// The most bytes of a line of an output: what was asked comes back with the answer.
const MAX_OUTPUT: usize = 2 * MAX_LINE;
/// The most bytes of a manifest that are read.
const MAX_MANIFEST: usize = 64 << 10;
/// What lies between two records of the source and is not worth another request.
const GAP: u64 = 256 << 10;
const FEW: &str = "records to be tried again, fewer than AWS takes as a batch job";

/// What a shard's job came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Its part of the output; none: there is no line.
    pub output: Option<Segment>,
    /// Its part of the errors; none: there is no line.
    pub errors: Option<Segment>,
    /// How its records ended.
    pub tally: Tally,
    /// What AWS says of the job as a whole, where it says something.
    pub manifest: Option<Manifest>,
}

/// A job's totals, as AWS writes them.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    /// All records.
    pub total_record_count: u64,
    /// Those that were run.
    pub processed_record_count: u64,
    /// Those with an answer.
    pub success_record_count: u64,
    /// Those with an error.
    pub error_record_count: u64,
    /// Tokens of all inputs.
    pub input_token_count: u64,
    /// Tokens of all answers.
    pub output_token_count: u64,
}

/// Reads what the job of a shard left and writes its part of the result. Nothing there is a job that did not begin.
///
/// # Errors
/// When S3 fails or refuses; collecting again is always possible.
pub async fn collect(what: &Joining, keys: &BatchKeys, upstream: &Upstream) -> Result<Collected> {
    let shard = &what.shard;
    let keys = keys.shard(shard.number);
    let objects = objects(upstream, &shard.region)?;
    let index = read_index(&objects, shard, &keys).await?;
    let outputs = Outputs::among(objects.list(&shard.bucket, &keys.outputs()).await.map_err(told)?);
    let mut join = join(what, &index, &keys);
    let mut writers = Writers::new(upstream);
    let (mut pieces, mut written) = (Vec::new(), Vec::new());
    for (key, _) in &outputs.lines {
        let reading = objects.read(&shard.bucket, key, None).await.map_err(told)?;
        let mut lines = LineReader::within(reading.map_err(told), MAX_OUTPUT, 0);
        while let Some(line) = lines.next().await? {
            join.take(&line, &mut pieces);
            if !pieces.is_empty() {
                written.extend(writers.write(&mut pieces).await?);
            }
        }
    }
    let tally = join.finish(&mut pieces);
    written.extend(writers.write(&mut pieces).await?);
    let mut segment = |key: String| {
        let at = written.iter().position(|segment: &Segment| segment.key == key);
        at.map(|at| written.swap_remove(at))
    };
    Ok(Collected {
        output: segment(keys.result()),
        errors: segment(keys.errors()),
        tally,
        manifest: match &outputs.manifest {
            Some(key) => read_manifest(&objects, shard, key).await?,
            None => None,
        },
    })
}

/// Puts the answers of a shard together, by its index.
pub fn join<'a>(what: &'a Joining, index: &'a Index, keys: &ShardKeys) -> Join<'a> {
    let place = Arc::new(Place { region: what.shard.region.clone(), bucket: what.shard.bucket.clone() });
    let (result, errors) = (Growing::new(&place, &keys.result()), Growing::new(&place, &keys.errors()));
    Join::new(what, index, result, errors)
}

/// Reads the index of a shard.
///
/// # Errors
/// When S3 fails or refuses.
pub async fn read_index(objects: &Objects, shard: &Shard, keys: &ShardKeys) -> Result<Index> {
    let reading = objects.read(&shard.bucket, &keys.index(), None).await.map_err(told)?;
    Index::read(reading.map_err(told)).await
}

/// One that cannot be read says nothing.
async fn read_manifest(objects: &Objects, shard: &Shard, key: &str) -> Result<Option<Manifest>> {
    let mut reading = objects.read(&shard.bucket, key, None).await.map_err(told)?;
    let mut text = Vec::new();
    while let Some(piece) = reading.next().await {
        text.extend_from_slice(&piece.map_err(told)?);
        if text.len() > MAX_MANIFEST {
            return Ok(None);
        }
    }
    Ok(serde_json::from_slice(&text).ok())
}

/// A shard of the records that are tried again.
pub struct Retry<'a> {
    /// The shard that they were in.
    pub shard: &'a Shard,
    /// Their places in it: [`Tally::again`].
    pub places: &'a [usize],
    /// The number of the new shard.
    pub number: u32,
    /// Where the batch's objects are.
    pub keys: &'a BatchKeys,
    /// How large a job may be; none: they run online, however many they are.
    pub limits: Option<Limits>,
    /// The bucket for what runs online.
    pub home: &'a Place,
    /// The dialect of the source.
    pub form: Form,
    /// The source.
    pub source: &'a Source<'a>,
    /// What they may cost at most, run in this way.
    pub worst: &'a (dyn Fn(Kind, &Load) -> MicroUsd + Send + Sync),
    /// Now.
    pub at: Timestamp,
}

impl Retry<'_> {
    /// Writes its input and its index: a job of what was asked before, where they are enough for one; otherwise what runs
    /// online, cut from the source.
    ///
    /// # Errors
    /// When S3 fails or refuses; writing it again is always possible.
    pub async fn write(&self, upstream: &Upstream) -> Result<Shard> {
        let objects = objects(upstream, &self.shard.region)?;
        let keys = self.keys.shard(self.shard.number);
        let index = read_index(&objects, self.shard, &keys).await?;
        let mut writers = Writers::new(upstream);
        let mut pieces = Vec::new();
        let limits = self.limits.filter(|limits| self.places.len() as u64 >= limits.min);
        let draft = match &limits {
            Some(limits) => self.filter((&objects, &keys), &index, limits, &mut writers).await?,
            None => self.cut(&index, &mut writers).await?,
        };
        if draft.load.records != self.places.len() as u64 {
            return Err(Error::internal("not all records that are to be tried again are where the index says"));
        }
        let title = Title {
            batch: &self.shard.batch,
            model: &self.shard.model,
            model_id: &self.shard.model_id,
            attempt: self.shard.attempt + 1,
            worst: (self.worst)(draft.kind, &draft.load),
            at: self.at,
        };
        let shard = draft.finish(&title, &mut pieces);
        writers.write(&mut pieces).await?;
        Ok(shard)
    }

    fn draft(&self, kind: Kind) -> Draft {
        let own = Place { region: self.shard.region.clone(), bucket: self.shard.bucket.clone() };
        let (place, call_id) = match kind {
            Kind::Job => (&own, &*self.shard.call_id),
            Kind::Online => (self.home, ""),
        };
        Draft::new(Outline {
            keys: self.keys.shard(self.number),
            number: self.number,
            kind,
            target: self.places.len() as u64,
            invocation: self.shard.invocation,
            place,
            call_id,
        })
    }

    /// A job's input, of that of the shard.
    async fn filter(
        &self,
        (objects, keys): (&Objects, &ShardKeys),
        index: &Index,
        limits: &Limits,
        writers: &mut Writers<'_>,
    ) -> Result<Draft> {
        let bucket = &self.shard.bucket;
        let mut draft = self.draft(Kind::Job);
        let mut pieces = Vec::new();
        let mut wanted = self.places.iter().copied().peekable();
        let listed = objects.list(bucket, &keys.inputs()).await.map_err(told)?;
        for (key, _) in layout::inputs(listed) {
            let reading = objects.read(bucket, &key, None).await.map_err(told)?;
            let mut lines = LineReader::within(reading.map_err(told), MAX_OUTPUT, 0);
            while let Some(line) = lines.next().await? {
                let Some((place, content)) = line.bytes.and_then(layout::record) else { continue };
                if wanted.peek().is_none_or(|wanted| *wanted as u64 != place) {
                    continue;
                }
                let Some(record) = wanted.next().and_then(|place| index.at(place)) else { continue };
                draft.push(&entry(&record, content), Some(limits), &mut pieces);
                writers.write(&mut pieces).await?;
            }
        }
        Ok(draft)
    }

    /// What runs online, of the source.
    async fn cut(&self, index: &Index, writers: &mut Writers<'_>) -> Result<Draft> {
        let mut draft = self.draft(Kind::Online);
        draft.because(FEW);
        let records: Vec<_> = self.places.iter().filter_map(|place| index.at(*place)).collect();
        let wanted: HashMap<u64, &Indexed<'_>> = records.iter().map(|record| (record.offset, record)).collect();
        let mut ranges: Vec<_> = records.iter().map(|record| record.offset..record.offset + record.length).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let mut pieces: Vec<Piece> = Vec::new();
        for range in coalesce(ranges, GAP) {
            let mut lines = LineReader::within((self.source)(range.clone()).await?, MAX_LINE, range.start);
            while let Some(line) = lines.next().await? {
                let Some(record) = wanted.get(&line.offset) else { continue };
                let text = line.bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
                let found = text.and_then(|text| source::read(text, self.form, line.number).ok());
                let Some(found) = found else { continue };
                draft.push(&entry(record, found.body.as_bytes()), None, &mut pieces);
                writers.write(&mut pieces).await?;
            }
        }
        Ok(draft)
    }
}

fn entry<'a>(record: &Indexed<'a>, content: &'a [u8]) -> Entry<'a> {
    Entry {
        content,
        index: IndexLine(record.offset, record.length, record.id.into(), record.note.into()),
        load: Load::of(std::str::from_utf8(content).unwrap_or_default()),
        spot: Spot { offset: record.offset, length: record.length, number: 0 },
    }
}

#[cfg(test)]
mod tests;
