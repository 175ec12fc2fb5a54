//! Traffic leaves a Region before AWS throttles it there; what is known of it is told to administrators.

use std::time::Duration;

use bedrock_gateway::config;
use bedrock_gateway::simulator::Quota;
use bedrock_gateway::tenancy::{NewKey, Scope};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::calls::{chat, turn, with};
use crate::support::{FIRST, MODEL, MODEL_ID, SECOND, TEAM, TestGateway, eventually};

/// What is called in both Regions.
fn profile() -> String {
    format!("us.{MODEL_ID}")
}

/// A gateway that believes in this quota of the first Region.
async fn believing(tokens: Option<u64>, requests: Option<u64>) -> TestGateway {
    TestGateway::with(|config| {
        let quota = config::Quota { tokens_per_minute: tokens, requests_per_minute: requests };
        config.aws.quotas.entry(FIRST.into()).or_default().insert(MODEL.into(), quota);
    })
    .await
}

/// A gateway in front of an account that has this quota in its first Region, and does not know of it.
fn really(t: &TestGateway, tokens: Option<u64>, requests: Option<u64>) {
    let quota = Quota { tokens_per_minute: tokens, requests_per_minute: requests };
    t.sim.set_quota(FIRST, &profile(), quota);
}

fn limited(text: &str, max_tokens: u32) -> Value {
    with(chat(text), json!({"max_tokens": max_tokens}))
}

/// How many calls each Region was asked for, and how many it throttled.
fn asked(t: &TestGateway, region: &str) -> (usize, usize) {
    let calls: Vec<_> = t.sim.calls().into_iter().filter(|call| call.region == region).collect();
    (calls.len(), calls.iter().filter(|call| call.status == 429).count())
}

async fn upstreams(t: &TestGateway) -> Vec<Value> {
    let new = NewKey { scopes: vec![Scope::Admin], ..NewKey::new(TEAM, "admin") };
    let (_, key) = t.make_key(new).await;
    let reply =
        crate::support::reply::Reply::to(t.request(reqwest::Method::GET, "/admin/v1/upstreams").bearer_auth(key)).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let page = reply.json();
    assert!(page["next"].is_null());
    page["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_leaves_the_region_before_it_throttles() {
    let t = believing(Some(10_000), None).await;
    really(&t, Some(10_000), None);
    let bodies: Vec<Value> = (0..30).map(|n| limited(&format!("call {n}"), 900)).collect();
    let replies = join_all(bodies.iter().map(|body| async { t.openai().send(body).await })).await;
    assert!(replies.iter().all(|reply| reply.status() == 200 && reply.attempts() == "1"), "{replies:#?}");
    let ((first, throttled), (second, _)) = (asked(&t, FIRST), asked(&t, SECOND));
    assert_eq!((first + second, throttled), (30, 0));
    assert!(first >= 5 && second > 0, "{first} and {second}");
    t.finish().await;
}

#[tokio::test]
async fn a_minute_of_requests_is_spread_before_it_is_used_up() {
    let t = believing(None, Some(3)).await;
    really(&t, None, Some(3));
    for region in [FIRST, FIRST, FIRST, SECOND, SECOND] {
        let reply = t.openai().chat("hello").await;
        assert_eq!((reply.region(), reply.attempts()), (region, "1"));
    }
    // A third of a minute brings one back.
    t.clock.advance(Duration::from_secs(20));
    t.sim.advance_clock(Duration::from_secs(20));
    assert_eq!(t.openai().chat("hello").await.region(), FIRST);
    assert_eq!(t.openai().chat("hello").await.region(), SECOND);
    assert_eq!(asked(&t, FIRST), (4, 0));
    t.finish().await;
}

#[tokio::test]
async fn where_the_account_has_less_than_is_believed_the_cooldown_moves_the_traffic() {
    let t = believing(Some(1_000_000), None).await;
    really(&t, Some(2_000), None);
    for _ in 0..6 {
        assert_eq!(t.openai().send(&limited("hello [[words:300]]", 900)).await.status(), 200);
    }
    let (first, throttled) = asked(&t, FIRST);
    assert_eq!(throttled, 1, "of {first}: once is enough to learn it");
    t.finish().await;
}

#[tokio::test]
async fn what_was_reserved_and_not_used_is_given_back() {
    let t = believing(Some(10_000), None).await;
    // Each reserves nearly all, and uses next to nothing.
    for _ in 0..5 {
        assert_eq!(t.openai().send(&limited("hello", 9_000)).await.region(), FIRST);
        assert_eq!(t.bedrock().converse_stream("hello").await.rest().await.status(), 200);
    }
    let [first, ..] = &upstreams(&t).await[..] else { panic!("none") };
    let used = first["quota"]["tokens_used"].as_u64().unwrap();
    let call = t.ledger().await.into_iter().filter(|call| call.region.as_deref() == Some(FIRST));
    let booked: u64 = call.map(|call| call.input_tokens + 5 * call.output_tokens).sum();
    assert_eq!(used, booked, "input, and output five times over");
    t.finish().await;
}

#[tokio::test]
async fn when_all_are_full_aws_has_the_last_word() {
    let t = TestGateway::with(|config| {
        for region in [FIRST, SECOND] {
            let quota = config::Quota { tokens_per_minute: Some(10), requests_per_minute: None };
            config.aws.quotas.entry(region.into()).or_default().insert(MODEL.into(), quota);
        }
    })
    .await;
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), reply.attempts()), (200, "1"));
    t.finish().await;
}

#[tokio::test]
async fn upstreams_are_told_to_administrators_only() {
    let t = believing(Some(10_000), Some(100)).await;
    let refused = t.get("/admin/v1/upstreams").await;
    assert_eq!((refused.status(), &refused.openai_error()["type"]), (403, &json!("permission_error")));
    assert!(upstreams(&t).await.is_empty());

    t.sim.region(FIRST).throttle(1);
    assert_eq!(t.openai().send(&limited("hello", 50)).await.attempts(), "2");
    let [first, second] = &upstreams(&t).await[..] else { panic!("not two") };
    assert_eq!((&first["region"], &first["id"], &first["model"]), (&json!(FIRST), &json!(profile()), &json!(MODEL_ID)));
    assert_eq!(
        (&first["state"], &first["reason"], &first["team"]),
        (&json!("resting"), &json!("throttled"), &json!(null))
    );
    assert_eq!((&first["last_failure"]["reason"], &first["last_success"]), (&json!("throttled"), &json!(null)));
    let quota = &first["quota"];
    assert_eq!((&quota["source"], &quota["tokens_per_minute"]), (&json!("config"), &json!(10_000)));
    assert_eq!((&quota["requests_used"], &quota["tokens_used"]), (&json!(1), &json!(0)), "a refused call used nothing");
    assert_eq!(
        (&second["region"], &second["state"], &second["reason"]),
        (&json!(SECOND), &json!("ready"), &json!(null))
    );
    assert_eq!(&second["quota"]["source"], &json!("catalog"));
    assert!(second["last_success"].is_string() && second["in_flight"] == 0, "{second}");

    t.clock.advance(Duration::from_secs(2));
    t.sim.region(FIRST).slow_first_byte(1, Duration::from_hours(1));
    let body = limited("never mind", 50);
    let request = t.openai().request().json(&body);
    tokio::select! {
        answer = request.send() => panic!("{answer:?}"),
        () = eventually("it is probed", async || {
            let first = upstreams(&t).await.remove(0);
            (&first["state"], &first["in_flight"]) == (&json!("probing"), &json!(1))
        }) => {}
    }
    // Its client left: the next one tries at once.
    eventually("nothing is in flight", async || upstreams(&t).await[0]["in_flight"] == 0).await;
    let next = t.openai().send(&limited("hello", 50)).await;
    assert_eq!((next.region(), next.attempts()), (FIRST, "1"));
    let row = upstreams(&t).await.remove(0);
    assert_eq!((&row["state"], &row["reason"], &row["since"]), (&json!("ready"), &json!(null), &json!(null)));
    t.finish().await;
}

#[tokio::test]
async fn a_conversation_stays_where_its_cache_is_while_that_region_is_well() {
    let t = TestGateway::start().await;
    let long = "word ".repeat(6000);
    let conversation = |text: &str, cached: bool| {
        let mut system = vec![json!({"text": long})];
        system.extend(cached.then(|| json!({"cachePoint": {"type": "default"}})));
        with(turn(text), json!({"system": system})).to_string()
    };
    let ask = async |text: &str, cached: bool| {
        let reply = t.bedrock().send("converse", conversation(text, cached)).await;
        assert_eq!(reply.status(), 200);
        reply.region().to_owned()
    };
    t.sim.region(FIRST).throttle(2);
    assert_eq!(ask("one", true).await, SECOND);
    t.clock.advance(Duration::from_mins(4));
    assert_eq!(ask("one", true).await, SECOND, "the first Region could be asked again, but the cache is here");
    t.clock.advance(Duration::from_mins(4));
    assert_eq!(ask("one", true).await, SECOND, "each call keeps it alive");
    assert_eq!(ask("two", true).await, SECOND, "the probe failed");
    t.clock.advance(Duration::from_secs(4));
    assert_eq!(ask("three", true).await, FIRST, "another conversation");
    assert_eq!(ask("one", false).await, FIRST, "one that caches nothing");
    t.sim.region(SECOND).throttle(1);
    assert_eq!(ask("one", true).await, FIRST);
    t.clock.advance(Duration::from_secs(10));
    assert_eq!(ask("one", true).await, FIRST, "its cache is there now");
    t.finish().await;
}
