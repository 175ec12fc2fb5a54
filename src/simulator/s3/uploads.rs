//! Multipart uploads: parts by number until they are completed into an object, or aborted.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use md5::{Digest as _, Md5};

use super::super::errors::Failure;
use super::super::sigv4::hex;
use super::checksums::{Algorithm, Checksum, Kind};
use super::files::Piece;
use super::objects::{Attributes, Object};

/// No part but the last may be smaller, in bytes.
pub(super) const SMALLEST_PART: u64 = 5 << 20;
/// The highest number of a part.
pub(super) const MOST_PARTS: u32 = 10_000;

/// The open uploads of one simulator, by id.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<BTreeMap<String, Upload>>);

/// An upload that was begun.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) initiated: Timestamp,
    pub(super) attributes: Attributes,
    /// The algorithm that was asked for, and what the object's checksum will be of.
    pub(super) checksum: Option<(Algorithm, Kind)>,
    pub(super) parts: BTreeMap<u32, Part>,
}

/// A part that was uploaded.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) pieces: Vec<Piece>,
    pub(super) length: u64,
    pub(super) md5: [u8; 16],
    /// Without its quotes.
    pub(super) etag: String,
    pub(super) modified: Timestamp,
    pub(super) algorithm: Algorithm,
    pub(super) digest: Vec<u8>,
}

impl Part {
    pub(super) fn checksum(&self) -> Checksum {
        Checksum::of(self.algorithm, &self.digest)
    }
}

/// A part as a completion names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) number: u32,
    pub(super) etag: String,
    pub(super) checksum: Option<(Algorithm, String)>,
}

impl Uploads {
    /// Keeps an upload; its id.
    pub(super) fn begin(&self, upload: Upload) -> String {
        let id = format!("{}.{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        self.lock().insert(id.clone(), upload);
        id
    }

    /// The upload of an id, if it is one of this object.
    pub(super) fn find(&self, id: &str, bucket: &str, key: &str) -> Result<Upload, Failure> {
        let uploads = self.lock();
        let upload = uploads.get(id).filter(|upload| upload.bucket == bucket && upload.key == key);
        upload.cloned().ok_or_else(unknown)
    }

    /// Keeps a part, instead of an earlier one of that number.
    pub(super) fn add(&self, id: &str, number: u32, part: Part) -> Result<(), Failure> {
        self.lock().get_mut(id).ok_or_else(unknown)?.parts.insert(number, part);
        Ok(())
    }

    /// Forgets an upload.
    pub(super) fn end(&self, id: &str) {
        self.lock().remove(id);
    }

    /// The uploads of a bucket, by key and then by the time when they began.
    pub(super) fn list(&self, bucket: &str) -> Vec<(String, Upload)> {
        let uploads = self.lock();
        let of_bucket = uploads.iter().filter(|(_, upload)| upload.bucket == bucket);
        let mut found: Vec<(String, Upload)> = of_bucket.map(|(id, upload)| (id.clone(), upload.clone())).collect();
        found.sort_by(|(_, one), (_, other)| (&one.key, one.initiated).cmp(&(&other.key, other.initiated)));
        found
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Upload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn unknown() -> Failure {
    let message = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or \
                   completed.";
    Failure::new(404, "NoSuchUpload", message)
}

impl Upload {
    /// The object that the named parts are, in the order of their numbers.
    pub(super) fn complete(&self, named: &[Named], at: Timestamp) -> Result<Object, Failure> {
        let parts = self.chosen(named)?;
        let all_but_last = parts.split_last().map_or(&[][..], |(_, before)| before);
        if all_but_last.iter().any(|part| part.length < SMALLEST_PART) {
            return Err(Failure::new(
                400,
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
            ));
        }
        let mut md5 = Md5::new();
        for part in &parts {
            md5.update(part.md5);
        }
        let (algorithm, kind) = self.checksum.unwrap_or((Algorithm::Crc64Nvme, Kind::FullObject));
        let digests: Vec<(Vec<u8>, u64)> = parts.iter().map(|part| (part.digest.clone(), part.length)).collect();
        let checksum =
            parts.iter().all(|part| part.algorithm == algorithm).then(|| Checksum::joined(algorithm, kind, &digests));
        Ok(Object {
            pieces: parts.iter().flat_map(|part| part.pieces.clone()).collect(),
            length: parts.iter().map(|part| part.length).sum(),
            etag: format!("{}-{}", hex(&md5.finalize()), parts.len()),
            modified: at,
            attributes: Attributes { checksum, ..self.attributes.clone() },
            parts: parts.iter().map(|part| part.length).collect(),
        })
    }

    /// The parts that a completion names, refused if it names them wrong.
    fn chosen(&self, named: &[Named]) -> Result<Vec<&Part>, Failure> {
        if !named.is_sorted_by(|one, other| one.number < other.number) {
            let message = "The list of parts was not in ascending order. Parts must be ordered by part number.";
            return Err(Failure::new(400, "InvalidPartOrder", message));
        }
        let invalid = || {
            let message = "One or more of the specified parts could not be found.  The part may not have been uploaded, or the \
                           specified entity tag may not match the part's entity tag.";
            Failure::new(400, "InvalidPart", message)
        };
        named
            .iter()
            .map(|name| {
                let part = self.parts.get(&name.number).filter(|part| part.etag == name.etag).ok_or_else(invalid)?;
                match &name.checksum {
                    Some((algorithm, value)) if *algorithm != part.algorithm || *value != part.checksum().value => {
                        return Err(invalid());
                    }
                    None if matches!(self.checksum, Some((_, Kind::Composite))) => {
                        let algorithm = part.algorithm.name().to_ascii_lowercase();
                        return Err(Failure::new(
                            400,
                            "InvalidRequest",
                            format!(
                                "The upload was created using a {algorithm} checksum. The complete request must include the checksum for each \
                                 part. It was missing for part {} in the request.",
                                name.number
                            ),
                        ));
                    }
                    _ => {}
                }
                Ok(part)
            })
            .collect()
    }
}
