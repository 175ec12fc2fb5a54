//! Tenancy as the rest of the gateway uses it, on every kind of store.

mod guests;
mod signed;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admin::{self, Actor};
use super::ledger::{Entry, Outcome, State, UsageSource};
use super::*;
use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::ids::{KeyId, RequestId, TeamId};
use crate::money::MicroUsd;
use crate::store::testing::{self, TestStore};

pub(super) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// Where calls come from.
pub(super) const CLIENT: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

/// A serving process on a store with one team, `acme`.
pub(super) struct Served {
    pub(super) tenancy: Tenancy,
    pub(super) clock: Clock,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) store: TestStore,
}

impl Served {
    pub(super) async fn on(store: TestStore) -> Self {
        let clock = Clock::manual(START);
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        admin::create_team(&store, &clock, Actor::CommandLine, NewTeam::new("acme")).await.unwrap();
        let options = Options::new(Metrics::new().unwrap());
        let tenancy = Tenancy::open(store.clone(), clock.clone(), options, &tracker, stop.clone()).await.unwrap();
        Self { tenancy, clock, tracker, stop, store }
    }

    /// Another process on the same store.
    pub(super) async fn beside(other: &Self) -> Self {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let (store, clock) = (testing::again(&other.store).await, other.clock.clone());
        let options = Options::new(Metrics::new().unwrap());
        let tenancy = Tenancy::open(store.clone(), clock.clone(), options, &tracker, stop.clone()).await.unwrap();
        Self { tenancy, clock, tracker, stop, store }
    }

    pub(super) async fn on_all() -> Vec<Self> {
        let mut all = Vec::new();
        for store in testing::stores().await {
            all.push(Self::on(store).await);
        }
        all
    }

    pub(super) async fn key(&self, new: NewKey) -> (Key, String) {
        let (key, text) = admin::create_key(&self.store, &self.clock, Actor::CommandLine, new).await.unwrap();
        (key, text.expose().to_owned())
    }

    pub(super) async fn caller(&self, new: NewKey) -> Caller {
        let (_, text) = self.key(new).await;
        self.tenancy.authenticate(Some(&text), CLIENT).await.unwrap()
    }

    pub(super) async fn refused(&self, text: &str) -> Error {
        self.tenancy.authenticate(Some(text), CLIENT).await.unwrap_err()
    }

    async fn rows(&self) -> Vec<Entry> {
        ledger::list(&self.store, Timestamp::default(), 100_000).await.unwrap()
    }

    async fn last_use(&self) -> Option<Timestamp> {
        admin::list_keys(&self.store).await.unwrap()[0].last_use
    }
}

pub(super) fn entry(number: u64) -> Entry {
    Entry {
        id: format!("call_{number:06}"),
        request_id: RequestId::from("req_1"),
        at: START,
        team: TeamId::from("team_1"),
        key: KeyId::from("key1"),
        surface: "openai".into(),
        operation: "chat".into(),
        model: "anthropic.claude-haiku-4-5-20251001-v1:0".into(),
        region: Some("us-east-1".into()),
        input_tokens: number,
        output_tokens: 2,
        cache_read_tokens: 3,
        cache_write_tokens: 4,
        cost: Some(MicroUsd(5)),
        tier: "flex".into(),
        latency_ms: 6,
        ttft_ms: Some(7),
        attempts: 1,
        status: 200,
        outcome: Outcome::OK,
        usage_source: UsageSource::Final,
        streamed: true,
        end_user: Some("somebody".into()),
    }
}

#[tokio::test]
async fn a_key_made_by_another_process_works_at_once() {
    for served in Served::on_all().await {
        let (key, text) = served.key(NewKey::new("acme", "ci")).await;
        let caller = served.tenancy.authenticate(Some(&text), CLIENT).await.unwrap();
        assert_eq!((&caller.key.id, &*caller.team.name), (&key.id, "acme"));
        assert_eq!(*caller.key, key, "every column reads back");
    }
}

#[tokio::test]
async fn every_setting_of_team_and_key_reads_back() {
    for served in Served::on_all().await {
        let list = |entries: &[&str]| Some(entries.iter().map(ToString::to_string).collect());
        let new = NewTeam {
            models: list(&["a*"]),
            regions: list(&["eu-west-1"]),
            geography: Some("eu".into()),
            role_arn: Some("arn:aws:iam::000000000000:role/bounded".into()),
            ..NewTeam::new("bounded")
        };
        let team = admin::create_team(&served.store, &served.clock, Actor::Gateway, new).await.unwrap();
        let new = NewKey {
            scopes: vec![Scope::Admin, Scope::Metrics],
            expires_at: Some(START.plus(SECOND)),
            models: list(&["a", "b"]),
            regions: list(&["eu-west-1"]),
            ..NewKey::new(team.id.as_str(), "k")
        };
        let (key, _) = served.key(new).await;
        assert_eq!(admin::list_keys(&served.store).await.unwrap(), [key]);
        let teams = admin::list_teams(&served.store).await.unwrap();
        assert_eq!(teams.iter().map(|team| &*team.name).collect::<Vec<_>>(), ["acme", "bounded"]);
        assert_eq!(teams[1], team);
    }
}

#[tokio::test]
async fn a_name_that_is_taken_and_a_team_that_is_not_there_are_told() {
    for served in Served::on_all().await {
        let (store, clock) = (&*served.store, &served.clock);
        let taken = admin::create_team(store, clock, Actor::CommandLine, NewTeam::new("acme")).await.unwrap_err();
        assert_eq!((taken.kind(), taken.blamed()), (Kind::Conflict, Some("name")));
        let new = NewKey::new("no\0body", "k");
        let absent = admin::create_key(store, clock, Actor::CommandLine, new).await.unwrap_err();
        assert_eq!((absent.kind(), absent.blamed()), (Kind::NotFound, Some("team")));
        let id = KeyId::from("no\0key");
        let absent = admin::revoke_key(store, clock, Actor::CommandLine, &id).await.unwrap_err();
        assert_eq!(absent.kind(), Kind::NotFound);
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_after_the_next_look_and_stays_revoked() {
    for served in Served::on_all().await {
        let (key, text) = served.key(NewKey::new("acme", "k")).await;
        assert!(served.tenancy.authenticate(Some(&text), CLIENT).await.is_ok());
        let (store, clock) = (&*served.store, &served.clock);
        let revoked = admin::revoke_key(store, clock, Actor::CommandLine, &key.id).await.unwrap();
        assert_eq!(revoked.revoked_at, Some(START));
        served.tenancy.refresh().await;
        let error = served.refused(&text).await;
        assert_eq!((error.kind(), error.message()), (Kind::Unauthenticated, "This key was revoked."));
        clock.advance(SECOND);
        let again = admin::revoke_key(store, clock, Actor::CommandLine, &key.id).await.unwrap();
        assert_eq!(again.revoked_at, Some(START));
    }
}

#[tokio::test]
async fn the_poller_sees_a_revocation_by_itself() {
    let served = Served::on(testing::sqlite().await).await;
    let (key, text) = served.key(NewKey::new("acme", "k")).await;
    assert!(served.tenancy.authenticate(Some(&text), CLIENT).await.is_ok());
    admin::revoke_key(&served.store, &served.clock, Actor::CommandLine, &key.id).await.unwrap();
    let refused = async {
        while served.tenancy.authenticate(Some(&text), CLIENT).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.unwrap();
}

#[tokio::test]
async fn an_expired_key_is_refused_when_its_time_comes() {
    let served = Served::on(testing::sqlite().await).await;
    let new = NewKey { expires_at: Some(START.plus(SECOND)), ..NewKey::new("acme", "k") };
    let (_, text) = served.key(new).await;
    assert!(served.tenancy.authenticate(Some(&text), CLIENT).await.is_ok());
    served.clock.advance(SECOND);
    assert_eq!(served.refused(&text).await.message(), "This key has expired.");
}

#[tokio::test]
async fn no_key_is_told_from_a_wrong_one() {
    let served = Served::on(testing::sqlite().await).await;
    let (_, text) = served.key(NewKey::new("acme", "k")).await;
    let missing = served.tenancy.authenticate(None, CLIENT).await.unwrap_err().aws().unwrap();
    assert_eq!((missing.name, missing.status), ("MissingAuthenticationTokenException", 403));
    let unknown = served.refused("bgw_nobody_secret").await;
    let wrong = served.refused(&format!("{text}x")).await;
    assert_eq!(unknown.aws().unwrap().name, "UnrecognizedClientException");
    assert_eq!(unknown.message(), wrong.message());
}

#[tokio::test]
async fn a_key_that_cannot_be_read_does_not_count_and_harms_no_other() {
    for served in Served::on_all().await {
        let (_, broken) = served.key(NewKey::new("acme", "broken")).await;
        let (_, good) = served.key(NewKey::new("acme", "good")).await;
        served.store.execute("UPDATE keys SET models = '{' WHERE name = 'broken'").await;
        served.store.execute("UPDATE keys SET scopes = '[\"inference\", \"later\"]' WHERE name = 'good'").await;
        let caller = served.tenancy.authenticate(Some(&good), CLIENT).await.unwrap();
        assert_eq!(caller.key.scopes, [Scope::Inference]);
        assert_eq!(served.refused(&broken).await.kind(), Kind::Unauthenticated);
    }
}

#[tokio::test]
async fn admission_asks_for_scope_and_model_and_counts_what_is_in_flight() {
    let served = Served::on(testing::sqlite().await).await;
    let list = |entry: &str| Some(vec![entry.to_owned()]);
    let new = NewTeam { models: list("anthropic.*"), regions: list("eu-west-1"), ..NewTeam::new("bounded") };
    admin::create_team(&served.store, &served.clock, Actor::CommandLine, new).await.unwrap();
    let new = NewKey {
        scopes: vec![Scope::Inference],
        models: list("fast"),
        regions: Some(vec!["eu-west-1".into(), "us-east-1".into()]),
        ..NewKey::new("bounded", "k")
    };
    let caller = served.caller(new).await;
    let need = Need {
        scope: Scope::Inference,
        model: Some("fast"),
        names: &["anthropic.claude-haiku"],
        id: "call_1",
        demand: Demand::NOTHING,
    };

    let hold = served.tenancy.admit(&caller, &need).await.unwrap();
    let second = served.tenancy.admit(&caller, &need).await.unwrap();
    assert_eq!(caller.in_flight(), 2);
    served.key(NewKey::new("acme", "another, so that everything is read again")).await;
    served.tenancy.refresh().await;
    drop((hold, second));
    assert_eq!(served.tenancy.0.directory.caller(caller.key.id.as_str()).unwrap().in_flight(), 0);

    let other = Need { model: Some("slow"), ..need };
    assert_eq!(served.tenancy.admit(&caller, &other).await.unwrap_err().error.kind(), Kind::ModelNotFound);
    let beyond_the_team = Need { names: &["amazon.nova-lite-v1:0"], ..need };
    assert_eq!(served.tenancy.admit(&caller, &beyond_the_team).await.unwrap_err().error.kind(), Kind::ModelNotFound);
    let batch = Need { scope: Scope::Batch, ..need };
    let forbidden = served.tenancy.admit(&caller, &batch).await.unwrap_err().error;
    assert_eq!((forbidden.kind(), forbidden.aws().unwrap().name), (Kind::Forbidden, "AccessDeniedException"));
    assert_eq!(caller.in_flight(), 0, "what was refused holds nothing");
    assert_eq!((caller.allows_region("eu-west-1"), caller.allows_region("us-east-1")), (true, false));
}

#[tokio::test]
async fn an_entry_reads_back_whole_and_counts_once() {
    for served in Served::on_all().await {
        let bare = Entry {
            region: None,
            cost: None,
            ttft_ms: None,
            end_user: None,
            outcome: Outcome::failed(Kind::UpstreamThrottled),
            usage_source: UsageSource::Estimated,
            streamed: false,
            status: 429,
            ..entry(2)
        };
        let hostile =
            Entry { end_user: Some("a\0b'; DROP TABLE ledger; --".into()), input_tokens: u64::MAX, ..entry(3) };
        for delivered in [entry(1), bare.clone(), entry(1), hostile] {
            served.tenancy.record(delivered);
        }
        served.tenancy.flush().await;
        served.tenancy.record(entry(1));
        served.tenancy.flush().await;
        let rows = served.rows().await;
        assert_eq!(rows[..2], [entry(1), bare]);
        assert_eq!(rows[2].end_user.as_deref(), Some("a\u{fffd}b'; DROP TABLE ledger; --"));
        assert_eq!((rows.len(), rows[2].input_tokens), (3, i64::MAX as u64));
        assert!(ledger::list(&served.store, START.plus(SECOND), 10).await.unwrap().is_empty());
        let is_booked = async |id: &str| served.tenancy.is_booked(id).await.unwrap();
        assert_eq!((is_booked(&entry(1).id).await, is_booked("call_none").await), (true, false));
    }
}

#[tokio::test]
async fn many_entries_all_arrive_without_anybody_flushing() {
    for served in Served::on_all().await {
        (0..1_337).for_each(|number| served.tenancy.record(entry(number)));
        let all = async {
            while served.tenancy.ledger().queued > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
        let rows = served.rows().await;
        assert_eq!(rows.iter().map(|row| row.input_tokens).collect::<Vec<_>>(), (0..1_337).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn entries_wait_while_the_store_is_away_and_none_is_lost() {
    for served in Served::on_all().await {
        served.store.execute("ALTER TABLE ledger RENAME TO away").await;
        (0..700).for_each(|number| served.tenancy.record(entry(number)));
        served.clock.advance(SECOND);
        let noticed = async {
            while served.tenancy.ledger().lag < SECOND {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), noticed).await.unwrap();
        served.store.execute("ALTER TABLE away RENAME TO ledger").await;
        served.tenancy.flush().await;
        assert_eq!(served.rows().await.len(), 700);
        assert_eq!(served.tenancy.ledger(), State::default());
    }
}

#[tokio::test]
async fn stopping_writes_what_was_recorded_and_counts_what_comes_too_late() {
    for served in Served::on_all().await {
        (0..1_200).for_each(|number| served.tenancy.record(entry(number)));
        served.stop.cancel();
        served.tracker.close();
        served.tracker.wait().await;
        assert_eq!(served.rows().await.len(), 1_200);
        served.tenancy.record(entry(9_999));
        assert_eq!(served.tenancy.ledger(), State { lost: 1, ..State::default() });
        served.tenancy.flush().await;
    }
}

#[tokio::test]
async fn a_full_queue_keeps_the_oldest_and_counts_the_rest() {
    let store = testing::sqlite().await;
    let book = Arc::new(RuleBook::new(Clock::system()));
    let (directory, _) = Directory::open(store.clone(), Clock::manual(START), book).await.unwrap();
    let (recorder, writer) = writer::new((store.clone(), Clock::manual(START)), directory, 10, None);
    (0..25).for_each(|number| recorder.record(entry(number)));
    assert_eq!(recorder.state(START), State { queued: 10, lost: 15, lag: Duration::ZERO });
    let stop = CancellationToken::new();
    stop.cancel();
    writer.run(stop).await;
    let rows = ledger::list(&store, START, 100).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.input_tokens).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    recorder.flush().await;
}

#[tokio::test]
async fn the_last_use_of_a_key_is_kept_once_a_minute() {
    for served in Served::on_all().await {
        let (_, text) = served.key(NewKey::new("acme", "k")).await;
        let call = async |number, wait| {
            served.clock.advance(wait);
            served.tenancy.authenticate(Some(&text), CLIENT).await.unwrap();
            served.tenancy.record(entry(number));
            served.tenancy.flush().await;
            served.last_use().await
        };
        assert_eq!(call(1, SECOND).await, Some(START.plus(SECOND)));
        assert_eq!(call(2, SECOND * 30).await, Some(START.plus(SECOND)));
        assert_eq!(call(3, SECOND * 30).await, Some(START.plus(SECOND * 61)));
        assert_eq!(call(4, SECOND).await, Some(START.plus(SECOND * 61)));
        served.stop.cancel();
        served.tracker.close();
        served.tracker.wait().await;
        assert_eq!(served.last_use().await, Some(START.plus(SECOND * 62)), "stopping saves the rest");
    }
}

#[tokio::test]
async fn every_act_is_in_the_audit_log_without_the_secret() {
    for served in Served::on_all().await {
        let (key, text) = served.key(NewKey::new("acme", "k")).await;
        admin::revoke_key(&served.store, &served.clock, Actor::CommandLine, &key.id).await.unwrap();
        admin::revoke_key(&served.store, &served.clock, Actor::CommandLine, &key.id).await.unwrap();
        let log =
            served.store.texts("SELECT actor, action, subject, detail, CAST(at AS TEXT) FROM audit ORDER BY id").await;
        let acts: Vec<_> = log.iter().map(|act| (&*act[0], &*act[1])).collect();
        let expected = ["team.create", "key.create", "key.revoke"].map(|action| ("command_line", action));
        assert_eq!(acts, expected, "an act that changes nothing is none");
        assert_eq!((&*log[2][2], &*log[2][4]), (key.id.as_str(), &*START.millis().to_string()));
        let secret = text.rsplit('_').next().unwrap();
        assert!(!log.concat().concat().contains(secret));
    }
}
