//! Batches as surfaces see them: submitted, looked at, cancelled, deleted. What runs them is in `run/`.

use std::fmt;
use std::sync::Arc;

use super::codec::Codecs;
use super::door::Door;
use super::files::Files;
use super::queries::{self, Filter, Slot};
use super::record::{Batch, Kind as How, Shard, ShardState};
use super::run::Crew;
use crate::clock::Timestamp;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::gateway::{Gateway, Present};
use crate::ids::{self, TeamId};
use crate::store::Store;
use crate::tenancy::{Caller, Hold, Scope};

/// The batches of this gateway. A cheap clone.
#[derive(Clone)]
pub struct Batches(Arc<Inner>);

struct Inner {
    parts: Parts,
    store: Store,
    /// This process, as the store knows it.
    worker: String,
    crew: Crew,
}

/// What batches are made of.
pub struct Parts {
    /// Models, teams, AWS.
    pub gateway: Present,
    /// `[batch]`.
    pub settings: config::Batch,
    /// What batches are made of, and what they make.
    pub files: Files,
    /// What records look like.
    pub codecs: Codecs,
    /// Where records go that are not part of a job.
    pub door: Door,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts(..)")
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("worker", &self.0.worker).finish_non_exhaustive()
    }
}

/// Some of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// As many as were asked for, at most.
    pub batches: Vec<Batch>,
    /// Whether there are more.
    pub has_more: bool,
}

/// How a batch stands that is not over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Of its shards that wait for a job slot, how many shards of all teams are in front of the first; none: nothing waits.
    pub ahead: Option<u64>,
    /// What its shards wait for, in words, each once.
    pub waiting_for: Vec<String>,
}

/// The worker of the process that is called so in the folder of the journal.
pub(super) fn worker_of(writer: &str) -> String {
    format!("worker_{writer}")
}

impl Batches {
    /// Nothing runs until [`Batches::work`].
    pub fn new(parts: Parts) -> Self {
        let gateway = parts.gateway.now();
        let (writer, store) = (gateway.tenancy().writer().map(worker_of), gateway.tenancy().store().clone());
        let worker = writer.unwrap_or_else(|| ids::fresh("worker_"));
        Self(Arc::new(Inner { parts, store, worker, crew: Crew::default() }))
    }

    /// The team's batch of this id.
    ///
    /// # Errors
    /// `NotFound` where the team has none; `Forbidden` without the scope `batch`.
    pub async fn batch(&self, caller: &Caller, id: &str) -> Result<Batch> {
        caller.require(Scope::Batch)?;
        self.of_team(&caller.team.id, id).await
    }

    async fn of_team(&self, team: &TeamId, id: &str) -> Result<Batch> {
        queries::find(self.store(), team, id).await?.ok_or_else(|| no_batch(id))
    }

    /// The team's batches that the filter lets through; [`Filter::team`] is the caller's, whatever it says.
    pub async fn list(&self, caller: &Caller, filter: Filter) -> Result<Page> {
        caller.require(Scope::Batch)?;
        let filter = Filter { team: Some(caller.team.id.clone()), ..filter };
        self.all(&filter).await
    }

    /// Batches of any team, for the administrator.
    pub async fn all(&self, filter: &Filter) -> Result<Page> {
        let (batches, has_more) = queries::list(self.store(), filter).await?;
        Ok(Page { batches, has_more })
    }

    /// Their files.
    pub fn files(&self) -> &Files {
        &self.0.parts.files
    }

    /// The places for jobs, for the administrator.
    pub async fn slots(&self) -> Result<Vec<Slot>> {
        queries::slots(self.store()).await
    }

    /// Has a batch end: what waits is not begun, jobs are stopped, answers that are there are kept. What is over, or is
    /// ending, is answered as it is.
    pub async fn cancel(&self, caller: &Caller, id: &str) -> Result<Batch> {
        caller.require(Scope::Batch)?;
        if queries::cancel(self.store(), &caller.team.id, id, self.now()).await? {
            tracing::info!(batch = id, "a batch is being cancelled");
            self.crew().tell(id);
        }
        self.of_team(&caller.team.id, id).await
    }

    /// Has nobody see a batch any more; one that is not over is cancelled. Its files stay until they are deleted or expire.
    pub async fn delete(&self, caller: &Caller, id: &str) -> Result<()> {
        caller.require(Scope::Batch)?;
        if queries::cancel(self.store(), &caller.team.id, id, self.now()).await? {
            self.crew().tell(id);
        }
        if !queries::delete(self.store(), &caller.team.id, id, self.now()).await? {
            return Err(no_batch(id));
        }
        Ok(())
    }

    /// The shards of a batch, in order.
    pub async fn shards(&self, id: &str) -> Result<Vec<Shard>> {
        queries::of(self.store(), id).await
    }

    /// What a batch waits for, and how long the line in front of it is.
    pub async fn standing(&self, id: &str) -> Result<Standing> {
        let shards = self.shards(id).await?;
        let mut standing = Standing::default();
        for reason in shards.iter().filter(|shard| shard.state != ShardState::Settled).filter_map(|s| s.reason.clone())
        {
            if !standing.waiting_for.contains(&reason) {
                standing.waiting_for.push(reason);
            }
        }
        let first = shards.iter().find(|shard| shard.state == ShardState::Queued && shard.kind == How::Job);
        if let Some(first) = first {
            let line = queries::waiting(self.store(), &first.region, &first.model_id).await?;
            let ahead = line.iter().position(|other| other.batch == first.batch && other.number == first.number);
            standing.ahead = ahead.and_then(|ahead| u64::try_from(ahead).ok());
        }
        Ok(standing)
    }

    pub(super) fn gateway(&self) -> Gateway {
        self.0.parts.gateway.now()
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn settings(&self) -> &config::Batch {
        &self.0.parts.settings
    }

    pub(super) fn codecs(&self) -> Codecs {
        self.0.parts.codecs
    }

    pub(super) fn door(&self) -> Door {
        self.0.parts.door.clone()
    }

    pub(super) fn worker(&self) -> &str {
        &self.0.worker
    }

    pub(super) fn crew(&self) -> &Crew {
        &self.0.crew
    }

    pub(super) fn now(&self) -> Timestamp {
        self.gateway().clock().now()
    }

    /// A batch that was submitted here is run here.
    pub(super) fn take(&self, batch: &Batch, hold: Hold) {
        self.crew().open(self, &batch.id, Some(hold));
    }
}

fn no_batch(id: &str) -> Error {
    Error::new(Kind::NotFound, format!("There is no batch `{id}`.")).param("batch_id")
}
