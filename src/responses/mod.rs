//! Responses that clients may come back to: what `POST /v1/responses` keeps, for the team that made it and nobody else.
//!
//! Rows hold JSON text that only the surface reads. A row lives until it is deleted or its time is over; from then on it
//! is as if it had never been, also before the background purge takes it out. All SQL is in `queries.rs`.

mod queries;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::ids::TeamId;
use crate::store::Store;

/// The most responses that a conversation may be put together from.
pub const MAX_TURNS: u32 = 1000;
/// A write that takes longer has failed: an answer waits for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often rows whose time is over are taken out.
const PURGE_INTERVAL: Duration = Duration::from_mins(5);
/// Rows of one purging statement, so that none holds the write lock for long.
const PURGE_ROWS: u32 = 500;

/// A response as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id, `resp_...`.
    pub id: String,
    /// Who made it.
    pub team: TeamId,
    /// The response that it goes on from.
    pub previous: Option<String>,
    /// The model, by the name its request gave.
    pub model: String,
    /// JSON array: the items that its request added to the conversation.
    pub input: String,
    /// JSON array: the items of the answer.
    pub output: String,
    /// JSON object: the answer, its output left out.
    pub response: String,
}

/// What one response adds to a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The model that answered, by the name its request gave.
    pub model: String,
    /// JSON array: the items of its request.
    pub input: String,
    /// JSON array: the items of its answer.
    pub output: String,
}

/// The responses that are kept. A cheap clone.
#[derive(Clone)]
pub struct Responses(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    keeps: bool,
    retention: Duration,
    max_history_bytes: usize,
}

impl fmt::Debug for Responses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responses(..)")
    }
}

impl Responses {
    /// The responses in `store`. A conversation of more than `max_history_bytes` is not put together. Nothing is purged
    /// until [`Responses::purge_in_background`].
    pub fn new(store: Store, clock: Clock, settings: &config::Responses, max_history_bytes: usize) -> Self {
        let retention = Duration::from_hours(settings.retention_hours);
        Self(Arc::new(Inner { store, clock, keeps: settings.store, retention, max_history_bytes }))
    }

    /// Spawns on `tracker` the task that takes out what has expired. It ends with `stop`.
    pub fn purge_in_background(&self, tracker: &TaskTracker, stop: CancellationToken) {
        let responses = self.clone();
        let purging = async move {
            let mut tick = tokio::time::interval(PURGE_INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                if let Err(error) = responses.purge().await {
                    tracing::warn!(%error, causes = error.causes(), "expired responses could not be taken out");
                }
            }
        };
        tracker.spawn(stop.run_until_cancelled_owned(purging));
    }

    /// Whether responses are kept at all (`responses.store`).
    pub fn keeps(&self) -> bool {
        self.0.keeps
    }

    /// Keeps a response for the configured time; `items` are the ids by which [`Responses::owner`] is to find it. By the
    /// time this returns every replica finds it. Fails with [`Kind::Unavailable`] or [`Kind::Timeout`] when the store is
    /// away, after five seconds at most.
    pub async fn save(&self, kept: &Kept, items: &[String]) -> Result<()> {
        let now = self.0.clock.now();
        let write = queries::insert(&self.0.store, (kept, items), now, now.plus(self.0.retention));
        let timed_out = |_| Err(Error::new(Kind::Timeout, "The store did not answer in time."));
        tokio::time::timeout(WRITE_TIMEOUT, write).await.unwrap_or_else(timed_out)
    }

    /// The response with this id, if `team` has it.
    pub async fn find(&self, team: &TeamId, id: &str) -> Result<Option<Kept>> {
        queries::find(&self.0.store, team, id, self.now()).await
    }

    /// The id of a response of `team` that was saved with this item.
    pub async fn owner(&self, team: &TeamId, item: &str) -> Result<Option<String>> {
        queries::owner(&self.0.store, team, item, self.now()).await
    }

    /// The conversation that ends with this response, oldest turn first. [`Kind::NotFound`] when `team` has no such
    /// response, or when an earlier one of the conversation is gone: going on from half of it would be another
    /// conversation. [`Kind::Invalid`] when it is longer than [`MAX_TURNS`] or than a request may be.
    pub async fn history(&self, team: &TeamId, id: &str) -> Result<Vec<Turn>> {
        const PARAM: &str = "previous_response_id";
        let max_bytes = i64::try_from(self.0.max_history_bytes).unwrap_or(i64::MAX);
        let chain = queries::chain(&self.0.store, team, id, self.now(), MAX_TURNS, max_bytes).await?;
        let Some(oldest) = chain.first() else {
            let message = format!("Previous response with id '{id}' not found.");
            return Err(Error::new(Kind::NotFound, message).param(PARAM));
        };
        if oldest.bytes > max_bytes {
            let message = "The conversation that ends with this response is larger than this gateway takes \
                           (server.max_body_mb).";
            return Err(Error::invalid(PARAM, message));
        }
        if let Some(missing) = &oldest.previous {
            if chain.len() >= MAX_TURNS as usize {
                let message = format!("The conversation that ends with this response has more than {MAX_TURNS} turns.");
                return Err(Error::invalid(PARAM, message));
            }
            let message = format!("The conversation goes back to '{missing}', which was deleted or has expired.");
            return Err(Error::new(Kind::NotFound, message).param(PARAM));
        }
        Ok(chain.into_iter().map(|link| link.turn).collect())
    }

    /// Deletes a response; false when `team` has none with this id.
    pub async fn delete(&self, team: &TeamId, id: &str) -> Result<bool> {
        queries::delete(&self.0.store, team, id, self.now()).await
    }

    /// Takes out every row whose time is over, and says how many.
    pub async fn purge(&self) -> Result<u64> {
        let mut purged = 0;
        loop {
            let rows = queries::purge(&self.0.store, self.now(), PURGE_ROWS).await?;
            purged += rows;
            if rows < u64::from(PURGE_ROWS) {
                return Ok(purged);
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}
