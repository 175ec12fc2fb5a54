//! Several gateways at one shared store and one ledger, as `Tenancy` is used, over a wire that can be watched and cut.
//! Each test has a database of the server for itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{self, OnFailure};
use crate::error::Kind;
use crate::ids::{BudgetId, RequestId};
use crate::money::MicroUsd;
use crate::store::testing::{self, TestStore};
use crate::telemetry::Metrics;
use crate::tenancy::admin::{self, Actor, Precondition, SetBudget, SetLimit, Whose};
use crate::tenancy::ledger::{Entry, Outcome, UsageSource};
use crate::tenancy::{
    Caller, Demand, Hold, Need, NewKey, NewTeam, Options, Output, Refused, Scope, Tenancy, Used, Worst,
};

/// A store with one team and key, and a shared store with a database that is empty.
struct Site {
    store: TestStore,
    clock: Clock,
    text: String,
    key: String,
    redis: url::Url,
    raw: redis_wire::Raw,
    tracker: TaskTracker,
}

struct Replica {
    tenancy: Tenancy,
    caller: Caller,
    stop: CancellationToken,
}

mod redis_wire {
    //! As few words of the protocol as the tests need beside the gateway's own client.
    use super::*;

    pub(super) struct Raw(pub(super) SocketAddr, pub(super) String);

    impl Raw {
        pub(super) async fn flush(&self) {
            let mut socket = TcpStream::connect(self.0).await.unwrap();
            let say = format!("SELECT {}\r\nFLUSHDB\r\nQUIT\r\n", self.1);
            socket.write_all(say.as_bytes()).await.unwrap();
            let mut told = String::new();
            socket.read_to_string(&mut told).await.unwrap();
            assert_eq!(told.matches("+OK").count(), 3, "{told}");
        }
    }
}

impl Site {
    async fn new(database: u8) -> Option<Self> {
        let mut redis = url::Url::parse(&super::url()?).unwrap();
        redis.set_path(&database.to_string());
        let address = redis.socket_addrs(|| Some(6379)).unwrap()[0];
        let raw = redis_wire::Raw(address, database.to_string());
        raw.flush().await;
        let (store, clock) = (testing::sqlite().await, Clock::system());
        admin::create_team(&store, &clock, Actor::Gateway, NewTeam::new("acme")).await.unwrap();
        let (key, text) = admin::create_key(&store, &clock, Actor::Gateway, NewKey::new("acme", "ci")).await.unwrap();
        let (key, text) = (key.id.as_str().to_owned(), text.expose().to_owned());
        Some(Self { store, clock, text, key, redis, raw, tracker: TaskTracker::new() })
    }

    async fn limit(&self, requests: Option<u64>, tokens: Option<u64>, concurrent: Option<u32>) {
        let set = SetLimit {
            whose: Whose { team: None, key: Some(self.key.clone()) },
            model: None,
            requests_per_minute: requests,
            tokens_per_minute: tokens,
            concurrent_requests: concurrent,
        };
        admin::set_limit(&self.store, &self.clock, Actor::Gateway, &Precondition::Any, set).await.unwrap();
    }

    /// Sets the team's budget, and says its id.
    async fn budget(&self, limit: MicroUsd) -> BudgetId {
        let set = SetBudget {
            whose: Whose { team: Some("acme".to_owned()), key: None },
            period: "month".to_owned(),
            limit_usd: limit.to_string(),
        };
        let set = admin::set_budget(&self.store, &self.clock, Actor::Gateway, &Precondition::Any, set).await.unwrap();
        BudgetId::from(set.id.as_str())
    }

    async fn remove_budget(&self, id: BudgetId) {
        let which = (&id, &Precondition::Any);
        admin::remove_budget(&self.store, &self.clock, Actor::Gateway, which).await.unwrap();
    }

    async fn replica(&self, change: impl FnOnce(&mut config::Shared)) -> Replica {
        let mut shared = config::Shared { url: self.redis.to_string(), lease_seconds: 600, ..Default::default() };
        change(&mut shared);
        let (metrics, stop) = (Metrics::new().unwrap(), CancellationToken::new());
        let store = (*self.store).clone();
        let options = Options { shared, ..Options::new(metrics) };
        let tenancy = Tenancy::open(store, self.clock.clone(), options, &self.tracker, stop.clone()).await.unwrap();
        let caller = tenancy.authenticate(Some(&self.text), None).await.unwrap();
        Replica { tenancy, caller, stop }
    }

    async fn plain(&self) -> Replica {
        self.replica(|_| {}).await
    }
}

/// A call of 10 tokens in and 90 out, at a micro-dollar each.
const CALL: Demand = Demand {
    input_tokens: 10,
    output: Output::Asked(90),
    cost: Worst::Known { input_pico: 10_000_000, output_pico: 1_000_000 },
};

impl Replica {
    async fn ask(&self, id: &str) -> Result<Hold, Refused> {
        let need = Need { id, scope: Scope::Inference, model: Some("m"), names: &[], demand: CALL };
        self.tenancy.admit(&self.caller, &need).await
    }

    async fn admit(&self) -> Result<Hold, Refused> {
        self.ask(&Entry::fresh_id()).await
    }

    /// So many calls at once: those that are admitted.
    async fn admit_many(&self, calls: usize) -> Vec<Hold> {
        join_all((0..calls).map(|_| self.admit())).await.into_iter().flatten().collect()
    }

    /// Settles a call that cost so much, in the ledger and in the shared store.
    fn settle(&self, id: &str, hold: Hold, cost: i64, clock: &Clock) {
        let entry = entry(id, &self.caller, cost, clock);
        let at = entry.at;
        self.tenancy.record(entry);
        hold.settle(Used { tokens: 100, cost: Some(MicroUsd(cost)) }, at);
    }

    /// As the replay of a journal does with what it books.
    fn found_in_a_journal(&self, entry: &Entry) {
        self.tenancy
            .0
            .admission
            .desk
            .shared()
            .unwrap()
            .settle_replayed((Arc::clone(&self.caller.team), &self.caller.rules), entry);
    }

    /// Limit, spent and held of the budgets that metrics and administrators are shown.
    fn shows(&self) -> Vec<(i64, i64, i64)> {
        let accounts = self.tenancy.accounts();
        let balances = accounts.iter().map(|account| account.balance);
        balances.map(|balance| (balance.limit.0, balance.spent.0, balance.held.0)).collect()
    }

    /// What is spent and held of the budget, as the shared store says when it is asked for a call that is not made.
    async fn stands(&self) -> (i64, i64) {
        let id = Entry::fresh_id();
        let demand = Demand::NOTHING;
        let need = Need { id: &id, scope: Scope::Inference, model: Some("m"), names: &[], demand };
        drop(self.tenancy.admit(&self.caller, &need).await);
        let account = self.tenancy.accounts().remove(0);
        (account.balance.spent.0, account.balance.held.0)
    }
}

fn entry(id: &str, caller: &Caller, cost: i64, clock: &Clock) -> Entry {
    Entry {
        id: id.to_owned(),
        request_id: RequestId::from("req_1"),
        at: clock.now(),
        team: caller.team.id.clone(),
        key: caller.key.id.clone(),
        surface: "openai".into(),
        operation: "chat".into(),
        model: "m".into(),
        region: None,
        input_tokens: 10,
        output_tokens: 90,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        cost: Some(MicroUsd(cost)),
        tier: "default".into(),
        latency_ms: 1,
        ttft_ms: None,
        attempts: 1,
        status: 200,
        outcome: Outcome::OK,
        usage_source: UsageSource::Final,
        streamed: false,
        end_user: None,
    }
}

/// Asks again and again until it is so.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn limits_hold_for_all_replicas_together() {
    let Some(site) = Site::new(1).await else { return };
    site.limit(Some(20), None, None).await;
    let replicas = [site.plain().await, site.plain().await, site.plain().await];
    let admitted = join_all(replicas.iter().map(|replica| replica.admit_many(15))).await;
    assert_eq!(admitted.iter().map(Vec::len).sum::<usize>(), 20);
    let refused = replicas[0].admit().await.unwrap_err();
    assert_eq!((refused.error.kind(), refused.error.refused_by()), (Kind::RateLimited, Some("requests_per_minute")));
    let wait = refused.error.wait().unwrap();
    assert!(wait <= Duration::from_secs(3), "a request comes back every three seconds: {wait:?}");
    let gauge = refused.standing.unwrap().requests.unwrap();
    assert_eq!((gauge.limit, gauge.remaining), (20, 0));
}

#[tokio::test]
async fn tokens_and_open_calls_are_counted_once_for_all_replicas_and_given_back() {
    let Some(site) = Site::new(2).await else { return };
    site.limit(None, Some(100_000), Some(3)).await;
    let (one, two) = (site.plain().await, site.plain().await);
    let mut holds = one.admit_many(2).await;
    holds.extend(two.admit_many(2).await);
    assert_eq!(holds.len(), 3, "three calls may be open");
    let refused = two.admit().await.unwrap_err();
    assert_eq!(refused.error.refused_by(), Some("concurrent_requests"));
    let left = refused.standing.unwrap().tokens.unwrap().remaining;
    assert!((99_700..99_800).contains(&left), "three calls of a hundred tokens: {left}");
    let used = Used { tokens: 10, cost: None };
    holds.remove(0).settle(used, site.clock.now());
    let hold = until("a call has ended", async || two.admit().await.ok()).await;
    let left = hold.standing().unwrap().tokens.unwrap().remaining;
    assert!((99_690..99_900).contains(&left), "and 90 of its tokens are back: {left}");
    drop(hold);
}

#[tokio::test]
async fn five_hundred_calls_at_two_replicas_never_hold_more_than_the_budget() {
    let Some(site) = Site::new(3).await else { return };
    site.budget(MicroUsd(100 * 100 + 99)).await;
    let (one, two) = (site.plain().await, site.plain().await);
    let (first, second) = tokio::join!(one.admit_many(250), two.admit_many(250));
    assert_eq!(first.len() + second.len(), 100);
    let refused = one.admit().await.unwrap_err();
    assert_eq!(refused.error.kind(), Kind::BudgetExhausted);
    assert!(refused.error.message().contains("0.010000 are held"), "{}", refused.error.message());
    drop((first, second));
    until("all is given back", async || (one.stands().await == (0, 0)).then_some(())).await;
}

#[tokio::test]
async fn what_a_dead_replica_held_is_free_after_its_lease_and_its_journal_charges_once() {
    let Some(site) = Site::new(4).await else { return };
    site.limit(None, None, Some(1)).await;
    site.budget(MicroUsd(1000)).await;
    let lease = |shared: &mut config::Shared| shared.lease_seconds = 1;
    let (dead, alive) = (site.replica(lease).await, site.replica(lease).await);
    let hold = dead.ask("call_dead").await.unwrap();
    // Longer than the lease, which is renewed.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        let refused = alive.admit().await.unwrap_err();
        assert_eq!(refused.error.refused_by(), Some("concurrent_requests"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    dead.stop.cancel();
    std::mem::forget(hold);
    let next = until("the lease is over", async || alive.admit().await.ok()).await;
    drop(next);
    until("nothing is held", async || (alive.stands().await == (0, 0)).then_some(())).await;
    let row = entry("call_dead", &alive.caller, 70, &site.clock);
    alive.tenancy.record(row.clone());
    alive.tenancy.flush().await;
    alive.found_in_a_journal(&row);
    alive.found_in_a_journal(&row);
    until("the journal charges", async || (alive.stands().await.0 > 0).then_some(())).await;
    let hold = until("there is room", async || alive.ask("call_last").await.ok()).await;
    alive.settle("call_last", hold, 1, &site.clock);
    until("all is charged", async || (alive.stands().await == (71, 0)).then_some(())).await;
    // What was settled by its process is not charged by a journal.
    alive.found_in_a_journal(&entry("call_last", &alive.caller, 500, &site.clock));
    let hold = until("there is room", async || alive.ask("call_more").await.ok()).await;
    alive.settle("call_more", hold, 2, &site.clock);
    until("all is charged", async || (alive.stands().await == (73, 0)).then_some(())).await;
}

#[tokio::test]
async fn a_store_that_forgot_everything_is_told_by_the_ledger_what_was_spent() {
    let Some(site) = Site::new(5).await else { return };
    site.budget(MicroUsd(1000)).await;
    let lease = |shared: &mut config::Shared| shared.lease_seconds = 6;
    let (one, two) = (site.replica(lease).await, site.replica(lease).await);
    // Booked long ago, just now, settled when it was forgotten, and running meanwhile: each has to count once.
    let mut old = entry("call_old", &one.caller, 5, &site.clock);
    old.at = crate::clock::Timestamp::from_millis(old.at.millis() - 40_000);
    one.tenancy.record(old);
    one.tenancy.flush().await;
    let settled = one.ask("call_settled").await.unwrap();
    let running = one.ask("call_running").await.unwrap();
    let other = two.ask("call_other").await.unwrap();
    one.settle("call_settled", settled, 20, &site.clock);
    one.tenancy.flush().await;
    until("it is charged", async || (two.stands().await == (25, 200)).then_some(())).await;
    site.raw.flush().await;
    assert_eq!(two.stands().await.0, 25, "seeded from the ledger");
    until("running calls are held again", async || (two.stands().await == (25, 200)).then_some(())).await;
    one.settle("call_running", running, 30, &site.clock);
    two.settle("call_other", other, 40, &site.clock);
    until("both are charged", async || (two.stands().await == (95, 0)).then_some(())).await;
    // And again, when all is in the ledger and nothing runs.
    one.tenancy.flush().await;
    two.tenancy.flush().await;
    site.raw.flush().await;
    assert_eq!(one.stands().await, (95, 0));
    assert_eq!(two.stands().await, (95, 0));
}

#[tokio::test]
async fn what_budgets_show_is_what_the_store_has_without_another_call() {
    let Some(site) = Site::new(10).await else { return };
    site.budget(MicroUsd(1000)).await;
    let mut one = site.plain().await;
    assert!(one.shows().is_empty(), "no call was made");
    let hold = one.ask("call_1").await.unwrap();
    assert_eq!(one.shows(), [(1000, 0, 100)]);
    one.settle("call_1", hold, 70, &site.clock);
    until("the settlement is answered", async || (one.shows() == [(1000, 70, 0)]).then_some(())).await;
    let id = site.budget(MicroUsd(500)).await;
    one.tenancy.refresh().await;
    assert_eq!(one.shows(), [(500, 70, 0)], "the limit is the administrator's");
    let two = site.plain().await;
    let (first, second) = (one.ask("call_2").await.unwrap(), two.ask("call_3").await.unwrap());
    assert_eq!((one.shows(), two.shows()), (vec![(500, 70, 100)], vec![(500, 70, 200)]));
    two.settle("call_3", second, 5, &site.clock);
    until("the settlement is answered", async || (two.shows() == [(500, 75, 100)]).then_some(())).await;
    one.settle("call_2", first, 6, &site.clock);
    until("both are in it", async || (one.shows() == [(500, 81, 0)]).then_some(())).await;
    site.remove_budget(id).await;
    one.tenancy.refresh().await;
    one.caller = one.tenancy.authenticate(Some(&site.text), None).await.unwrap();
    assert!(one.shows().is_empty(), "what is removed is not shown");
}

/// A wire to the shared store that counts commands, and can be cut.
struct Wire {
    address: SocketAddr,
    commands: Arc<AtomicUsize>,
    connections: Arc<AtomicU32>,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Bytes stay where they are.
    Silent,
    /// Nobody listens, and what was open is closed.
    Cut,
}

impl Wire {
    async fn to(server: SocketAddr, tracker: &TaskTracker) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (state, commands, connections) = (watch::Sender::new(State::Open), Arc::default(), Arc::default());
        let wire = Self { address: listener.local_addr().unwrap(), commands, connections, state };
        let (state, commands) = (wire.state.subscribe(), Arc::clone(&wire.commands));
        let (connections, inner) = (Arc::clone(&wire.connections), tracker.clone());
        tracker.spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if *state.borrow() == State::Cut {
                    continue;
                }
                connections.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(server).await.unwrap();
                inner.spawn(carry(client, server, state.clone(), Arc::clone(&commands)));
            }
        });
        wire
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    mut state: watch::Receiver<State>,
    commands: Arc<AtomicUsize>,
) {
    let (mut up, mut down) = ([0; 4096], [0; 4096]);
    loop {
        let now = *state.borrow_and_update();
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            read = client.read(&mut up), if now == State::Open => {
                let Ok(read @ 1..) = read else { return };
                let text = String::from_utf8_lossy(&up[..read]);
                commands.fetch_add(text.matches("\r\nEVALSHA\r\n").count(), Ordering::SeqCst);
                server.write_all(&up[..read]).await.unwrap();
            }
            read = server.read(&mut down), if now == State::Open => {
                let Ok(read @ 1..) = read else { return };
                if client.write_all(&down[..read]).await.is_err() { return }
            }
        }
        if *state.borrow() == State::Cut {
            return;
        }
    }
}

#[tokio::test]
async fn an_admission_is_one_command_and_a_settlement_another_one() {
    let Some(mut site) = Site::new(6).await else { return };
    site.limit(Some(1000), Some(1_000_000), Some(100)).await;
    site.budget(MicroUsd(1_000_000)).await;
    let wire = Wire::to(site.raw.0, &site.tracker).await;
    site.redis.set_host(Some("127.0.0.1")).unwrap();
    site.redis.set_port(Some(wire.address.port())).unwrap();
    let one = site.plain().await;
    drop(one.admit().await.unwrap()); // It seeds the budget.
    until("all is given back", async || (one.stands().await == (0, 0)).then_some(())).await;
    let settled = |wire: &Wire| wire.commands.load(Ordering::SeqCst);
    // The keeper may be about to send the last settlements of nothing.
    let mut before = settled(&wire);
    until("nothing more is sent", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = settled(&wire);
        (std::mem::replace(&mut before, now) == now).then_some(())
    })
    .await;
    for calls in 1..=20 {
        std::mem::forget(one.admit().await.unwrap());
        assert_eq!(settled(&wire) - before, calls, "one command for each admission");
    }
    assert_eq!(wire.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_store_that_is_away_refuses_or_allows_at_once_and_is_found_again() {
    let Some(mut site) = Site::new(7).await else { return };
    site.limit(Some(1_000_000), None, Some(2)).await;
    site.budget(MicroUsd(1_000_000)).await;
    let direct = site.plain().await;
    let wire = Wire::to(site.raw.0, &site.tracker).await;
    site.redis.set_host(Some("127.0.0.1")).unwrap();
    site.redis.set_port(Some(wire.address.port())).unwrap();
    let denying = site.plain().await;
    let allowing = site.replica(|shared| shared.on_failure = OnFailure::Allow).await;
    let mut spent = 0;
    for state in [State::Cut, State::Silent] {
        drop((denying.admit().await.unwrap(), allowing.admit().await.unwrap()));
        wire.state.send_replace(state);
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let began = Instant::now();
            let refused = denying.admit().await.unwrap_err();
            slowest = slowest.max(began.elapsed());
            let error = refused.error;
            assert_eq!((error.kind(), error.refused_by()), (Kind::Unavailable, Some("shared")));
            assert_eq!(error.wait(), Some(Duration::from_secs(1)));
        }
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        assert!(!denying.tenancy.shared_state().unwrap().up);
        // This process alone: its own limit counts, from nothing.
        let id = Entry::fresh_id();
        let (one, two) = (allowing.ask(&id).await.unwrap(), allowing.admit().await.unwrap());
        assert_eq!(allowing.admit().await.unwrap_err().error.refused_by(), Some("concurrent_requests"));
        allowing.settle(&id, one, 70, &site.clock);
        drop(two);
        spent += 70;
        wire.state.send_replace(State::Open);
        until("it is back", async || denying.admit().await.ok().map(drop)).await;
        until("it is back", async || allowing.tenancy.shared_state().unwrap().up.then_some(())).await;
        let told = async || (direct.stands().await == (spent, 0)).then_some(());
        until("what was admitted meanwhile is charged", told).await;
    }
    assert!(denying.tenancy.shared_state().unwrap().errors >= 2);
}

#[tokio::test]
async fn a_batch_that_is_taken_over_is_held_again_for_all() {
    let Some(site) = Site::new(9).await else { return };
    site.budget(MicroUsd(250)).await;
    let (first, second) = (site.plain().await, site.plain().await);
    let held = first.tenancy.hold_anyway(&first.caller, "batch_1.1", MicroUsd(500)).await.unwrap();
    assert_eq!(second.ask("call_a").await.unwrap_err().error.kind(), Kind::BudgetExhausted);
    let rest = first.tenancy.hold_anyway(&first.caller, "batch_1.2", MicroUsd(150)).await.unwrap();
    drop(held);
    // What is given back is told behind.
    let mut call = second.admit().await;
    while call.is_err() {
        tokio::task::yield_now().await;
        call = second.admit().await;
    }
    assert!(second.ask("call_b").await.is_err());
    drop((rest, call));
}
