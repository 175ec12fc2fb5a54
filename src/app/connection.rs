//! One connection of a client: what it may take its time for, and what it is told when the gateway stops.
//!
//! Nothing but a request that is under way keeps a connection open for ever. The head of a request, silence between two
//! requests, and an answer that the client does not take have an end each; they are seen to where bytes pass, so that they
//! hold under TLS and for both versions of HTTP.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::slow::Patience;
use crate::config::Server;
use crate::timer::Timer;

/// How long a client may take for a TLS handshake, or to send the head of a request.
const HEAD: Duration = Duration::from_secs(30);

/// What clients may take their time for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// To send the head of a request.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
    /// To send a body.
    pub(super) body: Patience,
    /// To take what is sent, a piece at a time.
    pub(super) send: Duration,
}

impl Limits {
    pub(super) fn new(server: &Server) -> Self {
        Self {
            head: HEAD,
            idle: Duration::from_secs(server.keep_alive_s),
            body: Patience { wait: Duration::from_secs(server.body_timeout_s), rate: server.body_min_rate },
            send: Duration::from_secs(server.send_timeout_s),
        }
    }
}

/// What a connection is about. Shared by its bytes and its requests.
#[derive(Debug)]
pub(super) struct Pulse {
    began: Instant,
    /// Requests that are being answered.
    open: AtomicU32,
    has_served: AtomicBool,
    is_http2: AtomicBool,
    /// Whether some of a head has come, of a request that is not yet one.
    in_head: AtomicBool,
    /// When the present silence or head began, in milliseconds since `began`.
    since: AtomicU64,
    /// Nothing was asked for too long, or no more is to be.
    pub(super) enough: Notify,
}

impl Pulse {
    /// Of a connection that begins now, and is to ask soon.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            open: AtomicU32::new(0),
            has_served: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            in_head: AtomicBool::new(true),
            since: AtomicU64::new(0),
            enough: Notify::new(),
        })
    }

    /// A request has come; it is open until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>, version: http::Version) -> Open {
        if version >= http::Version::HTTP_2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        self.open.fetch_add(1, Ordering::AcqRel);
        self.has_served.store(true, Ordering::Relaxed);
        self.in_head.store(false, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    /// Whether any request has come.
    pub(super) fn has_served(&self) -> bool {
        self.has_served.load(Ordering::Relaxed)
    }

    /// When the present silence or head began, in milliseconds of the connection.
    fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    fn mark(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since.store(millis, Ordering::Relaxed);
    }

    /// Bytes have come.
    fn came(&self) {
        // Behind the first request of HTTP/2 there are no heads that could be told from other frames.
        if self.open.load(Ordering::Acquire) == 0 && !self.is_http2() && !self.in_head.swap(true, Ordering::Relaxed) {
            self.mark();
        }
    }

    /// Until when there has to be something; `None` while a request is open.
    fn due(&self, limits: &Limits) -> Option<(Instant, Due)> {
        if self.open.load(Ordering::Acquire) > 0 {
            return None;
        }
        let since = self.began + Duration::from_millis(self.since());
        Some(if self.in_head.load(Ordering::Relaxed) {
            (since + limits.head, Due::Head)
        } else {
            (since + limits.idle, Due::Request)
        })
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Head,
    Request,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Open(Arc<Pulse>);

impl Drop for Open {
    fn drop(&mut self) {
        // Before the last is gone: the silence begins here.
        self.0.mark();
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The bytes of a connection.
pub(super) struct Guarded<S> {
    stream: S,
    pulse: Arc<Pulse>,
    limits: Limits,
    reading: Timer,
    writing: Timer,
    /// Since when the client takes nothing.
    stuck: Option<Instant>,
    /// The silence in which the end of the connection was asked for.
    told: Option<u64>,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, pulse: Arc<Pulse>, limits: Limits) -> Self {
        Self { stream, pulse, limits, reading: Timer::default(), writing: Timer::default(), stuck: None, told: None }
    }

    /// Whether nothing came that should have.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some((until, due)) = self.pulse.due(&self.limits) else { return Poll::Pending };
        if self.reading.poll(until, cx).is_pending() {
            return Poll::Pending;
        }
        match due {
            Due::Head => Poll::Ready(timed_out("no head of a request came in time")),
            Due::Request => {
                // It is told properly by who speaks its protocol, and then has as long again for what it did not take yet.
                if self.told == Some(self.pulse.since()) {
                    return Poll::Ready(timed_out("the client does not let go"));
                }
                self.pulse.mark();
                self.told = Some(self.pulse.since());
                self.pulse.enough.notify_one();
                // This silence has to be timed as well.
                let _ = self.reading.poll(Instant::now() + self.limits.idle, cx);
                Poll::Pending
            }
        }
    }

    /// The result of a write, or how long the client has taken nothing.
    fn written<T>(&mut self, result: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stuck = None;
            return result;
        }
        let since = *self.stuck.get_or_insert_with(Instant::now);
        match self.writing.poll(since + self.limits.send, cx) {
            Poll::Ready(()) => Poll::Ready(Err(timed_out("the client does not take its answer"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(result) => {
                if buf.filled().len() > before {
                    self.pulse.came();
                }
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_silence(cx).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(result, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // Behind an answer hyper does not read again before something comes: the silence has to be timed from here. When it
        // is over, the read that follows says so.
        if let Some((until, _)) = self.pulse.due(&self.limits) {
            let _ = self.reading.poll(until, cx);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
