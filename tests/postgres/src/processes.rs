//! Signals, and what `/proc` says.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

/// How often something is looked at that nobody reports.
const LOOK: Duration = Duration::from_millis(5);

/// Sends a signal. A process that is gone has no use for it.
pub(crate) fn signal(pid: Pid, signal: Signal) -> Result<()> {
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error)
            .with_context(|| format!("process {pid} cannot be sent signal {}", signal.as_raw())),
    }
}

/// Waits until `done` answers something. `None` after `patience`.
pub(crate) fn until<T>(
    patience: Duration,
    mut done: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let end = Instant::now() + patience;
    loop {
        let answer = done()?;
        if answer.is_some() || Instant::now() >= end {
            return Ok(answer);
        }
        std::thread::sleep(LOOK);
    }
}

/// Stops a process and waits until it stands still, or is gone.
pub(crate) fn freeze(pid: Pid, patience: Duration) -> Result<()> {
    signal(pid, Signal::STOP)?;
    let still = || Ok(stat(pid).is_none_or(|stat| matches!(stat.state, 'T' | 'Z')).then_some(()));
    if until(patience, still)?.is_none() {
        bail!("process {pid} still runs {patience:?} after it was sent SIGSTOP");
    }
    Ok(())
}

/// The processes that `parent` started.
pub(crate) fn children(parent: Pid) -> Result<Vec<Pid>> {
    let processes = std::fs::read_dir("/proc")
        .context("pausing a server needs Linux: /proc cannot be read")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw);
    let is_child = |pid: &Pid| stat(*pid).is_some_and(|stat| stat.parent == parent.as_raw_pid());
    Ok(processes.filter(is_child).collect())
}

struct Stat {
    state: char,
    parent: i32,
}

fn stat(pid: Pid) -> Option<Stat> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold brackets and spaces itself.
    let (_, after_name) = line.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    Some(Stat { state: fields.next()?.parse().ok()?, parent: fields.next()?.parse().ok()? })
}
