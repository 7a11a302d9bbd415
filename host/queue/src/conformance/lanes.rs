//! How first attempts and retries share a claim.

use super::*;
use crate::MAX_BATCH;

/// Given so many retries and then so many first attempts, all due.
async fn backlog(stage: &Stage, retries: usize, fresh: usize) {
    enqueue(stage, retries).await;
    let made = stage.queue.claim(&claim(&[("slack", 1_000, 0)])).await.unwrap();
    let settled = made.iter().map(|lease| settle(lease.key, retry(MINUTE)));
    assert_eq!(stage.queue.settle(settled.collect()).await.unwrap(), []);
    stage.advance(MINUTE);
    enqueue(stage, fresh).await;
}

async fn enqueue(stage: &Stage, count: usize) {
    let batch = (0..count).map(|_| item(&["slack"])).collect();
    stage.queue.enqueue(batch).await.unwrap();
}

/// Claims with so many free slots and so many of them kept for retries, and delivers what it gets. Answers the
/// retries and the first attempts.
async fn take(stage: &Stage, free: u32, kept: u32) -> (usize, usize) {
    let leases = stage.queue.claim(&claim(&[("slack", free, kept)])).await.unwrap();
    let settled = leases.iter().map(|lease| settle(lease.key, Settlement::Delivered));
    assert_eq!(stage.queue.settle(settled.collect()).await.unwrap(), []);
    let retries = leases.iter().filter(|lease| lease.attempt > 1).count();
    (retries, leases.len() - retries)
}

pub(crate) async fn retries_get_what_is_kept_for_them_beside_a_fresh_backlog(stage: &Stage) {
    backlog(stage, 5, 50).await;
    assert_eq!(take(stage, 8, 2).await, (2, 6));
    assert_eq!(take(stage, 8, 0).await, (0, 8));
    assert_eq!(take(stage, 8, 8).await, (3, 5));
}

pub(crate) async fn a_backlog_of_retries_gets_no_more_than_is_kept_beside_fresh_ones(
    stage: &Stage,
) {
    backlog(stage, 50, 9).await;
    assert_eq!(take(stage, 8, 4).await, (4, 4));
    assert_eq!(take(stage, 5, 1).await, (1, 4));
    // Then the last first attempt is not kept waiting.
    assert_eq!(take(stage, 8, 4).await, (7, 1));
}

pub(crate) async fn either_lane_fills_the_whole_when_the_other_is_empty(stage: &Stage) {
    backlog(stage, 20, 0).await;
    assert_eq!(take(stage, 8, 0).await, (8, 0));
    assert_eq!(take(stage, 8, 3).await, (8, 0));
    assert_eq!(take(stage, 8, 8).await, (4, 0));
    enqueue(stage, 20).await;
    assert_eq!(take(stage, 8, 0).await, (0, 8));
    assert_eq!(take(stage, 8, 8).await, (0, 8));
    assert_eq!(take(stage, 8, 3).await, (0, 4));
}

pub(crate) async fn what_either_lane_leaves_free_the_other_takes(stage: &Stage) {
    backlog(stage, 3, 3).await;
    assert_eq!(take(stage, 6, 1).await, (3, 3));
    backlog(stage, 3, 3).await;
    assert_eq!(take(stage, 6, 5).await, (3, 3));
}

pub(crate) async fn a_single_slot_takes_a_retry_when_no_first_attempt_is_due(stage: &Stage) {
    backlog(stage, 3, 1).await;
    assert_eq!(take(stage, 1, 0).await, (0, 1));
    assert_eq!(take(stage, 1, 0).await, (1, 0));
    enqueue(stage, 2).await;
    assert_eq!(take(stage, 1, 1).await, (1, 0));
    assert_eq!(take(stage, 1, 0).await, (0, 1));
}

pub(crate) async fn no_more_is_kept_for_retries_than_is_free(stage: &Stage) {
    backlog(stage, 9, 9).await;
    assert_eq!(take(stage, 2, 7).await, (2, 0));
    assert_eq!(take(stage, 0, 7).await, (0, 0));
    assert_eq!(take(stage, 2, u32::MAX).await, (2, 0));
}

pub(crate) async fn the_bound_of_a_batch_cuts_both_lanes_alike(stage: &Stage) {
    backlog(stage, MAX_BATCH, MAX_BATCH).await;
    assert_eq!(take(stage, u32::MAX, u32::MAX / 4).await, (MAX_BATCH / 4, MAX_BATCH * 3 / 4));
    assert_eq!(take(stage, u32::MAX, 0).await, (MAX_BATCH * 3 / 4, MAX_BATCH / 4));
}

pub(crate) async fn a_claim_takes_the_oldest_of_each_lane(stage: &Stage) {
    backlog(stage, 3, 3).await;
    let mut taken = Vec::new();
    for free in [3, 2, 1] {
        let leases = stage.queue.claim(&claim(&[("slack", free, 1)])).await.unwrap();
        taken.push(leases.iter().map(|lease| lease.key.id.0).collect::<Vec<_>>());
    }
    assert_eq!(taken, [vec![1, 4, 5], vec![2, 6], vec![3]]);
}
