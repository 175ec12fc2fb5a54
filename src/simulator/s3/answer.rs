//! What S3 answers, and how it becomes HTTP: documents at once, objects piece by piece from their files.

use std::io::Read as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use futures_util::Stream;

use super::super::calls::{Outcome, Recording};
use super::super::errors::XML_HEAD;
use super::super::form::Xml;
use super::files::Reader;

/// As much of an object is in memory at a time, in bytes.
const STEP: usize = 64 << 10;

/// A successful answer.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Nothing,
    /// A document and its media type.
    Text(&'static str, String),
    Bytes(Reader, u64),
    /// Of a HEAD.
    Length(u64),
}

impl Answer {
    const fn of(status: u16, content: Content) -> Self {
        Self { status, headers: Vec::new(), content }
    }

    pub(super) const fn empty(status: u16) -> Self {
        Self::of(status, Content::Nothing)
    }

    pub(super) fn xml(document: Xml) -> Self {
        Self::of(200, Content::Text("application/xml", format!("{XML_HEAD}{}", document.document())))
    }

    pub(super) const fn json(text: String) -> Self {
        Self::of(200, Content::Text("application/json", text))
    }

    pub(super) const fn bytes(status: u16, reader: Reader, length: u64) -> Self {
        Self::of(status, Content::Bytes(reader, length))
    }

    pub(super) const fn length(status: u16, length: u64) -> Self {
        Self::of(status, Content::Length(length))
    }

    pub(super) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn with_all(mut self, headers: impl IntoIterator<Item = (String, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// The HTTP answer. The bytes of an object break off after `cut`.
    pub(super) fn response(self, cut: Option<u64>, mut recording: Recording) -> Response<Body> {
        let mut headers = self.headers;
        recording.note(|call| call.status = self.status);
        headers.push(("x-amz-request-id".to_owned(), recording.request_id().to_owned()));
        headers.push(("x-amz-id-2".to_owned(), "simulator".to_owned()));
        let body = match self.content {
            Content::Nothing => None,
            Content::Text(content_type, text) => {
                headers.push((header::CONTENT_TYPE.to_string(), content_type.to_owned()));
                Some(Body::from(text))
            }
            Content::Length(length) => {
                headers.push((header::CONTENT_LENGTH.to_string(), length.to_string()));
                None
            }
            Content::Bytes(reader, length) => {
                headers.push((header::CONTENT_LENGTH.to_string(), length.to_string()));
                let until = length - cut.unwrap_or(length).min(length);
                let sending = Sending { reader, left: length, until, has_rested: false, recording };
                return finished(self.status, headers, Body::from_stream(sending));
            }
        };
        recording.end(Outcome::Completed);
        finished(self.status, headers, body.unwrap_or_default())
    }
}

fn finished(status: u16, headers: Vec<(String, String)>, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// An object on its way.
struct Sending {
    reader: Reader,
    left: u64,
    /// It breaks off when so much is left; at nothing it is whole.
    until: u64,
    has_rested: bool,
    recording: Recording,
}

impl Stream for Sending {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            self.recording.end(Outcome::Completed);
            return Poll::Ready(None);
        }
        if self.left == self.until {
            // What was sent so far leaves first: a body that fails takes along what still waits.
            if !std::mem::replace(&mut self.has_rested, true) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())));
        }
        let most = usize::try_from(self.left - self.until).unwrap_or(STEP).min(STEP);
        let mut buffer = vec![0; most];
        let read = self.reader.read(&mut buffer).and_then(|read| match read {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        });
        Poll::Ready(Some(read.map(|read| {
            buffer.truncate(read);
            self.left -= read as u64;
            // Nobody asks again once all is there.
            if self.left == 0 {
                self.recording.end(Outcome::Completed);
            }
            buffer.into()
        })))
    }
}
