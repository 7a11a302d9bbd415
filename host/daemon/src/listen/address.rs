//! What the setting `listen` says: one or more of `IP:PORT`, `https://IP:PORT` and `unix:PATH`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Most listeners.
const MOST: usize = 16;

/// One place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp { address: SocketAddr, tls: bool },
    Unix(PathBuf),
}

impl Listen {
    /// Reads one or more, with commas between.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let all: Vec<Self> =
            text.split(',').map(|one| Self::parse(one.trim())).collect::<Result<_, _>>()?;
        if all.len() > MOST {
            return Err(format!("names {} places to listen; at most {MOST} are taken", all.len()));
        }
        Ok(all)
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            // As a URL has it, too.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(
                    "\"unix:\" has no path; write unix:PATH, such as unix:/run/postrider/api.sock"
                        .to_owned(),
                );
            }
            return Ok(Self::Unix(path.into()));
        }
        let (address, tls) = match text.strip_prefix("https://") {
            Some(rest) => (rest, true),
            None => (text.strip_prefix("http://").unwrap_or(text), false),
        };
        let address = address.trim_end_matches('/').parse().map_err(|_any| {
            format!(
                "\"{}\" is not an address to listen on; write IP:PORT, such as 127.0.0.1:7411, \
                 https://IP:PORT or unix:PATH",
                text.escape_debug()
            )
        })?;
        Ok(Self::Tcp { address, tls })
    }

    /// Where a command on this machine finds it.
    pub fn url(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix:{}", path.display()),
            Self::Tcp { address, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                format!("{scheme}://{}", near(*address))
            }
        }
    }

    /// Whether other machines reach it.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Tcp { address, .. } if !address.ip().is_loopback())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { address, tls: true } => write!(f, "https://{address}"),
            Self::Tcp { address, tls: false } => write!(f, "{address}"),
        }
    }
}

/// One that listens everywhere is found on this machine.
fn near(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_found_again() {
        let all = "127.0.0.1:7411, https://0.0.0.0:8443,http://[::]:80,unix:/run/x.sock, unix:///run/y, unix:z";
        let all = Listen::parse_all(all).unwrap();
        let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
        let wanted = [
            "127.0.0.1:7411",
            "https://0.0.0.0:8443",
            "[::]:80",
            "unix:/run/x.sock",
            "unix:/run/y",
            "unix:z",
        ];
        assert_eq!(shown, wanted);
        let urls: Vec<String> = all.iter().take(4).map(Listen::url).collect();
        assert_eq!(
            urls,
            [
                "http://127.0.0.1:7411",
                "https://127.0.0.1:8443",
                "http://[::1]:80",
                "unix:/run/x.sock"
            ]
        );
        let remote: Vec<bool> = all.iter().map(Listen::is_remote).collect();
        assert_eq!(remote, [false, true, true, false, false, false]);
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_forms_that_are() {
        for text in
            ["", "localhost", "7411", "ftp://127.0.0.1:1", "127.0.0.1:1,", "unix:", "unix://"]
        {
            let error = Listen::parse_all(text).unwrap_err();
            assert!(error.contains("unix:PATH"), "{text}: {error}");
        }
        let many = ["127.0.0.1:1"; MOST + 1].join(",");
        assert!(Listen::parse_all(&many).unwrap_err().contains("at most 16"));
    }
}
