//! The end of a call that its maker holds: asks the store whether the call was made before, and tells it how it ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::flight::{Flight, Lost};
use super::queries::{self, Found, Stored};
use super::table::Place;
use super::{Asked, Fingerprint, Head, Inner, Refusal};
use crate::error::{Error, Kind, Result};

/// How long a mark in the store holds that is not renewed.
pub(super) const LEASE: Duration = Duration::from_mins(1);
/// How often it is renewed.
const BEAT: Duration = Duration::from_secs(20);
/// How long a call waits for the store, before and after it.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Repeats get it.
    Answer,
    /// A repeat makes the call anew.
    Nothing,
}

/// Tells all readers of a call what it answers. Dropped before [`Recorder::finish`], the call is as if it had never been.
#[derive(Debug)]
pub struct Recorder {
    inner: Arc<Inner>,
    place: Place,
    fingerprint: Fingerprint,
    flight: Arc<Flight>,
    replaces: Option<String>,
    /// Renews the mark in the store for as long as this is there.
    beating: Option<DropGuard>,
    is_over: bool,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inner(..)")
    }
}

impl Recorder {
    pub(super) fn new(inner: Arc<Inner>, asked: &Asked, flight: Arc<Flight>, replaces: Option<String>) -> Self {
        let place = (asked.key.clone(), asked.name.clone());
        Self { inner, place, fingerprint: asked.fingerprint, flight, replaces, beating: None, is_over: false }
    }

    /// Whether the call is to be made. Otherwise all readers are told the answer that the store has, or why there is none.
    /// When the store does not answer within two seconds, the call is made: an outage there is no reason not to answer.
    pub async fn claim(&mut self) -> bool {
        let inner = Arc::clone(&self.inner);
        let now = inner.clock.now();
        let mark = queries::Mark {
            place: &self.place,
            fingerprint: &self.fingerprint.to_hex(),
            owner: &self.flight.id,
            replaces: self.replaces.as_deref().unwrap_or_default(),
            lapses_at: now.plus(LEASE),
            expires_at: now.plus(inner.retention),
        };
        let claim = queries::claim(&inner.store, &mark, now);
        let found = tokio::time::timeout(STORE_PATIENCE, claim).await;
        let found = match found {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(%error, causes = error.causes(), "the store does not know which calls are repeated");
                Found::Nothing
            }
            Err(_) => {
                tracing::warn!("the store does not say in time which calls are repeated");
                Found::Nothing
            }
        };
        let is_other = match &found {
            Found::Nothing => {
                self.flight.run();
                self.beat();
                return true;
            }
            Found::Running(other) | Found::TooLarge(other) | Found::Answered(other, _) => *other != mark.fingerprint,
        };
        match found {
            _ if is_other => self.refuse(Refusal::OtherRequest),
            Found::Answered(_, stored) => self.replay(stored),
            Found::TooLarge(_) => self.refuse(Refusal::TooLarge),
            Found::Running(_) | Found::Nothing => self.refuse(Refusal::Running),
        }
        false
    }

    #[cfg(test)]
    pub(super) fn flight_for_tests(&self) -> &Flight {
        &self.flight
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.is_over = true;
        self.inner.table.forget(&self.place, &self.flight);
        self.flight.lose(Lost::Refused(refusal));
    }

    fn replay(&mut self, stored: Stored) {
        self.is_over = true;
        let Stored { status, headers, body, expires_at } = stored;
        let head = Head { status, headers, length: Some(body.len() as u64), is_stored: true };
        self.inner.table.make_room(body.len());
        self.inner.table.keep(&self.place, &self.flight);
        // It was stored, so it is not too large, whatever the setting is now.
        self.flight.finish(Some(head), Some(body), usize::MAX, expires_at);
        self.forget_unless_whole();
    }

    fn beat(&mut self) {
        let stop = CancellationToken::new();
        self.beating = Some(stop.clone().drop_guard());
        let (inner, place, owner) = (Arc::clone(&self.inner), self.place.clone(), self.flight.id.clone());
        let tracker = inner.tracker.clone();
        let beating = async move {
            loop {
                tokio::time::sleep(BEAT).await;
                let lapses_at = inner.clock.now().plus(LEASE);
                if let Err(error) = queries::renew(&inner.store, &place, &owner, lapses_at).await {
                    tracing::debug!(%error, causes = error.causes(), "the mark of a running call could not be renewed");
                }
            }
        };
        tracker.spawn(stop.run_until_cancelled_owned(beating));
    }

    /// Ends when nobody reads any more, and the call is to be cancelled therefore.
    pub async fn deserted(&self) {
        self.flight.deserted().await;
    }

    /// The head of an answer of which the body is yet to come.
    pub fn begin(&self, head: Head) {
        self.flight.begin(head);
    }

    /// A piece of the body. Returns when the next one may come.
    pub async fn push(&self, piece: Bytes) {
        self.inner.table.make_room(piece.len());
        self.flight.push(piece, self.inner.max_answer).await;
    }

    /// The answer ends with `last`. It is in the store, if it is to be kept and the store can be reached, before any reader
    /// sees the end of it. `head` is for who did not [`Recorder::begin`].
    pub async fn finish(mut self, head: Option<Head>, last: Option<Bytes>, keep: Keep) {
        let inner = Arc::clone(&self.inner);
        self.inner.table.make_room(last.as_ref().map_or(0, Bytes::len));
        let whole = self.flight.end(last.as_ref(), inner.max_answer);
        let expires_at = inner.clock.now().plus(inner.retention);
        let told = head.clone().map(Arc::new).or_else(|| self.flight.head());
        let write = async {
            let (Keep::Answer, Some(head)) = (keep, told) else {
                return queries::release(&inner.store, &self.place, &self.flight.id).await;
            };
            let ended = queries::Ended {
                place: &self.place,
                fingerprint: &self.fingerprint.to_hex(),
                owner: &self.flight.id,
                expires_at,
                answer: whole.as_deref().map(|body| (head.status, head.repeated(), body)),
            };
            queries::keep(&inner.store, &ended).await
        };
        let written: Result<()> = match tokio::time::timeout(STORE_PATIENCE, write).await {
            Ok(written) => written,
            Err(_) => Err(Error::new(Kind::Timeout, "The store did not answer in time.")),
        };
        if let Err(error) = written {
            tracing::warn!(%error, causes = error.causes(), "an answer could not be kept; this process alone knows it");
        }
        self.is_over = true;
        match keep {
            Keep::Answer => inner.table.keep(&self.place, &self.flight),
            Keep::Nothing => inner.table.forget(&self.place, &self.flight),
        }
        self.flight.finish(head, last, inner.max_answer, expires_at);
        if whole.is_some() {
            self.forget_unless_whole();
        }
    }

    /// Who comes next reads the store, if there was no memory for all of the answer.
    fn forget_unless_whole(&self) {
        if !self.flight.is_whole() {
            self.inner.table.forget(&self.place, &self.flight);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.flight.lose(Lost::Broken);
        let (inner, place, flight) = (Arc::clone(&self.inner), self.place.clone(), Arc::clone(&self.flight));
        let tracker = inner.tracker.clone();
        tracker.spawn(async move {
            let release = queries::release(&inner.store, &place, &flight.id);
            if !matches!(tokio::time::timeout(STORE_PATIENCE, release).await, Ok(Ok(()))) {
                tracing::debug!("the mark of a dropped call is left to lapse");
            }
            // Until the mark is gone, who comes next has to know whose it is: it replaces it.
            inner.table.forget(&place, &flight);
        });
    }
}
