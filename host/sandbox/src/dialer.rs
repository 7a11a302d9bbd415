//! Resolves a name, checks every address, and dials only checked ones: the checked address is the dialled one, so a
//! name that changes its mind in between gains nothing.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower_service::Service;

use crate::guard::{Guard, Host, parse_host, port};
use crate::link::Link;
use crate::proxy::Proxy;

/// How long a TCP connection to one host may take, over all its addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a proxy may take to open a tunnel.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a name may take to resolve. The system's resolver goes on for longer by itself.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Lookups of one destination at once: each holds a thread until the system's resolver gives up.
const LOOKUPS: usize = 8;
/// Addresses of one name that are dialled; the others are a second chance for the next attempt.
const MAX_ADDRESSES: usize = 4;

/// The connector of one destination.
#[derive(Clone)]
pub(crate) struct Dialer {
    guard: Arc<Guard>,
    proxy: Option<Arc<Proxy>>,
    lookups: Arc<Semaphore>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum DialError {
    /// Every address is out of bounds; the text holds the line to add.
    Denied(String),
    NotFound(io::Error),
    Failed(io::Error),
    Timeout,
}

impl Dialer {
    pub(crate) fn new(guard: Arc<Guard>, proxy: Option<Arc<Proxy>>) -> Self {
        Self { guard, proxy, lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }

    async fn dial(self, url: Uri) -> Result<Link, DialError> {
        if let Some(proxy) = &self.proxy {
            return self.dial_proxy(proxy, &url).await;
        }
        let invalid = |what: &'static str| DialError::Failed(io::Error::other(what));
        let port = port(&url).ok_or_else(|| invalid("no port"))?;
        let host = parse_host(url.host().unwrap_or_default()).map_err(invalid)?;
        let stream =
            self.dial_host(&host, port, |address| self.guard.check_address(address)).await?;
        Ok(Link::new(stream, false))
    }

    async fn dial_proxy(&self, proxy: &Proxy, url: &Uri) -> Result<Link, DialError> {
        let check = |address| self.guard.check_proxy(address);
        let mut stream = self.dial_host(&proxy.host, proxy.port, check).await?;
        let is_tunnel = url.scheme_str() == Some("https");
        if is_tunnel {
            let opened = timeout(TUNNEL_TIMEOUT, proxy.tunnel(&mut stream, url)).await;
            opened.map_err(|_elapsed| DialError::Timeout)?.map_err(DialError::Failed)?;
        }
        Ok(Link::new(stream, !is_tunnel))
    }

    async fn dial_host(
        &self,
        host: &Host,
        port: u16,
        check: impl Fn(SocketAddr) -> Result<(), String>,
    ) -> Result<TcpStream, DialError> {
        let found = match host {
            Host::Address(address) => vec![SocketAddr::new(*address, port)],
            Host::Name(name) => self.resolve(name.clone(), port).await?,
        };
        let mut checked = Vec::new();
        let mut denied = None;
        for address in found {
            match check(address) {
                Ok(()) => checked.push(address),
                Err(why) => denied = Some(why),
            }
        }
        match (checked.is_empty(), denied) {
            (true, Some(why)) => Err(DialError::Denied(why)),
            _ => dial_first(&checked).await,
        }
    }

    async fn resolve(&self, name: String, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        let Ok(permit) = timeout(LOOKUP_TIMEOUT, self.lookups.clone().acquire_owned()).await else {
            return Err(DialError::Timeout);
        };
        // A task of its own, so that the permit lasts as long as the thread that is looking, also when nobody waits.
        let lookup = tokio::spawn(async move {
            let _permit = permit;
            tokio::net::lookup_host((name.as_str(), port)).await.map(Iterator::collect)
        });
        match timeout(LOOKUP_TIMEOUT, lookup).await {
            Ok(Ok(found)) => found.map_err(DialError::NotFound),
            Ok(Err(panicked)) => Err(DialError::NotFound(io::Error::other(panicked))),
            Err(_elapsed) => Err(DialError::Timeout),
        }
    }
}

/// Dials in the resolver's order; each address gets its share of the time.
async fn dial_first(addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
    let addresses = addresses.get(..MAX_ADDRESSES).unwrap_or(addresses);
    let share = CONNECT_TIMEOUT / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut last = DialError::NotFound(io::Error::other("the name has no address"));
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(DialError::Failed)?;
                // What a rule of the machine's firewall redirects was not checked.
                if stream.peer_addr().map_err(DialError::Failed)? != *address {
                    return Err(DialError::Failed(io::Error::other(
                        "the connection leads elsewhere",
                    )));
                }
                return Ok(stream);
            }
            Ok(Err(error)) => last = DialError::Failed(error),
            Err(_elapsed) => last = DialError::Timeout,
        }
    }
    Err(last)
}

impl Service<Uri> for Dialer {
    type Response = Link;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        Box::pin(self.clone().dial(url))
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(why) => f.write_str(why),
            Self::NotFound(error) => write!(f, "the name was not found: {error}"),
            Self::Failed(error) => write!(f, "{error}"),
            Self::Timeout => f.write_str("no connection in time"),
        }
    }
}

impl std::error::Error for DialError {}
