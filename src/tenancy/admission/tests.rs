//! Limits and budgets, against a model that does everything the long way, and what callers are told.

use std::sync::LazyLock;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::meter::Purse;
use super::*;
use crate::clock::Timestamp;
use crate::ids::{BudgetId, KeyId, LimitId, RequestId};
use crate::store::testing;
use crate::tenancy::admin::{self, Actor, Precondition, SetBudget, Whose};
use crate::tenancy::ledger::{Entry, Outcome, UsageSource};
use crate::tenancy::{Limit, NewKey, NewTeam, Options, Period, Subject, Tenancy, UnknownPrice};

/// Half a minute before midnight.
const START: Timestamp = Timestamp::from_millis(1_700_006_400_000 - 30_000);
const HAIKU: &str = "anthropic.claude-haiku";
const NOVA: &str = "amazon.nova";

/// Somebody of the team `acme` with the key `ci`, whom nothing limits.
static CALLER: LazyLock<Caller> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let caller = async {
        let (store, clock) = (testing::sqlite().await, Clock::manual(START));
        admin::create_team(&store, &clock, Actor::Gateway, NewTeam::new("acme")).await.unwrap();
        let (_, text) = admin::create_key(&store, &clock, Actor::Gateway, NewKey::new("acme", "ci")).await.unwrap();
        let (metrics, tracker, stop) = (Metrics::new().unwrap(), TaskTracker::new(), CancellationToken::new());
        let tenancy = Tenancy::open(store.clone(), clock, Options::new(metrics), &tracker, stop.clone()).await.unwrap();
        let caller = tenancy.authenticate(Some(text.expose()), None).await.unwrap();
        stop.cancel();
        tracker.close();
        tracker.wait().await;
        caller
    };
    std::thread::spawn(move || runtime.block_on(caller)).join().unwrap()
});

fn key() -> Subject {
    Subject::Key(CALLER.key.id.clone())
}

fn team() -> Subject {
    Subject::Team(CALLER.team.id.clone())
}

fn limit(id: &str, subject: Subject) -> Limit {
    Limit {
        id: LimitId::from(id),
        subject,
        model: None,
        requests_per_minute: None,
        tokens_per_minute: None,
        concurrent_requests: None,
        created_at: START,
        updated_at: START,
        removed_at: None,
        version: 1,
    }
}

fn budget(id: &str, subject: Subject, period: Period, limit: i64) -> Budget {
    Budget {
        id: BudgetId::from(id),
        subject,
        period,
        limit: MicroUsd(limit),
        created_at: START,
        updated_at: START,
        removed_at: None,
        version: 1,
    }
}

/// The same caller with other rules.
fn counted(caller: &Caller, rules: Rules) -> Caller {
    Caller::new(Arc::clone(&caller.team), Arc::clone(&caller.key), rules, Arc::clone(&caller.activity))
}

/// A caller with these limits and budgets, of which nothing was spent before.
fn caller(book: &RuleBook, limits: &[Limit], budgets: &[Budget], now: Timestamp) -> Caller {
    let caller = counted(&CALLER, book.rules(limits, budgets));
    for rule in &*caller.rules.budgets {
        let nothing = (rule.budget.period.window(now), MicroUsd::default());
        rule.meter.lock().get_or_insert_with(|| Purse::of(&rule.budget, &caller.team, nothing));
    }
    caller
}

fn need(model: &'static str, demand: Demand) -> Need<'static> {
    Need { id: "call_1", scope: Scope::Inference, model: Some(model), names: &[], demand }
}

fn asks(input_tokens: u64, output: u64) -> Demand {
    Demand { input_tokens, output: Output::Asked(output), cost: Worst::Free }
}

fn costs(micros: u64) -> Demand {
    let cost = Worst::Known { input_pico: u128::from(micros) * 1_000_000, output_pico: 0 };
    Demand { input_tokens: 1, output: Output::Asked(1), cost }
}

fn used(tokens: u64, cost: i64) -> Used {
    Used { tokens, cost: Some(MicroUsd(cost)) }
}

fn book() -> RuleBook {
    RuleBook::new(Clock::manual(START))
}

/// One limit on the key.
fn limited(of: impl FnOnce(&mut Limit)) -> Caller {
    let mut limit = limit("limit_1", key());
    of(&mut limit);
    caller(&book(), &[limit], &[], START)
}

fn refused(caller: &Caller, demand: Demand) -> Error {
    local::admit(caller, &need(HAIKU, demand), START).unwrap_err().error
}

fn admitted(caller: &Caller, demand: Demand) -> Granted<local::Held> {
    local::admit(caller, &need(HAIKU, demand), START).unwrap()
}

/// Kind, reason, wait in milliseconds, AWS's exception.
type Told = (Kind, Option<&'static str>, Option<u128>, Option<(&'static str, u16)>);

fn told(error: &Error) -> Told {
    let exception = error.aws().map(|exception| (exception.name, exception.status));
    (error.kind(), error.refused_by(), error.wait().map(|wait| wait.as_millis()), exception)
}

const QUOTA: Option<(&str, u16)> = Some(("ServiceQuotaExceededException", 400));

#[test]
fn who_makes_too_many_requests_is_told_the_limit_and_when_to_come_back() {
    let caller = limited(|limit| limit.requests_per_minute = Some(2));
    let _open = [admitted(&caller, asks(0, 0)), admitted(&caller, asks(0, 0))];
    let error = refused(&caller, asks(0, 0));
    assert_eq!(told(&error), (Kind::RateLimited, Some("requests_per_minute"), Some(30_000), None));
    assert_eq!(
        error.message(),
        "Limit reached: the key `ci` may make 2 requests per minute; 2 are used. Try again in 30 s."
    );
}

#[test]
fn who_uses_too_many_tokens_is_told_what_is_used_and_what_the_call_needs() {
    let caller = limited(|limit| {
        limit.tokens_per_minute = Some(6000);
        limit.model = Some("anthropic.*".into());
    });
    let _open = admitted(&caller, asks(1000, 4000));
    let error = refused(&caller, asks(1000, 500));
    assert_eq!(told(&error), (Kind::RateLimited, Some("tokens_per_minute"), Some(5000), None));
    assert_eq!(
        error.message(),
        "Limit reached: the key `ci` may use 6000 tokens per minute on `anthropic.*`; 5000 are used or held for open \
         calls, and this call needs 1500 at least, 500 of them for its answer. Try again in 5 s."
    );
    assert!(local::admit(&caller, &need(NOVA, asks(9000, 9000)), START).is_ok(), "not on that model");
    assert!(local::admit(&caller, &need(HAIKU, asks(0, 0)), START).is_ok(), "no tokens, no limit");
}

#[test]
fn what_can_never_pass_is_not_to_be_tried_again() {
    let caller = limited(|limit| limit.tokens_per_minute = Some(1000));
    let error = refused(&caller, asks(900, 101));
    assert_eq!(told(&error), (Kind::RateLimited, Some("tokens_per_minute"), None, QUOTA));
    assert!(error.message().ends_with("Waiting does not help. Shorten the input, or ask for a shorter answer."));
    let nothing: [fn(&mut Limit); 3] = [
        |limit| limit.requests_per_minute = Some(0),
        |limit| limit.tokens_per_minute = Some(0),
        |limit| limit.concurrent_requests = Some(0),
    ];
    for none in nothing {
        let error = refused(&limited(none), asks(1, 0));
        assert_eq!((error.kind(), error.wait(), told(&error).3), (Kind::RateLimited, None, QUOTA), "{error}");
    }
}

#[test]
fn only_so_many_calls_are_open_at_once() {
    let caller = limited(|limit| limit.concurrent_requests = Some(1));
    let open = admitted(&caller, asks(1, 1));
    let error = refused(&caller, asks(1, 1));
    assert_eq!(told(&error), (Kind::RateLimited, Some("concurrent_requests"), Some(1000), None));
    assert!(error.message().contains("may have 1 request open at the same time; 1 are open"), "{error}");
    let mut held = open.held;
    held.settle(Used::default(), START);
    held.settle(Used::default(), START);
    let _open = admitted(&caller, asks(1, 1));
    refused(&caller, asks(1, 1));
}

#[test]
fn who_has_spent_the_budget_is_told_whose_and_when_it_begins_anew() {
    let caller = caller(&book(), &[], &[budget("budget_1", team(), Period::Day, 100)], START);
    let mut held = admitted(&caller, costs(60)).held;
    held.settle(used(2, 55), START);
    let _open = admitted(&caller, costs(40));
    let error = refused(&caller, costs(6));
    assert_eq!(told(&error), (Kind::BudgetExhausted, Some("budget"), None, QUOTA));
    assert_eq!(
        error.message(),
        "Budget exhausted: of the 0.000100 USD of the daily budget of the team `acme`, 0.000055 are spent and 0.000040 \
         are held for open calls; this call may cost 0.000006. It begins anew at 2023-11-15T00:00:00Z."
    );
    admitted(&caller, costs(5));
    admitted(&caller, asks(1, 1));
}

#[test]
fn a_call_is_held_by_all_that_count_it_or_by_none() {
    let plenty = Limit { requests_per_minute: Some(10), tokens_per_minute: Some(10_000), ..limit("limit_1", team()) };
    let few = Limit { concurrent_requests: Some(1), ..limit("limit_2", key()) };
    let caller = caller(&book(), &[few, plenty], &[budget("budget_1", key(), Period::Total, 100)], START);
    let _open = admitted(&caller, costs(10));
    let standing = local::admit(&caller, &need(HAIKU, costs(10)), START).unwrap_err().standing.unwrap();
    assert_eq!(standing.requests.unwrap().remaining, 9);
    assert_eq!(standing.tokens.unwrap(), Gauge { limit: 10_000, remaining: 9998, reset: Duration::from_millis(12) });
    assert_eq!(caller.rules.budgets[0].lock(START).as_ref().unwrap().balance().held, MicroUsd(10));
}

#[test]
fn an_answer_whose_length_nobody_asked_for_is_capped_to_what_is_left() {
    let open = |input_tokens, micros_per_token: u64| Demand {
        input_tokens,
        output: Output::Open { most: 8192 },
        cost: Worst::Known { input_pico: 0, output_pico: micros_per_token * 1_000_000 },
    };
    let tokens = Limit { tokens_per_minute: Some(6000), ..limit("limit_1", key()) };
    let caller = caller(&book(), &[tokens], &[budget("budget_1", key(), Period::Day, 7000)], START);
    let mut first = admitted(&caller, open(1000, 2));
    assert_eq!(first.output_tokens, 3500, "the budget is tighter");
    first.held.settle(used(2000, 1000), START);
    assert_eq!(admitted(&caller, open(1500, 1)).output_tokens, 2500, "the bucket is tighter");
    let error = refused(&caller, open(0, 1));
    assert_eq!((error.refused_by(), error.wait().unwrap().as_millis()), (Some("tokens_per_minute"), 10_240));
}

#[test]
fn a_price_that_is_not_known_is_refused_or_let_through_as_the_team_has_it() {
    let demand = Demand { cost: Worst::Unknown, ..asks(1, 1) };
    let of = |limit| caller(&book(), &[], &[budget("budget_1", team(), Period::Month, limit)], START);
    let caller = of(100);
    let error = refused(&caller, demand);
    assert_eq!(told(&error).0, Kind::Forbidden);
    assert_eq!((error.refused_by(), error.aws().unwrap().name), (Some("budget"), "AccessDeniedException"));
    assert!(
        error.message().contains("The price of `anthropic.claude-haiku`") && error.message().contains("the monthly")
    );

    let team = Arc::new(Team { unknown_price: UnknownPrice::AllowUnpriced, ..(*caller.team).clone() });
    let (key, activity) = (Arc::clone(&caller.key), Arc::clone(&caller.activity));
    let caller = Caller::new(team, key, caller.rules.clone(), activity);
    admitted(&caller, demand).held.settle(Used { tokens: 2, cost: None }, START);
    assert_eq!(caller.rules.budgets[0].lock(START).as_ref().unwrap().balance().spent, MicroUsd(0));
    let caller = counted(&caller, of(0).rules.clone());
    assert_eq!(refused(&caller, demand).kind(), Kind::BudgetExhausted, "nothing is left to pay it with");
    assert!(local::admit(&CALLER, &need(HAIKU, demand), START).is_ok(), "no budget, no question");
}

#[test]
fn what_cost_more_than_was_held_is_counted_whole() {
    let caller = caller(&book(), &[], &[budget("budget_1", team(), Period::Day, 100)], START);
    let settled = admitted(&caller, costs(90)).held.settle(used(2, 130), START);
    assert!(settled.is_overrun);
    assert_eq!(settled.thresholds.iter().map(|(_, percent, _)| *percent).collect::<Vec<_>>(), [50, 80, 100]);
    let balance = caller.rules.budgets[0].lock(START).as_ref().unwrap().balance();
    assert_eq!((balance.spent, balance.held, balance.unspent()), (MicroUsd(130), MicroUsd(0), MicroUsd(-30)));
    assert_eq!(refused(&caller, costs(1)).kind(), Kind::BudgetExhausted);
}

#[test]
fn a_threshold_is_told_once_in_a_window_and_again_when_it_is_reached_again() {
    let (book, start) = (book(), START);
    let of = |limit, version| {
        caller(&book, &[], &[Budget { version, ..budget("budget_1", team(), Period::Day, limit) }], start)
    };
    let spend = |caller: &Caller, cost, at| {
        let mut held = local::admit(caller, &need(HAIKU, costs(1)), at).unwrap().held;
        held.settle(used(1, cost), at).thresholds.iter().map(|(_, percent, _)| *percent).collect::<Vec<_>>()
    };
    let caller = of(100, 1);
    assert_eq!(
        (spend(&caller, 49, start), spend(&caller, 1, start), spend(&caller, 1, start)),
        (vec![], vec![50], vec![])
    );
    let caller = of(200, 2);
    assert_eq!((spend(&caller, 1, start), spend(&caller, 48, start)), (vec![], vec![50]), "a larger one");
    let tomorrow = start.plus(Duration::from_mins(1));
    assert_eq!((spend(&caller, 100, tomorrow), spend(&caller, 60, tomorrow)), (vec![50], vec![80]));
}

#[test]
fn what_is_settled_for_yesterday_is_not_spent_today() {
    let caller = caller(&book(), &[], &[budget("budget_1", team(), Period::Day, 100)], START);
    let (mut early, mut late) = (admitted(&caller, costs(30)).held, admitted(&caller, costs(30)).held);
    let tomorrow = START.plus(Duration::from_mins(1));
    let balance = || caller.rules.budgets[0].lock(tomorrow).as_ref().unwrap().balance();
    assert_eq!((balance().spent, balance().held), (MicroUsd(0), MicroUsd(60)), "what is open stays held");
    early.settle(used(1, 20), START);
    assert_eq!((balance().spent, balance().held), (MicroUsd(0), MicroUsd(30)));
    late.settle(used(1, 20), tomorrow);
    assert_eq!((balance().spent, balance().held), (MicroUsd(20), MicroUsd(0)));
}

#[test]
fn absurd_numbers_neither_pass_nor_overflow() {
    let most = u64::MAX;
    let tokens = Limit { tokens_per_minute: Some(most), ..limit("limit_1", key()) };
    let caller = caller(&book(), &[tokens], &[budget("budget_1", key(), Period::Total, i64::MAX)], START);
    let dear = Worst::Known { input_pico: u128::MAX, output_pico: most };
    for output in [Output::Asked(most), Output::Open { most }] {
        let error = refused(&caller, Demand { input_tokens: most, output, cost: dear });
        assert_eq!(error.kind(), Kind::BudgetExhausted, "{error}");
    }
    let cheap = Worst::Known { input_pico: 0, output_pico: 1 };
    let mut granted = admitted(&caller, Demand { input_tokens: 0, output: Output::Open { most }, cost: cheap });
    assert_eq!(granted.output_tokens, most);
    granted.held.settle(used(most, i64::MAX), START);
    caller.rules.budgets[0].lock(START).as_mut().unwrap().settle(MicroUsd(0), MicroUsd(i64::MAX), START).for_each(drop);
    assert_eq!(refused(&caller, costs(1)).kind(), Kind::BudgetExhausted);
}

#[test]
fn a_book_forgets_what_nobody_is_counted_by() {
    let book = book();
    let many: Vec<Limit> = (0..3000).map(|n| limit(&format!("limit_{n}"), key())).collect();
    drop(book.rules(&many, [] as [Budget; 0]));
    let kept = book.rules(&many[..1], [] as [Budget; 0]);
    for n in 0..6000 {
        drop(book.rules([limit(&format!("other_{n}"), key())], [] as [Budget; 0]));
    }
    assert!(book.size() < 4000, "{}", book.size());
    assert!(Arc::ptr_eq(&kept.limits[0].meter, &book.rules(&many[..1], [] as [Budget; 0]).limits[0].meter));
}

/// A serving process on a store with the team `acme` and a key of its own.
struct Served {
    store: testing::TestStore,
    clock: Clock,
    tenancy: Tenancy,
    caller: Caller,
    _stop: tokio_util::sync::DropGuard,
}

impl Served {
    /// With a daily budget of a dollar for the key, and what was spent before.
    async fn on(store: testing::TestStore, before: impl FnOnce(&Caller) -> Vec<Entry>) -> Self {
        let clock = Clock::manual(START);
        admin::create_team(&store, &clock, Actor::Gateway, NewTeam::new("acme")).await.unwrap();
        let (key, text) = admin::create_key(&store, &clock, Actor::Gateway, NewKey::new("acme", "ci")).await.unwrap();
        let whose = Whose { team: None, key: Some(key.id.to_string()) };
        let set = SetBudget { whose, period: "day".into(), limit_usd: "1".into() };
        admin::set_budget(&store, &clock, Actor::Gateway, &Precondition::Any, set).await.unwrap();
        let (metrics, tracker, stop) = (Metrics::new().unwrap(), TaskTracker::new(), CancellationToken::new());
        let tenancy =
            Tenancy::open(store.clone(), clock.clone(), Options::new(metrics), &tracker, stop.clone()).await.unwrap();
        let caller = tenancy.authenticate(Some(text.expose()), None).await.unwrap();
        for entry in before(&caller) {
            tenancy.record(entry);
        }
        Self { store, clock, tenancy, caller, _stop: stop.drop_guard() }
    }

    async fn admit(&self, micros: u64) -> Result<Hold, Refused> {
        self.tenancy.admit(&self.caller, &need(HAIKU, costs(micros))).await
    }

    fn spent(&self) -> MicroUsd {
        self.tenancy.accounts()[0].balance.spent
    }
}

fn entry(id: &str, caller: &Caller, at: Timestamp, cost: Option<i64>) -> Entry {
    Entry {
        id: id.into(),
        request_id: RequestId::from("req_1"),
        at,
        team: caller.team.id.clone(),
        key: caller.key.id.clone(),
        surface: "openai".into(),
        operation: "chat".into(),
        model: HAIKU.into(),
        region: None,
        input_tokens: 1,
        output_tokens: 1,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        cost: cost.map(MicroUsd),
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

#[tokio::test]
async fn a_budget_begins_with_what_the_ledger_has_and_what_is_still_on_its_way_there() {
    for store in testing::stores().await {
        let yesterday = Timestamp::from_millis(START.millis() - 86_400_000);
        let before = |caller: &Caller| {
            let somebody_else = Entry { key: KeyId::from("other"), ..entry("call_4", caller, START, Some(7)) };
            vec![
                entry("call_1", caller, START, Some(300_000)),
                entry("call_2", caller, START, None),
                entry("call_3", caller, yesterday, Some(5)),
                somebody_else,
                entry("call_5", caller, START, Some(40)),
            ]
        };
        let served = Served::on(store, before).await;
        assert!(served.tenancy.accounts().is_empty(), "nobody asked yet");
        let holds = futures_util::future::join_all((0..20).map(|_| served.admit(10_000))).await;
        assert_eq!(served.spent(), MicroUsd(300_040));
        assert!(holds.iter().all(Result::is_ok));
        let last = served.admit(499_961).await.unwrap_err().error;
        assert_eq!(last.kind(), Kind::BudgetExhausted, "{last}");
        assert!(served.admit(499_960).await.is_ok());
    }
}

#[tokio::test]
async fn who_cannot_know_what_was_spent_spends_nothing_and_who_knows_needs_no_store() {
    for store in testing::stores().await {
        let served = Served::on(store, |_| Vec::new()).await;
        served.store.execute("ALTER TABLE ledger RENAME TO away").await;
        let error = served.admit(1).await.unwrap_err().error;
        assert_eq!((error.kind(), error.refused_by()), (Kind::Unavailable, Some("budget")));
        assert!(error.wait().is_some() && error.message().contains("the daily budget of the key `ci`"), "{error}");
        served.store.execute("ALTER TABLE away RENAME TO ledger").await;
        let again = async {
            while served.admit(1).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), again).await.unwrap();

        served.store.execute("ALTER TABLE ledger RENAME TO away").await;
        served.admit(100).await.unwrap().settle(used(2, 90), served.clock.now());
        served.clock.advance(Duration::from_hours(24));
        assert!(served.admit(1_000_000).await.is_ok(), "a new day begins with nothing");
    }
}

/// Everything the long way: buckets filled drop by drop, budgets as sums over all that was ever settled.
#[derive(Debug)]
struct Model {
    now: i64,
    /// Of the key: requests and tokens; of the team, on one model: tokens.
    sizes: [i128; 3],
    levels: [i128; 3],
    most_open: usize,
    /// Of the key, in a day; of the team, in all.
    limits: [i64; 2],
    settled: Vec<(i64, i64)>,
    open: Vec<OpenCall>,
}

#[derive(Clone, Copy, Debug)]
struct OpenCall {
    tokens: u64,
    cost: i64,
    is_haiku: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(i64),
    Admit { input: u64, output: Output, price: u64, is_haiku: bool },
    Settle { which: usize, tokens: u64, cost: i64 },
    SettleForEarlier { which: usize, cost: i64 },
    Drop { which: usize },
    Resize { which: usize, size: u64 },
    Fund { which: usize, limit: i64 },
}

const DROP: i128 = 60_000;

impl Model {
    fn pass(&mut self, millis: i64) {
        self.now += millis;
        for _ in 0..millis {
            for (level, size) in self.levels.iter_mut().zip(self.sizes) {
                *level = (*level + size).min(size * DROP);
            }
        }
    }

    fn spent(&self) -> [i64; 2] {
        let today = Period::Day.window(Timestamp::from_millis(self.now)).start.millis();
        let since = |start: i64| self.settled.iter().filter(|(at, _)| *at >= start).map(|(_, cost)| cost).sum();
        [since(today), since(0)]
    }

    fn held(&self) -> i64 {
        self.open.iter().map(|call| call.cost).sum()
    }

    /// The largest output that everything has room for, tried one after the other from the largest on.
    fn admit(&mut self, input: u64, output: Output, price: u64, is_haiku: bool) -> Option<u64> {
        let fits = |tokens: u64| {
            let needed = i128::from(input + tokens) * DROP;
            let cost = i64::try_from(price * (input + tokens)).unwrap();
            let tokens_fit = |bucket: usize| needed == 0 || self.levels[bucket] >= needed;
            let pays = |budget: usize| cost == 0 || self.spent()[budget] + self.held() + cost <= self.limits[budget];
            self.levels[0] >= DROP
                && self.open.len() < self.most_open
                && tokens_fit(1)
                && (!is_haiku || tokens_fit(2))
                && pays(0)
                && pays(1)
        };
        let granted = (output.least()..=output.most()).rev().find(|tokens| fits(*tokens))?;
        let tokens = input + granted;
        self.levels[0] -= DROP;
        self.levels[1] -= i128::from(tokens) * DROP;
        self.levels[2] -= if is_haiku { i128::from(tokens) * DROP } else { 0 };
        self.open.push(OpenCall { tokens, cost: i64::try_from(price * tokens).unwrap(), is_haiku });
        Some(granted)
    }

    fn settle(&mut self, which: usize, real: u64, cost: i64, at: i64) {
        let call = self.open.remove(which);
        self.settled.push((at, cost));
        let back = (i128::from(call.tokens) - i128::from(real)) * DROP;
        for bucket in if call.is_haiku { 1..3 } else { 1..2 } {
            self.levels[bucket] = (self.levels[bucket] + back).min(self.sizes[bucket] * DROP);
        }
    }

    fn resize(&mut self, which: usize, size: u64) {
        let size = i128::from(size);
        if size != self.sizes[which] {
            let level = self.levels[which] + (size - self.sizes[which]) * DROP;
            self.levels[which] = level.max(-size * DROP);
            self.sizes[which] = size;
        }
    }
}

/// What is tested, beside its model.
struct Pair {
    model: Model,
    book: RuleBook,
    version: i64,
    caller: Caller,
    open: Vec<local::Held>,
}

impl Pair {
    fn new() -> Self {
        let model = Model {
            now: START.millis(),
            sizes: [6, 4000, 3000],
            levels: [6 * DROP, 4000 * DROP, 3000 * DROP],
            most_open: 4,
            limits: [9000, 20_000],
            settled: Vec::new(),
            open: Vec::new(),
        };
        let mut pair = Self { model, book: book(), version: 0, caller: CALLER.clone(), open: Vec::new() };
        pair.publish();
        pair
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.model.now)
    }

    /// A new snapshot.
    fn publish(&mut self) {
        self.version += 1;
        let [requests, tokens, on_haiku] = self.model.sizes.map(|size| u64::try_from(size).unwrap());
        let (version, concurrent) = (self.version, u32::try_from(self.model.most_open).unwrap());
        let of_key = Limit {
            requests_per_minute: Some(requests),
            tokens_per_minute: Some(tokens),
            concurrent_requests: Some(concurrent),
            version,
            ..limit("limit_2", key())
        };
        let model = Some("anthropic.*".into());
        let of_team = Limit { tokens_per_minute: Some(on_haiku), model, version, ..limit("limit_1", team()) };
        let budgets = [
            Budget { version, ..budget("budget_2", key(), Period::Day, self.model.limits[0]) },
            Budget { version, ..budget("budget_1", team(), Period::Total, self.model.limits[1]) },
        ];
        self.caller = caller(&self.book, &[of_key, of_team], &budgets, self.now());
        // A change counts from the next call on.
        for rule in &*self.caller.rules.limits {
            drop(rule.lock(self.now()));
        }
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        let index = |which: usize, open: usize| (open > 0).then(|| which % open);
        match step {
            Step::Pass(millis) => self.model.pass(millis),
            Step::Admit { input, output, price, is_haiku } => {
                let input_pico = u128::from(price * input) * 1_000_000;
                let cost = Worst::Known { input_pico, output_pico: price * 1_000_000 };
                let need = need(if is_haiku { HAIKU } else { NOVA }, Demand { input_tokens: input, output, cost });
                let expected = self.model.admit(input, output, price, is_haiku);
                let granted = local::admit(&self.caller, &need, self.now());
                prop_assert_eq!(granted.as_ref().ok().map(|granted| granted.output_tokens), expected);
                self.open.extend(granted.ok().map(|granted| granted.held));
            }
            Step::Settle { which, tokens, cost } => {
                let Some(which) = index(which, self.open.len()) else { return Ok(()) };
                self.model.settle(which, tokens, cost, self.model.now);
                self.open.remove(which).settle(used(tokens, cost), self.now());
            }
            Step::SettleForEarlier { which, cost } => {
                let Some(which) = index(which, self.open.len()) else { return Ok(()) };
                let earlier = self.model.now - 20_000;
                self.model.settle(which, 0, cost, earlier);
                self.open.remove(which).settle(used(0, cost), Timestamp::from_millis(earlier));
            }
            Step::Drop { which } => {
                let Some(which) = index(which, self.open.len()) else { return Ok(()) };
                self.model.settle(which, 0, 0, self.model.now);
                self.open.remove(which).settle(used(0, 0), self.now());
            }
            Step::Resize { which, size } => {
                self.model.resize(which, size);
                self.publish();
            }
            Step::Fund { which, limit } => {
                self.model.limits[which] = limit;
                self.publish();
            }
        }
        self.compare()
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let (now, rules) = (self.now(), &self.caller.rules);
        let [spent_today, spent_in_all] = self.model.spent();
        for (rule, spent) in rules.budgets.iter().zip([spent_in_all, spent_today]) {
            let balance = rule.lock(now).as_ref().unwrap().balance();
            prop_assert_eq!((balance.spent.0, balance.held.0), (spent, self.model.held()));
        }
        let (of_team, of_key) = (rules.limits[0].lock(now), rules.limits[1].lock(now));
        let gauges = [of_key.requests(now), of_key.tokens(now), of_team.tokens(now)];
        for ((gauge, size), level) in gauges.into_iter().zip(self.model.sizes).zip(self.model.levels) {
            let (gauge, left) = (gauge.unwrap(), level.max(0) / DROP);
            prop_assert_eq!((i128::from(gauge.limit), i128::from(gauge.remaining)), (size, left));
        }
        prop_assert_eq!(of_key.open() as usize, self.model.open.len());
        Ok(())
    }
}

fn step() -> impl Strategy<Value = Step> {
    let output =
        prop_oneof![(0..1500_u64).prop_map(Output::Asked), (500..3000_u64).prop_map(|most| Output::Open { most }),];
    let admit = (0..800_u64, output, 0..4_u64, any::<bool>());
    prop_oneof![
        2 => (0..9000_i64).prop_map(Step::Pass),
        5 => admit.prop_map(|(input, output, price, is_haiku)| Step::Admit { input, output, price, is_haiku }),
        3 => (0..4_usize, 0..4000_u64, 0..9000_i64).prop_map(|(which, tokens, cost)| Step::Settle { which, tokens, cost }),
        1 => (0..4_usize, 0..3000_i64).prop_map(|(which, cost)| Step::SettleForEarlier { which, cost }),
        1 => (0..4_usize).prop_map(|which| Step::Drop { which }),
        1 => (0..3_usize, 0..5000_u64).prop_map(|(which, size)| Step::Resize { which, size }),
        1 => (0..2_usize, 0..30_000_i64).prop_map(|(which, limit)| Step::Fund { which, limit }),
    ]
}

proptest! {
    #[test]
    fn limits_and_budgets_do_as_the_model_that_does_it_the_long_way(steps in prop::collection::vec(step(), 1..40)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.take(step)?;
        }
    }
}

#[tokio::test]
async fn a_batch_is_paid_for_and_counted_by_no_limit_and_is_held_again_whatever_is_left() {
    let (store, clock) = (testing::sqlite().await, Clock::manual(START));
    admin::create_team(&store, &clock, Actor::Gateway, NewTeam::new("acme")).await.unwrap();
    let (_, text) = admin::create_key(&store, &clock, Actor::Gateway, NewKey::new("acme", "ci")).await.unwrap();
    let whose = Whose { team: Some("acme".to_owned()), key: None };
    let set = SetBudget { whose, period: "month".to_owned(), limit_usd: "0.001".to_owned() };
    admin::set_budget(&store, &clock, Actor::Gateway, &Precondition::Any, set).await.unwrap();
    let whose = Whose { team: Some("acme".to_owned()), key: None };
    let limit = admin::SetLimit {
        whose,
        model: None,
        requests_per_minute: None,
        tokens_per_minute: None,
        concurrent_requests: Some(1),
    };
    admin::set_limit(&store, &clock, Actor::Gateway, &Precondition::Any, limit).await.unwrap();
    let (metrics, tracker, stop) = (Metrics::new().unwrap(), TaskTracker::new(), CancellationToken::new());
    let tenancy = Tenancy::open(store.clone(), clock, Options::new(metrics), &tracker, stop.clone()).await.unwrap();
    let caller = tenancy.authenticate(Some(text.expose()), None).await.unwrap();
    let batch = |micros| Need { scope: Scope::Batch, model: None, ..need(HAIKU, costs(micros)) };

    let held = tenancy.admit(&caller, &batch(600)).await.unwrap();
    let other = tenancy.admit(&caller, &batch(300)).await.unwrap();
    let refused = tenancy.admit(&caller, &batch(200)).await.unwrap_err().error;
    assert_eq!(refused.kind(), Kind::BudgetExhausted);
    let call = tenancy.admit(&caller, &need(HAIKU, costs(100))).await.unwrap();
    drop(call);

    // As after a restart: more than there is.
    let known = tenancy.caller_of(&caller.team.id, &caller.key.id).await.unwrap().unwrap();
    let again = tenancy.hold_anyway(&known, "batch_1.2", MicroUsd(700)).await.unwrap();
    drop(other);
    assert!(tenancy.admit(&caller, &batch(1)).await.is_err());
    drop(held);
    drop(tenancy.admit(&caller, &batch(300)).await.unwrap());
    again.spend("call_9", MicroUsd(50), START);
    // The ledger, which was read for this budget, had it before.
    again.spend_booked("call_8", MicroUsd(50), START);
    drop(again);
    assert!(tenancy.admit(&caller, &batch(951)).await.is_err());
    assert!(tenancy.admit(&caller, &batch(950)).await.is_ok());
    let gone = tenancy.caller_of(&caller.team.id, &KeyId::from("gone")).await.unwrap().unwrap();
    assert_eq!((gone.key.id.as_str(), gone.require(Scope::Inference).is_ok()), ("gone", true));
    assert!(tenancy.caller_of(&"nobody".into(), &KeyId::from("gone")).await.unwrap().is_none());
    stop.cancel();
}
