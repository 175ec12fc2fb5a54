//! What every request, and every streamed token, pays for: translate, sign, read frames.
//!
//! `cargo bench --bench hot_path`

#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Duration;

use bedrock_gateway::api::openai::translate::{self, Chunks, Context};
use bedrock_gateway::api::openai::wire;
use bedrock_gateway::clock::Timestamp;
use bedrock_gateway::config::Secret;
use bedrock_gateway::converse::Event;
use bedrock_gateway::families::Traits;
use bedrock_gateway::upstream::frames::{self, Splitter};
use bedrock_gateway::upstream::sign::{Keys, Signer};
use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, Method, Uri};

/// An OpenAI request whose body has about `size` bytes.
fn request(size: usize) -> Vec<u8> {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(size.div_ceil(45));
    let body = serde_json::json!({
        "model": "claude-haiku-4-5",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}],
        "temperature": 0.5,
        "max_tokens": 256,
        "stream": true,
    });
    serde_json::to_vec(&body).unwrap()
}

fn delta() -> Bytes {
    Bytes::from_static(br#"{"contentBlockIndex":0,"delta":{"text":" the lazy dog"},"p":"abcdefghijklmnopqrstuv"}"#)
}

fn translate_request(c: &mut Criterion) {
    let mut group = c.benchmark_group("translate_request");
    for size in [1_000, 50_000] {
        let body = request(size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &body, |b, body| {
            b.iter(|| {
                let request = wire::parse(body).unwrap();
                let translated = translate::request(request, &Traits::default()).unwrap();
                sonic_rs::to_vec(&translated.request).unwrap()
            });
        });
    }
    group.finish();
}

fn translate_event(c: &mut Criterion) {
    let body = request(100);
    let translated = translate::request(wire::parse(&body).unwrap(), &Traits::default()).unwrap();
    let context = Context {
        id: "chatcmpl-01a205b2da5b776fbe95e11840adbce6".into(),
        created: 1_795_391_937,
        model: "claude-haiku-4-5".into(),
        tools: translated.tools,
        calling: translated.calling,
        form: translated.form,
        include_usage: false,
    };
    let mut chunks = Chunks::new(&context, 0);
    let mut out = BytesMut::with_capacity(64 * 1024);
    chunks.event(&Event::parse("messageStart", br#"{"role":"assistant"}"#).unwrap(), &mut out);
    let payload = delta();
    c.bench_function("translate_event", |b| {
        b.iter(|| {
            out.clear();
            chunks.event(&Event::parse("contentBlockDelta", black_box(&payload)).unwrap(), &mut out);
            out.len()
        });
    });
}

fn sign(c: &mut Criterion) {
    let keys =
        Keys::new("AKIDEXAMPLE".into(), Secret::new("a-secret-of-forty-characters-for-the-test"), None, None).unwrap();
    let mut group = c.benchmark_group("sign");
    for size in [1_000, 50_000] {
        let body = Bytes::from(vec![b'x'; size]);
        group.bench_with_input(BenchmarkId::from_parameter(size), &body, |b, body| {
            let signer = Signer::new("us-east-1");
            let uri = Uri::from_static("/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse");
            b.iter(|| {
                let mut headers = HeaderMap::new();
                headers.insert("host", "bedrock-runtime.us-east-1.amazonaws.com".parse().unwrap());
                headers.insert("content-type", "application/json".parse().unwrap());
                let at = Timestamp::from_millis(1_795_391_937_000);
                signer.sign(&keys, at, (&Method::POST, &uri), &mut headers, body).unwrap();
                headers
            });
        });
    }
    group.finish();
}

fn decode_frames(c: &mut Criterion) {
    let mut piece = BytesMut::new();
    for _ in 0..100 {
        piece.extend_from_slice(&frames::event("contentBlockDelta", delta()));
    }
    let piece = piece.freeze();
    let mut group = c.benchmark_group("decode_frames");
    group.throughput(Throughput::Elements(100));
    group.bench_function("100", |b| {
        b.iter(|| {
            let mut splitter = Splitter::default();
            splitter.push(piece.clone());
            let mut count = 0;
            while let Some(frame) = splitter.next_frame().unwrap() {
                count += frame.payload.len();
            }
            count
        });
    });
    group.finish();
}

criterion_group! {
    name = hot_path;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = translate_request, translate_event, sign, decode_frames
}
criterion_main!(hot_path);
