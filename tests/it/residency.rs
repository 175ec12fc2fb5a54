//! Where a call may be sent and sent on to: fences of teams, keys and aliases, on the wire.

use std::time::Duration;

use bedrock_gateway::config::Alias;
use bedrock_gateway::tenancy::{NewKey, NewTeam};
use serde_json::{Value, json};

use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL_ID, SECOND, TEAM, TestGateway};

/// The simulator's application inference profile of these tests.
const APPLICATION: &str = "abcdefghijkl";

fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hello"}]})
}

fn application_arn(region: &str) -> String {
    format!("arn:aws:bedrock:{region}:000000000000:application-inference-profile/{APPLICATION}")
}

async fn send(t: &TestGateway, key: &str, model: &str) -> Reply {
    t.openai().with_key(key).send(&ask(model)).await
}

async fn key_within(t: &TestGateway, regions: &[&str]) -> String {
    let regions = Some(regions.iter().map(|region| (*region).to_owned()).collect());
    t.make_key(NewKey { regions, ..NewKey::new(TEAM, "fenced") }).await.1
}

#[tokio::test]
async fn a_profile_that_leads_out_of_the_fence_is_refused_in_every_dialect_with_the_way_out() {
    let t = TestGateway::start().await;
    let key = key_within(&t, &[FIRST, SECOND]).await;
    // `us.` leads to us-east-2, too.
    let openai = send(&t, &key, MODEL_ID).await;
    let error = openai.openai_error();
    assert_eq!(
        (openai.status(), &error["code"], &error["param"]),
        (403, &json!("insufficient_permissions"), &json!("model"))
    );
    assert!(error["message"].as_str().unwrap().contains("may be sent on to us-east-2"), "{error}");
    let bedrock = t.bedrock().with_key(&key).converse("hello").await;
    assert_eq!((bedrock.status(), bedrock.exception().0), (403, "AccessDeniedException"));
    let hello = json!({"model": MODEL_ID, "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]});
    let anthropic = t.anthropic().with_key(&key).send(&hello).await;
    assert_eq!((anthropic.status(), &anthropic.anthropic_error()["type"]), (403, &json!("permission_error")));
    assert!(t.sim.calls().is_empty(), "nothing may reach Bedrock");
    assert_eq!(t.metrics().count("gateway_rejected_total", &[("reason", "region")]), 3);

    let wide = key_within(&t, &[FIRST, SECOND, "us-east-2"]).await;
    assert_eq!(send(&t, &wide, MODEL_ID).await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn a_team_s_regions_and_a_key_s_regions_both_hold() {
    let t = TestGateway::start().await;
    let regions = Some(vec![FIRST.to_owned(), "us-east-2".to_owned(), SECOND.to_owned()]);
    t.make_team(NewTeam { regions, ..NewTeam::new("american") }).await;
    let (_, whole) = t.make_key(NewKey::new("american", "whole")).await;
    let (_, narrow) =
        t.make_key(NewKey { regions: Some(vec![FIRST.into()]), ..NewKey::new("american", "narrow") }).await;
    assert_eq!(send(&t, &whole, MODEL_ID).await.status(), 200);
    assert_eq!(send(&t, &narrow, MODEL_ID).await.status(), 403);
    assert_eq!(send(&t, &narrow, "nova-lite").await.region(), FIRST);
    t.finish().await;
}

#[tokio::test]
async fn a_team_s_geography_keeps_its_calls_inside() {
    let t = TestGateway::with(|config| config.aws.regions = vec![FIRST.into(), "eu-west-1".into()]).await;
    t.make_team(NewTeam { geography: Some("eu".into()), ..NewTeam::new("european") }).await;
    let (_, key) = t.make_key(NewKey::new("european", "k")).await;
    let reply = send(&t, &key, MODEL_ID).await;
    assert_eq!((reply.status(), reply.region()), (200, "eu-west-1"), "{}", reply.text());
    assert_eq!(t.sim.calls()[0].model_id, format!("eu.{MODEL_ID}"));
    let refused = send(&t, &key, &format!("global.{MODEL_ID}")).await;
    assert_eq!(refused.status(), 403);
    assert!(
        refused.text().contains("the geography `eu`") && refused.text().contains("any Region"),
        "{}",
        refused.text()
    );
    t.sim.region("eu-west-1").quota_exceeded(1);
    assert_eq!(send(&t, &key, MODEL_ID).await.status(), 429, "the United States are no way out");
    t.finish().await;
}

#[tokio::test]
async fn an_alias_is_limited_to_its_own_regions_and_lists_by_them() {
    let aliases = [
        Alias {
            alias: "western".into(),
            model: "nova-lite".into(),
            regions: Some(vec![SECOND.into()]),
            ..Alias::default()
        },
        Alias { alias: "american".into(), model: MODEL_ID.into(), geography: Some("us".into()), ..Alias::default() },
    ];
    let t = TestGateway::with(|config| config.models = aliases.to_vec()).await;
    assert_eq!(send(&t, t.key(), "western").await.region(), SECOND);
    assert_eq!(send(&t, t.key(), "american").await.region(), FIRST);
    let eastern = key_within(&t, &[FIRST]).await;
    let refused = send(&t, &eastern, "western").await;
    assert_eq!(refused.status(), 403, "{}", refused.text());
    let listed = t.openai().with_key(&eastern).models().await.json();
    let ids: Vec<&str> = listed["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str()).collect();
    assert!(
        !ids.contains(&"western") && !ids.contains(&"american") && ids.contains(&"amazon.nova-lite-v1:0"),
        "{ids:?}"
    );
    t.finish().await;
}

#[tokio::test]
async fn an_application_profile_is_asked_for_once_and_priced_and_fenced_as_what_it_copies() {
    let t = TestGateway::simulated(|settings| {
        settings.application_profiles.insert(APPLICATION.into(), format!("us.{MODEL_ID}"));
    })
    .await;
    let arn = application_arn(FIRST);
    for _ in 0..3 {
        let reply = send(&t, t.key(), &arn).await;
        assert_eq!((reply.status(), reply.header("x-gateway-model")), (200, MODEL_ID), "{}", reply.text());
        assert_ne!(reply.header("x-gateway-cost-usd"), "unknown");
    }
    let asked = || t.sim.calls().iter().filter(|call| call.operation == "GetInferenceProfile").count();
    assert_eq!(asked(), 1);
    assert!(t.sim.calls().iter().filter(|call| call.operation == "Converse").all(|call| call.model_id == arn));

    let fenced = key_within(&t, &[FIRST]).await;
    let refused = send(&t, &fenced, &arn).await;
    let error = refused.openai_error();
    assert_eq!(refused.status(), 403);
    assert!(!error["message"].as_str().unwrap().contains("000000000000"), "{error}");
    let wide = key_within(&t, &[FIRST, SECOND, "us-east-2"]).await;
    assert_eq!(send(&t, &wide, &arn).await.status(), 200);
    assert_eq!(asked(), 1);
    t.finish().await;
}

#[tokio::test]
async fn a_control_plane_that_stumbles_does_not_hide_an_application_profile_for_long() {
    let t = TestGateway::simulated(|settings| {
        settings.application_profiles.insert(APPLICATION.into(), format!("us.{MODEL_ID}"));
    })
    .await;
    let (arn, fenced) = (application_arn(FIRST), key_within(&t, &[FIRST, SECOND, "us-east-2"]).await);
    let control = || t.sim.region(FIRST).control().on("GetInferenceProfile");
    control().throttle(2);
    assert_eq!(send(&t, &fenced, &arn).await.status(), 403);
    t.clock.advance(Duration::from_secs(5));
    control().throttle(1);
    assert_eq!(send(&t, &fenced, &arn).await.status(), 200, "one failure is made good for at once");

    t.clock.advance(Duration::from_hours(1));
    control().unavailable(2);
    let reply = send(&t, &fenced, &arn).await;
    assert_eq!((reply.status(), reply.header("x-gateway-model")), (200, MODEL_ID), "what was told before still stands");
    t.finish().await;
}

#[tokio::test]
async fn an_application_profile_that_aws_does_not_tell_of_is_called_as_it_is_and_never_through_a_fence() {
    let t = TestGateway::start().await;
    let arn = application_arn(FIRST);
    let unknown = send(&t, t.key(), &arn).await;
    assert_eq!(unknown.status(), 404, "{}", unknown.text());
    let fenced = key_within(&t, &[FIRST, SECOND, "us-east-2"]).await;
    let refused = send(&t, &fenced, &arn).await;
    assert_eq!(refused.status(), 403);
    assert!(refused.text().contains("not known"), "{}", refused.text());
    t.finish().await;
}
