//! StartAsyncInvoke, GetAsyncInvoke, ListAsyncInvokes: each team sees its own, and reads and writes in its own place.

use bedrock_gateway::config::Config;
use bedrock_gateway::money::MicroUsd;
use bedrock_gateway::tenancy::{NewKey, NewTeam};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::reply::Reply;
use crate::support::{FIRST, SECOND, TEAM, TestGateway};

const MODEL: &str = "twelvelabs.marengo-embed-3-0-v1:0";

fn with_bucket(config: &mut Config) {
    config.batch.bucket = [(FIRST.to_owned(), "files-east".to_owned())].into();
}

fn body(text: &str) -> Value {
    json!({
        "modelId": MODEL,
        "modelInput": {"inputType": "text", "text": {"inputText": text}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bedrock-gateway/out"}},
    })
}

async fn start(t: &TestGateway, key: &str, body: &Value) -> Reply {
    Reply::to(t.request(Method::POST, "/async-invoke").bearer_auth(key).json(body)).await
}

async fn started(t: &TestGateway, key: &str, text: &str) -> String {
    let reply = start(t, key, &body(text)).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()["invocationArn"].as_str().unwrap().to_owned()
}

async fn get(t: &TestGateway, key: &str, arn: &str) -> Reply {
    let path = format!("/async-invoke/{}", arn.replace('/', "%2F"));
    Reply::to(t.request(Method::GET, &path).bearer_auth(key)).await
}

async fn list(t: &TestGateway, key: &str, query: &str) -> Value {
    let reply = Reply::to(t.request(Method::GET, &format!("/async-invoke?{query}")).bearer_auth(key)).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()
}

fn arns(list: &Value) -> Vec<&str> {
    let summaries = list["asyncInvokeSummaries"].as_array().unwrap();
    summaries.iter().map(|summary| summary["invocationArn"].as_str().unwrap()).collect()
}

async fn another_team(t: &TestGateway) -> String {
    t.make_team(NewTeam::new("others")).await;
    t.make_key(NewKey::new("others", "other")).await.1
}

#[tokio::test]
async fn an_invocation_is_started_asked_after_and_told_under_the_gateways_own_names() {
    let t = TestGateway::tapped(with_bucket).await;
    let mut body = body("hello");
    body["clientRequestToken"] = json!("token-1");
    let reply = start(&t, t.key(), &body).await;
    assert_eq!((reply.status(), reply.region(), reply.header("x-gateway-cost-usd")), (200, FIRST, "unknown"));
    let arn = reply.json()["invocationArn"].as_str().unwrap().to_owned();
    assert!(arn.starts_with(&format!("arn:aws:bedrock:{FIRST}:000000000000:async-invoke/")), "{arn}");

    let sent: Value = serde_json::from_slice(&t.tap.only_exchange().request).unwrap();
    let uri = sent["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].as_str().unwrap();
    assert!(uri.starts_with("s3://files-east/bedrock-gateway/team_") && uri.ends_with("/out"), "{uri}");
    assert_eq!((&sent["modelId"], &sent["modelInput"]), (&json!(MODEL), &body["modelInput"]));
    assert_ne!(sent["clientRequestToken"], "token-1", "another team may have the same");

    let first = get(&t, t.key(), &arn).await.json();
    let expected = json!({
        "invocationArn": arn,
        "modelArn": format!("arn:aws:bedrock:{FIRST}::foundation-model/{MODEL}"),
        "clientRequestToken": "token-1",
        "status": "InProgress",
        "submitTime": first["submitTime"],
        "lastModifiedTime": first["lastModifiedTime"],
        "outputDataConfig": body["outputDataConfig"],
    });
    assert_eq!(first, expected);
    let second = get(&t, t.key(), &arn).await.json();
    assert_eq!(second["status"], "Completed");
    assert!(second["endTime"].is_string());
    assert_eq!(get(&t, t.key(), &arn).await.json(), second);

    let calls = t.booked_calls(3).await;
    let operations: Vec<_> = calls.iter().map(|call| (&*call.operation, call.cost)).collect();
    let asked = ("get_async_invoke", Some(MicroUsd(0)));
    assert_eq!(operations, [("start_async_invoke", None), asked, asked], "what has ended is not asked after again");
    let unpriced = |reason| t.metrics().count("gateway_unpriced_requests_total", &[("reason", reason)]);
    assert_eq!((unpriced("not_counted"), unpriced("no_price")), (1, 0), "no gap in the catalog");
    t.finish().await;
}

#[tokio::test]
async fn a_repeated_token_is_the_same_invocation_within_a_team_and_never_across() {
    let t = TestGateway::with(with_bucket).await;
    let other = another_team(&t).await;
    let mut body = body("hello");
    body["clientRequestToken"] = json!("same");
    let arn = async |key: &str| start(&t, key, &body).await.json()["invocationArn"].clone();
    let (first, again, others) = (arn(t.key()).await, arn(t.key()).await, arn(&other).await);
    assert!(first == again && first != others && others.is_string());
    assert_eq!(arns(&list(&t, t.key(), "").await), [first.as_str().unwrap()]);
    t.finish().await;
}

#[tokio::test]
async fn no_team_sees_anothers_invocation() {
    let t = TestGateway::with(with_bucket).await;
    let other = another_team(&t).await;
    let (own, others) = (started(&t, t.key(), "a").await, started(&t, &other, "b").await);
    assert_eq!(arns(&list(&t, t.key(), "").await), [&*own]);
    assert_eq!(arns(&list(&t, &other, "").await), [&*others]);
    let elsewhere = own.replace(FIRST, SECOND);
    for arn in
        [&others, &elsewhere, &format!("{own}x"), "nonsense", "arn:aws:bedrock:us-east-1:000000000000:guardrail/a"]
    {
        let reply = get(&t, t.key(), arn).await;
        assert_eq!((reply.status(), reply.exception().0), (400, "ValidationException"), "{arn}");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_list_is_filtered_ordered_and_paged_as_awss() {
    let t = TestGateway::with(with_bucket).await;
    let mut all = Vec::new();
    for text in ["one", "two [[fail]]", "three"] {
        t.clock.advance(std::time::Duration::from_secs(1));
        all.push(started(&t, t.key(), text).await);
    }
    let ascending = list(&t, t.key(), "sortBy=SubmissionTime&sortOrder=Ascending").await;
    assert_eq!(arns(&ascending), all);
    t.sim.complete_async_invokes();
    let descending = list(&t, t.key(), "").await;
    assert_eq!(arns(&descending), all.iter().rev().collect::<Vec<_>>());
    let failed = list(&t, t.key(), "statusEquals=Failed").await;
    assert_eq!(arns(&failed), [&*all[1]]);
    assert_eq!(failed["asyncInvokeSummaries"][0]["failureMessage"], "The model could not process the input.");
    let after = ascending["asyncInvokeSummaries"][0]["submitTime"].as_str().unwrap();
    let later = list(&t, t.key(), &format!("submitTimeAfter={after}&maxResults=1")).await;
    assert_eq!(arns(&later), [&*all[2]]);
    let token = later["nextToken"].as_str().unwrap();
    let last = list(&t, t.key(), &format!("submitTimeAfter={after}&maxResults=1&nextToken={token}")).await;
    assert_eq!((arns(&last), last.get("nextToken")), (vec![&*all[1]], None));
    for bad in
        ["statusEquals=Done", "sortBy=Name", "sortOrder=up", "maxResults=0", "nextToken=x", "submitTimeAfter=noon"]
    {
        let reply = Reply::to(t.request(Method::GET, &format!("/async-invoke?{bad}")).bearer_auth(t.key())).await;
        assert_eq!((reply.status(), reply.exception().0), (400, "ValidationException"), "{bad}");
    }
    t.finish().await;
}

#[tokio::test]
async fn locations_outside_the_teams_place_are_refused_wherever_they_stand() {
    let t = TestGateway::with(with_bucket).await;
    let video = |uri: &str| json!({"inputType": "video", "video": {"mediaSource": {"s3Location": {"uri": uri}}}});
    let output = |uri: &str| json!({"s3OutputDataConfig": {"s3Uri": uri}});
    for (member, value, field) in [
        ("outputDataConfig", output("s3://files-east/bedrock-gateway/x"), "outputDataConfig.s3OutputDataConfig.s3Uri"),
        ("outputDataConfig", output("s3://bedrock-gateway/../x"), "outputDataConfig.s3OutputDataConfig.s3Uri"),
        ("modelInput", video("s3://payroll/secret.mp4"), "modelInput.video.mediaSource.s3Location.uri"),
        ("outputDataConfig", json!({}), "outputDataConfig.s3OutputDataConfig"),
        ("modelId", json!(null), "modelId"),
    ] {
        let mut body = body("hello");
        body[member] = value;
        let reply = start(&t, t.key(), &body).await;
        let (name, message) = reply.exception();
        assert_eq!((reply.status(), name), (400, "ValidationException"), "{reply:?}");
        assert!(message.contains(field), "{message}");
    }
    assert!(t.sim.calls().is_empty());
    let mut own = body("hello");
    own["modelInput"] = video("s3://bedrock-gateway/in.mp4");
    assert_eq!(start(&t, t.key(), &own).await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn without_a_bucket_where_the_model_is_the_operator_is_told_what_to_set() {
    let bucket_elsewhere = |config: &mut Config| {
        config.batch.bucket = [(SECOND.to_owned(), "files-west".to_owned())].into();
    };
    for t in [TestGateway::start().await, TestGateway::with(bucket_elsewhere).await] {
        let reply = start(&t, t.key(), &body("hello")).await;
        let (name, message) = reply.exception();
        assert_eq!((reply.status(), name), (400, "ValidationException"));
        assert!(message.contains("outputDataConfig") && message.contains("batch.bucket"), "{message}");
        assert!(t.ledger().await.is_empty() && t.sim.calls().is_empty());
        t.finish().await;
    }
}

#[tokio::test]
async fn allow_lists_and_retries_are_those_of_any_call_on_a_model() {
    let t = TestGateway::with(with_bucket).await;
    let mut narrow = NewKey::new(TEAM, "narrow");
    narrow.models = Some(vec!["nova-lite".into()]);
    let (_, narrow) = t.make_key(narrow).await;
    let reply = start(&t, &narrow, &body("hello")).await;
    assert_eq!((reply.status(), reply.exception().0), (404, "ResourceNotFoundException"));
    t.sim.region(FIRST).reject(1, "InternalServerException", 500, "Not now.");
    let reply = start(&t, t.key(), &body("hello")).await;
    assert_eq!((reply.status(), reply.attempts()), (200, "2"), "{reply:?}");
    let mut other = body("hello");
    other["modelId"] = json!("nova-lite");
    let reply = start(&t, t.key(), &other).await;
    assert_eq!((reply.status(), reply.exception().0), (400, "ValidationException"), "AWS knows which models do this");
    t.finish().await;
}
