//! Every spelling of an address or an origin that is known to have fooled somebody's guard, against ours.
//!
//! The destination grants all of them, and private networks, so that nothing but the rule under test decides; the
//! last table asks the same of one with narrow grants.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Uri;
use postrider_core::Destination;

use crate::guard::{Guard, Host, parse_host, port};
use crate::refusal::Refusal;

/// What became of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Leads to a name, which is checked again when it is resolved.
    Name,
    /// Leads to this kind of address without asking anybody.
    Reached,
    /// Is no URL of ours.
    Invalid,
    /// Leads where no grant leads.
    Denied,
}

use Seen::{Denied, Invalid, Name, Reached};

fn guard(toml: &str) -> Guard {
    let own: Vec<SocketAddr> = vec!["127.0.0.1:7411".parse().unwrap()];
    Guard::new(&Destination::parse("x", toml).unwrap(), Arc::from(own))
}

/// As the door does it: the URL is parsed, its origin checked, and a literal address checked again when dialled.
fn see(guard: &Guard, url: &str) -> Seen {
    let Ok(url) = url.parse::<Uri>() else { return Invalid };
    match guard.check_url(&url) {
        Err(Refusal::Invalid(_)) => Invalid,
        Err(Refusal::Denied(_)) => Denied,
        Err(other) => panic!("{url}: {other:?}"),
        Ok(()) => match parse_host(url.host().unwrap()).unwrap() {
            Host::Name(_) => Name,
            Host::Address(ip) => {
                let dialled = SocketAddr::new(ip, port(&url).unwrap());
                assert_eq!(
                    guard.check_address(dialled),
                    Ok(()),
                    "{url}: dialled as it was checked"
                );
                Reached
            }
        },
    }
}

/// Grants the very origin of a URL where that can be granted at all.
fn granting(url: &str) -> Guard {
    let origin = url.split(['?', '#']).next().unwrap().trim_end_matches('/');
    let scheme_end = origin.find("://").map_or(0, |at| at + 3);
    let end = origin[scheme_end..].find('/').map_or(origin.len(), |at| scheme_end + at);
    let granted =
        format!("allow = [\"{}\"]\nallow_private = true", origin[..end].trim_end_matches('.'));
    match Destination::parse("x", &granted) {
        Ok(_) => guard(&granted),
        Err(_) => guard("allow_private = true"),
    }
}

const GRANTED: &[(&str, Seen)] = &[
    // What is meant to work.
    ("https://hooks.example.com/x", Name),
    ("http://hooks.example.com:8080/x?y#z", Name),
    ("https://HOOKS.Example.COM/", Name),
    ("https://xn--bcher-kva.example/", Name),
    ("https://1e100.net/", Name),
    ("https://8.8.8.8/", Reached),
    ("https://[2606:4700::1111]/", Reached),
    ("http://127.0.0.1:8080/", Reached),
    ("http://[::1]:8080/", Reached),
    ("http://10.0.0.1/", Reached),
    ("http://172.16.0.1/", Reached),
    ("http://192.168.1.1/", Reached),
    ("http://100.64.0.1/", Reached),
    ("http://[fd12::1]/", Reached),
    ("http://[::ffff:8.8.8.8]/", Reached),
    ("http://[::ffff:127.0.0.1]:8080/", Reached),
    // Metadata, link-local, unspecified, reserved: in plain.
    ("http://169.254.169.254/latest/meta-data/", Denied),
    ("http://169.254.170.2/", Denied),
    ("http://100.100.100.200/", Denied),
    ("http://168.63.129.16/", Denied),
    ("http://192.0.0.192/", Denied),
    ("http://0.0.0.0:8080/", Denied),
    ("http://0.1.2.3/", Denied),
    ("http://224.0.0.1/", Denied),
    ("http://240.0.0.1/", Denied),
    ("http://255.255.255.255/", Denied),
    ("http://192.0.2.1/", Denied),
    ("http://198.18.0.1/", Denied),
    ("http://192.88.99.1/", Denied),
    ("http://[::]/", Denied),
    ("http://[fe80::1]/", Denied),
    ("http://[fec0::1]/", Denied),
    ("http://[ff02::1]/", Denied),
    ("http://[fd00:ec2::254]/", Denied),
    ("http://[fd20:ce::254]/", Denied),
    ("http://[2001:db8::1]/", Denied),
    ("http://[5f00::1]/", Denied),
    ("http://[100::1]/", Denied),
    // The same inside of IPv6: mapped, compatible, NAT64, 6to4, Teredo, ISATAP's prefix.
    ("http://[::ffff:169.254.169.254]/", Denied),
    ("http://[::ffff:a9fe:a9fe]/", Denied),
    ("http://[0:0:0:0:0:ffff:a9fe:a9fe]/", Denied),
    ("http://[::ffff:0.0.0.0]/", Denied),
    ("http://[::127.0.0.1]/", Denied),
    ("http://[::169.254.169.254]/", Denied),
    ("http://[::ffff:0:127.0.0.1]/", Denied),
    ("http://[64:ff9b::127.0.0.1]/", Denied),
    ("http://[64:ff9b::10.0.0.1]/", Denied),
    ("http://[64:ff9b::a9fe:a9fe]/", Denied),
    ("http://[64:ff9b:1::127.0.0.1]/", Denied),
    ("http://[2002:7f00:1::]/", Denied),
    ("http://[2002:a9fe:a9fe::]/", Denied),
    ("http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", Denied),
    ("http://[fe80::5efe:127.0.0.1]/", Denied),
    // Zones.
    ("http://[fe80::1%25eth0]/", Invalid),
    ("http://[fe80::1%eth0]/", Invalid),
    ("http://[::1%251]/", Invalid),
    // IPv4 as only some parsers read it: decimal, octal, hexadecimal, short.
    ("http://2130706433/", Invalid),
    ("http://2852039166/", Invalid),
    ("http://017700000001/", Invalid),
    ("http://0x7f000001/", Invalid),
    ("http://0x7F.0x0.0x0.0x1/", Invalid),
    ("http://0177.0.0.1/", Invalid),
    ("http://0177.0.0.01/", Invalid),
    ("http://0xa9.0xfe.0xa9.0xfe/", Invalid),
    ("http://0251.0376.0251.0376/", Invalid),
    ("http://127.1/", Invalid),
    ("http://127.0.1/", Invalid),
    ("http://169.254.43518/", Invalid),
    ("http://127.0.0.01/", Invalid),
    ("http://127.0.0.1.1/", Invalid),
    ("http://256.0.0.1/", Invalid),
    ("http://0/", Invalid),
    ("http://1.2.3.0x4/", Invalid),
    ("http://example.0x7f/", Invalid),
    // Trailing dots.
    ("http://hooks.example.com./", Name),
    ("http://169.254.169.254./", Denied),
    ("http://127.0.0.1../", Invalid),
    ("http://./", Invalid),
    // User information, in whatever place.
    ("http://user:password@hooks.example.com/", Invalid),
    ("http://hooks.example.com@169.254.169.254/", Invalid),
    ("http://hooks.example.com:80@169.254.169.254/", Invalid),
    ("http://hooks.example.com%40169.254.169.254/", Invalid),
    ("http://@127.0.0.1/", Invalid),
    // Letters that others fold: full width, circled, ideographic dots, soft hyphens.
    ("http://１２７.０.０.１/", Invalid),
    ("http://①②⑦.⓪.⓪.①/", Invalid),
    ("http://127。0。0。1/", Invalid),
    ("http://bücher.example/", Invalid),
    ("http://hooks\u{ad}.example.com/", Invalid),
    ("http://exa%6Dple.com/", Invalid),
    ("http://127.0.0.1%00.example.com/", Invalid),
    // White space, control characters, backslashes.
    ("http://hooks.example.com\\@169.254.169.254/", Invalid),
    ("http://169.254.169.254\\.example.com/", Invalid),
    ("http://hooks.example.com\t/", Invalid),
    ("http://hooks.example.com\r\nx: y/", Invalid),
    (" http://hooks.example.com/", Invalid),
    // Ports.
    ("http://hooks.example.com:0/", Invalid),
    ("http://hooks.example.com:65536/", Invalid),
    ("http://hooks.example.com:80:443/", Invalid),
    ("http://hooks.example.com:+80/", Invalid),
    ("http://hooks.example.com:8x/", Invalid),
    // Schemes.
    ("file:///etc/passwd", Invalid),
    ("ftp://hooks.example.com/", Invalid),
    ("gopher://127.0.0.1:6379/_x", Invalid),
    ("unix:///run/docker.sock", Invalid),
    ("//hooks.example.com/", Invalid),
    ("/etc/passwd", Invalid),
    ("http:///x", Invalid),
    ("hooks.example.com", Invalid),
    ("", Invalid),
    // Our own API.
    ("http://127.0.0.1:7411/v1/notifications", Denied),
    ("http://127.0.0.2:7411/", Denied),
    ("http://[::1]:7411/", Denied),
    ("http://[::ffff:127.0.0.1]:7411/", Denied),
];

/// With `allow = ["https://hooks.example.com", "https://*.example.org:8443", "http://8.8.8.8"]` and nothing private.
const NARROW: &[(&str, Seen)] = &[
    ("https://hooks.example.com/", Name),
    ("https://hooks.example.com:443/", Name),
    ("https://HOOKS.EXAMPLE.COM./", Name),
    ("http://hooks.example.com/", Denied),
    ("https://hooks.example.com:8443/", Denied),
    ("https://hooks.example.com.evil.test/", Denied),
    ("https://evilhooks.example.com/", Denied),
    ("https://x.hooks.example.com/", Denied),
    ("https://example.com/", Denied),
    ("https://a.example.org:8443/", Name),
    ("https://a.b.Example.Org:8443/", Name),
    ("https://a.example.org/", Denied),
    ("https://example.org:8443/", Denied),
    ("https://aexample.org:8443/", Denied),
    ("https://.example.org:8443/", Denied),
    ("https://a.example.org.evil.test:8443/", Denied),
    ("http://8.8.8.8/", Reached),
    ("http://8.8.8.8:80/", Reached),
    ("https://8.8.8.8/", Denied),
    ("http://8.8.4.4/", Denied),
    ("http://[::ffff:8.8.8.8]/", Denied),
    ("http://127.0.0.1/", Denied),
    ("http://localhost/", Denied),
];

#[test]
fn every_spelling_leads_where_it_says_or_nowhere() {
    let wrong: Vec<String> = GRANTED
        .iter()
        .filter(|(url, expected)| see(&granting(url), url) != *expected)
        .map(|(url, expected)| format!("{url:?}: {:?}, not {expected:?}", see(&granting(url), url)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(GRANTED.len() >= 80, "{}", GRANTED.len());
}

#[test]
fn narrow_grants_cover_what_they_name_alone() {
    let narrow = guard(
        "allow = [\"https://hooks.example.com\", \"https://*.example.org:8443\", \"http://8.8.8.8\"]",
    );
    for (url, expected) in NARROW {
        assert_eq!(see(&narrow, url), *expected, "{url}");
    }
}

#[test]
fn without_allow_private_what_is_private_is_denied() {
    for (url, _) in GRANTED.iter().filter(|(_, seen)| *seen == Reached) {
        let origin = url.trim_end_matches('/');
        let closed = guard(&format!("allow = [\"{origin}\"]"));
        let public = ["8.8.8.8", "2606:4700::1111"].iter().any(|public| url.contains(public));
        assert_eq!(see(&closed, url), if public { Reached } else { Denied }, "{url}");
    }
}
