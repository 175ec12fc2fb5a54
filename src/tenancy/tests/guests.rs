//! Who stands in for a key of a team.

use std::sync::Arc;

use super::*;

fn stand_in<'a>(key: &'a KeyId, scopes: Option<&'a [String]>) -> StandIn<'a> {
    StandIn { key, name: "login.example.com", scopes, expires_at: START.plus(SECOND) }
}

#[tokio::test]
async fn a_team_is_found_by_id_and_by_name_and_one_that_was_just_made_at_once() {
    for served in Served::on_all().await {
        let made =
            admin::create_team(&served.store, &served.clock, Actor::CommandLine, NewTeam::new("later")).await.unwrap();
        let by_name = served.tenancy.membership("later").await.unwrap();
        let by_id = served.tenancy.membership(made.id.as_str()).await.unwrap();
        assert!(Arc::ptr_eq(&by_name, &by_id));
        let error = served.tenancy.membership("nobody's").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unauthenticated);
        assert!(error.message().contains("does not exist") && !error.message().contains("nobody's"));
    }
}

#[tokio::test]
async fn a_revoked_team_has_nobody_standing_in() {
    let served = Served::on(testing::sqlite().await).await;
    served.tenancy.membership("acme").await.unwrap();
    let any = admin::Precondition::Any;
    admin::revoke_team_if(&served.store, &served.clock, Actor::CommandLine, ("acme", &any)).await.unwrap();
    served.tenancy.refresh().await;
    let error = served.tenancy.membership("acme").await.unwrap_err();
    assert!(error.kind() == Kind::Unauthenticated && error.message().contains("revoked"), "{error}");
}

#[tokio::test]
async fn a_stand_in_may_what_its_scopes_say_within_its_team() {
    let served = Served::on(testing::sqlite().await).await;
    let new = NewTeam { models: Some(vec!["nova-*".into()]), ..NewTeam::new("nova") };
    admin::create_team(&served.store, &served.clock, Actor::CommandLine, new).await.unwrap();
    let membership = served.tenancy.membership("nova").await.unwrap();
    let id = KeyId::from("jwt00");
    let caller = stand_in(&id, None).caller(&membership, None).unwrap();
    assert_eq!((&caller.key.id, &*caller.key.name, &*caller.team.name), (&id, "login.example.com", "nova"));
    assert_eq!(caller.key.expires_at, Some(START.plus(SECOND)));
    assert!(caller.allows_model(["nova-lite"]) && !caller.allows_model(["claude-haiku-4-5"]));
    let may =
        |caller: &Caller| [Scope::Inference, Scope::Batch, Scope::Admin].map(|scope| caller.require(scope).is_ok());
    assert_eq!(may(&caller), [true, true, false]);
    let words = ["openid", "batch", "batch", "root"].map(String::from);
    let scoped = stand_in(&id, Some(&words)).caller(&membership, Some(&caller)).unwrap();
    assert_eq!(may(&scoped), [false, true, false]);
    assert_eq!(may(&stand_in(&id, Some(&[])).caller(&membership, None).unwrap()), [false; 3]);
    assert!(Arc::ptr_eq(&scoped.activity, &caller.activity), "what is in flight outlives the token");
}
