//! Claim, extend and settle.

use std::collections::HashSet;

use bytes::Bytes;
use postrider_core::DeliveryState;
use postrider_core::delivery::LOST;

use super::*;
use crate::MAX_BATCH;

const SECOND: Duration = Duration::from_secs(1);

pub(crate) async fn a_claim_takes_as_many_as_each_destination_has_slots(stage: &Stage) {
    for _ in 0..5 {
        stage.enqueue(&["slack", "email", "pager"]).await;
    }
    let wanted = claim(&[("slack", 2, 0), ("email", 3, 9), ("pager", 0, 9), ("nobody", 9, 9)]);
    let leases = stage.queue.claim(&wanted).await.unwrap();
    let of = |name: &str| leases.iter().filter(|lease| lease.destination == name).count();
    assert_eq!((of("slack"), of("email"), of("pager"), leases.len()), (2, 3, 0, 5));
    assert_eq!(stage.claim("slack").await.len(), 3);
}

pub(crate) async fn the_oldest_due_comes_first(stage: &Stage) {
    let first = stage.enqueue(&["slack"]).await;
    stage.advance(SECOND);
    let second = stage.enqueue(&["slack"]).await;
    let third = stage.enqueue(&["slack"]).await;
    let one = claim(&[("slack", 1, 0)]);
    for id in [first, second, third] {
        assert_eq!(stage.queue.claim(&one).await.unwrap()[0].notification.id, id);
    }
}

pub(crate) async fn a_claim_brings_notifications_whole_and_in_their_order(stage: &Stage) {
    let long = "long \u{e9}\"".repeat(4_000);
    let contents: [&[u8]; 6] = [
        b"{\"a\": [1.10, \"\\u0000\"]}",
        b"",
        b"\xff\0",
        long.as_bytes(),
        b"a\0b",
        "\u{1}\u{1f600}\n".as_bytes(),
    ];
    let batch = contents.iter().cycle().take(200).enumerate().map(|(number, content)| {
        let mut item = item(&["slack"]);
        item.notification.content = Bytes::copy_from_slice(content);
        item.notification.subject = (number % 2 == 0).then(|| format!("it's \"{number}\""));
        item.notification.labels = [("\u{e9}\\".to_owned(), number.to_string())].into();
        item
    });
    let batch: Vec<Enqueue> = batch.collect();
    stage.queue.enqueue(batch.clone()).await.unwrap();

    let leases = stage.queue.claim(&claim(&[("slack", 250, 0)])).await.unwrap();

    let expected = batch.iter().map(|item| &item.notification);
    let brought = leases.iter().map(|lease| &lease.notification);
    assert!(brought.eq(expected), "{} leases", leases.len());
}

pub(crate) async fn every_delivery_is_claimed_exactly_once(stage: &Stage) {
    const ROWS: usize = 10_000;
    for _ in 0..ROWS / MAX_BATCH {
        let batch = (0..MAX_BATCH).map(|_| item(&["slack"])).collect();
        stage.queue.enqueue(batch).await.unwrap();
    }
    let mut claimers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let queue = Arc::clone(&stage.queue);
        claimers.spawn(async move {
            let mut taken = Vec::new();
            loop {
                let leases = queue.claim(&claim(&[("slack", 250, 0)])).await.unwrap();
                if leases.is_empty() {
                    return taken;
                }
                taken.extend(leases.iter().map(|lease| lease.key.id));
            }
        });
    }
    let taken = claimers.join_all().await.concat();
    assert_eq!(taken.len(), ROWS);
    assert_eq!(taken.into_iter().collect::<HashSet<_>>().len(), ROWS);
}

pub(crate) async fn one_claim_takes_no_more_than_a_batch(stage: &Stage) {
    for names in [&["slack"], &["email"]] {
        let batch = (0..MAX_BATCH).map(|_| item(names)).collect();
        stage.queue.enqueue(batch).await.unwrap();
    }
    let wanted = claim(&[("slack", 600, 300), ("email", 10_000, 5_000)]);
    assert_eq!(stage.queue.claim(&wanted).await.unwrap().len(), MAX_BATCH);
    assert_eq!(stage.queue.claim(&wanted).await.unwrap().len(), MAX_BATCH);
    assert_eq!(stage.queue.claim(&wanted).await.unwrap().len(), 0);
}

pub(crate) async fn a_lease_keeps_others_away_until_it_expires(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    stage.advance(LEASE - Duration::from_millis(1));
    assert!(stage.claim("slack").await.is_empty());
    assert_eq!(stage.delivery(lease.key.id).await.state, DeliveryState::Leased);
    stage.advance(Duration::from_millis(1));
    assert_eq!(stage.delivery(lease.key.id).await.state, DeliveryState::Pending);
    assert_eq!(stage.claim_one("slack").await.key.id, lease.key.id);
}

pub(crate) async fn an_expired_lease_is_taken_again_and_recorded_as_lost(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let first = stage.claim_one("slack").await;
    stage.advance(LEASE);
    let second = stage.claim_one("slack").await;
    assert_eq!((second.attempt, second.standing.lost, second.standing.used), (2, 1, 0));
    assert!(second.key.token > first.key.token);
    let attempts = stage.queue.attempts(first.key.id).await.unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].number, attempts[0].outcome.as_str()), (1, LOST));
    assert_eq!((attempts[0].host, attempts[0].plugin.as_str()), (host(), ""));
    assert_eq!((attempts[0].started, attempts[0].duration), (EPOCH, LEASE));
    assert_eq!(stage.delivery(first.key.id).await.attempts, 2);
}

pub(crate) async fn losses_in_a_row_are_counted_and_a_settlement_forgets_them(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    for lost in 0..5 {
        assert_eq!(stage.claim_one("slack").await.standing.lost, lost);
        stage.advance(LEASE);
    }
    let lease = stage.claim_one("slack").await;
    assert_eq!((lease.standing.lost, lease.attempt), (5, 6));
    stage.settle(settle(lease.key, retry(SECOND))).await;
    stage.advance(SECOND);
    assert_eq!(stage.claim_one("slack").await.standing.lost, 0);
    let losses = (1..=5).map(|number| (number, LOST.to_owned()));
    let expected: Vec<_> = losses.chain([(6, "retry".to_owned())]).collect();
    assert_eq!(stage.attempts(lease.key.id).await, expected);
}

pub(crate) async fn a_stale_token_changes_nothing_and_is_reported(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let stale = stage.claim_one("slack").await.key;
    stage.advance(LEASE);
    let holder = stage.claim_one("slack").await.key;
    let before = stage.delivery(holder.id).await;
    let hold = Settlement::Retry { delay: MINUTE, counted: true, hold: Some(MINUTE) };
    for settlement in [Settlement::Delivered, hold, DEAD, Settlement::Released] {
        let mut item = settle(stale, settlement);
        item.handover = handover(&["email"]);
        assert_eq!(stage.queue.settle(vec![item]).await.unwrap(), [stale]);
    }
    assert_eq!(stage.queue.extend(&[stale], MINUTE).await.unwrap(), [stale]);
    let after = stage.delivery(holder.id).await;
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    assert_eq!(stage.attempts(holder.id).await, [(1, LOST.to_owned())]);
    assert!(stage.claim("email").await.is_empty());
    stage.enqueue(&["slack"]).await;
    stage.claim_one("slack").await;
    stage.settle(settle(holder, Settlement::Delivered)).await;
}

pub(crate) async fn a_lease_is_settled_once(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let key = stage.claim_one("slack").await.key;
    stage.settle(settle(key, retry(MINUTE))).await;
    // When the same settlement comes again, as after a lost answer, alone and twice in a batch.
    let again = || settle(key, retry(SECOND));
    assert_eq!(stage.queue.settle(vec![again()]).await.unwrap(), [key]);
    assert_eq!(stage.queue.extend(&[key], LEASE).await.unwrap(), [key]);
    stage.advance(MINUTE);
    let lease = stage.claim_one("slack").await;
    assert_eq!((lease.attempt, lease.standing.used), (2, 1));
    let twice = vec![settle(lease.key, DEAD), settle(lease.key, Settlement::Delivered)];
    assert_eq!(stage.queue.settle(twice).await.unwrap(), [lease.key]);
    assert_eq!(stage.delivery(key.id).await.state, DeliveryState::Dead);
    assert_eq!(stage.attempts(key.id).await.len(), 2);
}

pub(crate) async fn a_long_batch_is_settled_but_for_what_is_lost(stage: &Stage) {
    let batch = (0..MAX_BATCH).map(|_| item(&["slack"])).collect();
    stage.queue.enqueue(batch).await.unwrap();
    let leases = stage.queue.claim(&claim(&[("slack", 1_000, 500)])).await.unwrap();
    let keys: Vec<LeaseKey> = leases.iter().map(|lease| lease.key).collect();
    assert_eq!(keys.len(), MAX_BATCH);
    stage.settle(settle(keys[700], DEAD)).await;
    let all = keys.iter().map(|key| settle(*key, Settlement::Delivered)).collect();
    assert_eq!(stage.queue.settle(all).await.unwrap(), [keys[700]]);
    for place in [0, 255, 256, 699, 701, 999] {
        assert_eq!(stage.delivery(keys[place].id).await.state, DeliveryState::Delivered);
        assert_eq!(stage.attempts(keys[place].id).await, [(1, "delivered".to_owned())]);
    }
    assert_eq!(stage.delivery(keys[700].id).await.state, DeliveryState::Dead);
    assert_eq!(stage.queue.size().await.unwrap(), 0);
}

pub(crate) async fn an_expired_lease_counts_until_somebody_takes_it(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let key = stage.claim_one("slack").await.key;
    stage.advance(MINUTE);
    assert_eq!(stage.queue.extend(&[key], LEASE).await.unwrap(), []);
    assert!(stage.claim("slack").await.is_empty());
    stage.advance(MINUTE);
    stage.settle(settle(key, Settlement::Delivered)).await;
    assert_eq!(stage.attempts(key.id).await, [(1, "delivered".to_owned())]);
}

pub(crate) async fn extending_moves_the_expiry(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let key = stage.claim_one("slack").await.key;
    let stranger = LeaseKey { id: DeliveryId(4_711), token: 1 };
    for _ in 0..3 {
        stage.advance(LEASE - SECOND);
        assert_eq!(stage.queue.extend(&[key, stranger], LEASE).await.unwrap(), [stranger]);
    }
    stage.advance(LEASE - SECOND);
    assert!(stage.claim("slack").await.is_empty());
    stage.advance(SECOND);
    stage.claim_one("slack").await;
}

pub(crate) async fn a_release_counts_nothing(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    stage.claim_one("slack").await;
    stage.advance(LEASE);
    let lease = stage.claim_one("slack").await;
    let mut release = settle(lease.key, Settlement::Released);
    // Not even when it comes with an attempt.
    release.attempt = Some(attempt("retry"));
    stage.settle(release).await;
    let record = stage.delivery(lease.key.id).await;
    assert_eq!((record.state, record.attempts), (DeliveryState::Pending, 1));
    let again = stage.queue.claim(&claim(&[("slack", 1, 0)])).await.unwrap().remove(0);
    assert_eq!((again.attempt, again.standing), (lease.attempt, lease.standing));
    assert!(again.key.token > lease.key.token);
    assert_eq!(stage.attempts(lease.key.id).await, [(1, LOST.to_owned())]);
}

pub(crate) async fn a_retry_comes_back_after_its_delay(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    stage.settle(settle(lease.key, retry(MINUTE))).await;
    let record = stage.delivery(lease.key.id).await;
    assert_eq!((record.state, record.reason.as_str()), (DeliveryState::Pending, "so it is"));
    assert_eq!(record.due, Some(EPOCH + MINUTE));
    stage.advance(MINUTE - Duration::from_millis(1));
    assert!(stage.claim("slack").await.is_empty());
    stage.advance(Duration::from_millis(1));
    let again = stage.claim_one("slack").await;
    assert_eq!((again.attempt, again.standing.used, again.standing.age), (2, 1, MINUTE));
    let attempts = stage.queue.attempts(lease.key.id).await.unwrap();
    assert_eq!(attempts, [attempt("retry")]);
}

pub(crate) async fn an_uncounted_retry_spares_the_budget(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    let uncounted = Settlement::Retry { delay: SECOND, counted: false, hold: None };
    stage.settle(settle(lease.key, uncounted)).await;
    stage.advance(SECOND);
    let again = stage.claim_one("slack").await;
    assert_eq!((again.attempt, again.standing.used), (2, 0));
}

pub(crate) async fn a_hold_parks_the_whole_destination(stage: &Stage) {
    stage.enqueue(&["slack", "email"]).await;
    stage.enqueue(&["slack"]).await;
    let lease = stage.queue.claim(&claim(&[("slack", 1, 0)])).await.unwrap().remove(0);
    let hold = Settlement::Retry { delay: SECOND, counted: false, hold: Some(MINUTE) };
    stage.settle(settle(lease.key, hold)).await;
    stage.advance(MINUTE - SECOND);
    stage.enqueue(&["slack"]).await;
    assert!(stage.claim("slack").await.is_empty());
    let idle = ["a", "b", "c", "d", "e"].map(|name| (name, 9, 9));
    let all = claim(&[&idle[..], &[("slack", 9, 9), ("email", 9, 9)]].concat());
    let leases = stage.queue.claim(&all).await.unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[0].destination, "email");
    stage.advance(SECOND);
    assert_eq!(stage.queue.claim(&all).await.unwrap().len(), 3);
}

pub(crate) async fn a_shorter_hold_does_not_shorten_a_longer_one(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    stage.enqueue(&["slack"]).await;
    let held = |hold| Settlement::Retry { delay: SECOND, counted: false, hold: Some(hold) };
    let leases = stage.claim("slack").await;
    stage.settle(settle(leases[0].key, held(MINUTE))).await;
    stage.settle(settle(leases[1].key, held(SECOND))).await;
    stage.advance(MINUTE - SECOND);
    assert!(stage.claim("slack").await.is_empty());
    stage.advance(SECOND);
    assert_eq!(stage.claim("slack").await.len(), 2);
}

pub(crate) async fn a_delivered_one_is_finished_with_its_attempt(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    stage.advance(SECOND);
    stage.settle(settle(lease.key, Settlement::Delivered)).await;
    let record = stage.delivery(lease.key.id).await;
    assert_eq!((record.state, record.due), (DeliveryState::Delivered, None));
    assert_eq!((record.created, record.finished), (EPOCH, Some(EPOCH + SECOND)));
    assert_eq!((record.attempts, record.cause), (1, None));
    assert_eq!(stage.queue.attempts(lease.key.id).await.unwrap(), [attempt("delivered")]);
    stage.advance(MINUTE);
    assert!(stage.claim("slack").await.is_empty());
    assert_eq!(stage.queue.size().await.unwrap(), 0);
}

pub(crate) async fn a_refusal_leaves_no_gap_in_the_attempts(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    let mut refusal = settle(lease.key, Settlement::Dead { cause: Cause::Expired });
    refusal.attempt = None;
    stage.settle(refusal).await;
    let record = stage.delivery(lease.key.id).await;
    assert_eq!((record.state, record.attempts), (DeliveryState::Dead, 0));
    assert_eq!(record.cause.as_deref(), Some("expired"));
    assert_eq!(stage.queue.redeliver(&[lease.key.id]).await.unwrap(), 1);
    let lease = stage.claim_one("slack").await;
    assert_eq!(lease.attempt, 1);
    stage.settle(settle(lease.key, Settlement::Delivered)).await;
    assert_eq!(stage.attempts(lease.key.id).await, [(1, "delivered".to_owned())]);
}

pub(crate) async fn a_dead_delivery_hands_over_to_its_first_fallback(stage: &Stage) {
    let id = stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    stage.advance(MINUTE);
    let mut death = settle(lease.key, DEAD);
    death.handover = handover(&["email", "pager", "sms"]);
    stage.settle(death).await;
    let taker = stage.claim_one("email").await;
    assert_eq!((taker.notification.id, taker.attempt), (id, 1));
    assert_eq!(taker.chain, ["pager", "sms"]);
    assert_eq!(taker.standing.age, Duration::ZERO);
    let dead = stage.delivery(lease.key.id).await;
    assert_eq!((dead.state, dead.cause.as_deref()), (DeliveryState::Dead, Some("rejected")));
    assert_eq!((dead.fallback_to, dead.fallback_of), (Some(taker.key.id), None));
    let link = stage.delivery(taker.key.id).await;
    assert_eq!((link.fallback_to, link.fallback_of), (None, Some(lease.key.id)));
    assert!(stage.claim("pager").await.is_empty());
}

pub(crate) async fn a_fallback_that_has_the_notification_is_only_linked(stage: &Stage) {
    stage.enqueue(&["slack", "email"]).await;
    let email = stage.claim_one("email").await;
    stage.settle(settle(email.key, Settlement::Delivered)).await;
    let slack = stage.claim_one("slack").await;
    let mut death = settle(slack.key, DEAD);
    death.handover = handover(&["email", "pager"]);
    stage.settle(death).await;
    assert_eq!(stage.delivery(slack.key.id).await.fallback_to, Some(email.key.id));
    let record = stage.delivery(email.key.id).await;
    assert_eq!((record.state, record.fallback_of), (DeliveryState::Delivered, None));
    assert_eq!(stage.queue.size().await.unwrap(), 0);
}

pub(crate) async fn parts_done_survive_a_retry(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    let mut item = settle(lease.key, retry(SECOND));
    item.parts_done = 3;
    stage.settle(item).await;
    stage.advance(SECOND);
    assert_eq!(stage.claim_one("slack").await.parts_done, 3);
}

pub(crate) async fn age_counts_from_the_making(stage: &Stage) {
    // A producer's own time does not age a delivery.
    let mut old = item(&["slack"]);
    old.notification.time = EPOCH - MINUTE;
    stage.queue.enqueue(vec![old]).await.unwrap();
    stage.advance(SECOND);
    assert_eq!(stage.claim_one("slack").await.standing.age, SECOND);
}

pub(crate) async fn the_fences_hold_for_every_row_of_a_batch(stage: &Stage) {
    for _ in 0..6 {
        stage.enqueue(&["slack"]).await;
    }
    let old = stage.claim("slack").await;
    stage.advance(LEASE);
    let taken = stage.queue.claim(&claim(&[("slack", 3, 0)])).await.unwrap();
    let taken: HashSet<_> = taken.into_iter().map(|lease| lease.key.id).collect();
    let batch = old.iter().map(|lease| settle(lease.key, Settlement::Delivered)).collect();
    let lost: HashSet<_> = stage.queue.settle(batch).await.unwrap().into_iter().collect();
    let expected: HashSet<_> =
        old.iter().map(|lease| lease.key).filter(|key| taken.contains(&key.id)).collect();
    assert_eq!((expected.len(), lost), (3, expected));
    assert_eq!(stage.queue.size().await.unwrap(), 3);
}

pub(crate) async fn a_batch_of_all_kinds_settles_each_in_its_own_way(stage: &Stage) {
    for _ in 0..6 {
        stage.enqueue(&["slack"]).await;
    }
    let leases = stage.claim("slack").await;
    let keys: Vec<LeaseKey> = leases.iter().map(|lease| lease.key).collect();
    let delivered = |key: LeaseKey, told: &str, parts_done| {
        let attempt = Attempt { reason: told.to_owned(), ..attempt("delivered") };
        let settle = settle(key, Settlement::Delivered);
        Settle { reason: told.to_owned(), parts_done, attempt: Some(attempt), ..settle }
    };
    let batch = vec![
        settle(keys[0], retry(MINUTE)),
        delivered(keys[1], "id 1", 1),
        delivered(keys[2], "id 1", 1),
        delivered(keys[3], "id 2", 1),
        delivered(keys[4], "id 1", 2),
        settle(keys[5], DEAD),
    ];
    assert_eq!(stage.queue.settle(batch).await.unwrap(), []);
    let mut became = Vec::new();
    for key in keys {
        let delivery = stage.delivery(key.id).await;
        let told = stage.queue.attempts(key.id).await.unwrap().remove(0).reason;
        became.push((delivery.state, delivery.reason, told));
    }
    let as_told = |state, told: &str| (state, told.to_owned(), told.to_owned());
    let (pending, dead) = (DeliveryState::Pending, DeliveryState::Dead);
    let delivered = |told| as_told(DeliveryState::Delivered, told);
    let [first, .., last] = &became[..] else { panic!("six were settled") };
    assert_eq!((first.0, last.0), (pending, dead));
    let told = ["id 1", "id 1", "id 2", "id 1"].map(delivered);
    assert_eq!(became[1..5], told);
}
