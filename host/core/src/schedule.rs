//! When a notification is delivered, and until when it is worth it.

use std::time::Duration;

use crate::notification::InvalidNotification;
use crate::units::parse_span;

/// Longest `deliver_after` and `expires_after`: what is due later than in a year belongs into a calendar.
pub const MAX_AHEAD: Duration = Duration::from_secs(366 * 86_400);

/// Both times count from the moment at which the queue took the notification in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// No delivery starts before; zero: at once.
    pub deliver_after: Duration,
    /// No delivery starts, or is tried again, from then on; none: as long as each destination's `max_age` allows.
    pub expires_after: Option<Duration>,
}

impl Schedule {
    /// Reads durations such as `10m`. The error names the field.
    pub fn parse(
        deliver_after: Option<&str>,
        expires_after: Option<&str>,
    ) -> Result<Self, InvalidNotification> {
        let deliver = deliver_after.map(|text| ahead("deliver_after", text)).transpose()?;
        let expires_after = expires_after.map(|text| ahead("expires_after", text)).transpose()?;
        let deliver_after = deliver.unwrap_or_default();
        if expires_after.is_some_and(|expires| expires <= deliver_after) {
            let problem = "must be longer than deliver_after, or nothing would ever be sent";
            return Err(invalid("expires_after", problem.to_owned()));
        }
        Ok(Self { deliver_after, expires_after })
    }
}

fn ahead(field: &str, text: &str) -> Result<Duration, InvalidNotification> {
    let duration = parse_span(text).map_err(|problem| invalid(field, problem))?;
    if duration > MAX_AHEAD {
        return Err(invalid(field, format!("\"{text}\" is longer than 366 days")));
    }
    Ok(duration)
}

fn invalid(field: &str, problem: String) -> InvalidNotification {
    InvalidNotification { field: field.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(deliver_after: Option<&str>, expires_after: Option<&str>) -> String {
        Schedule::parse(deliver_after, expires_after).unwrap_err().to_string()
    }

    #[test]
    fn durations_read_as_in_the_files() {
        let schedule = Schedule::parse(Some("10m"), Some("1h")).unwrap();
        assert_eq!(schedule.deliver_after, Duration::from_secs(600));
        assert_eq!(schedule.expires_after, Some(Duration::from_secs(3_600)));
        assert_eq!(Schedule::parse(None, None).unwrap(), Schedule::default());
    }

    #[test]
    fn bad_durations_name_the_field() {
        assert!(refused(Some("soon"), None).starts_with("deliver_after: \"soon\" is not a"));
        assert!(refused(None, Some("-5m")).starts_with("expires_after: \"-5m\" is not a"));
        assert!(refused(Some("400d"), None).contains("longer than 366 days"));
    }

    #[test]
    fn what_would_expire_before_it_is_due_is_refused() {
        assert!(refused(Some("1h"), Some("1h")).starts_with("expires_after: must be longer"));
        assert!(refused(None, Some("0s")).starts_with("expires_after: must be longer"));
    }
}
