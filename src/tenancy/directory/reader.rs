//! The task that reads from the store: keys that are asked for and not in memory, and what has changed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::caller::{Activity, Membership};
use super::feed::Feed;
use super::known::Known;
use super::members::SHARDS;
use super::{Ask, Away, Directory};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::ids::{KeyId, TeamId};
use crate::store::Store;
use crate::tenancy::admission::RuleBook;
use crate::tenancy::limit::Subject;
use crate::tenancy::queries;

/// How often the store is asked what has changed: a revocation counts after this, and the time that it takes to read.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Ids that the store is asked for at once.
const LOOK_IDS: usize = 256;
/// How far looks into the store are apart while ids are asked for that do not exist.
const LOOK_SPACING: Duration = Duration::from_millis(50);
/// A statement that takes longer has failed.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nobody waits for a store that has just failed.
const AWAY_REST: Duration = Duration::from_secs(1);
/// A key that was not used for so long is forgotten, and read again when it is.
const IDLE: Duration = Duration::from_hours(24);

/// Reads teams and keys from the store. What it knows, it alone changes.
pub(in crate::tenancy) struct Reader {
    store: Store,
    clock: Clock,
    directory: Arc<Directory>,
    book: Arc<RuleBook>,
    known: Known,
    feed: Feed,
    asks: mpsc::Receiver<Ask>,
    /// When the store may next be asked for ids.
    next_look: Instant,
    /// When it last failed, if it has not answered since.
    failed: Option<Instant>,
    /// The shard that is next looked through for idle keys.
    sweep: usize,
}

impl Reader {
    pub(super) async fn new(
        store: Store,
        (clock, book): (Clock, Arc<RuleBook>),
        directory: Arc<Directory>,
        asks: mpsc::Receiver<Ask>,
    ) -> Result<Self> {
        let feed = Feed::from(queries::version(&store).await?);
        let mut known = Known::default();
        read_rules(&store, &mut known, &[Subject::Everyone]).await?;
        let next_look = Instant::now();
        Ok(Self { store, clock, directory, book, known, feed, asks, next_look, failed: None, sweep: 0 })
    }

    /// Answers and keeps up until `stop`.
    pub(in crate::tenancy) async fn run(mut self, stop: CancellationToken) {
        let work = async {
            let mut tick = tokio::time::interval(POLL_INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut asks = Vec::new();
            loop {
                tokio::select! {
                    _ = self.asks.recv_many(&mut asks, LOOK_IDS) => self.answer(&mut asks).await,
                    _ = tick.tick() => {
                        self.keep_up().await;
                        self.forget_idle();
                    }
                }
            }
        };
        stop.run_until_cancelled(work).await;
    }

    /// Answers all who ask, and those who come meanwhile.
    async fn answer(&mut self, asks: &mut Vec<Ask>) {
        let refresh = asks.iter().any(|ask| matches!(ask, Ask::Refresh(_)));
        if refresh {
            self.keep_up().await;
        }
        let (mut keys, mut teams) = (Vec::new(), Vec::new());
        for ask in asks.drain(..) {
            match ask {
                Ask::Key(id, answer) => keys.push((id, answer)),
                Ask::Team(name, answer) => teams.push((name, answer)),
                Ask::Refresh(done) => {
                    done.send(()).ok();
                }
            }
        }
        // Whoever has left does not need an answer.
        keys.retain(|(_, answer)| !answer.is_closed());
        let mut missing: HashSet<&KeyId> = keys.iter().map(|(id, _)| id).collect();
        missing.retain(|id| self.directory.caller(id.as_str()).is_none());
        let missing: Vec<KeyId> = missing.into_iter().cloned().collect();
        let read = self.look(&missing).await;
        for (id, answer) in keys {
            let answered = read.map(|()| self.directory.caller(id.as_str()));
            answer.send(answered).ok();
        }
        for (name, answer) in teams {
            answer.send(self.find_team(&name).await).ok();
        }
    }

    /// The team with this id or name, read if nobody asked for it before and the store is there.
    async fn find_team(&mut self, id_or_name: &str) -> Result<Option<Arc<Membership>>, Away> {
        if let Some(membership) = self.directory.members.team(id_or_name) {
            return Ok(Some(membership));
        }
        if self.failed.is_some_and(|at| at.elapsed() < AWAY_REST) {
            return Err(Away);
        }
        let read = self.read_team(id_or_name).await;
        self.note(&read);
        read.map_err(|_| Away)
    }

    async fn read_team(&mut self, id_or_name: &str) -> Result<Option<Arc<Membership>>> {
        let Some(team) = within(queries::find_team(&self.store, id_or_name)).await? else { return Ok(None) };
        let id = team.id.clone();
        if !self.known.has_team(&id) {
            read_rules(&self.store, &mut self.known, &[Subject::Team(id.clone())]).await?;
            self.known.put_team(team);
        }
        let membership = self.known.membership(&self.book, &id);
        self.directory.members.put_team(&id, membership.clone());
        Ok(membership)
    }

    /// Reads these keys, if the store is there.
    pub(super) async fn look(&mut self, ids: &[KeyId]) -> Result<(), Away> {
        if ids.is_empty() {
            return Ok(());
        }
        if self.failed.is_some_and(|at| at.elapsed() < AWAY_REST) {
            return Err(Away);
        }
        sleep_until(self.next_look).await;
        let began = Instant::now();
        self.directory.looks.fetch_add(1, Ordering::Relaxed);
        let read = self.read_keys(ids).await;
        if !matches!(read, Ok(found) if found == ids.len()) {
            self.next_look = began + LOOK_SPACING;
        }
        self.note(&read);
        read.map(drop).map_err(|_| Away)
    }

    /// Puts those of the keys in memory that there are, with what they need, and says how many those are. Keys are read
    /// before teams: one that was read has its team.
    async fn read_keys(&mut self, ids: &[KeyId]) -> Result<usize> {
        let keys = within(queries::keys_by_id(&self.store, ids)).await?;
        let teams: HashSet<&TeamId> = keys.iter().map(|key| &key.team).collect();
        let teams: Vec<TeamId> = teams.into_iter().filter(|id| !self.known.has_team(id)).cloned().collect();
        let subjects: Vec<Subject> = (teams.iter().cloned().map(Subject::Team))
            .chain(keys.iter().map(|key| Subject::Key(key.id.clone())))
            .collect();
        let teams = within(queries::teams_by_id(&self.store, &teams)).await?;
        read_rules(&self.store, &mut self.known, &subjects).await?;
        for team in teams {
            self.known.put_team(team);
        }
        let (mut found, now) = (0, self.clock.now());
        for key in keys {
            let activity = Arc::new(Activity::new(now));
            if let Some(caller) = self.known.caller(&self.book, Arc::new(key), activity) {
                self.directory.members.put(caller);
                found += 1;
            }
        }
        Ok(found)
    }

    /// Reads what has changed, and has it count.
    async fn keep_up(&mut self) {
        let read = self.feed.read(&self.store, &mut self.known, &self.book, &self.directory.members).await;
        self.note(&read);
    }

    /// Says so once when the store is away, and once when it is back.
    fn note<T>(&mut self, read: &Result<T>) {
        match read {
            Ok(_) if self.failed.take().is_some() => tracing::info!("teams and keys can be read from the store again"),
            Ok(_) => {}
            Err(error) => {
                if self.failed.replace(Instant::now()).is_none() {
                    let causes = error.causes();
                    tracing::warn!(
                        %error,
                        causes,
                        "teams and keys cannot be read from the store; those in memory go on counting"
                    );
                }
            }
        }
    }

    /// Forgets the idle keys of one shard, while the store is there to tell of them again.
    pub(super) fn forget_idle(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let idle = i64::try_from(IDLE.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::from_millis(self.clock.now().millis().saturating_sub(idle));
        for caller in self.directory.members.select(self.sweep, |caller| caller.activity.is_idle(before)) {
            self.directory.members.remove(caller.key.id.as_str());
            self.known.forget(&Subject::Key(caller.key.id.clone()));
        }
        self.sweep = (self.sweep + 1) % SHARDS;
    }
}

/// Reads the limits and budgets of these subjects, in place of what was known of them.
pub(super) async fn read_rules(store: &Store, known: &mut Known, subjects: &[Subject]) -> Result<()> {
    let limits = within(queries::limits_of(store, subjects)).await?;
    let budgets = within(queries::budgets_of(store, subjects)).await?;
    for subject in subjects {
        known.forget(subject);
    }
    for limit in limits {
        known.put_limit(limit);
    }
    for budget in budgets {
        known.put_budget(budget);
    }
    Ok(())
}

/// What a statement answers in time.
pub(super) async fn within<T>(statement: impl Future<Output = Result<T>>) -> Result<T> {
    let timed_out = |_| Err(Error::new(Kind::Timeout, "The store did not answer in time."));
    timeout(STATEMENT_TIMEOUT, statement).await.unwrap_or_else(timed_out)
}
