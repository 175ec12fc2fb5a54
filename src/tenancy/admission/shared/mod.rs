//! Limits and budgets shared by replicas, through a Redis or Valkey.
//!
//! One script admits a call: one round trip, all limits and budgets or none of them. What a call holds has a lease that
//! `keeper.rs` renews; a process that dies stops renewing, and what it held is free again after the lease. Calls settle
//! without waiting: the keeper sends what they used. The ledger is the truth about money: what was spent in a budget's
//! window is told to the shared store from there, whenever the store does not know, or may have forgotten.
//!
//! Every answer carries the generation: the moment since which the store has forgotten nothing. What was held under
//! another generation is charged by its row's time, so that it counts exactly once, whatever was lost.

mod accounts;
mod held;
mod keeper;
mod refusal;
mod script;
#[cfg(test)]
mod tests;

pub(super) use held::Held;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::accounts::{Accounts, Told};
use self::held::{Leaving, Open, Pending};
use self::script::{Booked, BudgetRow, LimitRow, Rates, Use, Verdict, Way};
use super::meter::Balance;
use super::refusal::{Refusal, Shortage};
use super::{Account, Gauge, Granted, Need, Refused, Rules, Standing, Worst};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::money::MicroUsd;
use crate::shared::SharedStore;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::tenancy::budget::{Budget, UnknownPrice};
use crate::tenancy::directory::Caller;
use crate::tenancy::ledger::Entry;
use crate::tenancy::limit::Limit;
use crate::tenancy::queries;
use crate::tenancy::team::Team;

/// Settlements that wait while the shared store is away.
const QUEUE: usize = 100_000;
/// A row of the ledger is written by then, at the latest: what is older can be summed up.
const BOOKED_BY: Duration = Duration::from_secs(30);
/// How often an admission is asked again at most: windows were unknown, or over.
const TRIES: u32 = 4;
/// How long the ledger may take to tell what was spent.
const LEDGER_PATIENCE: Duration = Duration::from_secs(5);
/// Locks for the seeding of windows: one process asks its ledger once for a budget, not once for each waiting call.
const SEEDING: usize = 64;
/// A window that was seeded so recently is not seeded again by who waited meanwhile.
const SEEDED_NOW: Duration = Duration::from_secs(1);

/// Admission through the shared store. A cheap clone.
#[derive(Clone, Debug)]
pub(in crate::tenancy) struct Shared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: SharedStore,
    ledger: Store,
    clock: Clock,
    metrics: Metrics,
    lease: Duration,
    on_failure: config::OnFailure,
    /// The generation, as far as this process knows; 0: not yet.
    since: AtomicI64,
    /// By how many milliseconds the server's clock is ahead of this process's.
    ahead: AtomicI64,
    /// The holds of running calls.
    live: Mutex<HashMap<String, Live>>,
    /// How the budgets stand, by the newest answer.
    accounts: Accounts,
    /// How often there was a connection; and when calls were last admitted without one.
    connections: AtomicU64,
    absence: AtomicU64,
    settlements: mpsc::Sender<Leaving>,
    /// The generation is another one.
    forgotten: Notify,
    /// Settlements found no room in the queue.
    overflow: AtomicBool,
    seeding: [tokio::sync::Mutex<HashMap<String, Seeded>>; SEEDING],
    hasher: RandomState,
}

/// A window that this process told of: its start, the generation, and when.
type Seeded = (Timestamp, i64, Instant);

/// What has to be known of a running call's hold to renew it, or to hold it again.
#[derive(Debug)]
struct Live {
    record: String,
    since: i64,
}

/// How the shared store is, for metrics and readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether it could be reached last.
    pub up: bool,
    /// Scripts and connections that failed since the start.
    pub errors: u64,
}

/// Why the shared store could not say.
#[derive(Debug)]
pub(super) struct Away(Error);

impl Away {
    /// What the caller is told where nothing is admitted then.
    pub(super) fn denied(self) -> Error {
        refusal::denied(self.0)
    }
}

impl Shared {
    /// Tries to connect, and spawns the keeper on `tracker`, which tries again whenever there is no connection. It ends
    /// with `stop`, after it has sent what was settled until then. Fails only when the URL cannot be one.
    pub(in crate::tenancy) async fn open(
        settings: &config::Shared,
        ledger: Store,
        (clock, metrics): (Clock, Metrics),
        (tracker, stop): (&TaskTracker, CancellationToken),
    ) -> Result<Self> {
        let (settlements, queue) = mpsc::channel(QUEUE);
        let shared = Self(Arc::new(Inner {
            shared: SharedStore::new(&settings.url, script::texts())?,
            ledger,
            clock,
            metrics,
            lease: Duration::from_secs(settings.lease_seconds),
            on_failure: settings.on_failure,
            since: AtomicI64::new(0),
            ahead: AtomicI64::new(0),
            live: Mutex::default(),
            accounts: Accounts::default(),
            connections: AtomicU64::new(0),
            absence: AtomicU64::new(u64::MAX),
            settlements,
            forgotten: Notify::new(),
            seeding: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            overflow: AtomicBool::new(false),
            hasher: RandomState::new(),
        }));
        let keeper = keeper::Keeper::new(shared.clone(), queue).begin().await;
        tracker.spawn(keeper.run(stop));
        Ok(shared)
    }

    /// How the store is.
    pub(in crate::tenancy) fn state(&self) -> State {
        State { up: self.0.shared.is_up(), errors: self.0.shared.errors() }
    }

    /// What admission does when the store cannot say.
    pub(super) fn on_failure(&self) -> config::OnFailure {
        self.0.on_failure
    }

    /// How those of `budgets` stand that calls of this process were admitted or settled by; of all others it is forgotten.
    pub(super) fn accounts(&self, budgets: &[Arc<Budget>]) -> Vec<Account> {
        self.0.accounts.of(budgets, self.server_time())
    }

    /// The calls of this process that hold something in the shared store.
    pub(super) fn open_calls(&self) -> u32 {
        u32::try_from(self.0.live.lock().unwrap_or_else(PoisonError::into_inner).len()).unwrap_or(u32::MAX)
    }

    /// Asks for the call under all of its limits and budgets. The outer error is that nobody could say, the inner one
    /// that it is refused. Without limits and budgets nobody is asked.
    pub(super) async fn admit(&self, caller: &Caller, need: &Need<'_>) -> Result<Result<Granted<Held>, Refused>, Away> {
        let limits: Vec<&Limit> = caller.rules.limits_of(need).map(|rule| &*rule.limit).collect();
        let budgets: Vec<Arc<Budget>> = budgets_of(&caller.rules);
        if limits.is_empty() && budgets.is_empty() {
            let output_tokens = need.demand.output.most();
            return Ok(Ok(Granted { output_tokens, standing: None, held: self.held(None) }));
        }
        if let Some(budget) = budgets.first()
            && need.demand.cost == Worst::Unknown
            && caller.team.unknown_price == UnknownPrice::Refuse
        {
            let error = Refusal { caller, need, shortage: Shortage::Price(budget) }.error();
            return Ok(Err(error.into()));
        }
        let limit_rows: Vec<LimitRow<'_>> = limits.iter().map(|limit| row(limit)).collect();
        for _ in 0..TRIES {
            let now = self.server_time();
            let budget_rows: Vec<BudgetRow<'_>> = budgets.iter().map(|budget| budget_row(budget, now)).collect();
            match self.ask(need, &limit_rows, &budget_rows).await? {
                (_, Verdict::Rolled) => {}
                (since, Verdict::Unseeded(places)) => {
                    for place in places {
                        if let Some(budget) = budgets.get(place).zip(budget_rows.get(place)) {
                            self.seed(since, budget.0, budget.1).await?;
                        }
                    }
                }
                (since, Verdict::Refused(refused)) => {
                    let balances = self.balances(caller, (&budgets, &budget_rows), (since, &refused.uses));
                    let shortage = refusal::shortage(&refused, &limits, (&budgets, &balances), need);
                    let error =
                        shortage.map_or_else(refusal::unasked, |shortage| Refusal { caller, need, shortage }.error());
                    return Ok(Err(Refused { error, standing: standing(&limits, &refused.rates) }));
                }
                (since, Verdict::Admitted { output, held, rates, uses }) => {
                    self.balances(caller, (&budgets, &budget_rows), (since, &uses));
                    let record = script::record(held, &limit_rows, &budget_rows);
                    self.remember(need.id, Live { record, since });
                    let reserved = need.demand.input_tokens.saturating_add(output);
                    let payer = Some(Arc::clone(&caller.team));
                    let open = Open { since, reserved, held, payer, ..Open::new(need.id, &limits, budgets) };
                    let standing = standing(&limits, &rates);
                    return Ok(Ok(Granted { output_tokens: output, standing, held: self.held(Some(open)) }));
                }
            }
        }
        Err(Away(Error::new(Kind::Unavailable, "The shared store forgets what it is told.")))
    }

    /// Holds `cost` from the caller's budgets, whatever is left of them. While the shared store is away, the keeper holds it
    /// as soon as it is back.
    pub(super) async fn hold_anyway(&self, caller: &Caller, id: &str, cost: MicroUsd) -> Held {
        let budgets = budgets_of(&caller.rules);
        if budgets.is_empty() {
            return self.held(None);
        }
        let inner = &self.0;
        let now = self.server_time();
        let rows: Vec<BudgetRow<'_>> = budgets.iter().map(|budget| budget_row(budget, now)).collect();
        let record = script::record(cost.0, &[], &rows);
        // From here on the keeper knows of it.
        self.remember(id, Live { record: record.clone(), since: 0 });
        let hold = [(id.to_owned(), record.clone())];
        let arguments = script::restore(inner.clock.by_hand(), inner.lease, &hold);
        let since = match inner.shared.run(script::RESTORE, script::EPOCH, &arguments).await.map(script::generation) {
            Ok(Ok(since)) => {
                self.remember(id, Live { record, since });
                since
            }
            Ok(Err(error)) | Err(error) => {
                tracing::debug!(%error, "a batch is held as soon as the shared store is back");
                0
            }
        };
        let payer = Some(Arc::clone(&caller.team));
        self.held(Some(Open { since, held: cost.0, payer, ..Open::new(id, &[], budgets) }))
    }

    /// Whether no call was admitted yet since the shared store is away. True once.
    pub(super) fn is_first_of_absence(&self) -> bool {
        let connections = self.0.connections.load(Ordering::Acquire);
        self.0.absence.swap(connections, Ordering::AcqRel) != connections
    }

    /// The hold of a call that was admitted without the shared store: what it costs is told there when it is back.
    pub(super) fn unheld(&self, caller: &Caller, need: &Need<'_>) -> Held {
        let budgets = budgets_of(&caller.rules);
        let payer = Some(Arc::clone(&caller.team));
        self.held((!budgets.is_empty()).then(|| Open { payer, ..Open::new(need.id, &[], budgets) }))
    }

    /// A journal has written the row of a call whose process died: charges it, unless it was settled before. Returns at
    /// once, and may be called more than once for an entry.
    pub(in crate::tenancy) fn settle_replayed(&self, (team, rules): (Arc<Team>, &Rules), entry: &Entry) {
        let open = Open { payer: Some(team), ..Open::new(&entry.id, &[], budgets_of(rules)) };
        let mut leaving = open.leaving(0, entry.cost.unwrap_or_default(), entry.at);
        leaving.settling.way = Way::Replayed;
        self.queue(leaving);
    }

    fn held(&self, open: Option<Open>) -> Held {
        Held::new(self.clone(), open)
    }

    /// How the budgets stand by the answer of the generation `since`, which is remembered.
    fn balances(
        &self,
        caller: &Caller,
        (budgets, rows): (&[Arc<Budget>], &[BudgetRow<'_>]),
        (since, uses): (i64, &[Use]),
    ) -> Vec<Balance> {
        let balance = |((budget, row), used): ((&Arc<Budget>, &BudgetRow<'_>), &Use)| {
            let told = Told { payer: Arc::clone(&caller.team), window: row.window, since, used: *used };
            self.0.accounts.learn(budget, told);
            let (spent, held) = (MicroUsd(used.spent), MicroUsd(used.held));
            Balance { limit: budget.limit, spent, held, window: row.window }
        };
        budgets.iter().zip(rows).zip(uses).map(balance).collect()
    }

    async fn ask(
        &self,
        need: &Need<'_>,
        limits: &[LimitRow<'_>],
        budgets: &[BudgetRow<'_>],
    ) -> Result<(i64, Verdict), Away> {
        let inner = &self.0;
        let hold = (need.id, inner.lease);
        let arguments = script::admit(inner.clock.by_hand(), hold, need.demand, limits, budgets);
        let pending = Pending::of(self, need.id);
        let answer = inner.shared.run(script::ADMIT, script::EPOCH, &arguments).await.map_err(Away)?;
        let (since, now, verdict) = script::verdict(answer, limits.len(), budgets.len()).map_err(Away)?;
        pending.answered();
        inner.ahead.store(now.millis() - inner.clock.now().millis(), Ordering::Relaxed);
        self.learn(since);
        Ok((since, verdict))
    }

    /// Tells the shared store what the ledger says was spent.
    async fn seed(&self, since: i64, budget: &Budget, row: &BudgetRow<'_>) -> Result<(), Away> {
        let inner = &self.0;
        let lock = usize::try_from(inner.hasher.hash_one(row.id) % SEEDING as u64).unwrap_or_default();
        let Some(lock) = inner.seeding.get(lock) else { return Ok(()) };
        let mut seeded = lock.lock().await;
        if let Some((start, under, at)) = seeded.get(row.id)
            && (*start, *under) == (row.window.start, since)
            && at.elapsed() < SEEDED_NOW
        {
            return Ok(()); // By who had the lock before.
        }
        let cutoff = Timestamp::from_millis(inner.clock.now().millis() - millis(BOOKED_BY));
        let read = queries::booked(&inner.ledger, &budget.subject, row.window, cutoff);
        let late = |_| Err(Error::new(Kind::Timeout, "The store did not answer in time."));
        let read = tokio::time::timeout(LEDGER_PATIENCE, read).await.unwrap_or_else(late);
        let (before, since_then) = read.map_err(Away)?;
        let booked =
            Booked { cutoff, before: before.0, since: since_then.into_iter().map(|(id, cost)| (id, cost.0)).collect() };
        let arguments = script::seed(inner.clock.by_hand(), since, row, &booked);
        inner.shared.run_all(script::SEED, script::EPOCH, &[arguments]).await.map_err(Away)?;
        seeded.insert(row.id.to_owned(), (row.window.start, since, Instant::now()));
        Ok(())
    }

    /// What time it is by the server.
    fn server_time(&self) -> Timestamp {
        let ahead = self.0.ahead.load(Ordering::Relaxed);
        Timestamp::from_millis(self.0.clock.now().millis().saturating_add(ahead))
    }

    /// An answer came from this generation.
    fn learn(&self, since: i64) {
        if self.0.since.swap(since, Ordering::AcqRel) != since {
            self.0.forgotten.notify_one();
        }
    }

    fn remember(&self, id: &str, live: Live) {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), live);
    }

    fn queue(&self, leaving: Leaving) {
        if self.0.settlements.try_send(leaving).is_err() {
            // Full after a long absence. The ledger has it, and the keeper begins a generation that is seeded from there.
            self.0.overflow.store(true, Ordering::Release);
        }
    }
}

fn budgets_of(rules: &Rules) -> Vec<Arc<Budget>> {
    rules.budgets.iter().map(|rule| Arc::clone(&rule.budget)).collect()
}

fn row(limit: &Limit) -> LimitRow<'_> {
    LimitRow {
        id: limit.id.as_str(),
        requests: limit.requests_per_minute,
        tokens: limit.tokens_per_minute,
        concurrent: limit.concurrent_requests.map(u64::from),
    }
}

fn budget_row(budget: &Budget, now: Timestamp) -> BudgetRow<'_> {
    BudgetRow { id: budget.id.as_str(), window: budget.period.window(now), limit: budget.limit.0 }
}

/// The limits with the fewest left.
fn standing(limits: &[&Limit], rates: &[Rates]) -> Option<Standing> {
    let nearest = |gauges: Vec<Gauge>| gauges.into_iter().min_by_key(|gauge| gauge.remaining);
    let gauge = |limit: Option<u64>, level: Option<script::Level>| {
        let (limit, level) = limit.zip(level)?;
        Some(Gauge { limit, remaining: level.remaining, reset: level.reset })
    };
    let both = || limits.iter().zip(rates);
    let standing = Standing {
        requests: nearest(both().filter_map(|(l, rate)| gauge(l.requests_per_minute, rate.requests)).collect()),
        tokens: nearest(both().filter_map(|(l, rate)| gauge(l.tokens_per_minute, rate.tokens)).collect()),
    };
    (standing != Standing::default()).then_some(standing)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
