//! Administration on every kind of store.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::config::Secret;
use crate::money::MicroUsd;
use crate::store::testing::{self, TestStore};
use crate::tenancy::{Guardrail, NewKey, NewSecret, NewTeam, NewWebhook, OnDisconnect, Scope, UnknownPrice};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const ADMIN: Actor = Actor::CommandLine;
const ANY: Precondition = Precondition::Any;

/// A store with one team, `acme`.
struct Place {
    store: TestStore,
    clock: Clock,
}

impl Place {
    async fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for store in testing::stores().await {
            let clock = Clock::manual(START);
            create_team(&store, &clock, ADMIN, NewTeam::new("acme")).await.unwrap();
            all.push(Self { store, clock });
        }
        all
    }

    async fn change_team(&self, which: &str, edit: EditTeam) -> Result<crate::tenancy::Team> {
        change_team(&self.store, &self.clock, ADMIN, (which, &ANY), edit).await
    }

    async fn key(&self, name: &str) -> crate::tenancy::Key {
        create_key(&self.store, &self.clock, ADMIN, NewKey::new("acme", name)).await.unwrap().0
    }

    async fn set_limit(&self, believed: &Precondition, set: SetLimit) -> Result<view::LimitView> {
        set_limit(&self.store, &self.clock, ADMIN, believed, set).await
    }

    async fn set_budget(&self, believed: &Precondition, set: SetBudget) -> Result<view::BudgetView> {
        set_budget(&self.store, &self.clock, ADMIN, believed, set).await
    }

    async fn version(&self) -> i64 {
        queries::version(&self.store).await.unwrap()
    }
}

fn page(limit: u32, after: Option<String>) -> Page {
    Page { after, limit }
}

fn of_team(team: &str) -> Whose {
    Whose { team: Some(team.to_owned()), key: None }
}

fn map(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

fn webhook(url: &str) -> NewWebhook {
    let sealing_key = Secret::new(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [1; 32]));
    let auth = crate::config::Auth { sealing_key, ..crate::config::Auth::default() };
    NewWebhook { url: url.into(), secret: NewSecret::make(crate::tenancy::Sealer::configured(&auth).as_ref()).unwrap() }
}

#[tokio::test]
async fn a_webhook_keeps_its_secret_until_it_is_rotated_or_goes() {
    for place in Place::all().await {
        let set = |url: &str| {
            let new = webhook(url);
            (EditTeam { webhook: Edit::Set(new.clone()), ..EditTeam::default() }, new.secret)
        };
        let rotate = async |secret: &NewSecret, overlap| {
            rotate_webhook(&place.store, &place.clock, ADMIN, ("acme", &ANY), (secret, overlap)).await
        };
        let none = rotate(&webhook("https://a.example/").secret, Duration::ZERO).await.unwrap_err();
        assert_eq!(none.kind(), Kind::Conflict);
        let (edit, first) = set("https://a.example/");
        let team = place.change_team("acme", edit).await.unwrap();
        assert!(first.shown_for(&team).is_some_and(|text| text.starts_with("whsec_")));
        let (edit, unused) = set("https://b.example/");
        let moved = place.change_team("acme", edit).await.unwrap();
        assert_eq!(
            (moved.webhook.as_ref().unwrap().url.as_str(), unused.shown_for(&moved)),
            ("https://b.example/", None)
        );
        assert!(first.shown_for(&moved).is_some());

        let second = webhook("https://x.example/").secret;
        let rotated = rotate(&second, Duration::from_mins(1)).await.unwrap();
        assert_eq!(find_team(&place.store, "acme").await.unwrap(), rotated, "every column reads back");
        assert!(second.shown_for(&rotated).is_some() && first.shown_for(&rotated).is_none());
        let until = rotated.webhook.as_ref().unwrap().previous_until();
        assert_eq!((until, rotated.version), (Some(START.plus(Duration::from_mins(1))), place.version().await));
        let long = rotate(&second, MAX_OVERLAP + Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(long.blamed(), Some("overlap_seconds"));
        let acts = list_acts(&place.store, &Acts::default(), &Page::first()).await.unwrap();
        let told = serde_json::to_string(&acts.data).unwrap();
        assert!(told.contains("webhook.rotate") && told.contains("b.example") && !told.contains("whsec_"), "{told}");
        let edit = EditTeam { webhook: Edit::Clear, ..EditTeam::default() };
        assert_eq!(place.change_team("acme", edit).await.unwrap().webhook, None);
    }
}

#[tokio::test]
async fn every_setting_of_a_team_can_be_set_read_and_cleared() {
    for place in Place::all().await {
        let profile = "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/abc";
        let guardrail = Guardrail { id: "gr1".into(), version: "DRAFT".into() };
        let edit = EditTeam {
            name: Edit::Set("new".into()),
            models: Edit::Set(vec!["nova-*".into()]),
            regions: Edit::Set(vec!["eu-west-1".into()]),
            geography: Edit::Set("eu".into()),
            role_arn: Edit::Set("arn:aws:iam::000000000000:role/bounded".into()),
            guardrail: Edit::Set(guardrail.clone()),
            request_metadata: Edit::Set(map("cost centre", "4711")),
            profiles: Edit::Set(map("nova-lite", profile)),
            unknown_price: Edit::Set("allow_unpriced".into()),
            webhook: Edit::Set(webhook("https://example.com/hook")),
            revoked: Edit::Keep,
        };
        let changed = place.change_team("acme", edit).await.unwrap();
        assert_eq!(find_team(&place.store, "new").await.unwrap(), changed, "every column reads back");
        assert_eq!(find_team(&place.store, changed.id.as_str()).await.unwrap(), changed);
        assert_eq!(changed.version, place.version().await);
        assert_eq!((&changed.guardrail, changed.unknown_price), (&Some(guardrail), UnknownPrice::AllowUnpriced));
        assert_eq!(changed.request_metadata["cost centre"], "4711");

        let some = EditTeam { name: Edit::Set("acme".into()), guardrail: Edit::Clear, ..EditTeam::default() };
        let next = place.change_team("new", some).await.unwrap();
        assert_eq!((&next.guardrail, &next.models, &next.role), (&None, &changed.models, &changed.role));

        let clear = EditTeam {
            models: Edit::Clear,
            regions: Edit::Clear,
            geography: Edit::Clear,
            role_arn: Edit::Clear,
            request_metadata: Edit::Clear,
            profiles: Edit::Clear,
            unknown_price: Edit::Clear,
            webhook: Edit::Clear,
            ..EditTeam::default()
        };
        let bare = place.change_team("acme", clear).await.unwrap();
        let fresh = create_team(&place.store, &place.clock, ADMIN, NewTeam::new("fresh")).await.unwrap();
        let as_fresh =
            crate::tenancy::Team { id: fresh.id.clone(), name: fresh.name.clone(), version: fresh.version, ..bare };
        assert_eq!(as_fresh, fresh);
    }
}

#[tokio::test]
async fn a_new_team_may_have_every_setting_from_the_start() {
    for place in Place::all().await {
        let new = NewTeam {
            guardrail: Some(Guardrail { id: "gr1".into(), version: "3".into() }),
            request_metadata: map("a", "b"),
            profiles: map("m", "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/abc"),
            unknown_price: Some("allow_unpriced".into()),
            webhook: Some(webhook("https://example.com/hook")),
            ..NewTeam::new("whole")
        };
        let team = create_team(&place.store, &place.clock, ADMIN, new).await.unwrap();
        assert_eq!(find_team(&place.store, "whole").await.unwrap(), team);
        let bad = NewTeam { unknown_price: Some("maybe".into()), ..NewTeam::new("bad") };
        let error = create_team(&place.store, &place.clock, ADMIN, bad).await.unwrap_err();
        assert_eq!(error.blamed(), Some("unknown_price"));
    }
}

#[tokio::test]
async fn a_team_is_revoked_and_restored_and_keeps_what_it_has() {
    for place in Place::all().await {
        let before = find_team(&place.store, "acme").await.unwrap();
        let revoked = revoke_team_if(&place.store, &place.clock, ADMIN, ("acme", &ANY)).await.unwrap();
        assert_eq!(revoked.revoked_at, Some(START));
        place.clock.advance(Duration::from_secs(1));
        let again = revoke_team_if(&place.store, &place.clock, ADMIN, ("acme", &ANY)).await.unwrap();
        assert_eq!(again, revoked, "who is revoked stays as he is");
        let restore = EditTeam { revoked: Edit::Set(false), ..EditTeam::default() };
        let restored = place.change_team("acme", restore).await.unwrap();
        assert_eq!(crate::tenancy::Team { version: before.version, ..restored }, before);
    }
}

#[tokio::test]
async fn a_change_that_cannot_be_leaves_everything_as_it_was() {
    for place in Place::all().await {
        create_team(&place.store, &place.clock, ADMIN, NewTeam::new("other")).await.unwrap();
        let before = (find_team(&place.store, "acme").await.unwrap(), place.version().await);
        let base = || EditTeam { models: Edit::Set(vec!["a".into()]), ..EditTeam::default() };
        for (edit, kind, blamed) in [
            (EditTeam { name: Edit::Set("other".into()), ..base() }, Kind::Conflict, "name"),
            (EditTeam { name: Edit::Set(" ".into()), ..base() }, Kind::Invalid, "name"),
            (EditTeam { name: Edit::Clear, ..base() }, Kind::Invalid, "name"),
            (EditTeam { revoked: Edit::Clear, ..base() }, Kind::Invalid, "revoked"),
            (EditTeam { regions: Edit::Set(vec!["mars".into()]), ..base() }, Kind::Invalid, "regions[0]"),
            (EditTeam { geography: Edit::Set("mars".into()), ..base() }, Kind::Invalid, "geography"),
            (EditTeam { role_arn: Edit::Set("x".into()), ..base() }, Kind::Invalid, "role_arn"),
            (EditTeam { unknown_price: Edit::Set("x".into()), ..base() }, Kind::Invalid, "unknown_price"),
            (EditTeam { profiles: Edit::Set(map("m", "x")), ..base() }, Kind::Invalid, "profiles.m"),
        ] {
            let error = place.change_team("acme", edit).await.unwrap_err();
            assert_eq!((error.kind(), error.blamed()), (kind, Some(blamed)));
        }
        let absent = place.change_team("no\0body", base()).await.unwrap_err();
        assert_eq!((absent.kind(), absent.blamed()), (Kind::NotFound, Some("team")));
        assert_eq!((find_team(&place.store, "acme").await.unwrap(), place.version().await), before);
    }
}

#[tokio::test]
async fn every_setting_of_a_key_can_be_set_and_cleared_and_its_secret_stays() {
    for place in Place::all().await {
        let (key, text) = create_key(&place.store, &place.clock, ADMIN, NewKey::new("acme", "k")).await.unwrap();
        let end = START.plus(Duration::from_hours(1));
        let edit = EditKey {
            name: Edit::Set("renamed".into()),
            scopes: Edit::Set(vec![Scope::Metrics]),
            expires_at: Edit::Set(end),
            models: Edit::Set(vec!["a*".into()]),
            regions: Edit::Set(vec!["eu-west-1".into()]),
            networks: Edit::Set(vec!["10.0.0.0/8".into()]),
            on_disconnect: Edit::Set(OnDisconnect::Drain),
        };
        let changed = change_key(&place.store, &place.clock, ADMIN, (&key.id, &ANY), edit).await.unwrap();
        assert_eq!(find_key(&place.store, &key.id).await.unwrap(), (changed.clone(), "acme".to_owned()));
        assert_eq!((changed.expires_at, changed.on_disconnect), (Some(end), OnDisconnect::Drain));
        assert_eq!(changed.secret, key.secret);
        let clear = EditKey {
            name: Edit::Set("k".into()),
            scopes: Edit::Set(key.scopes.clone()),
            expires_at: Edit::Clear,
            models: Edit::Clear,
            regions: Edit::Clear,
            networks: Edit::Clear,
            on_disconnect: Edit::Clear,
        };
        let bare = change_key(&place.store, &place.clock, ADMIN, (&key.id, &ANY), clear).await.unwrap();
        assert_eq!(crate::tenancy::Key { version: key.version, ..bare }, key);
        assert!(!text.expose().is_empty());

        for (edit, blamed) in [
            (EditKey { name: Edit::Clear, ..EditKey::default() }, "name"),
            (EditKey { scopes: Edit::Clear, ..EditKey::default() }, "scopes"),
            (EditKey { scopes: Edit::Set(vec![]), ..EditKey::default() }, "scopes"),
            (EditKey { expires_at: Edit::Set(START), ..EditKey::default() }, "expires_at"),
            (EditKey { networks: Edit::Set(vec!["x".into()]), ..EditKey::default() }, "networks[0]"),
        ] {
            let error = change_key(&place.store, &place.clock, ADMIN, (&key.id, &ANY), edit).await.unwrap_err();
            assert_eq!(error.blamed(), Some(blamed));
        }
        revoke_key(&place.store, &place.clock, ADMIN, &key.id).await.unwrap();
        let edit = EditKey { name: Edit::Set("late".into()), ..EditKey::default() };
        let late = change_key(&place.store, &place.clock, ADMIN, (&key.id, &ANY), edit).await.unwrap_err();
        assert_eq!(late.kind(), Kind::Conflict);
    }
}

#[tokio::test]
async fn of_two_who_believe_the_same_version_one_succeeds() {
    for place in Place::all().await {
        let team = find_team(&place.store, "acme").await.unwrap();
        let key = place.key("k").await;
        let believed = |version| Precondition::Among(vec![version]);
        let rename = |name: &str| EditTeam { name: Edit::Set(name.into()), ..EditTeam::default() };
        let (store, clock) = (&*place.store, &place.clock);
        let of_team = believed(team.version);
        let act = |name: &'static str| change_team(store, clock, ADMIN, (team.id.as_str(), &of_team), rename(name));
        let (one, two) = futures_util::future::join(act("one"), act("two")).await;
        let failed = one.as_ref().err().or(two.as_ref().err()).unwrap();
        assert_eq!((one.is_ok() ^ two.is_ok(), failed.kind()), (true, Kind::Stale));
        let stale = revoke_team_if(store, clock, ADMIN, (team.id.as_str(), &of_team)).await.unwrap_err();
        assert_eq!(stale.kind(), Kind::Stale);

        let of_key = believed(key.version - 1);
        let stale = revoke_key_if(store, clock, ADMIN, (&key.id, &of_key)).await.unwrap_err();
        assert_eq!(stale.kind(), Kind::Stale);
        let edit = EditKey { name: Edit::Set("x".into()), ..EditKey::default() };
        let stale = change_key(store, clock, ADMIN, (&key.id, &of_key), edit.clone()).await.unwrap_err();
        assert_eq!(stale.kind(), Kind::Stale);
        let good = Precondition::Among(vec![1_000, key.version]);
        assert!(change_key(store, clock, ADMIN, (&key.id, &good), edit).await.is_ok());
        assert!(revoke_key_if(store, clock, ADMIN, (&key.id, &Precondition::Exists)).await.is_ok());
    }
}

#[tokio::test]
async fn a_limit_is_one_for_a_subject_and_model_however_often_it_is_set() {
    for place in Place::all().await {
        let team = find_team(&place.store, "acme").await.unwrap().id.to_string();
        let key = place.key("k").await;
        let set = |rpm| SetLimit { whose: of_team("acme"), requests_per_minute: Some(rpm), ..SetLimit::default() };
        let stale = place.set_limit(&Precondition::Exists, set(10)).await.unwrap_err();
        assert_eq!(stale.kind(), Kind::Stale, "there is none yet");
        let first = place.set_limit(&ANY, set(10)).await.unwrap();
        assert_eq!((first.team.as_deref(), first.team_name.as_deref()), (Some(&*team), Some("acme")));
        let version = place.version().await;
        assert_eq!(place.set_limit(&ANY, set(10)).await.unwrap(), first);
        assert_eq!(place.version().await, version, "what changes nothing is no change");

        place.clock.advance(Duration::from_secs(1));
        let tokens = SetLimit { whose: of_team(&team), tokens_per_minute: Some(5), ..SetLimit::default() };
        let replaced = place.set_limit(&Precondition::Among(vec![first.version]), tokens.clone()).await.unwrap();
        assert_eq!(
            (&replaced.id, replaced.requests_per_minute, replaced.tokens_per_minute),
            (&first.id, None, Some(5))
        );
        assert_eq!((&replaced.created_at, replaced.updated_at == first.updated_at), (&first.created_at, false));
        let stale = place.set_limit(&Precondition::Among(vec![first.version]), tokens).await.unwrap_err();
        assert_eq!(stale.kind(), Kind::Stale);

        let of_key = Whose { key: Some(key.id.to_string()), team: None };
        let nova =
            SetLimit { whose: of_key.clone(), model: Some("nova-*".into()), concurrent_requests: Some(2), ..set(1) };
        let nova = place.set_limit(&ANY, nova).await.unwrap();
        assert_eq!((nova.team, nova.key_name.as_deref(), nova.concurrent_requests), (None, Some("k"), Some(2)));
        let everyone = SetLimit { whose: Whose::default(), model: Some("nova-lite".into()), ..set(7) };
        let everyone = place.set_limit(&ANY, everyone).await.unwrap();
        assert_eq!((&everyone.team, &everyone.key), (&None, &None));

        let list = async |which: Limits| {
            let listed = list_limits(&place.store, &which, &Page::first()).await.unwrap();
            listed.data.into_iter().map(|limit| limit.id).collect::<Vec<_>>()
        };
        assert_eq!(list(Limits::default()).await, [&*replaced.id, &nova.id, &everyone.id]);
        assert_eq!(list(Limits { whose: of_team("acme"), model: None }).await, [&*replaced.id]);
        assert_eq!(list(Limits { whose: of_key, model: None }).await, [&*nova.id]);
        assert_eq!(list(Limits { whose: Whose::default(), model: Some("nova-lite".into()) }).await, [&*everyone.id]);
        let served = limits(&place.store).await;
        assert_eq!(served.len(), 3);

        let (store, clock) = (&*place.store, &place.clock);
        let id = crate::ids::LimitId::from(&replaced.id);
        let stale = remove_limit(store, clock, ADMIN, (&id, &Precondition::Among(vec![first.version]))).await;
        assert_eq!(stale.unwrap_err().kind(), Kind::Stale);
        let removed = remove_limit(store, clock, ADMIN, (&id, &ANY)).await.unwrap();
        assert!(removed.removed_at.is_some());
        assert_eq!(remove_limit(store, clock, ADMIN, (&id, &ANY)).await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(limits(store).await.len(), 2);
        let stale = place.set_limit(&Precondition::Exists, set(1)).await.unwrap_err();
        assert_eq!(stale.kind(), Kind::Stale, "what was removed is not there");
        let revived = place.set_limit(&ANY, set(1)).await.unwrap();
        assert_eq!((&revived.id, &revived.removed_at), (&replaced.id, &None));
    }
}

#[tokio::test]
async fn a_limit_that_limits_nobody_or_nothing_is_refused() {
    for place in Place::all().await {
        let base = || SetLimit { whose: of_team("acme"), requests_per_minute: Some(1), ..SetLimit::default() };
        let both = Whose { team: Some("acme".into()), key: Some("x".into()) };
        let no_key = Whose { team: None, key: Some("no\0key".into()) };
        for (set, kind, blamed) in [
            (SetLimit { whose: Whose::default(), ..base() }, Kind::Invalid, "team"),
            (SetLimit { whose: both, ..base() }, Kind::Invalid, "key"),
            (SetLimit { whose: no_key, ..base() }, Kind::NotFound, "key"),
            (SetLimit { whose: of_team("nobody"), ..base() }, Kind::NotFound, "team"),
            (SetLimit { requests_per_minute: None, ..base() }, Kind::Invalid, "requests_per_minute"),
            (SetLimit { requests_per_minute: Some(0), ..base() }, Kind::Invalid, "requests_per_minute"),
            (SetLimit { tokens_per_minute: Some(u64::MAX), ..base() }, Kind::Invalid, "tokens_per_minute"),
            (SetLimit { concurrent_requests: Some(0), ..base() }, Kind::Invalid, "concurrent_requests"),
            (SetLimit { model: Some(String::new()), ..base() }, Kind::Invalid, "model"),
            (SetLimit { model: Some("a b".into()), ..base() }, Kind::Invalid, "model"),
        ] {
            let error = place.set_limit(&ANY, set).await.unwrap_err();
            assert_eq!((error.kind(), error.blamed()), (kind, Some(blamed)), "{error}");
        }
    }
}

#[tokio::test]
async fn a_budget_is_one_for_a_subject_and_period_and_exact() {
    for place in Place::all().await {
        let set = |period: &str, usd: &str| SetBudget {
            whose: of_team("acme"),
            period: period.to_owned(),
            limit_usd: usd.to_owned(),
        };
        let first = place.set_budget(&ANY, set("month", "12.5")).await.unwrap();
        assert_eq!((&*first.limit_usd, &*first.period), ("12.500000", "month"));
        assert_eq!(first.starts_at.as_deref(), Some("2023-11-01T00:00:00Z"));
        assert_eq!(first.ends_at.as_deref(), Some("2023-12-01T00:00:00Z"));
        assert_eq!(place.set_budget(&ANY, set("month", "12.50")).await.unwrap(), first);
        let stored = budgets(&place.store).await;
        assert_eq!((stored.len(), stored[0].limit), (1, MicroUsd(12_500_000)));
        let total = place.set_budget(&ANY, set("total", "0.000001")).await.unwrap();
        assert_eq!((&total.starts_at, &total.ends_at), (&None, &None));
        let more = place.set_budget(&Precondition::Among(vec![first.version]), set("month", "13")).await.unwrap();
        assert_eq!((&more.id, &*more.limit_usd), (&first.id, "13.000000"));
        let stale = place.set_budget(&Precondition::Among(vec![first.version]), set("month", "14")).await.unwrap_err();
        assert_eq!(stale.kind(), Kind::Stale);

        let list = async |whose: Whose, period: Option<&str>| {
            let which = Budgets { whose, period: period.map(str::to_owned) };
            let listed = list_budgets(&place.store, START, &which, &Page::first()).await.unwrap();
            listed.data.into_iter().map(|budget| budget.id).collect::<Vec<_>>()
        };
        assert_eq!(list(Whose::default(), None).await, [&*first.id, &total.id]);
        assert_eq!(list(of_team("acme"), Some("total")).await, [&*total.id]);
        let (store, clock) = (&*place.store, &place.clock);
        let id = crate::ids::BudgetId::from(&total.id);
        assert!(remove_budget(store, clock, ADMIN, (&id, &ANY)).await.unwrap().removed_at.is_some());
        assert_eq!(remove_budget(store, clock, ADMIN, (&id, &ANY)).await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(list(Whose::default(), None).await, [&*first.id]);
        assert_eq!(place.set_budget(&ANY, set("total", "0")).await.unwrap().id, total.id);

        for (set, blamed) in [
            (set("year", "1"), "period"),
            (set("Month", "1"), "period"),
            (set("day", "-1"), "limit_usd"),
            (set("day", "0.0000001"), "limit_usd"),
            (set("day", "1000000000.000001"), "limit_usd"),
            (set("day", "ten"), "limit_usd"),
            (SetBudget { whose: Whose::default(), ..set("day", "1") }, "team"),
        ] {
            let error = place.set_budget(&ANY, set).await.unwrap_err();
            assert_eq!((error.kind(), error.blamed()), (Kind::Invalid, Some(blamed)));
        }
    }
}

/// Every entry of a list read in small pages, with something made between any two of them.
async fn walk<T>(
    list: impl AsyncFn(Page) -> Result<Listed<T>>,
    mut disturb: impl AsyncFnMut(),
    id: impl Fn(&T) -> String,
) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let listed = list(page(2, after)).await.unwrap();
        assert!(listed.data.len() <= 2);
        ids.extend(listed.data.iter().map(&id));
        disturb().await;
        after = listed.next;
        if after.is_none() {
            return ids;
        }
        assert!(ids.len() < 100, "the list does not end");
    }
}

/// No entry comes twice, and each that was there at the beginning comes.
fn assert_stable(walked: &[String], there: &[String]) {
    let mut each = walked.to_vec();
    each.sort();
    each.dedup();
    assert_eq!(each.len(), walked.len(), "an entry came twice: {walked:?}");
    assert!(there.iter().all(|id| walked.contains(id)), "an entry is missing: {walked:?} of {there:?}");
}

#[tokio::test]
async fn pages_stay_as_they_are_while_others_administer() {
    for place in Place::all().await {
        let (store, clock) = (&*place.store, &place.clock);
        for number in 0..6 {
            create_team(store, clock, ADMIN, NewTeam::new(format!("t{number}"))).await.unwrap();
            place.key(&format!("k{number}")).await;
        }
        let mut made = 0;
        let teams: Vec<String> = list_teams(store).await.unwrap().iter().map(|team| team.id.to_string()).collect();
        let walked = walk(
            async |page| page_of_teams(store, &Teams::default(), &page).await,
            async || {
                made += 1;
                // Both ends of the alphabet, and one that is there moves.
                if made < 4 {
                    create_team(store, clock, ADMIN, NewTeam::new(format!("a{made}"))).await.unwrap();
                    let edit = EditTeam { name: Edit::Set(format!("z{made}")), ..EditTeam::default() };
                    place.change_team(&format!("t{made}"), edit).await.unwrap();
                }
            },
            |team| team.id.to_string(),
        );
        assert_stable(&walked.await, &teams);

        let keys: Vec<String> = list_keys(store).await.unwrap().iter().map(|key| key.id.to_string()).collect();
        let mut made = 0;
        let walked = walk(
            async |page| page_of_keys(store, &Keys::default(), &page).await,
            async || {
                made += 1;
                clock.advance(Duration::from_millis(1));
                if made < 4 {
                    place.key("later").await;
                }
            },
            |(key, _)| key.id.to_string(),
        );
        assert_stable(&walked.await, &keys);

        let acts = list_acts(store, &Acts::default(), &Page::first()).await.unwrap();
        let acts: Vec<String> = acts.data.into_iter().map(|act| act.id).collect();
        let walked = walk(
            async |page| list_acts(store, &Acts::default(), &page).await,
            async || {
                clock.advance(Duration::from_millis(1));
                place.key("meanwhile").await;
            },
            |act| act.id.clone(),
        );
        let walked = walked.await;
        assert_eq!(walked, acts, "the newest first, and what came later is not among them");
    }
}

#[tokio::test]
async fn lists_take_filters_and_refuse_cursors_that_are_none() {
    for place in Place::all().await {
        let store = &*place.store;
        create_team(store, &place.clock, ADMIN, NewTeam::new("it's \"100%\"_")).await.unwrap();
        let names = async |name: &str| {
            let which = Teams { name: Some(name.to_owned()) };
            let listed = page_of_teams(store, &which, &Page::first()).await.unwrap();
            listed.data.into_iter().map(|team| team.name).collect::<Vec<_>>()
        };
        assert_eq!(names("it's \"100%\"_").await, ["it's \"100%\"_"]);
        assert_eq!(names("ac%").await, [""; 0]);
        place.key("k").await;
        let of = |team: &str| Keys { team: Some(team.to_owned()) };
        let listed = page_of_keys(store, &of("acme"), &Page::first()).await.unwrap();
        assert_eq!((listed.data.len(), &*listed.data[0].1, &listed.next), (1, "acme", &None));
        let none = page_of_keys(store, &of("it's \"100%\"_"), &Page::first()).await.unwrap();
        assert!(none.data.is_empty());
        assert_eq!(page_of_keys(store, &of("nobody"), &Page::first()).await.unwrap_err().kind(), Kind::NotFound);
        for cursor in ["", "x", "1", "x.y", "99999999999999999999.y"] {
            let wrong = page(10, Some(cursor.to_owned()));
            let error = page_of_keys(store, &Keys::default(), &wrong).await.unwrap_err();
            assert_eq!(error.blamed(), Some("cursor"), "{cursor}");
            assert_eq!(list_acts(store, &Acts::default(), &wrong).await.unwrap_err().blamed(), Some("cursor"));
        }
    }
}

#[tokio::test]
async fn the_audit_log_tells_who_changed_what_and_no_secret() {
    for place in Place::all().await {
        let (store, clock) = (&*place.store, &place.clock);
        let (key, text) = create_key(store, clock, Actor::Gateway, NewKey::new("acme", "k")).await.unwrap();
        clock.advance(Duration::from_secs(1));
        let actor = Actor::Key(key.id.clone());
        let edit = EditKey { name: Edit::Set("renamed".into()), ..EditKey::default() };
        change_key(store, clock, actor.clone(), (&key.id, &ANY), edit.clone()).await.unwrap();
        change_key(store, clock, actor.clone(), (&key.id, &ANY), edit).await.unwrap();
        clock.advance(Duration::from_secs(1));
        place
            .set_budget(&ANY, SetBudget { whose: of_team("acme"), period: "day".into(), limit_usd: "1".into() })
            .await
            .unwrap();
        revoke_key(store, clock, Actor::Bootstrap(key.id.clone()), &key.id).await.unwrap();
        let list = async |which: Acts| {
            let listed = list_acts(store, &which, &Page::first()).await.unwrap();
            listed.data.into_iter().map(|act| act.action).collect::<Vec<_>>()
        };
        let all = list(Acts::default()).await;
        assert_eq!(all, ["key.revoke", "budget.set", "key.update", "key.create", "team.create"]);
        let of_key = Acts { subject: Some(key.id.to_string()), ..Acts::default() };
        assert_eq!(list(of_key).await, ["key.revoke", "key.update", "key.create"]);
        let by = Acts { actor: Some(actor.to_string()), ..Acts::default() };
        assert_eq!(list(by.clone()).await, ["key.update"]);
        let update = &list_acts(store, &by, &Page::first()).await.unwrap().data[0];
        assert_eq!(update.detail, json!({"name": {"from": "k", "to": "renamed"}}));
        assert_eq!((&*update.at, &*update.actor), ("2023-11-14T22:13:21Z", &*format!("key:{}", key.id)));
        let boot = Acts { actor: Some(format!("bootstrap:{}", key.id)), ..Acts::default() };
        assert_eq!(list(boot).await, ["key.revoke"]);
        let action = Acts { action: Some("key.create".into()), ..Acts::default() };
        assert_eq!(list(action).await, ["key.create"]);
        let second = Acts {
            from: Some(START.plus(Duration::from_secs(1))),
            to: Some(START.plus(Duration::from_secs(2))),
            ..Acts::default()
        };
        assert_eq!(list(second).await, ["key.update"]);
        let log = place.store.texts("SELECT detail FROM audit").await.concat().concat();
        assert!(!log.contains(text.expose().rsplit('_').next().unwrap()) && !log.contains(&key.secret.to_hex()));
    }
}

/// Every limit that counts, by id.
async fn limits(store: &Store) -> Vec<crate::tenancy::limit::Limit> {
    let all = queries::limits_since(store, &queries::Mark::after(0)).await.unwrap();
    let mut all: Vec<_> = all.into_iter().filter_map(|limit| limit.row).collect();
    all.retain(|limit| limit.removed_at.is_none());
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

/// Every budget that counts, by id.
async fn budgets(store: &Store) -> Vec<crate::tenancy::budget::Budget> {
    let all = queries::budgets_since(store, &queries::Mark::after(0)).await.unwrap();
    let mut all: Vec<_> = all.into_iter().filter_map(|budget| budget.row).collect();
    all.retain(|budget| budget.removed_at.is_none());
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}
