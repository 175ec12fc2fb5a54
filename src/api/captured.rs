//! A request's body on its way in, seen by who captures it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use bytes::Bytes;
use http::Method;
use http_body::{Frame, SizeHint};

use super::route;
use crate::gateway::Gateway;
use crate::telemetry::capture::{Recording, Side};

/// Begins to take note of a request, if it is one of those that make calls and anything is captured at all.
pub(super) fn begin(gateway: &Gateway, request: &mut Request) -> Option<Box<Recording>> {
    let recording = gateway.capture().begin()?;
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if request.method() != Method::POST || !route::costs(path) {
        return None;
    }
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = Body::new(Seen { body, side: recording.request() });
    Some(Box::new(recording))
}

/// A body that is seen.
struct Seen {
    body: Body,
    side: Side,
}

impl http_body::Body for Seen {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(piece) = frame.data_ref()
        {
            self.side.push(piece);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
