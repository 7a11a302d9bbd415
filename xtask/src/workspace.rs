//! Where things are, and how cargo is run.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The workspace that this tool was built from, and where its builds go.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target_dir: PathBuf,
}

impl Workspace {
    /// Finds the root by this package's place in it, and the target directory by the environment.
    pub(crate) fn locate() -> Result<Self> {
        // What cargo says now, not when this was built: clones that share a target directory share this binary.
        let package = variable("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().context("the xtask package lies in no workspace")?.to_owned();
        let target_dir = target_dir(&root, variable)?;
        let workspace = Self { root, target_dir };
        workspace.take_over()?;
        Ok(workspace)
    }

    /// Makes cargo look at this clone's sources when another clone used the target directory last.
    ///
    /// Cargo knows a package of a workspace by its place in it and a change by the time of a file, so it would take
    /// what another clone built for ours wherever our files are older.
    fn take_over(&self) -> Result<()> {
        let mark = self.target_dir.join(".workspace");
        let ours = self.root.as_os_str().as_encoded_bytes();
        if std::fs::read(&mark).is_ok_and(|last| last == ours) {
            return Ok(());
        }
        let now =
            std::time::SystemTime::UNIX_EPOCH.elapsed().context("the clock is before 1970")?;
        let now = std::time::SystemTime::UNIX_EPOCH + now;
        for room in ["host", "plugins", "tests", "wit", "xtask"] {
            touch(&self.root.join(room), now)?;
        }
        std::fs::create_dir_all(&self.target_dir)?;
        std::fs::write(&mark, ours).with_context(|| format!("cannot write {}", mark.display()))
    }

    /// A cargo command for this workspace.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target_dir).arg(subcommand);
        // What `cargo run` says of this tool is none of the others' business: build scripts that look at it would run
        // again, and minutes of building after them.
        for (name, _) in env::vars_os() {
            let of_ours = name.to_str().is_some_and(|name| {
                name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
            });
            if of_ours {
                cargo.env_remove(name);
            }
        }
        cargo
    }
}

/// Gives every file below a directory this time of change.
fn touch(directory: &Path, now: std::time::SystemTime) -> Result<()> {
    for item in std::fs::read_dir(directory).with_context(|| format!("{}", directory.display()))? {
        let item = item?;
        if item.file_type()?.is_dir() {
            touch(&item.path(), now)?;
        } else if item.file_type()?.is_file() {
            std::fs::File::options().append(true).open(item.path())?.set_modified(now)?;
        }
    }
    Ok(())
}

/// The target directory of the builds that this tool starts.
///
/// Unless `CARGO_TARGET_DIR` says otherwise it is one in the user's cache, so that all clones share it: wasmtime
/// alone takes minutes to build. `.ci/run` has the same default.
fn target_dir(root: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    if let Some(given) = variable("CARGO_TARGET_DIR") {
        return std::path::absolute(given).context("CARGO_TARGET_DIR");
    }
    Ok(match cache_of(variable) {
        Some(cache) => cache.join("target"),
        None => root.join("target"),
    })
}

/// What is postrider's in the user's cache; none where the user has none.
pub(crate) fn cache() -> Option<PathBuf> {
    cache_of(variable)
}

fn cache_of(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let cache = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.map(|cache| cache.join("postrider"))
}

/// An environment variable; none where it is empty.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Runs a command to its end. The error names the command, which itself has said what is wrong.
pub(crate) fn run_command(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Becomes the command, so that signals reach it and its output is the last. Comes back only if it cannot be run.
pub(crate) fn become_command(command: &mut Command) -> Result<()> {
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run `{}`", line(command)))
}

/// Whether a command can be run and succeeds; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The allocator's own build asks for it, and says too late and too little.
pub(crate) fn check_make() -> Result<()> {
    let needed = cfg!(all(target_os = "linux", target_env = "gnu"));
    if needed && !succeeds(Command::new("make").arg("--version")) {
        bail!(
            "there is no `make`, which the daemon's memory allocator is built with; install it beside the C compiler \
             (Debian: apt-get install build-essential)"
        );
    }
    Ok(())
}

/// Says something to the person before the screen: on stderr, where cargo talks too.
pub(crate) fn say(text: &str) -> Result<()> {
    writeln!(io::stderr(), "{text}").context("cannot write to stderr")
}

/// A command as it is typed, without the way to its program.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target_dir_with(variables: &[(&str, &str)]) -> PathBuf {
        let variable = |name: &str| {
            let found = variables.iter().find(|(given, _)| *given == name);
            found.map(|(_, value)| OsString::from(value))
        };
        target_dir(Path::new("/clone"), variable).unwrap()
    }

    #[test]
    fn clones_share_a_target_directory_in_the_cache() {
        let home = ("HOME", "/home/me");
        assert_eq!(target_dir_with(&[home]), Path::new("/home/me/.cache/postrider/target"));
        let xdg = ("XDG_CACHE_HOME", "/cache");
        assert_eq!(target_dir_with(&[home, xdg]), Path::new("/cache/postrider/target"));
        let given = ("CARGO_TARGET_DIR", "/given");
        assert_eq!(target_dir_with(&[home, xdg, given]), Path::new("/given"));
        assert_eq!(target_dir_with(&[]), Path::new("/clone/target"));
    }

    #[test]
    fn a_relative_target_directory_is_the_callers() {
        assert!(target_dir_with(&[("CARGO_TARGET_DIR", "mine")]).is_absolute());
    }

    #[test]
    fn a_failed_command_is_named() {
        let error = run_command(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c exit 3` failed: exit status: 3");
    }
}
