//! A port that is listened on, with or without TLS, for HTTP/1.1 and HTTP/2: how many connections it takes, and how it
//! stops taking them.
//!
//! It stops in two steps. From the notice on everything is served as before, but clients are told to come by another
//! connection. From the close on nobody can connect, and who has nothing open is let go.

mod requests;
mod streams;

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use axum_server::accept::Accept as _;
use axum_server::tls_rustls::RustlsAcceptor;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use self::requests::Requests;
use self::streams::Streams;
use super::connection::{Guarded, Limits, Pulse};
use super::tls::Tls;
use crate::error::{Error, Result};

/// Requests at once on one connection of HTTP/2.
const STREAMS: u32 = 256;
/// The heads of one request together, in bytes.
const HEADS: u32 = 64 * 1024;
/// How often a client of HTTP/2 is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
/// After an error of accepting that does not pass by itself, such as too many open files.
const BREATH: Duration = Duration::from_millis(200);
/// How often it is said that nobody more can be let in, while that goes on.
const REMINDER: Duration = Duration::from_mins(1);
/// How long who has just connected may take for its request when nobody else can connect any more.
const GRACE: Duration = Duration::from_secs(2);

/// Takes a port, or says which setting asked for one that cannot be had.
pub(super) fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| Error::invalid(setting, format!("cannot listen on {address}: {error}")))
}

/// What a port is served with.
pub(super) struct Terms<S> {
    /// What answers.
    pub(super) service: S,
    /// What clients may take their time for, asked for each connection.
    pub(super) limits: Arc<dyn Fn() -> Limits + Send + Sync>,
    /// Connections at once.
    pub(super) most: usize,
    /// What they are encrypted with.
    pub(super) tls: Option<Tls>,
}

/// How far the end is.
#[derive(Clone, Default)]
struct Closing {
    /// Clients are told.
    notice: CancellationToken,
    /// Nobody can connect.
    closed: CancellationToken,
    /// Nothing more is sent.
    abort: CancellationToken,
}

/// What a connection is told, in this order.
#[derive(Clone, Copy)]
enum Word {
    /// Clients are to come by another connection.
    Notice,
    /// No other request is taken.
    Close,
    /// Nothing more is sent.
    Abort,
}

impl Closing {
    /// Waits for the word that follows `last` for the connection of `pulse`.
    async fn word_after(&self, last: Option<Word>, pulse: &Pulse) -> Word {
        match last {
            None => {
                self.notice.cancelled().await;
                Word::Notice
            }
            Some(Word::Notice) => {
                self.closed.cancelled().await;
                let grace = if pulse.has_served() { Duration::ZERO } else { GRACE };
                match self.abort.run_until_cancelled(tokio::time::sleep(grace)).await {
                    Some(()) => Word::Close,
                    None => Word::Abort,
                }
            }
            Some(Word::Close | Word::Abort) => {
                self.abort.cancelled().await;
                Word::Abort
            }
        }
    }
}

/// A port that is served.
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    closing: Closing,
    connections: TaskTracker,
}

impl Listener {
    /// Serves until told otherwise.
    pub(super) fn serve<S>(listener: TcpListener, terms: Terms<S>) -> Result<Self>
    where
        S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
    {
        let address = listener.local_addr().map_err(Error::internal)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(Error::internal)?;
        let (closing, connections) = (Closing::default(), TaskTracker::new());
        let slots = Arc::new(Semaphore::new(terms.most));
        let door = Door { address, slots, terms, closing: closing.clone(), connections: connections.clone() };
        connections.spawn(door.keep(listener));
        Ok(Self { address, closing, connections })
    }

    /// Tells clients to come by other connections from now on; all are served as before.
    pub(super) fn give_notice(&self) {
        self.closing.notice.cancel();
    }

    /// Takes no more connections, and lets those that are open end their answers.
    pub(super) fn close(&self) {
        self.closing.notice.cancel();
        self.closing.closed.cancel();
    }

    /// Ends at once, answers or not.
    pub(super) fn abort(&self) {
        self.close();
        self.closing.abort.cancel();
    }

    /// Waits until every connection has ended.
    pub(super) async fn closed(&self) {
        self.closing.closed.cancelled().await;
        self.connections.close();
        self.connections.wait().await;
    }
}

/// Where connections come in.
struct Door<S> {
    address: SocketAddr,
    slots: Arc<Semaphore>,
    terms: Terms<S>,
    closing: Closing,
    connections: TaskTracker,
}

impl<S> Door<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
{
    /// Takes connections until it is closed. No error ends it: a client that has gone is no loss, and without files there
    /// will be some again.
    async fn keep(self, listener: tokio::net::TcpListener) {
        let closed = self.closing.closed.clone();
        let (mut failing, mut crowded) = (Reminder::default(), Reminder::default());
        while let Some(slot) = closed.run_until_cancelled(self.slot(&mut crowded)).await {
            let Some(accepted) = closed.run_until_cancelled(listener.accept()).await else { break };
            match accepted {
                Ok((stream, client)) => {
                    self.let_in((stream, client), slot);
                }
                Err(error) if is_of_client(&error) => {}
                Err(error) => {
                    if failing.is_due() {
                        tracing::error!(%error, address = %self.address, "connections cannot be accepted");
                    }
                    if closed.run_until_cancelled(tokio::time::sleep(BREATH)).await.is_none() {
                        break;
                    }
                }
            }
        }
        // Who stands at the door already has been told by the operating system that it is connected.
        while let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned()
            && let Some(Ok((stream, client))) = listener.accept().now_or_never()
        {
            self.let_in((stream, client), slot);
        }
    }

    /// A place for one connection more; those that wait for one are not accepted.
    async fn slot(&self, crowded: &mut Reminder) -> OwnedSemaphorePermit {
        loop {
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                return slot;
            }
            if crowded.is_due() {
                let most = self.terms.most;
                tracing::warn!(most, address = %self.address, "no more connections are accepted until one ends");
            }
            if let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await {
                return slot;
            }
        }
    }

    fn let_in(&self, (stream, client): (TcpStream, SocketAddr), slot: OwnedSemaphorePermit) {
        // It fails for a connection that is gone already.
        stream.set_nodelay(true).ok();
        let (limits, pulse) = ((self.terms.limits)(), Pulse::new());
        let io = Guarded::new(stream, Arc::clone(&pulse), limits);
        let closing = self.closing.clone();
        let requests = Requests {
            service: self.terms.service.clone(),
            client,
            pulse: Arc::clone(&pulse),
            limits,
            notice: closing.notice.clone(),
        };
        let streams = Streams { patience: limits.send, tracker: self.connections.clone() };
        let tls = self.terms.tls.as_ref().map(|tls| RustlsAcceptor::new(tls.config()));
        self.connections.spawn(async move {
            let served = (requests, streams);
            match tls {
                None => serve(io, served, &pulse, &closing).await,
                Some(tls) => {
                    // Whoever does not shake hands has nothing to lose.
                    let shaken = closing.abort.run_until_cancelled(tls.accept(io, ())).await;
                    if let Some(Ok((io, _))) = shaken {
                        serve(io, served, &pulse, &closing).await;
                    }
                }
            }
            drop(slot);
        });
    }
}

/// Errors of accepting that are about the one connection alone.
fn is_of_client(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// What goes on is said again now and then.
#[derive(Debug, Default)]
struct Reminder(Option<Instant>);

impl Reminder {
    /// Whether it is time to say it.
    fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|said| said.elapsed() >= REMINDER);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

fn builder(streams: Streams) -> Builder<Streams> {
    let mut builder = Builder::new(streams);
    // The time for heads is kept where bytes pass: between two requests another one holds.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

/// Serves one connection to its end.
async fn serve<I, S>(io: I, (requests, streams): (Requests<S>, Streams), pulse: &Pulse, closing: &Closing)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let builder = builder(streams);
    let service = TowerToHyperService::new(requests);
    let mut connection = Box::pin(builder.serve_connection(TokioIo::new(io), service));
    // Behind these are locks that all connections share. Here they are looked at when there is a word, and not whenever
    // the connection has something to do.
    let mut words = FuturesUnordered::new();
    words.push(closing.word_after(None, pulse));
    loop {
        tokio::select! {
            biased;
            // How a connection ends is its client's affair; what it had open is told and booked elsewhere.
            _ = connection.as_mut() => return,
            () = pulse.enough.notified() => connection.as_mut().graceful_shutdown(),
            Some(word) = words.next() => {
                match word {
                    // It has a way to say so that loses nothing. To HTTP/1.1 it is said with the next answer.
                    Word::Notice if pulse.is_http2() => connection.as_mut().graceful_shutdown(),
                    Word::Notice => {}
                    Word::Close => connection.as_mut().graceful_shutdown(),
                    Word::Abort => return,
                }
                words.push(closing.word_after(Some(word), pulse));
            }
        }
    }
}

#[cfg(test)]
mod tests;
