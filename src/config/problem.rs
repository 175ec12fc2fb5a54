//! What is wrong with a configuration: all of it at once, each with the path of its key.
//!
//! No value of a setting that may hold a secret is repeated here.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `aws.regions[1]`; the file's name when the file itself is at fault.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The environment variable that the value came from, if it did not come from the file.
    pub variable: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variable {
            Some(variable) => write!(f, "{} (from {variable}): {}", self.path, self.message),
            None => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

/// Everything that is wrong; at most one problem per key, the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    found: Vec<Problem>,
    /// Keys that were set by environment variables, by name.
    origins: Vec<(String, String)>,
}

impl Problems {
    /// Notes that the key at `path` is wrong. Ignored when it, or what holds it, is already known to be wrong.
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        let path = path.into();
        if !self.found.iter().any(|known| is_at_or_below(&path, &known.path)) {
            let origin = self.origins.iter().find(|(key, _)| is_at_or_below(&path, key));
            let variable = origin.map(|(_, variable)| variable.clone());
            self.found.push(Problem { path, message: message.into(), variable });
        }
    }

    /// Whether anything is wrong with the key at `path`, below it, or with what holds it.
    pub fn concern(&self, path: &str) -> bool {
        self.found.iter().any(|known| is_at_or_below(&known.path, path) || is_at_or_below(path, &known.path))
    }

    /// Notes that the number at `path` is out of its range.
    pub(super) fn add_unless_within(&mut self, path: &str, value: u64, low: u64, high: u64) {
        if value < low || value > high {
            self.add(path, format!("{value} is out of range: {low} to {high}"));
        }
    }

    /// Says which environment variables set which keys: a problem from here on names its variable.
    pub(super) fn attribute(&mut self, origins: Vec<(String, String)>) {
        self.origins = origins;
    }

    /// Puts them in the order of their paths, so that a section's problems stand together.
    pub fn sort(&mut self) {
        self.found.sort_by(|left, right| left.path.cmp(&right.path));
    }

    /// Whether all is well.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The problems.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// `value` if nothing is wrong, otherwise the problems.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

fn is_at_or_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// One problem a line.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.found.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
