//! Requests of the HTTP API, counted by route, method and class of the answer.

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::response::Response;
use tokio::time::Instant;

use super::Signals;

/// The route of a request that none matches.
pub(super) const OTHER: &str = "other";
/// Classes of status codes, by their first digit.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counts a request, and the time until its answer begins: of a stream it says nothing.
pub async fn count(
    signals: &Signals,
    request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let started = Instant::now();
    let method = method(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next(request).await;
    let route = route.as_ref().map_or(OTHER, MatchedPath::as_str);
    let class = class(response.status().as_u16());
    signals.0.metrics.answered(route, method, class, started.elapsed());
    response
}

/// Anybody can make up a method.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => OTHER,
    }
}

fn class(status: u16) -> &'static str {
    let place = usize::from(status / 100).wrapping_sub(1);
    CLASSES.get(place).copied().unwrap_or("5xx")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_makes_up_is_one_word() {
        assert_eq!(method(&Method::from_bytes(b"BREW").unwrap()), OTHER);
        assert_eq!(method(&Method::POST), "POST");
    }

    #[test]
    fn a_status_has_its_class() {
        assert_eq!([100, 201, 304, 429, 503].map(class), CLASSES);
        assert_eq!(class(999), "5xx");
    }
}
