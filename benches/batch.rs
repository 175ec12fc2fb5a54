//! What a batch costs in CPU: a file surveyed while it is uploaded, planned into jobs, and a job's answers put together with
//! their records; 32 MiB of lines of 1 KB each, S3 left out. The aim is 100 MB/s of one core.
//!
//! `cargo bench --bench batch`

#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use bedrock_gateway::api;
use bedrock_gateway::batch::codec::Lost;
use bedrock_gateway::batch::collect::{self, Again, Ending, Index, Joining};
use bedrock_gateway::batch::layout::{BatchKeys, IndexLine};
use bedrock_gateway::batch::lines::LineReader;
use bedrock_gateway::batch::plan::{Group, JobPlace, Place, Plan, Planned, Planner, Way};
use bedrock_gateway::batch::planner::Limits;
use bedrock_gateway::batch::{Endpoint, Invocation, Survey};
use bedrock_gateway::catalog::Catalog;
use bedrock_gateway::clock::Timestamp;
use bedrock_gateway::config::{Config, SmallBatches};
use bedrock_gateway::gateway::Asked;
use bedrock_gateway::money::MicroUsd;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::{FutureExt as _, stream};

/// About as many records as a 32 MiB file has.
const RECORDS: usize = 32 << 10;
/// What S3 hands out at a time.
const PIECE: usize = 64 << 10;

/// A prompt as they are: prose, with line breaks and quotes in it.
fn prompt() -> String {
    let sentence = "Summarise the following ticket in one line.\\nThe caller says \\\"it stopped\\\" since Monday. ";
    sentence.repeat(800 / sentence.len())
}

fn source() -> Bytes {
    let prompt = prompt();
    let mut text = String::new();
    for id in 0..RECORDS {
        let _ = writeln!(
            text,
            r#"{{"custom_id":"request-{id}","method":"POST","url":"/v1/chat/completions","body":{{"model":"nova-lite","messages":[{{"role":"system","content":"You are brief."}},{{"role":"user","content":"{prompt}"}}],"max_tokens":200}}}}"#
        );
    }
    text.into()
}

/// What AWS writes of such records.
fn output() -> Bytes {
    let prompt = prompt();
    let mut text = String::new();
    for id in 0..RECORDS {
        let _ = writeln!(
            text,
            r#"{{"modelInput":{{"system":[{{"text":"You are brief."}}],"messages":[{{"role":"user","content":[{{"text":"{prompt}"}}]}}],"inferenceConfig":{{"maxTokens":200}}}},"modelOutput":{{"output":{{"message":{{"role":"assistant","content":[{{"text":"It stopped on Monday, and nobody knows why."}}]}}}},"stopReason":"end_turn","usage":{{"inputTokens":210,"outputTokens":12,"totalTokens":222}},"metrics":{{"latencyMs":0}}}},"recordId":"bgw{id:011}"}}"#
        );
    }
    text.into()
}

fn lines(
    text: &Bytes,
) -> LineReader<impl stream::Stream<Item = bedrock_gateway::error::Result<Bytes>> + Unpin + use<>> {
    let text = text.clone();
    LineReader::new(stream::iter(
        (0..text.len()).step_by(PIECE).map(move |at| Ok(text.slice(at..(at + PIECE).min(text.len())))),
    ))
}

fn survey(text: &Bytes) -> Survey {
    let mut surveyor = Survey::begin();
    for piece in text.chunks(PIECE) {
        surveyor.push(piece).unwrap();
    }
    surveyor.finish().unwrap()
}

fn plan_of(survey: &Survey) -> Plan {
    let catalog = Catalog::configured(&Config::default()).unwrap();
    let place = Place { region: "us-east-1".into(), bucket: "bucket".into() };
    let most = u64::MAX >> 1;
    let limits =
        Limits { min: 100, max_records: 10_000, max_bytes: most, max_file_records: most, max_file_bytes: most };
    let groups = survey.groups.iter().map(|group| Group {
        name: group.model.clone(),
        model: Asked { name: group.model.clone(), resolved: catalog.resolve(&group.model).unwrap() },
        model_id: "amazon.nova-lite-v1:0".into(),
        load: group.load,
        way: Way::Jobs {
            limits,
            places: vec![JobPlace { place: place.clone(), call_id: "amazon.nova-lite-v1:0".into() }],
        },
    });
    Plan {
        batch: "batch_bench".into(),
        codec: *api::batch::CODECS.of(Endpoint::Chat).unwrap(),
        native_tools: false,
        invocation: None,
        small: SmallBatches::Online,
        keys: BatchKeys::new("gw", "batch_bench"),
        home: place.clone(),
        groups: groups.collect(),
        at: Timestamp::default(),
    }
}

fn plan(plan: &Plan, text: &Bytes) -> Planned {
    let mut planner = Planner::new(plan, &|_, _, _| MicroUsd(0));
    let mut pieces = Vec::new();
    planner.begin(0..1);
    let mut lines = lines(text);
    while let Some(line) = lines.next().now_or_never().unwrap().unwrap() {
        planner.take(&line, &mut pieces).unwrap();
        black_box(pieces.drain(..).count());
    }
    planner.end_jobs(&mut pieces);
    planner.end(&mut pieces);
    planner.finish(&mut pieces)
}

fn join(what: &Joining, index: &Index, text: &Bytes) -> u64 {
    let mut join = collect::join(what, index, &BatchKeys::new("gw", "batch_bench").shard(0));
    let mut pieces = Vec::new();
    let mut lines = lines(text);
    while let Some(line) = lines.next().now_or_never().unwrap().unwrap() {
        join.take(&line, &mut pieces);
        black_box(pieces.drain(..).count());
    }
    join.finish(&mut pieces).done
}

fn batch(c: &mut Criterion) {
    let (source, output) = (source(), output());
    let surveyed = survey(&source);
    assert_eq!((surveyed.records, surveyed.bad), (RECORDS as u64, 0));
    let what = plan_of(&surveyed);
    let planned = plan(&what, &source);
    assert!(planned.shards.iter().all(|shard| shard.invocation == Invocation::Converse && !shard.call_id.is_empty()));
    let joining = Joining {
        shard: planned.shards[0].clone(),
        codec: what.codec,
        again: Again::Never,
        ending: Ending { why: Lost::NoResult, message: String::new() },
        at: Timestamp::default(),
    };
    let mut index = Index::default();
    for id in 0..RECORDS {
        index.push(&IndexLine(id as u64 * 1000, 999, format!("request-{id}").into(), "".into()));
    }
    assert_eq!(join(&joining, &index, &output), RECORDS as u64);

    let mut group = c.benchmark_group("batch");
    group.throughput(Throughput::Bytes(source.len() as u64));
    group.bench_function("survey", |b| b.iter(|| survey(black_box(&source))));
    group.bench_function("plan", |b| b.iter(|| plan(&what, black_box(&source))));
    group.throughput(Throughput::Bytes(output.len() as u64));
    group.bench_function("join", |b| b.iter(|| join(&joining, &index, black_box(&output))));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    targets = batch
}
criterion_main!(benches);
