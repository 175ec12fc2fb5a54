//! Calls with an `Idempotency-Key`: made once, told to whoever repeats them.
//!
//! Of each such call there is one [`Recorder`], held by the task that makes the call, and a [`Reader`] for each client. A
//! repeat in the same process reads along from the start; one that comes later, to another process or after a restart, reads
//! what the store has (`queries.rs`). A call that another process is making is marked there; the mark lapses when that
//! process stops renewing it. While the store is away, calls are made all the same, and only repeats in the same process are
//! known.
//! Invariants: of one place (key and name) at most one call runs in a process; nobody reads an answer to another request
//! than its own; memory is bounded by `idempotency.memory_mb` and what clients have yet to read.

mod flight;
mod queries;
mod recorder;
mod table;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use sha2::{Digest as _, Sha256};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::flight::{Lost, Reader};
pub use self::recorder::{Keep, Recorder};

use self::table::{Looked, Table};
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, Exception, Kind, Result};
use crate::ids::KeyId;
use crate::store::Store;

/// The longest name that a client may give a call, in characters.
pub const MAX_NAME: usize = 255;
/// How often rows whose time is over are taken out.
const PURGE_INTERVAL: Duration = Duration::from_mins(5);
/// Rows of one purging statement. They are large.
const PURGE_ROWS: u32 = 200;

/// What tells a request from others: SHA-256 of its method, path and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a request; `path` with its query.
    pub fn of(method: &str, path: &str, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        // Neither holds a line break.
        hash.update(format!("{method}\n{path}\n"));
        hash.update(body);
        Self(hash.finalize().into())
    }

    fn to_hex(self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// What becomes of a call that nobody reads any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// It is cancelled.
    Cancelled,
    /// It goes on, and a repeat finds its answer.
    GoesOn,
}

/// A call as its client names it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whose names they are.
    pub key: KeyId,
    /// The `Idempotency-Key`.
    pub name: Box<str>,
    /// Of the request.
    pub fingerprint: Fingerprint,
    /// What becomes of it without readers.
    pub alone: Alone,
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The HTTP status.
    pub status: u16,
    /// As the first client gets them; repeats get those that [`Head::repeated`] tells.
    pub headers: HeaderMap,
    /// The bytes of the body, where they are known.
    pub length: Option<u64>,
    /// Whether it comes from the store.
    pub is_stored: bool,
}

impl Head {
    /// The headers that are as true of a repeat as of the first answer: not those of the connection and of limits.
    pub fn repeated(&self) -> HeaderMap {
        let passing = ["connection", "keep-alive", "transfer-encoding", "content-length", "date", "retry-after"];
        let is_lasting = |name: &str| !passing.contains(&name) && !name.contains("ratelimit");
        let lasting = self.headers.iter().filter(|(name, _)| is_lasting(name.as_str()));
        lasting.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// Why a repeat is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The name stands for another request.
    OtherRequest,
    /// Another process is making the call.
    Running,
    /// The answer was not kept.
    TooLarge,
}

impl Refusal {
    /// What the client is told.
    pub fn error(self) -> Error {
        let message = match self {
            Self::OtherRequest => {
                "This Idempotency-Key was used for another request: method, path and body have to be the same. Use a new one."
            }
            Self::Running => "The call with this Idempotency-Key is still running. Ask again for its answer.",
            Self::TooLarge => {
                "The call with this Idempotency-Key was made and billed, and its answer is larger than what is kept \
                 (idempotency.max_answer_kb). Use a new one to make the call again."
            }
        };
        let exception = Exception { name: "ConflictException", status: 409 };
        let error = Error::new(Kind::Conflict, message).param("Idempotency-Key").exception(exception);
        if self == Self::Running { error.retry_after(Duration::from_secs(1)) } else { error }
    }
}

/// Where a client is put.
#[derive(Debug)]
pub enum Seat {
    /// It is the first: the call has to be made, in a task that holds the recorder.
    First(Recorder, Reader),
    /// The call is running, or was answered.
    Repeat(Reader),
}

/// All calls with an `Idempotency-Key`. A cheap clone.
#[derive(Clone)]
pub struct Idempotency(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    tracker: TaskTracker,
    table: Table,
    retention: Duration,
    max_answer: usize,
    max_body: usize,
}

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Idempotency(..)")
    }
}

impl Idempotency {
    /// Answers are kept in `store`; tasks run on `tracker`. A body of more than `max_body` bytes is no request.
    pub fn new(
        store: Store,
        clock: Clock,
        settings: &config::Idempotency,
        max_body: usize,
        tracker: TaskTracker,
    ) -> Self {
        let bytes = |number: u64, unit: usize| usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(unit);
        Self(Arc::new(Inner {
            store,
            clock,
            tracker,
            table: Table::new(bytes(settings.memory_mb, 1024 * 1024)),
            retention: Duration::from_hours(settings.retention_hours),
            max_answer: bytes(settings.max_answer_kb, 1024),
            max_body,
        }))
    }

    /// Spawns on the tracker the task that takes out what has expired. It ends with `stop`.
    pub fn purge_in_background(&self, stop: CancellationToken) {
        let idempotency = self.clone();
        let purging = async move {
            let mut tick = tokio::time::interval(PURGE_INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                if let Err(error) = idempotency.purge().await {
                    tracing::warn!(%error, causes = error.causes(), "old idempotent answers could not be taken out");
                }
            }
        };
        self.0.tracker.spawn(stop.run_until_cancelled_owned(purging));
    }

    /// Takes out what has expired, and says how many rows of the store that were.
    pub async fn purge(&self) -> Result<u64> {
        let now = self.0.clock.now();
        self.0.table.forget_expired(now);
        let mut purged = 0;
        loop {
            let rows = queries::purge(&self.0.store, now, PURGE_ROWS).await?;
            purged += rows;
            if rows < u64::from(PURGE_ROWS) {
                return Ok(purged);
            }
        }
    }

    /// The most bytes of a request's body.
    pub fn max_body(&self) -> usize {
        self.0.max_body
    }

    /// The most bytes of an answer that is kept.
    pub fn max_answer(&self) -> usize {
        self.0.max_answer
    }

    /// Runs `call`, which holds a recorder, until it ends.
    pub fn spawn(&self, call: impl Future<Output = ()> + Send + 'static) {
        self.0.tracker.spawn(call);
    }

    /// A place for a client, as far as this process knows of the call. What the store knows, [`Recorder::claim`] asks.
    ///
    /// # Errors
    /// As [`Refusal`] says.
    pub async fn sit(&self, asked: &Asked) -> Result<Seat> {
        loop {
            match self.0.table.look(asked, self.0.clock.now()) {
                Looked::Join(reader) => return Ok(Seat::Repeat(reader)),
                Looked::Refused(refusal) => return Err(refusal.error()),
                // Whether the call of that name is this one, the store is being asked at this moment.
                Looked::Unsure(mut changed) => {
                    let _ = changed.changed().await;
                }
                Looked::First { flight, reader, replaces } => {
                    let recorder = Recorder::new(Arc::clone(&self.0), asked, flight, replaces);
                    return Ok(Seat::First(recorder, reader));
                }
            }
        }
    }
}
