//! Every call is booked exactly once, however it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use bedrock_gateway::simulator::Outcome;
use bedrock_gateway::tenancy::ledger::UsageSource;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::calls::{anthropic, chat, with};
use crate::support::{FIRST, MODEL_ID, SECOND, TEAM, TestGateway, eventually};

/// Longer than any test waits.
const FOR_EVER: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_client_that_leaves_a_stream_pays_for_what_it_saw_and_bedrock_is_told_to_stop() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).stall_stream_after(8, FOR_EVER);
    let mut live = t.openai().stream("one two three [[words:50]]").await;
    live.read_until("one").await;
    assert!(t.ledger().await.is_empty(), "the call is not over");
    live.hang_up();

    let call = t.only_call().await;
    assert_eq!((call.outcome.as_str(), call.status), ("cancelled", 200), "the head was sent");
    assert_eq!((call.usage_source, call.streamed), (UsageSource::Partial, true));
    assert!(call.input_tokens > 0 && call.output_tokens > 0 && call.cost.unwrap().0 > 0, "{call:?}");
    assert_eq!(t.metrics().count("gateway_upstream_attempts_total", &[("outcome", "ok")]), 1, "Bedrock did well");
    eventually("Bedrock notices", async || t.sim.calls().iter().any(|call| call.outcome == Outcome::Cut)).await;
    t.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_a_native_stream_pays_for_what_it_saw_and_bedrock_is_told_to_stop() {
    let t = TestGateway::start().await;
    for operation in ["converse-stream", "invoke-with-response-stream"] {
        t.sim.region(FIRST).stall_stream_after(6, FOR_EVER);
        let body = if operation == "converse-stream" {
            crate::support::calls::turn("one two [[words:50]]")
        } else {
            anthropic("one two [[words:50]]")
        };
        let mut live = t.bedrock().open(operation, body.to_string()).await;
        live.read_until(":event-type").await;
        live.hang_up();
    }
    for call in t.booked_calls(2).await {
        assert_eq!((call.outcome.as_str(), call.usage_source), ("cancelled", UsageSource::Partial), "{call:?}");
        assert!(call.input_tokens > 0, "{call:?}");
    }
    eventually("Bedrock notices", async || {
        t.sim.calls().iter().filter(|call| call.outcome == Outcome::Cut).count() == 2
    })
    .await;
    t.finish().await;
}

#[tokio::test]
async fn who_leaves_after_a_large_picture_pays_for_no_more_than_the_model_can_read() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).slow_first_byte(1, FOR_EVER);
    let data = format!("iVBORw0KGgoAAAANSUhEUgAA{}", "A".repeat(3_000_000));
    let picture = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}});
    let messages = json!([{"role": "user", "content": [picture, {"type": "text", "text": "What is this?"}]}]);
    let body = with(crate::support::calls::message(""), json!({"messages": messages}));
    let request = t.anthropic().request(reqwest::Method::POST, "/v1/messages").json(&body);
    tokio::select! {
        answer = request.send() => panic!("{answer:?}"),
        () = eventually("Bedrock is at work", async || t.sim.waiting_faults() == 0) => {}
    }
    let call = t.only_call().await;
    assert_eq!((call.outcome.as_str(), call.usage_source), ("cancelled", UsageSource::Estimated));
    assert_eq!(call.input_tokens, 200_000, "the whole window, and not a token for every three bytes");
    t.finish().await;
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_an_answer_pays_for_what_it_asked() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).slow_first_byte(1, FOR_EVER);
    let request = t.openai().request().json(&chat("never mind")).header("x-request-id", "left-early-1");
    tokio::select! {
        answer = request.send() => panic!("{answer:?}"),
        () = eventually("Bedrock is at work", async || t.sim.waiting_faults() == 0) => {}
    }
    let call = t.only_call().await;
    assert_eq!((call.outcome.as_str(), call.status), ("cancelled", 499));
    assert_eq!((call.usage_source, call.streamed), (UsageSource::Estimated, false));
    assert!(call.input_tokens > 0 && call.output_tokens == 0, "{call:?}");
    eventually("Bedrock notices", async || t.sim.calls().iter().any(|call| call.outcome == Outcome::Cut)).await;

    // The request counts, and has its line in the log, like any other.
    let labels = [("operation", "chat"), ("team", TEAM), ("model", MODEL_ID), ("status", "499")];
    eventually("the request is counted", async || t.metrics().count("gateway_requests_total", &labels) == 1).await;
    let [line] = &crate::support::log::access_lines("left-early-1")[..] else { panic!("not one access line") };
    assert_eq!((&line["status"], &line["complete"]), (&json!(499), &json!(false)));
    t.finish().await;
}

#[tokio::test]
async fn a_call_that_failed_is_booked_with_its_reason_and_no_tokens() {
    let t = TestGateway::with(|config| config.aws.max_attempts = 2).await;
    t.sim.region("*").unavailable(2);
    assert_eq!(t.openai().chat("hello").await.status(), 503);
    let call = t.only_call().await;
    assert_eq!((call.outcome.as_str(), call.attempts, call.status), ("upstream_unavailable", 2, 503));
    assert_eq!((call.input_tokens, call.output_tokens, call.cost.unwrap().0), (0, 0, 0));
    let labels = [("team", TEAM), ("model", MODEL_ID), ("status", "503")];
    assert_eq!(t.metrics().count("gateway_requests_total", &labels), 1);
    t.finish().await;
}

#[tokio::test]
async fn a_call_is_booked_with_the_status_that_the_caller_got() {
    let t = TestGateway::with(|config| config.aws.max_attempts = 1).await;
    let all = t.sim.region("*");
    let mut got = Vec::new();
    let before: [&dyn Fn(); 5] = [
        &|| drop(all.throttle(1).clone()),
        &|| drop(all.model_timeout(1).clone()),
        &|| drop(all.internal_error(1).clone()),
        &|| drop(all.quota_exceeded(1).clone()),
        &|| drop(all.reject(1, "AccessDeniedException", 403, "No.").clone()),
    ];
    for order in before {
        order();
        got.push(t.openai().chat("hello").await.status());
        order();
        got.push(t.bedrock().converse("hello").await.status());
    }
    let within: [&dyn Fn(); 2] =
        [&|| drop(all.cut_stream_after(3).clone()), &|| drop(all.stream_exception("throttlingException", 3).clone())];
    for order in within {
        order();
        got.push(t.openai().stream("one two three four").await.rest().await.status());
        order();
        got.push(t.bedrock().converse_stream("one two three four").await.rest().await.status());
    }
    let calls = t.booked_calls(got.len()).await;
    assert_eq!(calls.iter().map(|call| call.status).collect::<Vec<_>>(), got);
    assert!(got.contains(&504) && got.contains(&408) && got.ends_with(&[200; 4]), "{got:?}");
    assert!(calls.iter().all(|call| call.outcome.as_str() != "ok"));
    t.finish().await;
}

#[tokio::test]
async fn what_never_reached_bedrock_is_not_booked() {
    let t = TestGateway::start().await;
    t.openai().with_key("bgw_nobody_secret").chat("hello").await;
    t.openai().send(&with(chat("hello"), json!({"temperature": "warm"}))).await;
    t.bedrock().model("no-such-model").converse("hello").await;
    assert!(t.ledger().await.is_empty());
    t.finish().await;
}

#[tokio::test]
async fn cached_tokens_are_booked_apart() {
    let t = TestGateway::start().await;
    let text = "word ".repeat(5000);
    let body = json!({
        "system": [{"text": text}, {"cachePoint": {"type": "default"}}],
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
    });
    for _ in 0..2 {
        assert_eq!(t.bedrock().send("converse", body.to_string()).await.status(), 200);
    }
    let [wrote, read] = &t.booked_calls(2).await[..] else { unreachable!() };
    assert!(wrote.cache_write_tokens > 4096 && wrote.cache_read_tokens == 0, "{wrote:?}");
    assert_eq!((read.cache_read_tokens, read.cache_write_tokens), (wrote.cache_write_tokens, 0));
    assert!(read.cost < wrote.cost);
    t.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_side_by_side_are_booked_as_bedrock_counted_them() {
    let t = TestGateway::start().await;
    // One of the models has to find its way to the other Region.
    t.sim.region(FIRST).on_model("nova").throttle(5).unavailable(5);
    let one = async |n: usize| {
        let text = format!("call number {n} [[words:{}]]", n % 17);
        let nova = || json!({"messages": [{"role": "user", "content": [{"text": text}]}]}).to_string();
        match n % 6 {
            0 => t.openai().chat(&text).await,
            1 => t.openai().stream(&text).await.rest().await,
            2 => t.bedrock().converse(&text).await,
            3 => t.bedrock().converse_stream(&text).await.rest().await,
            4 if n.is_multiple_of(4) => t.bedrock().model("nova-lite").send("invoke", nova()).await,
            4 => t.bedrock().send("invoke", anthropic(&text).to_string()).await,
            _ if n % 4 == 1 => t.bedrock().model("nova-lite").send("invoke-with-response-stream", nova()).await,
            _ => t.bedrock().send("invoke-with-response-stream", anthropic(&text).to_string()).await,
        }
    };
    let replies = join_all((0..200).map(one)).await;
    assert!(replies.iter().all(|reply| reply.status() == 200), "{replies:#?}");

    let calls = t.booked_calls(200).await;
    let mut ids: Vec<&str> = replies.iter().map(|reply| reply.header("x-request-id")).collect();
    let mut booked: Vec<&str> = calls.iter().map(|call| call.request_id.as_str()).collect();
    ids.sort_unstable();
    booked.sort_unstable();
    assert_eq!(ids, booked, "one row for each request");
    assert!(calls.iter().all(|call| call.usage_source == UsageSource::Final && call.outcome.as_str() == "ok"));

    // By Region, in sum, against the totals that Bedrock kept by itself.
    let mut sums: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for call in &calls {
        let [count, input, output] = sums.entry(call.region.clone().unwrap()).or_default();
        (*count, *input, *output) = (*count + 1, *input + call.input_tokens, *output + call.output_tokens);
    }
    let mut totals: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for total in t.sim.totals().into_iter().filter(|total| total.completed > 0) {
        let [count, input, output] = totals.entry(total.region).or_default();
        (*count, *input, *output) =
            (*count + total.completed, *input + total.tokens.input, *output + total.tokens.output);
    }
    assert_eq!(sums, totals);
    assert_eq!(sums.keys().collect::<Vec<_>>(), [FIRST, SECOND]);
    t.finish().await;
}
