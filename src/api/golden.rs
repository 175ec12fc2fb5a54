//! What the golden tests of all surfaces share: the cases of a folder, their files, and what differs from them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::batch::Invocation;
use crate::batch::codec::{Answer, Codec, Prepared};
use crate::clock::Timestamp;
use crate::converse::{self, Event};
use crate::report::Report;

/// The folder of a surface.
pub(super) fn folder(surface: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(surface)
}

/// The cases of a surface, in order; there are at least `least`.
pub(super) fn cases(surface: &str, least: usize) -> Vec<PathBuf> {
    let mut cases: Vec<_> = fs::read_dir(folder(surface)).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    assert!(cases.len() >= least, "the golden files are not where they should be");
    cases
}

/// The text of a file, if there is one.
pub(super) fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// As JSON is written in the files.
pub(super) fn pretty(value: &impl serde::Serialize) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

/// What is wanted and is not there, rewritten if that was asked for.
#[derive(Default)]
pub(super) struct Differences(Vec<String>);

impl Differences {
    #[expect(clippy::disallowed_methods, reason = "a test's own switch, not a setting of the gateway")]
    fn rewriting() -> bool {
        std::env::var_os("UPDATE_GOLDEN").is_some() && std::env::var_os("CI").is_none()
    }

    pub(super) fn compare(&mut self, path: &Path, actual: &str) {
        let expected = read(path).unwrap_or_default();
        if expected == actual {
            return;
        }
        self.0.push(format!("{}\n--- expected\n{expected}\n--- actual\n{actual}", path.display()));
        if Self::rewriting() {
            if actual.is_empty() { fs::remove_file(path).unwrap() } else { fs::write(path, actual).unwrap() }
        }
    }

    /// Compares what a request became: `converse.json`, and `report.txt` with a change a line.
    pub(super) fn compare_request(&mut self, case: &Path, request: &converse::Request, report: &Report) {
        self.compare(&case.join("converse.json"), &pretty(request));
        let report = report.to_string().replace(',', "\n");
        let report = if report.is_empty() { report } else { report + "\n" };
        self.compare(&case.join("report.txt"), &report);
    }

    /// Compares what a request becomes as a record: `batch.txt`. As that of a job it asks for what `converse.json` says, but
    /// for what has no effect there; whether it is one.
    pub(super) fn compare_record(&mut self, case: &Path, prepared: &Prepared) -> bool {
        let (told, is_job) = match prepared {
            Prepared::Online { why } => (format!("online: {why}\n"), false),
            Prepared::Job { invocation, input, .. } => {
                let mut expected: Value = serde_json::from_str(&read(&case.join("converse.json")).unwrap()).unwrap();
                for member in ["requestMetadata", "serviceTier", "performanceConfig"] {
                    expected.as_object_mut().unwrap().shift_remove(member);
                }
                without_cache_points(&mut expected);
                let input: Value = serde_json::from_slice(input).unwrap();
                assert_eq!((&input, *invocation), (&expected, Invocation::Converse), "{}", case.display());
                ("job\n".to_owned(), true)
            }
        };
        self.compare(&case.join("batch.txt"), &told);
        is_job
    }

    pub(super) fn report(self) {
        assert!(self.0.is_empty(), "{} golden files differ:\n\n{}", self.0.len(), self.0.join("\n\n"));
    }
}

fn without_cache_points(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.retain(|item| item.get("cachePoint").is_none());
            items.iter_mut().for_each(without_cache_points);
        }
        Value::Object(members) => members.values_mut().for_each(without_cache_points),
        _ => {}
    }
}

/// The answer to a record with this output of a job, as a model of Anthropic's gave it: made twice, because a repeat has
/// to tell the same.
pub(super) fn rendered(codec: &Codec, output: &str, note: &str, model: &str) -> Value {
    let output: &RawValue = serde_json::from_str(output).unwrap();
    let answer = Answer {
        invocation: Invocation::Converse,
        output,
        note,
        model,
        model_id: "anthropic.some-model-v1:0",
        id: "00000000000000000000000000000000",
        at: Timestamp::from_millis(1_700_000_000_999),
    };
    let rendered = (codec.render)(&answer).unwrap();
    assert_eq!(rendered, (codec.render)(&answer).unwrap());
    assert!(!rendered.body.contains(&b'\n'));
    let output: Value = serde_json::from_str(output.get()).unwrap();
    assert_eq!(rendered.usage.map(|usage| usage.input_tokens), output["usage"]["inputTokens"].as_u64());
    serde_json::from_slice(&rendered.body).unwrap()
}

/// One line of `events.jsonl`: `{"<event type>": <payload>}`.
pub(super) fn events(text: &str) -> Vec<Event> {
    text.lines()
        .map(|line| {
            let frame: converse::Object = serde_json::from_str(line).unwrap();
            let (kind, payload) = frame.iter().next().unwrap();
            Event::parse(kind, payload.to_string().as_bytes()).unwrap()
        })
        .collect()
}
