//! A server that answers from a script, and credentials that differ each time they are asked for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use aws_credential_types::provider::{ProvideCredentials, future};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Takes one request per answer of its script, and keeps what it read.
pub(super) struct Server {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    pub(super) client_left: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    pub(super) async fn answering(script: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let client_left = Arc::<Notify>::default();
        let (seen, left) = (Arc::clone(&requests), Arc::clone(&client_left));
        let task = TaskTracker::new().spawn(async move {
            for answer in script {
                let (mut socket, _) = listener.accept().await.unwrap();
                let request = read_request(&mut socket).await;
                seen.lock().unwrap().push(request);
                socket.write_all(&answer).await.unwrap();
                if !answer.is_empty() && !answer.windows(6).any(|w| w == b"close\r") {
                    // Waits for the client to go away.
                    let _ = socket.read(&mut [0]).await;
                    left.notify_one();
                }
            }
        });
        Self { url, requests, client_left, _task: AbortOnDropHandle::new(task) }
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0, "the request broke off");
    }
}

pub(super) fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.split_once(": ").filter(|(found, _)| *found == name).map(|(_, value)| value))
}

pub(super) fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Other keys each time it is asked.
#[derive(Debug, Default)]
pub(super) struct Provider(AtomicU32);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let id = format!("AKID{}", self.0.fetch_add(1, Ordering::SeqCst) + 1);
        let credentials = aws_credential_types::Credentials::new(id, "secret", Some("token".into()), None, "test");
        future::ProvideCredentials::ready(Ok(credentials))
    }
}
