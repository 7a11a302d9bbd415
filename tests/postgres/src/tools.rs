//! Runs programs as a user the server accepts, each bounded in time.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use crate::binaries::Binaries;
use crate::processes;

/// Who runs the server when we are root, which it refuses to run as.
const SERVER_USER: &str = "postgres";

/// The programs of one cluster.
pub(crate) struct Tools {
    binaries: Binaries,
    /// Where they run: the caller's own directory may be closed to `user`.
    directory: PathBuf,
    /// Who runs them, if not ourselves.
    user: Option<User>,
}

#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Tools {
    /// Hands the directory over to whoever will run the server in it.
    pub(crate) fn new(binaries: Binaries, directory: &Path) -> Result<Self> {
        let user = rustix::process::getuid().is_root().then(server_user).transpose()?;
        if let Some(User { uid, gid }) = user {
            chown(directory, Some(uid), Some(gid))
                .with_context(|| format!("{} cannot be chowned", directory.display()))?;
        }
        Ok(Self { binaries, directory: directory.to_owned(), user })
    }

    /// A program of PostgreSQL, with nothing of the caller's settings for it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.program(program));
        let outside = std::env::vars_os().map(|(name, _)| name);
        for name in outside.filter(|name| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        // A set time zone also spares initdb the search for the machine's.
        command.env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir(&self.directory).stdin(Stdio::null());
        if let Some(User { uid, gid }) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// Runs a command to its end and answers its standard output.
pub(crate) fn run(mut command: Command, patience: Duration) -> Result<String> {
    let shown = shown(&command);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{shown} does not start"))?;
    let pid = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(patience) else {
        processes::signal(pid, Signal::KILL).with_context(|| format!("{shown} hangs"))?;
        bail!("{shown} did not end within {patience:?} and was killed");
    };
    let output = output.with_context(|| format!("{shown} cannot be awaited"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("{shown} failed, {}: {}", output.status, text(&output.stderr).trim());
    }
    Ok(text(&output.stdout))
}

/// The command as one would type it, without what was taken out of its environment.
fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn server_user() -> Result<User> {
    let users = std::fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?;
    find_user(&users, SERVER_USER).with_context(|| {
        format!(
            "PostgreSQL refuses to run as root, and /etc/passwd has no user {SERVER_USER:?} to run \
             it as: add one (useradd --system {SERVER_USER}), or run the tests as another user"
        )
    })
}

fn find_user(users: &str, name: &str) -> Option<User> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        Some(User { uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users =
            "root:x:0:0::/:/bin/sh\npostgresql:x:1:1::/:\npostgres:x:101:104:a,,,:/:/bin/sh";

        let user = find_user(users, "postgres").unwrap();

        assert_eq!((user.uid, user.gid), (101, 104));
        assert!(find_user(users, "nobody").is_none());
    }

    #[test]
    fn a_command_that_hangs_is_killed() {
        let mut command = Command::new("sleep");
        command.arg("60");

        let error = run(command, Duration::from_millis(50)).unwrap_err();

        assert!(error.to_string().contains("did not end within 50ms"), "{error:#}");
    }

    #[test]
    fn a_command_that_fails_is_named_with_what_it_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing >&2; exit 3"]);

        let error = run(command, Duration::from_secs(10)).unwrap_err().to_string();

        assert!(error.starts_with("sh -c ") && error.ends_with("3: no such thing"), "{error}");
    }
}
