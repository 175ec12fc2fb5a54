//! A server of files for tests: https on a free port of this machine, with a certificate of its own, that sends the
//! bytes it is told to.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum_server::accept::Accept as _;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::Fetcher;
use crate::config;

/// The names its certificate is for, besides this machine's.
pub(crate) const NAMES: [&str; 2] = ["files.test", "other.test"];

/// The server. It ends with the test's runtime.
pub(crate) struct Site {
    pub(crate) port: u16,
    authority: NamedTempFile,
    asked: Arc<Mutex<Vec<String>>>,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// What is sent, and what becomes of the connection.
pub(crate) enum Answer {
    /// All there is.
    Whole(Vec<u8>),
    /// The rest never comes.
    Unfinished(Vec<u8>),
}

/// A file.
pub(crate) fn file(body: impl AsRef<[u8]>) -> Answer {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.as_ref().len());
    Answer::Whole([head.as_bytes(), b"content-type: image/PNG; q=1\r\n\r\n", body.as_ref()].concat())
}

/// A status without a body, and one more header.
pub(crate) fn status(code: u16, header: &str) -> Answer {
    Answer::Whole(format!("HTTP/1.1 {code} Told\r\ncontent-length: 0\r\n{header}\r\n\r\n").into_bytes())
}

impl Site {
    /// Answers each path, whose port it is told, as `answer` says.
    pub(crate) async fn start<F>(answer: impl Fn(String, u16) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let (chain, key, authority_pem) = certificates();
        let authority = NamedTempFile::new().unwrap();
        std::fs::write(authority.path(), authority_pem).unwrap();
        let acceptor = RustlsAcceptor::new(RustlsConfig::from_pem(chain.into(), key.into()).await.unwrap());
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, bodies) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (log, answer, tracker) = ((Arc::clone(&asked), Arc::clone(&bodies)), Arc::new(answer), TaskTracker::new());
        let connections = tracker.clone();
        tracker.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, log, answer) = (acceptor.clone(), log.clone(), Arc::clone(&answer));
                connections.spawn(async move {
                    // A client that distrusts the certificate hangs up.
                    let Ok((mut socket, _)) = acceptor.accept(socket, ()).await else { return };
                    let Some(head) = head(&mut socket).await else { return };
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let mut body = vec![0; length(&head)];
                    let Ok(_) = socket.read_exact(&mut body).await else { return };
                    log.0.lock().unwrap().push(head);
                    log.1.lock().unwrap().push(body);
                    let (bytes, unfinished) = match answer(path, port).await {
                        Answer::Whole(bytes) => (bytes, false),
                        Answer::Unfinished(bytes) => (bytes, true),
                    };
                    // A client that has seen enough hangs up.
                    let _ = socket.write_all(&bytes).await;
                    let _ = socket.flush().await;
                    if unfinished {
                        std::future::pending::<()>().await;
                    }
                    let _ = socket.shutdown().await;
                });
            }
        });
        Self { port, authority, asked, bodies }
    }

    /// Settings by which this server is reached.
    pub(crate) fn settings(&self) -> config::Fetch {
        config::Fetch {
            allow_networks: vec!["127.0.0.0/8".into()],
            extra_ca: self.authority.path().to_str().unwrap().to_owned(),
            ..config::Fetch::default()
        }
    }

    /// A fetcher that reaches this server.
    pub(crate) fn fetcher(&self) -> Fetcher {
        Fetcher::new(&self.settings(), 25 * 1024 * 1024).unwrap()
    }

    /// Where `path` is.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// The heads of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The bodies of all requests so far.
    pub(crate) fn bodies(&self) -> Vec<Vec<u8>> {
        self.bodies.lock().unwrap().clone()
    }
}

async fn head(socket: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// How long the body of a request is.
fn length(head: &str) -> usize {
    let line = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    line.map_or(0, |length| length.parse().unwrap())
}

/// Chain, key, and the authority that signed.
fn certificates() -> (String, String, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let names = ["localhost", "127.0.0.1"].into_iter().chain(NAMES).map(String::from);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names.collect::<Vec<_>>()).unwrap().signed_by(&key, &authority).unwrap();
    (certificate.pem(), key.serialize_pem(), authority.pem())
}

/// A port of this machine that takes connections, and says whether one came.
pub(crate) struct Trap(TcpListener);

impl Trap {
    pub(crate) async fn set() -> Self {
        Self(TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap())
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Whether anybody has connected.
    pub(crate) fn caught(self) -> bool {
        let listener = self.0.into_std().unwrap();
        listener.accept().is_ok()
    }
}
