//! The teams and keys in memory, and when they are read again.
//!
//! Readers take a snapshot without a lock; a refresh replaces it whole. What a key is doing right now (calls in flight,
//! last use) outlives the snapshots.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::admission::{RuleBook, Rules};
use super::key::Key;
use super::limit::Subject;
use super::queries;
use super::team::Team;
use crate::catalog::Fence;
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::ids::{KeyId, TeamId};
use crate::store::Store;

/// Looks into the store are at least this far apart, however many ask for one.
const REFRESH_SPACING: Duration = Duration::from_millis(250);
/// A look that takes longer has failed.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(5);

/// Who is calling: a key and its team, as they were when the call came. A cheap clone.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who pays.
    pub team: Arc<Team>,
    /// The credential.
    pub key: Arc<Key>,
    fence: Fence,
    pub(super) rules: Rules,
    pub(super) activity: Arc<Activity>,
}

impl Caller {
    pub(super) fn new(team: &Arc<Team>, key: Key, rules: Rules, activity: Arc<Activity>) -> Self {
        let fence = Fence::new(team.regions.entries(), team.geography).and(&Fence::new(key.regions.entries(), None));
        Self { team: Arc::clone(team), key: Arc::new(key), fence, rules, activity }
    }

    /// The Regions that team and key limit calls to.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Whether both team and key allow the Region.
    pub fn allows_region(&self, region: &str) -> bool {
        self.fence.holds(region)
    }

    /// Whether both team and key allow the model that goes by all of `names`.
    pub fn allows_model<'n>(&self, names: impl IntoIterator<Item = &'n str> + Clone) -> bool {
        self.team.models.allows(names.clone()) && self.key.models.allows(names)
    }

    /// Whether any limit or budget counts its calls.
    pub fn is_counted(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether any budget pays for its calls.
    pub fn is_budgeted(&self) -> bool {
        self.rules.has_budgets()
    }

    /// Calls of this key that hold something now.
    pub fn in_flight(&self) -> u32 {
        self.activity.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn touch(&self, now: Timestamp) {
        self.activity.last_use.store(now.millis(), Ordering::Relaxed);
    }
}

/// What a key is doing; shared by all snapshots.
#[derive(Debug, Default)]
pub(super) struct Activity {
    pub(super) in_flight: AtomicU32,
    last_use: AtomicI64,
    saved_use: AtomicI64,
}

/// A last use that the store does not know yet.
#[derive(Debug)]
pub(super) struct Touch {
    pub(super) key: KeyId,
    pub(super) at: Timestamp,
    activity: Arc<Activity>,
}

impl Touch {
    /// To be called when the store knows.
    pub(super) fn saved(&self) {
        self.activity.saved_use.store(self.at.millis(), Ordering::Relaxed);
    }
}

/// All teams and keys at one version of the store.
struct Snapshot {
    version: i64,
    callers: HashMap<Arc<str>, Caller>,
    memberships: HashMap<TeamId, Arc<Membership>>,
    names: HashMap<String, TeamId>,
}

/// What all callers of a team have in common. It is another one as soon as anything of it has changed.
#[derive(Debug)]
pub struct Membership {
    pub(super) team: Arc<Team>,
    /// The limits and budgets of the team and of everyone.
    pub(super) rules: Rules,
}

impl Snapshot {
    /// The version is read first and keys before teams: a change in between is read again, never missed, and a key that
    /// was read has its team.
    async fn read(store: &Store, book: &RuleBook, version: i64, previous: Option<&Self>) -> Result<Self> {
        let keys = queries::keys(store).await?;
        let teams = queries::teams(store).await?;
        let limits = queries::limits(store).await?;
        let budgets = queries::budgets(store).await?;
        let teams: HashMap<_, _> = teams.into_iter().map(|team| (team.id.clone(), Arc::new(team))).collect();
        let rules = |team: &TeamId, key: Option<&KeyId>| {
            let counts = |subject: &Subject| match subject {
                Subject::Everyone => true,
                Subject::Team(id) => id == team,
                Subject::Key(id) => Some(id) == key,
            };
            let limits = limits.iter().filter(|limit| counts(&limit.subject)).cloned().collect();
            let budgets = budgets.iter().filter(|budget| counts(&budget.subject)).cloned().collect();
            book.rules(limits, budgets)
        };
        let caller = |key: Key| {
            let id = Arc::<str>::from(key.id.as_str());
            let activity = previous.and_then(|all| all.callers.get(&id)).map(|caller| Arc::clone(&caller.activity));
            let team = teams.get(&key.team)?;
            let rules = rules(&key.team, Some(&key.id));
            Some((id, Caller::new(team, key, rules, activity.unwrap_or_default())))
        };
        let callers = keys.into_iter().filter_map(caller).collect();
        let names = teams.values().map(|team| (team.name.clone(), team.id.clone())).collect();
        let membership = |(id, team): (&TeamId, &Arc<Team>)| {
            let membership = Membership { team: Arc::clone(team), rules: rules(id, None) };
            (id.clone(), Arc::new(membership))
        };
        let memberships = teams.iter().map(membership).collect();
        Ok(Self { version, callers, memberships, names })
    }
}

/// The teams and keys, always readable and refreshed when asked.
pub(super) struct Directory {
    store: Store,
    book: RuleBook,
    current: ArcSwap<Snapshot>,
    last: Mutex<Look>,
    looks: AtomicU64,
}

/// The last look into the store.
struct Look {
    began: Instant,
    failed: bool,
}

impl Directory {
    /// Reads everything once; fails with what the store said.
    pub(super) async fn load(store: Store) -> Result<Self> {
        let began = Instant::now();
        let version = queries::version(&store).await?;
        let book = RuleBook::default();
        let snapshot = Snapshot::read(&store, &book, version, None).await?;
        Ok(Self {
            store,
            book,
            current: ArcSwap::from_pointee(snapshot),
            last: Mutex::new(Look { began, failed: false }),
            looks: AtomicU64::new(0),
        })
    }

    /// Who the key with this id belongs to, whatever state the key is in.
    pub(super) fn caller(&self, id: &str) -> Option<Caller> {
        self.current.load().callers.get(id).cloned()
    }

    /// The team with this id, or else this name.
    pub(super) fn membership(&self, id_or_name: &str) -> Option<Arc<Membership>> {
        let snapshot = self.current.load();
        let membership = snapshot.memberships.get(&TeamId::from(id_or_name));
        membership.or_else(|| snapshot.memberships.get(snapshot.names.get(id_or_name)?)).cloned()
    }

    /// Returns when a look into the store that began at `asked` or later is done, whoever made it.
    ///
    /// All who wait share one look, and looks keep their distance. One that fails changes nothing, is logged once until
    /// the store answers again, and counts as done: who waits must decide by what is known.
    pub(super) async fn refresh_since(&self, asked: Instant) {
        let mut last = self.last.lock().await;
        if last.began >= asked {
            return;
        }
        tokio::time::sleep_until(last.began + REFRESH_SPACING).await;
        last.began = Instant::now();
        self.looks.fetch_add(1, Ordering::Relaxed);
        let look = tokio::time::timeout(REFRESH_TIMEOUT, self.look()).await;
        let look = look.unwrap_or_else(|_| Err(Error::new(Kind::Timeout, "The store did not answer in time.")));
        match &look {
            Ok(()) if last.failed => tracing::info!("teams and keys can be read from the store again"),
            Err(error) if !last.failed => tracing::warn!(
                %error,
                causes = error.causes(),
                "teams and keys cannot be read from the store; those in memory go on counting"
            ),
            Ok(()) | Err(_) => {}
        }
        last.failed = look.is_err();
    }

    async fn look(&self) -> Result<()> {
        let version = queries::version(&self.store).await?;
        let previous = self.current.load_full();
        if previous.version != version {
            let snapshot = Snapshot::read(&self.store, &self.book, version, Some(&previous)).await?;
            self.current.store(Arc::new(snapshot));
        }
        Ok(())
    }

    /// The last uses that the store does not know yet, in the order of their keys: two processes that save the same
    /// ones do not wait for each other in a circle.
    pub(super) fn touches(&self) -> Vec<Touch> {
        let snapshot = self.current.load();
        let touch = |caller: &Caller| {
            let at = caller.activity.last_use.load(Ordering::Relaxed);
            let new = at > caller.activity.saved_use.load(Ordering::Relaxed);
            new.then(|| Touch {
                key: caller.key.id.clone(),
                at: Timestamp::from_millis(at),
                activity: Arc::clone(&caller.activity),
            })
        };
        let mut touches: Vec<Touch> = snapshot.callers.values().filter_map(touch).collect();
        touches.sort_by(|a, b| a.key.cmp(&b.key));
        touches
    }

    /// How many looks into the store there were since it was loaded.
    pub(super) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.current.load();
        f.debug_struct("Directory")
            .field("version", &snapshot.version)
            .field("keys", &snapshot.callers.len())
            .field("looks", &self.looks())
            .finish_non_exhaustive()
    }
}
