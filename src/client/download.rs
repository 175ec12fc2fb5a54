//! Files on their way from a gateway: whole, however often the connection breaks.

use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::{Client, TRIES, is_passing, pause, segment};
use crate::error::{Error, Kind, Result};

/// Takes what has arrived; an error ends the download.
pub type Sink<'a> = dyn FnMut(Piece<'_>) -> std::io::Result<()> + Send + 'a;

/// What a download is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The file has so many bytes.
    Length(u64),
    /// The next of them.
    Bytes(&'a [u8]),
}

/// Why a download ended before the end of its file.
#[derive(Debug)]
pub enum Unfinished {
    /// The gateway did not send it.
    Refused(Error),
    /// What has arrived could not be put away.
    Unkept(std::io::Error),
}

impl Client {
    /// Hands the content of a file to `sink`, from the byte `from` on. Goes on where it was when the connection breaks,
    /// until nothing arrives several times in a row.
    pub fn download<'a>(
        &'a self,
        id: &'a str,
        from: u64,
        sink: &'a mut Sink<'_>,
    ) -> BoxFuture<'a, Result<(), Unfinished>> {
        Box::pin(async move {
            let (mut at, mut tries) = (from, 1);
            loop {
                let before = at;
                match self.some_of(id, &mut at, sink).await {
                    Ok(()) => return Ok(()),
                    Err(Unfinished::Refused(error)) if is_passing(&error) => {
                        tries = if at > before { 1 } else { tries + 1 };
                        if tries > TRIES {
                            return Err(Unfinished::Refused(error));
                        }
                        tokio::time::sleep(pause(tries, &error)).await;
                    }
                    Err(ended) => return Err(ended),
                }
            }
        })
    }

    /// One request for what is left; `at` is how far it came.
    async fn some_of(&self, id: &str, at: &mut u64, sink: &mut Sink<'_>) -> Result<(), Unfinished> {
        let request = self.request(Method::GET, &format!("v1/files/{}/content", segment(id)));
        let request = if *at > 0 { request.header(RANGE, format!("bytes={at}-")) } else { request };
        let response = request.send().await.map_err(|error| Unfinished::Refused(self.unreached(error)))?;
        let status = response.status();
        if status == StatusCode::RANGE_NOT_SATISFIABLE && total(&response) == Some(*at) {
            return Ok(());
        }
        if !status.is_success() {
            return Err(Unfinished::Refused(self.refusal(response).await));
        }
        // Who does not know ranges sends it all, and its beginning is passed over.
        let mut skip = if status == StatusCode::PARTIAL_CONTENT { 0 } else { *at };
        if skip == 0 && *at > 0 && start(&response) != Some(*at) {
            return Err(Unfinished::Refused(self.no_gateway("it sends another part of the file than was asked for")));
        }
        let length = total(&response);
        if let Some(length) = length {
            sink(Piece::Length(length)).map_err(Unfinished::Unkept)?;
        }
        let mut response = response;
        loop {
            let next = response.chunk().await.map_err(|error| Unfinished::Refused(self.unreached(error)))?;
            let Some(piece) = next else { break };
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            skip -= known as u64;
            let new = &piece[known..];
            sink(Piece::Bytes(new)).map_err(Unfinished::Unkept)?;
            *at += new.len() as u64;
        }
        if length.is_some_and(|length| length != *at) {
            let message = "The file broke off on its way.";
            return Err(Unfinished::Refused(Error::new(Kind::UpstreamUnavailable, message)));
        }
        Ok(())
    }
}

/// How long the whole file is.
fn total(response: &Response) -> Option<u64> {
    let text = |name| response.headers().get(name)?.to_str().ok();
    match text(CONTENT_RANGE) {
        Some(range) => range.rsplit('/').next()?.parse().ok(),
        None => text(CONTENT_LENGTH)?.parse().ok(),
    }
}

/// Where what was sent begins.
fn start(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
