//! Starts, pauses and ends the server, and tells the guardian.

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::guardian::Guardian;
use crate::place::Place;
use crate::server::{Server, Started};

/// The one who decides whether a server runs. Whatever becomes of it, the server ends with it.
pub(crate) struct Keeper {
    server: Option<Server>,
    guardian: Guardian,
}

impl Keeper {
    pub(crate) fn new(place: &Place) -> Result<Self> {
        Ok(Self { server: None, guardian: Guardian::start(place.path())? })
    }

    /// Starts the server, if it does not run, and waits until it is ready.
    pub(crate) fn start(&mut self, place: &Place, port: u16) -> Result<Started> {
        if running(&mut self.server).is_ok() {
            return Ok(Started::Ready);
        }
        let server = self.server.insert(Server::spawn(place, port)?);
        let started = self.guardian.watch(&[server.pid()]).and_then(|()| server.until_ready(place));
        if !matches!(started, Ok(Started::Ready)) {
            self.end(Signal::QUIT)?;
        }
        started
    }

    pub(crate) fn pause(&mut self) -> Result<()> {
        let server = running(&mut self.server)?;
        let (pid, guardian) = (server.pid(), &mut self.guardian);
        let paused = server.pause(|children| guardian.watch(&[&[pid], children].concat()));
        if paused.is_err() {
            self.resume()?;
        }
        paused
    }

    pub(crate) fn resume(&mut self) -> Result<()> {
        let server = running(&mut self.server)?;
        server.resume()?;
        self.guardian.watch(&[server.pid()])
    }

    /// Ends the server, if it runs: `INT` in order, `QUIT` as in a crash.
    pub(crate) fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(server) = self.server.take() else { return Ok(()) };
        server.end(signal)?;
        self.guardian.watch(&[])
    }

    /// The server's first process, while it runs.
    pub(crate) fn pid(&mut self) -> Option<u32> {
        running(&mut self.server).ok()?.pid().as_raw_nonzero().get().try_into().ok()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Where this fails the guardian still knows the server.
        self.end(Signal::QUIT).ok();
    }
}

/// A server that ended by itself does not run either.
fn running(server: &mut Option<Server>) -> Result<&mut Server> {
    let running = server.as_mut().and_then(|server| server.runs().then_some(server));
    running.context("the server does not run; Cluster::start_again starts it")
}
