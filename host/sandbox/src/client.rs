//! The HTTP client of one destination on one worker thread: keep-alive HTTP/1.1 on connections of its own, since a
//! connection opened under a wide grant must not serve a narrow one. Follows no redirect, and no proxy but the
//! destination's own.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::rt::TokioTimer;
use rustls::ClientConfig;
use rustls::client::Resumption;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tower_service::Service;

use crate::dialer::{DialError, Dialer};
use crate::guard::Guard;
use crate::offline::{NoAnswer, Receiver};
use crate::proxy::Proxy;
use crate::refusal::Refusal;
use crate::workers::Running;

/// How long a connection may take with its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept; receivers commonly close theirs after a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Most headers of an answer.
const MAX_HEADERS: usize = 100;
/// Largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// TLS sessions remembered for one destination, so that its reconnects are cheap and nobody else's are linked.
const TLS_SESSIONS: usize = 32;

/// A destination's way to its receivers. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Client {
    Network(Arc<Network>),
    /// A receiver in this process.
    Offline(Arc<dyn Receiver>),
}

/// The pool of connections.
pub(crate) struct Network {
    pool: Pool<InTime<HttpsConnector<Dialer>>, Full<Bytes>>,
    /// For the proxy, with each request that it sees.
    authorization: Option<HeaderValue>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    /// Sends a request and reads its whole answer, of at most `limit` bytes. The caller bounds the time, by `deadline`.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        limit: u64,
        deadline: Instant,
    ) -> Result<Answer, Refusal> {
        match self {
            Self::Network(network) => network.send(request, limit).await,
            Self::Offline(receiver) => ask(receiver.as_ref(), request, limit, deadline).await,
        }
    }
}

impl Network {
    /// `idle`: connections kept to one origin, as many as deliveries may be in flight. All of them live on `runtime`,
    /// wherever the request is made that opens one.
    pub(crate) fn new(
        guard: Arc<Guard>,
        tls: &ClientConfig,
        proxy: Option<Arc<Proxy>>,
        idle: usize,
        runtime: &Handle,
    ) -> Self {
        let mut tls = tls.clone();
        let authorization = proxy.as_ref().and_then(|proxy| proxy.authorization.clone());
        tls.resumption = Resumption::in_memory_sessions(TLS_SESSIONS);
        let connector = HttpsConnector::from((Dialer::new(guard, proxy), tls));
        let connector = InTime { connector, runtime: runtime.clone() };
        let pool = Pool::builder(On(runtime.clone()))
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(idle)
            .http1_max_headers(MAX_HEADERS)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector);
        Self { pool, authorization }
    }

    async fn send(&self, mut request: Request<Full<Bytes>>, limit: u64) -> Result<Answer, Refusal> {
        if let Some(authorization) = &self.authorization
            && request.uri().scheme_str() == Some("http")
        {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        let answer = self.pool.request(request).await.map_err(|error| refusal(&error))?;
        let (head, body) = answer.into_parts();
        let body = read(Response::new(body), limit).await?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}

async fn ask(
    receiver: &dyn Receiver,
    request: Request<Full<Bytes>>,
    limit: u64,
    deadline: Instant,
) -> Result<Answer, Refusal> {
    let (head, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let answer = receiver.answer(Request::from_parts(head, body), left).await;
    let (head, body) = answer.map_err(Refusal::from)?.into_parts();
    if body.len() as u64 > limit {
        return Err(Refusal::TooLarge);
    }
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

impl From<NoAnswer> for Refusal {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::Connect(text) => Self::Connect(text),
            NoAnswer::Timeout => Self::Timeout,
            NoAnswer::Broken(text) => Self::Other(text),
        }
    }
}

async fn read(answer: Response<Incoming>, limit: u64) -> Result<Bytes, Refusal> {
    let mut body = answer.into_body();
    if body.size_hint().lower() > limit {
        return Err(Refusal::TooLarge);
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::Other(chain(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if (read.len() as u64).saturating_add(data.len() as u64) > limit {
            return Err(Refusal::TooLarge);
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

fn refusal(error: &PoolError) -> Refusal {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(DialError::Denied(why)) = cause.downcast_ref() {
            return Refusal::Denied(why.clone());
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && hyper.is_parse_too_large()
        {
            return Refusal::TooLarge;
        }
        source = cause.source();
    }
    match error.is_connect() {
        true => Refusal::Connect(chain(error)),
        false => Refusal::Other(chain(error)),
    }
}

/// The causes of an error from the most telling on, in one line. The outermost only say whose error it is.
fn chain(error: &dyn std::error::Error) -> String {
    let mut causes = Vec::new();
    let mut source = Some(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !causes.contains(&text) {
            causes.push(text);
        }
        source = cause.source();
    }
    let telling = if causes.len() > 1 { causes.get(1..) } else { None };
    telling.unwrap_or(&causes).join(": ")
}

/// Starts what a connection needs on the runtime where it lives.
#[derive(Clone)]
struct On(Handle);

impl<F> Executor<F> for On
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// Connects on the runtime where the connection is to live, and bounds the time of that with its handshake.
#[derive(Clone)]
struct InTime<C> {
    connector: C,
    runtime: Handle,
}

#[derive(Debug)]
struct HandshakeTimeout;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<C, U> Service<U> for InTime<C>
where
    C: Service<U, Error = BoxError>,
    C::Response: Send + 'static,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, target: U) -> Self::Future {
        let connecting = self.connector.call(target);
        let runtime = self.runtime.clone();
        Box::pin(async move {
            let connecting = async { tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await };
            match Running::new(runtime.spawn(connecting)).end().await? {
                Ok(connected) => connected,
                Err(_elapsed) => Err(HandshakeTimeout.into()),
            }
        })
    }
}

impl fmt::Display for HandshakeTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no TLS handshake in time")
    }
}

impl std::error::Error for HandshakeTimeout {}
