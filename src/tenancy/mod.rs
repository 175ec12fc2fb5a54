//! Tenancy: who is calling, what they may do, and the record of what they did.
//!
//! The teams and keys that are in use are in memory, so that a call is authenticated and admitted without touching the
//! store; a version row says when they changed. The ledger is written behind. All SQL is in `queries/`.
//! Invariants: a caller whose key is revoked or expired is never returned; every [`Hold`] gives back what it holds when
//! it is dropped; an [`ledger::Entry`] makes at most one row, however often it is delivered; a call that was begun has a
//! row in the end, whatever becomes of the process.

pub mod admin;
pub mod admission;
mod allow_list;
mod bootstrap;
pub mod budget;
mod carried;
mod directory;
mod guesses;
pub mod journal;
mod key;
pub mod ledger;
pub mod limit;
mod queries;
mod sealed;
mod signed;
mod stand_in;
mod team;
#[cfg(test)]
mod tests;
pub mod usage;
mod webhook;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::admission::{
    Account, Balance, Demand, Gauge, Hold, Need, Output, Refused, SharedState, Standing, Used, Worst,
};
pub use self::allow_list::AllowList;
pub use self::bootstrap::Administrators;
pub use self::budget::{Budget, Period, UnknownPrice};
pub use self::directory::{Caller, Membership, Profile};
pub use self::key::{Key, NewKey, OnDisconnect, Scope, looks_own};
pub use self::limit::{Limit, Subject};
pub use self::sealed::{Scoped, Sealer};
pub use self::signed::Claimed;
pub use self::stand_in::StandIn;
pub use self::team::{Guardrail, NewTeam, RoleArn, Team};
pub use self::webhook::{Message, NewSecret, NewWebhook, Webhook, webhook_url};

use self::admission::{Admission, RuleBook, Seeds, Shared};
use self::directory::Directory;
use self::guesses::Guesses;
use self::journal::Journal;
use self::key::Presented;
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::error::{Error, Result};
use crate::ids::{KeyId, TeamId};
use crate::money::MicroUsd;
use crate::store::Store;
use crate::telemetry::Metrics;

/// Teams, keys and the ledger, as a serving process uses them. A cheap clone.
#[derive(Clone)]
pub struct Tenancy(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    directory: Arc<Directory>,
    guesses: Guesses,
    admission: Admission,
    recorder: Arc<ledger::Recorder>,
}

/// What tenancy works with besides its store.
#[derive(Clone)]
pub struct Options {
    /// Where thresholds and overruns of budgets are counted.
    pub metrics: Metrics,
    /// Where calls are written down before they are made; `None`: nowhere.
    pub journal: Option<journal::Setup>,
    /// What limits and budgets are shared through; without a URL this process counts alone.
    pub shared: config::Shared,
}

impl Options {
    /// Without a journal, and alone.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, journal: None, shared: config::Shared::default() }
    }
}

impl Tenancy {
    /// Spawns on `tracker` the reader of keys and their changes, and the writer of the ledger. No key is read before it
    /// is used.
    ///
    /// Both end with `stop`. The writer first writes what was recorded until then, for ten seconds at most; what is
    /// recorded afterwards is lost, or found in the journal by the next start. So cancel `stop` when the last call is
    /// settled, not when the drain begins.
    ///
    /// With a journal, first books what processes that died have left in its folder. A store that does not answer delays
    /// that by ten seconds at most: then it is tried again while the gateway serves.
    pub async fn open(
        store: Store,
        clock: Clock,
        options: Options,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self> {
        let Options { metrics, mut journal, shared } = options;
        let book = Arc::new(RuleBook::new(clock.clone()));
        let (directory, reader) = Directory::open(store.clone(), clock.clone(), Arc::clone(&book)).await?;
        tracker.spawn(reader.run(stop.clone()));
        let shared = if shared.url.is_empty() {
            None
        } else {
            let means = (clock.clone(), metrics.clone());
            Some(Shared::open(&shared, store.clone(), means, (tracker, stop.clone())).await?)
        };
        if let Some((setup, shared)) = journal.as_mut().zip(shared.as_ref()) {
            setup.on_replayed = charge_replayed(setup, shared, &directory, (tracker, &stop));
        }
        let journal = match journal {
            Some(setup) => {
                let journal = Arc::new(Journal::open(&setup)?);
                journal::keep(&journal, &setup, store.clone(), tracker, &stop).await;
                Some(journal)
            }
            None => None,
        };
        let (recorder, writer) =
            writer::new((store.clone(), clock.clone()), Arc::clone(&directory), ledger::QUEUE_ENTRIES, journal);
        let recorder = Arc::new(recorder);
        let seeds = Seeds::new(store.clone(), Arc::clone(&recorder));
        let admission = match shared {
            None => Admission::local(clock.clone(), metrics, seeds, book),
            Some(shared) => Admission::shared(clock.clone(), metrics, seeds, (book, shared)),
        };
        tracker.spawn(writer.run(stop));
        let guesses = Guesses::default();
        Ok(Self(Arc::new(Inner { store, clock, directory, guesses, admission, recorder })))
    }

    /// Who presents this key: the text of the key alone, whichever header it came in, sent from the address `client`.
    ///
    /// Answers from memory. A key that was not used for a while waits for a look into the store, which all who wait
    /// share: one that was just made works at once, and a flood of made-up keys costs the store some twenty looks a
    /// second. Fails with [`crate::error::Kind::Unauthenticated`], with [`crate::error::Kind::RateLimited`] after many
    /// wrong keys from the same address, with [`crate::error::Kind::Forbidden`] when the key may not be used from there,
    /// and with [`crate::error::Kind::Unavailable`] when the store has to be asked and does not answer. That a key
    /// expired, was revoked or is bound to networks is told only to who has its secret.
    pub async fn authenticate(&self, presented: Option<&str>, client: Option<IpAddr>) -> Result<Caller> {
        let presented = Presented::parse(presented.ok_or_else(key::missing)?)?;
        let found = self.find(presented.id, client).await?;
        let now = self.0.clock.now();
        let Some(caller) = found.filter(|caller| caller.key.is_opened_by(presented.secret, now)) else {
            return Err(self.wrong(client, key::unknown()));
        };
        self.accept(&caller, client)?;
        Ok(caller)
    }

    /// Who has the key with this id, whatever state it is in and without any proof.
    async fn find(&self, id: &str, client: Option<IpAddr>) -> Result<Option<Caller>> {
        let directory = &self.0.directory;
        if let Some(caller) = directory.caller(id) {
            return Ok(Some(caller));
        }
        let place = self.0.guesses.place(client, self.0.clock.now());
        let _place = place.map_err(guesses::too_many)?;
        Box::pin(directory.read(id)).await
    }

    /// A wrong key came from `client`: it is counted, and answered with `error`, or after too many of them not at all.
    fn wrong(&self, client: Option<IpAddr>, error: Error) -> Error {
        self.0.guesses.wrong(client, self.0.clock.now()).map_or_else(guesses::too_many, |()| error)
    }

    /// The caller has proved to have the secret: whether its key still counts, and from there. If so, it is used now.
    fn accept(&self, caller: &Caller, client: Option<IpAddr>) -> Result<()> {
        let now = self.0.clock.now();
        caller.check(client, now)?;
        self.0.directory.touch(caller, now);
        Ok(())
    }

    /// Admits a call, or says why not: [`crate::error::Kind::Forbidden`] without the scope,
    /// [`crate::error::Kind::ModelNotFound`] when team or key may not use the model,
    /// [`crate::error::Kind::RateLimited`] and [`crate::error::Kind::BudgetExhausted`] by the limit or budget that the
    /// message names. Which Regions the call may go to is asked of [`Caller::allows_region`]. The hold is kept until the
    /// call is settled. Waits for nothing unless a budget pays for its first call, which reads from the ledger what was
    /// spent of it ([`crate::error::Kind::Unavailable`] while the store is away), or limits are shared with
    /// other replicas: then for one answer of theirs.
    pub async fn admit(&self, caller: &Caller, need: &Need<'_>) -> Result<Hold, Refused> {
        self.0.admission.admit(caller, need).await
    }

    /// Who submitted what outlives its request: the key with this id in whatever state it is now, or, once there is none, who
    /// stands in for it in its team. `None` without the team.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unavailable`] when the store has to be asked and does not answer.
    pub async fn caller_of(&self, team: &TeamId, key: &KeyId) -> Result<Option<Caller>> {
        let directory = &self.0.directory;
        let known = match directory.caller(key.as_str()) {
            Some(caller) => Some(caller),
            None => directory.read(key.as_str()).await?,
        };
        if known.is_some() {
            return Ok(known);
        }
        let membership = match directory.membership(team.as_str()) {
            Some(membership) => Some(membership),
            None => directory.read_team(team.as_str()).await?,
        };
        let stand_in = StandIn { key, name: "batch", scopes: None, expires_at: Timestamp::from_millis(i64::MAX) };
        membership.map(|membership| stand_in.caller(&membership, None)).transpose()
    }

    /// Holds `cost` for a batch from all budgets of its caller, whether they have so much left or not: it was admitted
    /// before, by this process or by another one. `id` is unique to the hold.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unavailable`] while what was spent cannot be read from the ledger; try again.
    pub async fn hold_anyway(&self, caller: &Caller, id: &str, cost: MicroUsd) -> Result<Hold> {
        self.0.admission.hold_anyway(caller, id, cost).await
    }

    /// Whether calls are written down before they are sent.
    pub fn is_journaled(&self) -> bool {
        self.0.recorder.journal().is_some()
    }

    /// What this process is called in the folder of the journal, like no other process; none without a journal.
    pub fn writer(&self) -> Option<&str> {
        self.0.recorder.journal().map(Journal::writer)
    }

    /// The [`Tenancy::writer`]s that died since this was asked last, as their locks in the folder tell: nothing of them runs
    /// any more, and what they had to book is booked. Processes on other disks are not known.
    pub fn take_dead(&self) -> Vec<String> {
        self.0.recorder.journal().map(Journal::take_dead).unwrap_or_default()
    }

    /// Writes down that a call is about to be sent: `entry` is what is booked if this process dies before
    /// [`Tenancy::record`] settles the same id. Once more for another attempt of the same call. Without a journal nothing
    /// happens. Returns when the operating system has it; never touches the store, and fails no call.
    pub fn begin(&self, entry: &ledger::Entry) {
        if let Some(journal) = self.0.recorder.journal() {
            journal.begin(entry);
        }
    }

    /// What began under `id` is booked by another entry.
    pub fn discard(&self, id: &str) {
        if let Some(journal) = self.0.recorder.journal() {
            journal.discard(id);
        }
    }

    /// Books a call. Returns at once and never touches the store: a writer task does, within a fifth of a second.
    ///
    /// While the store is away, entries wait in memory, [`ledger::QUEUE_ENTRIES`] of them, and beyond that in the journal.
    /// Without a journal the newest are lost then, counted in [`ledger::State::lost`] and logged.
    pub fn record(&self, entry: ledger::Entry) {
        self.0.recorder.record(entry);
    }

    /// Where teams, keys, limits and budgets are kept: for what [`admin`] does.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// How the budgets stand that paid for a call since this process began; of others only the ledger knows.
    pub fn accounts(&self) -> Vec<Account> {
        self.0.admission.accounts()
    }

    /// What is not spent of each team's tightest budget, as far as [`Tenancy::accounts`] knows: of those that are the
    /// team's own, not its keys'.
    pub fn remaining(&self) -> HashMap<String, MicroUsd> {
        let mut tightest = HashMap::new();
        for account in self.accounts() {
            if let Subject::Team(_) = account.budget.subject {
                let left = account.balance.unspent();
                let known = tightest.entry(account.payer.name.clone()).or_insert(left);
                *known = left.min(*known);
            }
        }
        tightest
    }

    /// The most calls that any limit counts as open now.
    pub fn most_open(&self) -> u32 {
        self.0.admission.most_open()
    }

    /// Whether the ledger has an entry of this id. What was recorded here a moment ago may still be on its way.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_booked(&self, id: &str) -> Result<bool> {
        queries::has_entry(&self.0.store, id).await
    }

    /// How far the writer of the ledger is behind.
    pub fn ledger(&self) -> ledger::State {
        self.0.recorder.state(self.0.clock.now())
    }

    /// How the store is that limits and budgets are shared through; `None` without one.
    pub fn shared_state(&self) -> Option<SharedState> {
        self.0.admission.shared_state()
    }

    /// Waits until everything recorded so far is in the store, or the writer has ended. Waits as long as the store is
    /// away: for tests and tools.
    pub async fn flush(&self) {
        self.0.recorder.flush().await;
    }

    /// Looks into the store for changes now, and returns when they count: what an administrative act on this process
    /// calls. A store that does not answer is logged, and what is in memory goes on counting.
    pub async fn refresh(&self) {
        self.0.directory.refresh().await;
    }
}

impl fmt::Debug for Tenancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenancy").field("directory", &self.0.directory).finish_non_exhaustive()
    }
}

/// What a journal finds is charged to shared budgets too, unless its process had settled it there.
fn charge_replayed(
    setup: &journal::Setup,
    shared: &Shared,
    directory: &Arc<Directory>,
    (tracker, stop): (&TaskTracker, &CancellationToken),
) -> journal::OnReplayed {
    let (sender, mut found) = mpsc::unbounded_channel::<ledger::Entry>();
    let (shared, directory) = (shared.clone(), Arc::clone(directory));
    let charge = async move {
        while let Some(entry) = found.recv().await {
            match directory.rules_of(&entry.team, &entry.key).await {
                Ok(Some((team, rules))) => shared.settle_replayed((team, &rules), &entry),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a call of a process that died is not charged to shared budgets"),
            }
        }
    };
    tracker.spawn(stop.clone().run_until_cancelled_owned(charge));
    let told = Arc::clone(&setup.on_replayed);
    Arc::new(move |entry| {
        told(entry);
        sender.send(entry.clone()).ok();
    })
}
