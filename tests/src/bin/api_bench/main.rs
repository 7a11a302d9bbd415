//! The API of the real daemon, on SQLite with `synchronous=FULL` unless `--database` names another: ingest, lists at a million rows, listeners, and a good
//! client beside bad ones. Each figure stands beside its goal and beside what the same machine does bare, in the same
//! run.
//!
//! `cargo xtask bench api` builds the daemon and this for release and runs it.
//!
//! - `figures`: what is measured, and how it is said.
//! - `ingest`, `lists`, `crowd`: the scenarios.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a bench prints, and may fail loudly"
)]

mod crowd;
mod figures;
mod ingest;
mod lists;

use std::net::SocketAddr;

use postrider_tests::daemon::{Daemon, House};

/// How much is done; `--quick` takes a tenth.
#[derive(Clone, Copy)]
struct Size {
    rows: usize,
    requests: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let database = arguments.iter().position(|argument| argument == "--database");
    let database = database.map(|place| arguments[place + 1].clone());
    let size = match quick {
        true => Size { rows: 100_000, requests: 8_000 },
        false => Size { rows: 1_000_000, requests: 40_000 },
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(run(size, database));
}

async fn run(size: Size, database: Option<String>) {
    figures::machine();
    let house = House::new();
    house.put_module("console", "console");
    // Paused: its deliveries are written, and not made.
    house.put("held.toml", "plugin = \"console\"\nmatch = { type = [\"load.*\"] }\n");
    let mut serve = house.command();
    serve.args(["serve", "--listen", "127.0.0.1:0"]);
    serve.envs(database.map(|database| ("POSTRIDER_DATABASE", database)));
    let daemon = house.start_command(serve).await;
    let (status, answer) = daemon.post("/v1/destinations/held/pause", "").await;
    assert_eq!(status, 200, "{answer}");

    let floor = figures::commits(house.path());
    ingest::run(&daemon, size, floor).await;
    crowd::listen(&daemon).await;
    crowd::good_beside_bad(&daemon).await;
    lists::run(&daemon, size).await;
    figures::machine();
    assert!(daemon.stop().await.success());
}

fn address(daemon: &Daemon) -> SocketAddr {
    daemon.url().strip_prefix("http://").unwrap().parse().unwrap()
}
