//! The loop: fans arrived notifications out, claims what is due, starts attempts.
//!
//! ```text
//!         wake-up (enqueue, reload, freed slot) or the next due time         enqueue with a free slot (door)
//!                                  |
//!   look -> fan out -------> claim per destination -> attempt --outcome--> settler -> settle (fenced, batched)
//!                                  |                  |
//!                                  +-- leases held ---+--> extender: every third of the lease, cancels what is lost
//! ```
//!
//! A look is one small statement that tells whether anything waits for fan-out and when the next delivery is due. It
//! is all that an idle host asks, once a second, however many destinations it has; in a queue that other hosts share
//! it finds their work, too, and comes more often after there was some.
//!
//! Trust window: between a claim and its settlement the host believes that it owns the delivery. It extends the lease
//! every third of it and abandons the attempt as soon as the queue says that the lease is lost. Safety never rests on
//! that: the settlement is fenced by the lease's token.
//!
//! *Invariant:* nothing here sleeps out a backoff. Backoff is the delivery's `due` in the queue, so restarts keep it.
//!
//! *Invariant:* a lease is started at once, or waits for a slot for a moment, which is far shorter than the lease; what
//! waits longer, or for a destination that is left alone, is handed back.
//!
//! *Invariant:* every wait ends at `stop`.

mod ahead;
mod attempt;
mod breakers;
mod door;
mod fair;
mod leases;
mod looks;
mod places;
mod room;
mod settler;
mod slots;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use postrider_core::{HostId, Notification, Outcome};
use postrider_queue::{MAX_BATCH, Queue, QueueError, Route, Slots, Sweep, TrialClaim};
use postrider_sandbox::Task;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::feed::Feed;
use crate::registry::{Entry, Registry, SharedRegistry};
use crate::signals::Signals;
use crate::signals::pulse::Loop;
use breakers::{Breakers, Diversion};
use door::Door;
use leases::Held;
use looks::Agenda;
use room::Room;
use settler::Settler;
use trouble::{Part, Trouble};

/// A round comes within seconds and asks the queue a few times, which gives up after a while by itself.
const ROUND: Duration = Duration::from_secs(60);
/// A claim is planned for this long after a look that saw nothing due; the next look plans anew.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Deliveries of a removed destination are looked for this often.
const ORPHAN_POLL: Duration = Duration::from_secs(60);
/// What came too late is looked for this often.
const SWEEP_POLL: Duration = Duration::from_secs(5);
/// The same while a destination is gone whose fallback takes over what still comes.
const GONE_POLL: Duration = Duration::from_secs(1);
/// A sweep takes at most this share of the time, however slow it is.
const SWEEP_SHARE: u32 = 20;
/// Most deliveries that one sweep ends: it is in nobody's way for long.
const SWEEP_LIMIT: u32 = 200;
/// Claims in one round, where there are more destinations than free slots: each of them asks others.
const CLAIMS: u32 = 4;
/// First and longest wait while the queue is unavailable.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Longest wait at a stop for the round that is under way; leases that its claim still brings will expire.
const LAST_ROUND: Duration = Duration::from_secs(5);
/// Longest wait at a stop, once the attempts have ended, for their settlements to be written.
const LAST_SETTLEMENTS: Duration = Duration::from_secs(10);

/// What runs one attempt: the sandbox, or a stand-in for it in tests.
#[async_trait]
pub trait NotifierCall: Send + Sync {
    /// Sends one notification. Dropping the future ends the attempt.
    async fn send(&self, notification: &Notification, attempt: u32, parts_done: u32) -> Sent;

    /// SHA-256 of the module, in hexadecimal.
    fn module(&self) -> &str;

    /// Starts an attempt where its sends are made, so that it crosses no threads.
    fn start(&self, attempt: Task) {
        tokio::spawn(attempt);
    }

    /// When a send is given up for lost, with whatever runs it. None: never, it keeps its time by itself.
    fn patience(&self, _notification: &Notification) -> Option<Duration> {
        None
    }
}

/// What an attempt came to.
#[derive(Clone, Debug)]
pub struct Sent {
    pub outcome: Outcome,
    /// Parts of a split notification that are delivered now.
    pub parts_done: u32,
    /// The HTTP status of the receiver's last answer, if it gave one.
    pub status: Option<u16>,
    pub blame: Blame,
}

/// Whose fault it was where an attempt did not succeed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blame {
    /// The receiver's, the notification's or the host's; or all went well.
    #[default]
    Elsewhere,
    /// The module's own: it trapped, broke a limit, or computed until its time was over.
    Module,
    /// The module's own while it is on trial: it costs the delivery nothing.
    Spared,
}

impl Sent {
    /// Of an attempt that nothing more is known of.
    pub fn new(outcome: Outcome, parts_done: u32) -> Self {
        Self { outcome, parts_done, status: None, blame: Blame::default() }
    }
}

/// The dispatcher's settings, and what it must not reach for itself: time of day and chance.
#[derive(Clone)]
pub struct Options {
    pub host: HostId,
    pub lease: Duration,
    pub grace: Duration,
    pub orphan_after: Duration,
    /// Most deliveries under way at once, over all destinations.
    pub max_concurrency: u32,
    /// Of a destination so much is leased ahead of its free slots as ends within this time, by the pace of the last
    /// moment; far shorter than `lease`. Zero: nothing.
    pub ahead: Duration,
    /// Hears of everything that happens.
    pub signals: Signals,
    /// The time of day, for the attempts' start only.
    pub now: fn() -> Timestamp,
    /// A number in `0.0..1.0` for the jitter.
    pub dice: fn() -> f64,
}

/// A handle to wake the dispatcher: cheap, never blocks.
#[derive(Clone, Default)]
pub struct Waker(Arc<WakerState>);

#[derive(Default)]
struct WakerState {
    notify: Notify,
    /// When to claim next; none: now.
    next_claim: Mutex<Option<Instant>>,
    /// Of the dispatcher, while it runs.
    door: Mutex<Option<Door>>,
}

/// One host's dispatcher.
pub struct Dispatcher {
    shared: Arc<Shared>,
    waker: Waker,
}

/// What the loop, its attempts and its helpers share.
struct Shared {
    queue: Arc<dyn Queue>,
    registry: Arc<SharedRegistry>,
    options: Options,
    waker: Waker,
    held: Held,
    room: Room,
    /// Cancelled when the grace period is over: attempts hand their leases back.
    hand_back: CancellationToken,
    attempts: TaskTracker,
    trouble: Trouble,
    breakers: Breakers,
    feed: Option<Feed>,
}

impl Waker {
    /// Makes the dispatcher claim now.
    pub fn wake(&self) {
        *self.next_claim() = None;
        self.0.notify.notify_one();
    }

    /// Makes the dispatcher claim in `delay`, unless it will sooner.
    fn wake_in(&self, delay: Duration) {
        let at = Instant::now() + delay;
        let mut next = self.next_claim();
        if next.is_some_and(|planned| at < planned) {
            *next = Some(at);
            drop(next);
            self.0.notify.notify_one();
        }
    }

    /// Plans the next claim anew: what comes by [`Waker::wake`] or [`Waker::wake_in`] from here on brings it forward.
    /// One that is to come at once stays.
    fn plan_anew(&self) {
        if let Some(next) = &mut *self.next_claim() {
            *next = Instant::now() + LONGEST_WAIT;
        }
    }

    fn next_claim(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.next_claim.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dispatcher {
    pub fn new(
        queue: Arc<dyn Queue>,
        registry: Arc<SharedRegistry>,
        waker: Waker,
        options: Options,
    ) -> Self {
        let shared = Shared {
            queue,
            registry,
            options,
            waker: waker.clone(),
            held: Held::default(),
            room: Room::default(),
            hand_back: CancellationToken::new(),
            attempts: TaskTracker::new(),
            trouble: Trouble::default(),
            breakers: Breakers::default(),
            feed: None,
        };
        Self { shared: Arc::new(shared), waker }
    }

    /// Tells what comes of attempts.
    pub fn telling(mut self, feed: Feed) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.feed = Some(feed);
        }
        self
    }

    /// Dispatches until `stop`, then drains: running attempts get the grace period, the rest is handed back fenced.
    /// Ends within the grace period and fifteen seconds, even if the queue never answers.
    pub async fn run(self, stop: CancellationToken) {
        let (settler, mut settling) = Settler::start(self.shared.clone());
        let turning = Breakers::start(self.shared.clone());
        let extender = tokio::spawn(leases::extend_all(self.shared.clone()));
        self.waker.open(&self.shared, &settler);
        self.dispatch(&settler, &stop).await;
        self.waker.close();
        self.drain(&settler).await;
        drop(settler);
        self.shared.breakers.finish();
        let turned = turning.abort_handle();
        let last = async {
            let settled = (&mut settling).await;
            // A turn that is not written costs no more than a trial.
            drop(turning.await);
            settled
        };
        match timeout(LAST_SETTLEMENTS, last).await {
            Ok(Ok(())) => {}
            Ok(Err(panic)) => {
                tracing::error!(error = %panic, "the settler failed; its leases will expire");
            }
            Err(_late) => {
                settling.abort();
                turned.abort();
                let leases = self.shared.held.len();
                tracing::error!(
                    queue.leases = leases,
                    "settlements could not be written in time; their leases will expire"
                );
            }
        }
        extender.abort();
    }

    async fn dispatch(&self, settler: &Settler, stop: &CancellationToken) {
        let (first, longest) = TRY_AGAIN;
        let mut wait = first;
        let mut agenda = Agenda::new(self.shared.queue.shared(), Instant::now());
        while !stop.is_cancelled() {
            self.shared.options.signals.beat(Loop::Dispatcher, ROUND);
            // Registered before the look, so that a wake-up during it is not lost.
            let woken = self.waker.0.notify.notified();
            let round = tokio::select! {
                biased;
                round = self.round(settler, &mut agenda) => round,
                () = async { stop.cancelled().await; sleep(LAST_ROUND).await } => return,
            };
            let until = match round {
                Ok(until) => until,
                Err(error) => {
                    // Whatever the round had planned, the claim that failed is still to be made.
                    *self.waker.next_claim() = None;
                    self.shared.trouble.waits(Part::Loop, &error);
                    let now = wait;
                    wait = (wait * 2).min(longest);
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        // No wake-up shortens it: an unavailable queue is not asked more often for being busy.
                        () = sleep(now) => continue,
                    }
                }
            };
            wait = first;
            self.shared.trouble.over(Part::Loop);
            if until <= Instant::now() {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = woken => {}
                () = self.told(agenda.next_word()) => agenda.told(Instant::now()),
                () = sleep_until(until) => {}
            }
        }
    }

    /// Waits for word of another host, from `not_before` on.
    async fn told(&self, not_before: Instant) {
        sleep_until(not_before).await;
        self.shared.queue.wait_for_work().await;
    }

    /// Does what is to be done now. Answers when to come again without a wake-up.
    async fn round(&self, settler: &Settler, agenda: &mut Agenda) -> Result<Instant, QueueError> {
        let registry = self.shared.registry.load();
        let now = Instant::now();
        if agenda.arrived {
            // One batch a round: a flood of them delays neither claims nor a stop.
            agenda.arrived = self.fan_out(&registry).await? == MAX_BATCH;
            agenda.fanned_out();
        }
        if now >= agenda.orphans {
            self.bury_orphans().await?;
            agenda.orphans = now + ORPHAN_POLL;
        }
        if now >= agenda.sweep {
            agenda.sweep = self.sweep(&registry, settler).await?;
        }
        if agenda.trial.is_some_and(|at| now >= at) {
            agenda.trial = None;
            self.trials(&registry, settler).await?;
        }
        let mut in_vain = false;
        if now >= agenda.claim && self.planned_claim().is_none_or(|at| now >= at) {
            *self.waker.next_claim() = Some(now + LONGEST_WAIT);
            let Claimed { got, asked } = self.claim(&registry, settler).await?;
            if got > 0 {
                *self.waker.next_claim() = None;
                agenda.claimed(got, self.shared.freed(), Instant::now());
            } else if asked {
                in_vain = true;
                agenda.look_now(now);
            }
        }
        if now >= agenda.next_look() {
            self.shared.hand_back_late(settler);
            self.look(&registry, agenda, in_vain).await?;
        }
        let claim = self.planned_claim().unwrap_or(now).max(agenda.claim);
        let claim = if agenda.arrived { now } else { claim };
        let trial = agenda.trial.unwrap_or(agenda.next_look());
        Ok(claim.min(agenda.next_look()).min(agenda.orphans).min(agenda.sweep).min(trial))
    }

    fn planned_claim(&self) -> Option<Instant> {
        *self.waker.next_claim()
    }

    /// Looks for what this host could do, and plans the next claim by it.
    async fn look(
        &self,
        registry: &Registry,
        agenda: &mut Agenda,
        in_vain: bool,
    ) -> Result<(), QueueError> {
        let (names, token) = self.shared.could_take(registry);
        self.waker.plan_anew();
        let look = self.shared.queue.look(&names).await?;
        let due = agenda.looked(&look, in_vain, Instant::now());
        for wait in [due, token].into_iter().flatten() {
            self.waker.wake_in(wait);
        }
        Ok(())
    }

    async fn fan_out(&self, registry: &Registry) -> Result<usize, QueueError> {
        let arrived = self.shared.queue.arrived(MAX_BATCH).await?;
        let found = arrived.len();
        if found == 0 {
            return Ok(0);
        }
        let routes = arrived.into_iter().map(|arrived| {
            if let Err(reason) = &arrived.notification {
                tracing::warn!(
                    notification.row = arrived.row,
                    notification.problem = reason,
                    "a notification that was inserted by SQL is malformed; set aside"
                );
            }
            let destinations = arrived.notification.map(|n| registry.route(&n));
            let signals = &self.shared.options.signals;
            signals.arrived(destinations.as_ref().ok().map(Vec::len));
            Route { row: arrived.row, destinations }
        });
        self.shared.queue.fan_out(routes.collect()).await?;
        self.waker.wake();
        Ok(found)
    }

    async fn bury_orphans(&self) -> Result<(), QueueError> {
        let buried = self.shared.queue.bury_orphans(self.shared.options.orphan_after).await?;
        self.shared.options.signals.buried(buried);
        if buried > 0 {
            tracing::warn!(
                queue.orphans = buried,
                "deliveries died: their destination's file is gone"
            );
        }
        Ok(())
    }

    /// Ends what came too late, wherever it waits. Answers when to do so again.
    async fn sweep(&self, registry: &Registry, settler: &Settler) -> Result<Instant, QueueError> {
        let options = &self.shared.options;
        let (host, lease) = (options.host, options.lease);
        let start = Instant::now();
        let diversions = self.diversions(registry).await?;
        let mut bounds = registry.age_bounds();
        for bound in &mut bounds {
            if let Some(diversion) = diversions.get(&bound.destination) {
                bound.max_age = bound.max_age.min(diversion.after);
                bound.early = true;
            }
        }
        let sweep = Sweep { host, lease, limit: SWEEP_LIMIT, bounds };
        let overdue = self.shared.queue.claim_overdue(&sweep).await?;
        let more = overdue.len() as u64 >= u64::from(SWEEP_LIMIT);
        for lease in &overdue {
            let entry = registry.destination(&lease.destination);
            let diversion = diversions.get(&lease.destination);
            let entry = entry.map(|entry| &**entry);
            attempt::end_overdue(&self.shared, entry, lease, diversion, settler);
        }
        let took = start.elapsed();
        let gone = diversions.values().any(|diversion| diversion.gone);
        let poll = if gone { GONE_POLL } else { SWEEP_POLL };
        let pause = if more { took } else { poll.max(took * SWEEP_SHARE) };
        Ok(Instant::now() + pause)
    }

    /// Whose fallbacks take over; asked only where there is a fallback.
    async fn diversions(
        &self,
        registry: &Registry,
    ) -> Result<HashMap<String, Diversion>, QueueError> {
        if registry.destinations().all(|(_, entry)| entry.spec.fallback.is_empty()) {
            return Ok(HashMap::new());
        }
        Ok(breakers::diversions(registry, &self.shared.queue.blocked().await?))
    }

    /// Tries destinations whose breakers are open or ramping, each if no other host does.
    async fn trials(&self, registry: &Registry, settler: &Settler) -> Result<(), QueueError> {
        for blocked in self.shared.queue.blocked().await? {
            let destination = blocked.destination;
            let may = |breaker: postrider_queue::Breaker| {
                breaker.next.is_some() && breaker.next_in.is_zero()
            };
            let entry = registry.ready().find(|(name, _)| *name == destination);
            let (Some((_, entry)), true) = (entry, blocked.breaker.is_some_and(may)) else {
                continue;
            };
            let Some(room) = self.shared.room_for(entry) else { continue };
            let room = self.shared.within_rates(registry, vec![room]).await?;
            let Some(Slots { free, .. }) = room.first().cloned() else { continue };
            let Options { host, lease, .. } = self.shared.options;
            // A trial whose host has ended is over when its attempt would be.
            let patience = entry.spec.policy.timeout + lease;
            let claim = TrialClaim { host, lease, destination, free, patience };
            let claimed = Instant::now();
            let Some(tried) = self.shared.queue.claim_trial(&claim).await? else { continue };
            let tickets = breakers::watch(self.shared.clone(), entry.clone(), &tried);
            self.shared.note_tried(&claim.destination, tried.leases.len());
            for (lease, ticket) in tried.leases.into_iter().zip(tickets) {
                let (shared, lease) = (&self.shared, (lease, claimed));
                if !attempt::start_in(shared, registry, lease, settler, Some(ticket)) {
                    shared.free_slot(&claim.destination, settler);
                }
            }
        }
        Ok(())
    }

    /// Claims up to every ready destination's free slots, and what is leased ahead of them.
    async fn claim(&self, registry: &Registry, settler: &Settler) -> Result<Claimed, QueueError> {
        let (mut claimed, mut given) = (Claimed { got: 0, asked: false }, 0);
        for pass in 1.. {
            let takers = self.shared.takers(registry);
            // Slots that were asked for in vain are free for those that could not be asked with them.
            given += takers.first.given;
            let more = given < takers.all && takers.first.given > 0 && pass < CLAIMS;
            claimed.add(self.claim_for(registry, takers.first, takers.scarce, settler).await?);
            if takers.scarce {
                let hungry = self.shared.hungry(registry);
                claimed.add(self.claim_for(registry, hungry, true, settler).await?);
            }
            if !more {
                self.shared.note_wanted(registry, given < takers.all, takers.freed);
                break;
            }
        }
        Ok(claimed)
    }

    async fn claim_for(
        &self,
        registry: &Registry,
        room::Round { begin, asks, .. }: room::Round,
        scarce: bool,
        settler: &Settler,
    ) -> Result<Claimed, QueueError> {
        let begun = !begin.is_empty();
        self.shared.start_all(registry, begin, settler);
        let Some(claim) = self.shared.asks(registry, asks).await? else {
            // What was asked of nobody, or what a rate keeps back, is for a look to plan, unless slots were taken.
            return Ok(Claimed { got: 0, asked: !begun });
        };
        let options = &self.shared.options;
        // Taken before the claim, so that the lease can only be older in our eyes than it is.
        let start = Instant::now();
        let leases = self.shared.queue.claim(&claim.0).await?;
        options.signals.claimed(&leases, start.elapsed());
        let got = leases.len();
        let (begun, back) = self.shared.claimed(&claim, leases, start, scarce);
        self.shared.start_all(registry, begun, settler);
        self.shared.release_all(back, settler);
        Ok(Claimed { got, asked: true })
    }

    async fn drain(&self, settler: &Settler) {
        self.shared.stop_waiting(settler);
        let attempts = &self.shared.attempts;
        attempts.close();
        if !attempts.is_empty() {
            tracing::info!(stop.attempts = attempts.len(), stop.grace = ?self.shared.options.grace, "stopping: waiting for running attempts");
        }
        let grace = self.shared.options.grace;
        if timeout(grace, attempts.wait()).await.is_err() {
            tracing::warn!(
                stop.attempts = attempts.len(),
                "the grace period is over; handing the rest back"
            );
            self.shared.hand_back.cancel();
            attempts.wait().await;
        }
    }
}

/// What claims came to.
struct Claimed {
    got: usize,
    /// Whether a look is worth it where they brought nothing.
    asked: bool,
}

impl Claimed {
    fn add(&mut self, other: Self) {
        self.got += other.got;
        self.asked |= other.asked;
    }
}

impl Entry {
    fn call(&self) -> Option<&Arc<dyn NotifierCall>> {
        self.notifier.as_ref()
    }
}
