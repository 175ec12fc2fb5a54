//! Changes to a JSON object by its bytes: members are found once, and what is not changed keeps the bytes it came in.
//!
//! A native body may hold 20 MB of base64 and fields that nobody here knows. It is looked at once, nothing of it is
//! decoded, and an edit costs one copy. The invariant: the result is the same JSON object but for the edits.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A member of an object: its key, and where it stands in the text that was read.
#[derive(Debug)]
pub struct Member<'a> {
    /// The key, unescaped.
    pub key: Cow<'a, str>,
    /// The value's text.
    pub value: &'a RawValue,
}

/// The members of one JSON object, in order.
#[derive(Debug)]
pub struct Members<'a>(Vec<Member<'a>>);

impl<'a> Members<'a> {
    /// Reads an object. Fails on what is no JSON object.
    pub fn read(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The members of an object that was found inside another.
    pub fn of(value: &'a RawValue) -> Result<Self, serde_json::Error> {
        serde_json::from_str(value.get())
    }

    /// The value of `key`.
    pub fn value(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|member| member.key == key).map(|member| member.value)
    }

    /// A key that is given twice, if one is: which of its values a reader takes is anyone's guess.
    pub fn repeated(&self) -> Option<&str> {
        // A request has a dozen keys, and an attack a million.
        let mut seen = HashSet::with_capacity(self.0.len());
        self.0.iter().map(|member| &*member.key).find(|key| !seen.insert(*key))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Member<'a>> {
        self.0.iter()
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some(Key(key)) = map.next_key()? {
                    members.push(Member { key, value: map.next_value()? });
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Edits to one text, made all at once.
#[derive(Debug)]
pub struct Edits<'a> {
    text: &'a [u8],
    /// What goes where; ranges do not overlap.
    changes: Vec<(Range<usize>, String)>,
    /// `"key":value` of the new members.
    added: Vec<String>,
}

impl<'a> Edits<'a> {
    /// No edits yet to `text`, which is a JSON object.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, changes: Vec::new(), added: Vec::new() }
    }

    /// Puts `json` in the place of `value`, which was found in the text, at any depth.
    pub fn replace(&mut self, value: &RawValue, json: impl Into<String>) {
        if let Some(range) = self.range(value) {
            self.changes.push((range, json.into()));
        }
    }

    /// Takes the members with these `keys` out of the text, whose own `members` they are. Once per text: a comma belongs
    /// to the member behind it, and who is first then depends on all who go.
    pub fn remove(&mut self, members: &Members<'_>, keys: &[&str]) {
        let Some(mut start) = self.text.iter().position(|byte| *byte == b'{').map(|open| open + 1) else { return };
        let mut any_kept = false;
        for (at, member) in members.0.iter().enumerate() {
            let Some(Range { end, .. }) = self.range(member.value) else { return };
            if keys.contains(&&*member.key) {
                self.changes.push((start..end, String::new()));
            } else if !std::mem::replace(&mut any_kept, true) && at > 0 {
                let comma = self.text[start..end].iter().position(|byte| *byte == b',').unwrap_or_default();
                self.changes.push((start..start + comma + 1, String::new()));
            }
            start = end;
        }
    }

    /// Takes out the member `key` whose `value` was found at any depth, and is the only one that goes of its object. Where
    /// the key is written otherwise than `key` is, its value becomes `null`.
    pub fn cut(&mut self, value: &RawValue, key: &str) {
        let Some(Range { start, end }) = self.range(value) else { return };
        let (before, after) = (self.text.get(..start).unwrap_or_default(), self.text.get(end..).unwrap_or_default());
        let name = before.trim_ascii_end().strip_suffix(b":").map(<[u8]>::trim_ascii_end);
        let Some(before) = name.and_then(|name| name.strip_suffix(quoted(key).as_bytes())) else {
            self.changes.push((start..end, "null".to_owned()));
            return;
        };
        let range = match before.trim_ascii_end().strip_suffix(b",") {
            Some(before) => before.len()..end,
            // The first one: the comma behind it goes with it.
            None => match after.trim_ascii_start().strip_prefix(b",") {
                Some(rest) => before.len()..self.text.len() - rest.len(),
                None => before.len()..end,
            },
        };
        self.changes.push((range, String::new()));
    }

    /// Adds a member at the end of the whole text.
    pub fn add(&mut self, key: &str, json: &str) {
        self.added.push(format!("{}:{json}", quoted(key)));
    }

    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.added.is_empty()
    }

    /// The text with all edits made.
    pub fn apply(mut self) -> Bytes {
        self.changes.sort_by_key(|(range, _)| (range.start, range.end));
        let grown: usize =
            self.changes.iter().map(|(_, json)| json).chain(&self.added).map(|json| json.len() + 1).sum();
        let mut out = Vec::with_capacity(self.text.len() + grown);
        let mut at = 0;
        for (range, json) in &self.changes {
            out.extend_from_slice(self.text.get(at..range.start).unwrap_or_default());
            out.extend_from_slice(json.as_bytes());
            at = range.end;
        }
        out.extend_from_slice(self.text.get(at..).unwrap_or_default());
        for member in &self.added {
            add_last(&mut out, member);
        }
        Bytes::from(out)
    }

    /// Where a value stands that was read from the text: its address tells.
    fn range(&self, value: &RawValue) -> Option<Range<usize>> {
        let start = value.get().as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        let end = start + value.get().len();
        (end <= self.text.len()).then_some(start..end)
    }
}

/// Puts a member before the brace that ends `object`.
fn add_last(object: &mut Vec<u8>, member: &str) {
    let Some(close) = object.iter().rposition(|byte| *byte == b'}') else { return };
    let before = object[..close].iter().rfind(|byte| !byte.is_ascii_whitespace());
    let comma = if before == Some(&b'{') { "" } else { "," };
    object.truncate(close);
    object.extend_from_slice(comma.as_bytes());
    object.extend_from_slice(member.as_bytes());
    object.push(b'}');
}

/// `body`, an object, with `model` as its last member: how the runtime's OpenAI and Anthropic paths name the model.
pub fn with_model(body: &[u8], model: &str) -> Bytes {
    let mut edits = Edits::new(body);
    edits.add("model", &quoted(model));
    edits.apply()
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, edit: impl Fn(&Members<'_>, &mut Edits<'_>)) -> String {
        let members = Members::read(text.as_bytes()).unwrap();
        let mut edits = Edits::new(text.as_bytes());
        edit(&members, &mut edits);
        String::from_utf8(edits.apply().to_vec()).unwrap()
    }

    #[test]
    fn what_is_not_edited_keeps_its_bytes() {
        let text = " { \"a\" : 1.0e0 ,\n\"b\":[ 1,{\"c\":\"\\u0041\"}], \"d\":null } ";
        assert_eq!(edited(text, |_, _| {}), text);
        let replaced = edited(text, |members, edits| edits.replace(members.value("b").unwrap(), "2"));
        assert_eq!(replaced, " { \"a\" : 1.0e0 ,\n\"b\":2, \"d\":null } ");
        let inner = edited(text, |members, edits| {
            let list: Vec<&RawValue> = serde_json::from_str(members.value("b").unwrap().get()).unwrap();
            edits.replace(Members::of(list[1]).unwrap().value("c").unwrap(), "{}");
        });
        assert_eq!(inner, " { \"a\" : 1.0e0 ,\n\"b\":[ 1,{\"c\":{}}], \"d\":null } ");
    }

    #[test]
    fn members_go_and_come_with_their_commas() {
        let text = r#"{"a":1, "b":{"x":","} ,"c":3}"#;
        for (keys, rest) in [
            (&["a"][..], r#"{ "b":{"x":","} ,"c":3}"#),
            (&["b"], r#"{"a":1 ,"c":3}"#),
            (&["c"], r#"{"a":1, "b":{"x":","}}"#),
            (&["a", "b"], r#"{"c":3}"#),
            (&["b", "c"], r#"{"a":1}"#),
            (&["a", "c"], r#"{ "b":{"x":","}}"#),
            (&["a", "b", "c"], "{}"),
            (&["none"], text),
        ] {
            assert_eq!(edited(text, |members, edits| edits.remove(members, keys)), rest, "{keys:?}");
            let added = edited(text, |members, edits| {
                edits.remove(members, keys);
                edits.add("n\"", "[]");
            });
            let value: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&added).unwrap();
            assert!(value.contains_key("n\"") && keys.iter().all(|key| !value.contains_key(*key)), "{added}");
        }
        assert_eq!(edited(" { } ", |_, edits| edits.add("a", "1")), " { \"a\":1}");
    }

    #[test]
    fn a_member_inside_goes_with_one_comma() {
        for (text, rest) in [
            (r#"{"a":[{"m":{"x":","}}]}"#, r#"{"a":[{}]}"#),
            (r#"{"a":[{"m" : 1 , "b":2}]}"#, r#"{"a":[{ "b":2}]}"#),
            (r#"{"a":[{"b":2 , "m": {} }]}"#, r#"{"a":[{"b":2  }]}"#),
            (r#"{"a":[{"b":2,"m":1,"c":3}]}"#, r#"{"a":[{"b":2,"c":3}]}"#),
            ("{\"a\":[{\"b\":2,\"\\u006d\":1,\"c\":3}]}", "{\"a\":[{\"b\":2,\"\\u006d\":null,\"c\":3}]}"),
        ] {
            let cut = edited(text, |members, edits| {
                let list: Vec<&RawValue> = serde_json::from_str(members.value("a").unwrap().get()).unwrap();
                edits.cut(Members::of(list[0]).unwrap().value("m").unwrap(), "m");
            });
            assert_eq!(cut, rest);
            assert!(serde_json::from_str::<serde_json::Value>(&cut).is_ok());
        }
    }

    #[test]
    fn a_key_that_is_given_twice_is_found_however_it_is_written() {
        let twice = Members::read(br#"{"model":"a","x":1,"mod\u0065l":"b"}"#).unwrap();
        assert_eq!(twice.repeated(), Some("model"));
        assert_eq!(Members::read(br#"{"a":1,"b":{"a":2}}"#).unwrap().repeated(), None);
        assert!(Members::read(b"[]").is_err() && Members::read(b"{} x").is_err());
    }

    #[test]
    fn half_a_million_keys_are_told_apart_before_anyone_notices() {
        let keys: Vec<_> = (0..500_000).map(|i| format!("\"{i}\":0")).collect();
        let text = format!("{{{}}}", keys.join(","));
        assert_eq!(Members::read(text.as_bytes()).unwrap().repeated(), None);
    }
}
