//! What is in a file of records, found out while its bytes pass: whether each line is one, how many there are of each
//! model, and how much they ask for.
//!
//! Nothing of a line is kept but a hash of its id, no value is built of it, and none of its text is in what is said of it.
//! Invariant: [`Survey`] counts every line that is not blank, in a group or
//! as bad; one that repeats an id is in both.

mod repeats;

use std::io;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use self::repeats::{Repeat, Repeats};
use super::lines::{Cutter, MAX_LINE, RawLine};
use super::record::{Endpoint, Form, Problem};
use super::source::{self, Fault, Load};
use crate::error::{Error, Kind, Result};

/// The most problems that are told.
pub const MAX_PROBLEMS: usize = 100;
/// The most models of one file: each is planned by itself, three in one reading of the file.
pub const MAX_MODELS: usize = 50;
/// The most bytes of a cause that the parser names.
const MAX_CAUSE: usize = 200;

/// What is in a file of records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// The dialect of its lines, by the first that could be read.
    pub form: Option<Form>,
    /// Its length.
    pub bytes: u64,
    /// Lines that are not blank.
    pub records: u64,
    /// Of those, the ones that are no record, or repeat the id of one.
    pub bad: u64,
    /// What is wrong with the first [`MAX_PROBLEMS`] of them, or with the whole.
    pub problems: Vec<Problem>,
    /// The endpoint that its lines name, where their form names one.
    pub url: Option<String>,
    /// Its good records by model, in the order in which they come. A form that names no model has one group, without name.
    pub groups: Vec<Group>,
}

/// The records of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// As they name it.
    pub model: String,
    /// What they ask for.
    #[serde(flatten)]
    pub load: Load,
}

/// The temporary file cannot be written or read, most often because its disk is full: nothing is wrong with the file that is
/// looked at, and trying again may help. Why is for the log.
fn no_room(cause: io::Error) -> Error {
    let message = "The gateway has no room for the temporary file that it compares the ids of so many records in. Try again later.";
    Error::new(Kind::Unavailable, message).retry_after(Duration::from_secs(30)).source(cause)
}

impl Survey {
    /// Begins to look at a file.
    pub fn begin() -> Surveyor {
        Surveyor {
            cutter: Cutter::new(MAX_LINE, 0),
            findings: Findings { survey: Self::default(), repeats: Repeats::new() },
        }
    }

    /// What all good records ask for.
    pub fn load(&self) -> Load {
        self.groups.iter().fold(Load::default(), |sum, group| sum.and(group.load))
    }
}

/// Looks at a file while its bytes pass.
#[derive(Debug)]
pub struct Surveyor {
    cutter: Cutter,
    findings: Findings,
}

#[derive(Debug)]
struct Findings {
    survey: Survey,
    repeats: Repeats,
}

impl Surveyor {
    /// The next bytes. Every half a million lines their ids are written to a temporary file; fails when that does.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.findings.survey.bytes += bytes.len() as u64;
        self.cutter.push(bytes, |line| self.findings.see(line))
    }

    /// All bytes have passed. Reads what was written to the temporary file; fails when it cannot be read.
    pub fn finish(mut self) -> Result<Survey> {
        if let Some(line) = self.cutter.last() {
            self.findings.see(line)?;
        }
        let Findings { mut survey, repeats } = self.findings;
        let (repeats, count) = repeats.finish(MAX_PROBLEMS).map_err(no_room)?;
        survey.bad += count;
        let id = if survey.form == Some(Form::Bedrock) { "recordId" } else { "custom_id" };
        survey.problems.extend(repeats.into_iter().map(|Repeat { line, first }| {
            let message = format!("The `{id}` of this line is that of line {first}.");
            Fault::new("duplicate_custom_id", Some(id), message).at(line)
        }));
        survey.problems.sort_by_key(|problem| problem.line);
        survey.problems.truncate(MAX_PROBLEMS);
        if survey.records == 0 {
            let message = "The file has no record: one JSON object per line is expected.".to_owned();
            survey.problems.push(Problem { line: None, code: "empty_file".into(), message, param: None });
        }
        Ok(survey)
    }
}

impl Findings {
    fn see(&mut self, line: RawLine<'_>) -> Result<()> {
        if line.is_blank() {
            return Ok(());
        }
        self.survey.records += 1;
        match self.judge(&line)? {
            Ok(()) => {}
            Err(fault) => {
                self.survey.bad += 1;
                // Lines come in order, so the first faults are the first that are told.
                if self.survey.problems.len() < MAX_PROBLEMS {
                    self.survey.problems.push(fault.at(line.number));
                }
            }
        }
        Ok(())
    }

    /// Takes a line as a record, or says what is wrong with it.
    fn judge(&mut self, line: &RawLine<'_>) -> Result<Result<(), Fault>> {
        let text = match text_of(line) {
            Ok(text) => text,
            Err(fault) => return Ok(Err(fault)),
        };
        let form = *self.survey.form.get_or_insert_with(|| source::form_of(text));
        let record = match source::read(text, form, line.number) {
            Ok(record) => record,
            Err(fault) => return Ok(Err(fault)),
        };
        // AWS takes native records with the same id, and they are told apart by their place.
        if form != Form::Bedrock {
            self.repeats.note(&record.id, line.number).map_err(no_room)?;
        }
        Ok(self.survey.take(&record))
    }
}

impl Survey {
    fn take(&mut self, record: &source::Record<'_>) -> Result<(), Fault> {
        if let Some(url) = record.url.as_deref() {
            // None that a batch could be for is what the other lines are held against.
            if url.parse::<Endpoint>().is_err() {
                let message = "`url` must be one of /v1/chat/completions, /v1/responses, /v1/embeddings.".to_owned();
                return Err(Fault::new("invalid_url", Some("url"), message));
            }
            let first = self.url.get_or_insert_with(|| url.to_owned());
            if first != url {
                let message = format!("`url` must be the same in all lines; it is `{first}` in an earlier one.");
                return Err(Fault::new("invalid_url", Some("url"), message));
            }
        }
        let known = self.groups.iter_mut().find(|group| *group.model == *record.model);
        let load = Load::of(record.body);
        if let Some(group) = known {
            group.load = group.load.and(load);
            return Ok(());
        }
        if self.groups.len() == MAX_MODELS {
            let message = format!("A file may name at most {MAX_MODELS} models, and this line names one more.");
            return Err(Fault::new("too_many_models", Some("model"), message));
        }
        self.groups.push(Group { model: record.model.clone().into_owned(), load });
        Ok(())
    }
}

/// The line's text, if it is a JSON object.
fn text_of<'a>(line: &RawLine<'a>) -> Result<&'a str, Fault> {
    let Some(bytes) = line.bytes else {
        let message = format!("This line has {} bytes; at most {MAX_LINE} are taken.", line.length);
        return Err(Fault::new("line_too_large", None, message));
    };
    let invalid = |message: String| Fault::new("invalid_json_line", None, message);
    let text = std::str::from_utf8(bytes)
        .map_err(|error| invalid(format!("This line is not UTF-8 from its byte {} on.", error.valid_up_to() + 1)))?;
    if !text.trim_ascii_start().starts_with('{') {
        return Err(invalid("This line is not a JSON object.".into()));
    }
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| {
        let mut cause = error.to_string();
        cause.truncate(cause.floor_char_boundary(MAX_CAUSE));
        // The parser counts lines within this one.
        let cause = cause.replacen(" at line 1 column ", " at column ", 1);
        invalid(format!("This line is not valid JSON: {cause}."))
    })?;
    Ok(text)
}

#[cfg(test)]
mod tests;
