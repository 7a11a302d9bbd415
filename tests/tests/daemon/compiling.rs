use std::path::Path;
use std::time::Duration;

use postrider_tests::core_module::compile_bomb;
use postrider_tests::daemon::{Daemon, PATIENCE};
use postrider_tests::receiver::Receiver;
use serde_json::json;
use tokio::time::{interval, timeout};

use crate::hooked;

/// Compiles for longer than this test runs.
const BRANCHES: usize = 30_000;

async fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let mut ticks = interval(Duration::from_millis(20));
    let looking = async {
        loop {
            ticks.tick().await;
            if let Some(found) = found() {
                return found;
            }
        }
    };
    timeout(PATIENCE, looking).await.expect("it comes")
}

/// The child of the daemon that compiles, once it runs a program of its own: a child that was only started still shows
/// its parent's arguments and environment.
async fn compiler(daemon: &Daemon) -> u32 {
    let tasks = format!("/proc/{}/task", daemon.pid());
    let arguments = |pid| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let of_parent = arguments(daemon.pid());
    until(|| {
        let tasks = std::fs::read_dir(&tasks).unwrap().filter_map(Result::ok);
        let children =
            tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let child: u32 = children.collect::<String>().split_whitespace().next()?.parse().ok()?;
        let of_child = arguments(child);
        (!of_child.is_empty() && of_child != of_parent).then_some(child)
    })
    .await
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/exe")).exists()
        && !std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .unwrap_or_default()
            .contains(") Z ")
}

#[tokio::test]
async fn a_module_that_takes_ages_to_compile_holds_up_nobody_and_its_compiler_dies_with_the_daemon()
{
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    house.put("bomb.wasm", compile_bomb(BRANCHES));
    let child = compiler(&daemon).await;
    let environment = std::fs::read_to_string(format!("/proc/{child}/environ")).unwrap();
    assert!(!environment.contains("PATH="), "{environment}");
    // Looks go on without it, and so do deliveries.
    daemon
        .until("/v1/plugins", |p| {
            p["items"][0]["reason"] == "plugin \"bomb\": its file is being compiled"
        })
        .await;
    house.put_module("console", "console");
    daemon.until("/v1/plugins", |p| p["items"][1]["name"] == "console").await;
    for sent in 1..=20 {
        daemon.enqueue(&json!({"type": "x"})).await;
        receiver.ids(sent, PATIENCE).await;
    }
    assert!(is_alive(child), "it is compiled all the while");
    daemon.kill().await;
    until(|| (!is_alive(child)).then_some(())).await;
}

#[tokio::test]
async fn a_module_that_is_replaced_while_it_compiles_ends_its_compiler() {
    let receiver = Receiver::ok().await;
    let house = hooked(&receiver, "");
    let daemon = house.start().await;
    house.put("slow.wasm", compile_bomb(BRANCHES));
    let child = compiler(&daemon).await;
    house.put_module("console", "slow");
    daemon
        .until("/v1/plugins", |p| {
            p["items"][0]["name"] == "slow" && p["items"][0]["state"] == "active"
        })
        .await;
    until(|| (!is_alive(child)).then_some(())).await;
    assert!(daemon.stop().await.success());
}
