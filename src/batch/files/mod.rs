//! Files: what teams upload and what batches make, kept in S3 and known in the store.
//!
//! Bytes pass through and are never held: a file is written in parts while it comes, looked through on the way, and read
//! back piece by piece, its segments one after the other. Invariants: a row is there before its objects are, and goes only
//! when they are gone; an upload that breaks leaves neither; what a batch reads is not deleted while that batch runs; no
//! team finds another's file. All SQL is in `queries.rs`.

mod queries;
mod sweep;
#[cfg(test)]
mod tests;
mod upload;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _, TryStreamExt as _};
use sqlx::AnyConnection;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use self::upload::Upload;

use self::queries::State;
use super::record::{File, Origin, Segment};
use super::survey::Survey;
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::ids::TeamId;
use crate::store::Store;
use crate::tenancy::Caller;
use crate::upstream::{Failure, Objects, Upstream};

/// Uploads of this process at one time: each holds up to 24 MiB.
const AT_ONCE: usize = 8;
const MIB: u64 = 1024 * 1024;

/// The bytes of a file, in pieces as they come.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// The files of all teams. A cheap clone.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

struct Inner {
    store: Store,
    upstream: Upstream,
    settings: Settings,
    clock: Clock,
    tracker: TaskTracker,
    uploads: Arc<Semaphore>,
}

/// What of `[batch]` is about files.
struct Settings {
    buckets: BTreeMap<String, String>,
    prefix: String,
    retention: Duration,
    max_file: u64,
    max_inline: u64,
    /// Bytes that a team may keep.
    team_storage: Option<u64>,
}

/// What is said of a file by who uploads it.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// As its owner calls it.
    pub filename: String,
    /// `batch`.
    pub purpose: String,
    /// How long it is kept, if that is less than the gateway's own rule (`batch.retention_hours`).
    pub expires_after: Option<Duration>,
    /// How it comes about.
    pub origin: Origin,
}

/// The order of a list, by time of making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest first.
    Ascending,
    /// The newest first.
    #[default]
    Descending,
}

/// Which files are asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those of this purpose.
    pub purpose: Option<String>,
    /// In which order.
    pub order: Order,
    /// Those behind the file of this id.
    pub after: Option<String>,
    /// So many at most.
    pub limit: u32,
}

/// A page of files.
#[derive(Clone, Debug)]
pub struct Page {
    /// The files.
    pub files: Vec<File>,
    /// Whether there are more behind them.
    pub has_more: bool,
}

/// A file, or a part of it, opened.
pub struct Content {
    /// Whose bytes they are.
    pub file: File,
    /// Which of its bytes.
    pub range: Range<u64>,
    /// The bytes.
    pub stream: ByteStream,
}

impl Files {
    /// The files in `store` and in the buckets of `batch`. Nothing is swept until [`Files::sweep_in_background`].
    pub fn new(store: Store, upstream: Upstream, batch: &config::Batch, clock: Clock, tracker: TaskTracker) -> Self {
        let settings = Settings {
            buckets: batch.bucket.clone(),
            prefix: batch.prefix.trim_end_matches('/').to_owned(),
            retention: Duration::from_hours(batch.retention_hours),
            max_file: batch.max_file_mb * MIB,
            max_inline: batch.max_inline_mb * MIB,
            team_storage: Some(batch.team_storage_mb * MIB).filter(|most| *most > 0),
        };
        let uploads = Arc::new(Semaphore::new(AT_ONCE));
        Self(Arc::new(Inner { store, upstream, settings, clock, tracker, uploads }))
    }

    /// The most bytes of a file that is uploaded so.
    pub fn longest(&self, origin: Origin) -> u64 {
        match origin {
            Origin::Upload => self.0.settings.max_file,
            Origin::Inline => self.0.settings.max_inline,
            Origin::Result => u64::MAX,
        }
    }

    /// Keeps what the stream yields as a file of the caller's team.
    ///
    /// # Errors
    /// As [`Upload::write`] and [`Upload::finish`], and whatever the stream ends with; then nothing is left of it.
    pub async fn upload(
        &self,
        caller: &Caller,
        new: NewFile,
        bytes: impl Stream<Item = Result<Bytes>> + Send,
    ) -> Result<File> {
        let mut upload = self.begin(caller, new.origin).await?;
        let mut bytes = std::pin::pin!(bytes);
        while let Some(piece) = bytes.next().await {
            let added = match piece {
                Ok(piece) => upload.write(&piece).await,
                Err(error) => Err(error),
            };
            if let Err(error) = added {
                upload.discard().await;
                return Err(error);
            }
        }
        upload.finish(new).await
    }

    /// Begins an upload whose name and purpose are not known yet.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] when the caller may use no Region with a bucket, [`Kind::TooLarge`] when the team's storage is
    /// full, [`Kind::RateLimited`] when too many uploads are under way.
    pub async fn begin(&self, caller: &Caller, origin: Origin) -> Result<Upload> {
        Upload::begin(self, caller, origin).await
    }

    /// The caller's team's file of this id.
    ///
    /// # Errors
    /// [`Kind::NotFound`], also for one that is another's or whose time is over.
    pub async fn file(&self, caller: &Caller, id: &str) -> Result<File> {
        let found = queries::find(&self.0.store, &caller.team.id, id, self.0.clock.now()).await?;
        found.ok_or_else(|| not_found(id))
    }

    /// The file of this id, whosever it is and though its time be over: for work that has begun on it.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub async fn known(&self, id: &str) -> Result<File> {
        queries::find_any(&self.0.store, id).await?.ok_or_else(|| not_found(id))
    }

    /// The files of the caller's team that are asked for; bodies of message batches are in no list.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when the team has no file of the id `after`.
    pub async fn list(&self, caller: &Caller, filter: &Filter) -> Result<Page> {
        let (team, now) = (&caller.team.id, self.0.clock.now());
        let mark = match &filter.after {
            None => None,
            Some(id) => {
                let found = queries::find(&self.0.store, team, id, now).await?;
                let file = found.ok_or_else(|| Error::invalid("after", "There is no file with this id."))?;
                Some((file.created_at, file.id))
            }
        };
        let mark = mark.as_ref().map(|(at, id)| (*at, id.as_str()));
        let one_more = Filter { limit: filter.limit.saturating_add(1), ..filter.clone() };
        let mut files = queries::list(&self.0.store, team, &one_more, mark, now).await?;
        let has_more = files.len() > filter.limit as usize;
        files.truncate(filter.limit as usize);
        Ok(Page { files, has_more })
    }

    /// Deletes a file of the caller's team, and its objects. Those that S3 keeps for now are deleted later.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Conflict`] while a batch reads it.
    pub async fn delete(&self, caller: &Caller, id: &str) -> Result<()> {
        let now = self.0.clock.now();
        let mut transaction = self.0.store.begin().await?;
        // Locks the row, so that no batch begins over it between the look and the mark.
        if !queries::pin(&mut transaction, &caller.team.id, id, now).await? {
            return Err(not_found(id));
        }
        if let Some(batch) = queries::reader(&mut transaction, id).await? {
            let message = format!("The batch {batch} reads this file and has not ended. Cancel it first, or wait.");
            return Err(Error::new(Kind::Conflict, message).param("id"));
        }
        queries::mark(&mut transaction, id, State::Ready, now).await?;
        transaction.commit().await?;
        self.erase_now(id).await;
        Ok(())
    }

    /// Deletes these files and their objects, whosever they are: those of a batch that is deleted. Those that are not
    /// there are passed over.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove(&self, ids: &[String]) -> Result<()> {
        for id in ids {
            let mut transaction = self.0.store.begin().await?;
            let marked = queries::mark(&mut transaction, id, State::Ready, self.0.clock.now()).await?;
            transaction.commit().await?;
            if marked {
                self.erase_now(id).await;
            }
        }
        Ok(())
    }

    /// Opens a file of the caller's team, or these bytes of it; what lies beyond its end is left out.
    ///
    /// # Errors
    /// As [`Files::file`] and [`Files::open_range`].
    pub async fn content(&self, caller: &Caller, id: &str, range: Option<Range<u64>>) -> Result<Content> {
        let file = self.file(caller, id).await?;
        let range = range.unwrap_or(0..file.bytes);
        let range = range.start.min(file.bytes)..range.end.min(file.bytes);
        let stream = self.open_range(&file, range.clone()).await?;
        Ok(Content { file, range, stream })
    }

    /// Opens the whole file.
    ///
    /// # Errors
    /// As [`Files::open_range`].
    pub async fn open(&self, file: &File) -> Result<ByteStream> {
        self.open_range(file, 0..file.bytes).await
    }

    /// Opens these bytes of the file. The first of its objects is opened before this returns, the others when their turn
    /// comes; connections that break are made up for.
    ///
    /// # Errors
    /// When S3 fails or refuses; [`Kind::NotFound`] when the object is gone.
    pub async fn open_range(&self, file: &File, range: Range<u64>) -> Result<ByteStream> {
        let mut parts = parts(&file.segments, range).into_iter();
        let Some((segment, range)) = parts.next() else { return Ok(stream::empty().boxed()) };
        let first = self.open_segment(&segment, range).await?;
        let files = self.clone();
        let others = stream::iter(parts).then(move |(segment, range)| {
            let files = files.clone();
            async move { files.open_segment(&segment, range).await }
        });
        Ok(first.chain(others.try_flatten()).boxed())
    }

    async fn open_segment(&self, segment: &Segment, range: Range<u64>) -> Result<ByteStream> {
        let objects = self.objects(&segment.region)?;
        // Without a range S3 sends the checksum along, and the client checks it.
        let range = (range != (0..segment.bytes)).then_some(range);
        let reading = objects.read(&segment.bucket, &segment.key, range).await.map_err(told)?;
        Ok(reading.map_err(told).boxed())
    }

    /// What is known of the records of a file.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub async fn survey(&self, id: &str) -> Result<Survey> {
        queries::survey(&self.0.store, id).await?.ok_or_else(|| not_found(id))
    }

    /// Within the transaction that adds a batch over it: keeps the file from being deleted until the transaction ends,
    /// after which the batch keeps it. False when the team has no such file.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn pin(connection: &mut AnyConnection, team: &TeamId, id: &str, now: Timestamp) -> Result<bool> {
        queries::pin(connection, team, id, now).await
    }

    /// Within the transaction that ends a batch: adds a file that it has made. One that is there is left as it is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn add(connection: &mut AnyConnection, file: &File) -> Result<()> {
        queries::insert(connection, file, State::Ready).await
    }

    /// When something that is made now is deleted, if nobody says otherwise.
    pub fn expiry(&self, made: Timestamp) -> Timestamp {
        made.plus(self.0.settings.retention)
    }

    fn objects(&self, region: &str) -> Result<Objects> {
        self.0.upstream.objects(region).ok_or_else(|| {
            let message =
                format!("The file is kept in {region}, which this gateway does not use any more (aws.regions).");
            Error::new(Kind::Unavailable, message)
        })
    }

    /// The first of the configured Regions that has a bucket and that the caller may use.
    fn place(&self, caller: &Caller) -> Result<(String, String)> {
        let Inner { upstream, settings, .. } = &*self.0;
        let with_bucket = upstream.regions().filter_map(|region| {
            let bucket = settings.buckets.get(&**region.name())?;
            Some((region.name().to_string(), bucket.clone()))
        });
        let place = with_bucket.into_iter().find(|(region, _)| caller.fence().holds(region));
        place.ok_or_else(|| {
            let message = "None of the Regions that this key may use has a bucket to keep files in. The gateway's operator \
                           names one in batch.bucket.";
            Error::new(Kind::Forbidden, message)
        })
    }
}

/// Which objects hold these bytes, and which of theirs they are.
fn parts(segments: &[Segment], range: Range<u64>) -> Vec<(Segment, Range<u64>)> {
    let mut begin = 0;
    let mut parts = Vec::new();
    for segment in segments {
        let end = begin + segment.bytes;
        let inside = range.start.max(begin)..range.end.min(end);
        if !inside.is_empty() {
            parts.push((segment.clone(), inside.start - begin..inside.end - begin));
        }
        begin = end;
    }
    parts
}

fn not_found(id: &str) -> Error {
    let shown: String = id.chars().take(80).collect();
    Error::new(Kind::NotFound, format!("No such File object: {shown}")).param("id")
}

fn told(failure: Failure) -> Error {
    failure.error
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Files(..)")
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("file", &self.file).field("range", &self.range).finish_non_exhaustive()
    }
}
