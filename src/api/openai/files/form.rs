//! The upload, part by part as it arrives: the file goes on to where it is kept, nothing else is longer than a few words.
//!
//! Memory does not grow with the body, whatever it is made of: the parser beneath would hold what it is given until it finds
//! the end of a part's head, so it is given no more than [`UNREAD`] without a result.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::Request;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use multer::{Constraints, Field, Multipart, SizeLimit};

use crate::api::slow;
use crate::batch::File;
use crate::batch::files::{Files, NewFile, Upload};
use crate::batch::record::Origin;
use crate::error::{Error, Kind, Result};
use crate::tenancy::Caller;

/// What may come before the head of a part has ended.
const UNREAD: usize = 1024 * 1024;
/// What may come beside the file.
const BESIDE: u64 = 1024 * 1024;
/// The longest word.
const WORD: usize = 64;
/// The longest name of a file, in bytes.
const NAME: usize = 512;
/// <https://platform.openai.com/docs/api-reference/files/create>
const SECONDS: std::ops::RangeInclusive<u64> = 3600..=2_592_000;

/// Keeps the file that the request brings.
pub(super) async fn receive(files: &Files, caller: &Caller, request: Request) -> Result<File> {
    let longest = files.longest(Origin::Upload).saturating_add(BESIDE);
    let (head, body) = request.into_parts();
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let length: Option<u64> = header(CONTENT_LENGTH).and_then(|length| length.parse().ok());
    if length.is_some_and(|length| length > longest) {
        return Err(too_large());
    }
    let boundary = multer::parse_boundary(header(CONTENT_TYPE).unwrap_or_default()).map_err(|_| no_form())?;
    let unread = Arc::<AtomicUsize>::default();
    let pieces = Pieces { body: body.into_data_stream(), unread: Arc::clone(&unread), rests: false };
    let limit = Constraints::new().size_limit(SizeLimit::new().whole_stream(longest));
    let mut parts = Parts { multipart: Multipart::with_constraints(pieces, boundary, limit), unread };
    let mut form = Form::default();
    match form.read(files, caller, &mut parts).await {
        Ok(()) => form.finish().await,
        Err(error) => {
            form.discard().await;
            Err(error)
        }
    }
}

/// What has been read.
#[derive(Default)]
struct Form {
    file: Option<(Upload, String)>,
    purpose: Option<String>,
    anchor: Option<String>,
    seconds: Option<u64>,
}

impl Form {
    async fn read(&mut self, files: &Files, caller: &Caller, parts: &mut Parts) -> Result<()> {
        while let Some(mut field) = parts.next().await? {
            match field.name().unwrap_or_default() {
                "file" => self.file(files, caller, &mut field, parts).await?,
                "purpose" => self.purpose = Some(purpose(parts.word(&mut field, "purpose").await?)?),
                "expires_after[anchor]" => {
                    let anchor = parts.word(&mut field, "expires_after.anchor").await?;
                    if anchor != "created_at" {
                        let message = "`expires_after.anchor` must be `created_at`.";
                        return Err(Error::invalid("expires_after.anchor", message));
                    }
                    self.anchor = Some(anchor);
                }
                "expires_after[seconds]" => {
                    let text = parts.word(&mut field, "expires_after.seconds").await?;
                    let seconds = text.trim().parse().ok().filter(|seconds| SECONDS.contains(seconds));
                    self.seconds = Some(seconds.ok_or_else(bad_seconds)?);
                }
                // Of no concern here.
                _ => while parts.chunk(&mut field).await?.is_some() {},
            }
        }
        self.check()
    }

    async fn file(&mut self, files: &Files, caller: &Caller, field: &mut Field<'_>, parts: &Parts) -> Result<()> {
        if self.file.is_some() {
            return Err(Error::invalid("file", "`file` is given twice."));
        }
        let name = field.file_name().unwrap_or("file").to_owned();
        if name.is_empty() || name.len() > NAME {
            return Err(Error::invalid("file", format!("The name of the file must have 1 to {NAME} bytes.")));
        }
        let upload = files.begin(caller, Origin::Upload).await?;
        let (upload, _) = self.file.insert((upload, name));
        while let Some(piece) = parts.chunk(field).await? {
            upload.write(&piece).await?;
        }
        Ok(())
    }

    /// Whether all is there.
    fn check(&self) -> Result<()> {
        if self.file.is_none() {
            return Err(Error::invalid("file", "`file` is missing."));
        }
        if self.purpose.is_none() {
            return Err(Error::invalid("purpose", "`purpose` is missing: it must be `batch`."));
        }
        match (&self.anchor, self.seconds) {
            (Some(_), None) => Err(Error::invalid("expires_after.seconds", "`expires_after.seconds` is missing.")),
            (None, Some(_)) => {
                let message = "`expires_after.anchor` is missing: it must be `created_at`.";
                Err(Error::invalid("expires_after.anchor", message))
            }
            _ => Ok(()),
        }
    }

    async fn finish(self) -> Result<File> {
        let Self { file, purpose, seconds, .. } = self;
        let Some((upload, filename)) = file else { return Err(Error::internal("a form without a file was taken")) };
        let expires_after = seconds.map(Duration::from_secs);
        let purpose = purpose.unwrap_or_default();
        upload.finish(NewFile { filename, purpose, expires_after, origin: Origin::Upload }).await
    }

    async fn discard(self) {
        if let Some((upload, _)) = self.file {
            upload.discard().await;
        }
    }
}

fn purpose(purpose: String) -> Result<String> {
    if purpose == "batch" {
        return Ok(purpose);
    }
    Err(Error::invalid("purpose", "`purpose` must be `batch`: this gateway keeps files for batches alone."))
}

fn bad_seconds() -> Error {
    let message = format!("`expires_after.seconds` must be a number from {} to {}.", SECONDS.start(), SECONDS.end());
    Error::invalid("expires_after.seconds", message)
}

fn no_form() -> Error {
    Error::invalid("content-type", "The body must be `multipart/form-data` with a boundary.")
}

fn too_large() -> Error {
    Error::new(Kind::TooLarge, "The upload is larger than this gateway takes (batch.max_file_mb).").param("file")
}

/// What went wrong, without a word of what was sent.
fn broken(error: &multer::Error) -> Error {
    if let Some(slow) = slow::cause(error) {
        return slow.told();
    }
    match error {
        multer::Error::StreamSizeExceeded { .. } => too_large(),
        multer::Error::IncompleteStream
        | multer::Error::IncompleteHeaders
        | multer::Error::IncompleteFieldData { .. }
        | multer::Error::StreamReadFailed(_) => {
            Error::new(Kind::Invalid, "The upload ended early, or is no `multipart/form-data` of this boundary.")
        }
        _ => Error::new(Kind::Invalid, "The upload cannot be read as `multipart/form-data`."),
    }
}

/// The parts of the body.
struct Parts {
    multipart: Multipart<'static>,
    unread: Arc<AtomicUsize>,
}

impl Parts {
    async fn next(&mut self) -> Result<Option<Field<'static>>> {
        let next = self.multipart.next_field().await;
        self.unread.store(0, Ordering::Relaxed);
        next.map_err(|error| broken(&error))
    }

    async fn chunk(&self, field: &mut Field<'_>) -> Result<Option<Bytes>> {
        let chunk = field.chunk().await;
        self.unread.store(0, Ordering::Relaxed);
        chunk.map_err(|error| broken(&error))
    }

    /// The text of a part that is short.
    async fn word(&self, field: &mut Field<'_>, name: &str) -> Result<String> {
        let mut text = Vec::new();
        while let Some(piece) = self.chunk(field).await? {
            if text.len() + piece.len() > WORD {
                return Err(Error::invalid(name, format!("`{name}` is too long.")));
            }
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).map_err(|_| Error::invalid(name, format!("`{name}` is not UTF-8.")))
    }
}

/// The body as the parser gets it: one piece at a time, and not on and on without a result.
struct Pieces {
    body: BodyDataStream,
    unread: Arc<AtomicUsize>,
    /// Whether a piece was just given: the parser asks on until it is told that there is none.
    rests: bool,
}

impl Stream for Pieces {
    type Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rests) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = std::task::ready!(self.body.poll_next_unpin(context));
        let Some(Ok(piece)) = polled else { return Poll::Ready(polled.map(|piece| piece.map_err(Into::into))) };
        self.rests = true;
        if self.unread.fetch_add(piece.len(), Ordering::Relaxed) > UNREAD {
            return Poll::Ready(Some(Err("no part ends its head".into())));
        }
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn parts(body: Body) -> Parts {
        let unread = Arc::<AtomicUsize>::default();
        let pieces = Pieces { body: body.into_data_stream(), unread: Arc::clone(&unread), rests: false };
        Parts { multipart: Multipart::new(pieces, "X"), unread }
    }

    fn endless(piece: &'static [u8]) -> (Body, Arc<AtomicUsize>) {
        let given = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&given);
        let pieces = std::iter::repeat_with(move || {
            counted.fetch_add(piece.len(), Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(piece))
        });
        (Body::from_stream(futures_util::stream::iter(pieces)), given)
    }

    #[tokio::test]
    async fn what_never_becomes_a_part_is_not_held() {
        const PIECE: &[u8] = &[b'a'; 64 * 1024];
        let (body, given) = endless(PIECE);
        assert_eq!(parts(body).next().await.unwrap_err().kind(), Kind::Invalid);
        assert!(given.load(Ordering::Relaxed) <= UNREAD + 3 * PIECE.len(), "{given:?}");
    }

    #[tokio::test]
    async fn a_part_is_handed_on_piece_by_piece() {
        const PIECE: &[u8] = &[b'a'; 64 * 1024];
        let (body, given) = endless(PIECE);
        let head = Bytes::from_static(b"--X\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n");
        let head = futures_util::stream::iter([Ok(head)]);
        let body = Body::from_stream(head.chain(body.into_data_stream()));
        let mut parts = parts(body);
        let mut field = parts.next().await.unwrap().unwrap();
        let mut read = 0;
        while read < 64 * UNREAD {
            read += parts.chunk(&mut field).await.unwrap().unwrap().len();
            assert!(given.load(Ordering::Relaxed) - read <= 4 * PIECE.len());
        }
        assert!(parts.word(&mut field, "file").await.unwrap_err().message().contains("too long"));
    }
}
