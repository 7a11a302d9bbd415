//! A cluster of its own directory and port.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::binaries::Binaries;
use crate::keeper::Keeper;
use crate::place::Place;
use crate::processes::until;
use crate::server::Started;
use crate::settings::Settings;

const MISSING: &str =
    "PostgreSQL is not installed: this test cannot run; install Debian's postgresql";
const SKIPPED: &str =
    "PostgreSQL is not installed: this test is SKIPPED; install Debian's postgresql";
/// Between what systems keep for themselves and what they give to outgoing connections (32768 on, on Linux). While the
/// server is down no such connection takes its port, not even one to this very port, which would connect to itself.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// How many ports are tried before something else must be wrong.
const PORTS_TRIED: usize = 20;
/// How long a start waits for what is in its way: who took its port, or sessions of a server that was killed.
const UNBLOCKED: Duration = Duration::from_secs(10);

/// A PostgreSQL server with its data. Ended and removed when dropped, and when the test process is killed.
///
/// All may be called from several threads. What waits is bounded, and fails when it takes too long.
pub struct Cluster {
    port: u16,
    // Before the place, so that the server ends before its directory goes.
    keeper: Mutex<Keeper>,
    place: Place,
}

impl Cluster {
    /// Makes a cluster and starts it.
    pub fn start(settings: Settings) -> Result<Self> {
        Self::start_with(Binaries::find().context(MISSING)?, settings)
    }

    /// Like [`Self::start`]. Without PostgreSQL on the machine it says so and answers `None`.
    ///
    /// # Panics
    /// Where PostgreSQL does not start, and where it is missing although `CI` is `true`.
    #[expect(clippy::panic, reason = "for tests only: no test can go on then")]
    pub fn start_or_skip(settings: Settings) -> Option<Self> {
        let Some(binaries) = Binaries::find() else {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{MISSING}");
            // Not `eprintln!`, which the test harness keeps to itself.
            writeln!(std::io::stderr(), "{SKIPPED}").ok();
            return None;
        };
        Some(Self::start_with(binaries, settings).unwrap_or_else(|error| panic!("{error:#}")))
    }

    fn start_with(binaries: Binaries, settings: Settings) -> Result<Self> {
        let place = Place::new(binaries)?;
        let mut keeper = Keeper::new(&place)?;
        place.fill(&settings)?;
        let mut tried = 0;
        loop {
            let port = free_port()?;
            tried += 1;
            match keeper.start(&place, port)? {
                Started::Ready => return Ok(Self { port, keeper: Mutex::new(keeper), place }),
                Started::Blocked(error) if tried == PORTS_TRIED => return Err(error),
                Started::Blocked(_) => (),
            }
        }
    }

    /// The port, the same over all restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the cluster: `data`, `log` and the socket.
    pub fn directory(&self) -> &Path {
        self.place.path()
    }

    /// The server's first process. `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.keeper().pid()
    }

    /// All that the server logged.
    pub fn log(&self) -> String {
        self.place.log()
    }

    /// Stops the server in order: sessions are ended, what is committed is kept, durable or not.
    pub fn stop(&self) -> Result<()> {
        self.keeper().end(Signal::INT)
    }

    /// Starts a server that was stopped, on its port of before.
    pub fn start_again(&self) -> Result<()> {
        self.launch(&mut self.keeper())
    }

    /// Ends the server as a crash would, and starts it again. What it had not written is lost; where it is durable,
    /// that is nothing it had confirmed.
    pub fn restart_immediately(&self) -> Result<()> {
        let mut keeper = self.keeper();
        keeper.end(Signal::QUIT)?;
        self.launch(&mut keeper)
    }

    /// Lets the server stand still with all its sessions, as behind a broken network: the kernel still takes up
    /// connections, and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.keeper().pause()
    }

    /// Lets a paused server go on where it was.
    pub fn resume(&self) -> Result<()> {
        self.keeper().resume()
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    fn launch(&self, keeper: &mut Keeper) -> Result<()> {
        let mut last = None;
        let ready = until(UNBLOCKED, || match keeper.start(&self.place, self.port)? {
            Started::Ready => Ok(Some(())),
            Started::Blocked(error) => {
                last = Some(error);
                Ok(None)
            }
        })?;
        match (ready, last) {
            (None, Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        // A thread that panicked left no half state that the next call would not see.
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port that nobody listens on now.
fn free_port() -> Result<u16> {
    let span = u64::from(PORTS.end - PORTS.start);
    let port = || -> u16 {
        // Every `RandomState` has keys of its own.
        let offset = RandomState::new().build_hasher().finish() % span;
        PORTS.start + u16::try_from(offset).unwrap_or_default()
    };
    std::iter::repeat_with(port)
        .take(PORTS_TRIED)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .with_context(|| format!("of {PORTS_TRIED} ports in {PORTS:?} none was free"))
}
