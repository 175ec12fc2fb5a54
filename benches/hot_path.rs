//! What every request, and every streamed token, pays for: translate, sign, read frames.
//!
//! `cargo bench --bench hot_path`

#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bedrock_gateway::api::anthropic;
use bedrock_gateway::api::openai::translate::{self, Chunks, Context};
use bedrock_gateway::api::openai::wire;
use bedrock_gateway::catalog::Known;
use bedrock_gateway::catalog::{Catalog, Fence, Geography, Order};
use bedrock_gateway::clock::{Clock, Timestamp};
use bedrock_gateway::config::Secret;
use bedrock_gateway::converse::{Event, Usage};
use bedrock_gateway::families::Traits;
use bedrock_gateway::money::MicroUsd;
use bedrock_gateway::report::Report;
use bedrock_gateway::splice::{Edits, Members};
use bedrock_gateway::store::Store;
use bedrock_gateway::telemetry::Metrics;
use bedrock_gateway::tenancy::admin::{self, Actor, Precondition, SetBudget, SetLimit, Whose};
use bedrock_gateway::tenancy::ledger::{Entry, Outcome, UsageSource};
use bedrock_gateway::tenancy::{
    Demand as Most, Need, NewKey, NewTeam, Options, Output, Scope, Tenancy, Used, Worst, journal,
};
use bedrock_gateway::upstream::frames::{self, Splitter};
use bedrock_gateway::upstream::health::Health;
use bedrock_gateway::upstream::quota::Demand;
use bedrock_gateway::upstream::sign::{Keys, Signer};
use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::{HeaderMap, Method, Uri};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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

/// Requests whose body is 20 MB of one picture's base64: what each lane does with it, beside one copy of it.
fn large_body(c: &mut Criterion) {
    const SIZE: usize = 20_000_000;
    let base64 = STANDARD.encode([b"\x89PNG\r\n\x1a\n".as_slice(), &vec![7; SIZE / 4 * 3 - 8]].concat());
    let chat = serde_json::json!({
        "model": "nova-lite",
        "messages": [{"role": "user", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{base64}")}},
        ]}],
    });
    let message = serde_json::json!({
        "model": "claude-haiku-4-5", "max_tokens": 256, "stream": true,
        "messages": [{"role": "user", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": base64}},
        ]}],
    });
    let (chat, message) = (chat.to_string().into_bytes(), message.to_string().into_bytes());
    let mut group = c.benchmark_group("large_body");
    group.sample_size(10).throughput(Throughput::Bytes(SIZE as u64));
    group.bench_function("copy", |b| b.iter(|| black_box(&chat).clone()));
    group.bench_function("parse", |b| b.iter(|| wire::parse(black_box(&chat)).unwrap()));
    group.bench_function("chat_translated", |b| {
        b.iter(|| {
            let translated = translate::request(wire::parse(&chat).unwrap(), &Traits::default()).unwrap();
            sonic_rs::to_vec(&translated.request).unwrap()
        });
    });
    group.bench_function("messages_translated", |b| {
        b.iter(|| {
            let mut report = Report::default();
            let wire = anthropic::wire::parse(&message).unwrap();
            let translated = anthropic::translate::request(wire, &Traits::default(), &mut report).unwrap();
            sonic_rs::to_vec(&translated.request).unwrap()
        });
    });
    group.bench_function("messages_native", |b| {
        b.iter(|| {
            let members = Members::read(black_box(&message)).unwrap();
            let mut edits = Edits::new(&message);
            edits.remove(&members, &["model", "stream"]);
            edits.add("anthropic_version", "\"bedrock-2023-05-31\"");
            edits.apply()
        });
    });
    group.finish();
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

/// From every id of the catalog, and the ARN of each, to the candidates of three Regions; then from the one that takes
/// longest.
fn resolve(c: &mut Criterion) {
    let catalog = Catalog::embedded(&[]).unwrap();
    let regions = ["us-east-1", "eu-west-1", "ap-northeast-1"].map(Arc::from);
    let arn = |id: &str| format!("arn:aws:bedrock:us-east-1:000000000000:inference-profile/{id}");
    let names: Vec<String> = catalog.ids().flat_map(|id| [id.to_owned(), arn(id)]).collect();
    // Inside Europe, as a key may be limited: not all names have a candidate there.
    let fence = Fence::new(None, Some(Geography::Eu));
    let candidates = |name: &str| {
        let resolved = catalog.resolve(black_box(name)).ok()?;
        catalog.candidates(&resolved, &regions, &fence, Order::Preference).ok()
    };
    let all = |c: &mut Criterion, what: &str, one: &dyn Fn(&str) -> bool| {
        let timed = |name: &&String| {
            let started = Instant::now();
            (0..100).for_each(|_| {
                black_box(one(name));
            });
            started.elapsed()
        };
        let slowest = names.iter().max_by_key(timed).unwrap();
        let mut group = c.benchmark_group(what);
        group.throughput(Throughput::Elements(names.len() as u64));
        group.bench_function("all", |b| b.iter(|| names.iter().filter(|name| one(name)).count()));
        group.throughput(Throughput::Elements(1));
        group.bench_function("slowest", |b| b.iter(|| one(slowest)));
        group.finish();
    };
    all(c, "resolve", &|name| catalog.resolve(black_box(name)).is_ok());
    all(c, "candidates", &|name| candidates(name).is_some());
}

/// What an attempt costs beside the call itself: is the place well, does its quota have room, and the books of both.
fn attempt(c: &mut Criterion) {
    let (health, clock) = (Health::default(), Clock::system());
    let id: Arc<str> = "us.anthropic.claude-haiku-4-5-20251001-v1:0".into();
    let limited = Known { tokens_per_minute: Some(1 << 40), ..Known::NOTHING };
    let mut group = c.benchmark_group("attempt");
    for (name, known) in [("no_quota", Known::NOTHING), ("quota", limited)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let now = clock.now();
                let quota = health.quota(&id, known, now);
                let demand = Demand { input: 100, output: 256 };
                let reservation = quota.as_ref().map(|quota| quota.reserve_if_fits(demand, &clock).unwrap());
                let visit = health.begin(&id, quota.as_ref(), now);
                visit.answered(clock.now());
                visit.succeeded();
                if let Some(reservation) = reservation {
                    reservation.used(&Usage::default());
                }
            });
        });
    }
    group.finish();
}

/// Admission and settlement of a call of a key that three limits count and two budgets pay for.
fn admission(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let (tenancy, bare, limited) = runtime.block_on(async {
        let store = Store::open(&format!("sqlite://{}", folder.path().join("bench.db").display())).await.unwrap();
        let (actor, any) = (|| Actor::CommandLine, Precondition::Any);
        let mut keys = Vec::new();
        for team in ["bare", "limited"] {
            admin::create_team(&store, &clock, actor(), NewTeam::new(team)).await.unwrap();
            keys.push(admin::create_key(&store, &clock, actor(), NewKey::new(team, "k")).await.unwrap());
        }
        let key = Whose { team: None, key: Some(keys[1].0.id.to_string()) };
        let team = Whose { team: Some("limited".into()), key: None };
        for (whose, model) in [(key.clone(), None), (team.clone(), None), (team.clone(), Some("anthropic.*".into()))] {
            let set = SetLimit {
                whose,
                model,
                requests_per_minute: Some(1_000_000_000_000),
                tokens_per_minute: Some(1_000_000_000_000),
                concurrent_requests: Some(1000),
            };
            admin::set_limit(&store, &clock, actor(), &any, set).await.unwrap();
        }
        for whose in [key, team] {
            let set = SetBudget { whose, period: "month".into(), limit_usd: "1000000000".into() };
            admin::set_budget(&store, &clock, actor(), &any, set).await.unwrap();
        }
        let metrics = Metrics::new().unwrap();
        let tenancy = Tenancy::open(store, clock.clone(), Options::new(metrics), &tracker, stop.clone()).await.unwrap();
        let bare = tenancy.authenticate(Some(keys[0].1.expose()), None).await.unwrap();
        let limited = tenancy.authenticate(Some(keys[1].1.expose()), None).await.unwrap();
        (tenancy, bare, limited)
    });
    let cost = Worst::Known { input_pico: 100_000_000, output_pico: 5_000_000 };
    let need = Need {
        id: "call_1",
        scope: Scope::Inference,
        model: Some("claude-haiku-4-5"),
        names: &["anthropic.claude-haiku-4-5-20251001-v1:0"],
        demand: Most { input_tokens: 100, output: Output::Open { most: 8192 }, cost },
    };
    runtime.block_on(tenancy.admit(&limited, &need)).unwrap();
    let mut group = c.benchmark_group("admission");
    for (name, caller) in [("no_limits", &bare), ("three_limits_two_budgets", &limited)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                // What is in memory is never waited for.
                let hold = tenancy.admit(caller, black_box(&need)).now_or_never().unwrap().unwrap();
                hold.settle(Used { tokens: 300, cost: Some(MicroUsd(1)) }, clock.now());
            });
        });
    }
    group.finish();
    stop.cancel();
    tracker.close();
    runtime.block_on(tracker.wait());
}

/// What a call costs in the ledger: recorded alone, and begun and recorded with a journal, whose files are on the disk of
/// the temporary folder. The store is written behind as ever, in what time the measured thread leaves.
fn ledger(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut group = c.benchmark_group("ledger");
    for name in ["record", "begin_and_record_with_journal"] {
        let folder = tempfile::tempdir().unwrap();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let tenancy = runtime.block_on(async {
            let store = Store::open(&format!("sqlite://{}", folder.path().join("bench.db").display())).await.unwrap();
            let mut options = Options::new(Metrics::new().unwrap());
            let setup = journal::Setup::new(folder.path().join("journal"), Metrics::new().unwrap());
            options.journal = (name != "record").then_some(setup);
            Tenancy::open(store, Clock::system(), options, &tracker, stop.clone()).await.unwrap()
        });
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let mut took = Duration::ZERO;
                // What fits into the queue, so that no measured call meets a full one.
                for calls in [vec![1000; usize::try_from(times / 1000).unwrap()], vec![times % 1000]].concat() {
                    let started = Instant::now();
                    for _ in 0..calls {
                        let entry = booked();
                        if tenancy.is_journaled() {
                            tenancy.begin(&Entry { outcome: Outcome::INTERRUPTED, ..entry.clone() });
                        }
                        tenancy.record(entry);
                    }
                    took += started.elapsed();
                    runtime.block_on(tenancy.flush());
                }
                took
            });
        });
        stop.cancel();
        tracker.close();
        runtime.block_on(tracker.wait());
    }
    group.finish();
}

/// The entry of an ordinary call.
fn booked() -> Entry {
    Entry {
        id: Entry::fresh_id(),
        request_id: "req_01a205b2da5b776fbe95e11840adbce6".into(),
        at: Clock::system().now(),
        team: "team_01a205b2da5b776fbe95e11840adbce6".into(),
        key: "key01a205b2da5b776fbe95e11840adbce6".into(),
        surface: "openai".into(),
        operation: "chat".into(),
        model: "anthropic.claude-haiku-4-5-20251001-v1:0".into(),
        region: Some("us-east-1".into()),
        input_tokens: 100,
        output_tokens: 200,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        cost: Some(MicroUsd(1100)),
        tier: "default".into(),
        latency_ms: 700,
        ttft_ms: Some(200),
        attempts: 1,
        status: 200,
        outcome: Outcome::OK,
        usage_source: UsageSource::Final,
        streamed: true,
        end_user: None,
    }
}

/// A store with so many keys of one team, all with the secret `s`, made by one statement.
async fn store_with(keys: usize, folder: &tempfile::TempDir) -> Store {
    let url = format!("sqlite://{}", folder.path().join(format!("{keys}.db")).display());
    let store = Store::open(&url).await.unwrap();
    let team = admin::create_team(&store, &Clock::system(), Actor::Gateway, NewTeam::new("many")).await.unwrap();
    let secret = "043a718774c572bd8a25adbeb1bfcd5c0256ae11cecf9f9c3f925d0e52beaf89";
    let sql = format!(
        "INSERT INTO keys (id, team_id, name, secret_sha256, scopes, created_at, version)
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {keys})
         SELECT 'k' || i, '{}', 'k', '{secret}', '[\"inference\"]', 0, 1 FROM n",
        team.id
    );
    let pool = sqlx::AnyPool::connect(&url).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    pool.close().await;
    store
}

/// Opening tenancy, and telling who calls: with a key in memory, alone and among many, and with one that is read first.
fn authenticate(c: &mut Criterion) {
    const MANY: usize = 100_000;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let mut group = c.benchmark_group("authenticate");
    for keys in [1, MANY] {
        let store = runtime.block_on(store_with(keys, &folder));
        let open = || {
            runtime
                .block_on(Tenancy::open(
                    store.clone(),
                    Clock::system(),
                    Options::new(Metrics::new().unwrap()),
                    &tracker,
                    stop.clone(),
                ))
                .unwrap()
        };
        group.bench_function(BenchmarkId::new("open", keys), |b| b.iter(open));
        let tenancy = open();
        let texts: Vec<String> = (1..=keys).map(|n| format!("bgw_k{n}_s")).collect();
        let mut next = texts.iter().cycle();
        let mut read = texts.iter();
        // Each only once: there have to be enough.
        if keys == MANY {
            group.bench_function(BenchmarkId::new("read", keys), |b| {
                b.iter(|| read.next().map(|text| runtime.block_on(tenancy.authenticate(Some(text), None)).unwrap()));
            });
        }
        runtime.block_on(async {
            for part in texts.chunks(1_000) {
                join_all(part.iter().map(|text| tenancy.authenticate(Some(text), None))).await;
            }
        });
        group.bench_function(BenchmarkId::new("warm", keys), |b| {
            b.iter(|| tenancy.authenticate(next.next().map(String::as_str), None).now_or_never().unwrap().unwrap());
        });
    }
    group.finish();
    stop.cancel();
}

criterion_group! {
    name = hot_path;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = admission, attempt, authenticate, ledger, translate_request, translate_event, sign, decode_frames, large_body, resolve
}
criterion_main!(hot_path);
