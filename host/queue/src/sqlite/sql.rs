//! Every statement of the SQLite store, in the order of a delivery's life.
//!
//! `now` is always a parameter, taken once a transaction. A batch is one JSON array: one statement for each kind and
//! batch costs far less than row by row. `jsonb_each` for objects: with `json_each` every field is parsed anew from text.
//!
//! These run in our own SQLite, which is new; only the schema must bear a producer's old one.
//!
//! `OR FAIL` (<https://sqlite.org/lang_conflict.html>) where many rows are written at once: whoever fails has its whole
//! round rolled back, so SQLite need not keep each page as it was before the statement.

use super::statement::Sizes;

/// The conditions under which a lease is still held; `x` is the worker's row, `d` the delivery.
macro_rules! held {
    () => {
        "d.id = x.value ->> 'id' AND d.token = x.value ->> 'token' AND d.state = 0 \
         AND d.owner IS NOT NULL"
    };
}

/// ?1: names, ?2: now. When the first trial of one of them may begin.
macro_rules! next_trial {
    () => {
        "SELECT min(max(b.next, ?2)) FROM breakers b \
         WHERE b.state < 4 AND b.destination IN (SELECT value FROM json_each(?1)) AND (b.next > ?2 OR \
           EXISTS (SELECT 1 FROM deliveries d WHERE d.state = 0 AND d.destination = b.destination \
             AND d.lane = 0 AND d.due <= ?2 AND d.waiting = 0) \
           OR EXISTS (SELECT 1 FROM deliveries d WHERE d.state = 0 AND d.destination = b.destination \
             AND d.lane = 1 AND d.due <= ?2 AND d.waiting = 0))"
    };
}

macro_rules! notification {
    () => {
        "n.seq, n.id AS uuid, n.type, n.source, n.subject, n.labels, n.content_type, n.created_at, \
         n.traceparent, n.tracestate"
    };
}

macro_rules! notification_record {
    () => {
        concat!(
            notification!(),
            ", n.idempotency_key, n.deliveries, n.malformed, n.expires, n.pruned"
        )
    };
}

macro_rules! known {
    () => {
        concat!(
            notification_record!(),
            ", n.content, n.content_bytes, n.digest FROM notifications n"
        )
    };
}

macro_rules! delivery_record {
    ($condition:literal) => {
        concat!(
            "SELECT d.id, n.id AS uuid, n.type, d.destination, d.state, d.owner, d.attempt, \
             d.created, d.due, d.finished, d.reason, d.cause, d.fallback_of, d.fallback_to, \
             d.expires, d.order_key, d.waiting \
             FROM deliveries d JOIN notifications n ON n.seq = d.notification WHERE ",
            $condition,
            " AND d.id < ?1 AND (?3 IS NULL OR d.destination = ?3) AND CASE ?4 \
             WHEN 'pending' THEN d.state = 0 AND (d.owner IS NULL OR d.due <= ?2) \
             WHEN 'leased' THEN d.state = 0 AND d.owner IS NOT NULL AND d.due > ?2 \
             WHEN 'delivered' THEN d.state = 1 \
             WHEN 'dead' THEN d.state = 2 \
             WHEN 'cancelled' THEN d.state = 3 \
             ELSE true END \
             AND (?5 IS NULL OR d.id = ?5) AND (?6 IS NULL OR n.id = ?6) AND d.id > ?8 \
             ORDER BY d.id DESC LIMIT ?7"
        )
    };
}

pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";
/// ?1: now. Whether nothing is sent to some destination, and whether anything waits for its key's head.
pub(super) const SEEN: &str = "SELECT EXISTS (SELECT 1 FROM holds WHERE until > ?1), \
     EXISTS (SELECT 1 FROM deliveries WHERE state = 0 AND waiting = 1)";
pub(super) const COMMIT: &str = "COMMIT";
pub(super) const ROLLBACK: &str = "ROLLBACK";
/// Waits for nobody.
pub(super) const CHECKPOINT: &str = "PRAGMA wal_checkpoint(PASSIVE)";

// ---- enqueue -------------------------------------------------------------------------------------------------

/// ?1: ids, ?2: idempotency keys.
pub(super) const KNOWN: &str = concat!(
    "SELECT ",
    known!(),
    " WHERE n.id IN (SELECT value FROM json_each(?1)) UNION ALL SELECT ",
    known!(),
    " WHERE n.idempotency_key IN (SELECT value FROM json_each(?2))"
);

/// The parameters of four times as many rows.
macro_rules! fourfold {
    ($rows:expr) => {
        concat!($rows, ", ", $rows, ", ", $rows, ", ", $rows)
    };
}

/// A statement, given as a macro, for 1, 4, 16 and 64 rows of these parameters, and for 256 where it says `many`. Not as
/// JSON: looking its fields up and keeping rows twice cost as much as storing. And not row by row, which takes a quarter
/// more.
macro_rules! sizes {
    ($statement:ident, $row:literal) => {
        Sizes(&[
            $statement!($row),
            $statement!(fourfold!($row)),
            $statement!(fourfold!(fourfold!($row))),
            $statement!(fourfold!(fourfold!(fourfold!($row)))),
        ])
    };
    ($statement:ident, $row:literal, many) => {
        Sizes(&[
            $statement!($row),
            $statement!(fourfold!($row)),
            $statement!(fourfold!(fourfold!($row))),
            $statement!(fourfold!(fourfold!(fourfold!($row)))),
            $statement!(fourfold!(fourfold!(fourfold!(fourfold!($row))))),
        ])
    };
}

macro_rules! store {
    ($rows:expr) => {
        concat!(
            "INSERT INTO notifications (fanned_out_at, id, type, source, subject, labels, \
             content_type, content, content_bytes, idempotency_key, digest, created_at, \
             deliveries, expires, traceparent, tracestate) \
             SELECT ?, column1, column2, column3, column4, column5, column6, column7, column8, \
             column9, column10, column11, column12, column13, column14, column15 FROM (VALUES ",
            $rows,
            ") WHERE column1 IS NOT NULL"
        )
    };
}

/// First now, then the columns of each notification. It fails where an id or a key is there, as whatever looks at the
/// table while it stores has SQLite keep all rows twice. They get the numbers after the highest, in their order.
pub(super) const STORE: Sizes = sizes!(store, "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");

macro_rules! deliver {
    ($rows:expr) => {
        concat!(
            "INSERT OR FAIL INTO deliveries (due, created, since, notification, destination) \
             SELECT ?, ?, ?, column1, column2 FROM (VALUES ",
            $rows,
            ") WHERE column1 IS NOT NULL"
        )
    };
}

/// Three times now, then a row and a destination for each. Where none has a schedule or a key.
pub(super) const DELIVER: Sizes = sizes!(deliver, "(?, ?)", many);

macro_rules! deliver_taken {
    ($rows:expr) => {
        concat!(
            "INSERT OR FAIL INTO deliveries (due, created, since, owner, claimed, token, attempt, \
             notification, destination) \
             SELECT ?, ?, ?, ?, ?, 1, 1, column1, column2 FROM (VALUES ",
            $rows,
            ") WHERE column1 IS NOT NULL"
        )
    };
}

/// Expiry, now, now, host, now, then as [`DELIVER`]: leased at once.
pub(super) const DELIVER_TAKEN: Sizes = sizes!(deliver_taken, "(?, ?)", many);

/// ?1: now. Destinations that nothing is sent to, as a JSON array.
pub(super) const HELD: &str = "SELECT json_group_array(destination) FROM holds WHERE until > ?1";

/// When a delivery that waits for its key's head is due.
macro_rules! never {
    () => {
        "2305843009213693951"
    };
}

/// ?1: rows and their targets, ?2: now.
pub(super) const DELIVER_SCHEDULED: &str = concat!(
    "INSERT OR FAIL INTO deliveries (notification, destination, due, created, since, expires, order_key, \
     waiting) \
     SELECT x.value ->> 'row', y.value ->> 'destination', \
     iif(y.value ->> 'key' IS NULL, x.value ->> 'due', ",
    never!(),
    "), ?2, x.value ->> 'due', y.value ->> 'expires', y.value ->> 'key', \
     y.value ->> 'key' IS NOT NULL \
     FROM jsonb_each(?1) AS x CROSS JOIN jsonb_each(x.value, '$.targets') AS y"
);

// ---- fan-out -------------------------------------------------------------------------------------------------

/// ?1: limit.
pub(super) const ARRIVED: &str = concat!(
    "SELECT ",
    notification!(),
    ", n.idempotency_key, n.content, n.content_bytes FROM notifications n \
     WHERE n.fanned_out_at IS NULL ORDER BY n.seq LIMIT ?1"
);

/// ?1: rows and their destinations, ?2: now. Before [`FANNED_OUT`], in the same transaction.
pub(super) const FAN_OUT: &str = concat!(
    "INSERT OR FAIL INTO deliveries (notification, destination, due, created, since, expires, order_key, \
     waiting) \
     SELECT f.seq, f.destination, iif(f.key IS NULL, f.due, ",
    never!(),
    "), ?2, f.due, coalesce(min(f.own, f.within), f.own, f.within), f.key, f.key IS NOT NULL \
     FROM (SELECT n.seq, y.value ->> 'destination' AS destination, y.value ->> 'key' AS key, \
       max(?2, min(n.created_at, ?2) + coalesce(n.deliver_after_ms, 0)) AS due, \
       min(n.created_at, ?2) + n.expires_after_ms AS own, \
       min(n.created_at, ?2) + (y.value ->> 'within') AS within \
       FROM jsonb_each(?1) AS x CROSS JOIN notifications n ON n.seq = x.value ->> 'row' \
       CROSS JOIN jsonb_each(x.value, '$.targets') AS y \
       WHERE n.fanned_out_at IS NULL) AS f \
     WHERE NOT EXISTS (SELECT 1 FROM deliveries d \
       WHERE d.notification = f.seq AND d.destination = f.destination)"
);

/// ?1: rows and their destinations, ?2: now.
pub(super) const FANNED_OUT: &str = "UPDATE OR FAIL notifications SET fanned_out_at = ?2, \
     deliveries = x.value ->> 'deliveries', malformed = x.value ->> 'malformed', \
     expires = iif(x.value ->> 'malformed' IS NULL, min(created_at, ?2) + expires_after_ms, NULL) \
     FROM jsonb_each(?1) AS x \
     WHERE seq = x.value ->> 'row' AND fanned_out_at IS NULL";

/// As a producer does it. ?1 to ?8: the columns, ?9 and ?10: milliseconds from now, ?11 and ?12: its trace.
pub(crate) const OUTBOX: &str = "INSERT INTO notifications (type, source, subject, labels, \
     content_type, content, content_bytes, idempotency_key, deliver_after_ms, expires_after_ms, \
     traceparent, tracestate) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING RETURNING id";

// ---- claim, extend, settle -----------------------------------------------------------------------------------

/// ?1: names, ?2: now. Those that have anything due, by their place in ?1, as one JSON array: one statement for all the
/// idle ones.
pub(super) const READY: &str = "SELECT json_group_array(x.key) FROM json_each(?1) AS x \
     WHERE NOT EXISTS (SELECT 1 FROM holds h WHERE h.destination = x.value AND h.until > ?2) \
     AND (EXISTS (SELECT 1 FROM deliveries d WHERE d.state = 0 AND d.destination = x.value \
          AND d.lane = 0 AND d.due <= ?2 AND d.waiting = 0) \
       OR EXISTS (SELECT 1 FROM deliveries d WHERE d.state = 0 AND d.destination = x.value \
          AND d.lane = 1 AND d.due <= ?2 AND d.waiting = 0))";

/// ?1: destination, ?2: now, ?3: free slots, ?4: how many of them are kept for retries. Takes those retries, then
/// first attempts, then retries again, until the slots are full. Answers the ids as one JSON array, and whether there
/// are expired leases among them.
pub(super) const DUE: &str = "SELECT json_group_array(id), max(expired) FROM ( \
     SELECT id, expired FROM ( \
       SELECT id, owner IS NOT NULL AS expired FROM deliveries WHERE state = 0 \
       AND destination = ?1 AND lane = 1 AND due <= ?2 AND waiting = 0 ORDER BY due, id LIMIT ?4) \
     UNION ALL SELECT id, expired FROM ( \
       SELECT id, owner IS NOT NULL AS expired FROM deliveries WHERE state = 0 \
       AND destination = ?1 AND lane = 0 AND due <= ?2 AND waiting = 0 ORDER BY due, id LIMIT ?3) \
     UNION ALL SELECT id, expired FROM ( \
       SELECT id, owner IS NOT NULL AS expired FROM deliveries WHERE state = 0 \
       AND destination = ?1 AND lane = 1 AND due <= ?2 AND waiting = 0 ORDER BY due, id LIMIT ?3 OFFSET ?4) \
     LIMIT ?3) \
     WHERE NOT EXISTS (SELECT 1 FROM holds h WHERE h.destination = ?1 AND h.until > ?2) \
     HAVING count(*) > 0";

/// ?1: ids, ?2: now, ?3: reason. Records leases that end without a settlement; before the statement that ends them.
pub(super) const RECORD_LOST: &str = "INSERT INTO attempts (delivery, number, started, duration, \
     outcome, reason, plugin, host) \
     SELECT id, attempt, claimed, max(?2 - claimed, 0) * 1000, 'lost', ?3, '', owner \
     FROM deliveries \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state = 0 AND owner IS NOT NULL";

/// ?1: ids, ?2: now, ?3: host, ?4: expiry.
pub(super) const LEASE: &str = "UPDATE OR FAIL deliveries SET lost = lost + (owner IS NOT NULL), \
     token = token + 1, attempt = attempt + 1, owner = ?3, claimed = ?2, due = ?4 \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state = 0 AND due <= ?2";

/// ?1: ids.
pub(super) const LEASED: &str = concat!(
    "SELECT d.id, d.token, d.destination, d.attempt, d.used, d.lost, d.since, d.parts_done, \
     d.chain, d.expires, d.order_key, n.content, n.content_bytes, ",
    notification!(),
    " FROM json_each(?1) AS x CROSS JOIN deliveries d ON d.id = x.value \
     LEFT JOIN notifications n ON n.seq = d.notification"
);

/// ?1: now, ?2: limit. What is past its expiry, whether or not it is due, as one JSON array.
pub(super) const EXPIRED: &str = "SELECT json_group_array(id) FROM ( \
     SELECT id FROM deliveries WHERE state = 0 AND expires IS NOT NULL AND expires <= ?1 \
     AND (owner IS NULL OR due <= ?1) ORDER BY expires, id LIMIT ?2)";

/// ?1: destinations and the moment before which what is alive is too old, ?2: now, ?3: how many of a lane to look
/// at, ?4: limit. What is too old, as one JSON array. What is not due has not reached its destination's `max_age`, but
/// for what waits, and what is to end early.
pub(super) const TOO_OLD: &str = "SELECT json_group_array(id) FROM ( \
     SELECT b.key AS place, 0 AS part, d.due AS at, d.id AS id FROM json_each(?1) AS b \
     CROSS JOIN deliveries d ON d.id IN (SELECT q.id FROM deliveries q WHERE q.state = 0 \
       AND q.destination = b.value ->> 'destination' AND q.lane = 0 \
       AND q.due <= iif(b.value ->> 'early', 9223372036854775807, ?2) \
       AND (q.owner IS NULL OR q.due <= ?2) AND q.waiting = 0 ORDER BY q.due, q.id LIMIT ?3) \
     WHERE d.since <= b.value ->> 'before' \
     UNION ALL \
     SELECT b.key, 1, d.due, d.id FROM json_each(?1) AS b \
     CROSS JOIN deliveries d ON d.id IN (SELECT q.id FROM deliveries q WHERE q.state = 0 \
       AND q.destination = b.value ->> 'destination' AND q.lane = 1 \
       AND q.due <= iif(b.value ->> 'early', 9223372036854775807, ?2) \
       AND (q.owner IS NULL OR q.due <= ?2) AND q.waiting = 0 ORDER BY q.due, q.id LIMIT ?3) \
     WHERE d.since <= b.value ->> 'before' \
     UNION ALL \
     SELECT b.key, 2, d.since, d.id FROM json_each(?1) AS b \
     CROSS JOIN deliveries d ON d.state = 0 AND d.waiting = 1 \
       AND d.destination = b.value ->> 'destination' AND d.since <= b.value ->> 'before' \
     WHERE d.owner IS NULL OR d.due <= ?2 \
     ORDER BY place, part, at, id LIMIT ?4)";

/// ?1: ids, ?2: now, ?3: host, ?4: expiry. What is [`EXPIRED`] or [`TOO_OLD`]; it need not be due.
pub(super) const LEASE_OVERDUE: &str = "UPDATE deliveries SET lost = lost + (owner IS NOT NULL), \
     token = token + 1, attempt = attempt + 1, owner = ?3, claimed = ?2, due = ?4 \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state = 0";

/// ?1: leases, by their place in ?1. Before the statements that write by them: the places of those that are lost.
pub(super) const LOST: &str = concat!(
    "SELECT json_group_array(x.key) FROM jsonb_each(?1) AS x \
     WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE ",
    held!(),
    ")"
);

/// ?1: leases and their new expiry.
pub(super) const EXTEND: &str = concat!(
    "UPDATE OR FAIL deliveries AS d SET due = x.value ->> 'due' FROM jsonb_each(?1) AS x WHERE ",
    held!()
);

/// ?1: settlements. Before [`SETTLE`], which ends the leases.
pub(super) const RECORD: &str = concat!(
    "INSERT OR FAIL INTO attempts (delivery, number, started, duration, outcome, reason, plugin, host) \
     SELECT d.id, d.attempt, x.value ->> 'started', x.value ->> 'duration', \
     x.value ->> 'outcome', x.value ->> 'reason', \
     x.value ->> 'plugin', x.value ->> 'host' \
     FROM jsonb_each(?1) AS x CROSS JOIN deliveries d WHERE ",
    held!()
);

macro_rules! record_delivered {
    ($rows:expr) => {
        concat!(
            "INSERT OR FAIL INTO attempts (outcome, reason, plugin, host, delivery, number, started, \
             duration) \
             SELECT ?, ?, ?, ?, d.id, d.attempt, x.column3, x.column4 FROM (VALUES ",
            $rows,
            ") AS x CROSS JOIN deliveries d \
             WHERE d.id = x.column1 AND d.token = x.column2 AND d.state = 0 AND d.owner IS NOT NULL"
        )
    };
}

/// How all of them ended, what was said of it, by which module and host, then id, token, start and duration of each
/// attempt. Before [`SETTLE_DELIVERED`].
pub(super) const RECORD_DELIVERED: Sizes = sizes!(record_delivered, "(?, ?, ?, ?)", many);

macro_rules! settle_delivered {
    ($ids:expr) => {
        concat!(
            "UPDATE OR FAIL deliveries SET owner = NULL, claimed = NULL, state = 1, waiting = 0, \
             lost = 0, parts_done = ?, reason = ?, finished = ? WHERE id IN (",
            $ids,
            ") AND state = 0"
        )
    };
}

/// Parts done, reason, now, then the ids under leases that are held. What [`SETTLE`] makes of them.
pub(super) const SETTLE_DELIVERED: Sizes = sizes!(settle_delivered, "?", many);

/// ?1: settlements, ?2: now. Only with a handover among them, before [`SETTLE`]. What has expired by itself is not
/// handed over. Where two of a notification hand over
/// to one taker, the first does: SQLite takes the other columns from the row of the only `min`.
pub(super) const HAND_OVER: &str = concat!(
    "INSERT INTO deliveries (notification, destination, due, chain, created, since, fallback_of, \
     expires, order_key, waiting) \
     SELECT d.notification, x.value ->> 'taker', iif(x.value ->> 'key' IS NULL, ?2, ",
    never!(),
    "), x.value ->> 'chain', ?2, ?2, d.id, \
     coalesce(min(n.expires, x.value ->> 'expires'), n.expires, x.value ->> 'expires'), \
     x.value ->> 'key', x.value ->> 'key' IS NOT NULL \
     FROM jsonb_each(?1) AS x CROSS JOIN deliveries d \
     LEFT JOIN notifications n ON n.seq = d.notification WHERE ",
    held!(),
    " AND coalesce(n.expires > ?2, true) AND x.value ->> 'taker' <> d.destination \
     AND NOT EXISTS (SELECT 1 FROM deliveries t WHERE t.notification = d.notification \
       AND t.destination = x.value ->> 'taker') \
     GROUP BY d.notification, x.value ->> 'taker' ORDER BY min(x.key)"
);

/// ?1: settlements, ?2: now. Only with a hold among them, before [`SETTLE`].
pub(super) const HOLD: &str = concat!(
    "INSERT INTO holds (destination, since, until) \
     SELECT d.destination, ?2, max(x.value ->> 'hold') \
     FROM jsonb_each(?1) AS x CROSS JOIN deliveries d WHERE ",
    held!(),
    " AND x.value ->> 'hold' IS NOT NULL GROUP BY d.destination \
     ON CONFLICT (destination) DO UPDATE SET since = iif(until <= ?2, ?2, coalesce(since, ?2)), \
     until = max(until, excluded.until)"
);

/// ?1: settlements.
pub(super) const SETTLE: &str = concat!(
    "UPDATE OR FAIL deliveries AS d SET owner = NULL, claimed = NULL, \
     state = x.value ->> 'state', \
     due = iif(d.waiting AND x.value ->> 'due' IS NOT NULL, ",
    never!(),
    ", coalesce(x.value ->> 'due', d.due)), \
     waiting = d.waiting AND x.value ->> 'state' = 0, \
     lane = max(d.lane, x.value ->> 'lane'), \
     used = d.used + (x.value ->> 'counted'), \
     lost = d.lost * (x.value ->> 'released'), \
     attempt = d.attempt - (x.value ->> 'untried'), \
     parts_done = x.value ->> 'parts_done', \
     reason = x.value ->> 'reason', \
     cause = x.value ->> 'cause', \
     finished = x.value ->> 'finished', \
     fallback_to = coalesce((SELECT t.id FROM deliveries t \
       WHERE t.notification = d.notification AND t.destination = x.value ->> 'taker' \
       AND t.id <> d.id), d.fallback_to) \
     FROM jsonb_each(?1) AS x WHERE ",
    held!()
);

/// ?1: ids. Those that have a key and are alive.
pub(super) const KEYED: &str = "SELECT d.id, d.destination, d.order_key FROM json_each(?1) AS x \
     CROSS JOIN deliveries d ON d.id = x.value WHERE d.order_key IS NOT NULL AND d.state = 0";

/// ?1: keys and who ended in each, ?2: now. Of each key without a head the first that waits becomes it; it is told
/// who before it gave up.
pub(super) const PROMOTE: &str = "UPDATE deliveries AS d SET waiting = 0, \
     due = iif(d.owner IS NULL, max(?2, d.since), d.due), \
     reason = coalesce((SELECT 'delivery ' || p.id || ' before it ' || \
       iif(p.state = 2, 'died (' || p.cause || ')', 'was cancelled') || ' and was skipped' \
       FROM json_each(x.value, '$.ended') AS e CROSS JOIN deliveries p ON p.id = e.value \
       WHERE p.id < d.id AND p.state >= 2 ORDER BY p.id DESC LIMIT 1), d.reason) \
     FROM json_each(?1) AS x WHERE d.id = (SELECT w.id FROM deliveries w \
       WHERE w.state = 0 AND w.waiting = 1 AND w.destination = x.value ->> 'destination' \
       AND w.order_key = x.value ->> 'key' ORDER BY w.id LIMIT 1) \
     AND NOT EXISTS (SELECT 1 FROM deliveries h WHERE h.state = 0 AND h.waiting = 0 \
       AND h.order_key IS NOT NULL AND h.destination = x.value ->> 'destination' \
       AND h.order_key = x.value ->> 'key')";

// ---- the operator's hand -------------------------------------------------------------------------------------

/// ?1: ids, ?2: now.
pub(super) const REVIVE: &str = concat!(
    "UPDATE deliveries SET state = 0, lane = 1, due = iif(order_key IS NULL, ?2, ",
    never!(),
    "), waiting = order_key IS NOT NULL, since = ?2, expires = NULL, \
     used = 0, lost = 0, reason = '', cause = NULL, finished = NULL \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state IN (2, 3) \
     AND NOT EXISTS (SELECT 1 FROM notifications n WHERE n.seq = deliveries.notification AND n.pruned)"
);

/// ?1: ids, ?2: now.
pub(super) const HASTEN: &str = "UPDATE deliveries SET due = ?2, since = min(since, ?2) \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state = 0 AND owner IS NULL AND due > ?2 \
     AND waiting = 0";

/// ?1: ids, ?2: now. After [`RECORD_LOST`].
pub(super) const CANCEL: &str = "UPDATE deliveries SET state = 3, owner = NULL, claimed = NULL, waiting = 0, \
     finished = ?2 \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state = 0";

/// ?1: ids.
pub(super) const PUT_AWAY: &str = "UPDATE deliveries SET state = 3, cause = NULL \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state = 2";

/// ?1: ids, ?2: now, ?3: cause, ?4: reason. After [`RECORD_LOST`].
pub(super) const BURY: &str = "UPDATE deliveries SET state = 2, owner = NULL, claimed = NULL, waiting = 0, \
     finished = ?2, cause = ?3, reason = ?4 \
     WHERE id IN (SELECT value FROM json_each(?1)) AND state = 0";

/// ?1: removed or made before this, ?2: now, ?3: limit. Hops from name to name through the live index.
pub(super) const ORPHANS: &str = "WITH RECURSIVE names (name) AS ( \
       SELECT min(destination) FROM deliveries WHERE state = 0 \
       UNION ALL SELECT (SELECT min(destination) FROM deliveries \
         WHERE state = 0 AND destination > names.name) FROM names WHERE names.name IS NOT NULL), \
     gone (name, kept) AS ( \
       SELECT names.name, k.name IS NOT NULL FROM names \
       LEFT JOIN destinations k ON k.name = names.name \
       WHERE names.name IS NOT NULL AND (k.name IS NULL OR k.removed_at <= ?1)) \
     SELECT d.id FROM gone CROSS JOIN deliveries d \
     WHERE d.state = 0 AND d.destination = gone.name AND (d.owner IS NULL OR d.due <= ?2) \
     AND (gone.kept OR d.since <= ?1) LIMIT ?3";

/// ?1: destinations.
pub(super) const KEEP: &str = "INSERT INTO destinations (name, text, module) \
     SELECT value ->> 'name', value ->> 'text', value ->> 'module' FROM jsonb_each(?1) WHERE true \
     ON CONFLICT (name) DO UPDATE \
     SET text = excluded.text, module = excluded.module, removed_at = NULL";

pub(super) const KEPT: &str =
    "SELECT name, text, module FROM destinations WHERE removed_at IS NULL ORDER BY name";

// ---- reading -------------------------------------------------------------------------------------------------

/// ?1: names, ?2: now. Whether a producer's row waits, when the first delivery is due, and when the first trial of a
/// breaker may begin.
pub(super) const LOOK: &str = concat!(
    "SELECT \
     EXISTS (SELECT 1 FROM notifications n WHERE n.fanned_out_at IS NULL), \
     (SELECT min(max(due, coalesce( \
       (SELECT h.until FROM holds h WHERE h.destination = name), due))) FROM ( \
       SELECT x.value AS name, (SELECT d.due FROM deliveries d WHERE d.state = 0 \
         AND d.destination = x.value AND d.lane = 0 AND d.waiting = 0 AND d.due < ",
    never!(),
    " ORDER BY d.due LIMIT 1) AS due \
       FROM json_each(?1) AS x \
       UNION ALL \
       SELECT x.value AS name, (SELECT d.due FROM deliveries d WHERE d.state = 0 \
         AND d.destination = x.value AND d.lane = 1 AND d.waiting = 0 AND d.due < ",
    never!(),
    " ORDER BY d.due LIMIT 1) AS due \
       FROM json_each(?1) AS x) \
     WHERE due IS NOT NULL), ( ",
    next_trial!(),
    ")"
);

/// ?1: count no further than this.
pub(super) const SIZE: &str = "SELECT min(?1, \
     (SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE state = 0 LIMIT ?1)) + \
     (SELECT count(*) FROM (SELECT 1 FROM notifications WHERE fanned_out_at IS NULL LIMIT ?1)))";

/// ?1: id.
pub(super) const NOTIFICATION: &str = concat!(
    "SELECT ",
    notification_record!(),
    ", n.content, n.content_bytes FROM notifications n WHERE n.id = ?1"
);

/// ?1: below this row, ?2: limit.
pub(super) const NOTIFICATIONS: &str = concat!(
    "SELECT ",
    notification_record!(),
    " FROM notifications n WHERE n.seq < ?1 ORDER BY n.seq DESC LIMIT ?2"
);

/// ?1: below this row, ?2: limit, ?3: above this row, ?4: type and ?5: source as globs, ?6: labels, ?7: since,
/// ?8: until, ?9: state. What is null matches all.
pub(super) const FIND_NOTIFICATIONS: &str = concat!(
    "SELECT ",
    notification_record!(),
    " FROM notifications n WHERE n.seq < ?1 AND n.seq > ?3 \
     AND (?4 IS NULL OR n.type GLOB ?4) AND (?5 IS NULL OR n.source GLOB ?5) \
     AND (?7 IS NULL OR n.created_at >= ?7) AND (?8 IS NULL OR n.created_at < ?8) \
     AND CASE ?9 \
     WHEN 'arrived' THEN n.fanned_out_at IS NULL \
     WHEN 'malformed' THEN n.malformed IS NOT NULL \
     WHEN 'unrouted' THEN n.deliveries = 0 \
     WHEN 'live' THEN n.deliveries > 0 AND EXISTS (SELECT 1 FROM deliveries d WHERE d.notification = n.seq AND +d.state = 0) \
     WHEN 'dead' THEN n.deliveries > 0 AND EXISTS (SELECT 1 FROM deliveries d WHERE d.notification = n.seq AND +d.state = 2) \
     WHEN 'cancelled' THEN n.deliveries > 0 AND EXISTS (SELECT 1 FROM deliveries d WHERE d.notification = n.seq AND +d.state = 3) \
     WHEN 'delivered' THEN n.deliveries > 0 \
       AND EXISTS (SELECT 1 FROM deliveries d WHERE d.notification = n.seq) \
       AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notification = n.seq AND +d.state <> 1) \
     ELSE true END \
     AND CASE WHEN ?6 IS NULL THEN true WHEN json_valid(n.labels) THEN NOT EXISTS ( \
       SELECT 1 FROM json_each(?6) x WHERE NOT EXISTS ( \
         SELECT 1 FROM json_each(n.labels) l WHERE l.key = x.key AND l.atom = x.value)) \
     ELSE false END \
     ORDER BY n.seq DESC LIMIT ?2"
);

// ?1: below this id, ?2: now, ?3: destination, ?4: state, ?5: id, ?6: notification, ?7: limit, ?8: above this id. One statement for
// each index that can help; a partial index needs its own condition word for word.
pub(super) const DELIVERIES: &str = delivery_record!("true");
pub(super) const DELIVERIES_LIVE: &str = delivery_record!("d.state = 0");
pub(super) const DELIVERIES_LIVE_OF: &str = delivery_record!("d.state = 0 AND d.destination = ?3");
pub(super) const DELIVERIES_DEAD: &str = delivery_record!("d.state >= 2 AND d.state = 2");
pub(super) const DELIVERIES_CANCELLED: &str = delivery_record!("d.state >= 2 AND d.state = 3");
pub(super) const DELIVERY: &str = delivery_record!("d.id = ?5");
pub(super) const DELIVERIES_OF_NOTIFICATION: &str = delivery_record!("n.id = ?6");

/// ?1: delivery.
pub(super) const ATTEMPTS: &str = "SELECT number, started, duration, outcome, reason, plugin, host \
     FROM attempts WHERE delivery = ?1 ORDER BY number";

// ---- destinations' own notes ---------------------------------------------------------------------------------

/// ?1: destination, ?2: key, ?3: now.
pub(super) const STATE_GET: &str = "SELECT value, version FROM state \
     WHERE destination = ?1 AND key = ?2 AND (expires IS NULL OR expires > ?3)";

/// ?1: destination, ?2: now.
pub(super) const STATE_EXPIRE: &str = "DELETE FROM state WHERE destination = ?1 AND expires <= ?2";

/// ?1: destination, ?2: key. Without this key and after [`STATE_EXPIRE`].
pub(super) const STATE_SIZE: &str = "SELECT count(*), \
     coalesce(sum(length(CAST(key AS BLOB)) + length(value)), 0) FROM state \
     WHERE destination = ?1 AND key <> ?2";

/// ?1: destination, ?2: key, ?3: value, ?4: expires. The replaced row's version is not used again.
pub(super) const STATE_SET: &str =
    "INSERT OR REPLACE INTO state (destination, key, value, expires) VALUES (?1, ?2, ?3, ?4)";

/// ?1: destination, ?2: key.
pub(super) const STATE_REMOVE: &str = "DELETE FROM state WHERE destination = ?1 AND key = ?2";

// ---- opening -------------------------------------------------------------------------------------------------

/// Fails where the file is no database.
pub(super) const PROBE: &str = "SELECT count(*) FROM sqlite_schema";
/// For this connection no `CHECK` of a table is looked at.
pub(super) const UNCHECKED: &str = "PRAGMA ignore_check_constraints = on";
/// What text is made of bytes by: that of the file.
pub(super) const ENCODING: &str = "SELECT encoding FROM pragma_encoding";
pub(super) const SCHEMA_TABLE: &str = "CREATE TABLE IF NOT EXISTS postrider_schema ( \
     version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT";
pub(super) const SCHEMA_KNOWN: &str =
    "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'postrider_schema'";
pub(super) const SCHEMA_VERSION: &str = "SELECT coalesce(max(version), 0) FROM postrider_schema";
/// Whether the column is there: the first schema had none.
pub(super) const SCHEMA_HAS_OLDEST: &str =
    "SELECT count(*) FROM pragma_table_info('postrider_schema') WHERE name = 'oldest'";
pub(super) const SCHEMA_OLDEST: &str = "SELECT coalesce(max(oldest), 0) FROM postrider_schema";
/// ?1: version, ?2: now.
pub(super) const SCHEMA_APPLIED: &str =
    "INSERT INTO postrider_schema (version, applied_at) VALUES (?1, ?2)";

/// ?1: now. Leases of a daemon that is gone are due at once; the next claim counts them as lost.
pub(super) const RECOVER: &str =
    "UPDATE deliveries SET due = ?1 WHERE state = 0 AND owner IS NOT NULL AND due > ?1";

/// The newest moment that the store has written in the normal course.
pub(super) const LAST_SEEN: &str = "SELECT max( \
     coalesce((SELECT fanned_out_at FROM notifications ORDER BY seq DESC LIMIT 1), 0), \
     coalesce((SELECT created FROM deliveries ORDER BY id DESC LIMIT 1), 0), \
     coalesce((SELECT max(claimed) FROM deliveries WHERE state = 0 AND owner IS NOT NULL), 0))";
/// ?1: now, ?2: how far the clock went back.
pub(super) const SHIFT_DUE: &str = concat!(
    "UPDATE deliveries SET due = iif(due < ",
    never!(),
    ", max(?1, due - ?2), due), \
     since = iif(since > ?1, since - ?2, since), expires = expires - ?2 \
     WHERE state = 0 AND (due > ?1 OR since > ?1 OR expires IS NOT NULL)"
);
/// ?1: how far the clock went back.
pub(super) const SHIFT_HOLDS: &str = "UPDATE holds SET until = until - ?1";

/// All of them, for the test that prepares each.
#[cfg(test)]
pub(super) const ALL: &[&str] = &[
    BEGIN,
    COMMIT,
    ROLLBACK,
    CHECKPOINT,
    KNOWN,
    DELIVER_SCHEDULED,
    ARRIVED,
    FAN_OUT,
    FANNED_OUT,
    OUTBOX,
    READY,
    DUE,
    RECORD_LOST,
    LEASE,
    LEASED,
    EXPIRED,
    TOO_OLD,
    LEASE_OVERDUE,
    LOST,
    EXTEND,
    RECORD,
    HAND_OVER,
    HOLD,
    SETTLE,
    SEEN,
    KEYED,
    PROMOTE,
    REVIVE,
    HASTEN,
    CANCEL,
    PUT_AWAY,
    BURY,
    ORPHANS,
    KEEP,
    KEPT,
    LOOK,
    SIZE,
    NOTIFICATION,
    NOTIFICATIONS,
    FIND_NOTIFICATIONS,
    DELIVERIES,
    DELIVERIES_LIVE,
    DELIVERIES_LIVE_OF,
    DELIVERIES_DEAD,
    DELIVERIES_CANCELLED,
    DELIVERY,
    DELIVERIES_OF_NOTIFICATION,
    ATTEMPTS,
    STATE_GET,
    STATE_EXPIRE,
    STATE_SIZE,
    STATE_SET,
    STATE_REMOVE,
    PROBE,
    UNCHECKED,
    ENCODING,
    SCHEMA_TABLE,
    SCHEMA_KNOWN,
    SCHEMA_VERSION,
    SCHEMA_HAS_OLDEST,
    SCHEMA_OLDEST,
    SCHEMA_APPLIED,
    RECOVER,
    LAST_SEEN,
    SHIFT_DUE,
    SHIFT_HOLDS,
];

/// Those that come in sizes.
#[cfg(test)]
pub(super) const SIZED: &[Sizes] =
    &[STORE, DELIVER, DELIVER_TAKEN, RECORD_DELIVERED, SETTLE_DELIVERED];
