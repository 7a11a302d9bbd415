//! The `Retry-After` header.

use std::time::{Duration, SystemTime};

/// The longest wait that is believed: beyond a week it is a mistake, and deliveries expire before.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Reads a `Retry-After` value: seconds, also with a fraction as some APIs send, or an HTTP date.
///
/// A wait of zero, a date that has passed, and anything else is none: the host's own backoff then decides. A longer
/// wait than [`MAX_RETRY_AFTER`] is cut to it.
pub fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = seconds(value).or_else(|| until(value, now))?;
    (!wait.is_zero()).then_some(wait.min(MAX_RETRY_AFTER))
}

/// Only digits and a point: Rust's float parser would also take `inf`, `NaN`, signs and exponents.
fn seconds(value: &str) -> Option<Duration> {
    if !value.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let seconds: f64 = value.parse().ok()?;
    Duration::try_from_secs_f64(seconds.min(MAX_RETRY_AFTER.as_secs_f64())).ok()
}

fn until(value: &str, now: SystemTime) -> Option<Duration> {
    httpdate::parse_http_date(value).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    #[test]
    fn seconds_are_whole_or_a_fraction() {
        assert_eq!(parse("120", now()), Some(Duration::from_secs(120)));
        assert_eq!(parse(" 1.5 ", now()), Some(Duration::from_millis(1500)));
        assert_eq!(parse(".25", now()), Some(Duration::from_millis(250)));
    }

    #[test]
    fn a_date_counts_from_now() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(parse("Sun, 06 Nov 1994 08:50:37 GMT", now()), minute);
        assert_eq!(parse("Sunday, 06-Nov-94 08:50:37 GMT", now()), minute);
        assert_eq!(parse("Sun Nov  6 08:50:37 1994", now()), minute);
    }

    #[test]
    fn what_asks_for_no_wait_is_ignored() {
        for value in ["0", "0.0", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT"]
        {
            assert_eq!(parse(value, now()), None, "{value}");
        }
    }

    #[test]
    fn garbage_is_ignored() {
        for value in
            ["", ".", "-5", "+5", "NaN", "inf", "1e3", "1.2.3", "5 s", "soon", "٣", "Sun, 99"]
        {
            assert_eq!(parse(value, now()), None, "{value}");
        }
    }

    #[test]
    fn a_long_wait_is_cut() {
        let endless = "9".repeat(400);
        for value in ["604801", &endless, "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(parse(value, now()), Some(MAX_RETRY_AFTER), "{value}");
        }
    }
}
