//! The dispatcher in a world where everything fails: several hosts over one database, on a paused clock, all of it
//! chosen by a seed. What must hold is in `checker`; what goes wrong is in `faulty` and `world`.
//!
//! One seed again, with its story: `SIM_SEED=17 cargo test -p postrider --lib simulation::nothing`. Many:
//! `SIM_SEEDS=100000`.

mod checker;
mod database;
mod dice;
mod faulty;
mod hosts;
mod notifier;
mod reckoning;
mod trace;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use database::Broken;
use trace::Trace;

/// Seeds of an ordinary run: twenty seconds of two cores, without optimisation.
const SEEDS: u64 = 2_000;
/// A broken database is found out within so many.
const ENOUGH: u64 = 30;

fn run(seed: u64, broken: Broken) -> Result<Trace, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(world::run(seed, broken))
}

#[expect(clippy::disallowed_methods, reason = "a test's own knobs")]
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    }
}

#[test]
fn nothing_is_lost_or_settled_by_a_stranger_whatever_fails() {
    let (seeds, threads) = (seeds(), std::thread::available_parallelism().map_or(1, usize::from));
    let next = AtomicU64::new(seeds.start);
    let first_failed = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return None;
            }
            if let Err(report) = run(seed, Broken::Nothing) {
                return Some((seed, report));
            }
        }
    };
    let failed = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(first_failed)).collect();
        running.into_iter().filter_map(|thread| thread.join().unwrap()).min()
    });
    if let Some((seed, report)) = failed {
        panic!("SIM_SEED={seed}: {report}");
    }
}

#[test]
fn a_seed_always_runs_the_same_way() {
    for seed in 0..10 {
        let digest = || run(seed, Broken::Nothing).map(|trace| trace.digest());
        assert_eq!(digest(), digest(), "seed {seed}");
    }
}

/// What the checker says of a database that is broken so.
fn found(broken: Broken) -> String {
    (0..ENOUGH)
        .find_map(|seed| run(seed, broken).err())
        .unwrap_or_else(|| panic!("{broken:?} was not found within {ENOUGH} seeds"))
}

#[test]
fn the_checker_finds_a_settlement_that_ignores_the_token() {
    let report = found(Broken::SettleIgnoresToken);
    assert!(report.starts_with("a stale settlement was accepted"), "{report}");
}

#[test]
fn the_checker_finds_a_claim_that_keeps_the_token() {
    let report = found(Broken::ClaimKeepsToken);
    assert!(report.starts_with("a claim did not make a newer token"), "{report}");
}

#[test]
fn the_checker_finds_a_live_lease_given_out_twice() {
    // One of a delivery that has ended, or whose key went on, shows otherwise: another seed tells.
    let wanted = "a live lease was given out a second time";
    let mut reports = (0..ENOUGH).filter_map(|seed| run(seed, Broken::LiveLeaseTwice).err());
    assert!(reports.any(|report| report.starts_with(wanted)));
}

#[test]
fn the_checker_finds_an_order_that_is_not_kept() {
    let report = found(Broken::OrderIgnored);
    assert!(report.starts_with("two of one key were given out at once"), "{report}");
}

#[test]
fn the_checker_finds_settlements_that_are_dropped() {
    // It shows in many ways: given out again, a gap, a budget, another end than was settled.
    assert_ne!(found(Broken::SettlementsDropped), "");
}

#[test]
fn the_checker_finds_notifications_that_are_acknowledged_and_dropped() {
    let report = found(Broken::EnqueuesDropped);
    assert!(report.starts_with("an acknowledged notification is not there"), "{report}");
}

#[test]
fn the_checker_finds_what_is_given_out_behind_an_open_breaker() {
    let wanted = "something was given out behind an open breaker";
    let mut reports = (0..ENOUGH).filter_map(|seed| run(seed, Broken::TripsDropped).err());
    assert!(reports.any(|report| report.starts_with(wanted)));
}
