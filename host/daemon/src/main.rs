//! The `postrider` command.

use std::process::ExitCode;

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
