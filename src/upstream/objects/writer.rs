//! An object as it is written: in parts of 8 MiB, two under way while the third fills, or at once when it is smaller than
//! one. What is neither finished nor aborted aborts itself, so that no parts are left to pay for.

use std::collections::VecDeque;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Objects;
use crate::error::Error;
use crate::upstream::classify::{Failure, Reason};

/// The length of every part but the last. AWS takes 10,000 of 5 MiB or more:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>.
const PART: usize = 8 * 1024 * 1024;
const MOST_PARTS: usize = 10_000;
/// Parts that are under way.
const AT_ONCE: usize = 2;

type Flight = JoinHandle<Result<CompletedPart, Failure>>;

/// An object that is being written. At most 24 MiB of it are in memory.
pub struct Writer {
    objects: Objects,
    bucket: String,
    key: String,
    buffer: BytesMut,
    upload: Option<String>,
    flying: VecDeque<Flight>,
    done: Vec<CompletedPart>,
    written: u64,
}

impl Writer {
    pub(super) fn new(objects: Objects, bucket: String, key: String) -> Self {
        Self {
            objects,
            bucket,
            key,
            buffer: BytesMut::new(),
            upload: None,
            flying: VecDeque::new(),
            done: Vec::new(),
            written: 0,
        }
    }

    /// S3's id of the upload; none: it has no parts yet.
    pub fn upload_id(&self) -> Option<&str> {
        self.upload.as_deref()
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Adds to the object; waits while too much is under way.
    ///
    /// # Errors
    /// When S3 refuses a part, or fails again and again: nothing can be added any more.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]> + Send) -> Result<(), Failure> {
        let mut rest = bytes.as_ref();
        while !rest.is_empty() {
            let (fits, beyond) = rest.split_at(rest.len().min(PART - self.buffer.len()));
            self.buffer.extend_from_slice(fits);
            self.written += fits.len() as u64;
            rest = beyond;
            if self.buffer.len() == PART {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Ends the object, which is there from then on; says how long it is.
    ///
    /// # Errors
    /// As [`Writer::write`]; then it is not there, and no parts are left.
    pub async fn finish(mut self) -> Result<u64, Failure> {
        let Some(upload) = self.upload.clone() else {
            let body = std::mem::take(&mut self.buffer).freeze();
            self.objects.put(&self.bucket, &self.key, body).await?;
            return Ok(self.written);
        };
        if !self.buffer.is_empty() {
            self.send().await?;
        }
        while !self.flying.is_empty() {
            self.land().await?;
        }
        self.complete(&upload).await?;
        self.upload = None;
        Ok(self.written)
    }

    /// Gives it up and waits until nothing of it is left.
    ///
    /// # Errors
    /// When S3 does not take that; the parts stay until the bucket's own rules remove them.
    pub async fn abort(mut self) -> Result<(), Failure> {
        self.stop();
        match self.upload.take() {
            Some(upload) => self.objects.abort(&self.bucket, &self.key, &upload).await,
            None => Ok(()),
        }
    }

    /// Sends what is in the buffer as the next part.
    async fn send(&mut self) -> Result<(), Failure> {
        let upload = match &self.upload {
            Some(upload) => upload.clone(),
            None => self.begin().await?,
        };
        if self.flying.len() >= AT_ONCE {
            self.land().await?;
        }
        let number = self.done.len() + self.flying.len() + 1;
        if number > MOST_PARTS {
            return Err(Failure::internal(Error::internal("the object has more parts than S3 takes")));
        }
        let body = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(PART)).freeze();
        let part = Part {
            objects: self.objects.clone(),
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            upload,
            number: i32::try_from(number).unwrap_or(i32::MAX),
            body,
        };
        self.flying.push_back(self.objects.0.tracker.spawn(part.send()));
        Ok(())
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html>
    async fn begin(&mut self) -> Result<String, Failure> {
        let attempt = || {
            let call = self.objects.0.client.create_multipart_upload().bucket(&self.bucket).key(&self.key);
            // Parts are sent with this checksum, and S3 takes no other than the one it was told of first.
            Box::pin(call.checksum_algorithm(ChecksumAlgorithm::Crc32).send())
        };
        let answer = self.objects.repeat("s3:PutObject", attempt).await?;
        let upload = answer.upload_id.ok_or_else(|| Failure::cut("S3 gave the upload no id"))?;
        self.upload = Some(upload.clone());
        Ok(upload)
    }

    /// Waits for the first of the parts that are under way.
    async fn land(&mut self) -> Result<(), Failure> {
        let Some(flight) = self.flying.front_mut() else { return Ok(()) };
        let landed = flight.await.unwrap_or_else(|lost| Err(Failure::cut(lost)));
        self.flying.pop_front();
        self.done.push(landed?);
        Ok(())
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>
    async fn complete(&mut self, upload: &str) -> Result<(), Failure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(&mut self.done))).build();
        let attempt = || {
            let call = self.objects.0.client.complete_multipart_upload().bucket(&self.bucket).key(&self.key);
            Box::pin(call.upload_id(upload).multipart_upload(parts.clone()).send())
        };
        match self.objects.repeat("s3:PutObject", attempt).await {
            Ok(_) => Ok(()),
            // An answer that was lost: the second time S3 does not know the upload any more, because it is an object.
            Err(failure) if failure.reason == Reason::Missing => {
                let there = self.objects.length(&self.bucket, &self.key).await?;
                if there == Some(self.written) { Ok(()) } else { Err(failure) }
            }
            Err(failure) => Err(failure),
        }
    }

    fn stop(&mut self) {
        for flight in self.flying.drain(..) {
            flight.abort();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
        let Some(upload) = self.upload.take() else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        let (objects, bucket, key) =
            (self.objects.clone(), std::mem::take(&mut self.bucket), std::mem::take(&mut self.key));
        let tracker = self.objects.0.tracker.clone();
        // A failure is in the log.
        tracker.spawn_on(async move { objects.abort(&bucket, &key, &upload).await.is_ok() }, &runtime);
    }
}

/// One part on its way.
struct Part {
    objects: Objects,
    bucket: String,
    key: String,
    upload: String,
    number: i32,
    body: Bytes,
}

impl Part {
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html>
    async fn send(self) -> Result<CompletedPart, Failure> {
        let attempt = || {
            let call = self.objects.0.client.upload_part().bucket(&self.bucket).key(&self.key);
            let call = call.upload_id(&self.upload).part_number(self.number);
            let call = call.checksum_algorithm(ChecksumAlgorithm::Crc32);
            Box::pin(call.body(ByteStream::from(self.body.clone())).send())
        };
        let answer = self.objects.repeat("s3:PutObject", attempt).await?;
        let part = CompletedPart::builder().part_number(self.number).set_e_tag(answer.e_tag);
        Ok(part.set_checksum_crc32(answer.checksum_crc32).build())
    }
}
