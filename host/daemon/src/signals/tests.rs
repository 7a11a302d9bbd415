//! Everything is told once, and what the examples ask for is there.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::Timestamp;
use postrider_core::settle::{Cause, Standing};
use postrider_core::{DeliveryId, Draft, HostId, LeaseKey, NotificationId};
use postrider_queue::{MemoryQueue, Settle, Trip};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::api::auth::audit::Audit;
use crate::api::auth::doorman::Doorman;
use crate::api::auth::session::Sessions;
use crate::api::{Api, Parts};
use crate::dispatcher::Waker;
use crate::feed::Feed;
use crate::plugins::asked::Asker;
use crate::registry::SharedRegistry;
use crate::registry::tests::entry;
use crate::settings::{Origin, Settings};
use crate::upkeep::admission::{Admission, Limits};

fn api(signals: &Signals) -> Api {
    let store = Arc::new(MemoryQueue::new(Timestamp::UNIX_EPOCH));
    let sessions = Sessions::new([7; 64], || Timestamp::UNIX_EPOCH);
    Api::new(Parts {
        queue: store.clone(),
        access: store.clone(),
        audit: Audit::new(store.clone()),
        doorman: Doorman::new(store, sessions),
        registry: Arc::new(SharedRegistry::default()),
        waker: Waker::default(),
        signals: signals.clone(),
        asked: Asker::new(Arc::default()),
        max_body: 1_000,
        admission: Admission::new(Limits::default()),
        feed: Feed::new(HostId(Uuid::nil()), || Timestamp::UNIX_EPOCH),
        overview: crate::api::overview::Overview::new(HostId(Uuid::nil())),
        feed_stop: CancellationToken::new(),
        settings: Settings::load(Origin::default()).unwrap(),
        database: "memory".into(),
        now: || Timestamp::UNIX_EPOCH,
        new_id: Uuid::nil,
    })
}

fn lease(lost: u32) -> Lease {
    let draft = Draft { kind: "x".into(), ..Draft::default() };
    Lease {
        key: LeaseKey { id: DeliveryId(1), token: 1 },
        destination: "hook".into(),
        notification: draft.accept(NotificationId(Uuid::nil()), Timestamp::UNIX_EPOCH).unwrap(),
        attempt: 1,
        standing: Standing { used: 0, lost, age: Duration::ZERO, left: None },
        parts_done: 0,
        chain: Vec::new(),
        order_key: None,
    }
}

fn settle(settlement: Settlement) -> Settle {
    let key = LeaseKey { id: DeliveryId(1), token: 1 };
    let reason = String::new();
    Settle { key, settlement, parts_done: 0, reason, attempt: None, handover: None }
}

/// Everything that can happen, once.
async fn everything() -> String {
    let signals = Signals::new().unwrap();
    let id = NotificationId(Uuid::nil());
    signals.started(Timestamp::UNIX_EPOCH);
    for who in Loop::ALL {
        signals.beat(who, Duration::from_secs(1));
    }
    signals.enqueued(&[
        Enqueued::Stored { id, deliveries: 0 },
        Enqueued::Existing { id, deliveries: 1 },
        Enqueued::Conflict { id },
    ]);
    signals.arrived(None);
    signals.claimed(&[lease(0), lease(1)], Duration::from_millis(3));
    signals.attempted(
        "hook",
        &Outcome::Rejected { reason: String::new() },
        Duration::from_millis(30),
    );
    drop(signals.attempting("hook"));
    for settlement in [Settlement::Delivered, Settlement::Dead { cause: Cause::Rejected }] {
        let settle = settle(settlement.clone());
        signals.settled(&About::of(&lease(0), &settle), &settlement);
    }
    // Nobody tells them here, so that one is too many.
    for _ in 0..=2_000 {
        let (subject, message) = (String::new(), String::new());
        let kind = notices::Kind::DestinationOpen;
        signals.tell(notices::Event { kind, subject, message, detail: json!({}) });
    }
    signals.0.metrics.answered("/v1/notify", "POST", "2xx", Duration::from_millis(7));
    signals.lease_lost("hook", Lost::Sending);
    signals.buried(3);
    signals.module_loaded(true, Duration::from_secs(1));
    let usage = postrider_sandbox::Usage { memory: 3 << 20, ..Default::default() };
    signals.0.metrics.used("hook", &usage);
    let mut registry = Registry::default();
    registry.insert(entry("mail", "", None)).unwrap();
    signals.reloaded(&Registry::default(), &registry);
    let api = api(&signals);
    api.registry.store(Arc::new(registry));
    let trip = Trip {
        destination: "mail".into(),
        gone: true,
        reason: String::new(),
        wait: Duration::ZERO,
    };
    api.queue.trip(&trip).await.unwrap();
    signals.exposition(&api).await.unwrap()
}

/// The metrics' names: of a histogram, with those of its parts.
fn names(exposition: &str) -> BTreeSet<String> {
    let types = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .filter_map(|line| line.split_once(' '))
        .flat_map(|(name, kind)| match kind {
            "histogram" => ["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")).into(),
            _ => vec![name.to_owned()],
        })
        .collect()
}

fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("postrider_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn what_happens_is_counted() {
    let text = everything().await;
    for line in [
        r#"postrider_notifications_total{result="malformed",way="sql"} 1"#,
        "postrider_notifications_unrouted_total 1",
        r#"postrider_claims_total{destination="hook"} 2"#,
        r#"postrider_leases_lost_total{destination="hook",found="expired"} 1"#,
        r#"postrider_attempts_total{destination="hook",outcome="rejected"} 1"#,
        r#"postrider_attempt_duration_seconds_bucket{destination="hook",outcome="rejected",le="0.05"} 1"#,
        r#"postrider_attempts_running{destination="hook"} 0"#,
        r#"postrider_deaths_total{cause="rejected",destination="hook"} 1"#,
        r#"postrider_sandbox_memory_bytes_sum{destination="hook"} 3145728"#,
        r#"postrider_settlements_total{destination="mail",settlement="delivered"} 0"#,
        r#"postrider_leases_lost_total{destination="mail",found="sending"} 0"#,
        r#"postrider_destinations{state="parked"} 1"#,
        r#"postrider_reloads_total{result="changed"} 1"#,
        "postrider_queue_up 1",
        r#"postrider_queue_depth{destination="mail"} 0"#,
        r#"postrider_destination_breaker{destination="mail",state="gone"} 1"#,
        r#"postrider_destination_breaker{destination="mail",state="closed"} 0"#,
        r#"postrider_destination_paused{destination="mail"} 0"#,
        r#"postrider_http_requests_total{class="2xx",method="POST",route="/v1/notify"} 1"#,
        r#"postrider_http_request_duration_seconds_bucket{method="POST",route="/v1/notify",le="0.01"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn what_the_examples_ask_for_is_there() {
    let there = names(&everything().await);
    assert!(there.iter().all(|name| name.starts_with("postrider_")), "{there:?}");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/monitoring");
    let mut asked = BTreeSet::new();
    for file in ["alerts.yml", "alerts_test.yml", "dashboard.json"] {
        asked.append(&mut named(&std::fs::read_to_string(examples.join(file)).unwrap()));
    }
    assert!(asked.len() > 20, "{asked:?}");
    let missing: Vec<_> = asked.difference(&there).collect();
    assert!(missing.is_empty(), "{missing:?} are no metrics");
}

#[tokio::test]
async fn the_book_names_every_metric() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring.md");
    let told = named(&std::fs::read_to_string(page).unwrap());
    let text = everything().await;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for name in types.filter_map(|line| line.split(' ').next()) {
        assert!(told.contains(name), "docs/monitoring.md says nothing of {name}");
    }
}

#[tokio::test]
async fn prometheus_own_linter_finds_nothing() {
    let text = everything().await;
    let linter = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut linter) = linter else {
        eprintln!("SKIPPED: `promtool` does not run here");
        return;
    };
    linter.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = linter.wait_with_output().unwrap();
    let all = [said.stdout, said.stderr].concat();
    assert!(said.status.success() && all.is_empty(), "{}", String::from_utf8_lossy(&all));
}

#[test]
fn the_examples_rules_are_rules_and_fire() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/monitoring");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let ran = Command::new("promtool").args(arguments).current_dir(&examples).output();
        let Ok(ran) = ran else {
            eprintln!("SKIPPED: `promtool` does not run here");
            return;
        };
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}
