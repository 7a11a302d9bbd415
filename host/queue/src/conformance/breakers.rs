//! Destinations that are left alone.

use postrider_core::breaker::{BreakerState, Turn};
use postrider_core::settle::Settlement;

use super::{DEAD, LEASE, MINUTE, Stage, claim, host, retry, settle};
use crate::{AgeBound, Blocked, Breaker, BreakerTurn, Sweep, TrialClaim, Tried, Trip};

const PATIENCE: std::time::Duration = MINUTE;

fn tripped(gone: bool) -> Trip {
    let reason = "503 again and again".to_owned();
    Trip { destination: "slack".to_owned(), gone, reason, wait: MINUTE }
}

async fn trip(stage: &Stage, gone: bool) -> bool {
    stage.queue.trip(&tripped(gone)).await.unwrap()
}

async fn try_with(stage: &Stage, free: u32) -> Option<Tried> {
    let destination = "slack".to_owned();
    let claim = TrialClaim { host: host(), lease: LEASE, destination, free, patience: PATIENCE };
    stage.queue.claim_trial(&claim).await.unwrap()
}

async fn turn(stage: &Stage, number: i64, turn: Turn) -> bool {
    let (destination, reason) = ("slack".to_owned(), String::new());
    stage.queue.turn(&BreakerTurn { destination, number, turn, reason }).await.unwrap()
}

async fn ramp(stage: &Stage, number: i64, batch: u32) {
    let state = BreakerState::Ramping;
    assert!(turn(stage, number, Turn::Wait { state, batch, wait: MINUTE, failed: false }).await);
}

async fn blocked(stage: &Stage) -> Vec<Blocked> {
    stage.queue.blocked().await.unwrap()
}

async fn breaker(stage: &Stage) -> Breaker {
    let mut blocked = blocked(stage).await;
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    blocked.remove(0).breaker.unwrap()
}

/// So many due deliveries behind an open breaker.
async fn open(stage: &Stage, count: usize) {
    for _ in 0..count {
        stage.enqueue(&["slack", "email"]).await;
    }
    assert!(trip(stage, false).await);
}

pub(crate) async fn an_open_breaker_keeps_every_claim_away(stage: &Stage) {
    open(stage, 3).await;
    assert!(!trip(stage, false).await, "it is open already");
    stage.advance(100 * MINUTE);
    assert!(stage.claim("slack").await.is_empty());
    assert_eq!(stage.claim("email").await.len(), 3, "another is not concerned");
    assert_eq!(stage.delivery(stage.claim_trial_one().await).await.attempts, 1);
}

pub(crate) async fn the_first_probe_comes_after_the_wait_and_takes_one(stage: &Stage) {
    open(stage, 3).await;
    stage.advance(MINUTE / 2);
    assert!(try_with(stage, 10).await.is_none());
    stage.advance(MINUTE / 2);
    let tried = try_with(stage, 10).await.unwrap();
    assert_eq!((tried.trial.state, tried.trial.asked), (BreakerState::Probing, 1));
    assert_eq!((tried.trial.got, tried.leases.len()), (1, 1));
    assert_eq!(breaker(stage).await.state, BreakerState::Probing);
    assert!(try_with(stage, 10).await.is_none(), "one over all hosts");
}

pub(crate) async fn a_trial_is_given_up_after_its_patience(stage: &Stage) {
    open(stage, 3).await;
    stage.advance(MINUTE);
    let first = try_with(stage, 10).await.unwrap();
    stage.advance(PATIENCE);
    let second = try_with(stage, 10).await.unwrap();
    assert!(!turn(stage, first.number, Turn::Close).await, "its turn is over");
    assert!(turn(stage, second.number, Turn::Close).await);
    assert!(!turn(stage, second.number, Turn::Close).await, "a turn is taken once");
}

pub(crate) async fn nothing_due_is_no_trial(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    assert!(trip(stage, false).await);
    stage.settle(settle(lease.key, retry(10 * MINUTE))).await;
    stage.advance(5 * MINUTE);
    assert!(try_with(stage, 10).await.is_none());
    assert_eq!(breaker(stage).await.state, BreakerState::Open);
    let looked = stage.queue.look(&["slack".to_owned()]).await.unwrap();
    assert_eq!(looked.trial, None);
    stage.advance(5 * MINUTE);
    assert!(try_with(stage, 0).await.is_none(), "a host without room tries nothing");
    assert_eq!(try_with(stage, 10).await.unwrap().trial.got, 1);
}

pub(crate) async fn a_ramp_takes_the_oldest_of_both_lanes(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    stage.settle(settle(lease.key, retry(MINUTE / 2))).await;
    open(stage, 3).await;
    stage.advance(MINUTE);
    let probe = try_with(stage, 10).await.unwrap();
    stage.settle(settle(probe.leases[0].key, Settlement::Delivered)).await;
    ramp(stage, probe.number, 3).await;
    assert!(try_with(stage, 10).await.is_none(), "not before its pause has passed");
    stage.advance(MINUTE);
    let tried = try_with(stage, 10).await.unwrap();
    assert_eq!(tried.trial.state, BreakerState::Ramping);
    let mut taken: Vec<i64> = tried.leases.iter().map(|lease| lease.key.id.0).collect();
    taken.sort_unstable();
    // The even ones belong to another destination; the probe took the oldest due, number 3.
    assert_eq!(taken, [1, 5, 7]);
}

pub(crate) async fn a_trial_takes_no_more_than_a_host_has_room_for(stage: &Stage) {
    open(stage, 5).await;
    stage.advance(MINUTE);
    let probe = try_with(stage, 10).await.unwrap();
    ramp(stage, probe.number, 4).await;
    stage.advance(MINUTE);
    let tried = try_with(stage, 2).await.unwrap();
    assert_eq!((tried.trial.batch, tried.trial.asked, tried.trial.got), (4, 2, 2));
}

pub(crate) async fn a_closed_breaker_leaves_nothing_behind(stage: &Stage) {
    open(stage, 3).await;
    stage.advance(MINUTE);
    let probe = try_with(stage, 10).await.unwrap();
    assert!(turn(stage, probe.number, Turn::Close).await);
    assert_eq!(blocked(stage).await, []);
    assert_eq!(stage.claim("slack").await.len(), 2);
}

pub(crate) async fn failed_probes_are_counted_and_the_last_reason_is_told(stage: &Stage) {
    open(stage, 3).await;
    let fail = Turn::Wait { state: BreakerState::Open, batch: 1, wait: MINUTE, failed: true };
    for failures in 0..3 {
        stage.advance(MINUTE);
        let probe = try_with(stage, 10).await.unwrap();
        assert_eq!(probe.trial.failures, failures);
        stage.settle(settle(probe.leases[0].key, retry(MINUTE))).await;
        let reason = format!("failure {failures}");
        let destination = "slack".to_owned();
        let turn = BreakerTurn { destination, number: probe.number, turn: fail, reason };
        assert!(stage.queue.turn(&turn).await.unwrap());
    }
    let breaker = breaker(stage).await;
    assert_eq!((breaker.state, breaker.failures), (BreakerState::Open, 3));
    assert_eq!(breaker.reason, "failure 2");
}

pub(crate) async fn what_is_gone_is_never_tried_until_it_is_resumed(stage: &Stage) {
    open(stage, 2).await;
    stage.advance(MINUTE);
    let probe = try_with(stage, 10).await.unwrap();
    stage.settle(settle(probe.leases[0].key, DEAD)).await;
    assert!(trip(stage, true).await, "an open one can be gone, too");
    assert!(!trip(stage, true).await);
    assert!(!turn(stage, probe.number, Turn::Close).await, "a late success changes nothing");
    stage.advance(100 * MINUTE);
    assert!(try_with(stage, 10).await.is_none());
    let gone = breaker(stage).await;
    assert_eq!((gone.state, gone.next), (BreakerState::Gone, None));
    assert!(stage.queue.resume("slack").await.unwrap());
    assert!(!stage.queue.resume("slack").await.unwrap());
    assert_eq!(blocked(stage).await, []);
    stage.claim_one("slack").await;
}

pub(crate) async fn a_probe_can_find_it_gone(stage: &Stage) {
    open(stage, 1).await;
    stage.advance(MINUTE);
    let probe = try_with(stage, 10).await.unwrap();
    assert!(turn(stage, probe.number, Turn::Gone).await);
    assert_eq!(breaker(stage).await.state, BreakerState::Gone);
}

pub(crate) async fn a_hold_is_told_and_lifted_by_a_resume(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let hold =
        |minutes| Settlement::Retry { delay: MINUTE, counted: false, hold: Some(MINUTE * minutes) };
    let lease = stage.claim_one("slack").await;
    stage.settle(settle(lease.key, hold(1))).await;
    stage.advance(5 * MINUTE);
    assert_eq!(blocked(stage).await, [], "it has passed");
    let lease = stage.claim_one("slack").await;
    stage.settle(settle(lease.key, hold(10))).await;
    stage.advance(2 * MINUTE);
    let held = blocked(stage).await.remove(0);
    assert_eq!((held.age, held.breaker), (2 * MINUTE, None), "since the newer one");
    assert!(held.until.is_some());
    assert!(stage.queue.resume("slack").await.unwrap());
    stage.claim_one("slack").await;
}

pub(crate) async fn a_breaker_waits_out_the_hold_before_it(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    let hold = Some(10 * MINUTE);
    let wait = Settlement::Retry { delay: MINUTE, counted: false, hold };
    stage.settle(settle(lease.key, wait)).await;
    assert!(trip(stage, false).await);
    stage.advance(9 * MINUTE);
    assert!(try_with(stage, 10).await.is_none());
    assert_eq!(blocked(stage).await[0].age, 9 * MINUTE, "one absence");
    stage.advance(MINUTE);
    assert!(try_with(stage, 10).await.is_some());
}

pub(crate) async fn a_look_tells_of_the_next_trial(stage: &Stage) {
    let looked = async || stage.queue.look(&["slack".to_owned()]).await.unwrap().trial;
    stage.enqueue(&["slack"]).await;
    assert_eq!(looked().await, None);
    assert!(trip(stage, false).await);
    assert!(looked().await.is_some_and(|wait| !wait.is_zero() && wait <= MINUTE));
    stage.advance(MINUTE);
    assert_eq!(looked().await, Some(std::time::Duration::ZERO));
    assert_eq!(stage.queue.look(&["email".to_owned()]).await.unwrap().trial, None);
    assert!(trip(stage, true).await);
    assert_eq!(looked().await, None);
}

pub(crate) async fn a_sweep_takes_early_what_is_not_due_and_not_leased(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    stage.settle(settle(lease.key, retry(100 * MINUTE))).await;
    stage.enqueue(&["slack"]).await;
    stage.claim_one("slack").await;
    open(stage, 1).await;
    stage.advance(LEASE / 3);
    let swept = async |early| {
        let destination = "slack".to_owned();
        let bound = AgeBound { destination, max_age: LEASE / 3, early };
        let sweep = Sweep { host: host(), lease: LEASE, limit: 10, bounds: vec![bound] };
        let leases = stage.queue.claim_overdue(&sweep).await.unwrap();
        let mut ids: Vec<i64> = leases.iter().map(|lease| lease.key.id.0).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(swept(true).await, [1, 4]);
    assert!(swept(true).await.is_empty());
}

impl Stage {
    async fn claim_trial_one(&self) -> postrider_core::DeliveryId {
        let tried = try_with(self, 1).await.unwrap();
        tried.leases[0].key.id
    }
}

pub(crate) async fn an_expired_lease_is_lost_in_a_trial_too(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let leases = stage.queue.claim(&claim(&[("slack", 1, 0)])).await.unwrap();
    assert!(trip(stage, false).await);
    stage.advance(LEASE.max(MINUTE));
    let tried = try_with(stage, 1).await.unwrap();
    assert_eq!(tried.leases[0].standing.lost, 1);
    assert_eq!(stage.attempts(leases[0].key.id).await, [(1, "lost".to_owned())]);
}
