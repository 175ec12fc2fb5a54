//! The body of a request, read as it arrives and held to everything that the request says of it: its signature, its length, its
//! MD5 and its checksum. Bytes of objects go to a file; documents are small and kept.

use std::io::{self, Write as _};

use axum::body::Body;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::super::errors::Failure;
use super::super::sigv4::hex;
use super::auth::Payload;
use super::checksums::{self, Algorithm, Stated, Sum};
use super::chunks::{Decoder, broken};
use super::files::Draft;

/// The largest object of one request and the largest part, in bytes.
const LARGEST: u64 = 5 << 30;
/// The largest document, in bytes: a completion of 10,000 parts.
const LARGEST_DOCUMENT: u64 = 8 << 20;

/// A body that is still to be read.
pub(super) struct Incoming {
    body: Body,
    payload: Payload,
    stated: Stated,
    md5: Option<Vec<u8>>,
    /// In bytes.
    length: Option<u64>,
}

/// What a body came to.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) algorithm: Algorithm,
    pub(super) digest: Vec<u8>,
}

impl Incoming {
    /// Refuses what the headers say wrong of a body, and takes it otherwise. `stated` is the checksum that they state of it.
    pub(super) fn new(
        headers: &HeaderMap,
        payload: Payload,
        stated: Stated,
        body: &mut Option<Body>,
    ) -> Result<Self, Failure> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_chunked = matches!(payload, Payload::Chunked { .. });
        let has_trailer = matches!(payload, Payload::Chunked { trailer: true, .. });
        if matches!(stated, Stated::Trailer(_)) != has_trailer {
            let message = "The x-amz-trailer header and the x-amz-content-sha256 header do not agree about a trailer";
            return Err(Failure::new(400, "InvalidRequest", message));
        }
        let md5 = text("content-md5").map(|text| {
            let bytes = STANDARD.decode(text).ok().filter(|bytes| bytes.len() == 16);
            bytes.ok_or_else(|| Failure::new(400, "InvalidDigest", "The Content-MD5 you specified was invalid."))
        });
        let name = if is_chunked { "x-amz-decoded-content-length" } else { "content-length" };
        let length = text(name).and_then(|text| text.parse().ok());
        let md5 = md5.transpose()?;
        Ok(Self { body: body.take().unwrap_or_default(), payload, stated, md5, length })
    }

    /// What is still to be read.
    pub(super) fn rest(self) -> Body {
        self.body
    }

    /// Whether anything but a signature proves the body.
    pub(super) const fn is_proven(&self) -> bool {
        self.md5.is_some() || !matches!(self.stated, Stated::Nothing)
    }

    pub(super) const fn stated(&self) -> Option<Algorithm> {
        self.stated.algorithm()
    }

    /// Writes the body to a file. `algorithm` makes the checksum of a body that states none.
    pub(super) async fn store(&mut self, draft: &mut Draft, algorithm: Algorithm) -> Result<Received, Failure> {
        match self.length {
            None => {
                return Err(Failure::new(
                    411,
                    "MissingContentLength",
                    "You must provide the Content-Length HTTP header.",
                ));
            }
            Some(length) if length > LARGEST => return Err(too_large()),
            Some(_) => {}
        }
        self.read(algorithm, |bytes| draft.write_all(bytes).map_err(disk)).await
    }

    /// Reads a document, or nothing.
    pub(super) async fn document(&mut self) -> Result<Vec<u8>, Failure> {
        let mut document = Vec::new();
        self.read(Algorithm::Crc32, |bytes| {
            if (document.len() + bytes.len()) as u64 > LARGEST_DOCUMENT {
                return Err(Failure::new(400, "MaxMessageLengthExceeded", "Your request was too big."));
            }
            document.extend_from_slice(bytes);
            Ok(())
        })
        .await?;
        Ok(document)
    }

    async fn read(
        &mut self,
        algorithm: Algorithm,
        mut sink: impl FnMut(&[u8]) -> Result<(), Failure> + Send,
    ) -> Result<Received, Failure> {
        let mut sum = Sum::begin(self.stated.algorithm().unwrap_or(algorithm));
        let mut md5 = self.md5.is_some().then(Md5::new);
        let mut sha = matches!(self.payload, Payload::Hashed(_)).then(Sha256::new);
        let mut decoder = match &self.payload {
            Payload::Chunked { signer, trailer } => Some(Decoder::new(signer.clone(), *trailer)),
            _ => None,
        };
        let mut length = 0;
        while let Some(frame) = self.body.frame().await {
            // The client went away while it sent.
            let Ok(frame) = frame else { return Err(broken()) };
            let Ok(bytes) = frame.into_data() else { continue };
            let mut take = |bytes: &[u8]| {
                sum.push(bytes);
                if let Some(md5) = &mut md5 {
                    md5.update(bytes);
                }
                if let Some(sha) = &mut sha {
                    sha.update(bytes);
                }
                length += bytes.len() as u64;
                if length > LARGEST { Err(too_large()) } else { sink(bytes) }
            };
            match &mut decoder {
                Some(decoder) => decoder.push(&bytes, take)?,
                None => take(&bytes)?,
            }
        }
        if let Some(decoder) = &decoder {
            decoder.end()?;
        }
        if self.length.is_some_and(|told| told != length) {
            return Err(broken());
        }
        self.compare(sha, md5)?;
        let trailer = decoder.map(|decoder| decoder.trailer).unwrap_or_default();
        let received = Received { algorithm: sum.algorithm(), digest: sum.end() };
        self.proven(&received, &trailer)?;
        Ok(received)
    }

    fn compare(&self, sha: Option<Sha256>, md5: Option<Md5>) -> Result<(), Failure> {
        if let (Payload::Hashed(told), Some(sha)) = (&self.payload, sha)
            && hex(&sha.finalize()) != *told
        {
            let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
            return Err(Failure::new(400, "XAmzContentSHA256Mismatch", message));
        }
        if let (Some(told), Some(md5)) = (&self.md5, md5)
            && md5.finalize()[..] != told[..]
        {
            return Err(Failure::new(
                400,
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
            ));
        }
        Ok(())
    }

    fn proven(&self, received: &Received, trailer: &[(String, String)]) -> Result<(), Failure> {
        let told = match &self.stated {
            Stated::Nothing => return Ok(()),
            Stated::Header(_, told) => told.clone(),
            Stated::Trailer(algorithm) => {
                let value = trailer.iter().find(|(name, _)| name == algorithm.header());
                let malformed = || {
                    let message = "The request contained trailing data that was not well-formed or did not conform to our published schema.";
                    Failure::new(400, "MalformedTrailerError", message)
                };
                value.and_then(|(_, value)| algorithm.decode(value)).ok_or_else(malformed)?
            }
        };
        if told == received.digest { Ok(()) } else { Err(checksums::mismatch(received.algorithm)) }
    }
}

fn too_large() -> Failure {
    Failure::new(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
}

/// The simulator's own disk failed.
#[expect(clippy::needless_pass_by_value, reason = "it is mapped over results")]
pub(super) fn disk(error: io::Error) -> Failure {
    Failure::new(500, "InternalError", format!("We encountered an internal error. Please try again. ({error})"))
}
