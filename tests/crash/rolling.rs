//! Gateways that are replaced one after the other behind a balancer: no stream breaks, no call is refused, and every call
//! that Bedrock was asked for has its row.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::books;
use crate::load::Seen;
use crate::processes::{Bedrock, Gateway, Installation, eventually, postgres, within};

/// Streams that are open while a gateway is replaced.
const STREAMS: u64 = 200;
/// How long Bedrock keeps each of them waiting in its middle.
const STALL_MS: u64 = 4000;

/// A balancer of connections: one that is new goes to the next gateway that was ready when it was last asked.
struct Balancer {
    address: SocketAddr,
    backends: Mutex<Vec<Arc<Backend>>>,
    next: AtomicUsize,
    /// Connections that no gateway took.
    refused: AtomicU64,
    http: reqwest::Client,
}

struct Backend {
    address: SocketAddr,
    ops: SocketAddr,
    is_ready: AtomicBool,
}

impl Balancer {
    /// It works on `tasks`.
    async fn start(tasks: &mut JoinSet<()>) -> Arc<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let balancer = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            backends: Mutex::default(),
            next: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            http: reqwest::Client::new(),
        });
        let (asking, taking) = (Arc::clone(&balancer), Arc::clone(&balancer));
        tasks.spawn(async move { asking.ask().await });
        tasks.spawn(async move {
            let mut pairs = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let balancer = Arc::clone(&taking);
                pairs.spawn(async move {
                    let connected = match balancer.pick() {
                        Some(address) => TcpStream::connect(address).await.ok(),
                        None => None,
                    };
                    match connected {
                        Some(mut gateway) => drop(tokio::io::copy_bidirectional(&mut client, &mut gateway).await),
                        None => drop(balancer.refused.fetch_add(1, Ordering::Relaxed)),
                    }
                });
                while pairs.try_join_next().is_some() {}
            }
        });
        balancer
    }

    fn add(&self, gateway: &Gateway) {
        let backend = Backend { address: gateway.address, ops: gateway.ops, is_ready: AtomicBool::new(true) };
        self.backends.lock().unwrap().push(Arc::new(backend));
    }

    fn remove(&self, address: SocketAddr) {
        self.backends.lock().unwrap().retain(|backend| backend.address != address);
    }

    fn pick(&self) -> Option<SocketAddr> {
        let backends = self.backends.lock().unwrap();
        let ready: Vec<_> = backends.iter().filter(|backend| backend.is_ready.load(Ordering::Relaxed)).collect();
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        ready.get(next % ready.len().max(1)).map(|backend| backend.address)
    }

    async fn ask(&self) {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            let backends = self.backends.lock().unwrap().clone();
            for backend in backends {
                let answer = self.http.get(format!("http://{}/readyz", backend.ops)).send().await;
                backend.is_ready.store(answer.is_ok_and(|answer| answer.status() == 200), Ordering::Relaxed);
            }
        }
    }
}

/// The clients of the balancer, and what they saw.
struct Clients {
    url: String,
    key: String,
    calls: AtomicU64,
    begun: AtomicU64,
    seen: Seen,
    broken: Mutex<Vec<String>>,
}

impl Clients {
    async fn call(&self, http: &reqwest::Client, is_streamed: bool) {
        let id = format!("call-{}", self.calls.fetch_add(1, Ordering::Relaxed));
        if let Err(why) = self.exchange(http, &id, is_streamed).await {
            self.broken.lock().unwrap().push(format!("{id}: {why}"));
        }
    }

    async fn exchange(&self, http: &reqwest::Client, id: &str, is_streamed: bool) -> Result<(), String> {
        let text = format!("{id} [[words:30]]");
        let metadata = json!({"call": id});
        let body = json!({"messages": [{"role": "user", "content": [{"text": text}]}], "requestMetadata": metadata});
        let operation = if is_streamed { "converse-stream" } else { "converse" };
        let url = format!("{}/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/{operation}", self.url);
        let request = http.post(url).bearer_auth(&self.key).header("x-request-id", id).json(&body);
        let mut answer = request.send().await.map_err(|error| format!("{error:?}"))?;
        if answer.status() != 200 {
            return Err(answer.status().to_string());
        }
        self.begun.fetch_add(u64::from(is_streamed), Ordering::Relaxed);
        let mut whole = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| format!("{error:?}"))? {
            whole.extend_from_slice(&piece);
        }
        let whole = String::from_utf8_lossy(&whole);
        let is_whole = if is_streamed { whole.contains("messageStop") } else { whole.contains("stopReason") };
        if !is_whole || whole.contains("xception") {
            return Err(format!("not whole: {whole}"));
        }
        self.seen.note_whole(id);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_are_replaced_one_after_the_other_and_no_stream_no_call_and_no_row_is_lost() {
    let bedrock = Bedrock::start();
    let url = postgres().await;
    let installation = Installation::prepare(bedrock.address, url.as_deref(), None).await;
    let mut tasks = JoinSet::new();
    let balancer = Balancer::start(&mut tasks).await;
    let mut gateways = vec![installation.start().await, installation.start().await];
    for gateway in &gateways {
        balancer.add(gateway);
    }
    let clients = Arc::new(Clients {
        url: format!("http://{}", balancer.address),
        key: installation.key.clone(),
        calls: AtomicU64::default(),
        begun: AtomicU64::default(),
        seen: Seen::default(),
        broken: Mutex::default(),
    });

    // Some keep their connections, some come by a new one each time.
    let (mut callers, enough) = (JoinSet::new(), CancellationToken::new());
    for kept in [8, 8, 8, 0] {
        let (clients, enough) = (Arc::clone(&clients), enough.clone());
        let http = reqwest::Client::builder().pool_max_idle_per_host(kept).build().unwrap();
        callers.spawn(async move {
            while !enough.is_cancelled() {
                clients.call(&http, false).await;
            }
        });
    }
    for round in 1..=2 {
        let stall = json!({"fault": "stall_stream", "times": STREAMS, "after_events": 3, "milliseconds": STALL_MS});
        bedrock.order(stall).await;
        let mut streams = JoinSet::new();
        let http = reqwest::Client::new();
        for _ in 0..STREAMS {
            let (clients, http) = (Arc::clone(&clients), http.clone());
            streams.spawn(async move { clients.call(&http, true).await });
        }
        let whole = || u64::try_from(clients.seen.whole().len()).unwrap();
        eventually("all streams are open", async || {
            clients.begun.load(Ordering::Relaxed) + u64::try_from(clients.broken.lock().unwrap().len()).unwrap()
                >= STREAMS * round
        })
        .await;
        let old = gateways.remove(0);
        assert!(old.metric("gateway_streams_open").await > 0.0, "of {} whole", whole());
        let address = old.address;
        old.process.terminate().await;
        balancer.remove(address);
        let new = installation.start().await;
        balancer.add(&new);
        gateways.push(new);
        while let Some(stream) = within(streams.join_next()).await {
            stream.unwrap();
        }
    }
    enough.cancel();
    while let Some(caller) = within(callers.join_next()).await {
        caller.unwrap();
    }
    assert_eq!(*clients.broken.lock().unwrap(), Vec::<String>::new());
    assert_eq!(balancer.refused.load(Ordering::Relaxed), 0);
    for gateway in gateways {
        gateway.process.terminate().await;
    }
    let invocations = bedrock.invocations().await;
    let tally = books::agree(&installation.store, &invocations, &clients.seen).await;
    let calls = usize::try_from(clients.calls.load(Ordering::Relaxed)).unwrap();
    assert_eq!((tally.rows, tally.interrupted, clients.seen.whole().len()), (calls, 0, calls));
    let mut asked: BTreeMap<String, u32> = BTreeMap::new();
    for invocation in &invocations {
        *asked.entry(invocation["requestMetadata"]["call"].to_string()).or_default() += 1;
    }
    assert!(asked.len() == calls && asked.values().all(|times| *times == 1), "each call was made once");
}
