//! The body of a new message batch, cut into lines while it arrives: `{"requests": [{"custom_id", "params"}, ...]}` becomes
//! one line of `{"custom_id", "params"}` for each request.
//!
//! Only the request under way is held, and at most [`LONGEST`] of it. Each request is judged as far as it can be by
//! itself; what its `params` are worth is told in its result. Invariant: every line that is given out is one JSON object,
//! its texts those of the caller.

use bytes::Bytes;
use memchr::memchr2;
use serde_json::value::RawValue;

use crate::error::{Error, Kind, Result};
use crate::splice::{Edits, Members};

/// The most bytes of one request: what a line of a file may have.
const LONGEST: usize = 25 << 20;
/// The most bytes of a member's name.
const LONGEST_NAME: usize = 256;
/// The most characters of a `custom_id`: <https://docs.anthropic.com/en/api/creating-message-batches>.
const LONGEST_ID: usize = 64;

/// Cuts a body into lines.
#[derive(Debug)]
pub(super) struct Splitter {
    /// Betas that every request asks for, beside its own.
    betas: Vec<String>,
    /// What may come next.
    state: State,
    /// Of what is under way: a name, or a request.
    held: Vec<u8>,
    /// How many requests there were.
    count: usize,
    /// Whether there was a list of them.
    seen: bool,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The body's brace.
    Start,
    /// The first name, or the body's end.
    FirstName,
    /// A name.
    Name,
    /// The rest of a name.
    InName(Text),
    /// The colon behind `requests`.
    Colon,
    /// The bracket of the list.
    List,
    /// The first request, or the list's end.
    First,
    /// A request.
    Request,
    /// The rest of a request, whose open braces and brackets these are.
    In(u32, Text),
    /// A comma, or the list's end.
    AfterRequest,
    /// A comma, or the body's end.
    AfterList,
    /// Nothing.
    End,
}

/// Where in a text or beside texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    /// Behind a backslash.
    Escaped,
}

impl Splitter {
    /// For requests that all ask for these betas.
    pub(super) fn new(betas: Vec<String>) -> Self {
        Self { betas, state: State::Start, held: Vec::new(), count: 0, seen: false }
    }

    /// Takes the next bytes, and appends the lines of the requests that end in them.
    ///
    /// # Errors
    /// `Invalid` where the body is not as it has to be, with the path of the member to blame.
    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::In(depth, text) => self.request(bytes, depth, text, out)?,
                State::InName(text) => self.name(bytes, text)?,
                _ => self.between(bytes)?,
            };
        }
        Ok(())
    }

    /// How many requests there were.
    ///
    /// # Errors
    /// `Invalid` where the body is not at its end, or has no requests.
    pub(super) fn finish(&self) -> Result<usize> {
        match (self.state, self.count) {
            (State::End, 0) if self.seen => {
                Err(Error::invalid("requests", "`requests` is empty: a batch has at least one request."))
            }
            (State::End, 0) => Err(Error::invalid("requests", "`requests` is missing.")),
            (State::End, count) => Ok(count),
            _ => Err(Error::new(Kind::Invalid, "The body is not valid JSON: it ends too early.")),
        }
    }

    /// One byte of what stands between names and requests.
    fn between<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let Some((byte, rest)) = bytes.trim_ascii_start().split_first() else { return Ok(&[]) };
        self.state = match (self.state, byte) {
            (State::Start, b'{') => State::FirstName,
            (State::FirstName | State::AfterList, b'}') => State::End,
            (State::FirstName | State::Name, b'"') => {
                self.held.clear();
                self.held.push(b'"');
                State::InName(Text::Inside)
            }
            (State::Colon, b':') => State::List,
            (State::List, b'[') => State::First,
            (State::First | State::AfterRequest, b']') => State::AfterList,
            (State::First | State::Request, b'{') => {
                self.held.clear();
                self.held.push(b'{');
                State::In(1, Text::Outside)
            }
            (State::AfterRequest, b',') => State::Request,
            (State::AfterList, b',') => State::Name,
            (State::Start, _) => {
                return Err(Error::new(Kind::Invalid, "The body has a wrong type: expected an object."));
            }
            (State::List, _) => {
                return Err(Error::invalid("requests", "`requests` has a wrong type: expected a list."));
            }
            (State::First | State::Request, _) => {
                let at = self.at("");
                let message = format!("`{at}` has a wrong type: expected an object.");
                return Err(Error::invalid(at, message));
            }
            _ => return Err(Error::new(Kind::Invalid, "The body is not valid JSON.")),
        };
        Ok(rest)
    }

    fn name<'a>(&mut self, bytes: &'a [u8], text: Text) -> Result<&'a [u8]> {
        let (taken, text) = through(bytes, text);
        let (name, rest) = bytes.split_at(taken);
        if self.held.len() + name.len() > LONGEST_NAME {
            return Err(Error::new(Kind::Invalid, "The body has a member that is not known here."));
        }
        self.held.extend_from_slice(name);
        self.state = State::InName(text);
        if text != Text::Outside {
            return Ok(rest);
        }
        let name: String = serde_json::from_slice(&self.held).map_err(invalid)?;
        if name != "requests" {
            let message = format!("`{name}` is not known here: a message batch has `requests` alone.");
            return Err(Error::invalid(name, message));
        }
        if std::mem::replace(&mut self.seen, true) {
            return Err(Error::invalid(name, "`requests` is given twice."));
        }
        self.state = State::Colon;
        Ok(rest)
    }

    fn request<'a>(&mut self, bytes: &'a [u8], depth: u32, text: Text, out: &mut Vec<u8>) -> Result<&'a [u8]> {
        let (taken, depth, text) = walk(bytes, depth, text);
        let (part, rest) = bytes.split_at(taken);
        if self.held.len() + part.len() > LONGEST {
            let at = self.at("");
            let message = format!("`{at}` is larger than a request may be: {LONGEST} bytes.");
            return Err(Error::new(Kind::TooLarge, message).param(at));
        }
        self.held.extend_from_slice(part);
        if depth > 0 {
            self.state = State::In(depth, text);
            return Ok(rest);
        }
        self.state = State::AfterRequest;
        self.write(out)?;
        self.count += 1;
        Ok(rest)
    }

    /// The line of the request that is held.
    fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        let at = |field: &str| self.at(field);
        let members = Members::read(&self.held).map_err(|error| {
            let at = at("");
            let message = format!("`{at}` is not valid JSON: {}.", cause(&error));
            Error::invalid(at, message)
        })?;
        if let Some(key) = members.repeated() {
            let at = at(&short(key));
            let message = format!("`{at}` is given twice.");
            return Err(Error::invalid(at, message));
        }
        if let Some(other) = members.iter().find(|member| !["custom_id", "params"].contains(&&*member.key)) {
            let at = at(&short(&other.key));
            let message = format!("`{at}` is not known here: a request has `custom_id` and `params`.");
            return Err(Error::invalid(at, message));
        }
        let (id, params) = (self.required(&members, "custom_id")?, self.required(&members, "params")?);
        if !is_id(id) {
            let at = at("custom_id");
            let message = format!("`{at}` has to be 1 to {LONGEST_ID} letters, digits, `-` or `_`.");
            return Err(Error::invalid(at, message));
        }
        let params = self.params(params)?;
        out.extend_from_slice(br#"{"custom_id":"#);
        out.extend_from_slice(id.get().as_bytes());
        out.extend_from_slice(br#","params":"#);
        let start = out.len();
        out.extend_from_slice(&params);
        // Texts have no line breaks but as escapes: these are between members.
        out[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    /// The parameters with the betas that all requests ask for.
    fn params(&self, params: &RawValue) -> Result<Bytes> {
        let at = |field: &str| self.at(field);
        let members = Members::of(params).map_err(|_| {
            let at = at("params");
            let message = format!("`{at}` has a wrong type: expected an object.");
            Error::invalid(at, message)
        })?;
        if let Some(key) = members.repeated() {
            let at = at(&format!("params.{}", short(key)));
            let message = format!("`{at}` is given twice.");
            return Err(Error::invalid(at, message));
        }
        let model = members.value("model").and_then(|model| serde_json::from_str::<String>(model.get()).ok());
        if model.is_none_or(|model| model.is_empty()) {
            let at = at("params.model");
            let message = format!("`{at}` has to name a model.");
            return Err(Error::invalid(at, message));
        }
        let text = params.get().as_bytes();
        if self.betas.is_empty() {
            return Ok(Bytes::copy_from_slice(text));
        }
        let mut betas = self.betas.clone();
        let mut edits = Edits::new(text);
        match members.value(BETAS) {
            None => edits.add(BETAS, &list(&betas)),
            Some(own) => {
                // Another type is told of in the record's result.
                let Ok(own_betas) = serde_json::from_str::<Option<Vec<String>>>(own.get()) else {
                    return Ok(Bytes::copy_from_slice(text));
                };
                betas.extend(own_betas.unwrap_or_default());
                edits.replace(own, list(&betas));
            }
        }
        Ok(edits.apply())
    }

    fn required<'a>(&self, members: &Members<'a>, key: &str) -> Result<&'a RawValue> {
        members.value(key).ok_or_else(|| {
            let at = self.at(key);
            let message = format!("`{at}` is missing.");
            Error::invalid(at, message)
        })
    }

    /// The path of a field of the request under way.
    fn at(&self, field: &str) -> String {
        path(self.count, field)
    }
}

/// The path of a field of a request, as Anthropic writes it.
pub(super) fn path(request: usize, field: &str) -> String {
    if field.is_empty() { format!("requests.{request}") } else { format!("requests.{request}.{field}") }
}

/// Where a native body names its betas.
const BETAS: &str = "anthropic_beta";

fn list(betas: &[String]) -> String {
    serde_json::Value::from(betas).to_string()
}

fn is_id(id: &RawValue) -> bool {
    let Ok(id) = serde_json::from_str::<String>(id.get()) else { return false };
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// A name to be shown.
fn short(name: &str) -> String {
    name.chars().take(LONGEST_ID).collect()
}

fn invalid(error: serde_json::Error) -> Error {
    Error::new(Kind::Invalid, format!("The body is not valid JSON: {}.", cause(&error))).source(error)
}

/// What the reader says, without where: it counts within the request.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// How far a text goes on, through its closing quote.
fn through(bytes: &[u8], mut text: Text) -> (usize, Text) {
    let mut at = 0;
    if text == Text::Escaped {
        (at, text) = (1, Text::Inside);
    }
    while let Some(found) = memchr2(b'"', b'\\', &bytes[at..]) {
        at += found + 1;
        match (bytes[at - 1], bytes.get(at)) {
            (b'"', _) => return (at, Text::Outside),
            (_, None) => return (at, Text::Escaped),
            (_, Some(_)) => at += 1,
        }
    }
    (bytes.len(), text)
}

/// How far an object goes on, through its closing brace. Whether its braces and brackets match is for the reader to say.
fn walk(bytes: &[u8], mut depth: u32, mut text: Text) -> (usize, u32, Text) {
    let mut at = 0;
    while at < bytes.len() {
        if text != Text::Outside {
            let (taken, then) = through(&bytes[at..], text);
            (at, text) = (at + taken, then);
            continue;
        }
        match bytes[at] {
            b'"' => text = Text::Inside,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    (at, depth, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn split_by(body: &[u8], size: usize, betas: &[&str]) -> Result<Vec<String>> {
        let mut splitter = Splitter::new(betas.iter().map(|beta| (*beta).to_owned()).collect());
        let mut out = Vec::new();
        for piece in body.chunks(size) {
            splitter.push(piece, &mut out)?;
        }
        let count = splitter.finish()?;
        let lines: Vec<String> = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), count);
        Ok(lines)
    }

    fn split(body: &str) -> Result<Vec<String>> {
        let whole = split_by(body.as_bytes(), usize::MAX, &[]);
        let bytewise = split_by(body.as_bytes(), 1, &[]);
        match (&whole, &bytewise) {
            (Ok(a), Ok(b)) => assert_eq!(a, b),
            (Err(a), Err(b)) => assert_eq!((a.message(), a.blamed()), (b.message(), b.blamed())),
            _ => panic!("{whole:?} {bytewise:?}"),
        }
        whole
    }

    #[test]
    fn requests_become_lines_and_keep_their_bytes() {
        let body = " { \"requests\" : [ {\"custom_id\":\"a\",\n \"params\": {\"model\":\"m\",\r\n\"x\" : 1.0e0,\"t\":\"}]\\\"\\\\ \\n{[\"} } , {\"params\":{\"model\":\"n\"},\"custom_id\":\"b-_9\"}]\n} \n";
        let lines = split(body).unwrap();
        let first = "{\"custom_id\":\"a\",\"params\":{\"model\":\"m\",  \"x\" : 1.0e0,\"t\":\"}]\\\"\\\\ \\n{[\"}}";
        assert_eq!(lines, [first, r#"{"custom_id":"b-_9","params":{"model":"n"}}"#]);
    }

    #[test]
    fn betas_of_the_header_are_asked_for_by_every_request() {
        let body = br#"{"requests":[{"custom_id":"a","params":{"model":"m"}},{"custom_id":"b","params":{"anthropic_beta":["own"],"model":"m"}}]}"#;
        let lines = split_by(body, 7, &["context-1m-2025-08-07"]).unwrap();
        let expected = [
            r#"{"custom_id":"a","params":{"model":"m","anthropic_beta":["context-1m-2025-08-07"]}}"#,
            r#"{"custom_id":"b","params":{"anthropic_beta":["context-1m-2025-08-07","own"],"model":"m"}}"#,
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let good = r#"{"custom_id":"a","params":{"model":"m"}}"#;
        let requests = |list: &str| format!("{{\"requests\":[{list}]}}");
        let long = "x".repeat(65);
        for (body, field) in [
            (String::new(), None),
            ("[]".into(), None),
            ("{}".into(), Some("requests")),
            ("{} x".into(), None),
            (requests(""), Some("requests")),
            (r#"{"requests":{}}"#.into(), Some("requests")),
            (format!(r#"{{"requests":[{good}],"requests":[]}}"#), Some("requests")),
            (format!(r#"{{"requests":[{good}],"metadata":{{}}}}"#), Some("metadata")),
            (format!(r#"{{"{}":1}}"#, "x".repeat(1000)), None),
            (format!(r#"{{"requests":[{good}],}}"#), None),
            (format!(r#"{{"requests":[{good}"#), None),
            (requests(&format!("{good},")), Some("requests.1")),
            (requests(&format!("{good} {good}")), None),
            (requests("7"), Some("requests.0")),
            (requests(&format!("{good},null")), Some("requests.1")),
            (requests(&format!("{good},{{\"custom_id\":]}}")), Some("requests.1")),
            (requests(r#"{"custom_id":"a"}"#), Some("requests.0.params")),
            (requests(r#"{"params":{"model":"m"}}"#), Some("requests.0.custom_id")),
            (requests(r#"{"custom_id":"a","params":{"model":"m"},"x":1}"#), Some("requests.0.x")),
            (requests(r#"{"custom_id":"a","custom_id":"a","params":{"model":"m"}}"#), Some("requests.0.custom_id")),
            (requests(r#"{"custom_id":"","params":{"model":"m"}}"#), Some("requests.0.custom_id")),
            (requests(r#"{"custom_id":7,"params":{"model":"m"}}"#), Some("requests.0.custom_id")),
            (requests(r#"{"custom_id":"a b","params":{"model":"m"}}"#), Some("requests.0.custom_id")),
            (requests(&format!(r#"{{"custom_id":"{long}","params":{{"model":"m"}}}}"#)), Some("requests.0.custom_id")),
            (requests(&format!(r#"{good},{{"custom_id":"b","params":[]}}"#)), Some("requests.1.params")),
            (requests(&format!(r#"{good},{{"custom_id":"b","params":{{}}}}"#)), Some("requests.1.params.model")),
            (requests(r#"{"custom_id":"b","params":{"model":""}}"#), Some("requests.0.params.model")),
            (requests(r#"{"custom_id":"b","params":{"model":"m","x":1,"x":2}}"#), Some("requests.0.params.x")),
        ] {
            let error = split(&body).unwrap_err();
            assert_eq!((error.kind(), error.blamed()), (Kind::Invalid, field), "{body}: {error}");
            assert!(error.message().len() < 300, "{error}");
        }
        let broken =
            split_by(b"{\"requests\":[{\"custom_id\":\"a\",\"params\":{\"model\":\"m\",\"x\":\"\xff\"}}]}", 3, &[]);
        assert_eq!(broken.unwrap_err().blamed(), Some("requests.0"));
    }

    #[test]
    fn a_request_that_never_ends_is_not_held() {
        let mut splitter = Splitter::new(Vec::new());
        let mut out = Vec::new();
        splitter.push(br#"{"requests":[{"custom_id":""#, &mut out).unwrap();
        let piece = vec![b'x'; 1 << 20];
        let error = (0..100).find_map(|_| splitter.push(&piece, &mut out).err()).unwrap();
        assert_eq!((error.kind(), error.blamed()), (Kind::TooLarge, Some("requests.0")));
        assert!(splitter.held.len() <= LONGEST);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn however_it_arrives_every_request_is_one_line(
            texts in prop::collection::vec(".{0,20}", 1..8),
            size in 1_usize..40,
            pretty: bool,
        ) {
            let request = |(i, text): (usize, &String)| {
                json!({"custom_id": format!("id-{i}"), "params": {"model": "m", text: [text, {"t": text}]}})
            };
            let requests: Vec<Value> = texts.iter().enumerate().map(request).collect();
            let body = json!({ "requests": requests });
            let body = if pretty { serde_json::to_vec_pretty(&body) } else { serde_json::to_vec(&body) }.unwrap();
            match split_by(&body, size, &[]) {
                Ok(lines) => {
                    let read: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
                    prop_assert_eq!(read, requests);
                }
                // A text may be `model`.
                Err(error) => prop_assert!(texts.iter().any(|text| text == "model"), "{}", error),
            }
        }
    }
}
