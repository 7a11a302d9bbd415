//! The `postrider` command.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    postrider::cli::run().await
}
