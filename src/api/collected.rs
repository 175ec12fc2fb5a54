//! The body of a request as a whole: read for as long as there is memory for it, and refused when there is not.
//!
//! Its room is taken as its bytes come, so that nobody can take any by announcing a body, and belongs to the request until
//! its answer begins: until then its parts and what is sent to AWS stand in its place. Nobody waits for room.

use std::time::Duration;

use axum::RequestExt as _;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError};

use super::slow;
use crate::error::{Error, Kind, Result};
use crate::gateway::{Gateway, Trail};
use crate::memory::Share;
use crate::tenancy::Caller;

/// What a body of several pieces has room for at first, in bytes.
const FIRST: usize = 64 * 1024;
/// When a body that there was no room for may be sent again.
const AGAIN: Duration = Duration::from_secs(2);

/// The whole body, at most `server.max_body_mb`.
///
/// # Errors
/// [`Kind::TooLarge`]; [`Kind::TooSlow`]; [`Kind::Unavailable`] when all bodies together take too much; [`Kind::Invalid`]
/// when it ended early.
pub(super) async fn whole(request: Request, gateway: &Gateway) -> Result<Bytes> {
    let trail = request.extensions().get::<Trail>().cloned();
    // The record of a batch is in memory anyway, and how many there are at once has its own bound.
    let is_sent = request.extensions().get::<Caller>().is_some();
    let body = request.into_limited_body();
    let Some(trail) = trail.filter(|_| !is_sent) else { return read(body, &mut None).await };
    // Who has looked at the body before has read it, and given it back whole.
    let mut share = Some(trail.take_share().unwrap_or_else(|| gateway.memory().share()));
    let whole = read(body, &mut share).await?;
    if let Some(share) = share {
        trail.keep_share(share);
    }
    Ok(whole)
}

/// Reads `body` to its end. Not copied when it came as one piece.
async fn read(mut body: Body, share: &mut Option<Share>) -> Result<Bytes> {
    let mut cover = |bytes| {
        let is_room = share.as_mut().is_none_or(|share| share.cover(bytes));
        if is_room { Ok(()) } else { Err(full()) }
    };
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let (mut first, mut joined) = (Bytes::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        if piece.is_empty() {
            continue;
        }
        let length = first.len() + joined.len() + piece.len();
        if length == piece.len() {
            cover(length)?;
            first = piece;
            continue;
        }
        if length > joined.capacity() {
            let room = length.max(2 * joined.capacity()).max(FIRST);
            let room = if expected < length { room } else { room.min(expected) };
            cover(room)?;
            joined.reserve_exact(room - joined.len());
        }
        joined.extend_from_slice(&std::mem::take(&mut first));
        joined.extend_from_slice(&piece);
    }
    Ok(if joined.is_empty() { first } else { joined.into() })
}

/// There is no room for the body.
fn full() -> Error {
    let message = "The bodies of all requests together take as much memory as they may (server.max_buffered_mb). \
                   Send this one again in a moment.";
    Error::new(Kind::Unavailable, message).reason("memory").retry_after(AGAIN)
}

/// Why a body could not be read.
pub(super) fn broken(error: &(dyn std::error::Error + 'static)) -> Error {
    if let Some(slow) = slow::cause(error) {
        return slow.told();
    }
    let is_too_long =
        std::iter::successors(Some(error), |error| error.source()).any(<dyn std::error::Error>::is::<LengthLimitError>);
    if is_too_long {
        return Error::new(Kind::TooLarge, "The request body is larger than this gateway takes (server.max_body_mb).");
    }
    Error::new(Kind::Invalid, "The request body ended early.")
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;
    use crate::memory::Memory;

    fn pieces(lengths: &'static [usize]) -> Body {
        let pieces = lengths.iter().map(|&length| Ok::<_, Error>(Frame::data(vec![7; length].into())));
        Body::new(StreamBody::new(stream::iter(pieces)))
    }

    async fn read_within(memory: &Memory, body: Body) -> (Result<Bytes>, usize) {
        let mut share = Some(memory.share());
        let read = read(body, &mut share).await;
        (read, memory.taken())
    }

    #[tokio::test]
    async fn a_body_takes_room_as_it_comes_and_gives_it_back_when_there_is_not_enough() {
        let memory = Memory::of(200_000);
        for (lengths, takes) in [(&[][..], 0), (&[5], 5), (&[0, 5, 0], 5), (&[5, 6], FIRST), (&[FIRST, 1], FIRST + 1)] {
            let (read, taken) = read_within(&memory, pieces(lengths)).await;
            assert_eq!(read.unwrap().len(), lengths.iter().sum::<usize>());
            assert_eq!((taken, memory.taken()), (takes, 0), "{lengths:?}");
        }
        let (read, _) = read_within(&memory, pieces(&[70_000, 70_000, 70_000])).await;
        let error = read.unwrap_err();
        assert_eq!((error.kind(), error.refused_by(), error.wait()), (Kind::Unavailable, Some("memory"), Some(AGAIN)));
        assert_eq!(memory.taken(), 0);
    }

    #[tokio::test]
    async fn one_piece_is_not_copied() {
        let piece = Bytes::from_static(&[7; 900]);
        assert_eq!(read(Body::from(piece.clone()), &mut None).await.unwrap().as_ptr(), piece.as_ptr());
    }
}
