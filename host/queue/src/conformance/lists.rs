//! What a person or a page reads, and the dispatcher's look.

use postrider_core::DeliveryState;

use super::*;
use crate::{EXACT_SIZE, Look, MAX_BATCH, Route};

async fn next_due(stage: &Stage, names: &[&str]) -> Option<Duration> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    stage.queue.look(&names).await.unwrap().due
}

pub(crate) async fn a_look_tells_when_the_first_of_the_named_is_due(stage: &Stage) {
    assert_eq!(next_due(stage, &["slack", "email"]).await, None);
    stage.enqueue(&["slack", "email"]).await;
    assert_eq!(next_due(stage, &["slack", "email"]).await, Some(Duration::ZERO));
    for (name, delay) in [("slack", MINUTE), ("email", MINUTE / 2)] {
        let lease = stage.claim_one(name).await;
        stage.settle(settle(lease.key, retry(delay))).await;
    }
    assert_eq!(next_due(stage, &["slack", "email"]).await, Some(MINUTE / 2));
    assert_eq!(next_due(stage, &["nobody", "slack"]).await, Some(MINUTE));
    assert_eq!(next_due(stage, &["nobody"]).await, None);
    assert_eq!(next_due(stage, &[]).await, None);
    stage.advance(2 * MINUTE);
    assert_eq!(next_due(stage, &["slack"]).await, Some(Duration::ZERO));
}

pub(crate) async fn a_look_minds_leases_and_holds(stage: &Stage) {
    stage.enqueue(&["slack"]).await;
    let lease = stage.claim_one("slack").await;
    assert_eq!(next_due(stage, &["slack"]).await, Some(LEASE));
    let hold = Settlement::Retry { delay: LEASE, counted: false, hold: Some(MINUTE) };
    stage.settle(settle(lease.key, hold)).await;
    assert_eq!(next_due(stage, &["slack"]).await, Some(MINUTE));
    stage.enqueue(&["slack"]).await;
    assert_eq!(next_due(stage, &["slack"]).await, Some(MINUTE));
    stage.advance(MINUTE);
    assert_eq!(next_due(stage, &["slack"]).await, Some(Duration::ZERO));
}

pub(crate) async fn a_look_sees_what_waits_for_fan_out(stage: &Stage) {
    let looks = async |names: &[String]| stage.queue.look(names).await.unwrap();
    stage.enqueue(&["slack"]).await;
    assert!(!looks(&[]).await.arrived, "what came by enqueue is fanned out");
    stage.stand.insert(notification()).await;
    assert_eq!(looks(&[]).await, Look { arrived: true, due: None, trial: None });
    let due = Some(Duration::ZERO);
    assert_eq!(looks(&["slack".to_owned()]).await, Look { arrived: true, due, trial: None });
    let row = stage.queue.arrived(1).await.unwrap()[0].row;
    let aside = Route { row, destinations: Err("malformed".to_owned()) };
    stage.queue.fan_out(vec![aside]).await.unwrap();
    assert!(!looks(&[]).await.arrived);
}

pub(crate) async fn size_counts_what_is_live_or_not_fanned_out(stage: &Stage) {
    assert_eq!(stage.queue.size().await.unwrap(), 0);
    stage.enqueue(&["slack", "email"]).await;
    stage.stand.insert(notification()).await;
    assert_eq!(stage.queue.size().await.unwrap(), 3);
    let lease = stage.claim_one("slack").await;
    assert_eq!(stage.queue.size().await.unwrap(), 3);
    stage.settle(settle(lease.key, DEAD)).await;
    assert_eq!(stage.queue.size().await.unwrap(), 2);
}

pub(crate) async fn size_stops_at_its_bound(stage: &Stage) {
    for _ in 0..=EXACT_SIZE.div_ceil(MAX_BATCH as u64) {
        let batch = (0..MAX_BATCH).map(|_| item(&["slack"])).collect();
        stage.queue.enqueue(batch).await.unwrap();
    }
    assert_eq!(stage.queue.size().await.unwrap(), EXACT_SIZE);
}

pub(crate) async fn notifications_page_without_gaps_or_doubles(stage: &Stage) {
    let mut sent = Vec::new();
    for _ in 0..7 {
        sent.push(stage.enqueue(&["slack"]).await);
    }
    sent.reverse();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = stage.queue.notifications(&Page { after, limit: 3 }).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.row);
        assert!(page.iter().all(|record| record.notification.content.is_empty()));
        seen.extend(page.iter().map(|record| record.notification.id));
        // One that arrives meanwhile belongs before the first page.
        stage.enqueue(&[]).await;
    }
    assert_eq!(seen, sent);
}

pub(crate) async fn deliveries_page_without_gaps_or_doubles(stage: &Stage) {
    for _ in 0..5 {
        stage.enqueue(&["email", "slack"]).await;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let filter = DeliveryFilter {
            destination: Some("slack".into()),
            page: Page { after, limit: 2 },
            ..everything()
        };
        let page = stage.queue.deliveries(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id.0);
        seen.extend(page.iter().map(|record| record.id.0));
        stage.enqueue(&["slack"]).await;
    }
    assert_eq!(seen, [10, 8, 6, 4, 2]);
}

pub(crate) async fn deliveries_are_filtered_by_every_field(stage: &Stage) {
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(stage.enqueue(&["email", "slack"]).await);
    }
    // Given one of each state for slack, in this order: 2, 4, 6, 8, 10.
    let leases = stage.queue.claim(&claim(&[("slack", 4, 0)])).await.unwrap();
    stage.settle(settle(leases[0].key, Settlement::Delivered)).await;
    stage.settle(settle(leases[1].key, DEAD)).await;
    stage.queue.cancel(&[leases[2].key.id]).await.unwrap();
    let find = async |filter: DeliveryFilter| {
        let found = stage.queue.deliveries(&filter).await.unwrap();
        found.into_iter().map(|record| record.id.0).collect::<Vec<_>>()
    };
    use DeliveryState::{Cancelled, Dead, Delivered, Leased, Pending};
    let states = [Delivered, Dead, Cancelled, Leased, Pending];
    for (state, expected) in states.into_iter().zip([2, 4, 6, 8, 10]) {
        let of = DeliveryFilter { state: Some(state), ..everything() };
        let slack = DeliveryFilter { destination: Some("slack".into()), ..of.clone() };
        assert_eq!(find(slack.clone()).await, [expected], "{state}");
        let one = DeliveryFilter { id: Some(DeliveryId(expected)), ..slack.clone() };
        assert_eq!(find(one).await, [expected]);
        let other = DeliveryFilter { id: Some(DeliveryId(1)), ..slack.clone() };
        assert!(find(other).await.is_empty());
        let all = find(of.clone()).await;
        let email = if state == Pending { vec![10, 9, 7, 5, 3, 1] } else { vec![expected] };
        assert_eq!(all, email, "{state}");
        let below = Page { after: Some(expected), limit: 9 };
        assert!(find(DeliveryFilter { page: below, ..slack.clone() }).await.is_empty());
        let rest = find(DeliveryFilter { page: below, ..of.clone() }).await;
        assert_eq!(rest, email[1..], "{state}");
        for filter in [of, slack] {
            let above = |above| DeliveryFilter { above: Some(above), ..filter.clone() };
            assert_eq!(find(above(expected - 1)).await, [expected], "{state}");
            assert!(find(above(expected)).await.is_empty(), "{state}");
        }
    }
    let of_first = DeliveryFilter { notification: Some(ids[0]), ..everything() };
    assert_eq!(find(of_first.clone()).await, [2, 1]);
    let dead = DeliveryFilter { state: Some(Dead), ..of_first };
    assert!(find(dead).await.is_empty());
    let record = stage.delivery(DeliveryId(2)).await;
    assert_eq!((record.notification, record.kind.as_str()), (ids[0], "alert.firing"));
}

pub(crate) async fn unknown_ids_are_absent_not_errors(stage: &Stage) {
    let unknown = notification().id;
    assert!(stage.queue.notification(unknown).await.unwrap().is_none());
    let filter = DeliveryFilter { notification: Some(unknown), ..everything() };
    assert!(stage.queue.deliveries(&filter).await.unwrap().is_empty());
    assert!(stage.queue.attempts(DeliveryId(4_711)).await.unwrap().is_empty());
    assert_eq!(stage.queue.redeliver(&[DeliveryId(4_711)]).await.unwrap(), 0);
    assert_eq!(stage.queue.cancel(&[DeliveryId(4_711)]).await.unwrap(), 0);
    let route = Route { row: 4_711, destinations: Ok(vec!["slack".into()]) };
    assert_eq!(stage.queue.fan_out(vec![route]).await.unwrap(), 0);
}
