//! Producers at full speed, in a closed loop: 32 connections hand in one notification at a time, and stop while as many
//! as are allowed have been taken in and have not arrived. So what is delivered is what can be sustained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use postrider_tests::wire::Wire;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use crate::running::Running;
use crate::setup::Order;
use crate::target::Counter;

/// Connections of the producers.
pub(crate) const CONNECTIONS: usize = 32;
/// Deliveries that may be on their way: enough for every queue and slot of a daemon, and little to wait for.
pub(crate) const UNDER_WAY: usize = 2_000;
/// How often the receiver is asked what came.
const LOOK: Duration = Duration::from_millis(5);
/// How long the last ones may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Load {
    shared: Arc<Shared>,
    producers: Vec<JoinHandle<()>>,
    looking: JoinHandle<Counter>,
}

/// What has happened since the start.
#[derive(Clone, Copy)]
pub(crate) struct So {
    pub(crate) at: Instant,
    /// All that were taken in.
    pub(crate) taken: u64,
    pub(crate) delivered: u64,
    pub(crate) cpu: Duration,
}

struct Shared {
    room: Semaphore,
    taken: AtomicU64,
    /// Of these, those that will arrive.
    coming: AtomicU64,
    delivered: AtomicU64,
    end: Notify,
}

impl Load {
    pub(crate) async fn start(running: &Running, counter: Counter) -> Self {
        let shared = Arc::new(Shared {
            room: Semaphore::new(UNDER_WAY),
            taken: AtomicU64::new(0),
            coming: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            end: Notify::new(),
        });
        let looking = tokio::spawn(look(shared.clone(), counter));
        let (orders, addresses) = (Arc::new(running.setup.orders()), running.addresses());
        let producer = |(number, address): (usize, &SocketAddr)| {
            tokio::spawn(produce(shared.clone(), *address, orders.clone(), number))
        };
        let producers = addresses.iter().cycle().take(CONNECTIONS).enumerate().map(producer);
        let producers = producers.collect();
        Self { shared, producers, looking }
    }

    pub(crate) fn so(&self, running: &Running) -> So {
        So {
            at: Instant::now(),
            taken: self.shared.taken.load(Ordering::Relaxed),
            delivered: self.shared.delivered.load(Ordering::Relaxed),
            cpu: running.cpu(),
        }
    }

    /// Takes no more in, and waits until all that were have arrived, each once.
    pub(crate) async fn finish(self) -> Result<Counter> {
        self.shared.room.close();
        for producer in self.producers {
            producer.await.context("a producer was refused")?;
        }
        let coming = self.shared.coming.load(Ordering::Relaxed);
        let delivered = || self.shared.delivered.load(Ordering::Relaxed);
        let waiting = Instant::now();
        while delivered() < coming && waiting.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK).await;
        }
        self.shared.end.notify_one();
        let counter = self.looking.await.context("the receiver is gone")?;
        let came = delivered();
        anyhow::ensure!(came == coming, "{came} requests came for {coming} notifications");
        Ok(counter)
    }
}

async fn produce(shared: Arc<Shared>, address: SocketAddr, orders: Arc<Vec<Order>>, first: usize) {
    let mut wire = Wire::connect(address).await;
    for order in orders.iter().cycle().skip(first % orders.len()) {
        // Asks for room for what does not come, too: without room nothing is handed in.
        let room = order.arrivals.max(1);
        let Ok(room) = shared.room.acquire_many(room as u32).await else { return };
        if order.arrivals > 0 {
            room.forget();
            shared.coming.fetch_add(order.arrivals as u64, Ordering::Relaxed);
        }
        wire.ask(&order.request).await;
        shared.taken.fetch_add(1, Ordering::Relaxed);
    }
}

/// Gives room for what has arrived.
async fn look(shared: Arc<Shared>, mut counter: Counter) -> Counter {
    let before = counter.total().await;
    let mut last = before;
    loop {
        let total = counter.total().await;
        shared.delivered.store(total - before, Ordering::Relaxed);
        shared.room.add_permits((total - last) as usize);
        last = total;
        tokio::select! {
            () = tokio::time::sleep(LOOK) => (),
            () = shared.end.notified() => return counter,
        }
    }
}
