//! Several hosts on one PostgreSQL, with two destinations.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postrider_test_postgres::{Cluster, Settings};
use postrider_tests::daemon::{Daemon, House, http};
use postrider_tests::receiver::Receiver;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::books;

/// The shortest lease: what a killed host held is due again within the test.
pub(crate) const LEASE: &str = "3s";
/// The most sends that one host has in flight to one destination.
pub(crate) const CONCURRENCY: usize = 8;
pub(crate) const DESTINATIONS: [&str; 2] = ["east", "west"];
/// How many deliveries have not ended.
pub(crate) const LIVE: &str = "select count(*) from deliveries where state = 0";
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct Fleet {
    pub(crate) cluster: Arc<Cluster>,
    /// One for each destination.
    pub(crate) receivers: [Receiver; 2],
    houses: Vec<House>,
    /// What each host takes for the port of its database.
    ports: Vec<u16>,
    pub(crate) hosts: Vec<Daemon>,
    /// Where they are, for producers that work on while hosts come and go.
    urls: Arc<Mutex<Vec<String>>>,
    /// Identities of hosts to which something was done that may cost leases.
    disturbed: BTreeSet<String>,
}

impl Fleet {
    /// Starts as many hosts as there are `ports` to their database.
    pub(crate) async fn start(cluster: Arc<Cluster>, ports: Vec<u16>) -> Self {
        let receivers = [Receiver::of_many().await, Receiver::of_many().await];
        Self::start_with(cluster, ports, receivers).await
    }

    pub(crate) async fn start_with(
        cluster: Arc<Cluster>,
        ports: Vec<u16>,
        receivers: [Receiver; 2],
    ) -> Self {
        let mut fleet = Self {
            cluster,
            receivers,
            houses: Vec::new(),
            ports: Vec::new(),
            hosts: Vec::new(),
            urls: Arc::default(),
            disturbed: BTreeSet::new(),
        };
        for port in ports {
            fleet.join(port).await;
        }
        fleet
    }

    /// Starts one more host, whose database is at `port`.
    pub(crate) async fn join(&mut self, port: u16) {
        let house = house(&self.receivers);
        if let Some(first) = self.houses.first() {
            house.take_compiled(first);
        }
        self.houses.push(house);
        self.ports.push(port);
        let host = self.launch(self.hosts.len()).await;
        if self.hosts.is_empty() {
            books::open(&self.cluster);
        }
        self.urls.lock().unwrap().push(host.url().to_owned());
        self.hosts.push(host);
    }

    async fn launch(&self, place: usize) -> Daemon {
        let house = &self.houses[place];
        let mut command = house.command();
        let url = format!("postgres://postrider@127.0.0.1:{}/postgres", self.ports[place]);
        command.env("POSTRIDER_LEASE", LEASE).env("POSTRIDER_DATABASE", url);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        house.start_command(command).await
    }

    /// Takes `count` notifications in by SQL, as one transaction of a producer.
    pub(crate) fn insert(&self, count: usize) {
        let insert = format!(
            "insert into notifications (type, content) \
             select 'storm', '{{}}' from generate_series(1, {count})"
        );
        self.cluster.psql("postgres", &insert).unwrap();
    }

    /// Hands `count` notifications to whichever host takes them, with a key each, until each is acknowledged.
    pub(crate) fn produce(&self, count: usize) -> tokio::task::JoinHandle<()> {
        let urls = self.urls.clone();
        tokio::spawn(async move {
            for number in 0..count {
                hand_in(&urls, number).await;
            }
        })
    }

    /// Kills a host and starts it again.
    pub(crate) async fn kill(&mut self, place: usize) {
        self.disturb(place);
        let killed = self.hosts.remove(place);
        killed.kill().await;
        let next = self.launch(place).await;
        self.urls.lock().unwrap()[place] = next.url().to_owned();
        self.hosts.insert(place, next);
    }

    /// Lets a host stand still until others have taken all that it held, and then go on.
    pub(crate) async fn pause(&mut self, place: usize) {
        self.stand_still(place).await;
        self.hosts[place].signal(Signal::CONT);
    }

    /// Lets a host stand still, and waits until others have taken all that it held.
    pub(crate) async fn stand_still(&mut self, place: usize) {
        self.disturb(place);
        self.hosts[place].signal(Signal::STOP);
        let owned =
            format!("select count(*) from deliveries where owner = '{}'", self.hosts[place].host());
        self.until_sql(&owned, "0").await;
    }

    /// Waits until a host has found so many leases lost.
    pub(crate) async fn until_lost(&self, place: usize, count: usize) {
        let mut ticks = ticks();
        let lost = |line: &&String| line.contains("the lease was lost");
        for _ in 0..1_500 {
            ticks.tick().await;
            if self.hosts[place].log().iter().filter(lost).count() >= count {
                return;
            }
        }
        panic!("fewer than {count} leases were lost\n{}", self.logs());
    }

    /// From now on leases of this host may be lost.
    pub(crate) fn disturb(&mut self, place: usize) {
        self.disturbed.insert(self.hosts[place].host());
    }

    pub(crate) fn disturb_all(&mut self) {
        (0..self.hosts.len()).for_each(|place| self.disturb(place));
    }

    /// Waits until so many notifications have come, to both destinations together.
    pub(crate) async fn until_received(&self, count: usize, patience: Duration) {
        let came = || self.receivers.iter().map(Receiver::distinct).sum::<usize>();
        let mut ticks = ticks();
        let waiting = async {
            while came() < count {
                ticks.tick().await;
            }
        };
        let timely = tokio::time::timeout(patience, waiting).await.is_ok();
        assert!(timely, "{} of {count} came\n{}", came(), self.logs());
    }

    /// Waits until a query's answer is as wanted.
    pub(crate) async fn until_sql(&self, query: &str, wanted: &str) {
        let mut ticks = ticks();
        for _ in 0..1_500 {
            ticks.tick().await;
            if self.cluster.psql("postgres", query).unwrap() == wanted {
                return;
            }
        }
        panic!("{query} did not become {wanted}\n{}", self.logs());
    }

    /// Waits until everything is delivered, and audits it: see [`books`].
    pub(crate) async fn settle_up(
        &self,
        notifications: usize,
        patience: Duration,
    ) -> books::Reckoning {
        self.until_received(notifications * DESTINATIONS.len(), patience).await;
        self.until_sql(LIVE, "0").await;
        books::audit(&self.cluster, &self.receivers, notifications, &self.disturbed)
    }

    pub(crate) async fn stop(self) {
        for host in self.hosts {
            assert!(host.stop().await.success());
        }
    }

    fn logs(&self) -> String {
        let logs = self.hosts.iter().map(|host| host.log().join("\n"));
        logs.collect::<Vec<_>>().join("\n---\n")
    }
}

/// `None` without PostgreSQL on the machine.
pub(crate) fn cluster() -> Option<Arc<Cluster>> {
    Cluster::start_or_skip(Settings::durable()).map(Arc::new)
}

fn house(receivers: &[Receiver; 2]) -> House {
    let house = House::new();
    house.put_module("webhook", "webhook");
    for (name, receiver) in DESTINATIONS.into_iter().zip(receivers) {
        // Each request says which attempt of which notification it is.
        let more = format!(
            "config.body = \"template\"\nconfig.template = \"{{{{ id }}}} {{{{ attempt }}}}\"\n\
             policy.concurrency = {CONCURRENCY}"
        );
        let text = crate::hook(receiver, &more);
        house.put(&format!("{name}.toml"), text);
    }
    house
}

async fn hand_in(urls: &Mutex<Vec<String>>, number: usize) {
    let body = json!({"type": "storm", "idempotency_key": number.to_string()}).to_string();
    let mut ticks = ticks();
    for attempt in 0.. {
        let url = {
            let urls = urls.lock().unwrap();
            urls[(number + attempt) % urls.len()].clone()
        };
        let request = http().post(format!("{url}/v1/notifications")).body(body.clone());
        let taken = request.timeout(Duration::from_secs(3)).send().await;
        if taken.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        ticks.tick().await;
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
