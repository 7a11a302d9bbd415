//! The hosts of a world, and what happens to them.

use std::sync::atomic::Ordering;

use tokio::task::JoinHandle;

use super::database::Database;
use super::dice::jitter;
use super::faulty::Faulty;
use super::notifier::Chancy;
use super::world::{DESTINATIONS, PRODUCER, World};
use super::*;
use crate::dispatcher::tests::wrapped::Wrapped;

const GRACE: Duration = Duration::from_secs(5);
/// Longest that a host takes to stop: its grace period, the round under way, the last settlements.
const LONGEST_STOP: Duration = Duration::from_secs(5 + 5 + 10);

/// One running dispatcher.
pub(super) struct Host {
    line: Arc<Faulty>,
    waker: Waker,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl World {
    pub(super) fn start(&self) {
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        let line = Faulty::new(self.database.clone(), number, self.nature.odds, self.nature.shared);
        let line = Arc::new(line);
        let mut registry = Registry::default();
        for (name, text) in DESTINATIONS {
            let notifier = Chancy { line: line.clone(), destination: name.to_owned() };
            registry.insert(entry(name, text, Some(Arc::new(notifier)))).unwrap();
        }
        let options = Options {
            host: HostId(Uuid::from_u128(number as u128)),
            lease: self.nature.lease,
            grace: GRACE,
            orphan_after: Duration::from_secs(86_400),
            max_concurrency: 256,
            ahead: Duration::from_millis(500),
            signals: Signals::new().unwrap(),
            now: || Timestamp::UNIX_EPOCH,
            dice: jitter,
        };
        let (waker, stop) = (Waker::default(), CancellationToken::new());
        let registry = Arc::new(SharedRegistry::from_pointee(registry));
        let queue = Arc::new(Wrapped(line.clone()));
        let dispatcher = Dispatcher::new(queue, registry, waker.clone(), options);
        let running = tokio::spawn(dispatcher.run(stop.clone()));
        self.database.note(number, "starts");
        self.hosts.lock().unwrap().push(Host { line, waker, stop, running });
    }

    pub(super) fn wake_one(&self) {
        if let Some(waker) = self.some_waker() {
            waker.wake();
        }
    }

    pub(super) fn some_waker(&self) -> Option<Waker> {
        let hosts = self.hosts.lock().unwrap();
        let one = self.database.dice.below(hosts.len().max(1) as u64);
        hosts.get(usize::try_from(one).unwrap()).map(|host| host.waker.clone())
    }

    /// Things happen, as long as the chaos lasts.
    pub(super) async fn go_wrong(&self) {
        let start = Instant::now();
        let (dice, database) = (&self.database.dice, &self.database);
        while start.elapsed() < self.nature.chaos {
            sleep(dice.millis(100, 8_000)).await;
            match dice.below(12) {
                0 | 1 => self.kill_one(),
                2 => self.stop_one(),
                3..6 => self.start(),
                6 | 7 => self.pause_one(),
                8 => {
                    database.note(PRODUCER, "the database goes away");
                    database.down.store(true, Ordering::Relaxed);
                    sleep(dice.millis(1, 20_000)).await;
                    database.down.store(false, Ordering::Relaxed);
                }
                9 => database.jump(dice.millis(1, 60_000), dice.permille(500)),
                _ => {}
            }
        }
    }

    fn one(&self) -> Option<Host> {
        let mut hosts = self.hosts.lock().unwrap();
        let count = hosts.len() as u64;
        (count > 0).then(|| hosts.remove(usize::try_from(self.database.dice.below(count)).unwrap()))
    }

    fn kill_one(&self) {
        if let Some(host) = self.one() {
            self.database.note(host.line.host, "is killed");
            host.line.kill();
            host.running.abort();
        }
    }

    fn pause_one(&self) {
        if let Some(host) = self.one() {
            self.database.note(host.line.host, "stands still");
            let longest = u64::try_from(self.nature.lease.as_millis()).unwrap() * 3;
            host.line.pause(self.database.dice.millis(1, longest));
            self.hosts.lock().unwrap().push(host);
        }
    }

    fn stop_one(&self) {
        if let Some(host) = self.one() {
            self.database.note(host.line.host, "is stopped");
            tokio::spawn(stopped(self.database.clone(), host));
        }
    }
}

/// Stops a host and waits for its end, which comes in time.
pub(super) async fn stopped(database: Arc<Database>, host: Host) {
    let start = Instant::now();
    host.stop.cancel();
    host.running.await.unwrap();
    if start.elapsed() > LONGEST_STOP {
        database.checker.lock().unwrap().trace.broken(0, ["a host took too long to stop"]);
    }
    database.note(host.line.host, "has stopped");
    host.line.kill();
}
