//! What an HTTP answer means for a delivery.
//!
//! | answer | verdict |
//! | --- | --- |
//! | 2xx | delivered |
//! | 429; 503 with `Retry-After` | retry after that time, for the whole destination |
//! | 408, 409, 425, other 5xx, no answer | retry |
//! | 410 | gone |
//! | 3xx (redirects are not followed), other 4xx | rejected |
//!
//! Two cases that may surprise:
//! - A request that the host **denied** is retried. The destination lacks a grant, which is the operator's mistake
//!   and not the notification's: it waits, visibly failing, until the grant is there.
//! - An answer that is **too large** is retried, as its status is unknown. The receiver sees the same id again.

use crate::text::one_line;
use crate::{Failure, HttpError, Receipt, Response, now, retry_after};
use std::time::SystemTime;

/// How much of a body goes into a reason, in characters.
const EXCERPT: usize = 200;

/// How much of a body is looked at for the excerpt, in bytes.
const EXCERPT_SOURCE: usize = 4096;

/// Judges an answer by the table above.
pub fn verdict(response: &Response) -> Result<Receipt, Failure> {
    verdict_at(response, now())
}

/// Judges an answer that came at `now`, from which a date in `Retry-After` counts.
pub fn verdict_at(response: &Response, now: SystemTime) -> Result<Receipt, Failure> {
    let wait = response.header("retry-after").and_then(|value| retry_after::parse(value, now));
    match (response.status, wait) {
        (status @ 200..=299, _) => Ok(Receipt::note(status_line(status))),
        (410, _) => Err(Failure::gone(reason(response))),
        (429 | 503, Some(wait)) => Err(Failure::retry(reason(response)).after(wait).destination()),
        (429, None) => Err(Failure::retry(reason(response)).destination()),
        (408 | 409 | 425, _) => Err(Failure::retry(reason(response))),
        (300..=499, _) => Err(Failure::rejected(reason(response))),
        _ => Err(Failure::retry(reason(response))),
    }
}

impl From<HttpError> for Failure {
    /// Only a malformed request is final; see the [module](self) for why a denied one is not.
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Invalid(what) => Self::rejected(format!("invalid request: {what}")),
            HttpError::Denied(what) => Self::retry(format!("denied: {what}")),
            HttpError::Connect(why) => Self::retry(format!("no connection: {why}")),
            HttpError::Timeout => Self::retry("no answer in time"),
            HttpError::TooLarge => Self::retry("the request or its answer exceeds the limit"),
            HttpError::Other(why) => Self::retry(format!("broken exchange: {why}")),
        }
    }
}

/// One line such as `503 Service Unavailable: upstream is restarting`.
fn reason(response: &Response) -> String {
    let line = status_line(response.status);
    let redirect = response.header("location").filter(|_| (300..400).contains(&response.status));
    if let Some(location) = redirect {
        return format!("{line}: not followed to {}", one_line(location, EXCERPT));
    }
    let source = response.body.get(..EXCERPT_SOURCE).unwrap_or(&response.body);
    match one_line(&String::from_utf8_lossy(source), EXCERPT) {
        excerpt if excerpt.is_empty() => line,
        excerpt => format!("{line}: {excerpt}"),
    }
}

fn status_line(status: u16) -> String {
    match phrase(status) {
        "" => status.to_string(),
        phrase => format!("{status} {phrase}"),
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Result<Receipt, Failure> {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let response = Response { status, headers, body: body.into() };
        verdict_at(&response, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn any_2xx_is_delivered() {
        assert_eq!(answer(202, &[], "queued"), Ok(Receipt::note("202 Accepted")));
        assert_eq!(answer(299, &[], ""), Ok(Receipt::note("299")));
    }

    #[test]
    fn a_rate_limit_holds_the_destination() {
        let limited = Failure::retry("429 Too Many Requests").destination();
        assert_eq!(answer(429, &[], ""), Err(limited.clone()));
        assert_eq!(answer(429, &[("retry-after", "never")], ""), Err(limited.clone()));
        let waits = limited.after(Duration::from_millis(1500));
        assert_eq!(answer(429, &[("Retry-After", "1.5")], ""), Err(waits));
    }

    #[test]
    fn an_outage_holds_the_destination_only_when_it_says_how_long() {
        let out = Failure::retry("503 Service Unavailable");
        assert_eq!(answer(503, &[], ""), Err(out.clone()));
        assert_eq!(answer(503, &[("retry-after", "0")], ""), Err(out.clone()));
        let waits = out.after(Duration::from_secs(60)).destination();
        assert_eq!(answer(503, &[("retry-after", "60")], ""), Err(waits));
    }

    #[test]
    fn what_may_pass_later_is_retried() {
        for status in [408, 409, 425, 500, 502, 504, 599, 100, 0, 700] {
            let failure = answer(status, &[("retry-after", "60")], "");
            assert_eq!(failure, Err(Failure::retry(status_line(status))), "{status}");
        }
    }

    #[test]
    fn what_was_refused_is_rejected() {
        for status in [300, 304, 400, 401, 403, 404, 405, 413, 422, 499] {
            let failure = answer(status, &[], "");
            assert_eq!(failure, Err(Failure::rejected(status_line(status))), "{status}");
        }
    }

    #[test]
    fn a_410_means_the_destination_is_gone() {
        let gone = Failure::gone("410 Gone: webhook was deleted");
        assert_eq!(answer(410, &[], "webhook was deleted"), Err(gone));
    }

    #[test]
    fn a_redirect_says_where_it_would_have_gone() {
        let moved =
            Failure::rejected("301 Moved Permanently: not followed to https://new.example/");
        assert_eq!(answer(301, &[("location", "https://new.example/")], "<html>"), Err(moved));
    }

    #[test]
    fn a_reason_is_one_short_line() {
        let Err(Failure::Rejected(reason)) = answer(400, &[], &"no\r\n\x1b[0m ".repeat(9000))
        else {
            panic!("a 400 is rejected");
        };
        assert!(reason.starts_with("400 Bad Request: no [0m no [0m"), "{reason}");
        assert!(reason.chars().count() <= "400 Bad Request: ".len() + EXCERPT);
        assert!(!reason.contains(char::is_control));
    }

    #[test]
    fn only_a_malformed_request_is_final() {
        let invalid = HttpError::Invalid("url".to_owned());
        assert_eq!(Failure::from(invalid), Failure::rejected("invalid request: url"));
        let denied = HttpError::Denied("add allow = [\"https://a.example\"]".to_owned());
        let retry = Failure::retry("denied: add allow = [\"https://a.example\"]");
        assert_eq!(Failure::from(denied), retry);
        for error in [HttpError::Timeout, HttpError::TooLarge, HttpError::Other("reset".to_owned())]
        {
            assert!(matches!(Failure::from(error), Failure::Retry(_)));
        }
    }
}
