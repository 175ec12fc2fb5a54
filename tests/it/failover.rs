//! Two Regions: which one is asked, what follows a failure, and when a Region that failed is asked again.

use std::time::Duration;

use bedrock_gateway::config::Endpoints;
use bedrock_gateway::simulator::RegionFaults;
use serde_json::json;

use crate::support::{FIRST, MODEL_ID, SECOND, TestGateway, log};

/// Orders a fault of a Region.
type Fault = fn(&RegionFaults) -> &RegionFaults;

#[tokio::test]
async fn the_second_region_answers_when_the_first_throttles() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).throttle(1);
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, SECOND, "2"));
    assert_eq!(log::failed_attempts(reply.header("x-request-id")), ["throttled"]);
    let call = t.only_call().await;
    assert_eq!((call.region.as_deref(), call.attempts), (Some(SECOND), 2));
    assert_eq!(t.metrics().count("gateway_upstream_attempts_total", &[("region", FIRST), ("outcome", "throttled")]), 1);
    t.finish().await;
}

#[tokio::test]
async fn the_second_region_answers_whatever_befell_the_first() {
    let t = TestGateway::start().await;
    let faults: [(&str, Fault); 7] = [
        ("unavailable", |region| region.unavailable(1)),
        ("internal error", |region| region.internal_error(1)),
        ("overloaded", |region| region.overloaded(1)),
        ("model timeout", |region| region.model_timeout(1)),
        ("quota", |region| region.quota_exceeded(1)),
        ("access denied", |region| region.reject(1, "AccessDeniedException", 403, "No access here.")),
        ("connection reset", |region| region.reset_connection(1)),
    ];
    for (name, order) in faults {
        order(&t.sim.region(FIRST));
        let reply = t.openai().chat("hello").await;
        assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, SECOND, "2"), "{name}");
        // Whatever rests has rested enough.
        t.clock.advance(Duration::from_hours(2));
        let reply = t.bedrock().converse("hello again").await;
        assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, FIRST, "1"), "after {name}");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_stream_moves_on_while_nothing_was_sent_to_the_client() {
    let t = TestGateway::start().await;
    let faults: [(&str, Fault); 4] = [
        ("throttled", |region| region.throttle(1)),
        ("an exception as the first event", |region| region.stream_exception("modelStreamErrorException", 0)),
        ("cut before the first event", |region| region.cut_stream_after(0)),
        ("a broken first frame", |region| region.corrupt_frame_after(0)),
    ];
    for (name, order) in faults {
        order(&t.sim.region(FIRST));
        let reply = t.openai().stream("hello").await.rest().await;
        assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, SECOND, "2"), "{name}");
        assert_eq!(reply.sse().last().unwrap(), "[DONE]", "{name}");
        t.clock.advance(Duration::from_hours(2));
        order(&t.sim.region(FIRST));
        let reply = t.bedrock().converse_stream("hello").await.rest().await;
        assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, SECOND, "2"), "{name}");
        assert_eq!(reply.frames().last().unwrap().kind(), "metadata", "{name}");
        t.clock.advance(Duration::from_hours(2));
    }
    t.finish().await;
}

#[tokio::test]
async fn a_stream_that_breaks_counts_as_a_failed_attempt_and_throttling_within_it_rests_the_region() {
    let t = TestGateway::start().await;
    let first = t.sim.region(FIRST);
    let faults: [(&str, &str, bool, &dyn Fn()); 4] = [
        ("throttled", "throttled", true, &|| drop(first.stream_exception("throttlingException", 3).clone())),
        ("model_error", "error", false, &|| drop(first.stream_exception("modelStreamErrorException", 3).clone())),
        ("cut", "error", false, &|| drop(first.cut_stream_after(3).clone())),
        ("cut", "error", false, &|| drop(first.corrupt_frame_after(3).clone())),
    ];
    for (reason, outcome, rests, order) in faults {
        for openai in [true, false] {
            let counted = |outcome| {
                t.metrics().count("gateway_upstream_attempts_total", &[("region", FIRST), ("outcome", outcome)])
            };
            let before = (counted(outcome), counted("ok"));
            order();
            let reply = if openai {
                t.openai().stream("one two three four").await.rest().await
            } else {
                t.bedrock().converse_stream("one two three four").await.rest().await
            };
            assert_eq!((reply.status(), reply.region()), (200, FIRST));
            assert_eq!((counted(outcome), counted("ok")), (before.0 + 1, before.1), "{reason}");
            assert_eq!(log::failed_attempts(reply.header("x-request-id")), [reason]);

            let next = t.openai().chat("hello").await;
            assert_eq!((next.region(), next.attempts()), (if rests { SECOND } else { FIRST }, "1"), "after {reason}");
            t.clock.advance(Duration::from_hours(2));
        }
    }
    t.finish().await;
}

#[tokio::test]
async fn a_region_that_cannot_be_reached_is_passed_over() {
    // A port that was free a moment ago, and that nobody listens on.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let t = TestGateway::with(|config| {
        let endpoints = Endpoints { runtime: Some(format!("http://{nobody}")), ..Endpoints::default() };
        config.aws.endpoints.insert(FIRST.into(), endpoints);
    })
    .await;
    t.expect_lost_attempts(1);
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, SECOND, "2"));
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.region(), reply.attempts()), (SECOND, "1"), "the first Region rests");
    t.finish().await;
}

#[tokio::test]
async fn throttled_everywhere_is_a_429_that_says_when_to_come_back() {
    let t = TestGateway::with(|config| config.aws.max_attempts = 2).await;
    t.sim.region("*").throttle_for(4, 7);
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), reply.header("retry-after"), reply.attempts()), (429, "7", "2"));
    let error = reply.openai_error();
    assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("rate_limit_exceeded")));
    let call = t.only_call().await;
    assert_eq!((call.attempts, call.outcome.as_str(), call.status), (2, "upstream_throttled", 429));

    let reply = t.bedrock().converse("hello").await;
    assert_eq!((reply.status(), reply.header("retry-after"), reply.attempts()), (429, "7", "2"));
    assert_eq!(reply.exception().0, "ThrottlingException");
    t.finish().await;
}

#[tokio::test]
async fn throttled_everywhere_without_a_word_of_when_says_when_the_soonest_rest_ends() {
    let t = TestGateway::with(|config| config.aws.max_attempts = 2).await;
    t.sim.region("*").throttle(2);
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), reply.header("retry-after")), (429, "2"));

    // One Region rests for a minute and more, the other is free again but for this failure.
    t.clock.advance(Duration::from_secs(2));
    t.sim.region(FIRST).throttle_for(1, 90);
    t.sim.region(SECOND).throttle(1);
    let reply = t.bedrock().converse("hello").await;
    assert_eq!((reply.status(), reply.header("retry-after")), (429, "4"));
    t.finish().await;
}

#[tokio::test]
async fn without_another_region_the_same_one_is_tried_again_after_a_pause() {
    let t = TestGateway::with(|config| config.aws.regions = vec![FIRST.into()]).await;
    t.sim.region(FIRST).throttle(1);
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, FIRST, "2"));
    t.finish().await;
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_not_tried_again() {
    let t = TestGateway::start().await;
    t.sim.region("*").reject(1, "ValidationException", 400, "This is not how it is done.");
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), &reply.openai_error()["message"]), (400, &json!("This is not how it is done.")));
    assert_eq!(t.sim.calls().len(), 1);
    t.sim.region("*").reject(1, "ValidationException", 400, "This is not how it is done.");
    let reply = t.bedrock().converse("hello").await;
    assert_eq!((reply.status(), reply.exception().0), (400, "ValidationException"));
    assert_eq!(t.sim.calls().len(), 2);
    t.finish().await;
}

#[tokio::test]
async fn what_may_have_cost_already_is_tried_once_more_at_most() {
    let t = TestGateway::start().await;
    t.sim.region("*").model_timeout(10);
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), &reply.openai_error()["code"]), (504, &json!("upstream_timeout")));
    assert_eq!(t.sim.calls().len(), 2);
    t.finish().await;
}

#[tokio::test]
async fn a_region_that_failed_rests_and_is_probed_when_its_cooldown_is_over() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).throttle(2);
    assert_eq!(t.openai().chat("hello").await.attempts(), "2");
    let resting = t.ops("/metrics").await;
    let cooling = format!(r#"gateway_upstream_cooling{{model="{MODEL_ID}",region="{FIRST}"}} 1"#);
    assert!(resting.text().contains(&cooling), "{}", resting.text());

    let next = t.openai().chat("hello").await;
    assert_eq!((next.region(), next.attempts()), (SECOND, "1"), "the other Region is asked first");

    // The probe fails, so the next rest is twice as long: four seconds.
    t.clock.advance(Duration::from_secs(2));
    let probe = t.openai().chat("hello").await;
    assert_eq!((probe.region(), probe.attempts()), (SECOND, "2"));
    t.clock.advance(Duration::from_secs(3));
    assert_eq!(t.openai().chat("hello").await.attempts(), "1");

    t.clock.advance(Duration::from_secs(1));
    let well = t.openai().chat("hello").await;
    assert_eq!((well.region(), well.attempts()), (FIRST, "1"));
    assert_eq!(t.openai().chat("hello").await.region(), FIRST);
    t.finish().await;
}

#[tokio::test]
async fn a_model_rests_alone() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).on_model("haiku").throttle(1);
    assert_eq!(t.bedrock().converse("hello").await.region(), SECOND);
    assert_eq!(t.bedrock().model("nova-lite").converse("hello").await.region(), FIRST);
    t.finish().await;
}

#[tokio::test]
async fn expired_credentials_are_renewed_within_the_attempt() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).expired_credentials(1);
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, FIRST, "1"));
    t.finish().await;
}

#[tokio::test]
async fn credentials_that_stay_refused_are_the_gateways_fault_not_the_callers() {
    let t = TestGateway::start().await;
    t.sim.region("*").expired_credentials(100);
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), &reply.openai_error()["code"]), (503, &json!("upstream_unavailable")));
    let reply = t.bedrock().converse("hello").await;
    assert_eq!((reply.status(), reply.exception().0), (503, "ServiceUnavailableException"));
    t.finish().await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_corrected_by_bedrocks() {
    let t = TestGateway::start().await;
    for skew in [3600, -3600] {
        t.sim.set_clock_skew(skew);
        let reply = t.openai().chat("hello").await;
        assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, FIRST, "1"), "{skew}");
        let refused = t.sim.calls().iter().filter(|call| call.status == 403).count();
        assert_eq!(t.openai().chat("hello").await.status(), 200);
        let now = t.sim.calls().iter().filter(|call| call.status == 403).count();
        assert_eq!(now, refused, "the correction stays");
    }
    t.finish().await;
}
