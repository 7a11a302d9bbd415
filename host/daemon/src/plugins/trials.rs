//! New versions on trial: what they fail by their own fault costs nothing, and condemns them where their predecessor
//! worked.
//!
//! What this host sees of a version is added to what other hosts see, in the queue. Of a version that worked once
//! nothing more is written, and its attempts cost a look at one flag.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use postrider_core::trial::{Tally, Verdict};
use postrider_core::{Notification, NotificationId, Outcome};
use postrider_queue::{Quarantine, Queue, QueueError, VersionRecord, VersionSeen};
use postrider_sandbox::Task;
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::dispatcher::{Blame, NotifierCall, Sent};
use crate::signals::Signals;
use crate::signals::notices::{Event, Kind};

/// Attempts that one version's trial spares at most: more cannot run before it is over.
const SPARED: u32 = 1_000;
/// Failed deliveries of proven versions that are remembered: they say nothing of the next version.
const REMEMBERED: usize = 1_000;
/// First and longest wait while the queue is unavailable.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The trials of one host.
pub struct Trials {
    open: HashMap<(String, String), Arc<Trial>>,
    seen: mpsc::UnboundedSender<Seen>,
    hopeless: Arc<Hopeless>,
}

/// Writes what the trials see, and condemns. See [`Trials::new`].
pub struct Judge {
    queue: Arc<dyn Queue>,
    signals: Signals,
    seen: mpsc::UnboundedReceiver<Seen>,
    hint: Arc<Notify>,
}

/// One version of a plugin.
pub(super) struct Trial {
    plugin: String,
    hash: String,
    version: String,
    predecessor: Option<String>,
    /// It worked: nothing is watched any more.
    worked: AtomicBool,
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    tally: Tally,
    spared: u32,
}

/// Deliveries that a version which works could not make: poison of their own.
#[derive(Default)]
struct Hopeless(Mutex<HashSet<(String, NotificationId)>>);

/// One attempt that counts.
struct Seen {
    trial: Arc<Trial>,
    worked: bool,
    fault: bool,
    reason: String,
}

/// What counting an attempt came to.
struct Counted {
    /// Whether the queue is to know.
    tell: bool,
    /// Whether its delivery loses nothing: a predecessor can make it instead.
    spared: bool,
}

/// What runs the attempts of a destination, watched.
struct OnTrial {
    call: Arc<dyn NotifierCall>,
    destination: String,
    trial: Arc<Trial>,
    seen: mpsc::UnboundedSender<Seen>,
    hopeless: Arc<Hopeless>,
}

impl Trials {
    /// The trials, and what must run beside them. `hint` asks for a look at the plugins directory.
    pub fn new(queue: Arc<dyn Queue>, signals: Signals, hint: Arc<Notify>) -> (Self, Judge) {
        let (sender, seen) = mpsc::unbounded_channel();
        let judge = Judge { queue, signals, seen, hint };
        (Self { open: HashMap::new(), seen: sender, hopeless: Arc::default() }, judge)
    }

    /// Begins a version's trial, from what all hosts know of it.
    pub(super) fn begin(&mut self, known: &VersionRecord) {
        let VersionSeen { plugin, hash, version, predecessor, tried, faults, worked } =
            known.seen.clone();
        let tally = Tally { tried, faults, worked };
        let trial = Trial {
            plugin: plugin.clone(),
            hash: hash.clone(),
            version,
            predecessor,
            worked: worked.into(),
            watched: Mutex::new(Watched { tally, spared: 0 }),
        };
        self.open.insert((plugin, hash), Arc::new(trial));
    }

    /// Learns what other hosts saw of versions since their trials began.
    pub(super) fn learn(&self, known: &[VersionRecord]) {
        for VersionRecord { seen, .. } in known.iter().filter(|known| known.seen.worked) {
            if let Some(trial) = self.open.get(&(seen.plugin.clone(), seen.hash.clone())) {
                trial.worked.store(true, Ordering::Release);
            }
        }
    }

    /// Whether a version's trial has begun here.
    pub(super) fn knows(&self, plugin: &str, hash: &str) -> bool {
        self.open.contains_key(&(plugin.to_owned(), hash.to_owned()))
    }

    /// Whether a version delivered something, as far as this host knows.
    pub(super) fn worked(&self, plugin: &str, hash: &str) -> bool {
        let trial = self.open.get(&(plugin.to_owned(), hash.to_owned()));
        trial.is_some_and(|trial| trial.worked.load(Ordering::Acquire))
    }

    /// The version before this one that worked.
    pub(super) fn predecessor(&self, plugin: &str, hash: &str) -> Option<String> {
        self.open.get(&(plugin.to_owned(), hash.to_owned()))?.predecessor.clone()
    }

    /// Forgets the versions that are neither `kept` nor predecessors of those.
    pub(super) fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        let open = self.open.values().filter(|trial| kept(&trial.hash));
        let before: HashSet<String> = open.filter_map(|trial| trial.predecessor.clone()).collect();
        self.open.retain(|(_, hash), _| kept(hash) || before.contains(hash));
    }

    /// Hashes that a running trial may fall back to.
    pub(super) fn predecessors(&self) -> Vec<String> {
        self.open.values().filter_map(|trial| trial.predecessor.clone()).collect()
    }

    /// Lets attempts of a destination be watched, where its module's version is known.
    pub(super) fn watch(
        &self,
        plugin: &str,
        destination: &str,
        call: Arc<dyn NotifierCall>,
    ) -> Arc<dyn NotifierCall> {
        let Some(trial) = self.open.get(&(plugin.to_owned(), call.module().to_owned())) else {
            return call;
        };
        Arc::new(OnTrial {
            call,
            destination: destination.to_owned(),
            trial: trial.clone(),
            seen: self.seen.clone(),
            hopeless: self.hopeless.clone(),
        })
    }
}

#[async_trait]
impl NotifierCall for OnTrial {
    async fn send(&self, notification: &Notification, attempt: u32, parts_done: u32) -> Sent {
        let mut sent = self.call.send(notification, attempt, parts_done).await;
        if sent.blame == Blame::Module || !self.trial.worked.load(Ordering::Acquire) {
            sent.blame = self.judge(notification.id, &sent);
        }
        sent
    }

    fn module(&self) -> &str {
        self.call.module()
    }

    fn start(&self, attempt: Task) {
        self.call.start(attempt);
    }

    fn patience(&self, notification: &Notification) -> Option<Duration> {
        self.call.patience(notification)
    }
}

impl OnTrial {
    /// Counts an attempt, and says whether it costs its delivery nothing.
    fn judge(&self, id: NotificationId, sent: &Sent) -> Blame {
        let fault = sent.blame == Blame::Module;
        let delivery = (self.destination.clone(), id);
        if self.trial.worked.load(Ordering::Acquire) {
            if fault {
                self.hopeless.note(delivery);
            }
            return sent.blame;
        }
        let counts = fault && !self.hopeless.knows(&delivery);
        let worked = matches!(sent.outcome, Outcome::Delivered(_));
        let Counted { tell, spared } = self.trial.count(worked, counts);
        if tell {
            let reason = sent.outcome.reason();
            let seen = Seen { trial: self.trial.clone(), worked, fault: counts, reason };
            // The judge ends with the daemon.
            let _stopping = self.seen.send(seen).is_err();
        }
        if spared { Blame::Spared } else { sent.blame }
    }
}

impl Trial {
    /// Counts an attempt. Of a trial that is over nothing is told but a success, which makes it a good predecessor, and
    /// what must condemn it once more because the queue could not be told.
    fn count(&self, worked: bool, fault: bool) -> Counted {
        let mut watched = self.watched();
        let before = watched.tally.verdict();
        watched.tally = watched.tally.after(worked, fault);
        if worked {
            self.worked.store(true, Ordering::Release);
        }
        let replaceable = self.predecessor.is_some();
        let condemned = before == Verdict::Condemned && fault && replaceable;
        let tell = worked || before == Verdict::Open || condemned;
        let spared = fault && before != Verdict::Stays && replaceable && watched.spared < SPARED;
        watched.spared += u32::from(spared);
        Counted { tell, spared }
    }

    /// Takes in what all hosts saw, and answers the sum.
    fn learn(&self, known: &VersionSeen) -> Tally {
        let mut watched = self.watched();
        let tally = &mut watched.tally;
        tally.tried = tally.tried.max(known.tried);
        tally.faults = tally.faults.max(known.faults);
        tally.worked |= known.worked;
        if tally.worked {
            self.worked.store(true, Ordering::Release);
        }
        *tally
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self, tried: u32, faults: u32, worked: bool) -> VersionSeen {
        VersionSeen {
            plugin: self.plugin.clone(),
            hash: self.hash.clone(),
            version: self.version.clone(),
            predecessor: self.predecessor.clone(),
            tried,
            faults,
            worked,
        }
    }
}

impl Hopeless {
    fn note(&self, delivery: (String, NotificationId)) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if set.len() >= REMEMBERED {
            set.clear();
        }
        set.insert(delivery);
    }

    fn knows(&self, delivery: &(String, NotificationId)) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(delivery)
    }
}

impl Judge {
    /// Runs until `stop`. What was not told by then, the next run finds out.
    pub async fn run(mut self, stop: CancellationToken) {
        let judging = async {
            while let Some(seen) = self.seen.recv().await {
                self.judge(seen).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = judging => {}
        }
    }

    async fn judge(&self, seen: Seen) {
        let trial = &seen.trial;
        let told = trial.seen(1, u32::from(seen.fault), seen.worked);
        // Without the queue nothing is decided: the next fault tells it again.
        let Some(known) = self.tell(told).await else { return };
        let tally = trial.learn(&known.seen);
        if tally.verdict() == Verdict::Condemned && seen.fault && trial.predecessor.is_some() {
            self.condemn(trial, tally, &seen.reason).await;
        }
    }

    /// Tells the queue, again and again where it is unavailable and the version worked; how it failed may be lost.
    async fn tell(&self, told: VersionSeen) -> Option<VersionRecord> {
        let (mut wait, longest) = TRY_AGAIN;
        loop {
            match self.queue.tell_version(&told).await {
                Ok(known) => return Some(known),
                Err(error) if told.worked => {
                    tracing::debug!(%error, plugin.name = told.plugin, "what a version came to could not be kept yet");
                }
                Err(error) => {
                    tracing::warn!(%error, plugin.name = told.plugin, "how a new version failed could not be kept");
                    return None;
                }
            }
            sleep(wait).await;
            wait = (wait * 2).min(longest);
        }
    }

    async fn condemn(&self, trial: &Trial, tally: Tally, last: &str) {
        let Tally { tried, faults, .. } = tally;
        let reason = format!(
            "it failed {faults} of its first {tried} deliveries by its own fault and delivered none; the last: {last}"
        );
        let module = Quarantine {
            hash: trial.hash.clone(),
            plugin: trial.plugin.clone(),
            version: trial.version.clone(),
            reason: reason.clone(),
        };
        match self.quarantine(&module).await {
            Ok(true) => self.say(trial, &reason),
            // Another host was faster, or it worked there.
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, plugin.name = trial.plugin, "a new version that fails could not be quarantined");
            }
        }
        self.hint.notify_one();
    }

    /// Of many hosts the one that quarantined it tells.
    fn say(&self, trial: &Trial, reason: &str) {
        let Trial { plugin, hash, version, predecessor, .. } = trial;
        tracing::warn!(
            plugin.name = plugin,
            plugin.version = version,
            plugin.hash = hash,
            plugin.predecessor = predecessor,
            plugin.reason = reason,
            "rolled back and quarantined"
        );
        self.signals.tell(Event {
            kind: Kind::PluginRolledBack,
            subject: plugin.clone(),
            message: format!("plugin \"{plugin}\" {version} was rolled back: {reason}"),
            detail: json!({
                "version": version, "sha256": hash, "predecessor": predecessor, "reason": reason,
            }),
        });
    }

    async fn quarantine(&self, module: &Quarantine) -> Result<bool, QueueError> {
        let (mut wait, longest) = TRY_AGAIN;
        loop {
            match self.queue.quarantine(module, true).await {
                Err(QueueError::Unavailable(_)) if wait < longest => {}
                done => return done,
            }
            sleep(wait).await;
            wait = (wait * 2).min(longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use postrider_core::Fault;
    use postrider_queue::{MemoryQueue, Versions as _};

    /// A module that fails by itself, or does not; or its receiver does.
    struct Module(&'static str, Blame, bool);

    #[async_trait]
    impl NotifierCall for Module {
        async fn send(&self, _: &Notification, _: u32, parts_done: u32) -> Sent {
            let outcome = match self.1 {
                Blame::Module => {
                    Outcome::Fault { fault: Fault::Trap, reason: "unreachable".to_owned() }
                }
                Blame::Elsewhere | Blame::Spared if self.2 => {
                    Outcome::Fault { fault: Fault::Timeout, reason: "no answer".to_owned() }
                }
                Blame::Elsewhere | Blame::Spared => Outcome::Delivered(Default::default()),
            };
            Sent { blame: self.1, ..Sent::new(outcome, parts_done) }
        }

        fn module(&self) -> &str {
            self.0
        }
    }

    fn notification(id: u128) -> Notification {
        let draft = postrider_core::Draft { kind: "x".into(), ..Default::default() };
        let id = NotificationId(uuid::Uuid::from_u128(id));
        draft.accept(id, Timestamp::UNIX_EPOCH).unwrap()
    }

    struct Stage {
        queue: Arc<MemoryQueue>,
        trials: Trials,
        judge: Judge,
    }

    impl Stage {
        fn new() -> Self {
            let queue = Arc::new(MemoryQueue::stopped(Timestamp::UNIX_EPOCH));
            let signals = Signals::new().unwrap();
            let (trials, judge) = Trials::new(queue.clone(), signals, Arc::default());
            Self { queue, trials, judge }
        }

        async fn version(&mut self, hash: &str, predecessor: Option<&str>) {
            let seen = VersionSeen {
                plugin: "slack".into(),
                hash: hash.into(),
                version: "1".into(),
                predecessor: predecessor.map(str::to_owned),
                tried: 0,
                faults: 0,
                worked: false,
            };
            self.trials.begin(&self.queue.tell_version(&seen).await.unwrap());
        }

        async fn send(&mut self, hash: &'static str, blame: Blame, id: u128) -> Blame {
            self.call(Module(hash, blame, false), id).await
        }

        /// An attempt whose receiver does not answer.
        async fn fail(&mut self, hash: &'static str, id: u128) -> Blame {
            self.call(Module(hash, Blame::Elsewhere, true), id).await
        }

        async fn call(&mut self, module: Module, id: u128) -> Blame {
            let call = self.trials.watch("slack", "slack", Arc::new(module));
            let sent = call.send(&notification(id), 1, 0).await;
            while let Ok(seen) = self.judge.seen.try_recv() {
                self.judge.judge(seen).await;
            }
            sent.blame
        }

        async fn quarantined(&self) -> usize {
            self.queue.quarantined().await.unwrap().len()
        }
    }

    #[tokio::test]
    async fn a_version_that_fails_three_times_is_quarantined_and_its_deliveries_are_spared() {
        let mut stage = Stage::new();
        stage.version("good", None).await;
        stage.send("good", Blame::Elsewhere, 1).await;
        stage.version("bad", Some("good")).await;
        for n in 2..4 {
            assert_eq!(stage.send("bad", Blame::Module, n).await, Blame::Spared);
            assert_eq!(stage.quarantined().await, 0);
        }
        assert_eq!(stage.send("bad", Blame::Module, 4).await, Blame::Spared);
        assert_eq!(stage.quarantined().await, 1);
        // What was in flight is spared, too.
        assert_eq!(stage.send("bad", Blame::Module, 5).await, Blame::Spared);
    }

    #[tokio::test]
    async fn a_version_that_worked_once_or_has_no_predecessor_stays() {
        let mut stage = Stage::new();
        stage.version("good", None).await;
        stage.send("good", Blame::Elsewhere, 1).await;
        stage.version("new", Some("good")).await;
        assert_eq!(stage.send("new", Blame::Elsewhere, 2).await, Blame::Elsewhere);
        stage.version("first", None).await;
        for n in 3..30 {
            assert_eq!(stage.send("new", Blame::Module, n).await, Blame::Module);
            assert_eq!(stage.send("first", Blame::Module, n).await, Blame::Module);
        }
        assert_eq!(stage.quarantined().await, 0);
    }

    #[tokio::test]
    async fn a_delivery_that_the_predecessor_could_not_make_is_no_witness() {
        let mut stage = Stage::new();
        stage.version("good", None).await;
        stage.send("good", Blame::Elsewhere, 1).await;
        assert_eq!(stage.send("good", Blame::Module, 7).await, Blame::Module);
        stage.version("new", Some("good")).await;
        for _ in 0..10 {
            assert_eq!(stage.send("new", Blame::Module, 7).await, Blame::Module);
        }
        assert_eq!(stage.quarantined().await, 0);
    }

    #[tokio::test]
    async fn what_lived_through_its_first_deliveries_stays_and_is_written_no_more() {
        let mut stage = Stage::new();
        stage.version("good", None).await;
        stage.send("good", Blame::Elsewhere, 1).await;
        stage.version("new", Some("good")).await;
        for n in 2..22 {
            stage.fail("new", n).await;
        }
        for n in 22..40 {
            assert_eq!(stage.send("new", Blame::Module, n).await, Blame::Module);
        }
        assert_eq!(stage.quarantined().await, 0);
        let known = stage.queue.versions().await.unwrap();
        let new = known.iter().find(|known| known.seen.hash == "new").unwrap();
        assert_eq!((new.seen.tried, new.seen.faults, new.seen.worked), (20, 0, false));
        // A success makes it a good predecessor, however late.
        stage.send("new", Blame::Elsewhere, 40).await;
        assert!(stage.queue.versions().await.unwrap().iter().all(|known| known.seen.worked));
    }

    #[tokio::test]
    async fn what_other_hosts_saw_counts() {
        let mut stage = Stage::new();
        stage.version("good", None).await;
        stage.send("good", Blame::Elsewhere, 1).await;
        stage.version("bad", Some("good")).await;
        let elsewhere = VersionSeen {
            plugin: "slack".into(),
            hash: "bad".into(),
            version: "1".into(),
            predecessor: None,
            tried: 2,
            faults: 2,
            worked: false,
        };
        stage.queue.tell_version(&elsewhere).await.unwrap();
        stage.send("bad", Blame::Module, 2).await;
        assert_eq!(stage.quarantined().await, 1);
    }
}
