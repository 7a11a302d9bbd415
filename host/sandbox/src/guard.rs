//! Which origins and addresses a destination's requests may reach, and the line to add when they may not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use http::Uri;
use postrider_core::{Destination, Grant, grant};

use crate::address::{Class, classify};
use crate::refusal::Refusal;

/// The network grants of one destination.
pub(crate) struct Guard {
    allow: Vec<Grant>,
    allow_private: bool,
    /// Our own listeners: a plugin that reached them could hand in notifications or resume itself.
    own: Arc<[SocketAddr]>,
}

/// Where a checked URL leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Guard {
    pub(crate) fn new(destination: &Destination, own: Arc<[SocketAddr]>) -> Self {
        let allow = destination.allow.clone();
        Self { allow, allow_private: destination.allow_private, own }
    }

    /// Grants nothing.
    pub(crate) fn closed() -> Self {
        Self { allow: Vec::new(), allow_private: false, own: Arc::new([]) }
    }

    /// Whether requests to the URL's origin are granted. A literal address is checked here and again when dialled.
    pub(crate) fn check_url(&self, url: &Uri) -> Result<(), Refusal> {
        let invalid = |problem: &str| Refusal::Invalid(format!("url: {problem}"));
        let scheme = match url.scheme_str() {
            Some(scheme @ ("http" | "https")) => scheme,
            Some(_) => return Err(invalid("its scheme is neither http nor https")),
            None => return Err(invalid("it is not absolute")),
        };
        let authority = url.authority().ok_or_else(|| invalid("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("it has user information; send an authorization header instead"));
        }
        // `http` reads what is no number as no port.
        let digits = authority.as_str().get(authority.host().len()..).unwrap_or_default();
        let digits = digits.strip_prefix(':').unwrap_or(digits);
        let is_port = digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok();
        if !digits.is_empty() && !is_port {
            return Err(invalid("its port is no number up to 65535"));
        }
        let port = port(url).ok_or_else(|| invalid("its port is no number"))?;
        if port == 0 {
            return Err(invalid("port 0 cannot be reached"));
        }
        let host = parse_host(authority.host()).map_err(invalid)?;
        if !self.allow.iter().any(|grant| grant.covers(scheme, authority.host(), Some(port))) {
            return Err(Refusal::Denied(self.not_granted(scheme, authority.host(), port)));
        }
        match host {
            Host::Address(address) => {
                self.check_address(SocketAddr::new(address, port)).map_err(Refusal::Denied)
            }
            Host::Name(_) => Ok(()),
        }
    }

    /// Whether an address may be dialled; else why not.
    pub(crate) fn check_address(&self, address: SocketAddr) -> Result<(), String> {
        match classify(address.ip()) {
            Class::Public => {}
            Class::Private if self.allow_private => {}
            Class::Private => {
                return Err(
                    "the host has a private address; to reach it, add: allow_private = true"
                        .to_owned(),
                );
            }
            Class::Never => {
                return Err(
                    "the host has a link-local, metadata or reserved address, which no grant opens"
                        .to_owned(),
                );
            }
        }
        self.check_own(address)
    }

    /// Whether an address may be dialled as the destination's proxy, which is where its operator says.
    pub(crate) fn check_proxy(&self, address: SocketAddr) -> Result<(), String> {
        self.check_own(address)
    }

    fn check_own(&self, address: SocketAddr) -> Result<(), String> {
        if self.own.iter().any(|own| is_own(*own, address)) {
            return Err("the address is postrider's own, which no grant opens".to_owned());
        }
        Ok(())
    }

    /// The whole line with the grants that stand there already, since a key may stand once only.
    fn not_granted(&self, scheme: &str, host: &str, port: u16) -> String {
        let wanted = grant::origin(scheme, &host.to_ascii_lowercase(), Some(port));
        let all: Vec<String> =
            self.allow.iter().map(Grant::to_string).chain([wanted.clone()]).collect();
        let quoted: Vec<String> = all.iter().map(|origin| format!("\"{origin}\"")).collect();
        format!("\"{wanted}\" is not granted; to reach it, set: allow = [{}]", quoted.join(", "))
    }
}

/// The port that a URL leads to; none where it has an unreadable one.
pub(crate) fn port(url: &Uri) -> Option<u16> {
    match url.port() {
        Some(port) => Some(port.as_u16()),
        // `http` reads "host:" as without a port.
        None => Some(if url.scheme_str() == Some("http") { 80 } else { 443 }),
    }
}

/// Reads a URL's host. Forms of an IPv4 address that only some resolvers know are refused: what is checked must be
/// what is dialled.
pub(crate) fn parse_host(host: &str) -> Result<Host, &'static str> {
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        let literal = inner.parse::<Ipv6Addr>().map_err(|_bad| "its IPv6 address is malformed")?;
        return Ok(Host::Address(literal.into()));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let fine = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(fine) {
        return Err("its host is not a name or an address");
    }
    let last = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    let is_hex =
        last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if !is_hex && !last.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Host::Name(name.to_ascii_lowercase()));
    }
    let literal = name.parse::<Ipv4Addr>().map_err(
        |_odd| "its host is an odd form of an address; write it as four decimal numbers",
    )?;
    Ok(Host::Address(literal.into()))
}

/// Whether dialling `address` reaches the listener `own`. One that listens everywhere is reached over every address
/// of this machine.
fn is_own(own: SocketAddr, address: SocketAddr) -> bool {
    if own.port() != address.port() {
        return false;
    }
    let ip = address.ip().to_canonical();
    if own.ip().is_unspecified() {
        // Only an address of this machine can be bound.
        return ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok();
    }
    own.ip().to_canonical() == ip || (own.ip().is_loopback() && ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(text: &str) -> Guard {
        Guard::new(
            &Destination::parse("x", text).unwrap(),
            Arc::new(["0.0.0.0:8080".parse().unwrap()]),
        )
    }

    fn check(guard: &Guard, url: &str) -> Result<(), Refusal> {
        guard.check_url(&url.parse().unwrap())
    }

    #[test]
    fn an_ungranted_origin_is_denied_with_the_line_to_add() {
        let denied = |text: &str| match check(&guard(text), "https://X.test:8443/a?b") {
            Err(Refusal::Denied(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            denied(""),
            "\"https://x.test:8443\" is not granted; to reach it, set: allow = [\"https://x.test:8443\"]"
        );
        assert!(
            denied("allow = [\"https://a.test\"]")
                .ends_with("allow = [\"https://a.test\", \"https://x.test:8443\"]")
        );
    }

    #[test]
    fn a_denied_line_reads_back_as_a_grant() {
        let Err(Refusal::Denied(text)) = check(&guard(""), "http://[2606:4700::1]:81/") else {
            panic!()
        };
        let (_, line) = text.split_once("set: ").unwrap();
        assert_eq!(check(&guard(line), "http://[2606:4700::1]:81/"), Ok(()));
    }

    #[test]
    fn a_private_literal_needs_allow_private() {
        let text = "allow = [\"http://127.0.0.1:9000\", \"http://169.254.169.254\"]";
        let Err(Refusal::Denied(denied)) = check(&guard(text), "http://127.0.0.1:9000/") else {
            panic!()
        };
        assert!(denied.ends_with("add: allow_private = true"), "{denied}");
        let open = guard(&format!("{text}\nallow_private = true"));
        assert_eq!(check(&open, "http://127.0.0.1:9000/"), Ok(()));
        assert!(matches!(check(&open, "http://169.254.169.254/"), Err(Refusal::Denied(_))));
    }

    #[test]
    fn our_own_listener_stays_closed() {
        let open = guard(
            "allow = [\"http://127.0.0.1:8080\", \"http://[::1]:8080\"]\nallow_private = true",
        );
        for url in ["http://127.0.0.1:8080/", "http://[::1]:8080/"] {
            let Err(Refusal::Denied(denied)) = check(&open, url) else { panic!() };
            assert!(denied.contains("postrider's own"), "{denied}");
        }
    }

    #[test]
    fn odd_forms_of_addresses_are_refused() {
        for host in [
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "127.1",
            "1.2.3.4.5",
            "a.0x1",
            "127.0.0.01",
        ] {
            assert!(parse_host(host).is_err(), "{host}");
        }
        for host in ["[fe80::1%25eth0]", "[::1", "a b", "a%2eb", "", "."] {
            assert!(parse_host(host).is_err(), "{host}");
        }
        assert_eq!(parse_host("127.0.0.1."), Ok(Host::Address(Ipv4Addr::LOCALHOST.into())));
        assert_eq!(parse_host("[::1]"), Ok(Host::Address(Ipv6Addr::LOCALHOST.into())));
        assert_eq!(parse_host("Hooks.Slack.com."), Ok(Host::Name("hooks.slack.com".into())));
        assert_eq!(parse_host("1e100.net"), Ok(Host::Name("1e100.net".into())));
    }

    #[test]
    fn a_url_with_user_information_or_another_scheme_is_invalid() {
        let open = guard("allow = [\"https://x.test\"]");
        for url in ["https://u:p@x.test/", "ftp://x.test/", "/path", "x.test:443"] {
            assert!(matches!(check(&open, url), Err(Refusal::Invalid(_))), "{url}");
        }
    }
}
