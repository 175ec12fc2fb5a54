//! The load: closed loops, an open loop at a fixed rate, and streams held open.
//!
//! Connections are kept and reused; a request that fails is counted, and one failure fails the run: a fast error is
//! not a fast answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::Result;
use crate::calls::Call;

type Connection = SendRequest<Full<Bytes>>;

/// A server under load and the connections open to it.
pub(crate) struct Target {
    address: SocketAddr,
    bearer: Option<HeaderValue>,
    idle: Mutex<Vec<Connection>>,
    connections: TaskTracker,
}

/// When a closed loop ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// No request starts after so long.
    Elapsed(Duration),
    /// So many requests were made.
    Requests(u64),
}

/// What a closed loop did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
}

/// A stream whose first bytes have come and whose end has not.
pub(crate) struct OpenStream {
    // The answer's connection closes with its sender.
    _connection: Connection,
    body: Incoming,
}

impl Target {
    /// A server at `address`; `key` is sent as a bearer token.
    pub(crate) fn new(address: SocketAddr, key: Option<&str>) -> Result<Arc<Self>> {
        let bearer = key.map(|key| HeaderValue::from_str(&format!("Bearer {key}"))).transpose()?;
        Ok(Arc::new(Self { address, bearer, idle: Mutex::default(), connections: TaskTracker::new() }))
    }

    /// One request; the whole body of its answer. Anything but a 200 is an error.
    pub(crate) async fn exchange(&self, call: &Call) -> Result<Bytes> {
        let (connection, body) = self.send(call).await?;
        let body = body.collect().await?.to_bytes();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(body)
    }

    /// One request; its body is thrown away as it comes, so that a stream costs the generator no memory.
    async fn discard(&self, call: &Call) -> Result<()> {
        let (connection, mut body) = self.send(call).await?;
        while let Some(frame) = body.frame().await {
            frame?;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(())
    }

    async fn send(&self, call: &Call) -> Result<(Connection, Incoming)> {
        let mut connection = self.connection().await?;
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = call.path.parse()?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(bearer) = &self.bearer {
            headers.insert(header::AUTHORIZATION, bearer.clone());
        }
        let response = connection.send_request(request).await?;
        let (status, body) = (response.status(), response.into_body());
        if status != StatusCode::OK {
            let body = body.collect().await?.to_bytes();
            return Err(format!("{} answered {status}: {}", call.path, String::from_utf8_lossy(&body)).into());
        }
        Ok((connection, body))
    }

    async fn connection(&self) -> Result<Connection> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut connection) = idle else { break };
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let (connection, driver) = handshake(TokioIo::new(socket)).await?;
        self.connections.spawn(driver);
        Ok(connection)
    }

    /// `concurrency` callers, each with one request at a time. Ends when the last answer is complete.
    pub(crate) async fn closed_loop(self: &Arc<Self>, call: &Call, concurrency: u64, until: Until) -> Result<Load> {
        let started = Instant::now();
        let begun = Arc::new(AtomicU64::new(0));
        let mut callers: JoinSet<Result<()>> = JoinSet::new();
        for caller in 0..concurrency {
            let (target, call, begun) = (Arc::clone(self), call.clone(), Arc::clone(&begun));
            callers.spawn(async move {
                // Apart by a millisecond at first, so that slow streams do not beat in time.
                tokio::time::sleep(Duration::from_millis(caller % 16)).await;
                while until.allows(started, &begun) {
                    target.discard(&call).await?;
                }
                Ok(())
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        let requests = begun.load(Ordering::Relaxed);
        Ok(Load { requests, elapsed: started.elapsed() })
    }

    /// Starts a request every `gap` for `duration`, however many are still unanswered, and times each from the moment
    /// it was due: a server that stalls is charged for every request that should have come meanwhile.
    pub(crate) async fn open_loop(self: &Arc<Self>, call: &Call, gap: Duration, duration: Duration) -> Result<Latency> {
        let requests = TaskTracker::new();
        let timed: Arc<Mutex<Vec<Result<Duration>>>> = Arc::default();
        let pacer = {
            let (target, call, requests, timed) =
                (Arc::clone(self), call.clone(), requests.clone(), Arc::clone(&timed));
            let runtime = Handle::current();
            // A thread of its own: the runtime's timer is too coarse, by a millisecond, for what is measured.
            tokio::task::spawn_blocking(move || {
                let started = Instant::now();
                let mut offset = Duration::ZERO;
                while offset < duration {
                    let due = started + offset;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let (target, call, timed) = (Arc::clone(&target), call.clone(), Arc::clone(&timed));
                    let request = async move {
                        let answer = target.discard(&call).await;
                        let taken = answer.map(|()| due.elapsed());
                        timed.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
                    };
                    requests.spawn_on(request, &runtime);
                    offset += gap;
                }
            })
        };
        pacer.await?;
        requests.close();
        requests.wait().await;
        let timed = std::mem::take(&mut *timed.lock().unwrap_or_else(PoisonError::into_inner));
        Latency::of(timed.into_iter().collect::<Result<_>>()?)
    }

    /// Opens `count` streams and waits for the first bytes of each.
    pub(crate) async fn open_streams(&self, call: &Call, count: usize) -> Result<Vec<OpenStream>> {
        let opening = (0..count).map(|_| async {
            let (connection, mut body) = self.send(call).await?;
            body.frame().await.ok_or("the stream ended before its first bytes")??;
            Result::Ok(OpenStream { _connection: connection, body })
        });
        iter(opening).buffer_unordered(64).try_collect().await
    }
}

impl OpenStream {
    /// Reads to the end.
    pub(crate) async fn finish(mut self) -> Result<()> {
        while let Some(frame) = self.body.frame().await {
            frame?;
        }
        Ok(())
    }
}

impl Until {
    /// Counts one more request in `begun`, if one may still begin.
    fn allows(self, started: Instant, begun: &AtomicU64) -> bool {
        match self {
            Self::Elapsed(duration) => {
                let allowed = started.elapsed() < duration;
                begun.fetch_add(u64::from(allowed), Ordering::Relaxed);
                allowed
            }
            Self::Requests(count) => begun
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |begun| (begun < count).then_some(begun + 1))
                .is_ok(),
        }
    }
}

/// How long the requests of an open loop took, from when they were due to the end of their answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) requests: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Latency {
    fn of(mut taken: Vec<Duration>) -> Result<Self> {
        taken.sort_unstable();
        let at = |percent: usize| taken.get(taken.len() * percent / 100).copied().ok_or("no request was made");
        Ok(Self { requests: u64::try_from(taken.len())?, p50: at(50)?, p99: at(99)? })
    }
}
