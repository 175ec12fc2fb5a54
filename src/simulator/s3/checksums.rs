//! Checksums of objects beside the ETag: the algorithms of S3, what a request states and what the bytes come to, and those of
//! objects made of parts ("Checking object integrity" of the user guide). Pure.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use sha2::{Digest as _, Sha256};

use super::super::errors::Failure;

/// An algorithm that S3 checks and keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha256,
}

impl Algorithm {
    pub(super) const ALL: [Self; 4] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha256];

    /// As headers of requests name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha256 => "SHA256",
        }
    }

    pub(super) const fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The element of documents.
    pub(super) const fn element(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32c => "ChecksumCRC32C",
            Self::Crc64Nvme => "ChecksumCRC64NVME",
            Self::Sha256 => "ChecksumSHA256",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    pub(super) fn of_header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header().eq_ignore_ascii_case(name))
    }

    const fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha256 => None,
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha256 => 32,
        }
    }

    /// The bytes of a stated checksum; `None` when it cannot be one.
    pub(super) fn decode(self, text: &str) -> Option<Vec<u8>> {
        STANDARD.decode(text).ok().filter(|bytes| bytes.len() == self.bytes())
    }

    /// What S3 makes of an upload that says nothing of it: CRC64NVME has one checksum alone, the others one of parts.
    pub(super) const fn usual_kind(self) -> Kind {
        match self {
            Self::Crc64Nvme => Kind::FullObject,
            _ => Kind::Composite,
        }
    }
}

/// What a checksum is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    FullObject,
    /// The checksums of the parts.
    Composite,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

/// A checksum that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checksum {
    pub(super) algorithm: Algorithm,
    pub(super) kind: Kind,
    /// In base64; of parts with their number behind a dash.
    pub(super) value: String,
}

impl Checksum {
    /// Of the bytes of one object or part.
    pub(super) fn of(algorithm: Algorithm, digest: &[u8]) -> Self {
        Self { algorithm, kind: Kind::FullObject, value: STANDARD.encode(digest) }
    }

    /// Of an object that is made of parts with these checksums (of the bytes of each) and lengths.
    pub(super) fn joined(algorithm: Algorithm, kind: Kind, parts: &[(Vec<u8>, u64)]) -> Self {
        let (digest, suffix) = if let (Kind::FullObject, Some(crc)) = (kind, algorithm.crc()) {
            let numbers = parts.iter().map(|(digest, length)| (number(digest), *length));
            let joined = numbers.reduce(|(one, before), (other, length)| {
                (crc_fast::checksum_combine(crc, one, other, length), before + length)
            });
            (bytes_of(joined.map_or(0, |(crc, _)| crc), algorithm), String::new())
        } else {
            let mut all = Sum::begin(algorithm);
            for (digest, _) in parts {
                all.push(digest);
            }
            (all.end(), format!("-{}", parts.len()))
        };
        Self { algorithm, kind, value: STANDARD.encode(digest) + &suffix }
    }
}

fn number(digest: &[u8]) -> u64 {
    digest.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

fn bytes_of(number: u64, algorithm: Algorithm) -> Vec<u8> {
    number.to_be_bytes()[8 - algorithm.bytes()..].to_vec()
}

/// A checksum while the bytes pass.
pub(super) enum Sum {
    Crc(Algorithm, crc_fast::Digest),
    Sha256(Sha256),
}

impl Sum {
    pub(super) fn begin(algorithm: Algorithm) -> Self {
        match algorithm.crc() {
            Some(crc) => Self::Crc(algorithm, crc_fast::Digest::new(crc)),
            None => Self::Sha256(Sha256::new()),
        }
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Crc(algorithm, _) => *algorithm,
            Self::Sha256(_) => Algorithm::Sha256,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, digest) => digest.update(bytes),
            Self::Sha256(digest) => digest.update(bytes),
        }
    }

    pub(super) fn end(self) -> Vec<u8> {
        match self {
            Self::Crc(algorithm, digest) => bytes_of(digest.finalize(), algorithm),
            Self::Sha256(digest) => digest.finalize().to_vec(),
        }
    }
}

/// The checksum that a request states of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stated {
    /// Nothing: S3 makes a CRC64NVME.
    Nothing,
    Header(Algorithm, Vec<u8>),
    /// It comes behind the body.
    Trailer(Algorithm),
}

impl Stated {
    /// Reads `x-amz-checksum-*`, `x-amz-sdk-checksum-algorithm` and `x-amz-trailer`, and refuses what contradicts itself.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Failure> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        if text("x-amz-checksum-sha1").is_some() {
            return Err(Failure::new(501, "NotImplemented", "SHA1 checksums are not simulated."));
        }
        let mut told = Algorithm::ALL.into_iter().filter_map(|algorithm| Some((algorithm, text(algorithm.header())?)));
        let header = told.next();
        if told.next().is_some() {
            return Err(invalid("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."));
        }
        let trailer = text("x-amz-trailer").map(str::trim);
        let stated = match (header, trailer) {
            (None, None) => Self::Nothing,
            (Some((algorithm, value)), None) => Self::Header(
                algorithm,
                algorithm
                    .decode(value)
                    .ok_or_else(|| invalid(format!("Value for {} header is invalid.", algorithm.header())))?,
            ),
            (None, Some(name)) => Self::Trailer(
                Algorithm::of_header(name)
                    .ok_or_else(|| invalid("The value specified in the x-amz-trailer header is not supported"))?,
            ),
            (Some(_), Some(_)) => {
                return Err(invalid(
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                ));
            }
        };
        if let Some(name) = text("x-amz-sdk-checksum-algorithm") {
            let algorithm = Algorithm::parse(name).ok_or_else(|| {
                invalid("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
            })?;
            if stated.algorithm() != Some(algorithm) {
                return Err(invalid(
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
                ));
            }
        }
        Ok(stated)
    }

    pub(super) const fn algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::Nothing => None,
            Self::Header(algorithm, _) | Self::Trailer(algorithm) => Some(*algorithm),
        }
    }
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(400, "InvalidRequest", message)
}

/// What a body that does not come to its checksum is refused with.
pub(super) fn mismatch(algorithm: Algorithm) -> Failure {
    Failure::new(
        400,
        "BadDigest",
        format!("The {} you specified did not match the calculated checksum.", algorithm.name()),
    )
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn sum(algorithm: Algorithm, bytes: &[u8]) -> Vec<u8> {
        let mut sum = Sum::begin(algorithm);
        sum.push(bytes);
        sum.end()
    }

    /// The check values of the catalogue of parametrised CRC algorithms, over `123456789`.
    #[test]
    fn checksums_come_to_the_published_values() {
        for (algorithm, value) in [
            (Algorithm::Crc32, 0xcbf4_3926),
            (Algorithm::Crc32c, 0xe306_9283),
            (Algorithm::Crc64Nvme, 0xae8b_1486_0a79_9888),
        ] {
            assert_eq!(number(&sum(algorithm, b"123456789")), value, "{algorithm:?}");
        }
        let told = Checksum::of(Algorithm::Sha256, &sum(Algorithm::Sha256, b""));
        assert_eq!(told.value, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn the_checksum_of_parts_is_that_of_the_whole_or_of_their_checksums() {
        let (one, other) = (&b"some bytes and "[..], &b"some more"[..]);
        let whole = [one, other].concat();
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let parts = [one, other].map(|part| (sum(algorithm, part), part.len() as u64));
            let joined = Checksum::joined(algorithm, Kind::FullObject, &parts);
            assert_eq!(joined, Checksum::of(algorithm, &sum(algorithm, &whole)));
        }
        let parts = [one, other].map(|part| (sum(Algorithm::Sha256, part), part.len() as u64));
        let joined = Checksum::joined(Algorithm::Sha256, Kind::Composite, &parts);
        let of_digests = sum(Algorithm::Sha256, &[&parts[0].0[..], &parts[1].0[..]].concat());
        assert_eq!(joined.value, STANDARD.encode(of_digests) + "-2");
    }

    #[test]
    fn what_a_request_states_may_not_contradict_itself() {
        let read = |told: &[(&'static str, &'static str)]| {
            let headers = told.iter().map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value)));
            Stated::read(&headers.collect::<HeaderMap>())
        };
        assert_eq!(read(&[]).unwrap(), Stated::Nothing);
        assert_eq!(read(&[("x-amz-trailer", "x-amz-checksum-crc32c")]).unwrap(), Stated::Trailer(Algorithm::Crc32c));
        let crc = ("x-amz-checksum-crc32", "y/Q5Jg==");
        let both = [crc, ("x-amz-sdk-checksum-algorithm", "CRC32")];
        assert_eq!(read(&both).unwrap(), Stated::Header(Algorithm::Crc32, vec![0xcb, 0xf4, 0x39, 0x26]));
        for wrong in [
            &[crc, ("x-amz-checksum-crc32c", "y/Q5Jg==")][..],
            &[("x-amz-checksum-crc32", "y/Q5")],
            &[("x-amz-checksum-sha256", "y/Q5Jg==")],
            &[("x-amz-trailer", "x-amz-checksum-md4")],
            &[("x-amz-sdk-checksum-algorithm", "CRC32")],
            &[crc, ("x-amz-sdk-checksum-algorithm", "SHA256")],
        ] {
            assert_eq!(read(wrong).unwrap_err().name, "InvalidRequest", "{wrong:?}");
        }
    }
}
