//! Breakers: what keeps a destination from being sent to, as JSON.

use postrider_queue::Blocked;
use serde_json::{Value, json};

/// The breaker of a destination, by those that are blocked.
pub fn of(blocked: &[Blocked], name: &str) -> Value {
    let found = blocked.iter().find(|blocked| blocked.destination == name);
    let Some(blocked) = found else { return json!({"state": "closed"}) };
    match &blocked.breaker {
        None => {
            json!({"state": "closed", "held_since": blocked.since, "held_until": blocked.until})
        }
        Some(breaker) => json!({
            "state": breaker.state,
            "reason": breaker.reason,
            "since": breaker.since,
            "next_trial": breaker.next,
            "batch": breaker.batch,
            "failed_probes": breaker.failures,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use postrider_core::BreakerState;
    use postrider_queue::Breaker;
    use std::time::Duration;

    #[test]
    fn a_breaker_is_shown_with_its_reason_and_a_hold_with_its_end() {
        let (since, age) = (Timestamp::UNIX_EPOCH, Duration::ZERO);
        let breaker = Breaker {
            state: BreakerState::Open,
            reason: "503".into(),
            since,
            next: Some(since),
            next_in: age,
            failures: 2,
            batch: 1,
        };
        let destination = |name: &str| name.to_owned();
        let open = Blocked {
            destination: destination("a"),
            since,
            age,
            until: None,
            breaker: Some(breaker),
        };
        let held = Blocked {
            destination: destination("b"),
            since,
            age,
            until: Some(since),
            breaker: None,
        };
        let blocked = [open, held];
        assert_eq!(of(&blocked, "a")["state"], "open");
        assert_eq!(of(&blocked, "a")["failed_probes"], 2);
        assert_eq!(of(&blocked, "b")["held_until"], "1970-01-01T00:00:00Z");
        assert_eq!(of(&blocked, "c"), json!({"state": "closed"}));
    }
}
