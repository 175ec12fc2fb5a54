//! Which models or Regions a team or key may use.

use crate::error::{Error, Result};

/// Most entries of one list.
const MAX_ENTRIES: usize = 200;
/// Longest entry: Bedrock's own limit for a `modelId`, ARNs included.
const MAX_LENGTH: usize = 2048;

/// Names that are allowed; without a list, every name is. An entry that ends in `*` allows what begins like it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Option<Vec<String>>);

impl AllowList {
    /// A list of models. An empty one, or an entry that is not a name or a name's beginning and `*`, is refused with
    /// `field` to blame.
    pub fn models(field: &str, entries: Option<Vec<String>>) -> Result<Self> {
        Self::checked(field, entries, |entry| {
            let name = entry.strip_suffix('*').unwrap_or(entry);
            entry.len() <= MAX_LENGTH && !entry.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'*')
        })
    }

    /// A list of Regions, such as `eu-west-1`; no globs. Whether the Region exists is the catalog's to say.
    pub fn regions(field: &str, entries: Option<Vec<String>>) -> Result<Self> {
        Self::checked(field, entries, |entry| {
            let mut parts = entry.split('-');
            let number = parts.next_back().is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
            let words: Vec<&str> = parts.collect();
            let word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
            entry.len() <= 32 && number && words.len() >= 2 && words.iter().all(word)
        })
    }

    fn checked(field: &str, entries: Option<Vec<String>>, good: impl Fn(&str) -> bool) -> Result<Self> {
        let Some(list) = entries else { return Ok(Self(None)) };
        if list.is_empty() {
            let message = format!("`{field}` is empty and would allow nothing. Leave it out to allow everything.");
            return Err(Error::invalid(field, message));
        }
        if list.len() > MAX_ENTRIES {
            return Err(Error::invalid(field, format!("`{field}` may have at most {MAX_ENTRIES} entries.")));
        }
        if let Some(index) = list.iter().position(|entry| !good(entry)) {
            let path = format!("{field}[{index}]");
            let message = format!("`{path}` is not a name that can be allowed.");
            return Err(Error::invalid(path, message));
        }
        Ok(Self(Some(list)))
    }

    /// Whether any of `names` is allowed: something known by several names is allowed by each of them.
    pub fn allows<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> bool {
        let Some(entries) = &self.0 else { return true };
        names.into_iter().any(|name| entries.iter().any(|entry| matches(entry, name)))
    }

    /// The entries; `None` when everything is allowed.
    pub fn entries(&self) -> Option<&[String]> {
        self.0.as_deref()
    }

    /// What the store holds: a JSON array, or nothing.
    pub(super) fn to_json(&self) -> Option<String> {
        self.0.as_ref().map(|entries| serde_json::Value::from(entries.clone()).to_string())
    }

    /// Reads what [`AllowList::to_json`] wrote.
    pub(super) fn from_json(text: Option<&str>) -> Result<Self, serde_json::Error> {
        text.map(serde_json::from_str).transpose().map(Self)
    }
}

/// Whether `entry` is `name`, or the beginning of it and `*`.
pub(super) fn matches(entry: &str, name: &str) -> bool {
    entry.strip_suffix('*').map_or(entry == name, |beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(entries: &[&str]) -> Result<AllowList> {
        AllowList::models("models", Some(entries.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn an_entry_allows_its_name_or_what_begins_like_it() {
        let list = models(&["fast", "anthropic.claude-*"]).unwrap();
        assert!(list.allows(["fast"]));
        assert!(list.allows(["unknown", "anthropic.claude-haiku-4-5"]));
        assert!(!list.allows(["faster", "us.anthropic.claude-haiku-4-5"]));
        assert!(!list.allows([]));
        assert!(AllowList::default().allows([]));
    }

    #[test]
    fn entries_that_could_mislead_are_refused_by_path() {
        assert_eq!(models(&[]).unwrap_err().blamed(), Some("models"));
        for bad in ["", "a b", "*-haiku", "a**", "caf\u{e9}"] {
            assert_eq!(models(&["good", bad]).unwrap_err().blamed(), Some("models[1]"), "{bad}");
        }
        for bad in ["", "eu", "eu-west", "eu-west-1*", "EU-WEST-1", "eu--1", "eu-west-1a", "-1"] {
            let error = AllowList::regions("regions", Some(vec![bad.to_owned()])).unwrap_err();
            assert_eq!(error.blamed(), Some("regions[0]"), "{bad}");
        }
        assert!(AllowList::regions("regions", Some(vec!["us-gov-west-1".into(), "eu-west-1".into()])).is_ok());
    }

    #[test]
    fn the_stored_form_reads_back() {
        for list in [models(&["a", "b*"]).unwrap(), AllowList::default()] {
            assert_eq!(AllowList::from_json(list.to_json().as_deref()).unwrap(), list);
        }
    }
}
