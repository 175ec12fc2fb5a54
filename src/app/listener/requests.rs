//! The requests of one connection, on their way to what answers them, and the answers on their way back.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::streams::Taking;
use crate::api::slow::Patient;
use crate::app::connection::{Limits, Open, Pulse};

/// The longest piece of an answer by HTTP/2: what goes into one frame, so that it shows when some of an answer is taken.
const PIECE: usize = 16 * 1024;

/// The requests of one connection.
#[derive(Clone)]
pub(super) struct Requests<S> {
    pub(super) service: S,
    pub(super) client: SocketAddr,
    pub(super) pulse: Arc<Pulse>,
    pub(super) limits: Limits,
    pub(super) notice: CancellationToken,
}

impl<S> Service<http::Request<Incoming>> for Requests<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    type Response = http::Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Answer>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Incoming>) -> Self::Future {
        let version = request.version();
        let open = self.pulse.begin(version);
        let patience = self.limits.body;
        let mut request = request
            .map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(Patient::new(body, patience)) });
        request.extensions_mut().insert(ConnectInfo(self.client));
        let answer = self.service.call(request);
        let (notice, pulse) = (self.notice.clone(), Arc::clone(&self.pulse));
        Box::pin(async move {
            let Ok(mut response) = answer.await;
            if notice.is_cancelled() {
                if version < Version::HTTP_2 {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                } else {
                    pulse.enough.notify_one();
                }
            }
            let taking = Taking::of_stream();
            if let Some(taking) = &taking {
                taking.begin();
            }
            Ok(response.map(|body| Answer { body, rest: Bytes::new(), taking, _open: open }))
        })
    }
}

/// The body of an answer; the request is open until it has ended.
pub(super) struct Answer {
    body: Body,
    /// Of the last piece of `body`, by HTTP/2.
    rest: Bytes,
    /// By HTTP/2.
    taking: Option<Arc<Taking>>,
    _open: Open,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(taking) = &this.taking else { return Pin::new(&mut this.body).poll_frame(cx) };
        taking.asked();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        taking.handed();
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(body.lower() + rest);
        hint
    }
}
