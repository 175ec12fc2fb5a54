//! Plans of files, against the sizes and the bytes that must come out; and the same again after a crash.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;
use crate::batch::codec::{Answer, Line, Prepared, Rendered, Target};
use crate::batch::layout::{self, IndexLine};
use crate::batch::lines::Cutter;
use crate::batch::record::{Endpoint, Form};
use crate::batch::survey::Survey;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::error::Error;

const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const WIDE: Limits =
    Limits { min: 100, max_records: 1000, max_bytes: 1 << 30, max_file_records: 1000, max_file_bytes: 1 << 30 };

/// What a record of these tests wants is said by its `want`.
const CODEC: Codec = Codec {
    endpoint: Endpoint::Chat,
    form: Form::OpenAi,
    prepare,
    render: no_answer,
    error: bad_request,
    line: id_line,
};

fn prepare(body: &RawValue, target: &Target<'_>) -> Result<Prepared> {
    let text = body.get();
    assert!(!target.model.name.is_empty());
    if text.contains("refused") {
        return Err(Error::invalid("want", "It cannot be prepared."));
    }
    if text.contains("tools") {
        return Ok(Prepared::Online { why: "tools" });
    }
    let invocation = if text.contains("native") { Invocation::InvokeModel } else { Invocation::Converse };
    Ok(Prepared::Job { invocation, input: format!("{{\"of\":{text}}}").into_bytes(), note: "n\"".into() })
}

fn no_answer(_: &Answer<'_>) -> Result<Rendered> {
    Err(Error::internal("none here"))
}

fn bad_request(_: &Error, _: &str) -> (u16, Vec<u8>) {
    (400, b"{}".to_vec())
}

fn id_line(line: &Line<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}\n", line.id).as_bytes());
}

fn line(id: usize, model: &str, want: &str) -> String {
    format!(
        "{{\"custom_id\":\"r{id}\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\
         \"body\":{{\"model\":\"{model}\",\"want\":\"{want}\",\"max_tokens\":3}}}}\n"
    )
}

fn place(region: &str) -> Place {
    Place { region: region.into(), bucket: format!("bucket-{region}") }
}

/// A plan over what a survey finds in `text`.
fn plan_of(text: &str, limits: Limits) -> Plan {
    let mut surveyor = Survey::begin();
    surveyor.push(text.as_bytes()).unwrap();
    let survey = surveyor.finish().unwrap();
    assert_eq!(survey.problems, []);
    let catalog = Catalog::configured(&Config::default()).unwrap();
    let places: Vec<_> =
        ["us-east-1", "us-west-2"].map(|region| JobPlace { place: place(region), call_id: region.into() }).into();
    let groups = survey.groups.into_iter().map(|group| Group {
        model: Asked { name: group.model.clone(), resolved: catalog.resolve("nova-lite").unwrap() },
        name: group.model,
        model_id: "amazon.nova-lite-v1:0".into(),
        load: group.load,
        way: Way::Jobs { limits, places: places.clone() },
    });
    Plan {
        batch: "batch_1".into(),
        codec: CODEC,
        native_tools: false,
        invocation: None,
        small: SmallBatches::Online,
        keys: BatchKeys::new("gw", "batch_1"),
        home: place("eu-west-1"),
        groups: groups.collect(),
        at: AT,
    }
}

type Objects = BTreeMap<String, String>;

/// Carries out pieces in memory.
#[derive(Default)]
struct Memory {
    open: BTreeMap<Arc<str>, Vec<u8>>,
    whole: Objects,
}

impl Memory {
    fn write(&mut self, pieces: &mut Vec<Piece>) {
        for piece in pieces.drain(..) {
            let mut bytes = self.open.remove(&piece.key).unwrap_or_default();
            bytes.extend_from_slice(&piece.bytes);
            match piece.then {
                Then::More => drop(self.open.insert(piece.key, bytes)),
                Then::Finish => {
                    let written = self.whole.insert(piece.key.to_string(), String::from_utf8(bytes).unwrap());
                    assert_eq!(written, None, "{} twice", piece.key);
                }
                Then::Discard => {}
            }
        }
    }
}

fn worst(_: &Group, kind: Kind, load: &Load) -> MicroUsd {
    MicroUsd(i64::try_from(load.max_output).unwrap() * if kind == Kind::Job { 1 } else { 2 })
}

/// The whole way but S3.
fn drive(plan: &Plan, text: &str, gap: u64) -> (Planned, Objects) {
    let mut planner = Planner::new(plan, &worst);
    let (mut memory, mut pieces) = (Memory::default(), Vec::new());
    let read = |range: Range<u64>, each: &mut dyn FnMut(&crate::batch::lines::RawLine<'_>)| {
        let mut cutter = Cutter::new(MAX_LINE, range.start);
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        for piece in text.as_bytes()[range].chunks(1000) {
            let told = cutter.push(piece, |line| {
                each(&line);
                Ok::<_, ()>(())
            });
            told.unwrap();
        }
        cutter.last().iter().for_each(each);
    };
    for first in (0..plan.groups.len()).step_by(GROUPS_AT_ONCE) {
        planner.begin(first..(first + GROUPS_AT_ONCE).min(plan.groups.len()));
        read(0..text.len() as u64, &mut |line| planner.take(line, &mut pieces).unwrap());
        planner.end_jobs(&mut pieces);
        for range in coalesce(planner.fallen(), gap) {
            read(range, &mut |line| planner.take_fallen(line, &mut pieces).unwrap());
        }
        planner.end(&mut pieces);
        memory.write(&mut pieces);
    }
    let whole = planner.finish(&mut pieces);
    memory.write(&mut pieces);
    assert!(memory.open.is_empty(), "{:?} are not whole", memory.open.keys());
    (whole, memory.whole)
}

/// Which records a shard has, checked against its objects and the source.
fn ids(shard: &Shard, objects: &Objects, text: &str, limits: &Limits) -> Vec<String> {
    let keys = BatchKeys::new("gw", "batch_1").shard(shard.number);
    let inputs: Vec<_> = (1..).map_while(|file| objects.get(&keys.input(file))).collect();
    let mut contents = Vec::new();
    for input in &inputs {
        if shard.kind == Kind::Job {
            assert!(input.len() as u64 <= limits.max_file_bytes, "a file of {}", input.len());
            assert!(input.lines().count() as u64 <= limits.max_file_records);
        }
        contents.extend(input.lines().map(|line| layout::record(line.as_bytes()).unwrap()));
    }
    assert_eq!(shard.bytes, inputs.iter().map(|input| input.len() as u64).sum::<u64>());
    assert_eq!(shard.records, contents.len() as u64);
    let index: Vec<_> =
        objects[&keys.index()].lines().map(|line| serde_json::from_str::<IndexLine<'_>>(line).unwrap()).collect();
    assert_eq!(index.len(), contents.len());
    let found = index.iter().zip(contents).enumerate().map(|(at, (IndexLine(offset, length, id, note), content))| {
        let (offset, length) = (usize::try_from(*offset).unwrap(), usize::try_from(*length).unwrap());
        let source = &text[offset..offset + length];
        let record = crate::batch::source::read(source, Form::OpenAi, 1).unwrap();
        assert_eq!(record.id, *id);
        let expected = match shard.kind {
            Kind::Job => format!("{{\"of\":{}}}", record.body),
            Kind::Online => record.body.to_owned(),
        };
        assert_eq!((content.0, std::str::from_utf8(content.1).unwrap()), (at as u64, &*expected));
        assert_eq!(&**note, if shard.kind == Kind::Job { "n\"" } else { "" });
        assert_eq!(*record.model, *shard.model);
        record.id.into_owned()
    });
    found.collect()
}

fn told(planned: &Planned) -> Vec<(u32, Kind, u64, Option<&str>)> {
    let shards = planned.shards.iter();
    shards.map(|shard| (shard.number, shard.kind, shard.records, shard.why_online.as_deref())).collect()
}

fn many(count: usize, model: &str, want: impl Fn(usize) -> &'static str) -> String {
    (0..count).fold(String::new(), |mut text, id| {
        text.push_str(&line(id, model, want(id)));
        text
    })
}

#[test]
fn jobs_are_balanced_and_go_to_each_region_in_turn() {
    let text = many(1001, "a", |_| "");
    let plan = plan_of(&text, Limits { max_records: 500, ..WIDE });
    let (planned, objects) = drive(&plan, &text, 0);
    let expected = [(0, Kind::Job, 334, None), (1, Kind::Job, 334, None), (2, Kind::Job, 333, None)];
    assert_eq!(told(&planned), expected);
    assert_eq!(
        planned.shards.iter().map(|shard| &*shard.region).collect::<Vec<_>>(),
        ["us-east-1", "us-west-2", "us-east-1"]
    );
    let shard = &planned.shards[1];
    assert_eq!((&*shard.bucket, &*shard.call_id, shard.worst), ("bucket-us-west-2", "us-west-2", MicroUsd(334 * 3)));
    assert_eq!((&*shard.batch, shard.attempt, shard.queued_at), ("batch_1", 1, AT));
    assert_eq!(objects.len(), 6);
    assert!(
        objects["gw/batches/batch_1/0/input/records.jsonl"]
            .starts_with("{\"recordId\":\"bgw00000000000\",\"modelInput\":{\"of\":{")
    );
}

#[test]
fn fewer_than_the_minimum_run_online_and_say_why() {
    for (records, expected) in [
        (1, (Kind::Online, Some(SMALL_REASON))),
        (99, (Kind::Online, Some(SMALL_REASON))),
        (100, (Kind::Job, None)),
        (101, (Kind::Job, None)),
    ] {
        let text = many(records, "a", |_| "");
        let (planned, _) = drive(&plan_of(&text, WIDE), &text, 0);
        assert_eq!(told(&planned), [(0, expected.0, records as u64, expected.1)]);
    }
}

const SMALL_REASON: &str = "fewer records than AWS takes as a batch job";

#[test]
fn what_falls_below_the_minimum_by_records_that_run_online_goes_with_them() {
    let text = many(120, "a", |id| if id % 4 == 0 { "tools" } else { "" });
    let plan = plan_of(&text, WIDE);
    for gap in [0, 1 << 20] {
        let (planned, objects) = drive(&plan, &text, gap);
        assert_eq!(
            told(&planned),
            [(0, Kind::Online, 120, Some("tools; fewer records than AWS takes as a batch job"))]
        );
        assert_eq!(planned.shards[0].worst, MicroUsd(120 * 3 * 2));
        assert_eq!((&*planned.shards[0].region, &*planned.shards[0].call_id), ("eu-west-1", ""));
        assert_eq!(ids(&planned.shards[0], &objects, &text, &WIDE).len(), 120);
        assert_eq!(objects.len(), 2, "nothing is left of the job");
    }
}

#[test]
fn a_small_group_is_refused_where_that_is_set_but_a_remainder_is_not() {
    let text = many(99, "a", |_| "") + &many(150, "b", |id| if id < 120 { "" } else { "tools" }).replace("\"r", "\"s");
    let plan = Plan { small: SmallBatches::Reject, ..plan_of(&text, WIDE) };
    let (planned, _) = drive(&plan, &text, 0);
    assert_eq!(planned.problems.len(), 1);
    assert!(planned.problems[0].message.starts_with("99 records of `a`"), "{}", planned.problems[0].message);
    let text = many(150, "a", |_| "");
    let narrow = Limits { max_records: 100, ..WIDE };
    let plan = Plan { small: SmallBatches::Reject, ..plan_of(&text, narrow) };
    let (planned, _) = drive(&plan, &text, 0);
    assert_eq!(planned.problems, []);
    assert_eq!(told(&planned), [(0, Kind::Job, 100, None), (1, Kind::Online, 50, Some(SMALL_REASON))]);
}

#[test]
fn a_model_without_jobs_runs_in_shards_of_some_hundred_calls() {
    let text = many(1200, "a", |id| if id == 7 { "refused" } else { "" });
    let mut plan = plan_of(&text, WIDE);
    plan.groups[0].way = Way::Online { why: "no batch for it".into() };
    let (planned, objects) = drive(&plan, &text, 0);
    let why = Some("no batch for it");
    assert_eq!(told(&planned), [(0, Kind::Online, 500, why), (1, Kind::Online, 500, why), (2, Kind::Online, 199, why)]);
    assert_eq!((planned.refused, &*objects["gw/batches/batch_1/refused.jsonl"]), (1, "r7\n"));
}

#[test]
fn five_models_in_one_file_are_planned_each_by_itself() {
    let text = (0..2000).fold(String::new(), |mut text, id| {
        let model = ["a", "b", "c", "d", "e"][id % 5];
        let _ = text.write_str(&line(id, model, if id % 10 == 1 { "native" } else { "" }));
        text
    });
    let (planned, objects) = drive(&plan_of(&text, WIDE), &text, 0);
    // `b` has 200 of either kind.
    let mut models: Vec<_> =
        planned.shards.iter().map(|shard| (&*shard.model, shard.invocation, shard.records)).collect();
    models.sort_by_key(|(model, invocation, _)| (*model, *invocation == Invocation::InvokeModel));
    let expected = [("a", 400), ("b", 200), ("b", 200), ("c", 400), ("d", 400), ("e", 400)];
    assert_eq!(models.iter().map(|(model, _, records)| (*model, *records)).collect::<Vec<_>>(), expected);
    assert_eq!(planned.shards.iter().map(|shard| ids(shard, &objects, &text, &WIDE).len()).sum::<usize>(), 2000);
}

#[test]
fn another_source_than_was_surveyed_is_an_error() {
    let text = many(3, "a", |_| "");
    let plan = plan_of(&text, WIDE);
    for other in [line(1, "b", ""), "{}\n".into(), "x\n".into()] {
        let mut planner = Planner::new(&plan, &worst);
        planner.begin(0..1);
        let bytes = other.trim_end().as_bytes();
        let line =
            crate::batch::lines::RawLine { number: 1, offset: 0, length: bytes.len() as u64, bytes: Some(bytes) };
        assert!(planner.take(&line, &mut Vec::new()).is_err(), "{other}");
    }
}

#[test]
fn ranges_that_are_near_are_read_as_one() {
    assert_eq!(coalesce([0..5, 5..7, 10..12, 16..20], 3), [0..12, 16..20]);
    assert_eq!(coalesce([0..5, 2..3, 6..7], 0), [0..5, 6..7]);
    assert_eq!(coalesce([], 9), []);
}

fn want() -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => Just(""), 3 => Just("native"), 2 => Just("tools"), 1 => Just("refused")]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_record_is_in_one_place_and_no_job_beyond_a_limit(
        records in proptest::collection::vec((0_usize..3, want(), 0_usize..200), 1..160),
        min in 1_u64..30,
        above in 0_u64..60,
        max_bytes in 300_u64..12_000,
        file in (1_u64..40, 300_u64..4_000),
        gap in 0_u64..2_000,
    ) {
        let mut text = String::from("\u{feff}");
        for (id, (model, want, padding)) in records.iter().enumerate() {
            text.push_str(&line(id, ["a", "b", "c"][*model], &format!("{want}{}", "x".repeat(*padding))));
        }
        let limits = Limits { min, max_records: min + above, max_bytes, max_file_records: file.0, max_file_bytes: file.1 };
        let plan = plan_of(&text, limits);
        let (planned, objects) = drive(&plan, &text, gap);
        let mut found: Vec<_> = objects.get(&plan.keys.refused()).map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default();
        prop_assert_eq!(found.len() as u64, planned.refused);
        for shard in &planned.shards {
            match shard.kind {
                Kind::Job => {
                    prop_assert!(shard.records >= min && shard.records <= limits.max_records);
                    prop_assert!(shard.bytes <= max_bytes);
                    prop_assert_eq!(&shard.why_online, &None);
                }
                Kind::Online => {
                    prop_assert!(shard.records <= 500);
                    prop_assert!(shard.why_online.is_some());
                }
            }
            found.extend(ids(shard, &objects, &text, &limits));
        }
        found.sort();
        let mut expected: Vec<_> = (0..records.len()).map(|id| format!("r{id}")).collect();
        expected.sort();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(drive(&plan, &text, gap), (planned, objects), "the same again");
    }
}
