//! A database that goes away under load fails no call, and has every row once it is back.

use std::sync::Arc;

use url::Url;

use crate::books;
use crate::load::{Load, Seen};
use crate::processes::{Bedrock, Installation, eventually, postgres, within};
use crate::relay::Relay;

const LAG: &str = "gateway_ledger_lag_seconds";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_may_go_away_and_come_back_under_load() {
    let Some(url) = postgres().await else { return };
    let parsed = Url::parse(&url).unwrap();
    let server = format!("{}:{}", parsed.host_str().unwrap(), parsed.port().unwrap_or(5432));
    let relay = Relay::to(server.clone()).await;
    let bedrock = Bedrock::start();
    let relayed = url.replacen(&server, &relay.address.to_string(), 1);
    assert_ne!(relayed, url);
    let installation = Installation::prepare(bedrock.address, Some(&url), Some(&relayed)).await;
    let gateway = installation.start().await;
    let seen = Arc::new(Seen::default());
    for times in 1..=2 {
        let load = Load::start(4, (gateway.address, &installation.key), &seen);
        let more = async |calls: u64| within(seen.reach(seen.sent() + calls)).await;
        more(50).await;
        relay.cut();
        more(100).await;
        eventually("the lag tells it", async || gateway.metric(LAG).await > 1.0).await;
        more(100).await;
        if times == 2 {
            // The process dies while its rows are nowhere but in its journal.
            gateway.process.kill();
            load.end().await;
            relay.mend();
            break;
        }
        relay.mend();
        eventually("the rows are written", async || gateway.metric(LAG).await < 0.5).await;
        load.end().await;
        eventually("nothing waits", async || gateway.metric(LAG).await == 0.0).await;
        assert_eq!(seen.refused(), Vec::<String>::new());
    }
    let gateway = installation.start().await;
    assert_eq!(gateway.metric("gateway_journal_errors_total").await.to_bits(), 0.0_f64.to_bits());
    gateway.process.terminate().await;
    let tally = books::agree(&installation.store, &bedrock.invocations().await, &seen).await;
    assert!(tally.interrupted <= 4, "only what was under way: {tally:?}");
    assert_eq!(seen.refused(), Vec::<String>::new());
}
