//! The translation report: what a translation changed that a caller could notice.
//!
//! It becomes the header `x-gateway-translation`, a comma-separated list of `action:path`; strict mode turns a
//! report that is not empty into a 400.

use std::borrow::Cow;
use std::fmt;

/// What was done to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum Action {
    /// Not sent to the model at all.
    Dropped,
    /// Sent with another value, the nearest the model takes.
    Clamped,
    /// Sent under another name.
    Renamed,
    /// Joined with its neighbour.
    Merged,
    /// Added because the model needs it.
    Inserted,
    /// Fetched from where the request pointed.
    Fetched,
    /// Partly removed.
    Filtered,
}

/// How many changes are remembered: more than the header has room for. A body of a million messages must not make
/// the search for repeats slow.
const MAX_CHANGES: usize = 256;

/// The changes of one translation, in the order they were made, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report(Vec<(Action, Cow<'static, str>)>);

impl Report {
    /// Notes that the field at `path`, such as `messages[2]` or `logit_bias`, was changed.
    pub fn add(&mut self, action: Action, path: impl Into<Cow<'static, str>>) {
        if self.0.len() == MAX_CHANGES {
            return;
        }
        let change = (action, path.into());
        if !self.0.contains(&change) {
            self.0.push(change);
        }
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The header's value: printable ASCII whatever the paths hold, and at most 4 KB.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut length = 0;
        for (index, (action, path)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let safe: String = path.chars().map(|c| if c.is_ascii_graphic() && c != ',' { c } else { '_' }).collect();
            length += safe.len() + 12;
            if length > 4096 {
                return f.write_str(",...");
            }
            write!(f, "{separator}{action}:{safe}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_lists_each_change_once_and_stays_ascii() {
        let mut report = Report::default();
        report.add(Action::Dropped, "logit_bias");
        report.add(Action::Dropped, "logit_bias");
        report.add(Action::Merged, "messages[1]\n,é");
        assert_eq!(report.to_string(), "dropped:logit_bias,merged:messages[1]___");
    }
}
