//! Objects that are written a piece at a time, several side by side.
//!
//! What decides about records hands out [`Piece`]s and knows no S3; here they are carried out. Invariant: an object appears
//! whole, with its last piece, or not at all.

use std::collections::HashMap;
use std::sync::Arc;

use super::record::Segment;
use crate::error::{Error, Result};
use crate::upstream::{Failure, Upstream, Writer};

/// Bytes of an object that are held until they are worth a write.
pub(super) const PIECE: usize = 256 << 10;

/// Where objects are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The Region of the bucket.
    pub region: String,
    /// The bucket.
    pub bucket: String,
}

/// The next bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where the object is.
    pub place: Arc<Place>,
    /// Its key.
    pub key: Arc<str>,
    /// What follows in it.
    pub bytes: Vec<u8>,
    /// What follows then.
    pub then: Then,
}

/// What follows a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// More of the object.
    More,
    /// Nothing: the object is whole.
    Finish,
    /// Nothing: the object is not to be.
    Discard,
}

/// An object that grows in memory, and leaves it in pieces.
#[derive(Debug)]
pub(super) struct Growing {
    place: Arc<Place>,
    key: Arc<str>,
    bytes: Vec<u8>,
    length: u64,
}

impl Growing {
    pub(super) fn new(place: &Arc<Place>, key: &str) -> Self {
        Self { place: Arc::clone(place), key: key.into(), bytes: Vec::new(), length: 0 }
    }

    /// Appends what `write` does; hands out a piece when there is enough.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<Piece>) {
        let before = self.bytes.len();
        write(&mut self.bytes);
        self.length += (self.bytes.len() - before) as u64;
        if self.bytes.len() >= PIECE {
            let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(PIECE + PIECE / 4));
            out.push(self.piece(bytes, Then::More));
        }
    }

    /// Its length so far.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Hands out what is left.
    pub(super) fn end(mut self, then: Then, out: &mut Vec<Piece>) {
        let bytes = std::mem::take(&mut self.bytes);
        out.push(self.piece(bytes, then));
    }

    fn piece(&self, bytes: Vec<u8>, then: Then) -> Piece {
        Piece { place: Arc::clone(&self.place), key: Arc::clone(&self.key), bytes, then }
    }
}

/// Carries pieces out to S3.
pub(super) struct Writers<'a> {
    upstream: &'a Upstream,
    open: HashMap<Arc<str>, Writer>,
}

impl<'a> Writers<'a> {
    pub(super) fn new(upstream: &'a Upstream) -> Self {
        Self { upstream, open: HashMap::new() }
    }

    /// Writes all of `pieces`, in order; what is finished is told.
    ///
    /// # Errors
    /// When S3 fails or refuses.
    pub(super) async fn write(&mut self, pieces: &mut Vec<Piece>) -> Result<Vec<Segment>> {
        let mut finished = Vec::new();
        for piece in pieces.drain(..) {
            let Piece { place, key, bytes, then } = piece;
            let mut writer = match self.open.remove(&key) {
                Some(writer) => writer,
                None => objects(self.upstream, &place.region)?.writer(&*place.bucket, &*key),
            };
            match then {
                Then::More => {
                    writer.write(bytes).await.map_err(told)?;
                    self.open.insert(key, writer);
                }
                Then::Finish => {
                    writer.write(bytes).await.map_err(told)?;
                    let bytes = writer.finish().await.map_err(told)?;
                    let Place { region, bucket } = (*place).clone();
                    finished.push(Segment { region, bucket, key: key.to_string(), bytes });
                }
                Then::Discard => drop(writer),
            }
        }
        Ok(finished)
    }
}

/// S3 in this Region.
pub(super) fn objects(upstream: &Upstream, region: &str) -> Result<crate::upstream::Objects> {
    upstream.objects(region).ok_or_else(|| {
        let message =
            format!("The batch's objects are in {region}, which is not among the gateway's Regions any more.");
        Error::new(crate::error::Kind::Unavailable, message)
    })
}

/// What S3 said, in words for the owner of the batch.
pub(super) fn told(failure: Failure) -> Error {
    failure.error
}
