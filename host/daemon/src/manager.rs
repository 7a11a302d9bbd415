//! What a service manager is told, by systemd's protocol: a datagram of `NAME=value` lines to the socket that
//! `$NOTIFY_SOCKET` names. Without one, nothing is told.

use std::collections::BTreeMap;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::signals::Signals;

/// Between two looks at the loops where nobody asks for signs of life.
const LOOK: Duration = Duration::from_secs(10);
/// Shortest time between two signs of life, whatever is asked.
const SHORTEST: Duration = Duration::from_millis(10);
/// Longest wait for a manager that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// The service manager, if there is one. Cheap to clone: all are one.
#[derive(Clone, Debug, Default)]
pub struct Manager(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    socket: UnixDatagram,
    /// How long it waits for a sign of life before it restarts us.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The manager that the environment names; one that cannot be reached is said in the log and left alone.
    pub fn of(environment: &BTreeMap<String, String>) -> Self {
        let Some(name) = environment.get("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        match connect(name) {
            Ok(socket) => {
                let watchdog = watchdog(environment, std::process::id());
                Self(Some(Arc::new(Inner { socket, watchdog })))
            }
            Err(error) => {
                tracing::warn!(%error, manager.socket = name, "the service manager cannot be told anything");
                Self::default()
            }
        }
    }

    /// The API is open.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The settings are read again; [`Manager::ready`] ends it.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The daemon stops.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping: waiting for running attempts");
    }

    /// One line for people.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={}", status.replace('\n', " ")));
    }

    /// Says how the daemon is until `stop`: signs of life twice as often as asked for, while no loop stands still, and
    /// a new status whenever a loop is late or on time again.
    ///
    /// Late is not stuck: a loop that waits for a slow database is said, but a restart would not help it.
    pub async fn watch(self, signals: Signals, well: String, stop: CancellationToken) {
        let Some(watchdog) = self.0.as_ref().map(|inner| inner.watchdog) else { return };
        let mut ticks = interval(watchdog.map_or(LOOK, |whole| (whole / 2).max(SHORTEST)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = None;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if watchdog.is_some() && signals.stuck().next().is_none() {
                self.tell("WATCHDOG=1");
            }
            let late: Vec<&str> = signals.late().collect();
            let status = match late.is_empty() {
                true => well.clone(),
                false => format!("late: {}; see /readyz", late.join(", ")),
            };
            if said.as_ref() != Some(&status) {
                self.status(&status);
                said = Some(status);
            }
        }
    }

    fn tell(&self, lines: &str) {
        let Some(inner) = &self.0 else { return };
        if let Err(error) = inner.socket.send(lines.as_bytes()) {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }
}

/// `@name` is one of the abstract names that Linux has beside files.
fn connect(name: &str) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// How long the manager waits for signs of life of the process `pid`, if it does.
fn watchdog(environment: &BTreeMap<String, String>, pid: u32) -> Option<Duration> {
    let number = |name: &str| environment.get(name).map(|text| text.parse::<u64>());
    if number("WATCHDOG_PID").is_some_and(|meant| meant != Ok(u64::from(pid))) {
        return None;
    }
    let micros = number("WATCHDOG_USEC")?.ok().filter(|micros| *micros > 0)?;
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::pulse::Loop;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 1_024];
        let mut heard = Vec::new();
        while let Ok(length) = socket.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        heard
    }

    fn listening() -> (tempfile::TempDir, UnixDatagram, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let name = path.display().to_string();
        (dir, socket, name)
    }

    #[test]
    fn without_a_manager_nothing_is_told() {
        for none in [&[][..], &[("NOTIFY_SOCKET", "")], &[("NOTIFY_SOCKET", "/no/such/socket")]] {
            let manager = Manager::of(&environment(none));
            assert!(manager.0.is_none());
            manager.ready();
        }
    }

    #[test]
    fn files_and_abstract_names_are_told() {
        let (_dir, socket, name) = listening();
        let manager = Manager::of(&environment(&[("NOTIFY_SOCKET", &name)]));
        manager.ready();
        manager.status("two\nlines");
        manager.reloading();
        let heard_all = heard(&socket);
        assert_eq!(heard_all[..2], ["READY=1", "STATUS=two lines"]);
        let at = heard_all[2].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(at.parse::<u64>().unwrap() > 0);

        let name = format!("postrider-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        Manager::of(&environment(&[("NOTIFY_SOCKET", &format!("@{name}"))])).stopping();
        assert!(heard(&socket)[0].starts_with("STOPPING=1\n"));
    }

    #[test]
    fn a_watchdog_is_for_the_process_that_it_names() {
        let asked = |pairs: &[_]| watchdog(&environment(pairs), 7);
        let second = Some(Duration::from_secs(1));
        assert_eq!(asked(&[("WATCHDOG_USEC", "1000000")]), second);
        assert_eq!(asked(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "7")]), second);
        assert_eq!(asked(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "8")]), None);
        assert_eq!(asked(&[("WATCHDOG_USEC", "soon")]), None);
        assert_eq!(asked(&[("WATCHDOG_USEC", "0")]), None);
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_end_when_a_loop_stands_still_and_a_late_one_is_said() {
        let (_dir, socket, name) = listening();
        let asked = [("NOTIFY_SOCKET", name.as_str()), ("WATCHDOG_USEC", "4000000")];
        let manager = Manager::of(&environment(&asked));
        let signals = Signals::new().unwrap();
        let beat = |signals: &Signals| {
            Loop::ALL.into_iter().for_each(|who| signals.beat(who, Duration::from_secs(1)));
        };
        beat(&signals);
        let stop = CancellationToken::new();
        let watching = tokio::spawn(manager.watch(signals.clone(), "well".into(), stop.clone()));
        // At 0, 2 and 4 seconds.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(heard(&socket), ["WATCHDOG=1", "STATUS=well", "WATCHDOG=1", "WATCHDOG=1"]);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let late = heard(&socket);
        let status = "STATUS=late: dispatcher, extender, reload; see /readyz";
        assert_eq!(late.iter().filter(|line| *line == status).count(), 1, "{late:?}");
        assert_eq!(late.last().unwrap(), "WATCHDOG=1", "late is not stuck");
        // A socket that nobody reads is full after some ten.
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            heard(&socket);
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(heard(&socket), Vec::<String>::new(), "stuck");
        beat(&signals);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(heard(&socket), ["WATCHDOG=1", "STATUS=well"]);
        stop.cancel();
        watching.await.unwrap();
    }
}
