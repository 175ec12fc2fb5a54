//! Clients that call the gateway on all its ways, each call under an id that the ledger and the invocation log keep.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The model on Bedrock, called on its own path.
const PATH: &str = "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0";

/// What the clients have seen, over all rounds.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Calls whose answer came whole, by the id.
    whole: Mutex<Vec<String>>,
    /// Calls that were answered by an error of the gateway.
    refused: Mutex<Vec<String>>,
    /// Calls that were begun.
    sent: AtomicU64,
    moved: Notify,
}

impl Seen {
    /// How many calls were begun.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until so many calls were begun.
    pub(crate) async fn reach(&self, calls: u64) {
        loop {
            let moved = self.moved.notified();
            if self.sent() >= calls {
                return;
            }
            moved.await;
        }
    }

    /// This call's answer came whole.
    pub(crate) fn note_whole(&self, id: &str) {
        self.whole.lock().unwrap().push(id.to_owned());
    }

    pub(crate) fn whole(&self) -> Vec<String> {
        self.whole.lock().unwrap().clone()
    }

    pub(crate) fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap().clone()
    }
}

/// Clients at work.
pub(crate) struct Load {
    clients: JoinSet<()>,
    stop: CancellationToken,
}

impl Load {
    /// So many clients call the gateway at `address`, one call after the other.
    pub(crate) fn start(clients: usize, (address, key): (SocketAddr, &str), seen: &Arc<Seen>) -> Self {
        let stop = CancellationToken::new();
        let mut load = Self { clients: JoinSet::new(), stop };
        for _ in 0..clients {
            let (stop, seen, key) = (load.stop.clone(), Arc::clone(seen), key.to_owned());
            let http = reqwest::Client::new();
            load.clients.spawn(async move {
                while !stop.is_cancelled() {
                    let call = seen.sent.fetch_add(1, Ordering::Relaxed);
                    seen.moved.notify_waiters();
                    let id = format!("call-{call}");
                    match exchange(&http, address, &key, call, &id).await {
                        Ok(true) => seen.whole.lock().unwrap().push(id),
                        Ok(false) => seen.refused.lock().unwrap().push(id),
                        // Nobody is there any more.
                        Err(_) => break,
                    }
                }
            });
        }
        load
    }

    /// Lets the calls under way end.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
    }
}

/// Whether the whole answer is a good one; an error: it did not come to its end.
async fn exchange(
    http: &reqwest::Client,
    address: SocketAddr,
    key: &str,
    call: u64,
    id: &str,
) -> Result<bool, reqwest::Error> {
    let text = format!("number {call} [[words:{}]]", call % 40);
    let metadata = json!({"call": id});
    let bedrock = || json!({"messages": [{"role": "user", "content": [{"text": text}]}], "requestMetadata": metadata});
    let chat = |stream: bool| {
        let messages = json!([{"role": "user", "content": text}]);
        json!({"model": "claude-haiku-4-5", "messages": messages, "metadata": metadata, "stream": stream})
    };
    let (path, body) = match call % 4 {
        0 => (format!("{PATH}/converse"), bedrock()),
        1 => (format!("{PATH}/converse-stream"), bedrock()),
        2 => ("/v1/chat/completions".to_owned(), chat(false)),
        _ => ("/v1/chat/completions".to_owned(), chat(true)),
    };
    let request = http.post(format!("http://{address}{path}")).bearer_auth(key).header("x-request-id", id).json(&body);
    let answer = request.send().await?;
    let is_good = answer.status() == 200;
    answer.bytes().await?;
    Ok(is_good)
}
