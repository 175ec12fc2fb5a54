//! What is read when, on every kind of store.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use super::*;
use crate::clock::Timestamp;
use crate::store::testing::{self, TestStore};
use crate::telemetry::Metrics;
use crate::tenancy::Options;
use crate::tenancy::admin::{self, Actor, Precondition};
use crate::tenancy::key::{NewKey, SecretHash};
use crate::tenancy::team::NewTeam;
use crate::tenancy::tests::{CLIENT, SECOND, START, Served};

/// Many keys that all have the secret `s`, in one statement, as some other process makes them.
async fn make_keys(store: &TestStore, team: &str, count: usize) {
    let sql = format!(
        "INSERT INTO keys (id, team_id, name, secret_sha256, scopes, created_at, version)
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         SELECT 'k' || i, '{team}', 'k', '{}', '[\"inference\"]', 0, 1 FROM n",
        SecretHash::of("s").to_hex()
    );
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(store.pool()).await.unwrap();
}

/// Whether the caller's calls are counted by the limit or budget with this id.
fn counted_by(caller: &Caller, id: &str) -> bool {
    format!("{:?}", caller.rules).contains(id)
}

impl Served {
    fn directory(&self) -> &Directory {
        &self.tenancy.0.directory
    }

    async fn team(&self) -> String {
        admin::list_teams(&self.store).await.unwrap()[0].id.to_string()
    }

    async fn authenticate(&self, text: &str) -> Result<Caller> {
        self.tenancy.authenticate(Some(text), CLIENT).await
    }

    /// A change that no function of this program makes.
    async fn change(&self, sql: &str) {
        let mut transaction = self.store.begin().await.unwrap();
        for statement in ["UPDATE tenancy_version SET version = version + 1", sql] {
            let query = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()));
            query.execute(&mut *transaction).await.unwrap();
        }
        transaction.commit().await.unwrap();
        self.tenancy.refresh().await;
    }
}

#[tokio::test]
async fn of_a_hundred_thousand_keys_those_are_read_that_are_used_and_once() {
    for store in testing::stores().await {
        let clock = Clock::manual(START);
        let team = admin::create_team(&store, &clock, Actor::Gateway, NewTeam::new("many"));
        make_keys(&store, team.await.unwrap().id.as_str(), 100_000).await;
        let served = Served::on(store).await;
        let directory = served.directory();
        assert_eq!((directory.members.len(), directory.looks()), (0, 0));

        for _ in 0..3 {
            assert_eq!(served.authenticate("bgw_k77777_s").await.unwrap().team.name, "many");
        }
        assert_eq!((directory.members.len(), directory.looks()), (1, 1));

        let texts: Vec<String> = (1..=2_000).map(|n| format!("bgw_k{n}_s")).collect();
        let all = join_all(texts.iter().map(|text| served.authenticate(text))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(directory.members.len(), 2_001);
        assert!(directory.looks() <= 17, "256 at once, and {} looks", directory.looks());
    }
}

#[tokio::test]
async fn who_presents_the_same_new_key_at_once_shares_one_look() {
    for served in Served::on_all().await {
        let (_, text) = served.key(NewKey::new("acme", "k")).await;
        let all = join_all((0..1_500).map(|_| served.authenticate(&text))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(served.directory().looks(), 1);
    }
}

#[tokio::test]
async fn a_flood_of_made_up_keys_costs_few_looks_and_a_new_key_works_all_the_same() {
    let served = Served::on(testing::sqlite().await).await;
    let (_, known) = served.key(NewKey::new("acme", "known")).await;
    assert!(served.authenticate(&known).await.is_ok());
    let (_, new) = served.key(NewKey::new("acme", "new")).await;
    let (before, began) = (served.directory().looks(), std::time::Instant::now());
    // From everywhere: not what is held against one address is meant here.
    let made_up = |n: u32| {
        let client = Some(std::net::IpAddr::from(n.to_be_bytes()));
        let served = &served;
        async move { served.tenancy.authenticate(Some(&format!("bgw_made{n}_up")), client).await }
    };
    let (guesses, new) = tokio::join!(join_all((0..2_000).map(made_up)), served.authenticate(&new));
    assert!(guesses.iter().all(|guess| guess.as_ref().unwrap_err().kind() == Kind::Unauthenticated));
    assert!(new.is_ok());
    for _ in 0..1_000 {
        assert!(served.authenticate(&known).await.is_ok());
        assert!(served.authenticate("bgw_malformed").await.is_err());
    }
    let looks = served.directory().looks() - before;
    let spaced = u64::try_from(began.elapsed().as_millis() / 50).unwrap();
    assert!(looks <= spaced + 1, "{looks} looks");
    assert!(looks <= 12, "{looks} looks of 256 ids");
}

#[tokio::test]
async fn wrong_keys_from_one_address_are_answered_for_a_while_and_right_ones_go_on() {
    for served in Served::on_all().await {
        let (_, known) = served.key(NewKey::new("acme", "known")).await;
        let (_, new) = served.key(NewKey::new("acme", "new")).await;
        let wrong = format!("{known}0");
        let mut kinds = Vec::new();
        for n in 0..30 {
            let text = if n % 2 == 0 { wrong.clone() } else { format!("bgw_made{n}_up") };
            kinds.push(served.refused(&text).await.kind());
        }
        assert!(kinds[..20].iter().all(|kind| *kind == Kind::Unauthenticated), "{kinds:?}");
        assert!(kinds[20..].iter().all(|kind| *kind == Kind::RateLimited), "{kinds:?}");
        let refused = served.refused(&wrong).await;
        assert_eq!((refused.refused_by(), refused.wait()), (Some("key"), Some(3 * SECOND)));
        assert_eq!(served.refused("sk-elsewhere").await.kind(), Kind::Unauthenticated, "no guess at a key of ours");

        assert!(served.authenticate(&known).await.is_ok());
        assert!(served.authenticate(&new).await.is_ok(), "one that is not in memory");
        let elsewhere = Some("198.51.100.1".parse().unwrap());
        let other = served.tenancy.authenticate(Some(&wrong), elsewhere).await.unwrap_err();
        assert_eq!(other.kind(), Kind::Unauthenticated);
        served.clock.advance(3 * SECOND);
        assert_eq!(served.refused(&wrong).await.kind(), Kind::Unauthenticated);
    }
}

#[tokio::test]
async fn a_flood_from_one_address_has_few_looks_at_once() {
    let served = Served::on(testing::sqlite().await).await;
    for n in 0..20 {
        served.refused(&format!("bgw_made{n}_up")).await;
    }
    let before = served.directory().looks();
    let texts: Vec<String> = (0..2_000).map(|n| format!("bgw_another{n}_up")).collect();
    let all = join_all(texts.iter().map(|text| served.authenticate(text))).await;
    assert!(all.iter().all(|answer| answer.as_ref().unwrap_err().kind() == Kind::RateLimited));
    assert!(served.directory().looks() - before <= 4);
}

#[tokio::test]
async fn a_revoked_team_refuses_all_its_keys_here_at_once_and_elsewhere_in_seconds() {
    for served in Served::on_all().await {
        let (stop, tracker) = (tokio_util::sync::CancellationToken::new(), tokio_util::task::TaskTracker::new());
        let options = Options::new(Metrics::new().unwrap());
        let other =
            crate::tenancy::Tenancy::open(served.store.clone(), served.clock.clone(), options, &tracker, stop.clone());
        let other = other.await.unwrap();
        admin::create_team(&served.store, &served.clock, Actor::Gateway, NewTeam::new("other")).await.unwrap();
        let (_, first) = served.key(NewKey::new("acme", "first")).await;
        let (_, second) = served.key(NewKey::new("acme", "second")).await;
        let (_, unconcerned) = served.key(NewKey::new("other", "k")).await;
        for text in [&first, &unconcerned] {
            assert!(served.authenticate(text).await.is_ok());
            assert!(other.authenticate(Some(text), CLIENT).await.is_ok());
        }
        let which = ("acme", &Precondition::Any);
        admin::revoke_team_if(&served.store, &served.clock, Actor::CommandLine, which).await.unwrap();
        served.tenancy.refresh().await;
        for text in [&first, &second] {
            let error = served.refused(text).await;
            assert_eq!(error.kind(), Kind::Unauthenticated);
            assert!(error.message().contains("team"), "{error}");
        }
        let seen = async {
            while other.authenticate(Some(&first), CLIENT).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(5), seen).await.unwrap();
        assert!(served.authenticate(&unconcerned).await.is_ok());
        stop.cancel();
    }
}

#[tokio::test]
async fn after_a_rotation_both_secrets_open_the_key_and_then_the_new_one_alone() {
    for served in Served::on_all().await {
        let (key, first) = served.key(NewKey::new("acme", "k")).await;
        assert!(served.authenticate(&first).await.is_ok());
        let rotate = async |overlap| {
            let (store, clock) = (&*served.store, &served.clock);
            let which = (&key.id, &Precondition::Any);
            let rotated = admin::rotate_key(store, clock, Actor::CommandLine, which, (overlap, None)).await;
            served.tenancy.refresh().await;
            rotated.map(|(key, text)| (key, text.expose().to_owned()))
        };
        let opens = async |text: &str| served.authenticate(text).await.is_ok();
        let (rotated, second) = rotate(60 * SECOND).await.unwrap();
        assert_eq!((&rotated.id, rotated.previous.unwrap().until), (&key.id, START.plus(60 * SECOND)));
        assert_eq!((opens(&first).await, opens(&second).await), (true, true));
        served.clock.advance(60 * SECOND);
        assert_eq!((opens(&first).await, opens(&second).await), (false, true));

        let (_, third) = rotate(60 * SECOND).await.unwrap();
        let (_, fourth) = rotate(60 * SECOND).await.unwrap();
        assert_eq!((opens(&second).await, opens(&third).await, opens(&fourth).await), (false, true, true));
        let (_, fifth) = rotate(Duration::ZERO).await.unwrap();
        assert_eq!((opens(&fourth).await, opens(&fifth).await), (false, true));

        let too_long = rotate(admin::MAX_OVERLAP + SECOND).await.unwrap_err();
        assert_eq!((too_long.kind(), too_long.blamed()), (Kind::Invalid, Some("overlap_seconds")));
        admin::revoke_key(&served.store, &served.clock, Actor::CommandLine, &key.id).await.unwrap();
        assert_eq!(rotate(SECOND).await.unwrap_err().kind(), Kind::Conflict);
        let none = KeyId::from("no\0key");
        let which = (&none, &Precondition::Any);
        let absent = admin::rotate_key(&served.store, &served.clock, Actor::CommandLine, which, (SECOND, None)).await;
        assert_eq!(absent.unwrap_err().kind(), Kind::NotFound);
        let acts = served.store.texts("SELECT action, detail FROM audit WHERE action = 'key.rotate'").await;
        assert_eq!(acts.len(), 4);
        for text in [first, second, third, fourth, fifth] {
            let secret = text.rsplit('_').next().unwrap().to_owned();
            assert!(!acts.concat().concat().contains(&secret));
        }
    }
}

#[tokio::test]
async fn changed_limits_and_budgets_count_for_those_whom_they_concern() {
    const LIMIT: &str =
        "INSERT INTO limits (id, subject_kind, subject_id, model, created_at, updated_at, version) VALUES";
    const BUDGET: &str =
        "INSERT INTO budgets (id, subject_kind, subject_id, period, limit_micro_usd, created_at, updated_at,
                          version) VALUES";
    const VERSION: &str = "(SELECT version FROM tenancy_version)";
    for served in Served::on_all().await {
        let (_, text) = served.key(NewKey::new("acme", "known")).await;
        let (_, bystander) = served.key(NewKey::new("acme", "bystander")).await;
        let (_, new) = served.key(NewKey::new("acme", "new")).await;
        let caller = served.authenticate(&text).await.unwrap();
        served.authenticate(&bystander).await.unwrap();
        let (team, key) = (&caller.team.id, &caller.key.id);
        for (id, kind, subject) in
            [("limit_all", "everyone", ""), ("limit_team", "team", team.as_str()), ("limit_key", "key", key.as_str())]
        {
            served.change(&format!("{LIMIT} ('{id}', '{kind}', '{subject}', '', 0, 0, {VERSION})")).await;
            assert!(counted_by(&served.authenticate(&text).await.unwrap(), id), "{id}");
            assert_eq!(counted_by(&served.authenticate(&bystander).await.unwrap(), id), id != "limit_key", "{id}");
        }
        for (id, kind, subject) in [("budget_team", "team", team.as_str()), ("budget_key", "key", key.as_str())] {
            served.change(&format!("{BUDGET} ('{id}', '{kind}', '{subject}', 'day', 1, 0, 0, {VERSION})")).await;
            assert!(counted_by(&served.authenticate(&text).await.unwrap(), id), "{id}");
        }
        let all = ["limit_all", "limit_team", "budget_team"];
        let read_later = served.authenticate(&new).await.unwrap();
        assert!(all.iter().all(|id| counted_by(&read_later, id)) && !counted_by(&read_later, "budget_key"));
        let restarted = Served::beside(&served).await;
        let caller = restarted.authenticate(&text).await.unwrap();
        assert!(all.iter().chain(&["limit_key", "budget_key"]).all(|id| counted_by(&caller, id)));

        for table in ["limits", "budgets"] {
            served.change(&format!("UPDATE {table} SET removed_at = 1, version = {VERSION}")).await;
        }
        for text in [&text, &bystander, &new] {
            let caller = served.authenticate(text).await.unwrap();
            assert!(!counted_by(&caller, "limit_") && !counted_by(&caller, "budget_"), "{caller:?}");
        }
    }
}

#[tokio::test]
async fn a_change_of_more_rows_than_a_page_counts_for_each_of_them() {
    for served in Served::on_all().await {
        make_keys(&served.store, &served.team().await, 1_300).await;
        let texts: Vec<String> = (1..=1_300).map(|n| format!("bgw_k{n}_s")).collect();
        assert!(join_all(texts.iter().map(|text| served.authenticate(text))).await.iter().all(Result::is_ok));
        served.change("UPDATE keys SET revoked_at = 1, version = (SELECT version FROM tenancy_version)").await;
        assert!(join_all(texts.iter().map(|text| served.authenticate(text))).await.iter().all(Result::is_err));
    }
}

#[tokio::test]
async fn what_cannot_be_read_any_more_does_not_count_and_harms_nobody_else() {
    for served in Served::on_all().await {
        let (_, broken) = served.key(NewKey::new("acme", "broken")).await;
        let (_, good) = served.key(NewKey::new("acme", "good")).await;
        for text in [&broken, &good] {
            assert!(served.authenticate(text).await.is_ok());
        }
        let version = "version = (SELECT version FROM tenancy_version)";
        served.change(&format!("UPDATE keys SET models = '{{', {version} WHERE name = 'broken'")).await;
        assert_eq!(served.refused(&broken).await.kind(), Kind::Unauthenticated);
        assert!(served.authenticate(&good).await.is_ok());
        served.change(&format!("UPDATE teams SET models = '{{', {version}")).await;
        assert_eq!(served.refused(&good).await.kind(), Kind::Unauthenticated);
        served.change(&format!("UPDATE teams SET models = NULL, {version}")).await;
        assert!(served.authenticate(&good).await.is_ok());
    }
}

#[tokio::test]
async fn an_older_database_makes_everything_be_read_again() {
    let served = Served::on(testing::sqlite().await).await;
    let (_, text) = served.key(NewKey::new("acme", "k")).await;
    assert!(served.authenticate(&text).await.is_ok());
    served.store.execute("DELETE FROM keys").await;
    served.store.execute("UPDATE tenancy_version SET version = 1").await;
    served.tenancy.refresh().await;
    assert_eq!(served.refused(&text).await.kind(), Kind::Unauthenticated);
}

#[tokio::test]
async fn while_the_store_is_away_known_keys_go_on_and_others_are_asked_to_wait() {
    for served in Served::on_all().await {
        let (_, known) = served.key(NewKey::new("acme", "known")).await;
        let (_, new) = served.key(NewKey::new("acme", "new")).await;
        assert!(served.authenticate(&known).await.is_ok());
        served.store.execute("ALTER TABLE tenancy_version RENAME TO away_version").await;
        served.store.execute("ALTER TABLE keys RENAME TO away_keys").await;
        served.tenancy.refresh().await;
        assert!(served.authenticate(&known).await.is_ok());
        let began = std::time::Instant::now();
        for text in [&*new, "bgw_nobody_secret"] {
            let error = served.refused(text).await;
            assert_eq!((error.kind(), error.wait()), (Kind::Unavailable, Some(SECOND)));
        }
        assert!(began.elapsed() < 5 * SECOND, "nobody waits for a store that is known to be away");
        served.store.execute("ALTER TABLE away_version RENAME TO tenancy_version").await;
        served.store.execute("ALTER TABLE away_keys RENAME TO keys").await;
        served.tenancy.refresh().await;
        assert!(served.authenticate(&new).await.is_ok());
    }
}

#[tokio::test]
async fn calls_in_flight_outlive_a_change_of_their_key() {
    let served = Served::on(testing::sqlite().await).await;
    let (key, text) = served.key(NewKey::new("acme", "k")).await;
    let before = served.authenticate(&text).await.unwrap();
    before.activity.in_flight.fetch_add(1, Ordering::Relaxed);
    admin::revoke_key(&served.store, &served.clock, Actor::CommandLine, &key.id).await.unwrap();
    served.tenancy.refresh().await;
    let after = served.directory().caller(key.id.as_str()).unwrap();
    assert_eq!((after.key.revoked_at, after.in_flight()), (Some(START), 1));
}

#[tokio::test]
async fn a_key_that_was_not_used_for_a_day_is_forgotten_and_read_again() {
    let store = testing::sqlite().await;
    let clock = Clock::manual(START);
    admin::create_team(&store, &clock, Actor::Gateway, NewTeam::new("acme")).await.unwrap();
    make_keys(&store, admin::list_teams(&store).await.unwrap()[0].id.as_str(), 3).await;
    let (directory, mut reader) =
        Directory::open(store.clone(), clock.clone(), Arc::new(RuleBook::new(clock.clone()))).await.unwrap();
    let ids = ["k1", "k2", "k3"].map(KeyId::from);
    reader.look(&ids).await.unwrap();
    let day = Duration::from_hours(24);
    clock.advance(day);
    let used = directory.caller("k1").unwrap();
    directory.touch(&used, clock.now());
    directory.caller("k2").unwrap().activity.in_flight.fetch_add(1, Ordering::Relaxed);
    clock.advance(SECOND);
    (0..64).for_each(|_| reader.forget_idle());
    assert!(directory.caller("k1").is_some() && directory.caller("k2").is_some() && directory.caller("k3").is_none());

    clock.advance(day);
    (0..64).for_each(|_| reader.forget_idle());
    assert!(directory.caller("k1").is_some(), "its last use is not written yet");
    let touches: Vec<(String, Timestamp)> =
        directory.touches().into_iter().map(|touch| (touch.key.to_string(), touch.at)).collect();
    assert_eq!(touches, [("k1".to_owned(), START.plus(day))]);
    (0..64).for_each(|_| reader.forget_idle());
    assert!(directory.caller("k1").is_none());
    reader.look(&ids).await.unwrap();
    assert_eq!(directory.members.len(), 3);
}
