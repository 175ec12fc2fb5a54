//! Asynchronous invocations: whose each is, what was last heard of it, and where a team's may write.
//!
//! AWS lists the invocations of a whole account; only this record says which team one belongs to, and nothing is told of
//! one that is not the asker's. A team's locations are `s3://bedrock-gateway/<path>` to its callers and
//! `s3://<bucket of the Region>/<prefix>/<team>/<path>` to AWS; neither way leads out of the team's prefix. All SQL is in
//! `queries.rs`.

mod places;
mod queries;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::config;
use crate::error::Result;
use crate::ids::TeamId;
use crate::store::Store;

pub use places::Places;

/// The record of all teams' invocations, and where they may write. A cheap clone.
#[derive(Clone)]
pub struct Invocations {
    store: Store,
    places: Places,
}

/// One asynchronous invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The Region that it was started in.
    pub region: String,
    /// The last part of its ARN.
    pub id: String,
    /// Who started it.
    pub team: TeamId,
    /// AWS's ARN of it, which holds the account: not for callers.
    pub arn: String,
    /// The foundation model.
    pub model_arn: String,
    /// The caller's own token.
    pub token: Option<String>,
    /// `InProgress`, `Completed` or `Failed`.
    pub status: String,
    /// Why it failed.
    pub failure: Option<String>,
    /// Where it writes, as the caller sees it.
    pub output_uri: String,
    /// When the gateway was told that it had begun.
    pub submitted_at: Timestamp,
    /// When AWS changed it last.
    pub modified_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Invocation {
    /// The status of one that has not ended.
    pub const IN_PROGRESS: &'static str = "InProgress";

    /// Whether AWS may have more to say of it.
    pub fn is_open(&self) -> bool {
        self.status == Self::IN_PROGRESS
    }

    /// Its place in a list.
    pub fn mark(&self) -> Mark {
        Mark { at: self.submitted_at, id: self.key() }
    }

    fn key(&self) -> String {
        key(&self.region, &self.id)
    }
}

/// Ids are unique within a Region.
fn key(region: &str, id: &str) -> String {
    [region, "/", id].concat()
}

/// A place in a list: everything behind it is still to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When the last one told was submitted.
    pub at: Timestamp,
    /// Its Region and id.
    pub id: String,
}

/// The order of a list, by time of submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest first.
    Ascending,
    /// The newest first.
    #[default]
    Descending,
}

/// Which invocations are asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those with this status.
    pub status: Option<String>,
    /// Those submitted later.
    pub after: Option<Timestamp>,
    /// Those submitted earlier.
    pub before: Option<Timestamp>,
    /// In which order.
    pub order: Order,
    /// Those behind this.
    pub from: Option<Mark>,
    /// So many at most.
    pub limit: u32,
}

impl Invocations {
    /// The record in `store`, and the places that `batch` has.
    pub fn new(store: Store, batch: &config::Batch) -> Self {
        Self { store, places: Places::new(batch) }
    }

    /// AWS's idempotency token in the place of a caller's: those of two teams never meet.
    pub fn token(&self, team: &TeamId, token: &str) -> String {
        let digest = Sha256::new().chain_update(team.as_str()).chain_update([0]).chain_update(token).finalize();
        digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
            write!(hex, "{byte:02x}").ok();
            hex
        })
    }

    /// Where teams may read and write.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Remembers one that has begun. The same one again changes nothing: AWS answers a repeated token with it.
    pub async fn begin(&self, invocation: &Invocation) -> Result<()> {
        queries::insert(&self.store, invocation).await
    }

    /// Remembers what AWS said of one.
    pub async fn update(&self, invocation: &Invocation) -> Result<()> {
        queries::update(&self.store, invocation).await
    }

    /// The team's invocation; `None` too for one that is another's.
    pub async fn find(&self, team: &TeamId, region: &str, id: &str) -> Result<Option<Invocation>> {
        queries::find(&self.store, team, &key(region, id)).await
    }

    /// The team's invocations that `filter` asks for, as they were last heard of.
    pub async fn list(&self, team: &TeamId, filter: &Filter) -> Result<Vec<Invocation>> {
        queries::list(&self.store, team, filter).await
    }
}

impl fmt::Debug for Invocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invocations(..)")
    }
}
