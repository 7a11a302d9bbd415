//! Keeps foreign web pages out: a browser reaches loopback, and what its cookies open, for any page that it shows.
//!
//! A page may post across origins: what a browser says of that (`Sec-Fetch-Site`, `Origin`) must name our own page. A
//! name that a page controls may be made to mean 127.0.0.1 (DNS rebinding): where no token is asked for, the `Host` must
//! name this machine.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Duration, Instant, Sleep, sleep_until};

use super::problem::Problem;
use crate::listen::peer::{Peer, Who};
use crate::settings::Settings;

/// Longest wait for more of a body, and for all of it.
const MORE: Duration = Duration::from_secs(20);
const WHOLE: Duration = Duration::from_secs(300);

/// What browsers are told with each answer, unless the handler says otherwise.
const TOLD: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Refuses what a browser sends for another's page, and tells it what our answers may do.
pub async fn no_pages(
    settings: &Settings,
    request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let who = request.extensions().get::<Peer>().map_or(Who::Loopback, |peer| peer.who);
    let uri = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let told = Told { method: request.method(), headers: request.headers(), authority: uri };
    let mut response = match told.check(who, &settings.current().hosts) {
        Ok(()) => next(request.map(patient)).await,
        Err(reason) => Problem::new(StatusCode::FORBIDDEN, reason).into_response(),
    };
    response.headers_mut().reserve(TOLD.len());
    for (name, value) in TOLD {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// What a request says of where it comes from and where it goes.
struct Told<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    authority: Option<String>,
}

impl Told<'_> {
    fn check(&self, who: Who, hosts: &[String]) -> Result<(), String> {
        let host = self.text(&header::HOST).or(self.authority.as_deref());
        if let Some(origin) = self.headers.get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            // The scheme may be a proxy's before us.
            let named = origin.split_once("://").map(|(_, named)| named);
            if named.is_none() || named != host {
                return Err(
                    "requests of other sites' pages (by their Origin header) are not taken"
                        .to_owned(),
                );
            }
        }
        self.check_site()?;
        match (who, host) {
            (Who::Owner { .. } | Who::OtherUser { .. }, _) | (_, None) => Ok(()),
            (Who::Network, Some(_)) if hosts.is_empty() => Ok(()),
            (Who::Network | Who::Loopback, Some(host)) => check_host(host, hosts),
        }
    }

    /// Fetch metadata: a browser says whose page sends it. A link to us is no page's request.
    fn check_site(&self) -> Result<(), String> {
        match self.text(&HeaderName::from_static("sec-fetch-site")) {
            None | Some("same-origin" | "none") => return Ok(()),
            Some(_) => {}
        }
        let mode = self.text(&HeaderName::from_static("sec-fetch-mode"));
        let looks = matches!(*self.method, Method::GET | Method::HEAD);
        if looks && mode == Some("navigate") {
            return Ok(());
        }
        Err("requests of other sites' pages (by their Sec-Fetch-Site header) are not taken"
            .to_owned())
    }

    fn text(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn check_host(host: &str, hosts: &[String]) -> Result<(), String> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let is_this_machine =
        name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|a| a.is_loopback());
    if is_this_machine || hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err(format!(
        "the Host \"{}\" is not known here; ask for 127.0.0.1 or localhost, or add its name to the setting `hosts`",
        host.escape_debug()
    ))
}

/// The body, which ends in an error where more of it takes too long.
fn patient(body: Body) -> Body {
    Body::new(Patient { body, until: Instant::now() + WHOLE, patience: None })
}

struct Patient {
    body: Body,
    until: Instant,
    /// While it waits for more.
    patience: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for Patient {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.patience = None;
            return Poll::Ready(frame);
        }
        let until = self.until.min(Instant::now() + MORE);
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(patience.as_mut().poll(cx));
        self.body = Body::empty();
        Poll::Ready(Some(Err(axum::Error::new("the body came too slowly"))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    fn checked(
        who: Who,
        method: Method,
        hosts: &[&str],
        headers: &[(&'static str, &'static str)],
    ) -> bool {
        let header = |(name, value): &(&'static str, &'static str)| {
            (name.parse().unwrap(), value.parse().unwrap())
        };
        let headers = headers.iter().map(header).collect();
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        Told { method: &method, headers: &headers, authority: None }.check(who, &hosts).is_ok()
    }

    fn local(headers: &[(&'static str, &'static str)]) -> bool {
        checked(Who::Loopback, Method::POST, &[], headers)
    }

    #[test]
    fn this_machine_has_its_names() {
        for host in ["127.0.0.1:7411", "localhost", "LOCALHOST:80", "[::1]:7411", "127.1.2.3"] {
            assert!(local(&[("host", host)]), "{host}");
        }
        for host in
            ["rebound.example:7411", "10.0.0.1", "localhost.example", "127.0.0.1.example", ""]
        {
            assert!(!local(&[("host", host)]), "{host}");
        }
    }

    #[test]
    fn hosts_that_are_set_are_known_too() {
        let named =
            |who, hosts: &[&str], host| checked(who, Method::POST, hosts, &[("host", host)]);
        assert!(named(Who::Loopback, &["notify.example"], "Notify.Example:443"));
        assert!(!named(Who::Loopback, &["notify.example"], "other.example"));
        assert!(!named(Who::Network, &["notify.example"], "other.example"));
        assert!(named(Who::Network, &[], "other.example"));
        assert!(named(Who::OtherUser { uid: 5 }, &["notify.example"], "other.example"));
    }

    #[test]
    fn pages_of_others_are_kept_out_and_our_own_is_not() {
        let host = ("host", "127.0.0.1:7411");
        for origin in ["https://evil.example", "null", "http://127.0.0.1:7412", "http://127.0.0.1"]
        {
            assert!(!local(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(local(&[host, ("origin", "http://127.0.0.1:7411")]));
        assert!(local(&[host, ("sec-fetch-site", "same-origin")]));
        for site in ["cross-site", "same-site"] {
            assert!(!local(&[host, ("sec-fetch-site", site)]), "{site}");
        }
        let link = [host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert!(checked(Who::Loopback, Method::GET, &[], &link));
        assert!(!local(&link));
        let image = [host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
        assert!(!checked(Who::Loopback, Method::GET, &[], &image));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_ends_in_an_error() {
        let stops = futures_util::stream::once(async { Ok::<_, axum::Error>("a") })
            .chain(futures_util::stream::pending());
        let mut body = patient(Body::from_stream(stops)).into_data_stream();
        assert_eq!(body.next().await.unwrap().unwrap(), "a");
        let began = Instant::now();
        assert!(body.next().await.unwrap().is_err());
        assert_eq!(began.elapsed(), MORE);
        assert!(body.next().await.is_none());
    }
}
