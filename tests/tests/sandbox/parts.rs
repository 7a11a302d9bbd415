//! Notifications larger than a plugin takes, in parts.

use postrider_core::Outcome;

use crate::given::{PATIENCE, notification, try_bind};
use postrider_tests::receiver::{Receiver, answer};

fn destination(receiver: &Receiver) -> String {
    let origin = receiver.origin();
    format!("allow = [\"{origin}\"]\nallow_private = true\n[config]\nurl = \"{origin}/\"\n")
}

fn content() -> String {
    let items: Vec<String> = (10_000..10_030).map(|n| format!("{{\"n\":{n}}}")).collect();
    format!("[{}]", items.join(","))
}

#[tokio::test]
async fn parts_arrive_in_order_with_their_own_ids() {
    let receiver = Receiver::ok().await;
    let notifier = try_bind("parts", "parts", &destination(&receiver), None).await.unwrap();
    let sent = tokio::time::timeout(PATIENCE, notifier.send(&notification(&content()), 1, 0))
        .await
        .unwrap();
    assert!(matches!(sent.outcome, Outcome::Delivered(_)), "{sent:?}");
    let got = receiver.received();
    let count = got.len();
    assert!(count > 2);
    assert_eq!((sent.parts_done, sent.parts), (count as u32, count as u32));
    for (index, part) in got.iter().enumerate() {
        assert_eq!(part.header("webhook-id").unwrap(), format!("{}.{index}", notification("").id));
        assert_eq!(part.header("x-part").unwrap(), format!("{}/{count}", index + 1));
        assert!(part.body.len() <= 64);
    }
    let items: Vec<serde_json::Value> = got
        .iter()
        .flat_map(|part| serde_json::from_slice::<Vec<serde_json::Value>>(&part.body).unwrap())
        .collect();
    assert_eq!(items.len(), 30);
}

#[tokio::test]
async fn a_retry_goes_on_at_the_part_that_failed() {
    let failing = Receiver::start(answer("503 Busy", "", "")).await;
    let notifier = try_bind("parts", "parts", &destination(&failing), None).await.unwrap();
    let sent = notifier.send(&notification(&content()), 1, 2).await;
    assert!(matches!(sent.outcome, Outcome::Retry { .. }), "{sent:?}");
    assert_eq!(sent.parts_done, 2);
    assert_eq!(failing.received().len(), 1);
    assert!(failing.received()[0].header("x-part").unwrap().starts_with("3/"));

    let receiver = Receiver::ok().await;
    let notifier = try_bind("parts", "parts", &destination(&receiver), None).await.unwrap();
    let sent = notifier.send(&notification(&content()), 2, 2).await;
    assert_eq!(sent.parts_done, sent.parts);
    assert_eq!(receiver.received().len() as u32, sent.parts - 2);
}

#[tokio::test]
async fn what_fits_is_one_part_with_the_plain_id() {
    let receiver = Receiver::ok().await;
    let notifier = try_bind("parts", "parts", &destination(&receiver), None).await.unwrap();
    let sent = notifier.send(&notification("[1]"), 1, 0).await;
    assert_eq!((sent.parts_done, sent.parts), (1, 1));
    assert_eq!(
        receiver.received()[0].header("webhook-id").unwrap(),
        notification("").id.to_string()
    );
    assert_eq!(receiver.received()[0].header("x-part"), Some("1/1"));
}
