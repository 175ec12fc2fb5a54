//! What `iam-policy` prints is enough for every call, and none of it is too much: the gateway against a simulated AWS that
//! allows exactly that.

use bedrock_gateway::catalog::Catalog;
use bedrock_gateway::config::Config;
use bedrock_gateway::policy::{Account, Policies, Profiles, Request, Selection};
use bedrock_gateway::tenancy::{Guardrail, NewKey, NewTeam};
use serde_json::{Value, json};

use crate::support::calls::{chat, message, with};
use crate::support::{FIRST, MODEL, MODEL_ID, SECOND, TestGateway};

const GLOBAL: &str = "global.anthropic.claude-haiku-4-5-20251001-v1:0";

/// All statements that the caller is to be given for these models, in one document.
fn policy(config: &Config, models: &[&str]) -> Value {
    policy_with(config, models, &[])
}

/// The same where teams have these application inference profiles.
fn policy_with(config: &Config, models: &[&str], team_profiles: &[&str]) -> Value {
    let request = Request {
        account: Account::of("000000000000").unwrap(),
        selection: Selection::Named(models.iter().map(|model| (*model).to_owned()).collect()),
        profiles: Profiles::Chosen,
        team_roles: Vec::new(),
        team_profiles: team_profiles.iter().map(|arn| (*arn).to_owned()).collect(),
        team_guardrails: Vec::new(),
        kms_key: None,
        base: None,
    };
    let policies = Policies::new(config, &Catalog::configured(config).unwrap(), &request).unwrap();
    let statements: Vec<Value> = policies
        .caller
        .values()
        .flat_map(|document| serde_json::to_value(document).unwrap()["Statement"].as_array().unwrap().clone())
        .collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// Without `arn` as a resource of what invokes.
fn without(policy: &Value, arn: &str) -> Value {
    let mut policy = policy.clone();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        if statement["Action"].as_array().unwrap().contains(&json!("bedrock:InvokeModel")) {
            statement["Resource"].as_array_mut().unwrap().retain(|resource| resource != arn);
        }
    }
    policy
}

#[tokio::test]
async fn the_caller_s_policies_are_enough_for_every_kind_of_call() {
    let t = TestGateway::start().await;
    let models = [MODEL, GLOBAL, "nova-lite", "titan-embed-text-v2"];
    t.sim.set_policy(Some(policy(&t.config, &models)));
    for model in [MODEL, GLOBAL, "nova-lite"] {
        let body = with(chat("hello"), json!({"model": model}));
        let reply = t.openai().send(&body).await;
        assert_eq!((reply.status(), reply.region()), (200, FIRST), "{model}: {}", reply.text());
        t.openai().open(&with(body, json!({"stream": true}))).await.rest().await;
    }
    assert_eq!(t.anthropic().send(&message("hello")).await.status(), 200);
    let count = json!({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]});
    assert_eq!(t.anthropic().count(&count).await.status(), 200);
    assert_eq!(t.bedrock().converse("hello").await.status(), 200);
    let vectors = json!({"model": "titan-embed-text-v2", "input": "hello"});
    assert_eq!(t.openai().post("/v1/embeddings", &vectors).await.status(), 200);
    assert!(t.sim.calls().iter().all(|call| call.status == 200), "{:#?}", t.sim.calls());

    let other = t.openai().send(&with(chat("hello"), json!({"model": "nova-micro"}))).await;
    assert_eq!(other.status(), 403, "a model that was not asked for is not allowed");
    t.finish().await;
}

#[tokio::test]
async fn a_team_s_profile_and_guardrail_are_allowed_by_what_is_said_of_them() {
    let t = TestGateway::simulated(|settings| {
        settings.application_profiles.insert("abcdefghijkl".into(), format!("us.{MODEL_ID}"));
    })
    .await;
    let profile = format!("arn:aws:bedrock:{FIRST}:000000000000:application-inference-profile/abcdefghijkl");
    let guardrail = Some(Guardrail { id: "own1".into(), version: "3".into() });
    let profiles = [(MODEL.to_owned(), profile.clone())].into();
    t.make_team(NewTeam { guardrail, profiles, ..NewTeam::new("charged") }).await;
    let (_, key) = t.make_key(NewKey::new("charged", "k")).await;
    let ask = async || t.openai().with_key(&key).chat("hello").await;
    // The model may be called, but not by this profile.
    t.sim.set_policy(Some(policy(&t.config, &[MODEL])));
    assert_eq!(ask().await.status(), 403);
    t.sim.set_policy(Some(policy_with(&t.config, &["nova-lite"], &[&profile])));
    let reply = ask().await;
    assert_eq!((reply.status(), reply.region()), (200, FIRST), "{reply:?}");
    assert_eq!(t.openai().chat("hello").await.status(), 403, "the model itself is not allowed");
    t.finish().await;
}

#[tokio::test]
async fn not_one_resource_of_a_model_can_be_left_out() {
    let config = |config: &mut Config| config.aws.regions = vec![FIRST.into()];
    let fm = |region: &str| format!("arn:aws:bedrock:{region}::foundation-model/{MODEL_ID}");
    let profile = |id: &str| format!("arn:aws:bedrock:{FIRST}:000000000000:inference-profile/{id}");
    let geographic = [profile(&format!("us.{MODEL_ID}")), fm(FIRST), fm("us-east-2"), fm("us-west-2")];
    let global = [profile(GLOBAL), fm(FIRST), fm("")];
    for (model, arns) in [(MODEL, &geographic[..]), (GLOBAL, &global[..])] {
        for arn in arns {
            let t = TestGateway::with(config).await;
            let whole = policy(&t.config, &[model]);
            let less = without(&whole, arn);
            assert_ne!(whole, less, "{arn} is not in the policy");
            let body = with(chat("hello"), json!({"model": model}));
            t.sim.set_policy(Some(less));
            let reply = t.openai().send(&body).await;
            assert_eq!(reply.status(), 403, "{model} without {arn}");
            assert!(!reply.text().contains("000000000000"), "{}", reply.text());
            t.finish().await;
        }
    }
}

#[tokio::test]
async fn a_model_in_a_destination_is_allowed_through_its_profile_only() {
    let t = TestGateway::with(|config| config.aws.regions = vec![SECOND.into(), FIRST.into()]).await;
    // Only from the first Region; its profile leads to the second, where the model could be called by itself as well.
    let mut from_first = Config::default();
    from_first.aws.regions = vec![FIRST.into()];
    t.sim.set_policy(Some(policy(&from_first, &["us.amazon.nova-lite-v1:0"])));
    let by_profile = t.bedrock().model("us.amazon.nova-lite-v1:0").converse("hello").await;
    assert_eq!((by_profile.status(), by_profile.region()), (200, FIRST));
    let direct = t.bedrock().model("amazon.nova-lite-v1:0").converse("hello").await;
    assert_eq!((direct.status(), direct.region()), (200, FIRST));
    let tried: Vec<_> = t.sim.calls().into_iter().skip(2).map(|call| (call.region, call.status)).collect();
    assert_eq!(tried, [(SECOND.to_owned(), 403), (FIRST.to_owned(), 200)]);
    t.finish().await;
}
