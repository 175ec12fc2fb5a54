//! A batch's records, cut into shards: each a job within AWS's limits, or some hundred calls.
//!
//! The source is read once for every two models, whatever its length, and nothing is kept of a record but where it is.
//! What is decided is pure, in `core.rs`; here bytes come in and objects go out. Invariants: every record is in one shard or
//! among the refused; no job is below AWS's minimum; planning the same again writes the same objects with the same keys.

mod core;

use std::collections::BTreeSet;
use std::ops::Range;

use futures_util::future::BoxFuture;

use super::codec::Codec;
use super::files::ByteStream;
use super::layout::BatchKeys;
use super::lines::{LineReader, MAX_LINE};
use super::planner::Limits;
use super::record::{Invocation, Kind, Problem, Segment, Shard};
use super::source::Load;
use super::writers::{Writers, objects, told};
use crate::clock::Timestamp;
use crate::config::SmallBatches;
use crate::error::Result;
use crate::gateway::Asked;
use crate::money::MicroUsd;
use crate::upstream::Upstream;

pub use self::core::Planner;
pub use super::writers::{Piece, Place, Then};

/// Groups whose objects are open at a time: each writer of S3 holds up to 24 MiB.
const GROUPS_AT_ONCE: usize = 2;
/// What lies between two records and is not worth another request.
const GAP: u64 = 256 << 10;

/// What is to be planned.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The batch's id.
    pub batch: String,
    /// What its records are.
    pub codec: Codec,
    /// Whether tools may go into a job, in the model's own body (`batch.native_tools`).
    pub native_tools: bool,
    /// Of a native job: the type that its caller asked for.
    pub invocation: Option<Invocation>,
    /// What becomes of fewer records than AWS takes.
    pub small: SmallBatches,
    /// Where its objects go.
    pub keys: BatchKeys,
    /// The bucket for what is no job: shards that run online, and lines of records that are in none.
    pub home: Place,
    /// Its records by model: all that the survey of its file names, by the same names.
    pub groups: Vec<Group>,
    /// Now: when its shards began to wait.
    pub at: Timestamp,
}

/// The records of one model.
#[derive(Clone, Debug)]
pub struct Group {
    /// How they name it: as the survey says, which is empty in a form that names none.
    pub name: String,
    /// The model as it was found, by the name that counts: that of the records, or of the batch.
    pub model: Asked,
    /// Bedrock's id of it.
    pub model_id: String,
    /// What the survey says they ask for.
    pub load: Load,
    /// How they are run.
    pub way: Way,
}

/// How records are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// As jobs, where a job can do what they ask for.
    Jobs {
        /// How large a job may be.
        limits: Limits,
        /// Where jobs may run, the best first; they go to each in turn. One at least, or the records run online.
        places: Vec<JobPlace>,
    },
    /// Through the completion path.
    Online {
        /// Why, for their owner.
        why: String,
    },
}

/// Where a job may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPlace {
    /// The Region, and its bucket.
    pub place: Place,
    /// What the job is made with there: the model's id or a profile's.
    pub call_id: String,
}

/// What records of a group may cost at most, run in this way.
pub type Worst<'a> = dyn Fn(&Group, Kind, &Load) -> MicroUsd + Send + Sync + 'a;
/// Opens these bytes of the source, as often as asked.
pub type Source<'a> = dyn Fn(Range<u64>) -> BoxFuture<'a, Result<ByteStream>> + Send + Sync + 'a;

/// A batch, planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// Its shards, by number; a number may be missing between them.
    pub shards: Vec<Shard>,
    /// How many records are in none, because they could not be prepared.
    pub refused: u64,
    /// Their lines.
    pub refusals: Option<Segment>,
    /// Why the batch is not to be run. The rest is of no use then.
    pub problems: Vec<Problem>,
}

/// Plans a batch over a source of `length` bytes. What an earlier attempt left is deleted first: a job takes whatever is in
/// its folder.
///
/// # Errors
/// When S3 fails or refuses; planning again is always possible.
pub async fn plan(
    plan: &Plan,
    source: &Source<'_>,
    length: u64,
    worst: &Worst<'_>,
    upstream: &Upstream,
) -> Result<Planned> {
    clear(plan, upstream).await?;
    let mut planner = Planner::new(plan, worst);
    let mut writers = Writers::new(upstream);
    let mut pieces = Vec::new();
    let mut written = Vec::new();
    for first in (0..plan.groups.len()).step_by(GROUPS_AT_ONCE) {
        planner.begin(first..(first + GROUPS_AT_ONCE).min(plan.groups.len()));
        let mut lines = LineReader::new(source(0..length).await?);
        while let Some(line) = lines.next().await? {
            planner.take(&line, &mut pieces)?;
            if !pieces.is_empty() {
                written.extend(writers.write(&mut pieces).await?);
            }
        }
        planner.end_jobs(&mut pieces);
        for range in coalesce(planner.fallen(), GAP) {
            let mut lines = LineReader::within(source(range.clone()).await?, MAX_LINE, range.start);
            while let Some(line) = lines.next().await? {
                planner.take_fallen(&line, &mut pieces)?;
                written.extend(writers.write(&mut pieces).await?);
            }
        }
        planner.end(&mut pieces);
        written.extend(writers.write(&mut pieces).await?);
    }
    let whole = planner.finish(&mut pieces);
    written.extend(writers.write(&mut pieces).await?);
    let refusals = plan.keys.refused();
    Ok(Planned { refusals: written.into_iter().find(|segment| segment.key == refusals), ..whole })
}

async fn clear(plan: &Plan, upstream: &Upstream) -> Result<()> {
    let of_jobs = plan.groups.iter().flat_map(|group| match &group.way {
        Way::Jobs { places, .. } => places.as_slice(),
        Way::Online { .. } => &[],
    });
    let places = of_jobs.map(|job| &job.place).chain([&plan.home]);
    let places: BTreeSet<_> = places.map(|place| (&place.region, &place.bucket)).collect();
    for (region, bucket) in places {
        let objects = objects(upstream, region)?;
        let listed = objects.list(bucket, &plan.keys.all()).await.map_err(told)?;
        let keys: Vec<_> = listed.into_iter().map(|(key, _)| key).collect();
        objects.delete(bucket, &keys).await.map_err(told)?;
    }
    Ok(())
}

/// Ranges that are read together: those with at most `gap` bytes between them are one. `ranges` are in order.
pub(super) fn coalesce(ranges: impl IntoIterator<Item = Range<u64>>, gap: u64) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap) => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests;
