//! A gateway that is killed again and again loses no call and books none twice.

use std::sync::Arc;

use serde_json::json;

use crate::books;
use crate::load::{Load, Seen};
use crate::processes::{Bedrock, Installation, postgres, within};

const ROUNDS: u64 = 50;
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_lose_no_call_and_book_none_twice_on_sqlite() {
    kill(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_lose_no_call_and_book_none_twice_on_postgres() {
    if let Some(url) = postgres().await {
        kill(Some(&url)).await;
    }
}

async fn kill(url: Option<&str>) {
    let bedrock = Bedrock::start();
    let installation = Installation::prepare(bedrock.address, url, None).await;
    let seen = Arc::new(Seen::default());
    for round in 0..ROUNDS {
        // Some calls wait for their answer, some in the middle of it, some are tried again.
        for fault in [
            json!({"fault": "slow_first_byte", "milliseconds": 20, "times": 3}),
            json!({"fault": "stall_stream", "milliseconds": 20, "after_events": 4, "times": 3}),
            json!({"fault": "throttle", "times": round % 4}),
        ] {
            bedrock.order(fault).await;
        }
        let gateway = installation.start().await;
        let until = seen.sent() + fastrand::u64(1..80);
        let load = Load::start(CLIENTS, (gateway.address, &installation.key), &seen);
        within(seen.reach(until)).await;
        gateway.process.kill();
        load.end().await;
    }
    installation.start().await.process.terminate().await;
    assert_eq!(installation.journal(), Vec::<String>::new(), "all is booked: {}", installation.log());
    let tally = books::agree(&installation.store, &bedrock.invocations().await, &seen).await;
    assert!(tally.interrupted > 0, "no kill hit a call: {tally:?}");
    assert!(tally.rows - tally.interrupted > 0 && tally.unsent <= tally.interrupted, "{tally:?}");
}
