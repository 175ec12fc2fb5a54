//! A server of files: https on a free port of this machine, with a certificate of its own.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use axum_server::accept::Accept as _;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use bedrock_gateway::config::Config;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// The server. It ends with the test's runtime.
pub(crate) struct Site {
    port: u16,
    authority: NamedTempFile,
}

impl Site {
    /// Serves these files by their paths, and nothing else.
    pub(crate) async fn start(files: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Self {
        let files: HashMap<&str, Vec<u8>> = files.into_iter().collect();
        let (chain, key, authority_pem) = certificates();
        let mut authority = NamedTempFile::new().unwrap();
        authority.write_all(authority_pem.as_bytes()).unwrap();
        let acceptor = RustlsAcceptor::new(RustlsConfig::from_pem(chain.into(), key.into()).await.unwrap());
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TaskTracker::new().spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok((mut socket, _)) = acceptor.accept(socket, ()).await else { continue };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = socket.read_u8().await else { break };
                    head.push(byte);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let file = files.get(head.split(' ').nth(1).unwrap_or_default());
                let (status, body) = file.map_or(("404 Not Found", &[][..]), |body| ("200 OK", body));
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = socket.write_all(&[head.as_bytes(), body].concat()).await;
                let _ = socket.shutdown().await;
            }
        });
        Self { port, authority }
    }

    /// Lets a gateway reach this server.
    pub(crate) fn allow(&self, config: &mut Config) {
        config.fetch.allow_networks = vec!["127.0.0.0/8".into()];
        self.authority.path().to_str().unwrap().clone_into(&mut config.fetch.extra_ca);
    }

    /// Where `path` is.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }
}

/// Chain, key, and the authority that signed.
fn certificates() -> (String, String, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    (certificate.pem(), key.serialize_pem(), authority.pem())
}
