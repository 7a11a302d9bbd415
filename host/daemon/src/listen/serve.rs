//! Connections, bounded in number and in time: a slow client costs its socket and no more.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bound::{Bound, Socket};
use super::peer::{Peer, Who};
use crate::api::gate::Gate;

/// Most connections at once; those beyond wait until one ends.
const CONNECTIONS: usize = 4_096;
/// Longest wait for the head of a request, and for the next one on a connection that stays.
const HEAD: Duration = Duration::from_secs(30);
/// Longest wait for a client to agree on encryption.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Wait after a connection could not be taken: the machine has no more files, say.
const TAKE_AGAIN: Duration = Duration::from_millis(200);
/// Longest wait for open connections at the end; nothing unanswered is accepted.
const GRACE: Duration = Duration::from_secs(2);

/// What all listeners share.
#[derive(Clone)]
pub struct Server {
    pub gate: Gate,
    pub tls: Option<TlsAcceptor>,
    /// Whether callers on this machine need a token, too.
    pub require_token: bool,
    pub stop: CancellationToken,
}

impl Server {
    /// Serves until it is told to stop, and then for a short while what is under way.
    pub async fn run(self, bound: Vec<Bound>) -> Result<()> {
        let (room, connections) = (Arc::new(Semaphore::new(CONNECTIONS)), TaskTracker::new());
        let mut listeners = tokio::task::JoinSet::new();
        for bound in bound {
            listeners.spawn(self.clone().listen(bound, room.clone(), connections.clone()));
        }
        while let Some(ended) = listeners.join_next().await {
            ended.context("a listener failed")??;
        }
        connections.close();
        // A client that keeps its connection open must not keep the daemon.
        let _cut = timeout(GRACE, connections.wait()).await.is_err();
        Ok(())
    }

    async fn listen(
        self,
        bound: Bound,
        room: Arc<Semaphore>,
        connections: TaskTracker,
    ) -> Result<()> {
        let own = rustix::process::geteuid().as_raw();
        loop {
            let taken = self.stop.run_until_cancelled(async {
                let permit = room.clone().acquire_owned().await?;
                Ok::<_, anyhow::Error>((self.take(&bound.socket, own).await, permit))
            });
            let Some(taken) = taken.await else { return Ok(()) };
            match taken? {
                (Ok(Taken::Tcp { stream, who, tls: true }), permit) => {
                    connections.spawn(self.clone().encrypted(stream, who, permit));
                }
                (Ok(Taken::Tcp { stream, who, tls: false }), permit) => {
                    let peer = Peer { who, tls: false };
                    connections.spawn(self.clone().converse(stream, peer, permit));
                }
                (Ok(Taken::Unix { stream, who }), permit) => {
                    let peer = Peer { who, tls: false };
                    connections.spawn(self.clone().converse(stream, peer, permit));
                }
                (Err(error), _permit) if is_the_clients(&error) => {}
                (Err(error), _permit) => {
                    tracing::warn!(%error, listener.url = bound.url, "a connection could not be taken");
                    sleep(TAKE_AGAIN).await;
                }
            }
        }
    }

    async fn take(&self, socket: &Socket, own: u32) -> std::io::Result<Taken> {
        match socket {
            Socket::Tcp { listener, address, tls } => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let is_trusted = address.ip().is_loopback() && !self.require_token;
                let who = if is_trusted { Who::Loopback } else { Who::Network };
                Ok(Taken::Tcp { stream, who, tls: *tls })
            }
            Socket::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let who = Who::over_unix(stream.peer_cred()?.uid(), own);
                Ok(Taken::Unix { stream, who })
            }
        }
    }

    async fn encrypted(
        self,
        stream: tokio::net::TcpStream,
        who: Who,
        permit: OwnedSemaphorePermit,
    ) {
        // A listener that encrypts has a certificate.
        let Some(tls) = self.tls.clone() else { return };
        let agreed = self.stop.run_until_cancelled(timeout(HANDSHAKE, tls.accept(stream))).await;
        match agreed {
            Some(Ok(Ok(stream))) => self.converse(stream, Peer { who, tls: true }, permit).await,
            Some(Ok(Err(error))) => tracing::debug!(%error, "a client did not agree on encryption"),
            Some(Err(_)) | None => {}
        }
    }

    /// One connection, to its end. The permit goes with it.
    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        _permit: OwnedSemaphorePermit,
    ) {
        let gate = &self.gate;
        let answer = hyper::service::service_fn(async |request: hyper::Request<Incoming>| {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            Ok::<_, Infallible>(gate.answer(request).await)
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answer));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

/// A client that was gone before it was taken: the next one is no worse for it.
fn is_the_clients(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | InvalidInput | NotConnected)
}

/// A connection that was taken.
enum Taken {
    Tcp { stream: tokio::net::TcpStream, who: Who, tls: bool },
    Unix { stream: tokio::net::UnixStream, who: Who },
}
