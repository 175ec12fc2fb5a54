//! JSON text that is walked without being parsed: where the members of an object are, where a string ends.
//!
//! Nothing is checked and nothing is decoded; what is between is skipped as fast as memory can be read. Who needs to know
//! that it is JSON has it parsed. Names are those that are written: one with an escape in it is another name.

use memchr::memchr2;

/// The members of an object, as far as it can be read: keys as they are written, without their quotes, and the text of
/// their values.
pub fn members(object: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = inside(object, b'{');
    std::iter::from_fn(move || {
        let (key, after) = value(rest)?;
        let key = key.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let (value, after) = value(after.trim_ascii_start().strip_prefix(b":")?)?;
        rest = next(after);
        Some((key, value))
    })
}

/// The elements of a list, as far as it can be read.
pub fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = inside(list, b'[');
    std::iter::from_fn(move || {
        let (element, after) = value(rest)?;
        rest = next(after);
        Some(element)
    })
}

/// What follows the bracket; nothing where there is another.
fn inside(text: &[u8], bracket: u8) -> &[u8] {
    text.trim_ascii_start().strip_prefix(&[bracket]).unwrap_or_default()
}

/// What follows a comma; nothing where there is none.
fn next(text: &[u8]) -> &[u8] {
    text.trim_ascii_start().strip_prefix(b",").unwrap_or_default()
}

/// The text of the value that `text` begins with, and what follows it. It is not checked, only measured, in one pass that
/// does not care how deep it is and is over long strings as fast as memory can be read.
fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => at = string_end(text, at + 1)?,
            b'{' | b'[' => (depth, at) = (depth + 1, at + 1),
            b'}' | b']' => (depth, at) = (depth.checked_sub(1)?, at + 1),
            _ if depth > 0 => at += 1,
            // A number or a word; it may be the last thing there is only inside of something.
            _ => at += text[at..].iter().position(|byte| b",}]: \n\r\t".contains(byte))?,
        }
        if depth == 0 {
            return (at > 0).then(|| text.split_at(at));
        }
    }
}

/// What follows the string whose text begins at `at`: the place behind its closing quote.
pub fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_are_told_as_they_are_written() {
        let text = br#" {"a": [1, {"b": "}"}], "c\"": "x\\", "d":null } "#;
        let found: Vec<_> = members(text).collect();
        assert_eq!(found[0], (&b"a"[..], &br#"[1, {"b": "}"}]"#[..]));
        assert_eq!(found[1], (&br#"c\""#[..], &br#""x\\""#[..]));
        assert_eq!(found[2], (&b"d"[..], &b"null"[..]));
        assert_eq!(found.len(), 3);
        assert_eq!(elements(found[0].1).collect::<Vec<_>>(), [&b"1"[..], br#"{"b": "}"}"#]);
        assert_eq!(members(b"[1]").count() + elements(b"{}").count() + members(b"").count(), 0);
    }

    #[test]
    fn what_is_cut_off_ends_the_walk() {
        let whole = br#"{"a":{"b":"c"},"d":[1,2]}"#;
        for length in 0..whole.len() {
            assert!(members(&whole[..length]).count() <= 2);
        }
        assert_eq!(members(&whole[..18]).count(), 1);
    }
}
