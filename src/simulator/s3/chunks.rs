//! `aws-chunked` bodies: chunks with their sizes, signatures if they are signed, and a trailer. "Signature calculations for the
//! authorization header: transferring payload in multiple chunks" of S3's API reference. Pure; holds no more than a line.

use sha2::{Digest as _, Sha256};

use super::super::auth;
use super::super::errors::Failure;
use super::super::sigv4::{body_hash, hex};
use super::auth::Signer;

/// No chunk but the last may be smaller, in bytes.
const SMALLEST: u64 = 8192;
/// No line is longer, in bytes.
const LONGEST_LINE: usize = 1024;

/// Takes an encoded body apart while it arrives.
pub(super) struct Decoder {
    at: At,
    line: Vec<u8>,
    signer: Option<Signer>,
    has_trailer: bool,
    /// Bytes of objects so far.
    pub(super) decoded: u64,
    /// Names, in lower case, and values that came behind the body.
    pub(super) trailer: Vec<(String, String)>,
    was_small: bool,
}

enum At {
    Size,
    Data {
        left: u64,
        hash: Sha256,
        signature: String,
    },
    /// The line break behind a chunk.
    Break,
    Trailer,
    /// The line break behind all.
    End,
    Done,
}

impl Decoder {
    pub(super) fn new(signer: Option<Signer>, has_trailer: bool) -> Self {
        let (line, trailer) = (Vec::new(), Vec::new());
        Self { at: At::Size, line, signer, has_trailer, decoded: 0, trailer, was_small: false }
    }

    /// Reads further bytes; those of the object go to `sink`.
    pub(super) fn push<E: From<Failure>>(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if let At::Data { left, hash, .. } = &mut self.at {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                let (data, rest) = bytes.split_at(most);
                *left -= data.len() as u64;
                if self.signer.is_some() {
                    hash.update(data);
                }
                sink(data)?;
                self.decoded += data.len() as u64;
                bytes = rest;
                self.end_chunk()?;
                continue;
            }
            let end = memchr::memchr(b'\n', bytes);
            let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            self.line.extend_from_slice(part);
            bytes = rest;
            if self.line.len() > LONGEST_LINE {
                return Err(broken().into());
            }
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                let line = std::str::from_utf8(&line).map_err(|_| broken())?;
                self.read(line.trim_end_matches(['\r', '\n']))?;
            }
        }
        Ok(())
    }

    /// Refuses a body that ended too early.
    pub(super) fn end(&self) -> Result<(), Failure> {
        match self.at {
            At::Done => Ok(()),
            // The last line break is often left out.
            At::End if self.line.is_empty() => Ok(()),
            _ => Err(broken()),
        }
    }

    fn read(&mut self, line: &str) -> Result<(), Failure> {
        match self.at {
            At::Size => self.begin_chunk(line),
            At::Break if line.is_empty() => {
                self.at = At::Size;
                Ok(())
            }
            At::Trailer => self.read_trailer(line),
            At::End if line.is_empty() => {
                self.at = At::Done;
                Ok(())
            }
            At::Done if line.is_empty() => Ok(()),
            _ => Err(broken()),
        }
    }

    fn begin_chunk(&mut self, line: &str) -> Result<(), Failure> {
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        let left = u64::from_str_radix(size.trim(), 16).map_err(|_| broken())?;
        let signature = extension.trim().strip_prefix("chunk-signature=").unwrap_or_default().to_owned();
        if left > 0 && self.was_small {
            let message = "Only the last chunk is allowed to have a size less than 8192 bytes";
            return Err(Failure::new(403, "InvalidChunkSizeError", message));
        }
        self.was_small = left < SMALLEST;
        self.at = At::Data { left, hash: Sha256::new(), signature };
        if left == 0 {
            self.end_chunk()?;
            self.at = if self.has_trailer { At::Trailer } else { At::End };
        }
        Ok(())
    }

    /// Checks the signature of a chunk that is whole.
    fn end_chunk(&mut self) -> Result<(), Failure> {
        let At::Data { left: 0, hash, signature } = &self.at else { return Ok(()) };
        if let Some(signer) = &mut self.signer {
            let hash = hex(&hash.clone().finalize());
            let lines = [signer.previous.as_str(), &body_hash(b""), &hash];
            signer.check("AWS4-HMAC-SHA256-PAYLOAD", &lines.map(str::to_owned), signature)?;
        }
        self.at = At::Break;
        Ok(())
    }

    fn read_trailer(&mut self, line: &str) -> Result<(), Failure> {
        if line.is_empty() {
            if self.signer.is_some() {
                return Err(malformed());
            }
            self.at = At::Done;
            return Ok(());
        }
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        if name == "x-amz-trailer-signature" {
            let lines: Vec<String> = self.trailer.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
            let signer = self.signer.as_mut().ok_or_else(malformed)?;
            let lines = [signer.previous.clone(), body_hash(lines.concat().as_bytes())];
            signer.check("AWS4-HMAC-SHA256-TRAILER", &lines, &value)?;
            self.at = At::End;
            return Ok(());
        }
        self.trailer.push((name, value));
        Ok(())
    }
}

impl Signer {
    fn check(&mut self, algorithm: &str, lines: &[String], signature: &str) -> Result<(), Failure> {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let expected = self.key.sign(algorithm, &lines);
        if !auth::same(&expected, signature) {
            return Err(auth::mismatch());
        }
        self.previous = expected;
        Ok(())
    }
}

/// The body is not what it says it is.
pub(super) fn broken() -> Failure {
    Failure::new(
        400,
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )
}

fn malformed() -> Failure {
    Failure::new(
        400,
        "MalformedTrailerError",
        "The request contained trailing data that was not well-formed or did not conform to our published schema.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::sigv4::Authorization;
    use super::*;

    fn decode(decoder: &mut Decoder, body: &[u8], step: usize) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::new();
        for bytes in body.chunks(step) {
            decoder.push(bytes, |data| {
                out.extend_from_slice(data);
                Ok::<_, Failure>(())
            })?;
        }
        decoder.end().map(|()| out)
    }

    /// The example of S3's API reference: 66,560 letters in chunks of 65,536.
    #[test]
    fn signed_chunks_are_held_to_the_published_signatures() {
        let credential = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";
        let key = Authorization::of(credential, "host", "")
            .unwrap()
            .key("20130524T000000Z", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".to_owned();
        let signer = Some(Signer { key, previous: seed });
        let mut body = Vec::new();
        for (size, signature) in [
            (65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ] {
            body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
            body.extend_from_slice(&vec![b'a'; size]);
            body.extend_from_slice(b"\r\n");
        }
        for step in [7, 1000, 100_000] {
            let mut decoder = Decoder::new(signer.clone(), false);
            assert_eq!(decode(&mut decoder, &body, step).unwrap(), vec![b'a'; 66_560]);
        }
        body[60_000] ^= 1;
        let refused = decode(&mut Decoder::new(signer, false), &body, 1000).unwrap_err();
        assert_eq!(refused.name, "InvalidSignatureException");
    }

    #[test]
    fn a_trailer_comes_behind_unsigned_chunks() {
        let body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
        for step in 1..body.len() {
            let mut decoder = Decoder::new(None, true);
            assert_eq!(decode(&mut decoder, body, step).unwrap(), b"hello");
            assert_eq!(decoder.trailer, [("x-amz-checksum-crc32".to_owned(), "NhCmhg==".to_owned())]);
        }
    }

    #[test]
    fn what_is_cut_short_or_malformed_is_refused() {
        for (body, name) in [
            ("5\r\nhel", "IncompleteBody"),
            ("5\r\nhello\r\n", "IncompleteBody"),
            ("x\r\nhello\r\n", "IncompleteBody"),
            ("5\r\nhelloo\r\n0\r\n\r\n", "IncompleteBody"),
            ("5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n", "InvalidChunkSizeError"),
            ("0\r\nnonsense\r\n\r\n", "MalformedTrailerError"),
        ] {
            assert_eq!(decode(&mut Decoder::new(None, true), body.as_bytes(), 100).unwrap_err().name, name, "{body:?}");
        }
    }
}
