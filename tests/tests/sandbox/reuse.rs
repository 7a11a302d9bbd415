//! Instances that serve several deliveries, where their destination wants that.

use std::path::Path;

use postrider_core::{Destination, Fault, Outcome};
use postrider_sandbox::{Notifier, Secrets};
use postrider_tests::modules::module;
use postrider_tests::receiver::Receiver;

use crate::given::{compiler, fixture, note, send};

/// One worker thread, so that which instance is used is not a matter of chance.
async fn bind(cache: &Path, toml: &str) -> Notifier {
    bind_guest("fixture", cache, toml).await
}

async fn bind_guest(guest: &str, cache: &Path, toml: &str) -> Notifier {
    let sandbox = postrider_sandbox::Sandbox::new(postrider_sandbox::SandboxConfig {
        cache_dir: cache.to_owned(),
        instances: 8,
        own: Vec::new(),
        threads: 1,
        compiler: compiler(),
    });
    let bytes = std::fs::read(module(guest)).unwrap();
    let plugin = sandbox.unwrap().load(guest, bytes.into()).await.unwrap();
    let destination = Destination::parse("test", toml).unwrap();
    plugin.bind(&destination, Secrets::default(), None).await.unwrap()
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
    let looping = crate::given::notification("\"loop\"");
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
    let leaking = bind_guest("fixture_wasi", cache.path(), leaking).await;
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
    let cached = cache.path();
    // Eight at once may run and two wait: ten destinations leave nothing for the others if they could all wait.
    let mut reused = Vec::new();
    for _ in 0..10 {
        reused.push(bind(cached, &counting("true")).await);
    }
    for notifier in reused.iter().chain(&reused) {
        assert!(matches!(send(notifier, "{}").await.outcome, Outcome::Delivered(_)));
    }
}
