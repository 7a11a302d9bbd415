//! The origins that a destination grants its plugin: `https://hooks.slack.com`, `https://*.example.com:8443`.

use std::fmt;

/// A granted origin: scheme, host and port. Everything else is denied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    scheme: Scheme,
    host: HostPattern,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    Http,
    Https,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum HostPattern {
    Exact(String),
    /// `*.example.com`: any name below it, not the name itself.
    Below(String),
}

/// Why a text is not a grant, and what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not an origin: {problem}; an origin is a scheme, a host and perhaps a port, such as \"https://hooks.slack.com\""
)]
pub struct InvalidGrant {
    text: String,
    problem: &'static str,
}

impl InvalidGrant {
    /// What is wrong with the text.
    pub(crate) fn problem(&self) -> &'static str {
        self.problem
    }
}

impl Grant {
    /// Host and port of a grant for exactly one origin, without TLS.
    pub(crate) fn plain_host(&self) -> Option<(&str, u16)> {
        match (&self.host, self.scheme) {
            (HostPattern::Exact(host), Scheme::Http) => Some((host, self.port)),
            (HostPattern::Exact(_) | HostPattern::Below(_), _) => None,
        }
    }

    /// Reads a grant. The error says what an origin looks like.
    pub fn parse(text: &str) -> Result<Self, InvalidGrant> {
        let wrong = |problem| InvalidGrant { text: text.to_owned(), problem };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(wrong("its scheme is neither http nor https")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(wrong("it has a path"));
        }
        if authority.contains('@') {
            return Err(wrong("it has user information"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| wrong("its port is no number"))?;
        if port == Some(0) {
            return Err(wrong("port 0 cannot be reached"));
        }
        let port = port.unwrap_or(scheme.default_port());
        let host = host.to_ascii_lowercase();
        if let Some(parent) = host.strip_prefix("*.") {
            if !is_name(parent) || !parent.contains('.') {
                return Err(wrong("a wildcard needs a domain below it, such as *.example.com"));
            }
            return Ok(Self { scheme, host: HostPattern::Below(parent.to_owned()), port });
        }
        if !is_name(&host) && !is_v6_literal(&host) {
            return Err(wrong("its host is not a name or an address"));
        }
        Ok(Self { scheme, host: HostPattern::Exact(host), port })
    }

    /// Whether a request to this origin is granted. `host` may have any case and a trailing dot; IPv6 addresses
    /// stand in brackets, as in a URL.
    pub fn covers(&self, scheme: &str, host: &str, port: Option<u16>) -> bool {
        let wanted = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return false,
        };
        if wanted != self.scheme || port.unwrap_or(wanted.default_port()) != self.port {
            return false;
        }
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        match &self.host {
            HostPattern::Exact(name) => host == name,
            HostPattern::Below(parent) => host
                .strip_suffix(parent.as_str())
                .is_some_and(|sub| sub.len() > 1 && sub.ends_with('.')),
        }
    }
}

/// The grant that would cover a request, ready to paste into a destination file.
pub fn origin(scheme: &str, host: &str, port: Option<u16>) -> String {
    let default = if scheme == "http" { 80 } else { 443 };
    match port.filter(|p| *p != default) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match &self.host {
            HostPattern::Exact(name) => name.clone(),
            HostPattern::Below(parent) => format!("*.{parent}"),
        };
        f.write_str(&origin(self.scheme.name(), &host, Some(self.port)))
    }
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let colon = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    match colon {
        None => Some((authority, None)),
        Some(at) => {
            let digits = authority.get(at + 1..)?;
            let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let port = if all_digits { digits.parse().ok()? } else { return None };
            Some((authority.get(..at)?, Some(port)))
        }
    }
}

fn is_name(host: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(fine)
        && host.split('.').all(|label| !label.is_empty() && label.len() <= 63)
}

fn is_v6_literal(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    inner.is_some_and(|h| h.parse::<std::net::Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grant(text: &str) -> Grant {
        Grant::parse(text).unwrap()
    }

    #[test]
    fn an_exact_grant_covers_its_origin_only() {
        let slack = grant("https://hooks.slack.com");
        assert!(slack.covers("https", "hooks.slack.com", None));
        assert!(slack.covers("https", "Hooks.Slack.COM.", Some(443)));
        assert!(!slack.covers("http", "hooks.slack.com", Some(443)));
        assert!(!slack.covers("https", "hooks.slack.com", Some(8443)));
        assert!(!slack.covers("https", "evil-hooks.slack.com", None));
        assert!(!slack.covers("https", "hooks.slack.com.evil.test", None));
    }

    #[test]
    fn a_wildcard_covers_names_below_it_and_not_itself() {
        let any = grant("https://*.example.com:8443");
        assert!(any.covers("https", "a.example.com", Some(8443)));
        assert!(any.covers("https", "a.b.example.com", Some(8443)));
        assert!(!any.covers("https", "example.com", Some(8443)));
        assert!(!any.covers("https", ".example.com", Some(8443)));
        assert!(!any.covers("https", "badexample.com", Some(8443)));
    }

    #[test]
    fn what_is_not_an_origin_is_refused_with_the_reason() {
        for (text, problem) in [
            ("hooks.slack.com", "no scheme"),
            ("ftp://x.test", "neither http nor https"),
            ("https://x.test/path", "has a path"),
            ("https://a@x.test", "user information"),
            ("https://x.test:abc", "no number"),
            ("https://x.test:0", "port 0"),
            ("https://x.test:+80", "no number"),
            ("https://*.com", "wildcard"),
            ("https://", "not a name"),
            ("https://a..b", "not a name"),
        ] {
            let error = Grant::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_are_hosts_too() {
        assert!(grant("http://127.0.0.1:8080").covers("http", "127.0.0.1", Some(8080)));
        assert!(grant("http://[::1]:8080").covers("http", "[::1]", Some(8080)));
    }

    proptest! {
        #[test]
        fn a_grant_reads_back_what_it_writes(
            https in any::<bool>(), wild in any::<bool>(), host in "[a-z][a-z0-9-]{0,8}\\.[a-z]{2,5}", port in 1u16..
        ) {
            let scheme = if https { "https" } else { "http" };
            let star = if wild { "*." } else { "" };
            let first = grant(&format!("{scheme}://{star}{host}:{port}"));
            prop_assert_eq!(grant(&first.to_string()), first);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _either = Grant::parse(&text);
        }
    }
}
