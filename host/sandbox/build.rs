//! Reads wasmtime's version from the lock file, since wasmtime itself does not say it.

use std::error::Error;

const LOCK: &str = "../../Cargo.lock";

fn main() -> Result<(), Box<dyn Error>> {
    let lock = std::fs::read_to_string(LOCK)?;
    let (_, package) =
        lock.split_once("name = \"wasmtime\"\n").ok_or("no wasmtime in Cargo.lock")?;
    let version = package.split('"').nth(1).ok_or("no version of wasmtime in Cargo.lock")?;
    println!("cargo::rustc-env=WASMTIME_VERSION={version}");
    println!("cargo::rerun-if-changed={LOCK}");
    Ok(())
}
