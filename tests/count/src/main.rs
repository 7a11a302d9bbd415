//! One part of the way of a delivery, so many times, for a program that counts instructions.
//!
//! `cargo xtask bench count` runs it by callgrind, twice for each figure: what a delivery takes is what the longer run takes
//! more, so that the start drops out. Nothing here comes of time or chance: ids and dice are fixed, the queue's clock
//! stands still, and everything is one thread's but for what the parts start themselves.
//!
//! - `queue`: enqueue, claim and settle, without a dispatcher.
//! - `dispatcher`: claim, attempt and settle, by a dispatcher whose attempts do nothing.
//! - `sandbox`: an attempt of a guest that does nothing.
//! - `notification`: what is delivered.

mod dispatcher;
mod notification;
mod queue;
mod sandbox;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

const USAGE: &str =
    "usage: queue|dispatcher DELIVERIES, or sandbox-fresh|sandbox-reused DELIVERIES MODULE CACHE";

fn main() -> Result<ExitCode> {
    // Before any thread, as in the daemon.
    if let Some(compiled) = postrider_sandbox::compile_child() {
        return Ok(compiled);
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&words))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(words: &[&str]) -> Result<()> {
    let number = |word: &str| word.parse::<usize>().context("the deliveries want a number");
    match words {
        ["queue", deliveries] => queue::run(number(deliveries)?).await,
        ["dispatcher", deliveries] => dispatcher::run(number(deliveries)?).await,
        [part, deliveries, module, cache] => {
            let reuse = match *part {
                "sandbox-fresh" => "",
                "sandbox-reused" => sandbox::REUSE,
                _ => bail!(USAGE),
            };
            let bench = sandbox::Bench::open(Path::new(module), Path::new(cache)).await?;
            bench.run(reuse, number(deliveries)?).await
        }
        _ => bail!(USAGE),
    }
}
