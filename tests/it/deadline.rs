//! One call has one time for all it does, and may ask two Regions at once if it is told to.

use std::time::{Duration, Instant};

use bedrock_gateway::tenancy::ledger::UsageSource;
use serde_json::json;

use crate::support::{FIRST, SECOND, TestGateway, eventually};

/// Longer than any test waits.
const FOR_EVER: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_call_that_is_not_answered_in_its_time_is_a_504_and_rests_the_region() {
    let t = TestGateway::with(|config| config.aws.call_timeout_s = 1).await;
    for _ in 0..2 {
        t.sim.region("*").slow_first_byte(1, FOR_EVER);
        let began = Instant::now();
        let reply = t.openai().chat("hello").await;
        assert_eq!((reply.status(), &reply.openai_error()["code"]), (504, &json!("upstream_timeout")));
        assert!(began.elapsed() < Duration::from_secs(4));
    }
    let regions: Vec<_> = t.booked_calls(2).await.into_iter().map(|call| call.region.unwrap()).collect();
    assert_eq!(regions, [FIRST, SECOND], "the second call goes where nothing failed");
    t.sim.region("*").slow_first_byte(1, FOR_EVER);
    let reply = t.bedrock().converse_stream("hello").await.rest().await;
    assert_eq!((reply.status(), reply.exception().0), (408, "ModelTimeoutException"));
    t.finish().await;
}

#[tokio::test]
async fn a_pause_that_would_outlast_the_call_is_not_begun() {
    let t = TestGateway::with(|config| {
        config.aws.regions = vec![FIRST.into()];
        config.aws.call_timeout_s = 3;
    })
    .await;
    t.sim.region(FIRST).throttle_for(1, 5);
    let began = Instant::now();
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), reply.header("retry-after"), reply.attempts()), (429, "5", "1"));
    assert!(began.elapsed() < Duration::from_secs(2));
    t.finish().await;
}

#[tokio::test]
async fn when_every_region_is_down_one_503_says_when_to_come_back() {
    let t = TestGateway::start().await;
    t.sim.region("*").unavailable(100);
    let began = Instant::now();
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), reply.attempts()), (503, "4"));
    assert!(reply.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert!(began.elapsed() < Duration::from_secs(10));
    t.finish().await;
}

#[tokio::test]
async fn a_slow_region_is_overtaken_by_another_when_that_is_asked_for() {
    let t = TestGateway::with(|config| config.aws.hedge_after_ms = 50).await;
    t.sim.region(FIRST).slow_first_byte(1, FOR_EVER);
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, SECOND, "2"));
    t.sim.region(FIRST).slow_first_byte(1, FOR_EVER);
    let reply = t.openai().stream("hello").await.rest().await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, SECOND, "2"));

    let calls = t.booked_calls(4).await;
    let (lost, won): (Vec<_>, Vec<_>) = calls.iter().partition(|call| call.outcome.as_str() == "cancelled");
    assert_eq!((lost.len(), won.len()), (2, 2));
    for call in lost {
        assert_eq!((call.region.as_deref(), call.attempts, call.status), (Some(FIRST), 1, 499));
        assert_eq!((call.usage_source, call.output_tokens), (UsageSource::Estimated, 0));
        assert!(call.input_tokens > 0 && call.cost.unwrap().0 > 0, "{call:?}");
    }
    for call in won {
        assert_eq!((call.region.as_deref(), call.attempts, call.usage_source), (Some(SECOND), 1, UsageSource::Final));
    }
    t.finish().await;
}

#[tokio::test]
async fn of_two_attempts_side_by_side_one_may_fail() {
    let t = TestGateway::with(|config| config.aws.hedge_after_ms = 50).await;
    t.sim.region(FIRST).slow_first_byte(1, Duration::from_millis(400));
    t.sim.region(SECOND).unavailable(1);
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, FIRST, "2"));
    let call = t.only_call().await;
    assert_eq!((call.region.as_deref(), call.attempts), (Some(FIRST), 2));
    t.finish().await;
}

#[tokio::test]
async fn who_leaves_while_two_regions_are_asked_pays_for_both() {
    let t = TestGateway::with(|config| config.aws.hedge_after_ms = 20).await;
    t.sim.region(FIRST).slow_first_byte(1, FOR_EVER);
    t.sim.region(SECOND).slow_first_byte(1, FOR_EVER);
    let request = t.openai().request().json(&crate::support::calls::chat("never mind"));
    tokio::select! {
        answer = request.send() => panic!("{answer:?}"),
        () = eventually("both are at work", async || t.sim.waiting_faults() == 0) => {}
    }
    let mut regions: Vec<_> =
        t.booked_calls(2).await.into_iter().map(|call| (call.region.unwrap(), call.attempts)).collect();
    regions.sort();
    assert_eq!(regions, [(FIRST.to_owned(), 1), (SECOND.to_owned(), 1)]);
    t.finish().await;
}

#[tokio::test]
async fn a_call_that_is_answered_in_time_is_not_asked_twice() {
    let t = TestGateway::with(|config| config.aws.hedge_after_ms = 10_000).await;
    assert_eq!(t.openai().chat("hello").await.attempts(), "1");
    t.sim.region(FIRST).throttle(1);
    assert_eq!(t.openai().chat("hello").await.attempts(), "2");
    assert_eq!(t.sim.calls().len(), 3);
    t.finish().await;
}
