//! The `postrider` command.

use std::process::ExitCode;

/// SQLite's, too. Of the daemon's time on one machine glibc's took a tenth, and half as much again.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Before any thread: a child that compiles limits itself first.
    match postrider_sandbox::compile_child() {
        Some(compiled) => compiled,
        None => run(),
    }
}

#[tokio::main]
async fn run() -> ExitCode {
    postrider::cli::run().await
}
