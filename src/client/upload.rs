//! Files on their way to a gateway: read from the disk while they are sent, whatever their size.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method};
use serde_json::Value;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::Client;
use crate::error::{Error, Result};

/// What is read at once.
const PIECE: usize = 256 * 1024;

impl Client {
    /// Uploads the file at `path` for batches, and returns what the gateway says of it; `sent` is told of the bytes as they
    /// leave. Not repeated when the connection breaks.
    ///
    /// # Errors
    /// [`crate::error::Kind::Invalid`], blaming `FILE`, for one that cannot be read or is none; else as every call.
    pub async fn upload(&self, path: &Path, sent: impl Fn(usize) + Send + Sync + 'static) -> Result<Value> {
        let (file, bytes) = open(path).await?;
        let name = path.file_name().map_or_else(|| "batch.jsonl".into(), |name| name.to_string_lossy().into_owned());
        let pieces = stream::unfold((file, sent), async |(mut file, sent)| {
            let piece = next(&mut file).await.transpose()?;
            if let Ok(piece) = &piece {
                sent(piece.len());
            }
            Some((piece, (file, sent)))
        });
        let part = Part::stream_with_length(Body::wrap_stream(pieces), bytes).file_name(name);
        let part = part.mime_str("application/jsonl").map_err(Error::internal)?;
        let form = Form::new().text("purpose", "batch").part("file", part);
        self.answer(self.request(Method::POST, "v1/files").multipart(form)).await
    }
}

async fn open(path: &Path) -> Result<(File, u64)> {
    let unread = |error: std::io::Error| Error::invalid("FILE", format!("{} cannot be read: {error}", path.display()));
    let file = File::open(path).await.map_err(unread)?;
    let about = file.metadata().await.map_err(unread)?;
    if !about.is_file() {
        return Err(Error::invalid("FILE", format!("{} is not a file", path.display())));
    }
    Ok((file, about.len()))
}

async fn next(file: &mut File) -> std::io::Result<Option<Bytes>> {
    let mut piece = BytesMut::with_capacity(PIECE);
    let read = file.read_buf(&mut piece).await?;
    Ok((read > 0).then(|| piece.freeze()))
}
