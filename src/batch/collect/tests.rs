//! Answers joined with their records, however the output is ordered, cut or damaged: each record ends once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use futures_util::stream;
use proptest::prelude::*;

use super::*;
use crate::batch::codec::{Answer, Codec, Line, Lost, Outcome, Prepared, Rendered, Target};
use crate::batch::lines::RawLine;
use crate::batch::record::{Endpoint, Invocation, ShardState};
use crate::batch::writers::Then;
use crate::converse::Usage;
use serde_json::value::RawValue;

const CODEC: Codec = Codec {
    endpoint: Endpoint::Chat,
    form: Form::OpenAi,
    prepare: not_here,
    render: text_of,
    error: message_of,
    line: plain,
};

fn not_here(_: &RawValue, _: &Target<'_>) -> Result<Prepared> {
    Err(Error::internal("none here"))
}

fn text_of(answer: &Answer<'_>) -> Result<Rendered> {
    assert_eq!((answer.note, answer.model, answer.model_id, answer.id.len()), ("note", "m", "amazon.m", 32));
    let text = answer.output.get();
    if text.contains("strange") {
        return Err(Error::internal("strange"));
    }
    let usage = Usage { input_tokens: 2, output_tokens: 1, total_tokens: 3, ..Usage::default() };
    Ok(Rendered { body: text.into(), usage: (!text.contains("untold")).then_some(usage) })
}

fn message_of(error: &Error, _: &str) -> (u16, Vec<u8>) {
    (error.aws().map_or(500, |exception| exception.status), error.message().into())
}

fn plain(line: &Line<'_>, out: &mut Vec<u8>) {
    let text = match line.outcome {
        Outcome::Answered { status, body } => {
            let input = line.input.map_or("", RawValue::get);
            format!("{} {status} {}{input}\n", line.id, std::str::from_utf8(body).unwrap())
        }
        Outcome::Lost { why, message } => format!("{} {} {message}\n", line.id, <&str>::from(why)),
    };
    out.extend_from_slice(text.as_bytes());
}

fn shard() -> Shard {
    Shard {
        batch: "batch_1".into(),
        number: 2,
        kind: Kind::Job,
        model: "m".into(),
        model_id: "amazon.m".into(),
        call_id: "us.amazon.m".into(),
        region: "us-east-1".into(),
        bucket: "bucket".into(),
        invocation: Invocation::Converse,
        attempt: 1,
        records: 0,
        bytes: 0,
        worst: MicroUsd(0),
        state: ShardState::Collecting,
        job_state: None,
        job_arn: None,
        why_online: None,
        reason: None,
        done: 0,
        failed: 0,
        cancelled: 0,
        expired: 0,
        output: Vec::new(),
        errors: Vec::new(),
        queued_at: Timestamp::default(),
        submitted_at: None,
        ended_at: None,
    }
}

fn joining(again: Again, why: Lost) -> Joining {
    let ending = Ending { why, message: "over".into() };
    Joining { shard: shard(), codec: CODEC, again, ending, at: Timestamp::default() }
}

fn index_of(records: usize) -> Index {
    let mut index = Index::default();
    for id in 0..records {
        index.push(&IndexLine(id as u64 * 10, 9, Cow::Owned(format!("r{id}")), Cow::Borrowed("note")));
    }
    index
}

/// Joins these lines; says what is in the result, what among the errors, and how it ended.
fn run(what: &Joining, index: &Index, lines: &[String]) -> (Vec<String>, Vec<String>, Tally) {
    let keys = BatchKeys::new("gw", "batch_1").shard(2);
    let mut join = join(what, index, &keys);
    let mut pieces = Vec::new();
    for line in lines {
        let bytes = line.as_bytes();
        join.take(&RawLine { number: 1, offset: 0, length: bytes.len() as u64, bytes: Some(bytes) }, &mut pieces);
    }
    let tally = join.finish(&mut pieces);
    let mut objects: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut finished = Vec::new();
    for piece in pieces {
        objects.entry(piece.key.to_string()).or_default().extend(piece.bytes);
        finished.extend((piece.then == Then::Finish).then(|| piece.key.to_string()));
    }
    assert_eq!(finished.len(), objects.len(), "what is begun is finished");
    let mut lines = |key: String| -> Vec<String> {
        let text = String::from_utf8(objects.remove(&key).unwrap_or_default()).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    (lines(keys.result()), lines(keys.errors()), tally)
}

fn answer(place: usize, text: &str) -> String {
    format!(r#"{{"modelInput":{{"a":"}}\"{{"}},"modelOutput":{{"t":"{text}"}},"recordId":"bgw{place:011}"}}"#)
}

fn error(place: usize, code: u16) -> String {
    let message = "of arn:aws:iam::000000000000:role/batch";
    format!(
        r#"{{"recordId":"bgw{place:011}","modelInput":{{}},"error":{{"errorCode":{code},"errorMessage":"{message}"}}}}"#
    )
}

#[test]
fn answers_find_their_records_whatever_their_order() {
    let what = joining(Again::Never, Lost::NoResult);
    let lines = [answer(2, "two"), answer(0, "untold"), error(1, 400), answer(3, "strange")];
    let (result, errors, tally) = run(&what, &index_of(4), &lines);
    assert_eq!(result, ["r2 200 {\"t\":\"two\"}", "r0 200 {\"t\":\"untold\"}"]);
    assert_eq!(errors[0], "r1 400 of [the gateway]");
    assert!(errors[1].starts_with("r3 500 "), "{}", errors[1]);
    let usage = Usage { input_tokens: 2, output_tokens: 1, total_tokens: 3, ..Usage::default() };
    assert_eq!(tally, Tally { done: 4, failed: 2, usage, untold: 2, ..Tally::default() });
}

#[test]
fn passing_errors_and_missing_lines_are_tried_again_while_there_is_time() {
    let lines = [error(0, 429), error(1, 400), error(2, 503), answer(4, "x"), error(5, 500), answer(5, "late")];
    let (result, errors, tally) = run(&joining(Again::Tried, Lost::NoResult), &index_of(7), &lines);
    assert_eq!((result.len(), errors.len(), &*tally.again), (2, 1, &[0, 2, 3, 6][..]));
    assert_eq!((tally.done, tally.failed), (3, 1));
    let (result, errors, tally) = run(&joining(Again::Never, Lost::BatchExpired), &index_of(7), &lines);
    assert_eq!((result.len(), errors.len(), &*tally.again), (1, 6, &[][..]));
    assert_eq!((tally.done, tally.failed, tally.expired, tally.repeated), (7, 6, 2, 1));
    assert_eq!(errors[4..], ["r3 batch_expired over", "r6 batch_expired over"]);
    let (_, errors, tally) = run(&joining(Again::Never, Lost::BatchCancelled), &index_of(2), &[]);
    assert_eq!((errors.len(), tally.cancelled, tally.failed), (2, 2, 2));
}

#[test]
fn surfaces_with_one_file_have_errors_among_the_answers() {
    let codec = Codec { endpoint: Endpoint::Native, ..CODEC };
    let what = Joining { codec, ..joining(Again::Never, Lost::JobFailed) };
    let (result, errors, _) = run(&what, &index_of(3), &[answer(0, "x"), error(1, 400)]);
    assert_eq!(errors, <Vec<String>>::new());
    assert_eq!(
        result,
        [r#"r0 200 {"t":"x"}{"a":"}\"{"}"#, "r1 400 of [the gateway]{}", "r2 job_failed over"],
        "native lines repeat what was asked"
    );
}

#[test]
fn lines_that_say_nothing_are_counted_and_change_nothing() {
    let whole = answer(0, "x");
    let mut lines: Vec<_> = (0..whole.len() - 1).map(|length| whole[..length].to_owned()).collect();
    lines.retain(|line| !line.contains("bgw00000000000\""));
    lines.push(whole.replace(r#"{"t":"x"}"#, r#"{"t":nonsense}"#));
    lines.push(whole.replace("modelOutput", "other"));
    lines.push(error(0, 400).replace("400", "\"400\""));
    let garbage = lines.iter().filter(|line| !line.trim().is_empty()).count() as u64;
    lines.extend([answer(9, "x"), whole.replace("bgw", "xyz"), String::new(), whole.clone(), whole.clone()]);
    let (result, errors, tally) = run(&joining(Again::Never, Lost::NoResult), &index_of(1), &lines);
    assert_eq!((result.len(), errors.len()), (1, 0));
    assert_eq!((tally.unreadable, tally.unknown, tally.repeated, tally.done), (garbage, 2, 1, 1));
}

#[tokio::test]
async fn an_index_comes_back_as_it_was_written() {
    let mut text = Vec::new();
    let lines = [IndexLine(3, 7, "é\"\n".into(), "".into()), IndexLine(11, 1 << 40, "b".into(), "{\"n\":1}".into())];
    for line in &lines {
        layout::push_index(line, &mut text);
    }
    let pieces = text.chunks(5).map(|piece| Ok(bytes::Bytes::copy_from_slice(piece))).collect::<Vec<_>>();
    let index = Index::read(stream::iter(pieces)).await.unwrap();
    assert_eq!(index.len(), 2);
    assert_eq!(index.at(0), Some(Indexed { offset: 3, length: 7, id: "é\"\n", note: "" }));
    assert_eq!(index.at(1), Some(Indexed { offset: 11, length: 1 << 40, id: "b", note: "{\"n\":1}" }));
    assert_eq!(index.at(2), None);
    let other = stream::iter([Ok(bytes::Bytes::from_static(b"{}\n"))]);
    assert!(Index::read(other).await.is_err());
}

/// What AWS has for a record, in the order in which its lines come.
fn fate() -> impl Strategy<Value = Vec<&'static str>> {
    let one = prop_oneof![5 => Just("answer"), 1 => Just("400"), 1 => Just("429"), 1 => Just("garbage")];
    prop_oneof![6 => proptest::collection::vec(one.clone(), 1), 2 => proptest::collection::vec(one, 0..4)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn each_record_ends_exactly_once(
        fates in proptest::collection::vec(fate(), 0..40),
        order in any::<u64>(),
        is_last in any::<bool>(),
        extra in 0_usize..5,
    ) {
        let mut lines: Vec<(u64, String)> = Vec::new();
        let mut random = fastrand::Rng::with_seed(order);
        for (place, fates) in fates.iter().enumerate() {
            for fate in fates {
                let line = match *fate {
                    "answer" => answer(place, "x"),
                    "garbage" => answer(place, "x").replace(":{\"t\"", ":{t"),
                    code => error(place, code.parse().unwrap()),
                };
                lines.push((random.u64(..), line));
            }
        }
        lines.extend((0..extra).map(|more| (random.u64(..), answer(fates.len() + more, "extra"))));
        lines.sort();
        let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
        let again = if is_last { Again::Never } else { Again::Tried };
        let (result, errors, tally) = run(&joining(again, Lost::NoResult), &index_of(fates.len()), &lines);
        let id = |line: &String| line.split(' ').next().unwrap()[1..].parse::<usize>().unwrap();
        let mut ended: Vec<_> = result.iter().chain(&errors).map(id).collect();
        prop_assert_eq!((tally.done, tally.failed), (ended.len() as u64, errors.len() as u64));
        ended.extend(&tally.again);
        ended.sort_unstable();
        prop_assert_eq!(ended, (0..fates.len()).collect::<Vec<_>>());
        prop_assert_eq!(tally.unknown, extra as u64);
        prop_assert!(!is_last || tally.again.is_empty());
        for place in result.iter().map(id) {
            prop_assert!(fates[place].contains(&"answer"));
        }
        for place in &tally.again {
            prop_assert!(fates[*place].iter().all(|fate| ["429", "garbage"].contains(fate)));
        }
    }
}
