//! Notifications of postrider's own, through its own destinations: `postrider.delivery.dead`,
//! `postrider.destination.open`, `postrider.plugin.rejected` and `postrider.plugin.rolled_back`.
//!
//! They go only where a `match` begins with `postrider.`; where none does, nothing is stored. Of one kind and subject the
//! first is told at once and what follows within a minute together.
//!
//! *Invariant:* what becomes of a notice is never told by a notice, so they cannot feed themselves.

mod desk;

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use postrider_core::settle::Settlement;
use postrider_core::{DeliveryId, Draft, NotificationId, Schedule};
use postrider_queue::{Enqueue, Enqueued, Lease, Queue, QueueError, Settle};
use prometheus::IntCounterVec;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use postrider_core::notification::OWN_TYPES;

use super::Signals;
use crate::dispatcher::Waker;
use crate::registry::{Registry, SharedRegistry};
use desk::{Desk, Notice};

/// Events that may wait to be told; of more the rest is counted as dropped.
const WAITING: usize = 1_024;

/// What is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    DeliveryDead,
    DestinationOpen,
    PluginRejected,
    PluginRolledBack,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub kind: Kind,
    /// The destination, the plugin or the file.
    pub subject: String,
    /// One line for people.
    pub message: String,
    /// More of it for machines: members of the content.
    pub detail: Value,
}

/// Whom a settlement is about.
#[derive(Debug)]
pub struct About {
    pub destination: String,
    died: Option<Box<Died>>,
}

/// What a notice says of a delivery that gave up.
#[derive(Debug)]
struct Died {
    delivery: DeliveryId,
    notification: NotificationId,
    kind: String,
    cause: &'static str,
    reason: String,
    fallback: Option<String>,
}

/// What the teller needs.
pub struct Teller {
    pub queue: Arc<dyn Queue>,
    pub registry: Arc<SharedRegistry>,
    pub waker: Waker,
    /// The machine's name.
    pub host: String,
    pub now: fn() -> Timestamp,
    pub new_id: fn() -> Uuid,
}

/// Where events wait.
pub(super) struct Events {
    sender: mpsc::Sender<Event>,
    receiver: Mutex<Option<mpsc::Receiver<Event>>>,
}

impl Kind {
    pub const ALL: [Self; 4] =
        [Self::DeliveryDead, Self::DestinationOpen, Self::PluginRejected, Self::PluginRolledBack];

    /// The notification's type.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeliveryDead => "postrider.delivery.dead",
            Self::DestinationOpen => "postrider.destination.open",
            Self::PluginRejected => "postrider.plugin.rejected",
            Self::PluginRolledBack => "postrider.plugin.rolled_back",
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl About {
    /// Of a notice's own death nothing is kept.
    pub fn of(lease: &Lease, settle: &Settle) -> Self {
        let died = match &settle.settlement {
            Settlement::Dead { cause } if !lease.notification.kind.starts_with(OWN_TYPES) => {
                Some(Box::new(Died {
                    delivery: lease.key.id,
                    notification: lease.notification.id,
                    kind: lease.notification.kind.clone(),
                    cause: cause.name(),
                    reason: settle.reason.clone(),
                    fallback: settle.handover.as_ref().map(|to| to.taker.destination.clone()),
                }))
            }
            Settlement::Dead { .. }
            | Settlement::Delivered
            | Settlement::Retry { .. }
            | Settlement::Released => None,
        };
        Self { destination: lease.destination.clone(), died }
    }

    /// What is to be told, once the settlement is written.
    pub(super) fn event(&self) -> Option<Event> {
        let died = self.died.as_ref()?;
        let Died { delivery, notification, kind, cause, reason, fallback } = &**died;
        let message =
            format!("delivery {delivery} to \"{}\" gave up ({cause}): {reason}", self.destination);
        let detail = json!({
            "delivery": delivery, "notification": notification, "type": kind, "cause": cause,
            "reason": reason, "fallback": fallback,
        });
        Some(Event { kind: Kind::DeliveryDead, subject: self.destination.clone(), message, detail })
    }
}

/// What lies in the plugins directory and is newly not in force.
pub(super) fn rejected(old: &Registry, new: &Registry) -> Vec<Event> {
    let fresh = new.refusals().filter(|new| !old.refusals().any(|old| old == *new));
    let event = |(name, problem): (&str, &str)| {
        let named = problem.contains(&format!("\"{name}\""));
        Event {
            kind: Kind::PluginRejected,
            subject: name.to_owned(),
            // A problem of a file names its line, not the file.
            message: if named { problem.to_owned() } else { format!("{name}: {problem}") },
            detail: json!({"problem": problem}),
        }
    };
    fresh.map(event).collect()
}

impl Signals {
    /// Has an event told; never waits.
    pub fn tell(&self, event: Event) {
        if let Err(refused) = self.0.events.sender.try_send(event) {
            let event = match refused {
                mpsc::error::TrySendError::Full(event)
                | mpsc::error::TrySendError::Closed(event) => event,
            };
            count(&self.0.metrics.notices, event.kind, "dropped", 1);
        }
    }

    /// Tells events until `stop`. The first caller does; to others there is nothing to do.
    pub async fn tell_all(self, teller: Teller, stop: CancellationToken) {
        let receiver = self.0.events.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = receiver else { return };
        let mut desk = Desk::default();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(event) = receiver.recv() => desk.add(event),
                () = sleep_until(desk.next(Instant::now())) => {}
            }
            while let Ok(event) = receiver.try_recv() {
                desk.add(event);
            }
            for notice in desk.due(Instant::now()) {
                let (kind, merged) = (notice.event.kind, notice.count.saturating_sub(1));
                let counted = &self.0.metrics.notices;
                match teller.tell(&notice).await {
                    Ok(0) => count(counted, kind, "unrouted", 1),
                    Ok(_) => {
                        count(counted, kind, "told", 1);
                        count(counted, kind, "merged", merged);
                    }
                    Err(error) => {
                        tracing::debug!(%error, notification.type = kind.name(), "a notice waits for the queue");
                        desk.again(notice);
                    }
                }
            }
        }
    }
}

impl Teller {
    /// Answers the number of deliveries; with none nothing is stored.
    async fn tell(&self, notice: &Notice) -> Result<usize, QueueError> {
        let now = (self.now)();
        let draft = self.draft(notice, now);
        let idempotency_key = draft.idempotency_key.clone();
        let notification = match draft.accept_own(NotificationId((self.new_id)()), now) {
            Ok(notification) => notification,
            Err(error) => {
                tracing::error!(%error, "a notice of postrider's own is malformed");
                return Ok(0);
            }
        };
        let destinations = self.registry.load().route(&notification);
        let count = destinations.len();
        if count == 0 {
            return Ok(0);
        }
        let schedule = Schedule::default();
        let item = Enqueue { notification, idempotency_key, schedule, destinations };
        let answers = self.queue.enqueue(vec![item]).await?;
        if matches!(answers.first(), Some(Enqueued::Stored { .. })) {
            self.waker.wake();
        }
        Ok(count)
    }

    fn draft(&self, notice: &Notice, now: Timestamp) -> Draft {
        let Notice { event, count } = notice;
        let mut content = json!({
            "message": event.message, "subject": event.subject, "count": count, "host": self.host,
        });
        if let (Some(content), Some(detail)) = (content.as_object_mut(), event.detail.as_object()) {
            content.extend(detail.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        let named = match event.kind {
            Kind::DeliveryDead | Kind::DestinationOpen => "destination",
            Kind::PluginRejected | Kind::PluginRolledBack => "plugin",
        };
        let labels = [(named, &event.subject), ("host", &self.host)];
        let labels = labels.map(|(name, value)| (name.to_owned(), fitted(value)));
        Draft {
            kind: event.kind.name().to_owned(),
            source: "postrider".to_owned(),
            subject: Some(fitted(&event.subject)),
            labels: labels.into(),
            content_type: String::new(),
            content: content.to_string().into(),
            idempotency_key: self.key(event, now),
            trace: None,
        }
    }

    /// Of one bad file in the directories of many hosts, one tells in an hour.
    fn key(&self, event: &Event, now: Timestamp) -> Option<String> {
        use sha2::Digest as _;
        match event.kind {
            Kind::DeliveryDead => None,
            Kind::DestinationOpen | Kind::PluginRejected | Kind::PluginRolledBack => {
                let text = format!("{}\n{}", event.subject, event.message);
                let digest: [u8; 32] = sha2::Sha256::digest(text).into();
                let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                Some(format!("{}:{digest}:{}", event.kind.name(), now.as_second() / 3_600))
            }
        }
    }
}

/// A file's name may hold what a field may not.
fn fitted(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

fn count(notices: &IntCounterVec, kind: Kind, result: &str, by: u64) {
    notices.with_label_values(&[kind.name(), result]).inc_by(by);
}

#[cfg(test)]
mod tests;
