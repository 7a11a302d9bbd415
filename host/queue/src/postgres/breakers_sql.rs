//! Every statement of breakers. What holds for [`super::sql`] holds here. All take the breaker's row before its hold's.

/// The end of a breaker's hold, [`crate::breaker::SHUT`].
macro_rules! shut {
    () => {
        "timestamptz '9999-12-31 00:00:00+00'"
    };
}

/// A person's pause comes before a breaker.
macro_rules! not_paused {
    ($destination:literal) => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM holds p WHERE p.destination = ",
            $destination,
            " AND p.paused IS NOT NULL)"
        )
    };
}

/// The hold beside each breaker of `b`.
macro_rules! shut_hold {
    () => {
        concat!(
            "h AS (INSERT INTO holds (destination, since, until) SELECT destination, now(), ",
            shut!(),
            " FROM b ON CONFLICT (destination) DO UPDATE SET \
             since = CASE WHEN holds.until <= now() THEN now() ELSE holds.since END, \
             until = excluded.until) SELECT count(*) FROM b"
        )
    };
}

/// $1: destination, $2: reason, $3: milliseconds until the first probe.
pub(super) const TRIP: &str = concat!(
    "WITH b AS (INSERT INTO breakers (destination, state, reason, since, next) \
     SELECT $1::text, 1, $2::text, now(), greatest(now() + $3::bigint * interval '1 millisecond', \
       (SELECT until FROM holds WHERE destination = $1)) WHERE ",
    not_paused!("$1"),
    " ON CONFLICT DO NOTHING RETURNING destination), ",
    shut_hold!()
);

/// $1: destination, $2: reason.
pub(super) const GONE: &str = concat!(
    "WITH b AS (INSERT INTO breakers (destination, state, reason, since, next) \
     SELECT $1::text, 4, $2::text, now(), ",
    shut!(),
    " WHERE ",
    not_paused!("$1"),
    " ON CONFLICT (destination) DO UPDATE SET state = 4, reason = excluded.reason, \
     next = excluded.next, trial = breakers.trial + 1 \
     WHERE breakers.state <> 4 RETURNING destination), ",
    shut_hold!()
);

macro_rules! due {
    ($lane:literal, $destination:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM deliveries d WHERE d.state = 0 AND d.destination = ",
            $destination,
            " AND d.lane = ",
            $lane,
            " AND d.due <= now() AND NOT d.waiting)"
        )
    };
}

macro_rules! oldest {
    ($lane:literal) => {
        concat!(
            "SELECT * FROM (SELECT id, due FROM deliveries WHERE state = 0 AND destination = $1 \
             AND lane = ",
            $lane,
            " AND due <= now() AND NOT waiting ORDER BY due, id LIMIT $2) l",
            $lane
        )
    };
}

/// $1: destination, $2: room, $3: milliseconds until it is given up, $4: host, $5: lease in milliseconds, $6: reason
/// of a lost attempt. No row where no trial may begin; one with a null id where all that was due was taken meanwhile.
pub(super) const TRIAL: &str = concat!(
    "WITH b AS (UPDATE breakers SET trial = trial + 1, \
       next = now() + $3::bigint * interval '1 millisecond', \
       state = CASE state WHEN 1 THEN 2 ELSE state END \
     WHERE destination = $1 AND state < 4 AND next <= now() AND $2::bigint > 0 AND (",
    due!("0", "$1"),
    " OR ",
    due!("1", "$1"),
    ") RETURNING state, trial, batch, failures, least(batch, $2) AS asked), \
     k AS MATERIALIZED (SELECT id FROM (",
    oldest!("0"),
    " UNION ALL ",
    oldest!("1"),
    ") s ORDER BY due, id LIMIT coalesce((SELECT asked FROM b), 0)), \
     c AS MATERIALIZED (SELECT id, attempt, claimed, owner FROM deliveries \
       WHERE id = ANY (ARRAY (SELECT id FROM k)) AND state < 1 AND due <= now() \
       FOR UPDATE SKIP LOCKED), ",
    record_lost!("$6"),
    ", u AS (UPDATE deliveries d SET lost = d.lost + (d.owner IS NOT NULL)::int, \
       token = d.token + 1, attempt = d.attempt + 1, owner = $4, claimed = now(), \
       due = now() + $5 * interval '1 millisecond' \
     WHERE d.id = ANY (ARRAY (SELECT id FROM c)) AND d.state < 1 AND d.due <= now() RETURNING ",
    leased!(),
    ") SELECT b.state AS breaker, b.trial, b.batch, b.failures, b.asked, u.*, n.* \
     FROM b LEFT JOIN u ON true LEFT JOIN LATERAL (SELECT ",
    notification!(),
    ", n.content, n.content_bytes FROM notifications n WHERE n.seq = u.notification OFFSET 0) n \
     ON true ORDER BY u.id"
);

/// $1: destination, $2: trial, $3: state, $4: batch, $5: milliseconds until the next, $6: failed, $7: reason.
pub(super) const WAIT: &str = "UPDATE breakers SET trial = trial + 1, state = $3, batch = $4, \
     next = now() + $5::bigint * interval '1 millisecond', failures = failures + $6, \
     reason = CASE WHEN $7 = '' THEN reason ELSE $7 END \
     WHERE destination = $1 AND trial = $2 AND state < 4";

/// $1: destination, $2: trial, $3: reason.
pub(super) const TURN_GONE: &str = concat!(
    "UPDATE breakers SET trial = trial + 1, state = 4, next = ",
    shut!(),
    ", reason = CASE WHEN $3 = '' THEN reason ELSE $3 END \
     WHERE destination = $1 AND trial = $2 AND state < 4"
);

/// $1: destination, $2: trial.
pub(super) const CLOSE: &str = "WITH b AS (DELETE FROM breakers \
     WHERE destination = $1 AND trial = $2 AND state < 4 RETURNING destination), \
     h AS (DELETE FROM holds WHERE destination = ANY (ARRAY (SELECT destination FROM b))) \
     SELECT count(*) FROM b";

/// $1: destination.
pub(super) const RESUME: &str = "WITH b AS (DELETE FROM breakers WHERE destination = $1 RETURNING 1), \
     h AS (DELETE FROM holds WHERE destination = $1 RETURNING until) \
     SELECT (SELECT count(*) FROM b) + (SELECT count(*) FROM h WHERE until > now())";

pub(super) const BLOCKED: &str = "SELECT h.destination, h.since AS held_since, h.until, \
     greatest(0, (extract(epoch FROM now() - h.since) * 1000)::bigint) AS age, \
     b.state, b.reason, b.since, b.next, b.failures, b.batch, \
     greatest(0, ceil(extract(epoch FROM b.next - now()) * 1000)::bigint) AS next_in \
     FROM holds h LEFT JOIN breakers b ON b.destination = h.destination \
     WHERE h.until > now() ORDER BY h.destination";

/// All of them, for the test that prepares each.
#[cfg(test)]
pub(super) const ALL: &[&str] = &[TRIP, GONE, TRIAL, WAIT, TURN_GONE, CLOSE, RESUME, BLOCKED];
