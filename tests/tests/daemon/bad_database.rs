//! A database that does not do its work: callers and operators are told in one clear line, nothing spins, and it goes
//! on by itself as soon as the database does.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::time::{Duration, Instant};

use postrider_test_postgres::{Cluster, Settings};
use postrider_tests::daemon::{Daemon, House, http};
use postrider_tests::receiver::Receiver;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{hook, hooked};

const PATIENCE: Duration = Duration::from_secs(90);
/// The API's own limit is two seconds; the rest is a busy machine's. Without it nobody would answer for minutes.
const ANSWER: Duration = Duration::from_secs(8);
/// The most lines in the log in a minute, and so for an outage that is shorter.
const LINES: usize = 6;
/// Callers at once, more than a host has connections.
const CALLERS: usize = 20;

/// Ends the daemon's sessions, and counts them with those that are just beginning and bear no name yet.
const CUT: &str = "select count(*), count(pg_terminate_backend(pid)) filter (where usename = 'app') from \
     pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";

/// What is done to the database, and undone, and what callers are told meanwhile.
struct Fault {
    breaks: fn(&Cluster),
    told: &'static str,
    mends: fn(&Cluster),
}

fn sql(cluster: &Cluster, sql: &str) {
    cluster.psql("postgres", sql).unwrap();
}

/// Ends the daemon's sessions until there are none.
fn cut(cluster: &Cluster) {
    while !cluster.psql("postgres", CUT).unwrap().starts_with("0|") {}
}

const PASSWORD: Fault = Fault {
    breaks: |cluster| {
        sql(cluster, "alter role app password 'changed'");
        cut(cluster);
    },
    told: "it refuses this user; check user and password in `database`",
    mends: |cluster| sql(cluster, "alter role app password 'right'"),
};
const DATABASE: Fault = Fault {
    breaks: |cluster| {
        sql(cluster, "alter database q allow_connections false");
        cut(cluster);
        sql(cluster, "alter database q rename to gone");
    },
    told: "create that database, or name another in `database`",
    mends: |cluster| {
        sql(cluster, "alter database gone rename to q");
        sql(cluster, "alter database q allow_connections true");
    },
};
const PRIVILEGE: Fault = Fault {
    breaks: |cluster| {
        cluster.psql("q", "revoke all on all tables in schema public from app").map(drop).unwrap();
    },
    told: "grant this user the tables and the schema",
    mends: |cluster| {
        cluster.psql("q", "grant all on all tables in schema public to app").map(drop).unwrap();
    },
};
/// The schema's version can be read, and the destinations of the last run cannot.
const PART: Fault = Fault {
    breaks: |cluster| {
        cluster.psql("q", "revoke all on destinations from app").map(drop).unwrap();
    },
    told: "grant this user the tables and the schema",
    mends: |cluster| {
        cluster.psql("q", "grant all on destinations to app").map(drop).unwrap();
    },
};
const READ_ONLY: Fault = Fault {
    breaks: |cluster| cluster.set_read_only(true).unwrap(),
    told: "read-only",
    mends: |cluster| cluster.set_read_only(false).unwrap(),
};
const REPLICA: Fault = Fault {
    breaks: |cluster| {
        cluster.stop().unwrap();
        cluster.start_as_replica().unwrap();
    },
    told: "read-only",
    mends: |cluster| sql(cluster, "select pg_promote()"),
};
const NO_CONNECTION: Fault = Fault {
    breaks: |cluster| {
        sql(cluster, "alter role app connection limit 0");
        cut(cluster);
    },
    told: "too many connections",
    mends: |cluster| sql(cluster, "alter role app connection limit -1"),
};
const STOPPED: Fault = Fault {
    breaks: |cluster| cluster.stop().unwrap(),
    told: "PostgreSQL cannot be reached",
    mends: |cluster| cluster.start_again().unwrap(),
};
const PAUSED: Fault = Fault {
    breaks: |cluster| cluster.pause().unwrap(),
    told: "in time",
    mends: |cluster| cluster.resume().unwrap(),
};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_refuses_its_user_is_named_and_waited_for() {
    survive(&[PASSWORD, DATABASE, PRIVILEGE]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_is_named_and_waited_for() {
    survive(&[READ_ONLY, REPLICA]).await;
}

/// The pool itself tries on where it is refused, until its patience is over; what it heard is lost with that.
const NO_REASON: &str = "PostgreSQL gave no connection in time";

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_gives_no_connection_is_named_and_waited_for() {
    survive(&[Fault { told: NO_REASON, ..NO_CONNECTION }]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_named_and_waited_for() {
    survive(&[Fault { told: NO_REASON, ..STOPPED }]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stands_still_is_named_and_waited_for() {
    survive(&[PAUSED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_database_that_refuses_its_user_waits_for_it() {
    start_on(&[PASSWORD, DATABASE, PRIVILEGE, PART]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_database_that_takes_nothing_waits_for_it() {
    start_on(&[READ_ONLY, REPLICA, NO_CONNECTION]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_that_change_while_the_database_is_away_are_kept_later() {
    let Some(place) = Place::new().await else { return };
    let daemon = place.start_at("127.0.0.1:0").await;
    place.cluster.stop().unwrap();
    for number in 1..=3 {
        let name = format!("more-{number}");
        place.house.put(&format!("{name}.toml"), hook(&place.receiver, ""));
        let listed = |list: &serde_json::Value| list.to_string().contains(&name);
        daemon.until("/v1/destinations", listed).await;
    }
    let said = |line: &&String| line.contains("the destinations could not be kept for a restart");
    assert_eq!(daemon.log().iter().filter(said).count(), 1);

    place.cluster.start_again().unwrap();
    let kept = until(async || {
        let kept = place.cluster.psql("q", "select count(*) from destinations").unwrap();
        (kept == "4").then_some(())
    });
    assert!(kept.await.is_some());
    assert!(daemon.stop().await.success());
}

/// A database of its own role, and a house for the daemon that uses it.
struct Place {
    receiver: Receiver,
    house: House,
    cluster: Cluster,
}

impl Place {
    async fn new() -> Option<Self> {
        let cluster = Cluster::start_or_skip(Settings::quick())?;
        sql(&cluster, "create role app login password 'right'");
        sql(&cluster, "create database q owner app");
        cluster.ask_for_password("app").unwrap();
        let receiver = Receiver::ok().await;
        let house = hooked(&receiver, "");
        let place = Self { receiver, house, cluster };
        assert!(place.start_at("127.0.0.1:0").await.stop().await.success());
        Some(place)
    }

    async fn start_at(&self, listen: &str) -> Daemon {
        let url = format!("postgres://app:right@127.0.0.1:{}/q", self.cluster.port());
        let mut command = self.house.command();
        command.env("POSTRIDER_DATABASE", url).args(["serve", "--listen", listen]);
        self.house.start_command(command).await
    }
}

async fn start_on(faults: &[Fault]) {
    let Some(place) = Place::new().await else { return };
    for fault in faults {
        (fault.breaks)(&place.cluster);
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let free = free.to_string();
        let url = format!("http://{free}");
        let mending = async {
            let text = refusal(&url, fault.told).await;
            assert!(text.contains("postrider waits for its database: "), "{text}");
            (fault.mends)(&place.cluster);
        };
        let (daemon, ()) = tokio::join!(place.start_at(&free), mending);
        let line = daemon.line("the database cannot be used yet; postrider tries on").await;
        assert!(line.contains(fault.told), "{line}");
        daemon.enqueue(&json!({"type": "x"})).await;
        daemon.until_empty().await;
        assert!(daemon.stop().await.success());
    }
}

async fn survive(faults: &[Fault]) {
    let Some(place) = Place::new().await else { return };
    let mut accepted = 0;
    for fault in faults {
        let daemon = place.start_at("127.0.0.1:0").await;
        daemon.enqueue(&json!({"type": "before"})).await;
        let logged = daemon.log().len();
        (fault.breaks)(&place.cluster);
        refusal(daemon.url(), fault.told).await;
        let callers: Vec<_> =
            (0..CALLERS).map(|_| tokio::spawn(offer(daemon.url().to_owned()))).collect();
        for caller in callers {
            let answered = caller.await.unwrap().unwrap();
            assert_eq!(answered.status, 503, "{}: {}", fault.told, answered.text);
        }
        daemon.line("unavailable").await;
        (fault.mends)(&place.cluster);
        taken(daemon.url()).await;
        accepted += 2;
        place.receiver.until(accepted, PATIENCE).await;
        let log = daemon.log();
        let lines = log.get(logged..).unwrap_or_default();
        assert!(lines.len() <= LINES, "{} lines:\n{}", lines.len(), lines.join("\n"));
        assert!(daemon.stop().await.success());
    }
}

pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Offers a notification. What is answered is answered in time, and a refusal says when to come again.
pub(crate) async fn offer(url: String) -> reqwest::Result<Answered> {
    offer_of(url, "x").await
}

pub(crate) async fn offer_of(url: String, content: &str) -> reqwest::Result<Answered> {
    let body = json!({"type": "offered", "content_text": content}).to_string();
    let start = Instant::now();
    let answer = http().post(format!("{url}/v1/notifications")).body(body).send().await?;
    let took = start.elapsed();
    assert!(took < ANSWER, "answered after {took:?}");
    let status = answer.status().as_u16();
    assert_eq!(status == 503, answer.headers().contains_key("retry-after"));
    Ok(Answered { status, text: answer.text().await? })
}

/// Offers until a refusal tells what it must, and answers its text.
async fn refusal(url: &str, told: &str) -> String {
    let mut last = String::new();
    let refused = until(async || {
        let answered = offer(url.to_owned()).await.ok()?;
        assert!(answered.status == 503 || answered.status == 201, "{}", answered.text);
        last.clone_from(&answered.text);
        answered.text.contains(told).then_some(answered.text)
    })
    .await;
    refused.unwrap_or_else(|| panic!("callers are told {last}, not {told}"))
}

/// Offers until it is taken.
pub(crate) async fn taken(url: &str) {
    let taken = until(async || {
        let answered = offer(url.to_owned()).await.ok()?;
        (answered.status == 201).then_some(())
    });
    assert!(taken.await.is_some(), "nothing is taken any more");
}

/// Asks now and then until there is an answer; none after [`PATIENCE`].
pub(crate) async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let mut ticks = interval(Duration::from_millis(100));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let asking = async {
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    timeout(PATIENCE, asking).await.ok()
}
