//! Against a real Redis or Valkey, where `TEST_REDIS_URL` names one. Each test has keys of its own.

mod model;
mod replicas;

use std::time::Duration;

use super::script;
use crate::clock::Timestamp;
use crate::ids;
use crate::shared::{Answer, Argument, Script, SharedStore};

/// Where a Redis or Valkey is; says loudly that there is none.
fn url() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration file")]
    let url = std::env::var("TEST_REDIS_URL").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        eprintln!("SKIPPED: TEST_REDIS_URL is not set; NOTHING SHARED WAS TESTED");
    }
    url
}

/// The first key of a keyspace that nobody else uses.
fn fresh_key() -> String {
    format!("{{{}}}:epoch", ids::fresh("test"))
}

/// The scripts at a keyspace of their own, at times that are given.
struct Scripts {
    store: SharedStore,
    key: String,
}

impl Scripts {
    async fn connect() -> Option<Self> {
        let store = SharedStore::new(&url()?, script::texts()).unwrap();
        store.publish(store.dial().await.unwrap());
        Some(Self { store, key: fresh_key() })
    }

    /// Not by `run`, whose patience a busy machine outlasts.
    async fn run(&self, script: Script, arguments: Vec<Argument<'_>>) -> Answer {
        self.store.run_all(script, &self.key, &[arguments]).await.unwrap().remove(0)
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

const LEASE: Duration = Duration::from_secs(30);
