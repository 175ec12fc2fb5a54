//! `[telemetry.capture]`: prompts and answers on disk. Off unless a file is named.

use std::path::Path;

use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Problems;

/// `[telemetry.capture]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// The file that prompts and answers are appended to, one JSON object a line, readable by its owner alone. Empty:
    /// nothing is captured.
    pub file: String,
    /// The teams whose calls are captured, by name or id; none given: all.
    pub teams: Option<Vec<String>>,
    /// Regular expressions (of Rust's crate `regex`): whatever matches in any text of a prompt or an answer is replaced
    /// by `[redacted]` before it is written. Keys and credentials are replaced without being listed.
    pub redact: Vec<String>,
    /// The longest line, in KiB: 4 to 16384. Of longer ones the texts are cut.
    pub max_record_kb: u64,
    /// When the file would grow beyond this many MiB, it is renamed to end in `.1`, in place of an older one, and begun
    /// anew: 1 to 1000000.
    pub max_file_mb: u64,
}

impl Default for Capture {
    fn default() -> Self {
        Self { file: String::new(), teams: None, redact: Vec::new(), max_record_kb: 1024, max_file_mb: 1024 }
    }
}

impl Capture {
    /// Whether anything is captured.
    pub fn is_on(&self) -> bool {
        !self.file.is_empty()
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        if self.is_on() && Path::new(&self.file).file_name().is_none() {
            problems.add("telemetry.capture.file", "must be the path of a file");
        }
        if self.teams.as_ref().is_some_and(Vec::is_empty) {
            let message = "is empty and would capture nothing; name teams, or leave it out to capture the calls of all";
            problems.add("telemetry.capture.teams", message);
        }
        for (index, pattern) in self.redact.iter().enumerate() {
            let path = format!("telemetry.capture.redact[{index}]");
            match Regex::new(pattern) {
                Ok(regex) if regex.is_match("") => {
                    problems.add(path, "matches the empty text, so that it would stand everywhere");
                }
                Ok(_) => {}
                Err(error) => {
                    // Its first lines draw the pattern; what is wrong stands in the last.
                    let text = error.to_string();
                    let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    problems.add(path, format!("is no regular expression: {reason}"));
                }
            }
        }
        problems.add_unless_within("telemetry.capture.max_record_kb", self.max_record_kb, 4, 16_384);
        problems.add_unless_within("telemetry.capture.max_file_mb", self.max_file_mb, 1, 1_000_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_cannot_be_used_are_told_with_their_path() {
        let capture = Capture {
            file: "/".into(),
            teams: Some(Vec::new()),
            redact: vec![r"(?i)kunde\s+\d+".into(), "(".into(), "x*".into()],
            max_record_kb: 1,
            ..Capture::default()
        };
        let mut problems = Problems::default();
        capture.validate(&mut problems);
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "telemetry.capture.file: must be the path of a file",
                "telemetry.capture.teams: is empty and would capture nothing; name teams, or leave it out to capture the \
                 calls of all",
                "telemetry.capture.redact[1]: is no regular expression: unclosed group",
                "telemetry.capture.redact[2]: matches the empty text, so that it would stand everywhere",
                "telemetry.capture.max_record_kb: 1 is out of range: 4 to 16384",
            ]
        );
    }
}
