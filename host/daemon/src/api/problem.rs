//! Errors as `application/problem+json` (RFC 9457): what is wrong, and which field.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use postrider_core::notification::InvalidNotification;
use postrider_queue::QueueError;
use serde_json::json;

use super::request_id;
use crate::upkeep::admission::Full;

/// Seconds after which a caller may try again while the queue is unavailable.
const RETRY_AFTER: u64 = 2;

/// Shortest time between two lines in the log about requests that an unavailable queue did not serve: with the four a
/// minute of the dispatcher they are six.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// One answer that is no success.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    field: Option<String>,
    /// Seconds, of an answer 503.
    retry_after: u64,
}

/// Lets a line through at most every [`SAY_AGAIN`].
struct Seldom(Mutex<Option<Instant>>);

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), field: None, retry_after: RETRY_AFTER }
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The one answer to every token that does not open: it tells nothing of why.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "this takes a valid token, as `Authorization: Bearer prt_…`; `postrider token create` makes one",
        )
    }

    /// The same, of one item of many.
    pub fn within(self, place: &str) -> Self {
        let (Self { status, detail, field, retry_after }, place) = (self, place);
        let field = field.map(|field| format!("{place}.{field}"));
        let detail = match &field {
            Some(_) => format!("{place}.{detail}"),
            None => format!("{place}: {detail}"),
        };
        Self { status, detail, field, retry_after }
    }

    /// A field of the request that is not what it must be.
    pub fn field(field: &str, detail: &str) -> Self {
        let detail = format!("{field}: {detail}");
        Self { field: Some(field.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// What is wrong, in one line.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body =
            json!({"title": title, "status": self.status.as_u16(), "detail": self.detail});
        if let (Some(field), Some(body)) = (self.field, body.as_object_mut()) {
            body.insert("field".to_owned(), field.into());
        }
        if let (Some(id), Some(body)) = (request_id::current(), body.as_object_mut()) {
            body.insert("request_id".to_owned(), id.into());
        }
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, body.to_string()).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let retry = header::HeaderValue::from(self.retry_after);
            response.headers_mut().insert(header::RETRY_AFTER, retry);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = header::HeaderValue::from_static("Bearer realm=\"postrider\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        let status = match error {
            QueueError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            // The caller's to mend, and told to the caller only.
            QueueError::Pruned(told) => return Self::new(StatusCode::CONFLICT, told),
            QueueError::StateFull(_) | QueueError::Corrupt(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        // Its caller is told each time; the log only now and then that callers are.
        static OUTAGE: Seldom = Seldom::new();
        if status != StatusCode::SERVICE_UNAVAILABLE || OUTAGE.may_say(Instant::now()) {
            let request = request_id::current();
            tracing::error!(%error, request.id = request, "a request could not be served");
        }
        Self::new(status, error.to_string())
    }
}

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        let refused = Self::new(StatusCode::SERVICE_UNAVAILABLE, full.reason);
        Self { retry_after: full.retry_after, ..refused }
    }
}

impl From<InvalidNotification> for Problem {
    fn from(error: InvalidNotification) -> Self {
        Self::field(&error.field, &error.problem)
    }
}

impl Seldom {
    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn may_say(&self, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_AGAIN);
        if may {
            *said = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_said_twice_a_minute_however_many_ask() {
        let (outage, start) = (Seldom::new(), Instant::now());
        let asked = (0..60_000).map(|millisecond| start + Duration::from_millis(millisecond));
        assert_eq!(asked.filter(|now| outage.may_say(*now)).count(), 2);
    }
}
