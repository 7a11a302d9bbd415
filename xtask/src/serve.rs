//! `cargo xtask serve`: from a fresh clone to a running daemon.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::workspace::{Workspace, become_command, run_command, say};
use crate::{modules, plugins_dir};

/// Builds, fills the plugins directory, says what to try, and becomes the daemon.
pub(crate) fn run(
    workspace: &Workspace,
    data_dir: Option<PathBuf>,
    flags: &[OsString],
) -> Result<()> {
    let built = modules::build(workspace)?;
    let daemon = build_daemon(workspace)?;
    let data_dir = data_dir.map_or_else(|| default_data_dir(workspace), Ok)?;
    plugins_dir::fill(&data_dir.join("plugins"), &built)?;
    say(&hints(&daemon))?;
    let mut serve = Command::new(&daemon);
    become_command(serve.arg("serve").arg("--data-dir").arg(&data_dir).args(flags))
}

fn build_daemon(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo("build");
    run_command(cargo.args(["--package", "postrider", "--bin", "postrider"]))
        .context("the daemon could not be built")?;
    Ok(workspace.target_dir.join("debug/postrider"))
}

/// `data` below the workspace, said as the caller would say it. The caller's directory stays the daemon's, because
/// flags such as `--config` are relative to it.
fn default_data_dir(workspace: &Workspace) -> Result<PathBuf> {
    let here = env::current_dir().context("cannot tell the current directory")?;
    let data_dir = workspace.root.join("data");
    Ok(data_dir.strip_prefix(here).map(Path::to_owned).unwrap_or(data_dir))
}

fn hints(daemon: &Path) -> String {
    let daemon = daemon.display();
    format!(
        r#"
Try in another terminal:

  echo '"hello"' | {daemon} send --type demo.hello --label from=readme -
  curl -s http://127.0.0.1:7411/v1/notifications -d '{{"type":"demo.hello","content":"hello"}}'

Both show up below. What has a type such as webhook.hello is also posted to the URL in webhook.toml.
"#
    )
}
