//! Every statement of breakers. What holds for [`super::sql`] holds here.

/// The end of a breaker's hold, [`crate::breaker::SHUT`].
macro_rules! shut {
    () => {
        "253402214400000"
    };
}

/// ?1: destination, ?2: reason, ?3: now, ?4: the first probe. Before [`SHUT_HOLD`].
pub(super) const TRIP: &str = "INSERT INTO breakers (destination, state, reason, since, next) \
     SELECT ?1, 1, ?2, ?3, max(?4, coalesce((SELECT until FROM holds WHERE destination = ?1), 0)) \
     WHERE NOT EXISTS (SELECT 1 FROM holds p WHERE p.destination = ?1 AND p.paused IS NOT NULL) \
     ON CONFLICT DO NOTHING";

/// ?1: destination, ?2: reason, ?3: now. Before [`SHUT_HOLD`].
pub(super) const GONE: &str = concat!(
    "INSERT INTO breakers (destination, state, reason, since, next) SELECT ?1, 4, ?2, ?3, ",
    shut!(),
    " WHERE NOT EXISTS (SELECT 1 FROM holds p WHERE p.destination = ?1 AND p.paused IS NOT NULL) \
     ON CONFLICT (destination) DO UPDATE SET state = 4, reason = excluded.reason, \
     next = excluded.next, trial = trial + 1 WHERE state <> 4"
);

/// ?1: destination, ?2: now.
pub(super) const SHUT_HOLD: &str = concat!(
    "INSERT INTO holds (destination, since, until) VALUES (?1, ?2, ",
    shut!(),
    ") ON CONFLICT (destination) DO UPDATE SET \
     since = iif(until <= ?2, ?2, coalesce(since, ?2)), until = excluded.until"
);

/// ?1: destination, ?2: now. Of a breaker that may be tried; not while nothing is due.
pub(super) const READY: &str = "SELECT state, trial, batch, failures FROM breakers \
     WHERE destination = ?1 AND state < 4 AND next <= ?2 AND ( \
       EXISTS (SELECT 1 FROM deliveries d WHERE d.state = 0 AND d.destination = ?1 \
         AND d.lane = 0 AND d.due <= ?2 AND d.waiting = 0) \
       OR EXISTS (SELECT 1 FROM deliveries d WHERE d.state = 0 AND d.destination = ?1 \
         AND d.lane = 1 AND d.due <= ?2 AND d.waiting = 0))";

/// ?1: destination, ?2: when it is given up.
pub(super) const BEGIN_TRIAL: &str = "UPDATE breakers SET trial = trial + 1, next = ?2, \
     state = iif(state = 1, 2, state) WHERE destination = ?1";

/// ?1: destination, ?2: now, ?3: limit. The oldest due of both lanes, as one JSON array.
pub(super) const OLDEST: &str = "SELECT json_group_array(id) FROM (SELECT id FROM ( \
     SELECT * FROM (SELECT id, due FROM deliveries WHERE state = 0 AND destination = ?1 \
       AND lane = 0 AND due <= ?2 AND waiting = 0 ORDER BY due, id LIMIT ?3) \
     UNION ALL SELECT * FROM (SELECT id, due FROM deliveries WHERE state = 0 AND destination = ?1 \
       AND lane = 1 AND due <= ?2 AND waiting = 0 ORDER BY due, id LIMIT ?3)) \
     ORDER BY due, id LIMIT ?3)";

/// ?1: destination, ?2: trial, ?3: state, ?4: batch, ?5: the next, ?6: failed, ?7: reason.
pub(super) const WAIT: &str = "UPDATE breakers SET trial = trial + 1, state = ?3, batch = ?4, \
     next = ?5, failures = failures + ?6, reason = iif(?7 = '', reason, ?7) \
     WHERE destination = ?1 AND trial = ?2 AND state < 4";

/// ?1: destination, ?2: trial, ?3: reason.
pub(super) const TURN_GONE: &str = concat!(
    "UPDATE breakers SET trial = trial + 1, state = 4, next = ",
    shut!(),
    ", reason = iif(?3 = '', reason, ?3) WHERE destination = ?1 AND trial = ?2 AND state < 4"
);

/// ?1: destination, ?2: trial. Before [`LIFT`].
pub(super) const CLOSE: &str =
    "DELETE FROM breakers WHERE destination = ?1 AND trial = ?2 AND state < 4";

/// ?1: destination.
pub(super) const RESUME: &str = "DELETE FROM breakers WHERE destination = ?1";

/// ?1: destination, ?2: now. Whether it is held.
pub(super) const IS_HELD: &str =
    "SELECT EXISTS (SELECT 1 FROM holds WHERE destination = ?1 AND until > ?2)";

/// ?1: destination.
pub(super) const LIFT: &str = "DELETE FROM holds WHERE destination = ?1";

/// ?1: now.
pub(super) const BLOCKED: &str = "SELECT h.destination, coalesce(h.since, ?1) AS held_since, \
     h.until, b.state, b.reason, b.since, b.next, b.failures, b.batch \
     FROM holds h LEFT JOIN breakers b ON b.destination = h.destination \
     WHERE h.until > ?1 ORDER BY h.destination";

/// ?1: now. The trials of a daemon that is gone are given up.
pub(super) const RECOVER: &str = "UPDATE breakers SET next = ?1 WHERE state = 2 AND next > ?1";

/// ?1: how far the clock went back.
pub(super) const SHIFT: &str = "UPDATE breakers SET next = next - ?1, since = since - ?1 \
     WHERE state < 4";

/// All of them, for the test that prepares each.
#[cfg(test)]
pub(super) const ALL: &[&str] = &[
    TRIP,
    GONE,
    SHUT_HOLD,
    READY,
    BEGIN_TRIAL,
    OLDEST,
    WAIT,
    TURN_GONE,
    CLOSE,
    RESUME,
    IS_HELD,
    LIFT,
    BLOCKED,
    RECOVER,
    SHIFT,
];
