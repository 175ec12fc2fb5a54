//! The query of an administrative list: filters, and which page. What is not known is a 400 that names it: a filter that
//! were passed over would show the wrong things.

use url::form_urlencoded;

use crate::clock::Timestamp;
use crate::config::nearest;
use crate::error::{Error, Result};
use crate::tenancy::admin::{Page, Whose, moment};

/// Entries of a page, unless the caller says otherwise.
const LIMIT: u32 = 100;
/// The longest value: nothing that is looked for is longer.
const MAX_VALUE: usize = 2048;

/// What was asked for.
#[derive(Debug)]
pub(super) struct Query {
    page: Page,
    filters: Vec<(String, String)>,
}

impl Query {
    /// Reads the query string of a URL that may have these filters, and `limit` and `cursor`.
    ///
    /// # Errors
    /// `Invalid` with the parameter to blame: not known, given twice, or with a value that cannot be.
    pub(super) fn read(text: Option<&str>, known: &[&str]) -> Result<Self> {
        let mut query = Self { page: Page { after: None, limit: LIMIT }, filters: Vec::new() };
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) && !["limit", "cursor"].contains(&&*name) {
                return Err(unknown(&name, known));
            }
            if seen.iter().any(|seen| **seen == *name) {
                return Err(Error::invalid(&*name, format!("`{name}` is given twice.")));
            }
            // A replacement character stands where the URL had no UTF-8.
            let is_strange = |c: char| c.is_control() || c == '\u{fffd}';
            if value.is_empty() || value.len() > MAX_VALUE || value.contains(is_strange) {
                let message = format!("`{name}` has to be text of 1 to {MAX_VALUE} bytes without control characters.");
                return Err(Error::invalid(&*name, message));
            }
            match &*name {
                "limit" => query.page.limit = limit(&value)?,
                "cursor" => query.page.after = Some(value.into_owned()),
                _ => query.filters.push((name.to_string(), value.into_owned())),
            }
            seen.push(name.into_owned());
        }
        Ok(query)
    }

    /// Which page is wanted.
    pub(super) fn page(&self) -> &Page {
        &self.page
    }

    /// What a filter is to be, if it is given.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.filters.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone())
    }

    /// A filter that is a moment.
    pub(super) fn moment(&self, name: &str) -> Result<Option<Timestamp>> {
        self.text(name).map(|text| moment::read(name, &text)).transpose()
    }

    /// The filters `team` and `key`.
    pub(super) fn whose(&self) -> Whose {
        Whose { team: self.text("team"), key: self.text("key") }
    }
}

fn limit(value: &str) -> Result<u32> {
    let limit = value.parse().ok().filter(|limit| (1..=Page::MAX).contains(limit));
    limit.ok_or_else(|| Error::invalid("limit", format!("`limit` has to be a whole number from 1 to {}.", Page::MAX)))
}

fn unknown(name: &str, known: &[&str]) -> Error {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    let known: Vec<&str> = known.iter().copied().chain(["limit", "cursor"]).collect();
    let hint = nearest(name, known.iter().copied())
        .map_or_else(|| format!("known are {}.", known.join(", ")), |meant| format!("did you mean `{meant}`?"));
    let message = format!("There is no parameter `{shown}`; {hint}");
    Error::invalid(shown, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_or_cannot_be_is_refused_by_its_name() {
        let read = |text: &str| Query::read(Some(text), &["team", "from"]);
        let query = read("team=data%20science&limit=7&cursor=a.b&from=2030-01-01T00%3A00%3A00Z").unwrap();
        assert_eq!(query.whose().team.as_deref(), Some("data science"));
        assert_eq!(query.page(), &Page { after: Some("a.b".into()), limit: 7 });
        assert_eq!(query.moment("from").unwrap().unwrap().millis(), 1_893_456_000_000);
        for (text, blamed, told) in [
            ("taem=x", "taem", "did you mean `team`?"),
            ("key=x", "key", "known are team, from, limit, cursor"),
            ("team=a&team=b", "team", "twice"),
            ("team=", "team", "1 to 2048"),
            ("team=%00", "team", "control characters"),
            ("team=%ff", "team", "control characters"),
            ("limit=0", "limit", "1 to 1000"),
            ("limit=1001", "limit", "1 to 1000"),
            ("limit=x", "limit", "1 to 1000"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.blamed(), Some(blamed), "{text}");
            assert!(error.message().contains(told), "{text}: {error}");
        }
        assert_eq!(read("from=yesterday").unwrap().moment("from").unwrap_err().blamed(), Some("from"));
        assert!(read(&format!("{}=1", "x".repeat(100_000))).unwrap_err().message().len() < 512);
    }
}
