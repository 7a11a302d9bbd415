//! Ends the server and removes its directory after a test process that was killed.
//!
//! A shell in a process group of its own, so that whoever kills the test's group spares it, waits for the end of a
//! pipe that only the test process holds open. The kernel closes it however the process ends.
//!
//! `PR_SET_PDEATHSIG` would be less: it fires when the *thread* ends that started the server, it cannot wake a paused
//! server except to kill it, which leaves its children and its shared memory behind, and it removes no directory.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result};
use rustix::process::Pid;

pub(crate) struct Guardian {
    shell: Child,
    /// `None` once dropped.
    pipe: Option<ChildStdin>,
}

impl Guardian {
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", include_str!("guardian.sh"), "guardian"])
            .arg(directory)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("/bin/sh does not start")?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Says which processes are to be ended, first the one that ends the others.
    pub(crate) fn watch(&mut self, processes: &[Pid]) -> Result<()> {
        let names = processes.iter().map(Pid::to_string).collect::<Vec<_>>().join(" ");
        let mut pipe = self.pipe.as_ref().context("the guardian was dismissed")?;
        // One write: a line is never cut by the end of this process.
        pipe.write_all(format!("{names}\n").as_bytes())
            .context("the shell that ends the server after a killed test is gone; who ended it?")
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.pipe.take());
        self.shell.wait().ok();
    }
}
