//! Reads a JSON body, and says where in it the fault is. A good body is read once; only a bad one is read a second
//! time, with its path followed. No message repeats what the caller wrote: it may be a prompt.

use serde::de::DeserializeOwned;

use crate::error::{Error, Kind};
use crate::splice::Members;

/// Reads `body`. A fault is [`Kind::Invalid`] and names the field, except when the text is not JSON at all.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| locate::<T>(body, &error))
}

/// As many fields as are worth a note.
const MAX_IGNORED: usize = 256;

/// Reads `body` as [`read`] does, and says which fields nobody read: those that `T` has no name for, by their paths.
pub(crate) fn read_noting_ignored<T: DeserializeOwned>(body: &[u8]) -> Result<(T, Vec<String>), Error> {
    // All of it at once, which is many times faster than piece by piece between the escapes of its strings.
    let Ok(text) = simdutf8::basic::from_utf8(body) else {
        let not_utf8 = |_: T| Error::new(Kind::Invalid, "The body is not valid UTF-8.");
        return Err(read(body).map_or_else(|error| error, not_utf8));
    };
    let mut ignored = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = serde_ignored::deserialize(&mut deserializer, |path| {
        if ignored.len() < MAX_IGNORED {
            ignored.push(field_path(&path));
        }
    });
    match read.and_then(|read| deserializer.end().map(|()| read)) {
        Ok(read) => Ok((read, ignored)),
        Err(error) => Err(locate::<T>(body, &error)),
    }
}

/// A path as the rest of the gateway writes it.
fn field_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field_path(parent)),
        Path::Map { parent, key } => match field_path(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => field_path(parent),
    }
}

/// The members of a body that is one JSON object, none of them read. A key that is given twice is [`Kind::Invalid`], too.
pub(crate) fn object(body: &[u8]) -> Result<Members<'_>, Error> {
    let members = Members::read(body).map_err(|error| {
        // What is JSON, but no object, has no path to tell.
        if error.is_data() {
            return Error::new(Kind::Invalid, "The body has a wrong type: expected an object.");
        }
        Error::new(Kind::Invalid, format!("The body is not valid JSON: {error}."))
    })?;
    match members.repeated() {
        Some(key) => {
            let key: String = key.chars().take(64).collect();
            Err(Error::invalid(key.clone(), format!("`{key}` is given twice.")))
        }
        None => Ok(members),
    }
}

#[cold]
fn locate<T: DeserializeOwned>(body: &[u8], error: &serde_json::Error) -> Error {
    let message = error.to_string();
    // What is no JSON has no field to blame, as OpenAI has it: how far it was read says nothing about its fault.
    if !error.is_data() {
        return Error::new(Kind::Invalid, format!("The body is not valid JSON: {message}."));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let path = serde_path_to_error::deserialize::<_, T>(&mut deserializer)
        .map_err(|tracked| tracked.path().to_string())
        .err()
        .filter(|path| path != ".");
    for (prefix, verdict) in [("missing field `", "is missing"), ("duplicate field `", "is given twice")] {
        if let Some(field) = message.strip_prefix(prefix).and_then(|rest| rest.split('`').next()) {
            let path = path.map_or_else(|| field.to_owned(), |path| format!("{path}.{field}"));
            let message = format!("`{path}` {verdict}.");
            return Error::invalid(path, message);
        }
    }
    // The reader's path leads to the field already, or to the object that it is in.
    if let Some(field) = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
        let known =
            message.rsplit(", expected ").next().map(|known| known.split(" at line ").next().unwrap_or_default());
        let path = match path {
            Some(path) if path == field || path.ends_with(&format!(".{field}")) => path,
            Some(path) => format!("{path}.{field}"),
            None => field.to_owned(),
        };
        let path: String = path.chars().take(128).collect();
        let message = format!("There is no field `{path}` here; expected {}.", known.unwrap_or("none"));
        return Error::invalid(path, message);
    }
    let expected = expectation(&message);
    match path {
        Some(path) => {
            let message = format!("`{path}` has a wrong type or value: expected {expected}.");
            Error::invalid(path, message)
        }
        None => Error::new(Kind::Invalid, format!("The body has a wrong type: expected {expected}.")),
    }
}

/// What serde expected, in words. What it found instead stays out: that is the caller's content.
fn expectation(message: &str) -> &str {
    let expected = message.rsplit(", expected ").next().unwrap_or_default();
    let expected = expected.split(" at line ").next().unwrap_or_default();
    match expected {
        "f64" => "a number",
        "u32" | "u64" => "a whole number, not negative",
        "i64" => "a whole number",
        "a map" => "an object",
        "a sequence" => "an array",
        "unit" => "null",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(expecting = "an object")]
    struct Outer {
        #[expect(dead_code, reason = "only its reading is tested")]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(expecting = "an object")]
    struct Inner {
        #[expect(dead_code, reason = "only its reading is tested")]
        number: f64,
    }

    fn fault(body: &str) -> (Option<String>, String) {
        let error = read::<Outer>(body.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        (error.blamed().map(str::to_owned), error.message().to_owned())
    }

    #[test]
    fn a_fault_names_its_path_and_what_was_expected_but_not_what_was_found() {
        let (param, message) = fault(r#"{"inner":[{"number":1},{"number":"my secret, expected nobody"}]}"#);
        assert_eq!(param.as_deref(), Some("inner[1].number"));
        assert_eq!(message, "`inner[1].number` has a wrong type or value: expected a number.");
        assert_eq!(fault(r#"{"inner":[{}]}"#).0.as_deref(), Some("inner[0].number"));
        assert_eq!(fault(r#"{"inner":[],"inner":[]}"#).1, "`inner` is given twice.");
        assert_eq!(fault("7"), (None, "The body has a wrong type: expected an object.".into()));
    }

    #[test]
    fn a_field_that_is_not_known_is_named_where_none_may_be_passed_over() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Closed {
            #[expect(dead_code, reason = "only its reading is tested")]
            inner: Option<Box<Self>>,
        }
        for (body, path) in [(r#"{"x":1}"#, "x"), (r#"{"inner":{"inner":{"y":1}}}"#, "inner.inner.y")] {
            let error = read::<Closed>(body.as_bytes()).unwrap_err();
            assert_eq!(error.blamed(), Some(path));
            assert_eq!(error.message(), format!("There is no field `{path}` here; expected `inner`."));
        }
        let long = format!("{{\"{}\":1}}", "x".repeat(10_000));
        assert!(read::<Closed>(long.as_bytes()).unwrap_err().message().len() < 512);
    }

    #[test]
    fn what_nobody_reads_is_noted_with_its_path() {
        let body = br#"{"inner":[{"number":1},{"number":2,"mine":{"a":[1]}}],"x":null}"#;
        let (_, ignored) = read_noting_ignored::<Outer>(body).unwrap();
        assert_eq!(ignored, ["inner[1].mine", "x"]);
        for bad in [&br#"{"inner":[{"number":"1"}]}"#[..], b"", b"{\"inner\":[]} x", b"[]"] {
            let errors = (read_noting_ignored::<Outer>(bad).unwrap_err(), read::<Outer>(bad).unwrap_err());
            assert_eq!((errors.0.message(), errors.0.blamed()), (errors.1.message(), errors.1.blamed()));
        }
    }

    #[test]
    fn an_object_is_told_from_other_json_and_both_from_what_is_none() {
        let fault = |body: &[u8]| object(body).unwrap_err().message().to_owned();
        assert_eq!(fault(b"[1]"), "The body has a wrong type: expected an object.");
        assert_eq!(fault(b"7"), "The body has a wrong type: expected an object.");
        for no_json in [&b""[..], b"{", b"{} x", b"{\"a\":\"\xff\"}"] {
            assert!(fault(no_json).starts_with("The body is not valid JSON: "), "{no_json:?}");
        }
        assert_eq!(fault(br#"{"a":1,"a":2}"#), "`a` is given twice.");
    }

    #[test]
    fn what_is_no_json_is_said_to_be_none() {
        assert!(fault("").1.starts_with("The body is not valid JSON: EOF"));
        assert!(fault(r#"{"inner":[]} x"#).1.contains("trailing characters"));
        for broken in [&b"{\"inner\":[{\"number\":\"\xff\"}]}"[..], b"{\"inner\":[{\"num", b"{\"inner\":[{\"number\":1"]
        {
            let error = read::<Outer>(broken).unwrap_err();
            assert_eq!((error.kind(), error.blamed()), (Kind::Invalid, None), "{error}");
        }
        for broken in [&b"{\"a\":\"\xff\"}"[..], b"{", b"", b"[1"] {
            let message = object(broken).unwrap_err().message().to_owned();
            assert!(message.starts_with("The body is not valid JSON") || broken == b"[1", "{message}");
        }
        assert_eq!(object(b"[]").unwrap_err().message(), "The body has a wrong type: expected an object.");
    }
}
