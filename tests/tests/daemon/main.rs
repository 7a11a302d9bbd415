//! The real daemon with real modules and real receivers.
//!
//! - `way`: one notification, all the way; fallbacks; the commands.
//! - `breaker`: a destination that fails, and comes back; one that is gone.
//! - `access`: tokens, sockets, encryption, the audit; clients that are slow, large or forged.
//! - `api`: batches, lists, pauses, events, the API's own description.
//! - `compiling`: a module that takes ages to compile, and its compiler's end.
//! - `crash`: kill -9 and restarts.
//! - `hosts`: two daemons on one PostgreSQL.
//! - `handlers`: the examples of notifiers, in every language.
//! - `ingest`: formats that other systems speak, sent by them.
//! - `outbox`: the examples of producers that insert by SQL.
//! - `faults`: hosts stand still, their database crashes, their connections break.
//! - `bad_database`, `full_disk`: a database that does not do its work, and then does.
//! - `small_disk`: a disk that a test can fill.
//! - `storm`: hosts are killed at random under load.
//! - `fleet`, `books`: several hosts, and the audit of what they did.
//! - `logs`: what goes wrong, told once.
//! - `misbehaviour`: guests that do their worst, and what stays of it.
//! - `page`: the web page, in a real browser.
//! - `plugin_projects`, `plugin_tools`: the commands for authors of modules.
//! - `redaction`: secrets, looked for everywhere.
//! - `reload`: modules and destinations that come, change, break and go.
//! - `reloads`: many of them under load.
//! - `rollback`: new versions of a module that fail, and those whose receivers do.
//! - `running`: beginning, settings that change, and what a service manager sees.
//! - `schedule`: when a notification is sent, until when, and after which other.
//! - `shutdown`: signals at every wait.
//! - `signals`: metrics, probes, notifications of its own.
//! - `trace`: a producer's trace, all the way to the receiver.
//! - `upkeep`: limits and the commands of the database.
//! - `refusals`: bad settings, files and bodies, each with its text.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod access;
mod api;
mod bad_database;
mod books;
mod breaker;
mod compiling;
mod crash;
mod faults;
mod fleet;
mod full_disk;
mod handlers;
mod hosts;
mod ingest;
mod logs;
mod misbehaviour;
mod outbox;
mod page;
mod plugin_projects;
mod plugin_tools;
mod redaction;
mod refusals;
mod reload;
mod reloads;
mod rollback;
mod running;
mod schedule;
mod shutdown;
mod signals;
mod small_disk;
mod storm;
mod trace;
mod upkeep;
mod way;

use std::process::Command;

use postrider_tests::daemon::House;
use postrider_tests::receiver::Receiver;

/// A house whose destination `hook` posts to a receiver.
fn hooked(receiver: &Receiver, more: &str) -> House {
    let house = House::new();
    house.put_module("webhook", "webhook");
    house.put("hook.toml", hook(receiver, more));
    house
}

fn hook(receiver: &Receiver, more: &str) -> String {
    let origin = receiver.origin();
    format!(
        "plugin = \"webhook\"\nallow = [\"{origin}\"]\nallow_private = true\nconfig.url = \"{origin}/hook\"\n{more}\n"
    )
}

/// Runs another program to its end and answers what it wrote.
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Whether a program that a test wants runs here. In a pipeline (`CI=true`) it must: `.ci/run` installs them all.
#[expect(clippy::print_stderr, reason = "what is skipped is said loudly")]
fn there(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program).args(arguments).output().is_ok_and(|o| o.status.success());
    if !found {
        let line = format!("`{program} {}` does not run here", arguments.join(" "));
        let in_pipeline = std::env::vars().any(|(name, value)| name == "CI" && value == "true");
        assert!(!in_pipeline, "{line}, and a pipeline must skip nothing");
        eprintln!("SKIPPED: {line}");
    }
    found
}
