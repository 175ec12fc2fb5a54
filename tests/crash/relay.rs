//! What stands between a gateway and its database, and can be cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A relay to a server; while it is cut, connections are closed and none is made.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    line: Arc<Line>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Line {
    is_cut: AtomicBool,
    cut: Notify,
}

impl Relay {
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (line, stop, tracker) = (Arc::new(Line::default()), CancellationToken::new(), TaskTracker::new());
        let serve = {
            let (line, tracker) = (Arc::clone(&line), tracker.clone());
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (line, server) = (Arc::clone(&line), server.clone());
                    tracker.spawn(async move { line.carry(client, &server).await });
                }
            }
        };
        tracker.spawn(stop.clone().run_until_cancelled_owned(serve));
        Self { address, line, stop }
    }

    pub(crate) fn cut(&self) {
        self.line.is_cut.store(true, Ordering::SeqCst);
        self.line.cut.notify_waiters();
    }

    pub(crate) fn mend(&self) {
        self.line.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Line {
    async fn carry(&self, mut client: TcpStream, server: &str) {
        let cut = self.cut.notified();
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        let carried = async {
            let mut server = TcpStream::connect(server).await?;
            copy_bidirectional(&mut client, &mut server).await
        };
        tokio::select! {
            _ = carried => {}
            () = cut => {}
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
