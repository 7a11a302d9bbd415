//! A TCP proxy on loopback that fails as networks do.
#![expect(clippy::unwrap_used, reason = "for tests only: a proxy that cannot go on ends its test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to one target, until it is told otherwise.
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    connections: Arc<AtomicU64>,
}

/// What befalls connections, which are numbered as they come.
#[derive(Clone, Copy, Default)]
struct State {
    /// Nothing passes on any connection.
    stalled: bool,
    /// Connections below this number have ended.
    cut: u64,
    /// Nothing passes any more on connections below this number, and nobody tells their ends.
    forgotten: u64,
}

impl Proxy {
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, seen) = watch::channel(State::default());
        let connections = Arc::new(AtomicU64::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(pass(stream, target, number, seen.clone()));
            }
        });
        Self { address, state, connections }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Ends every connection. New ones pass.
    pub fn cut(&self) {
        let before = self.connections.load(Ordering::SeqCst);
        self.state.send_modify(|state| state.cut = before);
    }

    /// Lets nothing pass, on new connections neither, until [`Proxy::flow`].
    pub fn stall(&self) {
        self.state.send_modify(|state| state.stalled = true);
    }

    /// Lets all that stood still go on.
    pub fn flow(&self) {
        self.state.send_modify(|state| state.stalled = false);
    }

    /// Lets nothing pass any more on the connections that are open, and tells neither end, as a router does that lost
    /// its memory. New ones pass.
    pub fn forget(&self) {
        let before = self.connections.load(Ordering::SeqCst);
        self.state.send_modify(|state| state.forgotten = before);
    }
}

async fn pass(client: TcpStream, target: u16, number: u64, seen: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        pump(from_client, to_server, number, seen.clone()),
        pump(from_server, to_client, number, seen),
    );
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    mut seen: watch::Receiver<State>,
) {
    let mut cut = seen.clone();
    let passing = async {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = from.read(&mut bytes).await.unwrap_or(0);
            let flows = |state: &State| !state.stalled && number >= state.forgotten;
            if seen.wait_for(flows).await.is_err() || read == 0 {
                return;
            }
            let read = bytes.get(..read).unwrap_or_default();
            if to.write_all(read).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = passing => {}
        // Also when the proxy is gone.
        _cut = cut.wait_for(|state| number < state.cut) => {}
    }
}
