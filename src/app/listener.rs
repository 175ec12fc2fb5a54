//! A port that is listened on, with or without TLS.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Kind, Result};

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The certificate of a listener.
#[derive(Clone)]
pub struct Tls(RustlsConfig);

impl Tls {
    /// From a chain and its private key, both in PEM.
    pub async fn from_pem(chain: String, key: String) -> Result<Self> {
        let config = RustlsConfig::from_pem(chain.into_bytes(), key.into_bytes()).await;
        config.map(Self).map_err(|error| Error::new(Kind::Invalid, "The TLS certificate cannot be used.").source(error))
    }

    /// From PEM files.
    pub async fn from_files(chain: &str, key: &str) -> Result<Self> {
        let config = RustlsConfig::from_pem_file(chain, key).await;
        config.map(Self).map_err(|error| {
            Error::invalid("server.tls_cert", format!("cannot use {chain} with {key}: {error}")).source(error)
        })
    }
}

/// Takes a port, or says which setting asked for one that cannot be had.
pub(super) fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| Error::invalid(setting, format!("cannot listen on {address}: {error}")))
}

/// A port that is served.
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    handle: Handle<SocketAddr>,
    done: CancellationToken,
}

impl Listener {
    /// Serves `router` until told otherwise.
    pub(super) fn serve(
        listener: TcpListener,
        router: Router,
        tls: Option<Tls>,
        tracker: &TaskTracker,
    ) -> Result<Self> {
        let address = listener.local_addr().map_err(Error::internal)?;
        let handle = Handle::new();
        let done = CancellationToken::new();
        let mut server = axum_server::from_tcp(listener).map_err(Error::internal)?.handle(handle.clone());
        // Without a timer hyper waits for a head for ever.
        server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        let service = router.into_make_service();
        let guard = done.clone().drop_guard();
        tracker.spawn(async move {
            let ended = match tls {
                None => server.acceptor(NoDelayAcceptor::new()).serve(service).await,
                Some(Tls(config)) => {
                    let acceptor = RustlsAcceptor::new(config).acceptor(NoDelayAcceptor::new());
                    server.acceptor(acceptor).serve(service).await
                }
            };
            if let Err(error) = ended {
                tracing::error!(%error, "a listener failed");
            }
            drop(guard);
        });
        Ok(Self { address, handle, done })
    }

    /// Takes no more connections, and lets those that are open end their answers.
    pub(super) fn close(&self) {
        self.handle.graceful_shutdown(None);
    }

    /// Ends at once, answers or not.
    pub(super) fn abort(&self) {
        self.handle.shutdown();
    }

    /// Waits until every connection has ended.
    pub(super) async fn closed(&self) {
        self.done.cancelled().await;
    }
}
