//! Keeps web pages out: a browser on this machine reaches loopback for any page that it shows.
//!
//! A page may post across origins, and a name that it controls may be made to mean 127.0.0.1 (DNS rebinding). So a
//! request with an `Origin` is refused, and so is one for a `Host` that does not name this machine.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// Refuses what a browser sends for a page.
pub async fn no_pages(request: Request, next: Next) -> Response {
    match check(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(reason) => Problem::new(StatusCode::FORBIDDEN, reason).into_response(),
    }
}

fn check(headers: &HeaderMap, uri: &Uri) -> Result<(), String> {
    if headers.contains_key(header::ORIGIN) {
        return Err("requests of web pages (with an Origin header) are not taken".to_owned());
    }
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = named.or(uri.authority().map(|a| a.as_str())) else { return Ok(()) };
    if names_this_machine(host) {
        return Ok(());
    }
    Err(format!(
        "the Host \"{}\" is not this machine; ask for 127.0.0.1 or localhost, and let a proxy set that Host",
        host.escape_debug()
    ))
}

fn names_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|a| a.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(headers: &[(&'static str, &'static str)]) -> bool {
        let header = |(name, value): &(&'static str, &'static str)| {
            (name.parse().unwrap(), value.parse().unwrap())
        };
        check(&headers.iter().map(header).collect(), &Uri::from_static("/healthz")).is_ok()
    }

    #[test]
    fn this_machine_has_its_names() {
        for host in ["127.0.0.1:7411", "localhost", "LOCALHOST:80", "[::1]:7411", "127.1.2.3"] {
            assert!(checked(&[("host", host)]), "{host}");
        }
        for host in
            ["rebound.example:7411", "10.0.0.1", "localhost.example", "127.0.0.1.example", ""]
        {
            assert!(!checked(&[("host", host)]), "{host}");
        }
    }

    #[test]
    fn pages_are_kept_out() {
        assert!(!checked(&[("host", "127.0.0.1:7411"), ("origin", "https://evil.example")]));
        assert!(!checked(&[("host", "127.0.0.1:7411"), ("origin", "null")]));
    }
}
