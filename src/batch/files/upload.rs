//! A file on its way in: looked through and handed on to S3 piece by piece.
//!
//! Its row is there first, with the object that it will be and, once S3 has given it, the id of the upload in parts, so that
//! whoever comes after a crash can take both away. What is neither finished nor discarded discards itself.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::queries::{self, State};
use super::{Files, NewFile, told};
use crate::batch::record::{File, Origin, Segment};
use crate::batch::survey::{Survey, Surveyor};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::ids;
use crate::tenancy::Caller;
use crate::upstream::Writer;

/// How long nothing may be heard of an upload before it counts as abandoned.
const ABANDONED: Duration = Duration::from_hours(1);
/// How often it is heard of.
const HEARTBEAT: Duration = Duration::from_mins(1);
/// How long an upload waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file that is being uploaded.
pub struct Upload(Option<Open>);

struct Open {
    files: Files,
    file: File,
    writer: Writer,
    surveyor: Surveyor,
    /// What the team may still keep.
    room: Option<u64>,
    heard_at: Timestamp,
    has_saved_id: bool,
    _permit: OwnedSemaphorePermit,
}

impl Upload {
    pub(super) async fn begin(files: &Files, caller: &Caller, origin: Origin) -> Result<Self> {
        let (region, bucket) = files.place(caller)?;
        let objects = files.objects(&region)?;
        let permit = turn(files).await?;
        let now = files.0.clock.now();
        let id = ids::fresh("file-");
        let key = format!("{}/files/{}/{id}.jsonl", files.0.settings.prefix, caller.team.id);
        let writer = objects.writer(bucket.clone(), key.clone());
        let file = File {
            id,
            team: caller.team.id.clone(),
            key: caller.key.id.clone(),
            purpose: String::new(),
            filename: String::new(),
            origin,
            form: None,
            bytes: 0,
            segments: vec![Segment { region, bucket, key, bytes: 0 }],
            created_at: now,
            expires_at: now.plus(ABANDONED),
        };
        let mut transaction = files.0.store.begin().await?;
        let room = match files.0.settings.team_storage {
            None => None,
            Some(most) => Some(most.saturating_sub(queries::used(&mut transaction, &file.team, &file.id).await?)),
        };
        if room == Some(0) {
            return Err(full(files));
        }
        queries::insert(&mut transaction, &file, State::Uploading).await?;
        transaction.commit().await?;
        let (files, surveyor) = (files.clone(), Survey::begin());
        Ok(Self(Some(Open {
            files,
            file,
            writer,
            surveyor,
            room,
            heard_at: now,
            has_saved_id: false,
            _permit: permit,
        })))
    }

    /// The next bytes.
    ///
    /// # Errors
    /// [`Kind::TooLarge`] beyond `batch.max_file_mb`, `batch.max_inline_mb` or the team's storage; when S3 or the store
    /// fails. Nothing more can be added then.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.0 {
            Some(open) => open.write(bytes).await,
            None => Err(Error::internal("the upload has ended")),
        }
    }

    /// Makes it a file, also if nobody waits for that any more.
    ///
    /// # Errors
    /// As [`Upload::write`]; then nothing is left of it.
    pub async fn finish(mut self, new: NewFile) -> Result<File> {
        let Some(open) = self.0.take() else { return Err(Error::internal("the upload has ended")) };
        // From here on a client that leaves could leave an object behind that no row tells of.
        let tracker = open.files.0.tracker.clone();
        tracker.spawn(open.finish(new)).await.map_err(Error::internal)?
    }

    /// Gives it up: no row and no part is left, unless S3 fails, and then the sweeper takes them away.
    pub async fn discard(mut self) {
        if let Some(open) = self.0.take() {
            open.discard().await;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(open), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            let tracker = open.files.0.tracker.clone();
            tracker.spawn_on(open.discard(), &runtime);
        }
    }
}

/// Waits until an upload may begin.
async fn turn(files: &Files) -> Result<OwnedSemaphorePermit> {
    let permit = tokio::time::timeout(PATIENCE, files.0.uploads.clone().acquire_owned()).await;
    let busy = || {
        let error = Error::new(Kind::RateLimited, "Too many uploads are under way. Try again in a moment.");
        error.reason("uploads").retry_after(Duration::from_secs(10))
    };
    permit.map_err(|_| busy())?.map_err(Error::internal)
}

/// The team keeps as much as it may.
fn full(files: &Files) -> Error {
    let most = files.0.settings.team_storage.unwrap_or_default() / super::MIB;
    let message = format!(
        "The files of this team would take more than the {most} MiB that it may keep (batch.team_storage_mb): delete some."
    );
    Error::new(Kind::TooLarge, message).param("file").reason("storage")
}

fn too_long(files: &Files, origin: Origin) -> Error {
    let most = files.longest(origin) / super::MIB;
    let (setting, param) = match origin {
        Origin::Inline => ("batch.max_inline_mb", "requests"),
        Origin::Upload | Origin::Result => ("batch.max_file_mb", "file"),
    };
    Error::new(Kind::TooLarge, format!("A file may have at most {most} MiB ({setting}).")).param(param)
}

impl Open {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.writer.written() + bytes.len() as u64;
        if written > self.files.longest(self.file.origin) {
            return Err(too_long(&self.files, self.file.origin));
        }
        if self.room.is_some_and(|room| written > room) {
            return Err(full(&self.files));
        }
        self.surveyor.push(bytes)?;
        self.writer.write(bytes).await.map_err(told)?;
        let now = self.files.0.clock.now();
        let has_new_id = self.writer.upload_id().is_some() && !self.has_saved_id;
        if has_new_id || now.since(self.heard_at) >= HEARTBEAT {
            self.tell(now).await?;
        }
        Ok(())
    }

    /// Says that it goes on.
    async fn tell(&mut self, now: Timestamp) -> Result<()> {
        let (store, upload) = (&self.files.0.store, self.writer.upload_id());
        let until = now.plus(ABANDONED);
        if !queries::advance(store, &self.file.id, self.writer.written(), upload, until).await? {
            return Err(abandoned());
        }
        self.has_saved_id = upload.is_some();
        self.heard_at = now;
        Ok(())
    }

    async fn finish(self, new: NewFile) -> Result<File> {
        let Self { files, mut file, writer, surveyor, .. } = self;
        let id = file.id.clone();
        let finished = async {
            // It may have a file of ids to read.
            let survey = files.0.tracker.spawn_blocking(move || surveyor.finish());
            let survey = survey.await.map_err(Error::internal)??;
            file.bytes = writer.finish().await.map_err(told)?;
            for segment in &mut file.segments {
                segment.bytes = file.bytes;
            }
            file.form = survey.form;
            file.filename = new.filename;
            file.purpose = new.purpose;
            file.created_at = files.0.clock.now();
            let keep = new.expires_after.unwrap_or(Duration::MAX).min(files.0.settings.retention);
            file.expires_at = file.created_at.plus(keep);
            complete(&files, &file, &survey).await?;
            Ok(file)
        };
        let finished: Result<File> = finished.await;
        if finished.is_err() {
            // The writer is gone, and has taken its parts with it.
            files.abandon(&id).await;
        }
        finished
    }

    async fn discard(self) {
        // A failure is in the log; the row stays, and with it the id of the upload.
        if self.writer.abort().await.is_ok() {
            self.files.abandon(&self.file.id).await;
        }
    }
}

/// Makes the row one of a file, if the team has room for it.
async fn complete(files: &Files, file: &File, survey: &Survey) -> Result<()> {
    let mut transaction = files.0.store.begin().await?;
    if let Some(most) = files.0.settings.team_storage {
        let used = queries::used(&mut transaction, &file.team, &file.id).await?;
        if used.saturating_add(file.bytes) > most {
            return Err(full(files));
        }
    }
    if !queries::complete(&mut transaction, file, survey).await? {
        return Err(abandoned());
    }
    transaction.commit().await?;
    Ok(())
}

fn abandoned() -> Error {
    Error::new(Kind::Conflict, "Nothing was heard of this upload for so long that it was given up. Upload it again.")
}
