//! Limits and budgets on the wire: who is refused, in each dialect's own words, and what the headers say is left.

use std::time::Duration;

use bedrock_gateway::money::MicroUsd;
use bedrock_gateway::tenancy::Period;
use bedrock_gateway::tenancy::admin::{SetLimit, Whose};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};

use crate::support::calls::{chat, message, turn, with};
use crate::support::reply::Reply;
use crate::support::{FIRST, TEAM, TestGateway, eventually, within};

/// Longer than any test waits.
const FOR_EVER: Duration = Duration::from_hours(1);

fn of_team() -> SetLimit {
    SetLimit { whose: Whose { team: Some(TEAM.into()), key: None }, ..SetLimit::default() }
}

fn short(text: &str) -> Value {
    with(chat(text), json!({"max_tokens": 100}))
}

/// The same call in each dialect: OpenAI's, Anthropic's, Bedrock's.
async fn each(t: &TestGateway, text: &str) -> [Reply; 3] {
    let converse = with(turn(text), json!({"inferenceConfig": {"maxTokens": 100}})).to_string();
    [
        t.openai().send(&short(text)).await,
        t.anthropic().send(&with(message(text), json!({"max_tokens": 100}))).await,
        t.bedrock().send("converse", converse).await,
    ]
}

/// A budget that pays for exactly so many of the calls that `short` makes, side by side.
async fn fund(t: &TestGateway, calls: i64) -> MicroUsd {
    t.set_budget(Period::Month, MicroUsd(1_000_000_000)).await;
    t.sim.region(FIRST).slow_first_byte(1, FOR_EVER);
    let body = short("hello");
    let request = t.openai().request().json(&body).send();
    tokio::select! {
        answer = request => panic!("{answer:?}"),
        () = eventually("Bedrock is at work", async || t.sim.waiting_faults() == 0) => {}
    }
    let worst = t.balance().held;
    eventually("it is settled", async || t.balance().held == MicroUsd(0)).await;
    let limit = MicroUsd(worst.0 * calls + t.balance().spent.0);
    t.set_budget(Period::Month, limit).await;
    limit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_calls_at_once_never_hold_more_than_the_budget() {
    let t = TestGateway::start().await;
    let limit = fund(&t, 100).await;
    t.sim.region(FIRST).slow_first_byte(500, FOR_EVER);
    let body = short("hello");
    let mut calls: FuturesUnordered<_> = (0..500).map(|_| async { t.openai().send(&body).await }).collect();
    let mut refused = 0;
    while refused < 400 {
        let reply = within(calls.next()).await.unwrap();
        let error = reply.openai_error();
        assert_eq!((reply.status(), &error["code"]), (429, &json!("insufficient_quota")), "{reply:?}");
        assert!(error["message"].as_str().unwrap().contains("the monthly budget of the team `testers`"), "{error}");
        refused += 1;
    }
    eventually("Bedrock has all others", async || t.sim.waiting_faults() == 400).await;
    let balance = t.balance();
    assert_eq!((balance.limit, balance.held), (limit, MicroUsd(limit.0 - balance.spent.0)));
    drop(calls); // They leave, which is settled as well.
    eventually("all are settled", async || t.balance().held == MicroUsd(0)).await;
    assert!(t.balance().spent > MicroUsd(0) && t.balance().spent < limit);
    t.sim.clear_faults();

    // The same without anything in the way: whoever is answered was paid for.
    let replies = join_all((0..500).map(|_| async { t.openai().send(&body).await })).await;
    let answered = replies.iter().filter(|reply| reply.status() == 200).count();
    assert!(answered > 0 && replies.iter().all(|reply| [200, 429].contains(&reply.status())));
    eventually("all are settled", async || t.balance().held == MicroUsd(0)).await;
    assert!(t.balance().spent <= limit);
    t.finish().await;
}

#[tokio::test]
async fn a_spent_budget_is_told_in_each_dialect_and_nobody_is_to_try_again() {
    let t = TestGateway::start().await;
    t.set_budget(Period::Day, MicroUsd(1)).await;
    let [openai, anthropic, bedrock] = each(&t, "hello").await;
    assert_eq!((openai.status(), openai.header("x-should-retry")), (429, "false"));
    assert_eq!(openai.openai_error()["code"], "insufficient_quota");
    assert_eq!((anthropic.status(), anthropic.header("x-should-retry")), (429, "false"));
    assert_eq!(anthropic.anthropic_error()["type"], "rate_limit_error");
    let (name, message) = bedrock.exception();
    assert_eq!((bedrock.status(), name), (400, "ServiceQuotaExceededException"));
    assert!(message.starts_with("Budget exhausted: of the 0.000001 USD of the daily budget of the team `testers`"));
    for reply in [&openai, &anthropic, &bedrock] {
        assert!(reply.header("retry-after").is_empty() && reply.text().contains("It begins anew at"), "{reply:?}");
    }
    assert_eq!(t.metrics().count("gateway_rejected_total", &[("reason", "budget")]), 3);
    t.finish().await;
}

#[tokio::test]
async fn nothing_that_a_body_says_beside_the_point_makes_a_call_cheaper() {
    let t = TestGateway::start().await;
    // Enough for a short call, not for one as long as the model can answer.
    t.set_budget(Period::Total, MicroUsd(10_000)).await;
    let converse = |more: &str| format!(r#"{{"messages":{},{more}}}"#, turn("hello")["messages"]);
    for more in [
        r#""inferenceConfig":{"maxTokens":100},"inference\u0043onfig":{"maxTokens":60000}"#,
        r#""inferenceConfig":{"max\u0054okens":60000,"maxTokens":100}"#,
        r#""inferenceConfig":{"maxTokens":100},"additionalModelRequestFields":{"max\u005ftokens":60000}"#,
        r#""inferenceConfig":{"maxTokens":100},"service\u0054ier":{"type":"priority"}"#,
        r#""inferenceConfig":{"maxTokens":100},"additionalModelRequestFields":{"max_tokens":6e4}"#,
        r#""inferenceConfig":{"maxTokens":1},"additionalModelRequestFields":{"inferenceConfig":{"maxTokens":60000}}"#,
        r#""inferenceConfig":{"maxTokens":100},"inferenceConfig":{}"#,
        r#""max_tokens":1"#,
    ] {
        let reply = t.bedrock().send("converse", converse(more)).await;
        assert_eq!(reply.status(), 400, "{more}: {reply:?}");
    }
    // Text is text, whatever its end looks like.
    let text = format!("{}{}", "word ".repeat(40_000), "a".repeat(4_000));
    for reply in each(&t, &text).await {
        assert!([400, 429].contains(&reply.status()) && reply.text().contains("Budget exhausted"), "{reply:?}");
    }
    let bedrock = t.bedrock();
    let strict = bedrock.request("converse").header("x-gateway-strict", "1").body(turn("hello").to_string());
    let reply = Reply::to(strict).await;
    assert_eq!((reply.status(), reply.exception().0), (400, "ServiceQuotaExceededException"), "{reply:?}");
    assert_eq!(t.sim.calls().len(), 0);
    t.finish().await;
}

#[tokio::test]
async fn a_reached_limit_is_told_in_each_dialect_with_when_to_come_back() {
    let t = TestGateway::start().await;
    t.set_limit(SetLimit { requests_per_minute: Some(1), ..of_team() }).await;
    assert_eq!(t.openai().send(&short("first")).await.status(), 200);
    let [openai, anthropic, bedrock] = each(&t, "hello").await;
    assert_eq!((openai.status(), &openai.openai_error()["code"]), (429, &json!("rate_limit_exceeded")));
    assert_eq!((anthropic.status(), &anthropic.anthropic_error()["type"]), (429, &json!("rate_limit_error")));
    assert_eq!((bedrock.status(), bedrock.exception().0), (429, "ThrottlingException"));
    for reply in [&openai, &anthropic, &bedrock] {
        assert_eq!((reply.header("retry-after"), reply.header("x-should-retry")), ("60", ""), "{reply:?}");
        assert!(reply.text().contains("the team `testers` may make 1 request per minute; 1 are used"), "{reply:?}");
    }
    assert_eq!(openai.header("x-ratelimit-remaining-requests"), "0");
    assert_eq!(anthropic.header("anthropic-ratelimit-requests-remaining"), "0");
    t.clock.advance(Duration::from_mins(1));
    assert_eq!(t.openai().send(&short("later")).await.status(), 200);
    assert_eq!(t.metrics().count("gateway_rejected_total", &[("reason", "requests_per_minute")]), 3);
    t.finish().await;
}

#[tokio::test]
async fn what_is_larger_than_the_whole_limit_is_not_to_be_tried_again() {
    let t = TestGateway::start().await;
    t.set_limit(SetLimit { tokens_per_minute: Some(50), ..of_team() }).await;
    let [openai, anthropic, bedrock] = each(&t, "hello").await;
    assert_eq!((openai.status(), &openai.openai_error()["code"]), (429, &json!("rate_limit_exceeded")));
    assert_eq!((anthropic.status(), &anthropic.anthropic_error()["type"]), (429, &json!("rate_limit_error")));
    assert_eq!((bedrock.status(), bedrock.exception().0), (400, "ServiceQuotaExceededException"));
    for reply in [&openai, &anthropic] {
        assert_eq!((reply.header("retry-after"), reply.header("x-should-retry")), ("", "false"), "{reply:?}");
    }
    t.finish().await;
}

#[tokio::test]
async fn every_answer_says_what_is_left_in_the_words_of_its_dialect() {
    let t = TestGateway::start().await;
    let limit = SetLimit { requests_per_minute: Some(60), tokens_per_minute: Some(600_000), ..of_team() };
    t.set_limit(limit).await;
    let [openai, anthropic, bedrock] = each(&t, "hello").await;
    let header = |name: &str| openai.header(&format!("x-ratelimit-{name}")).to_owned();
    assert_eq!([header("limit-requests"), header("remaining-requests"), header("reset-requests")], ["60", "59", "1s"]);
    assert_eq!(header("limit-tokens"), "600000");
    let held = 600_000 - header("remaining-tokens").parse::<u64>().unwrap();
    assert!(held > 100, "its answer and its input: {held}");
    assert_eq!(header("reset-tokens"), format!("{}ms", held.div_ceil(10)));

    let header = |name: &str| anthropic.header(&format!("anthropic-ratelimit-{name}")).to_owned();
    assert_eq!([header("requests-limit"), header("requests-remaining")], ["60", "58"]);
    let reset: jiff::Timestamp = header("requests-reset").parse().unwrap();
    let wait = reset.as_millisecond() - t.clock.now().millis();
    assert!((2000..3000).contains(&wait), "{wait}");
    assert_eq!(header("tokens-limit"), "600000");
    assert!(bedrock.header("x-ratelimit-limit-requests").is_empty(), "AWS has no such headers");

    // A stream says it at its head.
    let live = t.openai().open(&with(short("hello"), json!({"stream": true}))).await;
    assert_eq!(live.rest().await.header("x-ratelimit-remaining-requests"), "56");
    t.finish().await;
}

#[tokio::test]
async fn only_so_many_streams_are_open_at_once_and_each_makes_room_when_it_ends() {
    let t = TestGateway::start().await;
    t.set_limit(SetLimit { concurrent_requests: Some(1), ..of_team() }).await;
    t.sim.region(FIRST).stall_stream_after(4, FOR_EVER);
    let mut live = t.openai().open(&with(short("one two three [[words:9]]"), json!({"stream": true}))).await;
    live.read_until("one").await;
    let refused = t.openai().send(&short("hello")).await;
    assert_eq!((refused.status(), refused.header("retry-after")), (429, "1"));
    live.hang_up();
    eventually("it made room", async || t.gateway().tenancy().most_open() == 0).await;
    assert_eq!(t.openai().send(&short("hello")).await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn budgets_are_told_in_metrics_and_begin_with_what_was_spent_before() {
    let t = TestGateway::start().await;
    assert_eq!(t.openai().send(&short("before there was a budget")).await.status(), 200);
    let spent = t.only_call().await.cost.unwrap();
    t.set_budget(Period::Total, MicroUsd(spent.0 * 100)).await;
    assert_eq!(t.openai().send(&short("before there was a budget")).await.status(), 200);
    assert_eq!(t.balance().spent, MicroUsd(spent.0 * 2), "nothing forgotten, nothing twice");
    t.set_budget(Period::Total, MicroUsd(spent.0 * 100 + 1)).await;
    let remaining = t.balance().unspent();
    t.ops("/metrics").await;
    let shown = t.metrics().sum("gateway_budget_remaining_usd", &[("team", TEAM)]);
    assert_eq!(format!("{:.0}", shown * 1e6), remaining.0.to_string());
    let labels = [("team", TEAM), ("scope", "team"), ("period", "total")];
    let shown = |name: &str| format!("{:.0}", t.metrics().sum(name, &labels) * 1e6);
    assert_eq!(shown("gateway_budget_limit_usd"), (spent.0 * 100 + 1).to_string());
    assert_eq!(shown("gateway_budget_spent_usd"), (spent.0 * 2).to_string());
    t.finish().await;
}

#[tokio::test]
async fn each_threshold_of_a_budget_is_counted_once() {
    let t = TestGateway::start().await;
    fund(&t, 10).await;
    let mut calls = 0;
    while t.openai().send(&short("hello [[words:80]]")).await.status() == 200 {
        calls += 1;
        assert!(calls < 100, "{:?}", t.balance());
    }
    for (threshold, times) in [("50", 1), ("80", 1), ("100", 0)] {
        let labels = [("team", TEAM), ("threshold", threshold)];
        assert_eq!(t.metrics().count("gateway_budget_thresholds_total", &labels), times, "{threshold}");
    }
    t.finish().await;
}
