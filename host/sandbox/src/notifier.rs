//! A plugin bound to a destination. One `send` is one attempt.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postrider_core::split::split;
use postrider_core::{Destination, Fault, Notification, Outcome};
use rustls::ClientConfig;
use tokio::runtime::Handle;

use crate::binding::Binding;
use crate::bindings::exports::postrider::notifier::handler;
use crate::call::Ended;
pub use crate::call::Usage;
use crate::client::{Client, Network};
use crate::convert::{Piece, to_outcome};
use crate::outgoing::Trace;
use crate::plugin::Plugin;
use crate::proxy::Proxy;
use crate::sandbox::{GRACE, Inner};
use crate::secrets::Secrets;
use crate::shelf::Shelf;
use crate::workers::Task;

/// Why a destination cannot use a plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// `configure` answered false.
    #[error("the plugin says that this config disables the destination")]
    Disabled,
    /// `configure` says what is wrong.
    #[error("{0}")]
    Refused(String),
    /// `configure` came to no answer.
    #[error("{reason}")]
    Fault { fault: Fault, reason: String },
    /// A setting of the destination cannot be used; the text names its key.
    #[error("{0}")]
    Settings(String),
}

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub outcome: Outcome,
    /// Parts that the receiver has by now; the next attempt goes on behind them.
    pub parts_done: u32,
    /// Parts of the notification; 1 where it was not split.
    pub parts: u32,
    /// Of all parts sent in this attempt: times added up, memory of the largest.
    pub usage: Usage,
}

/// A destination ready to send. Cheap to clone; it keeps its version of the plugin.
#[derive(Clone)]
pub struct Notifier(Arc<Bound>);

struct Bound {
    plugin: Arc<Plugin>,
    binding: Arc<Binding>,
    /// One for each worker thread.
    clients: Vec<Client>,
    /// Instances that wait for their next delivery, where the destination wants that.
    shelf: Option<Arc<Shelf>>,
}

/// A destination's own TLS and proxy.
pub(crate) struct Wires {
    tls: ClientConfig,
    proxy: Option<Arc<Proxy>>,
}

impl Wires {
    /// An error names the key that is wrong.
    pub(crate) fn of(
        sandbox: &Inner,
        destination: &Destination,
        secrets: &Secrets,
    ) -> Result<Self, String> {
        let tls = sandbox.tls.of_destination(secrets)?;
        Ok(Self { tls, proxy: Proxy::of(destination, secrets)?.map(Arc::new) })
    }

    /// A client for each worker thread, whose connections stay there.
    pub(crate) fn clients(
        &self,
        sandbox: &Inner,
        binding: &Binding,
        destination: &Destination,
    ) -> Vec<Client> {
        let runtimes = sandbox.workers.runtimes();
        runtimes.map(|runtime| self.client(binding, destination, runtime)).collect()
    }

    /// A client whose connections live on this runtime.
    pub(crate) fn client(
        &self,
        binding: &Binding,
        destination: &Destination,
        runtime: &Handle,
    ) -> Client {
        let idle = usize::try_from(destination.policy.concurrency).unwrap_or(usize::MAX);
        let (guard, proxy) = (binding.guard.clone(), self.proxy.clone());
        Client::Network(Arc::new(Network::new(guard, &self.tls, proxy, idle, runtime)))
    }
}

impl Notifier {
    pub(crate) fn new(
        plugin: Arc<Plugin>,
        binding: Arc<Binding>,
        destination: &Destination,
        clients: Vec<Client>,
    ) -> Self {
        let workers = clients.len();
        let places = plugin.sandbox.waiting.clone();
        let shelf = destination.reuse.map(|rules| Shelf::new(rules, places, workers));
        Self(Arc::new(Bound { plugin, binding, clients, shelf }))
    }

    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.0.plugin
    }

    /// Sends a notification, part by part where it is larger than the plugin takes, from part `parts_done` on. Each
    /// part gets a fresh instance, or a waiting one, and the destination's whole `timeout`. Dropping the future ends the instance.
    pub async fn send(&self, notification: &Notification, attempt: u32, parts_done: u32) -> Sent {
        let contents = self.parts(notification);
        let parts = u32::try_from(contents.len()).unwrap_or(u32::MAX);
        // The plugin may have changed its mind since the last attempt; its last part is then sent again.
        let from = parts_done.min(parts.saturating_sub(1));
        let mut sent = Sent {
            outcome: Outcome::Fault { fault: Fault::Host, reason: "nothing to send".to_owned() },
            parts_done: from,
            parts,
            usage: Usage::default(),
        };
        for (index, content) in
            (from..parts).zip(contents.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)))
        {
            let part = (parts > 1).then_some((index, parts));
            let (outcome, usage) =
                self.send_piece(&Piece { notification, content, attempt, part }).await;
            sent.usage = sent.usage.and(usage);
            let delivered = matches!(outcome, Outcome::Delivered(_));
            sent.outcome = outcome;
            if !delivered {
                break;
            }
            sent.parts_done = index + 1;
        }
        sent
    }

    /// Starts an attempt on a thread that guests run on, where its [`Notifier::send`] stays. It must not block.
    pub fn start(&self, attempt: Task) {
        self.0.plugin.sandbox.workers.start(attempt);
    }

    /// The longest that a `send` can take while its thread works; none where the notification may be split.
    pub fn patience(&self, notification: &Notification) -> Option<Duration> {
        let whole = notification.content.len() as u64;
        let fits = self.0.plugin.description.max_content.is_none_or(|max| whole <= max.into());
        fits.then(|| self.0.binding.timeout * 2 + GRACE)
    }

    fn parts(&self, notification: &Notification) -> Vec<Bytes> {
        match self.0.plugin.description.max_content.and_then(|max| usize::try_from(max).ok()) {
            Some(max) => split(&notification.content, &notification.content_type, max),
            None => vec![notification.content.clone()],
        }
    }

    async fn send_piece(&self, piece: &Piece<'_>) -> (Outcome, Usage) {
        let sandbox = &self.0.plugin.sandbox;
        let time = self.0.binding.timeout;
        let (answer, usage) = match sandbox.workers.here() {
            Some(worker) => sandbox.run_here(time, || self.0.send(worker, piece)).await,
            None => {
                let (bound, piece) = (self.0.clone(), piece.to_owned());
                let send = async move |worker| bound.send(worker, &piece.piece()).await;
                sandbox.run(time, send).await
            }
        };
        let outcome = match answer {
            Ok(answer) => {
                let longest = usize::try_from(self.0.binding.limits.result).unwrap_or(usize::MAX);
                to_outcome(answer, &self.0.binding.redactor, longest)
            }
            Err(abrupt) => Outcome::Fault { fault: abrupt.fault, reason: abrupt.reason },
        };
        (outcome, usage)
    }
}

impl Bound {
    /// On the thread of this worker, which it is called on.
    async fn send(
        &self,
        worker: usize,
        piece: &Piece<'_>,
    ) -> Ended<Result<handler::Receipt, handler::Failure>> {
        let trace = Trace::of(piece.notification.trace.as_ref());
        let client = self.clients.get(worker).cloned();
        let (sandbox, time) = (&self.plugin.sandbox, self.binding.timeout);
        let call = sandbox.call(&self.plugin.pre, &self.binding, client, time);
        call.send(piece, trace, self.shelf.as_ref(), worker).await
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier")
            .field("destination", &self.0.binding.destination)
            .finish_non_exhaustive()
    }
}

impl Usage {
    fn and(self, other: Self) -> Self {
        Self {
            elapsed: self.elapsed + other.elapsed,
            computed: self.computed + other.computed,
            waited: self.waited + other.waited,
            memory: self.memory.max(other.memory),
            lines_dropped: self.lines_dropped + other.lines_dropped,
            status: other.status.or(self.status),
        }
    }
}
