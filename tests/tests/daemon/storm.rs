//! Hosts are killed at random while they deliver.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::Write as _;
use std::time::{Duration, Instant};

use postrider_tests::dice::Dice;

use crate::books::Reckoning;
use crate::fleet::{CONCURRENCY, DESTINATIONS, Fleet, cluster};

const HOSTS: usize = 4;
/// Of so many notifications one comes through the API, the others by SQL.
const API_SHARE: usize = 10;
/// After so many kills a host is stopped past its lease and then goes on, which a killed one never does.
const KILLS_PER_PAUSE: usize = 3;

/// What a claim brings for one destination beyond its free slots, at most.
const AHEAD: usize = 256;

struct Storm {
    notifications: usize,
    kills: usize,
    patience: Duration,
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_killed_at_random_lose_nothing_and_write_nothing_stale() {
    let patience = Duration::from_secs(120);
    run(Storm { notifications: 4_000, kills: 6, patience }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; the same with fewer always runs"]
async fn a_hundred_thousand_survive_forty_kills() {
    let patience = Duration::from_secs(900);
    run(Storm { notifications: 100_000, kills: 40, patience }).await;
}

async fn run(storm: Storm) {
    let Some(cluster) = cluster() else { return };
    let seed = Dice::seed();
    say(&format!("POSTRIDER_TEST_SEED={seed} repeats this storm"));
    let mut dice = Dice::new(seed);
    let port = cluster.port();
    let mut fleet = Fleet::start(cluster, vec![port; HOSTS]).await;
    let start = Instant::now();
    let by_api = storm.notifications / API_SHARE;
    let producing = fleet.produce(by_api);
    fleet.insert(storm.notifications - by_api);

    let pauses = storm.kills / KILLS_PER_PAUSE;
    let blows = storm.kills + pauses;
    let share = storm.notifications * DESTINATIONS.len() / (blows + 1);
    for blow in 0..blows {
        fleet.until_received(blow * share + dice.below(share), storm.patience).await;
        let place = dice.below(HOSTS);
        match blow % (KILLS_PER_PAUSE + 1) {
            KILLS_PER_PAUSE => fleet.pause(place).await,
            _ => fleet.kill(place).await,
        }
    }
    producing.await.unwrap();
    let reckoning = fleet.settle_up(storm.notifications, storm.patience).await;
    report(&storm, pauses, &reckoning, start);
    // What a host may have in flight, as much again that is sent and not yet written, and what it leased ahead.
    let held = (2 * CONCURRENCY + AHEAD) * DESTINATIONS.len();
    assert!(reckoning.lost <= blows * held, "{reckoning:?}: more than {blows} hosts held");
    fleet.stop().await;
}

fn report(storm: &Storm, pauses: usize, reckoning: &Reckoning, start: Instant) {
    let took = start.elapsed().as_secs_f64();
    say(&format!(
        "{} notifications, {} kills, {pauses} pauses: lost attempts {}, doubled {}, {took:.1} s",
        storm.notifications, storm.kills, reckoning.lost, reckoning.doubled
    ));
}

/// Past the test harness, which keeps what a test that passes prints.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").ok();
}
