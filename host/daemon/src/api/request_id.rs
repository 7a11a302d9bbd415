//! A name for each request, by which answer, log and caller find each other.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use uuid::Uuid;

/// Taken from the caller, who may be tracing already, and told in every answer.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest that is taken from a caller, in bytes.
const LONGEST: usize = 128;

tokio::task_local! {
    static CURRENT: String;
}

/// Names the request: as its caller does, if that name is printable and short, else by a new one.
pub async fn stamp(request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    let given = request.headers().get(HEADER).and_then(|id| id.to_str().ok());
    let id = given.filter(|id| is_fit(id)).map_or_else(new, str::to_owned);
    let header = HeaderValue::from_str(&id);
    let mut response = CURRENT.scope(id, next(request)).await;
    if let Ok(header) = header {
        response.headers_mut().insert(HEADER, header);
    }
    response
}

/// The request's name, while it is being answered.
pub fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

fn is_fit(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[expect(clippy::disallowed_methods, reason = "a request is named where it comes in")]
fn new() -> String {
    Uuid::new_v4().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_printable_names_are_taken() {
        assert!(is_fit("01-ab:cd"));
        for id in ["", "a b", "a\u{1b}", &"x".repeat(LONGEST + 1)] {
            assert!(!is_fit(id), "{id}");
        }
    }
}
