use std::time::Duration;

use postrider_core::LeaseKey;
use postrider_core::settle::{Cause, Standing};
use postrider_queue::{MemoryQueue, NotificationRecord, Page};

use super::*;
use crate::registry::tests::entry;

fn lease(kind: &str) -> Lease {
    let draft = Draft { kind: kind.into(), ..Draft::default() };
    Lease {
        key: LeaseKey { id: DeliveryId(17), token: 1 },
        destination: "hook".into(),
        notification: draft.accept_own(NotificationId(Uuid::nil()), Timestamp::UNIX_EPOCH).unwrap(),
        attempt: 1,
        standing: Standing { used: 0, lost: 0, age: Duration::ZERO, left: None },
        parts_done: 0,
        chain: Vec::new(),
        order_key: None,
    }
}

fn settle(settlement: Settlement) -> Settle {
    let key = LeaseKey { id: DeliveryId(17), token: 1 };
    let reason = "HTTP 400".to_owned();
    Settle { key, settlement, parts_done: 0, reason, attempt: None, handover: None }
}

/// Numbers, so that no dice are needed.
fn uuid() -> Uuid {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    Uuid::from_u128(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).into())
}

const DEAD: Settlement = Settlement::Dead { cause: Cause::Rejected };

/// A daemon's part that tells, with the destinations of these `match`es.
struct Desk {
    signals: Signals,
    queue: Arc<MemoryQueue>,
    stop: CancellationToken,
    telling: tokio::task::JoinHandle<()>,
}

impl Desk {
    fn open(matches: &[&str]) -> Self {
        let mut registry = Registry::default();
        for (place, kind) in matches.iter().enumerate() {
            let text = format!("match = {{ type = ['{kind}'] }}");
            registry.insert(entry(&format!("ops{place}"), &text, None)).unwrap();
        }
        let signals = Signals::new().unwrap();
        let queue = Arc::new(MemoryQueue::new(Timestamp::UNIX_EPOCH));
        let teller = Teller {
            queue: queue.clone(),
            registry: Arc::new(SharedRegistry::from_pointee(registry)),
            waker: Waker::default(),
            host: "here".into(),
            now: || Timestamp::UNIX_EPOCH,
            new_id: uuid,
        };
        let stop = CancellationToken::new();
        let telling = tokio::spawn(signals.clone().tell_all(teller, stop.clone()));
        Self { signals, queue, stop, telling }
    }

    fn settled(&self, kind: &str, settlement: Settlement) {
        let about = About::of(&lease(kind), &settle(settlement.clone()));
        self.signals.settled(&about, &settlement);
    }

    /// What is told within a while, the oldest first.
    async fn told(&self, within: Duration) -> Vec<NotificationRecord> {
        tokio::time::sleep(within).await;
        let page = Page { after: None, limit: 100 };
        let mut all = Vec::new();
        for record in self.queue.notifications(&page).await.unwrap().into_iter().rev() {
            all.extend(self.queue.notification(record.notification.id).await.unwrap());
        }
        all
    }

    async fn close(self) {
        self.stop.cancel();
        self.telling.await.unwrap();
    }
}

fn content(record: &NotificationRecord) -> Value {
    serde_json::from_slice(&record.notification.content).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_death_is_told_at_once_and_a_storm_once_a_minute() {
    let desk = Desk::open(&["postrider.delivery.*", "order.*"]);
    desk.settled("order.paid", DEAD);
    let told = desk.told(Duration::from_millis(1)).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].notification.kind, "postrider.delivery.dead");
    assert_eq!(told[0].deliveries, Some(1), "only to those that ask for it");
    let expected = json!({
        "message": "delivery 17 to \"hook\" gave up (rejected): HTTP 400",
        "subject": "hook", "count": 1, "host": "here", "delivery": 17,
        "notification": Uuid::nil(), "type": "order.paid", "cause": "rejected",
        "reason": "HTTP 400", "fallback": null,
    });
    assert_eq!(content(&told[0]), expected);
    for _ in 0..500 {
        desk.settled("order.paid", DEAD);
    }
    assert_eq!(desk.told(Duration::from_secs(30)).await.len(), 1);
    let told = desk.told(Duration::from_secs(31)).await;
    assert_eq!(told.len(), 2);
    assert_eq!(content(&told[1])["count"], 500);
    desk.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_notice_never_leads_to_another() {
    let desk = Desk::open(&["postrider.*"]);
    for kind in Kind::ALL {
        desk.settled(kind.name(), DEAD);
    }
    desk.settled("order.paid", Settlement::Delivered);
    desk.settled("order.paid", Settlement::Released);
    assert_eq!(desk.told(Duration::from_secs(120)).await.len(), 0);
    desk.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_is_not_stored() {
    let desk = Desk::open(&["*", "order.*"]);
    desk.settled("order.paid", DEAD);
    assert_eq!(desk.told(Duration::from_secs(120)).await.len(), 0);
    desk.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_file_is_told_once_however_many_hosts_have_it() {
    let desk = Desk::open(&["postrider.plugin.rejected"]);
    let mut bad = Registry::default();
    bad.refused.insert("broken.toml".into(), "line 1: unknown key".into());
    desk.signals.reloaded(&Registry::default(), &bad);
    desk.signals.reloaded(&bad, &bad);
    assert_eq!(desk.told(Duration::from_secs(1)).await.len(), 1);
    // Another host's, later.
    tokio::time::sleep(Duration::from_secs(90)).await;
    desk.signals.reloaded(&Registry::default(), &bad);
    let told = desk.told(Duration::from_secs(1)).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].notification.subject.as_deref(), Some("broken.toml"));
    assert_eq!(content(&told[0])["problem"], "line 1: unknown key");
    assert_eq!(content(&told[0])["message"], "broken.toml: line 1: unknown key");
    desk.close().await;
}
