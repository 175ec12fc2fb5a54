//! What the golden tests of all surfaces share: the cases of a folder, their files, and what differs from them.

use std::fs;
use std::path::{Path, PathBuf};

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

    pub(super) fn report(self) {
        assert!(self.0.is_empty(), "{} golden files differ:\n\n{}", self.0.len(), self.0.join("\n\n"));
    }
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
