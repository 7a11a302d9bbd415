//! Destinations that fail: when this host stops sending to one, and how it tries it again.
//!
//! Failures in a row are counted here, so that a success writes nothing. What they come to is written in the order in
//! which it was decided, by one task; from the decision on this host claims nothing for the destination.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postrider_core::BreakerState;
use postrider_core::breaker::{Sign, Trial, Turn};
use postrider_queue::{Blocked, BreakerTurn, QueueError, Tried, Trip};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Blame, Sent, Shared};
use crate::registry::{Entry, Registry};
use crate::signals::notices::{Event, Kind};

/// First and longest wait between tries while the queue is unavailable.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What this host knows of destinations that fail.
#[derive(Default)]
pub(super) struct Breakers {
    words: Mutex<Option<mpsc::UnboundedSender<Word>>>,
    failing: Mutex<HashMap<String, Failing>>,
}

#[derive(Default)]
struct Failing {
    in_a_row: u32,
    /// Decided, and not yet written.
    shut: bool,
}

/// What is to be written.
enum Word {
    Trip(Trip),
    Turn(BreakerTurn),
}

/// The right to tell what one attempt of a trial came to. Dropped untold, it came to nothing.
pub(super) struct Ticket(Arc<Watch>);

/// A trial under way; decided when its last ticket is gone.
struct Watch {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    number: i64,
    trial: Trial,
    told: Mutex<(Vec<Sign>, String)>,
}

/// Why the fallback takes over what waits for a destination, and after how long.
pub(super) struct Diversion {
    pub(super) after: Duration,
    pub(super) why: String,
    pub(super) gone: bool,
}

impl Breakers {
    /// Starts the task that writes. It ends after [`Breakers::finish`], when everything is written.
    pub(super) fn start(shared: Arc<Shared>) -> JoinHandle<()> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *shared.breakers.words() = Some(sender);
        tokio::spawn(write_all(shared, receiver))
    }

    pub(super) fn finish(&self) {
        drop(self.words().take());
    }

    /// Whether this host has decided to leave the destination alone, and not yet told the others.
    pub(super) fn is_shut(&self, destination: &str) -> bool {
        self.failing().get(destination).is_some_and(|failing| failing.shut)
    }

    /// Notes what an ordinary attempt came to.
    fn note(&self, entry: &Entry, sign: Sign, reason: &str, dice: f64) {
        let Some(policy) = &entry.spec.policy.breaker else { return };
        let name = &entry.spec.name;
        let mut failing = self.failing();
        let (gone, enough) = match sign {
            Sign::Works => {
                if failing.get(name).is_some_and(|failing| !failing.shut) {
                    failing.remove(name);
                }
                return;
            }
            Sign::Waits(_) | Sign::Nothing => return,
            Sign::Fails => (false, policy.failures),
            Sign::Shuts => (false, 1),
            Sign::Gone => (true, 1),
        };
        let one = failing.entry(name.clone()).or_default();
        one.in_a_row = one.in_a_row.saturating_add(1);
        if !gone && (one.shut || one.in_a_row < enough) {
            return;
        }
        one.shut = true;
        drop(failing);
        let (wait, reason) = (policy.delay(0, dice), reason.to_owned());
        self.say(Word::Trip(Trip { destination: name.clone(), gone, reason, wait }));
    }

    fn say(&self, word: Word) {
        let Some(words) = &*self.words() else { return };
        if words.send(word).is_err() {
            tracing::debug!("a breaker's turn came after the end; the next trial decides");
        }
    }

    fn written(&self, destination: &str) {
        self.failing().remove(destination);
    }

    fn words(&self) -> MutexGuard<'_, Option<mpsc::UnboundedSender<Word>>> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failing(&self) -> MutexGuard<'_, HashMap<String, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes what an attempt says of its destination, and with that what it came to. A module on trial speaks for itself
/// only.
pub(super) fn judge(shared: &Shared, entry: &Entry, sent: Sent, ticket: Option<Ticket>) -> Sent {
    if sent.blame == Blame::Spared {
        return sent;
    }
    let policy = &entry.spec.policy;
    let (outcome, shuts) = match &policy.breaker {
        Some(breaker) => breaker.reword(sent.outcome, sent.status),
        None => (sent.outcome, false),
    };
    let sign = if shuts { Sign::Shuts } else { Sign::of(&outcome, policy) };
    match ticket {
        Some(ticket) => ticket.tell(sign, outcome.reason()),
        None => shared.breakers.note(entry, sign, &outcome.reason(), (shared.options.dice)()),
    }
    Sent { outcome, ..sent }
}

/// A ticket for each lease of a trial.
pub(super) fn watch(shared: Arc<Shared>, entry: Arc<Entry>, tried: &Tried) -> Vec<Ticket> {
    let (number, trial) = (tried.number, tried.trial);
    let watch = Arc::new(Watch { shared, entry, number, trial, told: Mutex::default() });
    tried.leases.iter().map(|_| Ticket(watch.clone())).collect()
}

impl Ticket {
    fn tell(self, sign: Sign, reason: String) {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.0.push(sign);
        if matches!(sign, Sign::Fails | Sign::Shuts | Sign::Gone) {
            told.1 = reason;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let told = self.told.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (signs, reason) = std::mem::take(told);
        let policy = &self.entry.spec.policy;
        let turn = self.trial.turn(&signs, policy, (self.shared.options.dice)());
        let destination = self.entry.spec.name.clone();
        let turn = BreakerTurn { destination, number: self.number, turn, reason };
        self.shared.breakers.say(Word::Turn(turn));
    }
}

async fn write_all(shared: Arc<Shared>, mut words: mpsc::UnboundedReceiver<Word>) {
    while let Some(word) = words.recv().await {
        let (mut wait, longest) = TRY_AGAIN;
        while let Err(error) = write(&shared, &word).await {
            tracing::debug!(%error, "a breaker's turn waits for the queue");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(longest);
        }
    }
}

async fn write(shared: &Shared, word: &Word) -> Result<(), QueueError> {
    match word {
        Word::Trip(trip) => {
            if shared.queue.trip(trip).await? {
                let (destination, reason) = (&trip.destination, &trip.reason);
                let state = if trip.gone { BreakerState::Gone } else { BreakerState::Open };
                tracing::warn!(
                    destination.name = destination,
                    breaker.reason = reason,
                    breaker.state = state.name(),
                    "left alone"
                );
                shared.options.signals.tell(opened(destination, reason, state));
            }
            shared.breakers.written(&trip.destination);
        }
        Word::Turn(turn) => {
            if shared.queue.turn(turn).await? {
                say(turn);
            }
            if turn.turn == Turn::Close {
                shared.waker.wake();
            }
        }
    }
    Ok(())
}

/// Of many hosts the one that opened it tells.
fn opened(destination: &str, reason: &str, state: BreakerState) -> Event {
    let state = state.name();
    Event {
        kind: Kind::DestinationOpen,
        subject: destination.to_owned(),
        message: format!("\"{destination}\" is left alone ({state}): {reason}"),
        detail: json!({"state": state, "reason": reason}),
    }
}

fn say(turn: &BreakerTurn) {
    let BreakerTurn { destination, reason, .. } = turn;
    match turn.turn {
        Turn::Close => tracing::info!(destination.name = destination, "works again"),
        Turn::Gone => tracing::warn!(
            destination.name = destination,
            breaker.reason = reason,
            breaker.state = "gone",
            "left alone"
        ),
        Turn::Wait { state, batch, wait, failed } => {
            let state = state.name();
            tracing::info!(destination.name = destination, breaker.reason = reason, breaker.state = state, breaker.batch = batch, breaker.wait = ?wait, breaker.failed = failed, "was tried");
        }
    }
}

/// The destinations whose fallbacks take over what waits for them, with or without an attempt.
pub(super) fn diversions(registry: &Registry, blocked: &[Blocked]) -> HashMap<String, Diversion> {
    let diverted = blocked.iter().filter_map(|blocked| {
        let spec = &registry.destination(&blocked.destination)?.spec;
        Some((blocked.destination.clone(), diversion(spec, blocked)?))
    });
    diverted.collect()
}

fn diversion(spec: &postrider_core::Destination, blocked: &Blocked) -> Option<Diversion> {
    if spec.fallback.is_empty() {
        return None;
    }
    if let Some(breaker) = blocked.breaker.as_ref().filter(|b| b.state == BreakerState::Gone) {
        let why = format!("its destination is gone: {}", breaker.reason);
        return Some(Diversion { after: Duration::ZERO, why, gone: true });
    }
    let after = spec.fallback_after.filter(|after| blocked.age >= *after)?;
    let why = match &blocked.breaker {
        Some(breaker) => {
            format!("fallback_after has passed behind an open breaker: {}", breaker.reason)
        }
        None => "fallback_after has passed while the receiver asked for a pause".to_owned(),
    };
    Some(Diversion { after, why, gone: false })
}
