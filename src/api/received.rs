//! The body of a request while it arrives: waiting for it is no time of the gateway's own.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::gateway::{Trail, Waiting};

/// The request, whose trail learns how long the client takes to send the rest of it.
pub(super) fn timed(request: Request, trail: &Trail) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    request.map(|body| Body::new(Received { body, waiting: Waiting::new(trail.clone()) }))
}

struct Received {
    body: Body,
    waiting: Waiting,
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.waiting.end();
        let poll = Pin::new(&mut self.body).poll_frame(cx);
        self.waiting.polled(poll)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
