//! One run of the server, from its start to its end.

use std::os::unix::process::CommandExt as _;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal};

use crate::place::Place;
use crate::processes::{self, until};

/// Recovery after a crash included.
const START: Duration = Duration::from_secs(60);
/// A server that is asked to end writes its buffers first; one that is told to gives its children five seconds.
const END: Duration = Duration::from_secs(30);
const FREEZE: Duration = Duration::from_secs(10);
/// What the log says when somebody else has the port, and when sessions of a killed server have not ended yet.
const BLOCKED: [&str; 2] = ["Address already in use", "is still in use"];
/// The server writes its state into this line of `postmaster.pid`, counted from 0; the first is its process.
const STATE_LINE: usize = 7;
/// What it writes there when it takes connections, as a primary and as a replica.
const TAKES_CONNECTIONS: [Option<&str>; 2] = [Some("ready"), Some("standby")];

/// A server's first process, which starts and ends all others.
pub(crate) struct Server {
    process: Child,
    /// The length of the log as it started.
    logged_before: usize,
    /// The children that stand still. `None` while the server runs.
    paused: Option<Vec<Pid>>,
}

/// How a start went.
pub(crate) enum Started {
    Ready,
    /// Something is in the way that may go, as the error tells. The server is gone.
    Blocked(anyhow::Error),
}

impl Server {
    /// Starts a server, which is not ready yet.
    pub(crate) fn spawn(place: &Place, port: u16) -> Result<Self> {
        let logged_before = place.log().len();
        let log = place.open_log()?;
        let errors = log.try_clone().context("the log cannot be opened twice")?;
        let mut postgres = place.tools.command("postgres");
        postgres.arg("-D").arg(place.data()).args(["-p", &port.to_string()]);
        // In a group of its own: who kills the test's group leaves it to the guardian to end the server in order.
        postgres.stdout(log).stderr(errors).process_group(0);
        let process = postgres.spawn().context("postgres does not start")?;
        Ok(Self { process, logged_before, paused: None })
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Whether it has not ended, by itself or by a test.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Waits until the server takes connections.
    pub(crate) fn until_ready(&mut self, place: &Place) -> Result<Started> {
        let pid = self.pid().to_string();
        let state_file = place.data().join("postmaster.pid");
        let started = until(START, || {
            if let Some(status) = self.process.try_wait()? {
                let tail = place.log_tail();
                let error = anyhow!("postgres ended with {status} as it started; {tail}");
                let log = place.log();
                let logged = log.get(self.logged_before..).unwrap_or(&log);
                return if BLOCKED.iter().any(|text| logged.contains(text)) {
                    Ok(Some(Started::Blocked(error)))
                } else {
                    Err(error)
                };
            }
            let state = std::fs::read_to_string(&state_file).unwrap_or_default();
            let line = |number| state.lines().nth(number).map(str::trim);
            let ready = line(0) == Some(&pid) && TAKES_CONNECTIONS.contains(&line(STATE_LINE));
            Ok(ready.then_some(Started::Ready))
        })?;
        started
            .with_context(|| format!("postgres is not ready after {START:?}; {}", place.log_tail()))
    }

    /// Lets the server and its children stand still. Calls `before` with the children, which are still running then.
    pub(crate) fn pause(&mut self, before: impl FnOnce(&[Pid]) -> Result<()>) -> Result<()> {
        if self.paused.is_some() {
            return Ok(());
        }
        // The first process first: it would start further children.
        self.paused = Some(Vec::new());
        processes::freeze(self.pid(), FREEZE)?;
        let children = processes::children(self.pid())?;
        before(&children)?;
        self.paused = Some(children.clone());
        children.into_iter().try_for_each(|child| processes::freeze(child, FREEZE))
    }

    /// Lets everything run again.
    pub(crate) fn resume(&mut self) -> Result<()> {
        for pid in self.paused.take().unwrap_or_default().into_iter().chain([self.pid()]) {
            processes::signal(pid, Signal::CONT)?;
        }
        Ok(())
    }

    /// Sends a signal that ends the server and waits until it has ended. Kills it when it does not.
    pub(crate) fn end(mut self, signal: Signal) -> Result<()> {
        if self.process.try_wait()?.is_some() {
            return Ok(());
        }
        processes::signal(self.pid(), signal)?;
        self.resume()?;
        if until(END, || Ok(self.process.try_wait()?))?.is_none() {
            self.process.kill().and_then(|()| self.process.wait()).context("postgres is left")?;
            bail!(
                "postgres did not end within {END:?} after signal {} and was killed",
                signal.as_raw()
            );
        }
        Ok(())
    }
}
