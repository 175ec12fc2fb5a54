//! What is on disk of a call at any moment is what it would be booked as if the gateway died then.

use std::time::Duration;

use bedrock_gateway::tenancy::ledger::{Entry, Outcome, UsageSource};

use crate::support::calls::{chat, message};
use crate::support::{FIRST, MODEL_ID, SECOND, TestGateway, eventually};

/// Longer than any test waits.
const FOR_EVER: Duration = Duration::from_hours(1);

/// What would be booked if the gateway died while it waits for the answer to a chat.
async fn waiting(t: &TestGateway) -> Vec<Entry> {
    let request = t.openai().request().json(&chat("never mind"));
    let mut booked = Vec::new();
    tokio::select! {
        answer = request.send() => panic!("{answer:?}"),
        () = async {
            eventually("Bedrock is at work", async || t.sim.waiting_faults() == 0).await;
            booked = t.booked_if_killed_now().await;
        } => {}
    }
    booked
}

#[tokio::test]
async fn a_call_that_waits_is_booked_with_its_input() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).slow_first_byte(1, FOR_EVER);
    let [row] = &waiting(&t).await[..] else { panic!("one row") };
    assert_eq!((&row.outcome, row.usage_source), (&Outcome::INTERRUPTED, UsageSource::Estimated));
    assert_eq!((row.region.as_deref(), row.attempts, row.status, row.output_tokens), (Some(FIRST), 1, 0, 0));
    assert!(row.input_tokens > 0 && row.cost.unwrap().0 > 0 && row.model == MODEL_ID, "{row:?}");
    let call = t.only_call().await;
    assert_eq!((&call.id, &call.request_id), (&row.id, &row.request_id), "the same row, whoever writes it");
    assert_eq!(t.booked_if_killed_now().await, [call], "what it was settled as counts");
    t.finish().await;
}

#[tokio::test]
async fn a_call_that_was_tried_elsewhere_is_one_row_that_says_so() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).unavailable(1);
    t.sim.region(SECOND).slow_first_byte(1, FOR_EVER);
    let [row] = &waiting(&t).await[..] else { panic!("one row") };
    assert_eq!((row.region.as_deref(), row.attempts), (Some(SECOND), 2));
    t.finish().await;
}

#[tokio::test]
async fn of_two_attempts_side_by_side_each_is_a_row() {
    let t = TestGateway::with(|config| config.aws.hedge_after_ms = 20).await;
    t.sim.region(FIRST).slow_first_byte(1, FOR_EVER);
    t.sim.region(SECOND).slow_first_byte(1, FOR_EVER);
    let mut rows = waiting(&t).await;
    rows.sort_by(|one, other| one.region.cmp(&other.region));
    let told: Vec<_> = rows.iter().map(|row| (row.region.as_deref(), row.attempts, &row.outcome)).collect();
    assert_eq!(told, [(Some(FIRST), 1, &Outcome::INTERRUPTED), (Some(SECOND), 1, &Outcome::INTERRUPTED)]);
    let mut ids: Vec<_> = t.booked_calls(2).await.into_iter().map(|call| call.id).collect();
    let mut written: Vec<_> = rows.into_iter().map(|row| row.id).collect();
    ids.sort();
    written.sort();
    assert_eq!(ids, written);
    t.finish().await;
}

#[tokio::test]
async fn an_answered_call_leaves_one_row_however_many_were_asked() {
    let t = TestGateway::with(|config| config.aws.hedge_after_ms = 50).await;
    t.sim.region(FIRST).slow_first_byte(1, Duration::from_millis(300));
    t.sim.region(SECOND).unavailable(1);
    assert_eq!(t.openai().chat("hello").await.status(), 200);
    assert_eq!(t.booked_if_killed_now().await, [t.only_call().await]);
    t.finish().await;
}

#[tokio::test]
async fn a_client_has_the_end_of_its_stream_only_when_that_is_written_down() {
    let t = TestGateway::start().await;
    let reply = t.openai().stream("one two three").await.rest().await;
    assert!(reply.text().ends_with("data: [DONE]\n\n"), "{reply:?}");
    let [row] = &t.booked_if_killed_now().await[..] else { panic!("one row") };
    assert_eq!((&row.outcome, row.usage_source), (&Outcome::OK, UsageSource::Final));
    t.finish().await;
}

#[tokio::test]
async fn a_call_that_is_free_is_booked_at_no_cost() {
    let t = TestGateway::start().await;
    let mut body = message("How long is this?");
    body.as_object_mut().unwrap().remove("max_tokens");
    assert_eq!(t.anthropic().count(&body).await.status(), 200);
    let [row] = &t.booked_if_killed_now().await[..] else { panic!("one row") };
    assert_eq!((&*row.operation, row.input_tokens, row.cost.unwrap().0), ("count_tokens", 0, 0));
    t.finish().await;
}
