//! `cargo xtask fuzz-api`: schemathesis against the real daemon and its own description of the API.
//!
//! Requests are made of `/openapi.json`, good ones and bad ones. None may end in a 5xx, and each answer must have a
//! status, a content type and a shape that the document names. Schemathesis comes by `pip install schemathesis`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::modules;
use crate::workspace::{Workspace, run_command, say};

/// What is checked of each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

/// What the run may be told.
#[derive(Args)]
pub(crate) struct FuzzApi {
    /// The program, where it is not on the path
    #[arg(long, default_value = "schemathesis")]
    program: PathBuf,
    /// Requests that are tried of each operation and phase
    #[arg(long, default_value_t = 250)]
    examples: u32,
    /// The run's seed; by default always the same
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// An empty PostgreSQL database instead of SQLite, such as `postgres://me@db/fuzz`
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Further arguments of schemathesis
    #[arg(last = true)]
    more: Vec<OsString>,
}

/// The daemon, killed when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Starts a daemon in a directory of its own and tries its API.
pub(crate) fn run(workspace: &Workspace, options: &FuzzApi) -> Result<()> {
    let built = modules::build(workspace)?;
    let mut cargo = workspace.cargo("build");
    run_command(cargo.args(["--workspace", "--bins", "--tests", "--examples"]))
        .context("the daemon could not be built")?;
    let house = workspace.target_dir.join("fuzz-api");
    if house.exists() {
        std::fs::remove_dir_all(&house)?;
    }
    let plugins = house.join("plugins");
    std::fs::create_dir_all(&plugins)?;
    std::fs::copy(built.join("console.wasm"), plugins.join("console.wasm"))?;
    std::fs::write(plugins.join("hook.toml"), "plugin = \"console\"\n")?;
    let program = workspace.target_dir.join("debug/postrider");
    let (mut daemon, url) = start(&program, &house, options.database.as_deref())?;
    let program = match options.program.components().count() {
        1 => options.program.clone(),
        _ => std::path::absolute(&options.program)?,
    };
    let tried = run_command(
        // It leaves notes of its own where it runs.
        Command::new(program)
            .current_dir(&house)
            .args(["run", "--checks", CHECKS, "--continue-on-failure", "--no-color"])
            .args(["--max-examples", &options.examples.to_string()])
            .args(["--seed", &options.seed.to_string()])
            .args(&options.more)
            .arg(format!("{url}/openapi.json")),
    );
    if let Some(status) = daemon.0.try_wait()? {
        bail!("the daemon ended: {status}; see {}", house.join("log").display());
    }
    tried
}

fn start(program: &Path, house: &Path, database: Option<&str>) -> Result<(Daemon, String)> {
    let log = house.join("log");
    let mut command = Command::new(program);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(house);
    command.args(database.into_iter().flat_map(|url| ["--database", url]));
    // Found values stay in the log, which a failure can be looked up in.
    command.env("POSTRIDER_LOG_LEVEL", "info,plugin=off").stdin(Stdio::null());
    let child = command.stderr(File::create(&log)?).spawn().context("the daemon cannot be run")?;
    let mut daemon = Daemon(child);
    let mut lines = BufReader::new(File::open(&log)?);
    let mut line = String::new();
    loop {
        // At the end of what is written so far it reads nothing, and later more.
        if lines.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            if let Some(status) = daemon.0.try_wait()? {
                bail!("the daemon did not start: {status}; see {}", log.display());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            continue;
        }
        if let Some((_, rest)) = line.split_once("ready at ") {
            let url = rest.split_whitespace().next().context("the daemon says no address")?;
            say(&format!("trying {url}; the daemon's log is {}", log.display()))?;
            return Ok((daemon, url.to_owned()));
        }
        line.clear();
    }
}
