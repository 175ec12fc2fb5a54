//! An object as it is read: when the connection breaks, the rest is asked for by range, of the same version.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt as _, try_unfold};

use super::refusal::passes;
use super::{Objects, Pauses};
use crate::upstream::classify::Failure;

/// The bytes of an object, or of a range of it, in pieces as they come. Yields exactly [`Reading::length`] bytes, or ends
/// with a failure.
pub struct Reading {
    /// How many bytes it yields.
    pub length: u64,
    pieces: BoxStream<'static, Result<Bytes, Failure>>,
}

/// What is left to read.
struct Rest {
    objects: Objects,
    bucket: String,
    key: String,
    /// Which version of the object.
    etag: Option<String>,
    /// Of the object.
    next: u64,
    end: u64,
    body: Option<ByteStream>,
    /// Since the last piece.
    pauses: Pauses,
}

impl Reading {
    pub(super) async fn open(
        objects: Objects,
        bucket: &str,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<Self, Failure> {
        if range.as_ref().is_some_and(Range::is_empty) {
            return Ok(Self { length: 0, pieces: futures_util::stream::empty().boxed() });
        }
        let start = range.as_ref().map_or(0, |range| range.start);
        let (body, length, etag) = ask(&objects, (bucket, key), range, None).await?;
        let rest = Rest {
            objects,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            etag,
            next: start,
            end: start + length,
            body: Some(body),
            pauses: Pauses::default(),
        };
        let pieces = try_unfold(rest, |mut rest| async move {
            let piece = rest.piece().await?;
            Ok(piece.map(|piece| (piece, rest)))
        });
        Ok(Self { length, pieces: pieces.boxed() })
    }
}

impl Stream for Reading {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_next_unpin(context)
    }
}

impl Rest {
    async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        while self.next < self.end {
            let body = if let Some(body) = self.body.as_mut() {
                body
            } else {
                let range = Some(self.next..self.end);
                let asked = ask(&self.objects, (&self.bucket, &self.key), range, self.etag.clone()).await?;
                self.body.insert(asked.0)
            };
            let failure = match tokio::time::timeout(self.objects.0.idle, body.next()).await {
                Ok(Some(Ok(mut piece))) => {
                    let wanted = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
                    piece.truncate(wanted);
                    self.next += piece.len() as u64;
                    self.pauses = Pauses::default();
                    if piece.is_empty() {
                        continue;
                    }
                    return Ok(Some(piece));
                }
                Ok(Some(Err(error))) => Failure::cut(error),
                Ok(None) => Failure::cut("the object ends before its length"),
                Err(elapsed) => Failure::cut(elapsed),
            };
            debug_assert!(passes(failure.reason));
            self.body = None;
            if !self.pauses.after(&failure).await {
                return Err(failure);
            }
        }
        Ok(None)
    }
}

/// The body, its length, and which version it is of.
async fn ask(
    objects: &Objects,
    (bucket, key): (&str, &str),
    range: Option<Range<u64>>,
    etag: Option<String>,
) -> Result<(ByteStream, u64, Option<String>), Failure> {
    // The last byte is part of a range in HTTP.
    let range = range.map(|range| format!("bytes={}-{}", range.start, range.end - 1));
    let attempt = || {
        let call = objects.0.client.get_object().bucket(bucket).key(key);
        Box::pin(call.set_range(range.clone()).set_if_match(etag.clone()).send())
    };
    let answer = objects.repeat("s3:GetObject", attempt).await?;
    let length = answer.content_length.and_then(|length| u64::try_from(length).ok());
    let length = length.ok_or_else(|| Failure::cut("S3 does not say how long the object is"))?;
    Ok((answer.body, length, answer.e_tag))
}
