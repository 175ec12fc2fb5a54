//! The directory: the teams and keys that are in use, in memory, and the task that reads them from the store.
//!
//! A key is read when it is first used and stays; whoever presents it again touches neither the store nor a lock that
//! is held across a wait. What changes in the store is read once a second. One task ([`Reader`]) does all of that, one
//! statement at a time, so nothing that was read is older than what is known. Invariant: what a key is doing (calls in
//! flight, last use) outlives every change of it.

mod caller;
mod feed;
mod known;
mod members;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

pub(super) use self::caller::{Activity, Touch};
pub use self::caller::{Caller, Membership, Profile};
pub(super) use self::reader::Reader;

use self::members::Members;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::ids::{KeyId, TeamId};
use crate::store::Store;
use crate::tenancy::admission::{RuleBook, Rules};
use crate::tenancy::team::Team;

/// Who wait for the reader at most; beyond that, one waits for a place to wait.
const ASKS: usize = 1024;
/// How long somebody waits for a key that is not in memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);

/// Last uses that are written at once: few enough not to hold up the entries of the ledger that travel with them.
pub(super) const TOUCHES: usize = 500;

/// Keys that were used, in the order in which they were first.
type Touched = VecDeque<(KeyId, Arc<Activity>)>;

/// What the reader is asked for.
enum Ask {
    /// The key with this id.
    Key(KeyId, oneshot::Sender<Answer>),
    /// The team with this id, or else this name.
    Team(String, oneshot::Sender<Result<Option<Arc<Membership>>, Away>>),
    /// That all changes until now count.
    Refresh(oneshot::Sender<()>),
}

/// Who has the key, if there is one.
type Answer = Result<Option<Caller>, Away>;

/// The store does not answer.
#[derive(Clone, Copy, Debug)]
struct Away;

/// The callers in memory.
pub(super) struct Directory {
    members: Members,
    asks: mpsc::Sender<Ask>,
    /// Keys that were used since the last uses were written.
    touched: Mutex<Touched>,
    looks: AtomicU64,
}

impl Directory {
    /// A directory without keys, and the task that fills it. Reads the version and what counts for everyone; fails with
    /// what the store said.
    pub(super) async fn open(store: Store, clock: Clock, book: Arc<RuleBook>) -> Result<(Arc<Self>, Reader)> {
        let (sender, asks) = mpsc::channel(ASKS);
        let directory = Arc::new(Self {
            members: Members::default(),
            asks: sender,
            touched: Mutex::default(),
            looks: AtomicU64::new(0),
        });
        let reader = Reader::new(store, (clock, book), Arc::clone(&directory), asks).await?;
        Ok((directory, reader))
    }

    /// Who has the key with this id, whatever state the key is in, if it is in memory.
    pub(super) fn caller(&self, id: &str) -> Option<Caller> {
        self.members.find(id)
    }

    /// Who has the key with this id, read from the store. Fails with [`Kind::Unavailable`] when the store is away.
    pub(super) async fn read(&self, id: &str) -> Result<Option<Caller>> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Key(KeyId::from(id), answer);
        let answered = async {
            self.asks.send(ask).await.ok()?;
            answered.await.ok()?.ok()
        };
        timeout(ANSWER_TIMEOUT, answered).await.ok().flatten().ok_or_else(away)
    }

    /// The team with this id, or else this name, if it is in memory.
    pub(super) fn membership(&self, id_or_name: &str) -> Option<Arc<Membership>> {
        self.members.team(id_or_name)
    }

    /// The team with this id, or else this name, read from the store. Fails with [`Kind::Unavailable`] when the store is
    /// away.
    pub(super) async fn read_team(&self, id_or_name: &str) -> Result<Option<Arc<Membership>>> {
        let (answer, answered) = oneshot::channel();
        let answered = async {
            self.asks.send(Ask::Team(id_or_name.to_owned(), answer)).await.ok()?;
            answered.await.ok()?.ok()
        };
        timeout(ANSWER_TIMEOUT, answered).await.ok().flatten().ok_or_else(away)
    }

    /// The limits and budgets that count the calls of a key, or of who stands in for one in the team.
    pub(super) async fn rules_of(&self, team: &TeamId, key: &KeyId) -> Result<Option<(Arc<Team>, Rules)>> {
        let caller = match self.caller(key.as_str()) {
            Some(caller) => Some(caller),
            None => self.read(key.as_str()).await?,
        };
        if let Some(caller) = caller {
            return Ok(Some((Arc::clone(&caller.team), caller.rules.clone())));
        }
        let membership = self.read_team(team.as_str()).await?;
        Ok(membership.map(|membership| (Arc::clone(&membership.team), membership.rules.clone())))
    }

    /// Returns when all changes that were in the store when it was called count, or the store did not answer.
    pub(super) async fn refresh(&self) {
        let (done, refreshed) = oneshot::channel();
        if self.asks.send(Ask::Refresh(done)).await.is_ok() {
            refreshed.await.ok();
        }
    }

    /// The caller uses its key.
    pub(super) fn touch(&self, caller: &Caller, now: Timestamp) {
        if caller.activity.touch(now) {
            self.lock_touched().push_back((caller.key.id.clone(), Arc::clone(&caller.activity)));
        }
    }

    /// Some of the last uses that are not written yet, [`TOUCHES`] at most, in the order of their keys: two processes that
    /// save the same ones do not wait for each other in a circle.
    pub(super) fn touches(&self) -> Vec<Touch> {
        let mut touched = self.lock_touched();
        let some = touched.len().min(TOUCHES);
        let mut some: Vec<Touch> =
            touched.drain(..some).map(|(key, activity)| Touch { key, at: activity.take() }).collect();
        drop(touched);
        some.sort_by(|a, b| a.key.cmp(&b.key));
        some
    }

    /// How often the store was asked for keys that are not in memory.
    pub(super) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    fn lock_touched(&self) -> MutexGuard<'_, Touched> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn away() -> Error {
    let message = "Keys cannot be checked now: the gateway's store does not answer. Try again in a moment.";
    Error::new(Kind::Unavailable, message).retry_after(Duration::from_secs(1))
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("keys", &self.members.len())
            .field("looks", &self.looks())
            .finish_non_exhaustive()
    }
}
