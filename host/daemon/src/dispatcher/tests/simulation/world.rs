//! One run: hosts that come, stall and go over one database, producers, and time. Then calm, and the reckoning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use postrider_core::{Destination, Policy};
use postrider_queue::{Enqueue, Enqueued, Target};

use super::checker::Checker;
use super::database::{Broken, Database};
use super::dice::Dice;
use super::faulty::{Faulty, Odds};
use super::hosts::{Host, stopped};
use super::trace::Trace;
use super::*;
use crate::dispatcher::tests::wrapped::Wrapped;

/// The destinations, and their files.
pub(super) const DESTINATIONS: [(&str, &str); 4] = [
    (
        "three",
        "fallback = ['last', 'single']\nfallback_after = '30s'\n\
         policy = { attempts = 3, backoff = { initial = '1s', factor = 2.0, cap = '10s' }, \
         breaker = { failures = 2, wait = '1s', cap = '10s' } }",
    ),
    (
        "single",
        "ordered_by = 'subject'\npolicy = { concurrency = 1, backoff = ['500ms', '2s'], \
         breaker = { failures = 3, wait = '500ms' } }",
    ),
    ("short", "policy = { concurrency = 8, max_age = '2m', backoff = ['1s', '30s'] }"),
    ("last", "match.type = 'never'\npolicy = { backoff = ['2s'], rate = '20/s' }"),
];
/// Host number of the producers.
pub(super) const PRODUCER: usize = 0;
/// Longest that everything takes to end once nothing fails any more.
const LONGEST_END: Duration = Duration::from_secs(3_600);

/// Longest that a producer waits for a host, which may have been killed.
const ANSWER: Duration = Duration::from_secs(90);

/// How one run is.
pub(super) struct Nature {
    pub(super) lease: Duration,
    pub(super) odds: Odds,
    pub(super) shared: bool,
    notifications: u64,
    pub(super) chaos: Duration,
}

pub(super) struct World {
    pub(super) database: Arc<Database>,
    pub(super) nature: Nature,
    pub(super) hosts: Mutex<Vec<Host>>,
    pub(super) started: AtomicUsize,
    acknowledged: Mutex<BTreeMap<u128, Vec<String>>>,
}

/// Runs one seed to its end. Answers what happened, or what must not have.
pub(super) async fn run(seed: u64, broken: Broken) -> Result<Trace, String> {
    let dice = Dice::new(seed);
    let nature = Nature::of(&dice);
    let lease = i64::try_from(nature.lease.as_millis()).unwrap();
    let specs = DESTINATIONS.map(|(name, text)| Destination::parse(name, text).unwrap());
    let policies: BTreeMap<String, (Policy, Vec<String>)> =
        specs.into_iter().map(|spec| (spec.name, (spec.policy, spec.fallback))).collect();
    let database = Arc::new(Database::new(Checker::new(policies, lease), dice, broken));
    let world = Arc::new(World {
        database,
        nature,
        hosts: Mutex::default(),
        started: AtomicUsize::new(PRODUCER),
        acknowledged: Mutex::default(),
    });
    for _ in 0..world.database.dice.below(3) + 2 {
        world.start();
    }
    let producing = tokio::spawn(world.clone().produce());
    world.go_wrong().await;
    world.calm_down();
    producing.await.unwrap();
    world.end().await;
    let trace = std::mem::take(&mut world.database.checker.lock().unwrap().trace);
    trace.report().map_or(Ok(trace), Err)
}

impl Nature {
    fn of(dice: &Dice) -> Self {
        let odds = Odds {
            refused: dice.of(&[0, 20, 100, 300]),
            answer_lost: dice.of(&[0, 20, 100, 300]),
            slow: dice.of(&[0, 50, 300]),
        };
        Self {
            lease: Duration::from_secs(dice.of(&[6, 15, 45])),
            odds,
            shared: dice.permille(700),
            notifications: dice.of(&[5, 5, 10, 10, 20, 20, 40, 200]),
            chaos: Duration::from_secs(dice.of(&[15, 30, 60, 120])),
        }
    }
}

impl World {
    /// Producers enqueue, and repeat what was not acknowledged; some insert by SQL.
    async fn produce(self: Arc<Self>) {
        let (dice, nature) = (&self.database.dice, &self.nature);
        let line = Faulty::new(self.database.clone(), PRODUCER, nature.odds, true);
        let line: Arc<dyn Queue> = Arc::new(Wrapped(Arc::new(line)));
        let apart = u64::try_from(nature.chaos.as_millis()).unwrap() / nature.notifications;
        for id in 1..=u128::from(nature.notifications) {
            sleep(dice.millis(0, apart + 1)).await;
            let subject = Some((id % 3).to_string());
            let notification = Draft { kind: "x".into(), subject, ..Draft::default() }
                .accept(NotificationId(Uuid::from_u128(id)), Timestamp::UNIX_EPOCH)
                .unwrap();
            let mut names = vec!["three".to_owned(), "single".to_owned(), "short".to_owned()];
            if dice.permille(100) {
                self.database.queue.insert(notification);
            } else {
                names.retain(|_| dice.permille(600));
                if names.is_empty() || dice.permille(100) {
                    names.push("last".to_owned());
                }
                let key = dice.permille(500).then(|| id.to_string());
                let destinations = names.iter().map(|name| target(name, id)).collect();
                let schedule = postrider_core::Schedule::default();
                let item = Enqueue { notification, idempotency_key: key, schedule, destinations };
                while !stored(self.hand_in(&line, item.clone()).await) {
                    sleep(dice.millis(1, 2_000)).await;
                }
            }
            self.acknowledged.lock().unwrap().insert(id, names);
        }
    }

    /// To the database, or to a host, which takes it itself where it can, and may be killed meanwhile.
    async fn hand_in(
        &self,
        line: &Arc<dyn Queue>,
        item: Enqueue,
    ) -> Result<Vec<Enqueued>, QueueError> {
        let waker = self.some_waker().filter(|_| self.database.dice.permille(700));
        let Some(waker) = waker else {
            let answer = line.enqueue(vec![item]).await;
            self.wake_one();
            return answer;
        };
        let answer = timeout(ANSWER, waker.enqueue(line, vec![item])).await;
        answer.unwrap_or_else(|_elapsed| Err(QueueError::Unavailable("no answer".into())))
    }

    /// Nothing fails any more, and somebody is there to work.
    fn calm_down(&self) {
        self.database.note(PRODUCER, "calm");
        self.database.calm.store(true, Ordering::Relaxed);
        if self.hosts.lock().unwrap().is_empty() {
            self.start();
        }
    }

    /// Waits until everything has ended, stops all hosts, and counts.
    async fn end(&self) {
        let start = Instant::now();
        while self.database.queue.size().await.unwrap() > 0
            && start.elapsed() < LONGEST_END
            && !self.database.checker.lock().unwrap().trace.is_broken()
        {
            self.database.resume_gone().await;
            sleep(Duration::from_secs(1)).await;
        }
        let hosts = std::mem::take(&mut *self.hosts.lock().unwrap());
        for host in hosts {
            stopped(self.database.clone(), host).await;
        }
        self.count().await;
    }

    /// What the acknowledged notifications came to.
    async fn count(&self) {
        let page = Page { after: None, limit: 10_000 };
        let filter = DeliveryFilter {
            state: None,
            destination: None,
            notification: None,
            id: None,
            above: None,
            page,
        };
        let records = self.database.queue.deliveries(&filter).await.unwrap();
        let there: BTreeSet<(u128, &str)> = records
            .iter()
            .map(|record| (record.notification.0.as_u128(), record.destination.as_str()))
            .collect();
        for (id, names) in &*self.acknowledged.lock().unwrap() {
            if !names.iter().all(|name| there.contains(&(*id, name.as_str()))) {
                let broken = "an acknowledged notification is not there";
                self.database.checker.lock().unwrap().trace.broken(0, [broken]);
            }
        }
        for record in &records {
            let attempts = self.database.queue.attempts(record.id).await.unwrap();
            let mut checker = self.database.checker.lock().unwrap();
            let broken = checker.reckon(record, &attempts);
            checker.trace.broken(record.id.0, broken);
        }
    }
}

fn target(name: &str, id: u128) -> Target {
    let order_key = (name == "single").then(|| (id % 3).to_string());
    Target { order_key, ..Target::from(name) }
}

fn stored(answer: Result<Vec<Enqueued>, QueueError>) -> bool {
    match answer.as_deref() {
        Ok([Enqueued::Stored { .. } | Enqueued::Existing { .. }]) => true,
        Ok(other) => panic!("{other:?}"),
        Err(_) => false,
    }
}
