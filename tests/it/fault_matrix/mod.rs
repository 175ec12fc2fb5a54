//! Every signal of AWS x (whole answer, stream before its first event, stream after it) x (one, two, three candidates):
//! who was called and how often, what the client saw, that no text comes twice, and that usage is settled once.

mod rows;

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::Value;

use self::rows::{AFTER, BEFORE, Break, Row};
use crate::support::reply::Reply;
use crate::support::{FIRST, SECOND, TestGateway};

const REGIONS: [&str; 3] = [FIRST, SECOND, "us-east-2"];
const PROMPT: &str = "one two three four five";

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Whole,
    Stream,
}

#[derive(Clone, Copy, Debug)]
enum Surface {
    OpenAi,
    Bedrock,
}

/// Runs the cases, several at a time: most of what they take is the pauses before a Region is asked again.
async fn side_by_side(cases: impl Iterator<Item = impl Future<Output = ()>>) {
    stream::iter(cases).for_each_concurrent(16, |case| case).await;
}

async fn gateway(candidates: usize) -> TestGateway {
    TestGateway::with(|config| {
        config.aws.regions = REGIONS[..candidates].iter().map(|region| (*region).to_owned()).collect();
        config.aws.max_attempts = 3;
    })
    .await
}

async fn ask(t: &TestGateway, surface: Surface, phase: Phase) -> Reply {
    match (surface, phase) {
        (Surface::OpenAi, Phase::Whole) => t.openai().chat(PROMPT).await,
        (Surface::OpenAi, Phase::Stream) => t.openai().stream(PROMPT).await.rest().await,
        (Surface::Bedrock, Phase::Whole) => t.bedrock().converse(PROMPT).await,
        (Surface::Bedrock, Phase::Stream) => t.bedrock().converse_stream(PROMPT).await.rest().await,
    }
}

/// All text of an answer, in the order in which it came.
fn text(surface: Surface, phase: Phase, reply: &Reply) -> String {
    match (surface, phase) {
        (Surface::OpenAi, Phase::Whole) => {
            reply.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
        }
        (Surface::OpenAi, Phase::Stream) => {
            let delta = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
            reply.sse().iter().filter_map(delta).collect()
        }
        (Surface::Bedrock, Phase::Whole) => {
            reply.json()["output"]["message"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
        }
        (Surface::Bedrock, Phase::Stream) => {
            let frames = reply.frames();
            let deltas = frames.iter().filter(|frame| frame.kind() == "contentBlockDelta");
            deltas.filter_map(|frame| frame.json()["delta"]["text"].as_str().map(str::to_owned)).collect()
        }
    }
}

/// The Regions that were called since `seen` calls were. A call that is signed by the wrong clock, as these tests move it,
/// is repeated within its attempt and has no Region.
fn called_since(t: &TestGateway, seen: usize) -> Vec<String> {
    t.sim.calls().into_iter().skip(seen).map(|call| call.region).filter(|region| !region.is_empty()).collect()
}

/// Whether the Regions are those at these places.
fn are(regions: &[String], places: &[usize]) -> bool {
    regions.iter().map(String::as_str).eq(places.iter().map(|place| REGIONS[*place]))
}

/// One call while faults wait: who was called, what was seen, how it was booked.
async fn judge(t: &TestGateway, (surface, phase): (Surface, Phase), what: &str, places: &[usize], status: u16) {
    let (seen, booked) = (t.sim.calls().len(), t.ledger().await.len());
    let reply = ask(t, surface, phase).await;
    let called = called_since(t, seen);
    assert!(are(&called, places), "{what}: {called:?} were called, not {places:?}: {}", reply.text());
    assert_eq!(reply.status(), status, "{what}: {}", reply.text());
    assert_eq!(reply.attempts(), places.len().to_string(), "{what}");
    let calls = t.booked_calls(booked + 1).await;
    let entry = calls.last().unwrap();
    assert_eq!((entry.attempts as usize, entry.status), (places.len(), status), "{what}");
    if status == 200 {
        assert_eq!(reply.region(), REGIONS[*places.last().unwrap()], "{what}");
        assert!(entry.outcome.as_str() == "ok" && entry.output_tokens > 0, "{what}: {entry:?}");
        let calm = ask(t, surface, phase).await;
        assert_eq!(text(surface, phase, &reply), text(surface, phase, &calm), "{what}: text came twice or not at all");
        assert!(!text(surface, phase, &reply).is_empty());
    } else {
        assert!(entry.outcome.as_str() != "ok" && entry.output_tokens == 0, "{what}: {entry:?}");
    }
    t.sim.clear_faults();
    // Whatever rests has rested enough.
    t.clock.advance(Duration::from_hours(3));
}

/// One row with so many candidates, in a gateway of its own.
async fn row_holds(row: &Row, candidates: usize) {
    let t = gateway(candidates).await;
    let Row { name, policy, status, order, of_streams } = *row;
    for (surface, phase) in [(Surface::OpenAi, Phase::Whole), (Surface::Bedrock, Phase::Stream)] {
        if of_streams && phase == Phase::Whole {
            continue;
        }
        let what = format!("{name}, once, {phase:?}, {candidates} candidates");
        order(&t.sim.region(FIRST), 1);
        let places = policy.after_one_failure(candidates);
        let is_saved = places.len() > 1;
        let refused = match surface {
            Surface::OpenAi => status.0,
            Surface::Bedrock => status.1,
        };
        judge(&t, (surface, phase), &what, &places, if is_saved { 200 } else { refused }).await;
    }
    for (surface, phase) in [(Surface::OpenAi, Phase::Stream), (Surface::Bedrock, Phase::Whole)] {
        if of_streams && phase == Phase::Whole {
            continue;
        }
        let what = format!("{name}, everywhere, {phase:?}, {candidates} candidates");
        for region in &REGIONS[..candidates] {
            order(&t.sim.region(region), 9);
        }
        let refused = match surface {
            Surface::OpenAi => status.0,
            Surface::Bedrock => status.1,
        };
        judge(&t, (surface, phase), &what, &policy.when_all_fail(candidates), refused).await;
    }
    t.finish().await;
}

#[tokio::test]
async fn before_an_answer_every_signal_is_followed_as_it_means() {
    let cases = BEFORE.iter().flat_map(|row| (1..=REGIONS.len()).map(move |candidates| row_holds(row, candidates)));
    side_by_side(cases).await;
}

/// An answer that breaks after some text: nobody else is called, what was written stays, and the client is told.
async fn break_is_told(exception: &str, order: Break, candidates: usize) {
    let t = gateway(candidates).await;
    for surface in [Surface::OpenAi, Surface::Bedrock] {
        let what = format!("{exception} after some text, {surface:?}, {candidates} candidates");
        let calm = ask(&t, surface, Phase::Stream).await;
        let seen = t.sim.calls().len();
        let booked = t.ledger().await.len();
        order(&t.sim.region(FIRST));
        let reply = ask(&t, surface, Phase::Stream).await;
        assert!(are(&called_since(&t, seen), &[0]), "{what}: {:?}", called_since(&t, seen));
        assert_eq!((reply.status(), reply.attempts()), (200, "1"), "{what}");
        let (written, whole) = (text(surface, Phase::Stream, &reply), text(surface, Phase::Stream, &calm));
        assert!(
            !written.is_empty() && written.len() < whole.len() && whole.starts_with(&written),
            "{what}: {written:?}"
        );
        match surface {
            Surface::OpenAi => {
                let last = reply.sse().pop().unwrap();
                assert!(last["error"]["message"].is_string(), "{what}: {last}");
            }
            Surface::Bedrock => {
                let frames = reply.frames();
                assert_eq!(frames.last().unwrap().kind(), format!("!{exception}"), "{what}");
            }
        }
        let calls = t.booked_calls(booked + 1).await;
        let entry = calls.last().unwrap();
        assert_eq!((entry.attempts, entry.status, entry.outcome.as_str() == "ok"), (1, 200, false), "{what}");
        assert!(entry.input_tokens > 0 && entry.output_tokens > 0, "{what}: {entry:?}");
        t.clock.advance(Duration::from_hours(3));
    }
    t.finish().await;
}

#[tokio::test]
async fn after_its_first_event_a_stream_that_breaks_is_told_so_and_nobody_else_is_called() {
    let cases = AFTER.iter().flat_map(|(exception, order)| {
        (1..=REGIONS.len()).map(move |candidates| break_is_told(exception, *order, candidates))
    });
    side_by_side(cases).await;
}
