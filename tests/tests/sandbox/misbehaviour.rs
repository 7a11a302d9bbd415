//! Whatever a guest does becomes one outcome within its time, and the next delivery works.

use std::time::{Duration, Instant};

use postrider_core::{Fault, Outcome};
use postrider_sandbox::BindError;

use crate::given::{fixture, logged, note, notification, sandbox_in, send, try_bind, watch_log};

fn doing(what: &str) -> String {
    format!("policy.timeout = \"1s\"\n[config]\ndo = \"{what}\"")
}

#[tokio::test]
pub(crate) async fn every_misbehaviour_is_one_fault_and_the_next_delivery_works() {
    let good = fixture(&doing("ok")).await;
    for (what, fault, reason) in [
        ("trap", Fault::Trap, "send: wasm `unreachable` instruction executed"),
        ("panic", Fault::Trap, "the fixture panics"),
        ("exit", Fault::Trap, "send: it called exit(1)"),
        ("loop", Fault::Timeout, "send: no end within 1s"),
        ("host-call-loop", Fault::Timeout, "send: no end within 1s"),
        ("sleep", Fault::Timeout, "send: no end within 1s"),
        ("memory-bomb", Fault::Limit, "for more, set under [limits]: memory"),
        ("native-recursion", Fault::Trap, "call stack exhausted"),
        ("shadow-recursion", Fault::Trap, "out of bounds memory access"),
        ("long-log-line", Fault::Limit, "more data at once"),
        ("big-answer", Fault::Limit, "more data at once"),
    ] {
        let started = Instant::now();
        // Only what has no end of its own meets the timeout; the others may be slow on a busy machine.
        let time = if fault == Fault::Timeout { "1s" } else { "15s" };
        let bad = fixture(&doing(what).replace("1s", time)).await;
        let sent = send(&bad, "{}").await;
        let Outcome::Fault { fault: seen, reason: why } = &sent.outcome else {
            panic!("{what}: {sent:?}")
        };
        assert_eq!(*seen, fault, "{what}: {why}");
        assert!(why.contains(reason), "{what}: {why}");
        assert!(why.len() < 1_200 && !why.contains('\n'), "{what}: {why}");
        assert_eq!(sent.parts_done, 0, "{what}");
        let bound = if fault == Fault::Timeout { 4 } else { 15 };
        assert!(started.elapsed() < Duration::from_secs(bound), "{what}: {:?}", started.elapsed());
        assert_eq!(note(&send(&good, "{}").await), "fixture: ok", "after {what}");
    }
}

#[tokio::test]
pub(crate) async fn verdicts_come_through() {
    let retry = "policy.timeout = \"1s\"\n[config]\ndo = \"retry-destination\"\nafter_ms = 1500";
    let Outcome::Retry { reason, after, scope } = send(&fixture(retry).await, "{}").await.outcome
    else {
        panic!()
    };
    assert_eq!(reason, "fixture: retry-destination");
    assert_eq!(after, Some(Duration::from_millis(1500)));
    assert_eq!(scope, postrider_core::Scope::Destination);
    let rejected = send(&fixture(&doing("rejected")).await, "{}").await.outcome;
    assert_eq!(rejected, Outcome::Rejected { reason: "fixture: rejected".into() });
    let gone = send(&fixture(&doing("gone")).await, "{}").await.outcome;
    assert_eq!(gone, Outcome::Gone { reason: "fixture: gone".into() });
    let Outcome::Delivered(receipt) = send(&fixture(&doing("ok")).await, "{}").await.outcome else {
        panic!()
    };
    assert_eq!(receipt.id.unwrap(), notification("").id.to_string());
}

#[tokio::test]
pub(crate) async fn a_configure_that_says_no_or_fails_keeps_the_destination_out() {
    let bind = async |configure: &str| {
        let toml = format!("policy.timeout = \"1s\"\n[config]\nconfigure = \"{configure}\"");
        try_bind("fixture", "test", &toml, None).await.unwrap_err()
    };
    assert_eq!(bind("no").await, BindError::Disabled);
    assert_eq!(
        bind("error").await,
        BindError::Refused("config.configure: the fixture refuses".into())
    );
    assert_eq!(bind("trap").await.fault(), Some(Fault::Trap));
    let looping = bind("loop").await;
    assert_eq!(looping.to_string(), "configure: no end within 1s");
    let toml = "[config]\nno_such_key = 1";
    let BindError::Refused(why) = try_bind("fixture", "test", toml, None).await.unwrap_err() else {
        panic!()
    };
    assert!(why.contains("no_such_key"), "{why}");
}

#[tokio::test]
pub(crate) async fn a_log_flood_is_cut_at_its_limit() {
    watch_log();
    let toml = "policy.timeout = \"10s\"\nlimits.log = \"4KiB\"\n[config]\ndo = \"log-flood\"\ncount = 100000";
    let flooding = try_bind("fixture", "flooding", toml, None).await.unwrap();
    let sent = send(&flooding, "{}").await;
    assert_eq!(note(&sent), "100000 lines");
    let lines = logged("flooding");
    assert!(lines.len() < 150, "{}", lines.len());
    assert!(lines.iter().any(|line| line.contains("log limit reached")));
    assert!(sent.usage.lines_dropped > 99_000);
}

#[tokio::test]
pub(crate) async fn standard_streams_are_log_lines() {
    watch_log();
    let toml = "[config]\ndo = \"print\"";
    let printing = try_bind("fixture", "printing", toml, None).await.unwrap();
    assert_eq!(note(&send(&printing, "{}").await), "printed");
    let lines = logged("printing");
    assert!(
        lines.iter().any(|line| line.contains("INFO plugin: the fixture on stdout")),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line.contains("WARN plugin: the fixture on stderr")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn spinners_do_not_hold_up_their_neighbours() {
    let good = fixture("policy.timeout = \"5s\"\n[config]\ndo = \"ok\"").await;
    let spinning = fixture("policy.timeout = \"2s\"\n[config]\ndo = \"loop\"").await;
    let spinners: Vec<_> = (0..30)
        .map(|_| {
            let spinning = spinning.clone();
            tokio::spawn(async move { send(&spinning, "{}").await })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let started = Instant::now();
        assert_eq!(note(&send(&good, "{}").await), "fixture: ok");
        slowest = slowest.max(started.elapsed());
    }
    // The free slices of all spinners at first; a quiet machine needs half of this.
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    for spinner in spinners {
        assert!(matches!(
            spinner.await.unwrap().outcome,
            Outcome::Fault { fault: Fault::Timeout, .. }
        ));
    }
}

#[tokio::test]
async fn dropping_a_send_ends_its_instance() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = sandbox_in(directory.path(), 1);
    let bytes = std::fs::read(postrider_tests::modules::module("fixture")).unwrap();
    let plugin = sandbox.load("fixture", bytes.into()).await.unwrap();
    let bind = async |toml: &str| {
        let destination = postrider_core::Destination::parse("test", toml).unwrap();
        plugin.bind(&destination, postrider_sandbox::Secrets::default(), None).await.unwrap()
    };
    let sleeping = bind("[config]\ndo = \"sleep\"").await;
    let good = bind("[config]\ndo = \"ok\"").await;
    let (spinning, waiting) = (bind("[config]\ndo = \"loop\"").await, Duration::from_millis(100));
    for bad in [&sleeping, &spinning] {
        let cut = tokio::time::timeout(waiting, bad.send(&notification("{}"), 1, 0)).await;
        assert!(cut.is_err());
        // There is one slot only: this works when the dropped call has given it back.
        assert_eq!(note(&send(&good, "{}").await), "fixture: ok");
    }
}

#[tokio::test]
async fn calls_beyond_the_pool_wait_for_a_slot() {
    let good = fixture(&doing("ok")).await;
    let sends: Vec<_> = (0..300)
        .map(|_| {
            let good = good.clone();
            tokio::spawn(async move { send(&good, "{}").await })
        })
        .collect();
    for sent in sends {
        assert_eq!(note(&sent.await.unwrap()), "fixture: ok");
    }
}

#[tokio::test]
async fn memory_that_a_destination_allows_can_be_used() {
    let small = "limits.memory = \"512KiB\"\n[config]\ndo = \"ok\"";
    let Err(BindError::Fault { fault, reason }) = try_bind("fixture", "test", small, None).await
    else {
        panic!()
    };
    assert_eq!(fault, Fault::Limit, "{reason}");
    assert!(reason.starts_with("start: it wants "), "{reason}");
}

#[test]
fn a_sandbox_can_be_dropped_inside_and_outside_of_async_code() {
    let directory = tempfile::tempdir().unwrap();
    drop(sandbox_in(directory.path(), 4));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { drop(sandbox_in(directory.path(), 4)) });
}
