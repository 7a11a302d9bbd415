//! The one door for a guest's requests: counts them, keeps the deadline, expands placeholders, asks the guard, and
//! only then sends. `http.send` and `wasi:http` both end here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;
use postrider_core::TraceContext;
use tokio::time::{Instant, timeout_at};

use crate::binding::Binding;
use crate::client::{Answer, Client};
use crate::placeholders::Tokens;
use crate::refusal::Refusal;
use crate::text::one_line;

/// Most headers of a request.
const MAX_HEADERS: usize = 100;
/// Longest URL, in bytes, after expansion.
const MAX_URL: usize = 8 << 10;
/// Longest error text that a guest gets, in characters.
const MAX_ERROR: usize = 500;
/// Who we say we are where the guest does not; some receivers refuse requests without.
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("postrider/", env!("CARGO_PKG_VERSION")));
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What one instance may still send.
pub(crate) struct Outgoing {
    binding: Arc<Binding>,
    tokens: Arc<Tokens>,
    client: Option<Client>,
    deadline: Instant,
    trace: Trace,
    open: bool,
    sent: u32,
    traffic: Arc<Traffic>,
}

/// What all requests of a delivery share.
struct Traffic {
    /// The bytes that they may still move.
    left: AtomicU64,
    /// The status of the last answer; zero before the first.
    status: AtomicU16,
}

/// The right to send one request, counted when it was given.
pub(crate) struct Ticket {
    binding: Arc<Binding>,
    tokens: Arc<Tokens>,
    client: Client,
    deadline: Instant,
    trace: Trace,
    traffic: Arc<Traffic>,
}

/// The notification's trace as headers.
#[derive(Clone, Default)]
pub(crate) struct Trace {
    parent: Option<HeaderValue>,
    state: Option<HeaderValue>,
}

impl Trace {
    pub(crate) fn of(trace: Option<&TraceContext>) -> Self {
        let value = |text: &str| HeaderValue::from_str(text).ok();
        Self {
            parent: trace.and_then(|trace| value(trace.parent())),
            state: trace.and_then(|trace| value(trace.state()?)),
        }
    }

    /// Says it where the guest does not say another.
    fn add_to(&self, headers: &mut HeaderMap) {
        let (Some(parent), false) = (&self.parent, headers.contains_key(TRACEPARENT)) else {
            return;
        };
        headers.insert(TRACEPARENT, parent.clone());
        match &self.state {
            Some(state) => headers.insert(TRACESTATE, state.clone()),
            // It would be another trace's.
            None => headers.remove(TRACESTATE),
        };
    }
}

impl Traffic {
    fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(limit), status: AtomicU16::new(0) })
    }

    fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes what moved; false where it was more than was left.
    fn take(&self, bytes: u64) -> bool {
        let taken = |left: u64| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

/// A request as the guest words it.
pub(crate) struct Draft {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) headers: Vec<(HeaderName, Bytes)>,
    pub(crate) body: Bytes,
}

impl Outgoing {
    /// Closed at first: `configure` runs without http.
    pub(crate) fn new(binding: Arc<Binding>, tokens: Tokens, client: Option<Client>) -> Self {
        let deadline = Instant::now() + http_time(binding.timeout);
        let traffic = Traffic::new(binding.limits.traffic);
        let (tokens, trace) = (Arc::new(tokens), Trace::default());
        Self { binding, tokens, client, deadline, trace, open: false, sent: 0, traffic }
    }

    /// The budgets and the time of another delivery. The tokens stay, since the guest has them in its memory.
    pub(crate) fn renew(&mut self) {
        self.deadline = Instant::now() + http_time(self.binding.timeout);
        self.open = false;
        self.sent = 0;
        self.traffic = Traffic::new(self.binding.limits.traffic);
    }

    /// The status of the delivery's last answer, if there was one.
    pub(crate) fn status(&self) -> Option<u16> {
        Some(self.traffic.status.load(Ordering::Relaxed)).filter(|status| *status > 0)
    }

    /// Lets requests out from now on, within a trace.
    pub(crate) fn open(&mut self, trace: Trace) {
        self.trace = trace;
        self.open = true;
    }

    /// Counts one more request.
    pub(crate) fn ticket(&mut self) -> Result<Ticket, Refusal> {
        let (true, Some(client)) = (self.open, &self.client) else {
            return Err(Refusal::Denied(
                "http is available in send only, not in configure or describe".to_owned(),
            ));
        };
        let limit = self.binding.limits.requests;
        if self.sent >= limit {
            let why = format!(
                "the {limit} requests of a delivery are used up; for more, set under [limits]: requests = {}",
                limit.saturating_mul(2).max(1)
            );
            // Once: what follows is as denied, and would flood the log.
            if self.sent == limit {
                self.sent = limit.saturating_add(1);
                warn_denied(&self.binding, &why);
            }
            return Err(Refusal::Denied(why));
        }
        self.sent += 1;
        Ok(Ticket {
            binding: self.binding.clone(),
            tokens: self.tokens.clone(),
            client: client.clone(),
            deadline: self.deadline,
            trace: self.trace.clone(),
            traffic: self.traffic.clone(),
        })
    }
}

/// The time for requests within an attempt's time, so that a guest can still say that its receiver hangs.
fn http_time(timeout: Duration) -> Duration {
    timeout - (timeout / 10).min(Duration::from_secs(1))
}

impl Ticket {
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) fn request_limit(&self) -> u64 {
        self.binding.limits.request_body
    }

    /// Sends a request and reads its whole answer.
    pub(crate) async fn exchange(self, draft: Draft) -> Result<Answer, Refusal> {
        let request = self.checked(draft).map_err(|refusal| self.tell(refusal))?;
        let limit = self.binding.limits.response_body.min(self.traffic.left());
        match timeout_at(self.deadline, self.client.send(request, limit, self.deadline)).await {
            Ok(Ok(answer)) => {
                self.traffic.status.store(answer.status, Ordering::Relaxed);
                // Of requests at the same time the last may find nothing left; its answer is here all the same.
                let _fits = self.traffic.take(answer.body.len() as u64);
                Ok(answer)
            }
            Ok(Err(refusal)) => Err(self.tell(refusal)),
            Err(_elapsed) => Err(Refusal::Timeout),
        }
    }

    /// The request after the guest: expanded and checked. The URL goes first, because it decides whether the
    /// values of secrets may go out at all.
    fn checked(&self, draft: Draft) -> Result<Request<Full<Bytes>>, Refusal> {
        let too_large = |what: &str, limit: u64, key: &str| {
            Refusal::Invalid(format!("{what} is larger than {limit} bytes{key}"))
        };
        let url = self.expand(Bytes::from(draft.url));
        if url.len() > MAX_URL {
            return Err(too_large("url", MAX_URL as u64, ""));
        }
        let url = Uri::from_maybe_shared(url)
            .map_err(|error| Refusal::Invalid(format!("url: {error}")))?;
        self.binding.guard.check_url(&url)?;

        let body = self.expand(draft.body);
        let limit = self.binding.limits.request_body;
        if body.len() as u64 > limit {
            return Err(too_large("body", limit, "; for more, set under [limits]: request_body"));
        }
        let headers = self.headers(draft.headers)?;
        if !self.traffic.take(body.len() as u64) {
            return Err(Refusal::Denied(format!(
                "the {} bytes of all requests and answers of a delivery are used up; for more, set under [limits]: traffic",
                self.binding.limits.traffic
            )));
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = draft.method;
        *request.uri_mut() = url;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn headers(&self, given: Vec<(HeaderName, Bytes)>) -> Result<HeaderMap, Refusal> {
        if given.len() > MAX_HEADERS {
            return Err(Refusal::Invalid(format!("more than {MAX_HEADERS} headers")));
        }
        let mut headers = HeaderMap::with_capacity(given.len() + 4);
        let mut bytes = 0;
        for (name, value) in given {
            let value = self.expand(value);
            bytes += name.as_str().len() + value.len();
            let limit = self.binding.limits.headers;
            if bytes as u64 > limit {
                return Err(Refusal::Invalid(format!(
                    "headers are larger than {limit} bytes; for more, set under [limits]: headers"
                )));
            }
            if is_ours(&name) {
                return Err(Refusal::Invalid(format!("header \"{name}\" is the host's own")));
            }
            let value = HeaderValue::from_maybe_shared(value).map_err(|_bad| {
                Refusal::Invalid(format!("header \"{name}\" has a value that cannot be sent"))
            })?;
            headers.append(name, value);
        }
        if !headers.contains_key(header::USER_AGENT) {
            headers.insert(header::USER_AGENT, USER_AGENT);
        }
        self.trace.add_to(&mut headers);
        Ok(headers)
    }

    fn expand(&self, text: Bytes) -> Bytes {
        match self.tokens.expand(&text, &self.binding.secrets) {
            Some(expanded) => expanded.into(),
            None => text,
        }
    }

    /// Readies a refusal for the guest, which sees no secret's value in it, and tells the operator of a denied one.
    fn tell(&self, refusal: Refusal) -> Refusal {
        let clean = |text: String| one_line(&self.binding.redactor.redact(&text), MAX_ERROR);
        match refusal {
            Refusal::Denied(text) => {
                let text = clean(text);
                warn_denied(&self.binding, &text);
                Refusal::Denied(text)
            }
            Refusal::Invalid(text) => Refusal::Invalid(clean(text)),
            Refusal::Connect(text) => Refusal::Connect(clean(text)),
            Refusal::Other(text) => Refusal::Other(clean(text)),
            Refusal::Timeout | Refusal::TooLarge => refusal,
        }
    }
}

fn warn_denied(binding: &Binding, why: &str) {
    tracing::warn!(destination.name = %binding.destination, "request denied: {why}");
}

/// The headers that frame a message or belong to a connection: with them a guest could smuggle a second request.
fn is_ours(name: &HeaderName) -> bool {
    const OURS: [HeaderName; 8] = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
    ];
    OURS.contains(name)
        || name.as_str().starts_with("proxy-")
        || matches!(name.as_str(), "keep-alive" | "http2-settings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_keeps_time_to_say_that_its_receiver_hangs() {
        assert_eq!(http_time(Duration::from_secs(30)), Duration::from_secs(29));
        assert_eq!(http_time(Duration::from_secs(1)), Duration::from_millis(900));
    }

    #[test]
    fn a_trace_is_said_unless_the_guest_says_another() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let with = Trace::of(TraceContext::parse(parent, Some("a=1")).as_ref());
        let without = Trace::of(TraceContext::parse(parent, None).as_ref());
        let said = |trace: &Trace, given: &[(HeaderName, &'static str)]| {
            let pairs = given.iter().cloned();
            let mut headers: HeaderMap =
                pairs.map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
            trace.add_to(&mut headers);
            let text = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            (text(TRACEPARENT), text(TRACESTATE))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(said(&with, &[]), (some(parent), some("a=1")));
        assert_eq!(said(&with, &[(TRACEPARENT, "own")]), (some("own"), None));
        assert_eq!(said(&without, &[(TRACESTATE, "stray=1")]), (some(parent), None));
        assert_eq!(said(&Trace::default(), &[(TRACESTATE, "own=1")]), (None, some("own=1")));
    }

    #[test]
    fn framing_headers_are_ours() {
        for name in
            ["host", "content-length", "connection", "proxy-authorization", "keep-alive", "te"]
        {
            assert!(is_ours(&HeaderName::from_static(name)), "{name}");
        }
        assert!(!is_ours(&header::AUTHORIZATION));
    }
}
