//! The two ways to call Bedrock, side by side: the wire lane that carries a caller's call, and the typed SDK client.
//! Prints the CPU time that one call costs the calling thread, 1 KB each way, over loopback, signed, pooled.
//!
//! `cargo bench --bench lanes`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::net::SocketAddr;
use std::time::Duration;

use aws_sdk_bedrockruntime::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_bedrockruntime::types::{ContentBlock, ConversationRole, InferenceConfiguration, Message};
use bedrock_gateway::clock::Clock;
use bedrock_gateway::config::{Aws, Endpoints, Secret};
use bedrock_gateway::upstream::{Call, Operation, Upstream};
use bytes::Bytes;
use http::HeaderMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::task::TaskTracker;

const MODEL: &str = "amazon.nova-lite-v1:0";
const ROUNDS: usize = 7;
const CALLS: u32 = 2_000;

fn main() {
    // `cargo test --benches` asks whether it runs, not how fast.
    let calls = if std::env::args().any(|argument| argument == "--bench") { CALLS } else { 1 };
    let upstream = serve();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(20);
        let raw = raw_lane(upstream).await;
        let region = raw.region("us-east-1").unwrap();
        let typed = typed_client(upstream);
        let (mut raw_micros, mut typed_micros) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let before = thread_cpu();
            for _ in 0..calls {
                let body = serde_json::json!({
                    "messages": [{"role": "user", "content": [{"text": text}]}],
                    "inferenceConfig": {"maxTokens": 256},
                });
                let body = Bytes::from(serde_json::to_vec(&body).unwrap());
                let call = Call { operation: Operation::Converse, headers: HeaderMap::new(), body };
                let reply = region.send(MODEL, &call).await.unwrap();
                serde_json::from_slice::<bedrock_gateway::converse::Response>(&reply.body).unwrap();
            }
            raw_micros.push(per_call(before, calls));

            let before = thread_cpu();
            for _ in 0..calls {
                let message = Message::builder()
                    .role(ConversationRole::User)
                    .content(ContentBlock::Text(text.clone()))
                    .build()
                    .unwrap();
                let length = InferenceConfiguration::builder().max_tokens(256).build();
                typed.converse().model_id(MODEL).messages(message).inference_config(length).send().await.unwrap();
            }
            typed_micros.push(per_call(before, calls));
        }
        let (raw, typed) = (median(raw_micros), median(typed_micros));
        println!("wire lane {raw:.1} us, typed client {typed:.1} us of CPU a call: {:.1} x", typed / raw);
    });
}

async fn raw_lane(upstream: SocketAddr) -> Upstream {
    let endpoints = Endpoints { runtime: Some(format!("http://{upstream}")), ..Endpoints::default() };
    let aws = Aws {
        regions: vec!["us-east-1".into()],
        endpoints: [("us-east-1".into(), endpoints)].into(),
        credentials: Some(("AKIDEXAMPLE".into(), Secret::new("not-a-real-secret"))),
        ..Aws::default()
    };
    Upstream::connect(&aws, Clock::system(), &TaskTracker::new()).await.unwrap()
}

fn typed_client(upstream: SocketAddr) -> aws_sdk_bedrockruntime::Client {
    let config = aws_sdk_bedrockruntime::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{upstream}"))
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "not-a-real-secret", None, None, "bench"))
        .retry_config(RetryConfig::disabled())
        .build();
    aws_sdk_bedrockruntime::Client::from_conf(config)
}

/// Nanoseconds that this thread ran.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
}

fn per_call(before: Duration, calls: u32) -> f64 {
    thread_cpu().saturating_sub(before).as_secs_f64() * 1e6 / f64::from(calls)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A server on a thread of its own that gives every request the same answer of about 1 KB.
fn serve() -> SocketAddr {
    let text = "Pack my box with five dozen liquor jugs. ".repeat(20);
    let body = serde_json::json!({
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 230, "outputTokens": 190, "totalTokens": 420},
        "metrics": {"latencyMs": 1},
    })
    .to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
    let answer = Bytes::from(format!("{head} {}\r\n\r\n{body}", body.len()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        listener.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let tracker = TaskTracker::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tracker.spawn(answer_all(stream, answer.clone()));
            }
        });
    });
    address
}

async fn answer_all(mut stream: tokio::net::TcpStream, answer: Bytes) {
    let mut seen = Vec::new();
    let mut piece = [0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        seen.extend_from_slice(&piece[..count]);
        if is_whole(&seen) {
            seen.clear();
            stream.write_all(&answer).await.unwrap();
        }
    }
}

/// Whether a request has come with all of its body.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head.split("content-length:").nth(1).and_then(|rest| rest.split("\r\n").next());
    request.len() >= end + 4 + length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
}
