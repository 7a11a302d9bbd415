//! Sockets, ours or those that a service manager opened.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use super::address::Listen;

/// Who may open a socket that we make: the daemon's user and its group.
const SOCKET_MODE: u32 = 0o660;

/// A socket that callers can connect to.
#[derive(Debug)]
pub struct Bound {
    pub socket: Socket,
    /// As the log and the other hosts have it.
    pub url: String,
}

#[derive(Debug)]
pub enum Socket {
    Tcp { listener: TcpListener, address: SocketAddr, tls: bool },
    Unix { listener: UnixListener, file: Option<SocketFile> },
}

/// A socket's file, which goes with its listener.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever removed it did our work.
        std::fs::remove_file(&self.0).ok();
    }
}

impl Bound {
    /// Opens what `listen` names, unless a service manager hands its sockets over (`LISTEN_FDS`): then those are all.
    /// Of these the ones that other machines reach are encrypted where there is a certificate.
    pub fn open(listen: &[Listen], has_certificate: bool) -> Result<Vec<Self>> {
        let handed = handed_over(has_certificate)?;
        if !handed.is_empty() {
            return Ok(handed);
        }
        listen.iter().map(Self::one).collect()
    }

    fn one(listen: &Listen) -> Result<Self> {
        match listen {
            Listen::Tcp { address, tls } => {
                let listener = std::net::TcpListener::bind(address).with_context(|| {
                    format!(
                        "cannot listen on {address}; is another postrider running? choose another --listen"
                    )
                })?;
                Self::tcp(listener, *tls)
            }
            Listen::Unix(path) => {
                let listener = bind_file(path)?;
                let file = Some(SocketFile(path.clone()));
                Ok(Self { socket: Socket::Unix { listener, file }, url: listen.url() })
            }
        }
    }

    fn tcp(listener: std::net::TcpListener, tls: bool) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://{address}");
        Ok(Self { socket: Socket::Tcp { listener, address, tls }, url })
    }

    /// Its address, where it has one.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp { address, .. } => Some(*address),
            Socket::Unix { .. } => None,
        }
    }

    /// Whether other machines reach it.
    pub fn is_remote(&self) -> bool {
        self.address().is_some_and(|address| !address.ip().is_loopback())
    }

    /// Whether what goes over it can be read on the way.
    pub fn is_plain(&self) -> bool {
        matches!(self.socket, Socket::Tcp { tls: false, .. })
    }
}

/// The sockets of a service manager, in its order.
fn handed_over(has_certificate: bool) -> Result<Vec<Bound>> {
    let mut handed = ListenFd::from_env();
    let mut bound = Vec::new();
    for place in 0..handed.len() {
        // The wrong kind is an error, and leaves it for the other.
        if let Ok(Some(listener)) = handed.take_tcp_listener(place) {
            let is_remote = !listener.local_addr()?.ip().is_loopback();
            bound.push(Bound::tcp(listener, is_remote && has_certificate)?);
        } else {
            let listener = handed.take_unix_listener(place).ok().flatten();
            let listener = listener.with_context(|| {
                format!(
                    "socket {place} of the service manager is neither a TCP nor a unix listener"
                )
            })?;
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            let address = listener.local_addr()?;
            let path = address.as_pathname().map(|path| path.display().to_string());
            let url = format!("unix:{}", path.unwrap_or_default());
            bound.push(Bound { socket: Socket::Unix { listener, file: None }, url });
        }
    }
    Ok(bound)
}

fn bind_file(path: &Path) -> Result<UnixListener> {
    let place = || format!("cannot listen on unix:{}", path.display());
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).with_context(place)?;
    }
    remove_stale(path)?;
    let listener = std::os::unix::net::UnixListener::bind(path).with_context(place)?;
    // Whoever comes before this is told apart by its user all the same.
    let mode = std::fs::Permissions::from_mode(SOCKET_MODE);
    std::fs::set_permissions(path, mode).with_context(place)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener).with_context(place)
}

/// What a daemon that was killed left there goes; anything else stays.
fn remove_stale(path: &Path) -> Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context(format!("cannot look at {}", path.display())),
    };
    if !found.file_type().is_socket() {
        bail!("{} is there and no socket; choose another path for --listen", path.display());
    }
    if UnixStream::connect(path).is_ok() {
        bail!(
            "cannot listen on unix:{}; is another postrider running? choose another --listen",
            path.display()
        );
    }
    std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<Vec<Bound>> {
        Bound::open(&[Listen::Unix(path.to_owned())], false)
    }

    #[tokio::test]
    async fn a_socket_is_taken_once_and_one_that_nobody_serves_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("below/api.sock");
        let first = open(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("is another postrider running?"), "{error}");
        drop(first);
        assert!(!path.exists());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(open(&path).unwrap());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "mine").unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("no socket"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
