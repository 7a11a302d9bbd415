//! The SQLite store against the model: random operations on both give the same answers.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use postrider_core::breaker::{BreakerState, Turn};
use postrider_core::settle::{Cause, Settlement};
use postrider_core::{DeliveryId, LeaseKey, NotificationId, Schedule};
use proptest::prelude::*;
use uuid::Uuid;

use crate::conformance::{EPOCH, attempt, everything, host, notification};
use crate::sqlite::tests::insert_as_producer;
use crate::sqlite::{Clock, SqliteOptions, SqliteQueue};
use crate::{
    AgeBound, BreakerTurn, Claim, Enqueue, Handover, KeptDestination, MemoryQueue, Page, Queue,
    Retention, Route, Settle, Slot, Slots, Stats, Sweep, Taking, Target, TrialClaim, Trip,
};

/// Few names and small numbers, so that operations meet.
const NAMES: [&str; 3] = ["slack", "email", "pager"];

#[derive(Clone, Debug)]
enum Operation {
    Enqueue { items: Vec<Item> },
    Take { item: Item, names: usize, lease: u64 },
    Arrive { times: Times },
    FanOut { names: usize, malformed: bool },
    Claim { slots: [(u32, u32); 3], lease: u64 },
    ClaimOverdue { limit: u32, max_age: u64, lease: u64, early: bool },
    Trip { name: usize, gone: bool, wait: u64 },
    Try { name: usize, free: u32, lease: u64, patience: u64 },
    Turn { name: usize, back: i64, turn: Turn },
    Resume { name: usize },
    Extend { leases: Vec<usize>, lease: u64 },
    Settle { items: Vec<(usize, End)> },
    Redeliver { ids: Vec<i64> },
    Cancel { ids: Vec<i64> },
    Keep { names: usize },
    Bury { after: u64 },
    Prune { finished: Option<u64>, dead: Option<u64>, content: Option<u64> },
    StateSet { slot: (usize, usize), ttl: Option<u64>, expected: Option<Option<u64>> },
    StateRemove { slot: (usize, usize) },
    Advance { by: u64 },
    Restart,
}

#[derive(Clone, Debug)]
struct Item {
    id: u128,
    kind: usize,
    key: Option<usize>,
    names: usize,
    times: Times,
}

/// Of a schedule, in seconds.
type Times = (u64, Option<u64>);

#[derive(Clone, Debug)]
enum End {
    Delivered,
    Retry { delay: u64, counted: bool, hold: Option<u64>, recorded: bool },
    Dead { handover: Vec<usize>, recorded: bool },
    Released,
}

fn operation() -> impl Strategy<Value = Operation> {
    let seconds = 0u64..40;
    let times = (0u64..20, proptest::option::of(1u64..60));
    let item = (0u128..30, 0usize..2, proptest::option::of(0usize..3), 0usize..8, times.clone())
        .prop_map(|(id, kind, key, names, times)| Item { id, kind, key, names, times });
    // Mostly due at once: else there is nothing to take.
    let alone = (item.clone(), any::<bool>(), any::<bool>()).prop_map(|(item, first, second)| {
        let times = if first || second { (0, None) } else { item.times };
        Item { times, ..item }
    });
    let slot = (0usize..2, 0usize..2);
    let ids = proptest::collection::vec(1i64..20, 1..4);
    let leases = proptest::collection::vec(0usize..40, 1..5);
    let ends = proptest::collection::vec((0usize..40, end()), 1..5);
    let retained = proptest::option::of(0u64..40);
    let version = proptest::option::of(proptest::option::of(0u64..6));
    prop_oneof![
        3 => proptest::collection::vec(item, 1..4).prop_map(|items| Operation::Enqueue { items }),
        3 => (alone, 0usize..8, seconds.clone())
            .prop_map(|(item, names, lease)| Operation::Take { item, names, lease }),
        1 => times.prop_map(|times| Operation::Arrive { times }),
        1 => (0usize..8, any::<bool>())
            .prop_map(|(names, malformed)| Operation::FanOut { names, malformed }),
        4 => (proptest::array::uniform3((0u32..5, 0u32..4)), seconds.clone())
            .prop_map(|(slots, lease)| Operation::Claim { slots, lease }),
        2 => (0u32..6, 20u64..90, seconds.clone(), any::<bool>()).prop_map(
            |(limit, max_age, lease, early)| {
                Operation::ClaimOverdue { limit, max_age, lease, early }
            }
        ),
        1 => (0usize..2, proptest::bool::weighted(0.2), seconds.clone())
            .prop_map(|(name, gone, wait)| Operation::Trip { name, gone, wait }),
        2 => (0usize..2, 0u32..4, seconds.clone(), seconds.clone()).prop_map(
            |(name, free, lease, patience)| Operation::Try { name, free, lease, patience }
        ),
        2 => (0usize..2, 0i64..2, turn())
            .prop_map(|(name, back, turn)| Operation::Turn { name, back, turn }),
        1 => (0usize..2).prop_map(|name| Operation::Resume { name }),
        1 => (leases, seconds.clone())
            .prop_map(|(leases, lease)| Operation::Extend { leases, lease }),
        4 => ends.prop_map(|items| Operation::Settle { items }),
        1 => ids.clone().prop_map(|ids| Operation::Redeliver { ids }),
        1 => ids.prop_map(|ids| Operation::Cancel { ids }),
        1 => (0usize..8).prop_map(|names| Operation::Keep { names }),
        1 => seconds.clone().prop_map(|after| Operation::Bury { after }),
        2 => (retained.clone(), retained.clone(), retained)
            .prop_map(|(finished, dead, content)| Operation::Prune { finished, dead, content }),
        1 => (slot.clone(), proptest::option::of(seconds.clone()), version)
            .prop_map(|(slot, ttl, expected)| Operation::StateSet { slot, ttl, expected }),
        1 => slot.prop_map(|slot| Operation::StateRemove { slot }),
        3 => seconds.prop_map(|by| Operation::Advance { by }),
        1 => Just(Operation::Restart),
    ]
}

fn turn() -> impl Strategy<Value = Turn> {
    let state = prop_oneof![Just(BreakerState::Open), Just(BreakerState::Ramping)];
    let wait =
        (state, 1u32..4, 0u64..20, any::<bool>()).prop_map(|(state, batch, wait, failed)| {
            Turn::Wait { state, batch, wait: seconds(wait), failed }
        });
    prop_oneof![4 => wait, 2 => Just(Turn::Close), 1 => Just(Turn::Gone)]
}

fn end() -> impl Strategy<Value = End> {
    let hold = proptest::option::weighted(0.3, 0u64..40);
    prop_oneof![
        Just(End::Delivered),
        (0u64..40, any::<bool>(), hold, any::<bool>()).prop_map(
            |(delay, counted, hold, recorded)| End::Retry { delay, counted, hold, recorded }
        ),
        (proptest::collection::vec(0usize..3, 0..3), any::<bool>())
            .prop_map(|(handover, recorded)| End::Dead { handover, recorded }),
        Just(End::Released),
    ]
}

fn names(set: usize) -> Vec<String> {
    let chosen = NAMES.iter().enumerate().filter(|(bit, _)| set & (1 << bit) != 0);
    chosen.map(|(_, name)| (*name).to_owned()).collect()
}

/// The last destination is ordered, by one of two keys; the middle one has a bound of its own.
fn target(name: &str, key: usize) -> Target {
    match name {
        "pager" => Target { order_key: Some(format!("key {}", key % 2)), ..Target::from(name) },
        "email" => Target { expires_after: Some(seconds(40)), ..Target::from(name) },
        other => Target::from(other),
    }
}

fn targets(set: usize) -> Vec<Target> {
    names(set).iter().map(|name| target(name, set)).collect()
}

fn schedule((deliver_after, expires_after): Times) -> Schedule {
    let expires_after = expires_after.map(|after| seconds(deliver_after + after));
    Schedule { deliver_after: seconds(deliver_after), expires_after }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Both stores, and the leases that were ever given out.
struct Pair {
    model: MemoryQueue,
    store: SqliteQueue,
    directory: tempfile::TempDir,
    clock: Arc<AtomicI64>,
    leases: Vec<LeaseKey>,
    /// The newest trial of each destination.
    trials: [i64; 3],
    arrivals: u128,
}

impl Pair {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(EPOCH.as_millisecond()));
        let store = open(&directory, &clock).await;
        let model = MemoryQueue::stopped(EPOCH);
        Self { model, store, directory, clock, leases: Vec::new(), trials: [0; 3], arrivals: 1_000 }
    }

    fn key(&self, place: usize) -> LeaseKey {
        // Now and then one that nobody holds.
        let stranger = LeaseKey { id: DeliveryId(3), token: 99 };
        self.leases.iter().rev().nth(place).copied().unwrap_or(stranger)
    }

    /// Does it to both and compares the answers.
    async fn run(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Enqueue { items } => {
                let batch: Vec<Enqueue> = items.iter().map(enqueue).collect();
                let answer = self.store.enqueue(batch.clone()).await;
                same(&self.model.enqueue(batch).await, &answer)
            }
            Operation::Take { item, names, lease } => {
                let destinations = targets(*names).into_iter().map(|to| to.destination).collect();
                let taking = Taking { host: host(), lease: seconds(*lease), destinations };
                let answer = self.store.enqueue_taking(enqueue(item), taking.clone()).await;
                same(&self.model.enqueue_taking(enqueue(item), taking).await, &answer)?;
                self.leases.extend(answer.unwrap().leases.iter().map(|lease| lease.key));
                Ok(())
            }
            Operation::Arrive { times } => {
                self.arrivals += 1;
                let mut arriving = notification();
                arriving.id = NotificationId(Uuid::from_u128(self.arrivals));
                let schedule = schedule(*times);
                self.model.insert_scheduled(arriving.clone(), schedule);
                let path = self.directory.path().join("queue.db");
                insert_as_producer(&path, &arriving, schedule).await;
                Ok(())
            }
            Operation::FanOut { names: set, malformed } => {
                let arrived = self.store.arrived(3).await;
                same(&self.model.arrived(3).await, &arrived)?;
                let routes = arrived.unwrap().into_iter().map(|arrived| Route {
                    row: arrived.row,
                    destinations: if *malformed { Err("no".into()) } else { Ok(targets(*set)) },
                });
                let routes: Vec<Route> = routes.collect();
                let answer = self.store.fan_out(routes.clone()).await;
                same(&self.model.fan_out(routes).await, &answer)
            }
            Operation::Claim { slots, lease } => {
                let slots = NAMES.iter().zip(slots).map(|(name, (free, retries))| Slots {
                    destination: (*name).to_owned(),
                    free: *free,
                    retries: *retries,
                });
                let claim = Claim { host: host(), lease: seconds(*lease), slots: slots.collect() };
                let answer = self.store.claim(&claim).await;
                same(&self.model.claim(&claim).await, &answer)?;
                self.leases.extend(answer.unwrap().iter().map(|lease| lease.key));
                Ok(())
            }
            Operation::ClaimOverdue { limit, max_age, lease, early } => {
                let bounds = NAMES.iter().map(|name| AgeBound {
                    destination: (*name).to_owned(),
                    max_age: seconds(*max_age),
                    early: *early,
                });
                let (limit, bounds) = (*limit, bounds.collect());
                let sweep = Sweep { host: host(), lease: seconds(*lease), limit, bounds };
                let answer = self.store.claim_overdue(&sweep).await;
                same(&self.model.claim_overdue(&sweep).await, &answer)?;
                self.leases.extend(answer.unwrap().iter().map(|lease| lease.key));
                Ok(())
            }
            Operation::Trip { name, gone, wait } => {
                let (destination, reason) = (NAMES[*name].to_owned(), "reason".to_owned());
                let trip = Trip { destination, gone: *gone, reason, wait: seconds(*wait) };
                same(&self.model.trip(&trip).await, &self.store.trip(&trip).await)
            }
            Operation::Try { name, free, lease, patience } => {
                let claim = TrialClaim {
                    host: host(),
                    lease: seconds(*lease),
                    destination: NAMES[*name].to_owned(),
                    free: *free,
                    patience: seconds(*patience),
                };
                let answer = self.store.claim_trial(&claim).await;
                same(&self.model.claim_trial(&claim).await, &answer)?;
                if let Some(tried) = answer.unwrap() {
                    self.trials[*name] = tried.number;
                    self.leases.extend(tried.leases.iter().map(|lease| lease.key));
                }
                Ok(())
            }
            Operation::Turn { name, back, turn } => {
                let (destination, number) = (NAMES[*name].to_owned(), self.trials[*name] - back);
                let turn = BreakerTurn { destination, number, turn: *turn, reason: String::new() };
                same(&self.model.turn(&turn).await, &self.store.turn(&turn).await)
            }
            Operation::Resume { name } => {
                let name = NAMES[*name];
                same(&self.model.resume(name).await, &self.store.resume(name).await)
            }
            Operation::Extend { leases, lease } => {
                let held: Vec<LeaseKey> = leases.iter().map(|place| self.key(*place)).collect();
                let answer = self.store.extend(&held, seconds(*lease)).await;
                same(&self.model.extend(&held, seconds(*lease)).await, &answer)
            }
            Operation::Settle { items } => {
                let batch = items.iter().map(|(place, end)| settle(self.key(*place), end));
                let batch: Vec<Settle> = batch.collect();
                let answer = self.store.settle(batch.clone()).await;
                same(&self.model.settle(batch).await, &answer)
            }
            Operation::Redeliver { ids } => {
                let ids: Vec<DeliveryId> = ids.iter().copied().map(DeliveryId).collect();
                same(&self.model.redeliver(&ids).await, &self.store.redeliver(&ids).await)
            }
            Operation::Cancel { ids } => {
                let ids: Vec<DeliveryId> = ids.iter().copied().map(DeliveryId).collect();
                same(&self.model.cancel(&ids).await, &self.store.cancel(&ids).await)
            }
            Operation::Keep { names: set } => {
                let kept: Vec<_> = names(*set).into_iter().map(kept).collect();
                let answer = self.store.keep_destinations(&kept).await;
                same(&self.model.keep_destinations(&kept).await, &answer)
            }
            Operation::Bury { after } => {
                let answer = self.store.bury_orphans(seconds(*after)).await;
                same(&self.model.bury_orphans(seconds(*after)).await, &answer)
            }
            Operation::Prune { finished, dead, content } => {
                let retention = Retention {
                    finished: finished.map(seconds),
                    dead: dead.map(seconds),
                    content: content.map(seconds),
                };
                let answer = self.store.prune(&retention, None).await;
                same(&self.model.prune(&retention, None).await, &answer)
            }
            Operation::StateSet { slot: place, ttl, expected } => {
                let (slot, ttl) = (slot(*place), ttl.map(seconds));
                let answer = self.store.state_set(&slot, b"value", ttl, *expected).await;
                same(&self.model.state_set(&slot, b"value", ttl, *expected).await, &answer)?;
                same(&self.model.state_get(&slot).await, &self.store.state_get(&slot).await)
            }
            Operation::StateRemove { slot: place } => {
                let slot = slot(*place);
                same(&self.model.state_remove(&slot).await, &self.store.state_remove(&slot).await)
            }
            Operation::Advance { by } => {
                self.model.advance(seconds(*by));
                let by = i64::try_from(by * 1_000).unwrap();
                self.clock.fetch_add(by, Ordering::Relaxed);
                Ok(())
            }
            Operation::Restart => {
                self.store.close().await;
                self.store = open(&self.directory, &self.clock).await;
                Ok(())
            }
        }
    }

    /// Compares all that can be read.
    async fn compare(&self) -> Result<(), TestCaseError> {
        let (model, store) = (&self.model, &self.store);
        same(&model.size().await, &store.size().await)?;
        let numbers = |stats: Stats| Stats { sizes: crate::Sizes::default(), ..stats };
        same(&model.stats().await.map(numbers), &store.stats().await.map(numbers))?;
        for name in NAMES {
            let named = [name.to_owned()];
            same(&model.look(&named).await, &store.look(&named).await)?;
        }
        same(&model.blocked().await, &store.blocked().await)?;
        let deliveries = model.deliveries(&everything()).await;
        same(&deliveries, &store.deliveries(&everything()).await)?;
        for delivery in deliveries.unwrap() {
            let attempts = model.attempts(delivery.id).await;
            same(&attempts, &store.attempts(delivery.id).await)?;
            let numbers = attempts.unwrap().into_iter().map(|attempt| attempt.number);
            let numbers: Vec<u32> = numbers.collect();
            let without_gaps: Vec<u32> = (1..).take(numbers.len()).collect();
            prop_assert_eq!(numbers, without_gaps);
        }
        let page = Page { after: None, limit: 1_000 };
        same(&model.notifications(&page).await, &store.notifications(&page).await)?;
        same(&model.kept_destinations().await, &store.kept_destinations().await)
    }
}

async fn open(directory: &tempfile::TempDir, clock: &Arc<AtomicI64>) -> SqliteQueue {
    // Without recovery, a restart changes nothing that the model knows of.
    let options = SqliteOptions { recover: false, clock: Clock::Manual(Arc::clone(clock)) };
    SqliteQueue::open(&directory.path().join("queue.db"), options).await.unwrap()
}

fn same<T: Debug, E: Debug>(
    model: &Result<T, E>,
    store: &Result<T, E>,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(format!("{model:#?}"), format!("{store:#?}"));
    Ok(())
}

fn enqueue(item: &Item) -> Enqueue {
    let mut enqueued = notification();
    enqueued.id = NotificationId(Uuid::from_u128(item.id));
    enqueued.kind = format!("kind.{}", item.kind);
    enqueued.content = Bytes::from(vec![u8::try_from(item.kind).unwrap() * 255]);
    let idempotency_key = item.key.map(|key| format!("key {key}"));
    let (schedule, destinations) = (schedule(item.times), targets(item.names));
    Enqueue { notification: enqueued, idempotency_key, schedule, destinations }
}

fn settle(key: LeaseKey, end: &End) -> Settle {
    let (settlement, recorded, handover) = match end {
        End::Delivered => (Settlement::Delivered, true, None),
        End::Retry { delay, counted, hold, recorded } => {
            let (delay, hold) = (seconds(*delay), hold.map(seconds));
            (Settlement::Retry { delay, counted: *counted, hold }, *recorded, None)
        }
        End::Dead { handover, recorded } => {
            let handover = handover.split_first().map(|(first, rest)| Handover {
                taker: target(NAMES[*first], 0),
                chain: rest.iter().map(|place| NAMES[*place].to_owned()).collect(),
            });
            (Settlement::Dead { cause: Cause::Gone }, *recorded, handover)
        }
        End::Released => (Settlement::Released, false, None),
    };
    let attempt = recorded.then(|| attempt("outcome"));
    Settle { key, settlement, parts_done: 1, reason: "reason".into(), attempt, handover }
}

fn kept(name: String) -> KeptDestination {
    KeptDestination { text: format!("text of {name}"), module: String::new(), name }
}

fn slot((destination, key): (usize, usize)) -> Slot {
    Slot { destination: NAMES[destination].to_owned(), key: key.to_string() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

    #[test]
    fn sqlite_answers_as_the_model_does(
        operations in proptest::collection::vec(operation(), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new().await;
            for operation in &operations {
                pair.run(operation).await?;
                pair.compare().await?;
            }
            pair.store.close().await;
            Ok::<(), TestCaseError>(())
        })?;
    }
}
