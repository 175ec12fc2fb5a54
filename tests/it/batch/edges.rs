//! What is refused, and what others may not see.

use bedrock_gateway::money::MicroUsd;
use bedrock_gateway::tenancy::{NewKey, NewTeam, Period};

use super::*;

#[tokio::test]
async fn a_budget_that_is_too_small_refuses_a_batch_and_tells_the_estimate() {
    let t = gateway(|_| {}).await;
    t.set_budget(Period::Day, MicroUsd(100)).await;
    let file = upload(&t, records(100)).await;
    let refused = create(&t, &file).await;
    assert_eq!((refused.status(), refused.header("x-should-retry")), (429, "false"), "{refused:?}");
    let error = refused.openai_error();
    assert_eq!(error["code"], "insufficient_quota");
    assert!(error["message"].as_str().unwrap().contains("USD at most"), "{error}");
    t.finish().await;
}

#[tokio::test]
async fn a_batch_holds_its_worst_case_and_gives_back_what_it_did_not_need() {
    let t = gateway(|_| {}).await;
    t.set_budget(Period::Day, MicroUsd(10_000_000)).await;
    let id = submit(&t, records(100)).await;
    until_jobs(&t, 1).await;
    let running = t.balance();
    assert!(running.held > MicroUsd(0) && running.spent == MicroUsd(0), "{running:?}");
    until(&t, &id, "completed").await;
    eventually("nothing is held", async || t.balance().held == MicroUsd(0)).await;
    assert_eq!(Some(t.balance().spent), t.only_call().await.cost);
    t.finish().await;
}

#[tokio::test]
async fn a_bad_line_fails_the_batch_and_names_the_line() {
    let t = gateway(|_| {}).await;
    let text = format!("{}not json\n", records(3));
    let id = submit(&t, text).await;
    let failed = batch(&t, &id).await;
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["errors"]["data"][0]["line"], 4);
    t.finish().await;
}

#[tokio::test]
async fn another_team_sees_nothing_of_a_batch() {
    let t = gateway(|_| {}).await;
    let id = submit(&t, records(2)).await;
    until(&t, &id, "completed").await;
    t.make_team(NewTeam::new("others")).await;
    let (_, key) = t.make_key(NewKey::new("others", "k")).await;
    for (method, path) in
        [(Method::GET, format!("/v1/batches/{id}")), (Method::POST, format!("/v1/batches/{id}/cancel"))]
    {
        let reply = Reply::to(t.request(method, &path).bearer_auth(&key)).await;
        assert_eq!(reply.status(), 404, "{reply:?}");
    }
    let list = Reply::to(t.request(Method::GET, "/v1/batches").bearer_auth(&key)).await;
    assert_eq!(list.json()["data"], json!([]));
    t.finish().await;
}
