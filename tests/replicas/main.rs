//! Several gateways, each a process of its own, that share a Redis or Valkey of their own and one store.
//!
//! Needs `TEST_REDIS_URL`, as a sign that there is a server to start, and takes Postgres where `TEST_POSTGRES_URL` names
//! one, else SQLite.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod site;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use site::{Answer, Site, until};

/// What all answers of a test were.
#[derive(Debug, Default)]
struct Count {
    answered: usize,
    limited: usize,
    away: usize,
    broken: usize,
}

impl Count {
    fn add(&mut self, answers: impl IntoIterator<Item = Answer>) {
        for answer in answers {
            match answer {
                Answer::Status(200) => self.answered += 1,
                Answer::Status(429) => self.limited += 1,
                Answer::Status(503) => self.away += 1,
                Answer::Broken => self.broken += 1,
                Answer::Status(_) => assert_eq!(answer, Answer::Broken),
            }
        }
    }
}

#[tokio::test]
async fn three_processes_keep_one_limit_of_requests_and_of_tokens() {
    let Some(site) = Site::start(3, "deny").await else { return };
    site.limit(Some(30), None, None).await;
    let began = Instant::now();
    let mut count = Count::default();
    count.add(join_all((0..60).map(|call| site.call(call % 3))).await);
    let refilled = usize::try_from(began.elapsed().as_secs()).unwrap() / 2 + 1;
    assert!((30..=30 + refilled).contains(&count.answered), "{count:?} {refilled}");
    assert_eq!(count.answered + count.limited, 60, "{count:?}");
    // A call reserves 50 tokens of its answer, and those of its input.
    site.limit(None, Some(1000), None).await;
    let began = Instant::now();
    let mut count = Count::default();
    count.add(join_all((0..60).map(|call| site.call(call % 3))).await);
    let most = (1000 + 1000 * usize::try_from(began.elapsed().as_secs() + 1).unwrap() / 60) / 10;
    assert!(count.limited > 0 && count.answered > 0 && count.answered <= most, "{count:?} {most}");
    site.finish().await;
}

#[tokio::test]
async fn three_processes_together_open_only_so_many_calls_and_make_room_when_they_end() {
    let Some(site) = Site::start(3, "deny").await else { return };
    site.limit(None, None, Some(4)).await;
    site.hold_answers(4);
    let held = join_all((0..4).map(|call| site.call(call % 3)));
    let others = async {
        until("four calls are with Bedrock", async || site.answers_held() == 0).await;
        join_all((0..30).map(|call| site.call(call % 3))).await
    };
    // Their clients leave when the others have been told.
    let told = tokio::select! {
        answered = held => answered,
        told = others => told,
    };
    assert!(told.iter().all(|answer| *answer == Answer::Status(429)), "{told:?}");
    until("there is room again", async || site.call(0).await.is_ok()).await;
    site.finish().await;
}

#[tokio::test]
async fn two_processes_never_spend_more_than_one_budget() {
    let Some(mut site) = Site::start(2, "deny").await else { return };
    let cost = site.cost_of_a_call().await;
    // A hold is what a call may cost at most, several times of what it costs: all that fits is spent in the end.
    let limit = cost * 60;
    site.budget(limit).await;
    let mut count = Count::default();
    for round in 0..5 {
        count.add(join_all((0..40).map(|call| site.call((call + round) % 2))).await);
    }
    assert!(count.answered > 10 && count.limited > 10 && count.answered + count.limited == 200, "{count:?}");
    let spent = site.agree().await;
    assert!(spent <= limit, "{spent} of {limit}");
    site.finish().await;
}

#[tokio::test]
async fn a_killed_process_frees_what_it_held_and_nothing_is_counted_twice() {
    let Some(mut site) = Site::start(3, "deny").await else { return };
    site.limit(None, None, Some(8)).await;
    let cost = site.cost_of_a_call().await;
    site.budget(cost * 100_000).await;
    let mut count = Count::default();
    let load = async |site: &Site| join_all((0..48).map(|call| site.call(call % 3))).await;
    count.add(load(&site).await);
    let (dying, process) = (load(&site), site.kill_soon(1));
    let (answers, ()) = tokio::join!(dying, process);
    count.add(answers);
    assert!(count.answered > 0, "{count:?}");
    // The two that are left get all eight places back, and nothing stays held.
    until("the leases of the dead are over", async || site.held() == 0).await;
    let mut after = Count::default();
    after.add(join_all((0..8).map(|call| site.call(2 * (call % 2)))).await);
    assert_eq!(after.answered, 8, "{after:?}");
    until("nothing is held", async || site.held() == 0).await;
    // What the dead one had not written is in its journal, which the next one books and charges.
    site.replace(1);
    let spent = site.agree().await;
    assert!(spent >= cost * i64::try_from(count.answered + after.answered).unwrap(), "{spent}");
    let unheard = i64::try_from(count.broken).unwrap();
    let (rows, asked) = (site.rows().await, site.asked());
    assert!((asked..=asked + unheard).contains(&rows), "{rows} rows, {asked} calls, {unheard} without an answer");
    site.finish().await;
}

#[tokio::test]
async fn a_shared_store_that_stops_and_starts_refuses_meanwhile_and_is_found_again() {
    stop_and_start("deny").await;
}

#[tokio::test]
async fn a_shared_store_that_stops_and_starts_may_be_done_without() {
    stop_and_start("allow").await;
}

async fn stop_and_start(on_failure: &str) {
    let Some(mut site) = Site::start(2, on_failure).await else { return };
    let cost = site.cost_of_a_call().await;
    site.budget(cost * 100_000).await;
    let mut count = Count::default();
    count.add(join_all((0..20).map(|call| site.call(call % 2))).await);
    assert_eq!(count.answered, 20, "{count:?}");
    for _ in 0..2 {
        let load = join_all((0..40).map(|call| site.call(call % 2)));
        let (answers, ()) = tokio::join!(load, site.stop_shared_soon());
        count.add(answers);
        let mut away = Count::default();
        let began = Instant::now();
        away.add(join_all((0..20).map(|call| site.call(call % 2))).await);
        assert!(began.elapsed() < Duration::from_secs(10), "no call is stuck: {:?}", began.elapsed());
        let expected = if on_failure == "deny" { (0, 20) } else { (20, 0) };
        assert_eq!((away.answered, away.away), expected, "{away:?}");
        assert!(site.ops(0, "/readyz?verbose").await.contains("shared store: away"));
        count.add([site.call(0).await]);
        site.start_shared().await;
        until("both find it", async || site.call(0).await.is_ok() && site.call(1).await.is_ok()).await;
        for gateway in 0..2 {
            let is_up = async || site.ops(gateway, "/metrics").await.contains("gateway_shared_store_up 1");
            until("it says that it is up", is_up).await;
        }
    }
    // It kept nothing, and knows all that was spent, whoever admitted it.
    assert!(site.call(0).await.is_ok());
    site.agree().await;
    assert_eq!(site.rows().await, site.asked());
    assert_eq!(count.broken, 0, "{count:?}");
    site.finish().await;
}

#[tokio::test]
async fn a_shared_store_that_forgets_under_load_counts_every_call_once() {
    let Some(mut site) = Site::start(2, "deny").await else { return };
    let cost = site.cost_of_a_call().await;
    site.budget(cost * 100_000).await;
    let mut count = Count::default();
    for _ in 0..3 {
        let load = join_all((0..60).map(|call| site.call(call % 2)));
        let (answers, ()) = tokio::join!(load, site.forget_soon());
        count.add(answers);
    }
    assert_eq!(count.answered, 180, "{count:?}");
    // It forgot after the last call, and is told at the next one.
    assert!(site.call(0).await.is_ok());
    assert_eq!(site.agree().await, 182 * cost);
    site.finish().await;
}
