//! The query of a report. What is not known is a 400 that names it: a filter that were passed over would show wrong sums.

use url::form_urlencoded;

use crate::catalog::Catalog;
use crate::clock::Timestamp;
use crate::config::nearest;
use crate::error::{Error, Result};
use crate::ids::{KeyId, TeamId};
use crate::tenancy::usage::{Dimension, Filter, Group, Question, moment};

const LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;
/// Rows that are read at once for a CSV of all.
const CSV_LIMIT: u32 = 5000;
/// The longest value, but for a cursor.
const MAX_VALUE: usize = 512;
/// A cursor holds all texts of a group.
const MAX_CURSOR: usize = 16_384;
const KNOWN: [&str; 10] = ["group_by", "from", "to", "team", "key", "model", "region", "format", "limit", "cursor"];

/// How the answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// A page.
    #[default]
    Json,
    /// A page.
    CsvPage,
    /// All of it.
    CsvWhole,
}

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Query {
    by: Vec<Dimension>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    /// As it was written: id or name.
    pub(super) team: Option<String>,
    key: Option<String>,
    model: Option<String>,
    region: Option<String>,
    is_csv: bool,
    limit: Option<u32>,
    cursor: Option<String>,
}

impl Query {
    /// Reads the query string of a URL.
    ///
    /// # Errors
    /// `Invalid` with the parameter to blame: not known, given twice, or with a value that cannot be.
    pub(super) fn read(text: Option<&str>) -> Result<Self> {
        let mut query = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
            if !KNOWN.contains(&&*name) {
                return Err(unknown(&name));
            }
            if seen.iter().any(|seen| **seen == *name) {
                return Err(Error::invalid(&*name, format!("`{name}` is given twice.")));
            }
            let most = if name == "cursor" { MAX_CURSOR } else { MAX_VALUE };
            // A replacement character stands where the URL had no UTF-8.
            if value.is_empty() || value.len() > most || value.contains(|c: char| c.is_control() || c == '\u{fffd}') {
                let message = format!("`{name}` has to be text of 1 to {most} bytes without control characters.");
                return Err(Error::invalid(&*name, message));
            }
            query.set(&name, value.into_owned())?;
            seen.push(name.into_owned());
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: String) -> Result<()> {
        match name {
            "group_by" => self.by = Dimension::list(&value)?,
            "from" => self.from = Some(moment("from", &value)?),
            "to" => self.until = Some(moment("to", &value)?),
            "team" => self.team = Some(value),
            "key" => self.key = Some(value),
            "model" => self.model = Some(value),
            "region" => self.region = Some(value),
            "format" => match &*value {
                "json" => self.is_csv = false,
                "csv" => self.is_csv = true,
                _ => return Err(Error::invalid("format", "`format` has to be json or csv.")),
            },
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                let wrong = || Error::invalid("limit", "`limit` has to be a whole number from 1 to 1000.");
                self.limit = Some(limit.ok_or_else(wrong)?);
            }
            _ => self.cursor = Some(value),
        }
        Ok(())
    }

    /// What to ask, of `team` or of everybody, and how to write the answer.
    ///
    /// # Errors
    /// `Invalid` with the parameter to blame.
    pub(super) fn question(self, team: Option<TeamId>, catalog: &Catalog) -> Result<(Question, Format)> {
        let until = self.until.unwrap_or(Timestamp::from_millis(i64::MAX));
        let from = self.from.unwrap_or_default();
        if from > until {
            return Err(Error::invalid("to", "`to` has to be `from` or later."));
        }
        if let Some(region) = &self.region {
            catalog.check_region(region).map_err(|problem| Error::invalid("region", problem))?;
        }
        let after = self.cursor.map(|cursor| Group::from_cursor(&cursor, &self.by)).transpose()?;
        let format = match (self.is_csv, self.limit) {
            (false, _) => Format::Json,
            (true, Some(_)) => Format::CsvPage,
            (true, None) => Format::CsvWhole,
        };
        let limit = self.limit.unwrap_or(if self.is_csv { CSV_LIMIT } else { LIMIT });
        let filter = Filter {
            team,
            key: self.key.map(KeyId::from),
            model: self.model.map(|name| model(name, catalog)),
            region: self.region,
        };
        Ok((Question { by: self.by, from, until, filter, limit, after }, format))
    }
}

/// What the ledger calls the model; one that is not known any more has the name it had.
pub(crate) fn model(name: String, catalog: &Catalog) -> String {
    catalog.resolve(&name).map_or(name, |resolved| resolved.name.to_string())
}

fn unknown(name: &str) -> Error {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    let hint = match nearest(&shown, KNOWN) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known are {}.", KNOWN.join(", ")),
    };
    Error::invalid(shown.clone(), format!("There is no parameter `{shown}`; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<(Question, Format)> {
        Query::read(Some(text))?.question(None, &Catalog::embedded(&[]).unwrap())
    }

    #[test]
    fn what_is_not_known_is_refused_by_its_name() {
        for (query, blamed) in [
            ("groupby=team", "groupby"),
            ("group_by=teams", "group_by"),
            ("group_by=", "group_by"),
            ("from=today", "from"),
            ("to=2026-13-01", "to"),
            ("from=2026-02-01&to=2026-01-01", "to"),
            ("region=us-est-1", "region"),
            ("format=xml", "format"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("cursor=abc", "cursor"),
            ("key=%00", "key"),
            ("key=a&key=b", "key"),
            ("team=%ff", "team"),
        ] {
            assert_eq!(asked(query).unwrap_err().blamed(), Some(blamed), "{query}");
        }
        let long = asked(&format!("{}=1", "x".repeat(100_000))).unwrap_err();
        assert!(long.message().len() < 512);
    }

    #[test]
    fn a_model_goes_by_the_name_that_the_ledger_has() {
        let model = |text: &str| asked(text).unwrap().0.filter.model.unwrap();
        assert_eq!(model("model=claude-haiku-4-5"), "anthropic.claude-haiku-4-5-20251001-v1:0");
        assert_eq!(model("model=forgotten.model-v1"), "forgotten.model-v1");
    }

    #[test]
    fn a_csv_is_whole_unless_a_page_is_asked_for() {
        assert_eq!(asked("format=csv").unwrap().1, Format::CsvWhole);
        assert_eq!(asked("format=csv&limit=5").unwrap().1, Format::CsvPage);
        assert_eq!((asked("").unwrap().1, asked("").unwrap().0.limit), (Format::Json, 100));
    }
}
