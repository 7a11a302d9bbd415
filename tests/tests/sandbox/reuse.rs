//! Instances that serve several deliveries, where their destination wants that.

use std::path::Path;
use std::sync::Arc;

use postrider_core::{Destination, Fault, Notification, NotificationId, Outcome};
use postrider_sandbox::{Notifier, Plugin, Sandbox, SandboxConfig, Secrets};
use postrider_tests::modules::module;
use postrider_tests::receiver::Receiver;
use uuid::Uuid;

use crate::given::{PATIENCE, compiler, fixture, note, notification, send};

/// One worker thread, so that which instance is used is not a matter of chance. Of so many instances a fourth may wait.
async fn load(guest: &str, cache: &Path, instances: u32) -> Arc<Plugin> {
    let sandbox = Sandbox::new(SandboxConfig {
        cache_dir: cache.to_owned(),
        instances,
        own: Vec::new(),
        threads: 1,
        compiler: compiler(),
    });
    let bytes = std::fs::read(module(guest)).unwrap();
    sandbox.unwrap().load(guest, bytes.into()).await.unwrap()
}

async fn bind_to(plugin: &Arc<Plugin>, toml: &str) -> Notifier {
    let destination = Destination::parse("test", toml).unwrap();
    plugin.bind(&destination, Secrets::default(), None).await.unwrap()
}

async fn bind(cache: &Path, toml: &str) -> Notifier {
    bind_to(&load("fixture", cache, 8).await, toml).await
}

fn counting(reuse: &str) -> String {
    format!("reuse = {reuse}\npolicy.timeout = \"1s\"\n[config]\ndo = \"counting\"")
}

async fn counts(notifier: &Notifier, contents: &[&str]) -> Vec<String> {
    let mut counts = Vec::new();
    for content in contents {
        counts.push(note(&send(notifier, content).await).to_owned());
    }
    counts
}

#[tokio::test]
pub(crate) async fn an_instance_serves_so_many_deliveries() {
    let cache = tempfile::tempdir().unwrap();
    let fresh = bind(cache.path(), &counting("false")).await;
    assert_eq!(counts(&fresh, &["{}"; 3]).await, ["1", "1", "1"]);
    let reused = bind(cache.path(), &counting("true")).await;
    assert_eq!(counts(&reused, &["{}"; 4]).await, ["1", "2", "3", "4"]);
    let thrice = bind(cache.path(), &counting("{ count = 3 }")).await;
    assert_eq!(counts(&thrice, &["{}"; 5]).await, ["1", "2", "3", "1", "2"]);
}

#[tokio::test]
async fn an_instance_that_trapped_or_was_cut_off_is_not_used_again() {
    let cache = tempfile::tempdir().unwrap();
    let reused = bind(cache.path(), &counting("true")).await;
    for (bad, expected) in [("\"trap\"", Fault::Trap), ("\"loop\"", Fault::Timeout)] {
        assert_eq!(counts(&reused, &["{}"; 2]).await, ["1", "2"]);
        let sent = send(&reused, bad).await;
        let Outcome::Fault { fault, .. } = sent.outcome else { panic!("{sent:?}") };
        assert_eq!(fault, expected);
    }
    assert_eq!(counts(&reused, &["{}"; 2]).await, ["1", "2"]);
    let looping = notification("\"loop\"");
    let sending = reused.send(&looping, 1, 0);
    let cut = tokio::time::timeout(std::time::Duration::from_millis(50), sending);
    assert!(cut.await.is_err());
    assert_eq!(counts(&reused, &["{}"; 2]).await, ["1", "2"]);
}

#[tokio::test]
async fn an_instance_that_is_old_or_has_grown_is_thrown_away() {
    let cache = tempfile::tempdir().unwrap();
    let small = bind(cache.path(), &counting("{ memory = \"3MiB\" }")).await;
    assert_eq!(
        counts(&small, &["{}", "\"grow\"", "\"grow\"", "{}", "{}"]).await,
        ["1", "2", "3", "1", "2"]
    );
    let old = bind(cache.path(), &counting("{ age = \"1ns\" }")).await;
    assert_eq!(counts(&old, &["{}"; 3]).await, ["1", "1", "1"]);
}

#[tokio::test]
pub(crate) async fn an_instance_that_keeps_too_many_resources_is_thrown_away() {
    let cache = tempfile::tempdir().unwrap();
    let leaking = "reuse = true\n[config]\ndo = \"leak\"";
    let leaking = bind_to(&load("fixture_wasi", cache.path(), 8).await, leaking).await;
    // Before it has more than it may: a third delivery would end at the limit of 1000.
    assert_eq!(counts(&leaking, &["{}"; 5]).await, ["1", "2", "1", "2", "1"]);
}

#[tokio::test]
async fn every_delivery_has_its_own_budgets() {
    let receiver = Receiver::ok().await;
    let toml = format!("reuse = true\n{}", receiver.destination("many-requests"));
    let notifier = fixture(&toml).await;
    for _ in 0..6 {
        let sent = send(&notifier, "{}").await;
        assert!(note(&sent).starts_with("10 of 100 answered"), "{}", note(&sent));
    }
    let toml = "reuse = true\nlimits.log = \"4KiB\"\n[config]\ndo = \"log-flood\"\ncount = 1000";
    let notifier = fixture(toml).await;
    let dropped = async || send(&notifier, "{}").await.usage.lines_dropped;
    let first = dropped().await;
    for _ in 0..3 {
        assert_eq!(dropped().await, first);
    }
}

#[tokio::test]
async fn waiting_instances_take_no_place_from_others() {
    let cache = tempfile::tempdir().unwrap();
    let plugin = load("fixture", cache.path(), 8).await;
    // Eight at once may run and two wait: twelve destinations leave nothing for the others if they could all wait.
    let mut reused = Vec::new();
    for _ in 0..12 {
        reused.push(bind_to(&plugin, &counting("true")).await);
    }
    for notifier in reused.iter().chain(&reused) {
        assert!(matches!(send(notifier, "{}").await.outcome, Outcome::Delivered(_)));
    }
}

#[tokio::test]
async fn an_instance_at_work_takes_no_place_of_those_that_wait() {
    let cache = tempfile::tempdir().unwrap();
    let plugin = load("fixture", cache.path(), 4).await;
    let (receiver, answered) = Receiver::holding().await;
    let posting = format!("reuse = true\n{}", receiver.destination("post"));
    let posting = bind_to(&plugin, &posting).await;
    let other = bind_to(&plugin, &counting("true")).await;
    answered.send_replace(1);
    assert!(matches!(send(&posting, "{}").await.outcome, Outcome::Delivered(_)));
    // It has the only place, and no other.
    assert_eq!(counts(&other, &["{}"; 2]).await, ["1", "1"]);
    let second = Notification { id: NotificationId(Uuid::from_u128(8)), ..notification("{}") };
    let (held, counted) = tokio::join!(posting.send(&second, 1, 0), async {
        receiver.until(2, PATIENCE).await;
        let counted = counts(&other, &["{}"; 2]).await;
        answered.send_replace(2);
        counted
    });
    assert!(matches!(held.outcome, Outcome::Delivered(_)));
    assert_eq!(counted, ["1", "2"]);
}
