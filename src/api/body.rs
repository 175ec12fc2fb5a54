//! Reads a JSON body, and says where in it the fault is. A good body is read once; only a bad one is read a second
//! time, with its path followed. No message repeats what the caller wrote: it may be a prompt.

use serde::de::DeserializeOwned;

use crate::error::{Error, Kind};
use crate::splice::Members;

/// Reads `body`. A fault is [`Kind::Invalid`] and names the field, except when the text is not JSON at all.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| locate::<T>(body, &error))
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
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let path = serde_path_to_error::deserialize::<_, T>(&mut deserializer)
        .map_err(|tracked| tracked.path().to_string())
        .err()
        .filter(|path| path != ".");
    let message = error.to_string();
    if !error.is_data() {
        let error = Error::new(Kind::Invalid, format!("The body is not valid JSON: {message}."));
        return match path {
            Some(path) => error.param(path),
            None => error,
        };
    }
    for (prefix, verdict) in [("missing field `", "is missing"), ("duplicate field `", "is given twice")] {
        if let Some(field) = message.strip_prefix(prefix).and_then(|rest| rest.split('`').next()) {
            let path = path.map_or_else(|| field.to_owned(), |path| format!("{path}.{field}"));
            let message = format!("`{path}` {verdict}.");
            return Error::invalid(path, message);
        }
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
        let error = read::<Outer>(b"{\"inner\":[{\"number\":\"\xff\"}]}").unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        for broken in [&b"{\"a\":\"\xff\"}"[..], b"{", b"", b"[1"] {
            let message = object(broken).unwrap_err().message().to_owned();
            assert!(message.starts_with("The body is not valid JSON") || broken == b"[1", "{message}");
        }
        assert_eq!(object(b"[]").unwrap_err().message(), "The body has a wrong type: expected an object.");
    }
}
